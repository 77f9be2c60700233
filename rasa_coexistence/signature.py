"""Check that a webhook really came from Meta."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence

from rasa_coexistence.errors import BadSignature

_HEADER = re.compile(r"sha256=([0-9a-fA-F]{64})")


def check_signature(body: bytes, header: str | None, *, app_secrets: Sequence[str]) -> None:
    """Raise BadSignature unless Meta signed exactly these bytes with one of our secrets."""
    match = _HEADER.fullmatch(header or "")
    if match is None:
        raise BadSignature("X-Hub-Signature-256 is missing or is not sha256= and 64 hexadecimal digits")
    given = bytes.fromhex(match.group(1))
    # All are tried: the time this takes must not tell which fits. With an empty one anybody could sign.
    matches = [hmac.compare_digest(given, _digest(body, secret)) for secret in app_secrets if secret]
    if not any(matches):
        raise BadSignature("X-Hub-Signature-256 does not fit this body and any app_secret")


def sign(body: bytes, app_secret: str) -> str:
    """Return the header value that Meta would send with these bytes."""
    return f"sha256={_digest(body, app_secret).hex()}"


def _digest(body: bytes, app_secret: str) -> bytes:
    return hmac.new(app_secret.encode(), body, hashlib.sha256).digest()
