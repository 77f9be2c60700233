"""Make and check the links through which custom actions fetch what customers sent."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from msgspec import Struct

from rasa_coexistence.errors import CoexistenceError
from rasa_coexistence.events import JSON

LIFETIME_SECONDS = 24 * 3600  # a link stands in the tracker: it must not open the file for ever
_PATH = "/webhooks/whatsapp/media"
_DOMAIN = b"rasa_coexistence media link"  # so that no other signature by the app secret opens a file


class BadLink(CoexistenceError):
    """A media link was not made here, or was changed."""


class DeadLink(CoexistenceError):
    """A media link, or the file behind it, has expired."""


class MediaLink(Struct, frozen=True, kw_only=True):
    """Which file a link is about, and until when."""

    media_id: str  # Meta's
    message_id: int  # the ledger's: it says whose number the file came to, and is gone with the customer
    expires: int  # Unix seconds


def url_of(base_url: str, link: MediaLink, app_secrets: Sequence[str]) -> str:
    """Return the address that gives out a file to whoever has it, without any other proof."""
    query = {
        "message": link.message_id,
        "expires": link.expires,
        "signature": _signature(link, app_secrets[0]),
    }
    return f"{base_url.rstrip('/')}{_PATH}/{quote(link.media_id, safe='')}?{urlencode(query)}"


def read_link(
    media_id: str,
    message: str | None,
    expires: str | None,
    signature: str | None,
    *,
    app_secrets: Sequence[str],
    now: float,
) -> MediaLink:
    """Return what a link leads to; raise BadLink unless we made it, DeadLink when its time is over."""
    if not (_is_number(message) and _is_number(expires)):
        raise BadLink("this is not a link that was made here")
    link = MediaLink(media_id=media_id, message_id=int(message or 0), expires=int(expires or 0))
    given = (signature or "").encode("utf-8", "replace")
    made_here = [hmac.compare_digest(given, _signature(link, secret).encode()) for secret in app_secrets]
    if not any(made_here):
        raise BadLink("the signature does not belong to this link")
    if link.expires <= now:
        raise DeadLink("the link has expired; it is made anew with each message")
    return link


def with_link(
    fields: JSON, *, base_url: str | None, message_id: int, app_secrets: Sequence[str], now: float
) -> JSON:
    """Return a message's fields with our link for its file in the place of Meta's, which needs the token."""
    media = fields.get("media")
    if not isinstance(media, dict):
        return fields
    shown = {key: value for key, value in media.items() if key != "url"}
    media_id = media.get("id")
    if base_url is not None and isinstance(media_id, str):
        expires = int(now) + LIFETIME_SECONDS
        link = MediaLink(media_id=media_id, message_id=message_id, expires=expires)
        shown["url"] = url_of(base_url, link, app_secrets)
    return {**fields, "media": shown}


def _signature(link: MediaLink, app_secret: str) -> str:
    key = hmac.new(app_secret.encode(), _DOMAIN, hashlib.sha256).digest()
    claim = f"{link.message_id}\n{link.expires}\n{link.media_id}"
    return hmac.new(key, claim.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def _is_number(text: str | None) -> bool:
    return text is not None and text.isascii() and text.isdigit() and len(text) < 19
