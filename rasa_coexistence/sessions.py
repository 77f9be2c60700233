"""Let a browser stay logged in: a signed value for a cookie, which needs no storage."""

from __future__ import annotations

import hashlib
import hmac
import secrets

COOKIE = "rasa_coexistence_session"
LIFETIME_SECONDS = 12 * 3600


def new_session(admin_token: str, *, now: float) -> str:
    """Return a value that proves for twelve hours that somebody knew the admin token.

    It dies with the admin token: a new one in ``credentials.yml`` logs everybody out.
    """
    claim = f"{int(now) + LIFETIME_SECONDS}.{secrets.token_hex(8)}"
    return f"{claim}.{_signature(claim, admin_token)}"


def is_session(value: str, admin_token: str, *, now: float) -> bool:
    """Tell whether a cookie's value is one of ours and still good."""
    claim, _, signature = value.rpartition(".")
    if not hmac.compare_digest(signature.encode("utf-8", "replace"), _signature(claim, admin_token).encode()):
        return False
    ends_at = claim.partition(".")[0]
    return ends_at.isdigit() and now < int(ends_at)


def set_cookie(value: str, *, path: str, secure: bool) -> str:
    """Return the header that gives a browser its session; an empty value takes it away."""
    age = LIFETIME_SECONDS if value else 0
    parts = [f"{COOKIE}={value}", f"Path={path}", f"Max-Age={age}", "HttpOnly", "SameSite=Strict"]
    return "; ".join([*parts, "Secure"] if secure else parts)


def _signature(claim: str, admin_token: str) -> str:
    key = hashlib.sha256(b"rasa_coexistence session\0" + admin_token.encode()).digest()
    return hmac.new(key, claim.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
