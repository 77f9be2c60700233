"""Say what an account event of Meta's makes of a business number."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from msgspec import Struct

from rasa_coexistence.events import AccountChange
from rasa_coexistence.records import NumberState

_CONNECTED, _OFFBOARDED = NumberState.CONNECTED, NumberState.OFFBOARDED
_RESTRICTED, _BLOCKED, _BANNED = NumberState.RESTRICTED, NumberState.BLOCKED, NumberState.BANNED
_REMOVED, _DELETED = NumberState.REMOVED, NumberState.DELETED
_LIVING = frozenset({_CONNECTED, _OFFBOARDED, _RESTRICTED, _BLOCKED, _BANNED})
_SPEAKING = frozenset({_CONNECTED, _RESTRICTED, _BLOCKED})

# Kinds of restriction that also forbid to answer customers; the others only forbid to begin something.
_FORBIDS_ANSWERS = frozenset({"RESTRICTED_CUSTOMER_INITIATED_MESSAGING"})


class News(Struct, frozen=True, kw_only=True):
    """What an event means."""

    state: NumberState | None = None  # None: the number stands as before
    follows: frozenset[NumberState] = frozenset()  # states in which it can
    reason: str | None = None
    until: float | None = None  # when it ends by itself
    asks_meta: bool = False  # it may bring a number back: Meta is asked whether it did


def news_of(event: AccountChange) -> News | None:
    """Return what an event means for the numbers it is about, None when it means nothing to us.

    What is gone stays gone: only a sign-up, or Meta's own word, brings it back.
    """
    reason = event.reason or event.event
    match event.event:
        case "ACCOUNT_OFFBOARDED":
            return News(state=_OFFBOARDED, follows=_SPEAKING | {_OFFBOARDED}, reason=reason)
        case "ACCOUNT_RECONNECTED":
            return News(state=_CONNECTED, follows=frozenset({_OFFBOARDED}), asks_meta=True)
        case "PARTNER_REMOVED" | "PARTNER_APP_UNINSTALLED":
            return News(state=_REMOVED, follows=_LIVING, reason=reason, asks_meta=True)
        case "ACCOUNT_DELETED":
            return News(state=_DELETED, follows=_LIVING, reason=reason, asks_meta=True)
        case "PARTNER_ADDED" | "PARTNER_APP_INSTALLED":
            return News(asks_meta=True)
        case "ACCOUNT_RESTRICTION":
            return _restriction(event.raw)
        case "DISABLED_UPDATE":
            return _ban(event.raw)
        case "ACCOUNT_VIOLATION":
            kind = _object(event.raw.get("violation_info")).get("violation_type")
            return News(reason=f"Meta reports a violation: {kind or 'not named'}; see WhatsApp Manager")
    return None


def _restriction(raw: Mapping[str, Any]) -> News:
    given = raw.get("restriction_info")
    found = [_object(item) for item in (given if isinstance(given, list) else [given])]
    kinds = sorted({str(item["restriction_type"]) for item in found if item.get("restriction_type")})
    ends = [float(item["expiration"]) for item in found if _is_time(item.get("expiration"))]
    until = max(ends) if ends and len(ends) == len(found) else None
    told = ", ".join(kinds) or "not named"
    end = f" until {_day(until)}" if until else ""
    return News(
        state=_BLOCKED if _FORBIDS_ANSWERS & set(kinds) else _RESTRICTED,
        follows=_SPEAKING,
        reason=f"Meta restricts the account ({told}){end}; see WhatsApp Manager for how to appeal",
        until=until,
    )


def _ban(raw: Mapping[str, Any]) -> News:
    info = _object(raw.get("ban_info"))
    state, date = str(info.get("waba_ban_state") or "").upper(), info.get("waba_ban_date")
    if state == "REINSTATE":
        return News(state=_CONNECTED, follows=frozenset({_BANNED, _BLOCKED, _RESTRICTED}))
    when = f" ({date})" if date else ""
    if state == "SCHEDULE_FOR_DISABLE":
        return News(reason=f"Meta will disable the account soon{when}; appeal in WhatsApp Manager now")
    return News(
        state=_BANNED,
        follows=_LIVING,
        reason=f"Meta has disabled the account{when}; appeal in WhatsApp Manager",
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_time(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    try:
        return 0 < float(value) < 1e11
    except (TypeError, ValueError):
        return False


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
