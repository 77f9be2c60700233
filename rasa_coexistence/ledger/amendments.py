"""Apply edits and revokes to the messages they are about, whichever of the two comes first."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from rasa_coexistence.events import Content
from rasa_coexistence.ledger import dialects, message_rows
from rasa_coexistence.ledger.prepared import Prepared
from rasa_coexistence.ledger.schema import messages
from rasa_coexistence.records import MessageState


def waiting_in(connection: Any, conversation_ids: Collection[int]) -> set[int]:
    """Return those of some conversations in which anything was ever edited or revoked."""
    found: set[int] = set()
    for ids in dialects.in_slices(conversation_ids):
        statement = sa.select(messages.c.conversation_id).where(
            messages.c.conversation_id.in_(ids), messages.c.target.isnot(None)
        )
        found.update(connection.execute(statement.distinct()).scalars())
    return found


def settle(connection: Any, phone_number_id: str, conversation_id: int, keys: Iterable[str]) -> bool:
    """Apply what is known about the messages with these ``message_rows.key``; tell if old chat changed.

    Of several edits the newest counts, whatever came last; and a revoke counts more than all of them.
    """
    changed = False
    for key in set(keys):
        rows = sorted(_ABOUT.all(connection, conversation=conversation_id, key=key), key=_subject)
        for _subject_of, group in itertools.groupby(rows, key=_subject):
            changed = _amend(connection, phone_number_id, conversation_id, list(group)) or changed
    return changed


def _subject(row: Any) -> tuple[str, bool]:
    return row.target, bool(row.from_business)


def _amend(connection: Any, phone_number_id: str, conversation_id: int, amendments: Sequence[Any]) -> bool:
    """Bring a message to what its author made of it; nobody else changes it."""
    by_business = bool(amendments[0].from_business)
    wamid = _content(amendments[0]).target or ""
    row = message_rows.find(connection, phone_number_id, conversation_id, wamid, from_business=by_business)
    if row is None or bool(row.from_business) is not by_business:
        return False  # it has not come yet, or is somebody else's
    values = _values(row, amendments)
    news = {name: value for name, value in values.items() if getattr(row, name) != value}
    if news:
        message_rows.change(connection, row.id, **news)
    return bool(news) and row.source == "history"


def _values(row: Any, amendments: Sequence[Any]) -> dict[str, Any]:
    edits = sorted((each for each in amendments if each.type == "edit"), key=_said_at)
    replacement = _content(edits[-1]).replacement if edits else None
    values: dict[str, Any] = {}
    if replacement is not None:
        values = message_rows.said(_with_surroundings_of(row, replacement))
        values["edited_text"] = (row.text or "") if row.edited_text is None else row.edited_text
    if len(edits) < len(amendments):
        values["revoked"] = True
        if row.state == MessageState.WAITING.value:
            values["state"] = MessageState.KEPT.value  # nobody answers what was taken back
    return values


def _with_surroundings_of(row: Any, replacement: Content) -> Content:
    """Return the new words with what they belong to, which an edit need not name again: file, quote, ad."""
    if row.content is None:
        return replacement
    before = _content(row)
    kept = ("media", "forwarded", "frequently_forwarded") if row.type == replacement.type else ()
    fields = {name: before.fields[name] for name in kept if name in before.fields}
    return msgspec.structs.replace(
        replacement,
        fields=fields | replacement.fields,
        context=replacement.context or before.context,
        referral=replacement.referral or before.referral,
    )


def _said_at(row: Any) -> tuple[float, str]:
    return row.sent_at or row.received_at, row.wamid


def _content(row: Any) -> Content:
    return msgspec.json.decode(row.content or b'{"type":""}', type=Content)


_ABOUT = Prepared(
    sa.select(messages).where(
        messages.c.conversation_id == sa.bindparam("conversation"),
        messages.c.target == sa.bindparam("key"),
        messages.c.target.isnot(None),
    )
)
