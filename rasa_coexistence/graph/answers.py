"""Read the answers of the Graph API into values; what Meta leaves out is None."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
from msgspec import Struct, field

from rasa_coexistence.events import JSON


class Receipt(Struct, frozen=True, kw_only=True):
    """Meta took a message; whether it arrives is told by webhooks."""

    wamid: str
    wa_id: str | None = None
    user_id: str | None = None
    message_status: str | None = None  # accepted, held_for_quality_assessment, paused; of templates only


class MediaUrl(Struct, frozen=True, kw_only=True):
    """Where a file can be fetched for five minutes."""

    url: str
    mime_type: str | None = None
    sha256: str | None = None
    file_size: int | None = None


class BusinessToken(Struct, frozen=True, kw_only=True):
    """What a sign-up's code was exchanged for."""

    access_token: str
    expires_in: float | None = None  # seconds; None: ask ``debug_token``

    def __repr__(self) -> str:
        return f"BusinessToken(access_token=<hidden>, expires_in={self.expires_in!r})"


class TokenFacts(Struct, frozen=True, kw_only=True):
    """What a token may do."""

    is_valid: bool
    expires_at: float | None  # None: never
    app_id: str | None
    scopes: tuple[str, ...] | None  # None: Meta did not list them
    waba_ids: tuple[str, ...]  # that the token is limited to; empty if Meta names none


class PhoneNumber(Struct, frozen=True, kw_only=True):
    """A business number as Meta knows it."""

    id: str
    display_phone_number: str | None = None  # as a person writes it
    verified_name: str | None = None
    is_on_biz_app: bool | None = None  # with platform_type CLOUD_API: coexistence works
    platform_type: str | None = None
    quality_rating: str | None = None
    status: str | None = None
    raw: JSON = field(default_factory=dict)  # every other field that was asked for


class SubscribedApp(Struct, frozen=True, kw_only=True):
    """An app that gets a WABA's webhooks."""

    id: str | None
    name: str | None
    override_callback_uri: str | None


class AppSubscription(Struct, frozen=True, kw_only=True):
    """The webhook fields that an app asked for, of one kind of object."""

    object: str
    callback_url: str | None
    active: bool
    fields: tuple[str, ...]


class Hello(Struct, frozen=True, kw_only=True):
    """What Meta says to somebody it does not know."""

    at: float | None  # its time
    knows_version: bool  # the one of our addresses


def read_hello(date: str | None, raw: bytes) -> Hello | None:
    """Read the refusal of a call without a token; None if it is not Graph that answers."""
    error = (read_object(raw) or {}).get("error")
    if not isinstance(error, dict) or "code" not in error:
        return None
    at: float | None = None
    with contextlib.suppress(TypeError, ValueError):
        at = parsedate_to_datetime(date or "").timestamp()
    return Hello(at=at, knows_version=b"unknown path" not in raw.lower())


def read_object(raw: bytes) -> JSON | None:
    """Return the JSON object of an answer; None if it is anything else."""
    try:
        answer = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def read_receipt(answer: JSON) -> Receipt | None:
    """Read the answer to a message; None if it names no wamid, and so proves nothing."""
    message, contact = _first(answer.get("messages")), _first(answer.get("contacts"))
    wamid = _text(message.get("id"))
    if wamid is None:
        return None
    return Receipt(
        wamid=wamid,
        wa_id=_text(contact.get("wa_id")),
        user_id=_text(contact.get("user_id")),
        message_status=_text(message.get("message_status")),
    )


def read_media_url(answer: JSON) -> MediaUrl | None:
    """Read where a file is."""
    url = _text(answer.get("url"))
    if url is None:
        return None
    size = _number(answer.get("file_size"))
    return MediaUrl(
        url=url,
        mime_type=_text(answer.get("mime_type")),
        sha256=_text(answer.get("sha256")),
        file_size=None if size is None else int(size),
    )


def read_business_token(answer: JSON) -> BusinessToken | None:
    """Read what a code was exchanged for."""
    token = _text(answer.get("access_token"))
    if token is None:
        return None
    return BusinessToken(access_token=token, expires_in=_number(answer.get("expires_in")))


def read_token_facts(answer: JSON) -> TokenFacts | None:
    """Read what ``debug_token`` tells; a token that is not valid is a fact, too."""
    facts = answer.get("data")
    if not isinstance(facts, dict):
        return None
    granular = _objects(facts.get("granular_scopes"))
    of_wabas = (item for item in granular if str(item.get("scope")).startswith("whatsapp_business_"))
    waba_ids = (target for item in of_wabas for target in _texts(item.get("target_ids")))
    return TokenFacts(
        is_valid=facts.get("is_valid") is True,
        expires_at=_number(facts.get("expires_at")) or None,
        app_id=_text(facts.get("app_id")),
        scopes=_texts(facts["scopes"]) if isinstance(facts.get("scopes"), list) else None,
        waba_ids=tuple(dict.fromkeys(waba_ids)),
    )


def read_phone_number(answer: Mapping[str, Any]) -> PhoneNumber | None:
    """Read a business number."""
    id_ = _text(answer.get("id"))
    if id_ is None:
        return None
    on_app = answer.get("is_on_biz_app")
    return PhoneNumber(
        id=id_,
        display_phone_number=_text(answer.get("display_phone_number")),
        verified_name=_text(answer.get("verified_name")),
        is_on_biz_app=on_app if isinstance(on_app, bool) else None,
        platform_type=_text(answer.get("platform_type")),
        quality_rating=_text(answer.get("quality_rating")),
        status=_text(answer.get("status")),
        raw=dict(answer),
    )


def read_phone_numbers(answer: JSON) -> list[PhoneNumber] | None:
    """Read the numbers of a WABA."""
    if not isinstance(answer.get("data"), list):
        return None
    numbers = (read_phone_number(item) for item in _objects(answer["data"]))
    return [number for number in numbers if number is not None]


def read_subscribed_apps(answer: JSON) -> list[SubscribedApp] | None:
    """Read which apps get a WABA's webhooks."""
    if not isinstance(answer.get("data"), list):
        return None
    return [_subscribed_app(item) for item in _objects(answer["data"])]


def _subscribed_app(item: JSON) -> SubscribedApp:
    named = item.get("whatsapp_business_api_data")
    app = named if isinstance(named, dict) else item
    return SubscribedApp(
        id=_text(app.get("id")),
        name=_text(app.get("name")),
        override_callback_uri=_text(item.get("override_callback_uri")),
    )


def read_app_subscriptions(answer: JSON) -> list[AppSubscription] | None:
    """Read which webhook fields an app asked for."""
    if not isinstance(answer.get("data"), list):
        return None
    return [
        AppSubscription(
            object=_text(item.get("object")) or "",
            callback_url=_text(item.get("callback_url")),
            active=item.get("active") is not False,
            fields=_field_names(item.get("fields")),
        )
        for item in _objects(answer["data"])
    ]


def _field_names(fields: Any) -> tuple[str, ...]:
    """Graph has listed them as objects with a name, and as plain names."""
    named = tuple(_text(item.get("name")) for item in _objects(fields))
    return tuple(name for name in named if name) or _texts(fields)


def _first(items: Any) -> JSON:
    return next(iter(_objects(items)), {})


def _objects(items: Any) -> list[JSON]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _texts(items: Any) -> tuple[str, ...]:
    found = (_text(item) for item in items) if isinstance(items, list) else ()
    return tuple(text for text in found if text is not None)


def _text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    return str(value).strip() or None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number < 1e15 else None
