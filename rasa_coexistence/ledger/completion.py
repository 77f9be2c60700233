"""Decide what an old message gains when Meta tells it again.

Chunks are repeated, come in any order, and may contradict each other. Whatever came first, the result is the
same: of two places in time the earlier counts, of two contents the one with a file or else the one that sorts
first, of two statuses the one that is further.
"""

from __future__ import annotations

from typing import Any

from rasa_coexistence.ledger.message_rows import EARLY_MEDIA, PLACEHOLDER

_STATUSES = (None, "pending", "error", "sent", "delivered", "read", "played")


def of(known: Any, told: Any) -> dict[str, Any]:
    """Return the columns of a known old message that change when it is told again in a chunk."""
    values = of_content(known, told)
    if known.status == EARLY_MEDIA:  # the time and the direction of media are not to be trusted
        values |= {"sent_at": told.sent_at, "from_business": told.from_business, "status": told.status}
    elif _place(told) < _place(known):
        values |= {"sent_at": told.sent_at, "from_business": told.from_business}
    if known.status != EARLY_MEDIA and _rank(told.status) > _rank(known.status):
        values["status"] = told.status
    return values


def of_content(known: Any, told: Any) -> dict[str, Any]:
    """Return the columns that change in what a known old message says; an edited one stays as edited."""
    is_edited = getattr(known, "edited_text", None) is not None
    if is_edited or told.type == PLACEHOLDER or (known.type != PLACEHOLDER and _said(known) <= _said(told)):
        return {}
    return {name: getattr(told, name) for name in ("type", "text", "content", "raw", "target")}


def _place(message: Any) -> tuple[float, bool]:
    return message.sent_at or 0.0, bool(message.from_business)


def _said(message: Any) -> tuple[bool, str, str, str]:
    has_file = '"media":{"id":' in (message.content or "")
    return not has_file, message.type, message.text or "", message.content or ""


def _rank(status: str | None) -> int:
    return _STATUSES.index(status) if status in _STATUSES else 0
