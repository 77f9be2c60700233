"""File what is neither said nor typed: statuses, contacts, changed ids, faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from rasa_coexistence.events import AccountFault, IdentityChange, StatusChange, Unreadable
from rasa_coexistence.from_whatsapp.loose import as_int
from rasa_coexistence.ledger import address_book, chats, failures, inbox, own_sends, people, syncs
from rasa_coexistence.ledger.bubbles import apply_status
from rasa_coexistence.ledger.filing import Place, business_number
from rasa_coexistence.ledger.prepared import Prepared
from rasa_coexistence.ledger.schema import messages
from rasa_coexistence.records import SyncState

_RANK = {None: 0, "pending": 1, "sent": 2, "delivered": 3, "read": 4, "played": 5}


def _moves(rank: int) -> Prepared:
    lower = [messages.c.status == status for status, its_rank in _RANK.items() if its_rank < rank]
    return Prepared(
        messages.update().where(
            messages.c.phone_number_id == sa.bindparam("number"),
            messages.c.wamid == sa.bindparam("of"),
            sa.or_(messages.c.status.is_(None), *lower),
        )
    )


_MOVE_STATUS = {rank: _moves(rank) for rank in _RANK.values()}


def file_status(place: Place, event: StatusChange) -> None:
    """Move a message's status forward; Meta also tells of messages that are not ours."""
    number = business_number(place, event.number)
    moved = apply_status(place.connection, number, event, now=place.now)
    if moved is not None:
        _follow(place, moved, event)
    move = _MOVE_STATUS[_RANK.get(event.status, 0)]
    move.run(place.connection, number=number, of=event.wamid, status=event.status)


def _follow(place: Place, moved: Any, event: StatusChange) -> None:
    """Do what follows from a status of one of our own messages; ``moved`` is its row as it was before."""
    if moved.wamid is None:  # an unanswered try of ours arrived: only now it is known what Meta calls it
        chat = chats.lock(place.connection, moved.conversation_id)
        own_sends.remember(place.connection, chat, moved, event.wamid, place.rules.takeover, now=place.now)
    if event.status == "failed":
        error = event.errors[0] if event.errors else {}
        failures.message_failed(place.connection, moved, code=as_int(error.get("code")), now=place.now)


def file_contacts(place: Place, pages: Sequence[address_book.Page]) -> None:
    """Keep the owner's names for customers. They make no conversations."""
    for page in pages:
        number = business_number(place, page.number)
        address_book.keep(place.connection, number, page, received_at=place.received_at)
        place.numbers.phone_was_active.add(number)
        _count_contacts(place, number, page.count)


def _count_contacts(place: Place, number: str, received: int) -> None:
    known = syncs.row(place.connection, number, syncs.CONTACTS)
    values: dict[str, Any] = {"received": known.received + received, "last_chunk_at": place.received_at}
    if known.state != SyncState.COMPLETED.value:
        values |= {"state": SyncState.COMPLETED.value, "completed_at": place.now, "error": None}
    syncs.update(place.connection, number, syncs.CONTACTS, **values)


def file_identity_change(place: Place, event: IdentityChange) -> None:
    """Let a customer's new ids lead to the conversation they always had."""
    number = business_number(place, event.number)
    people.change_identity(
        place.connection,
        number,
        event.previous,
        event.current,
        now=place.now,
        sender_id=place.rules.sender_id,
    )


def file_fault(place: Place, event: AccountFault) -> None:
    """Keep an error of Meta's that belongs to no message."""
    reason = f"Meta reports {event.code}: {event.title}"
    inbox.keep_aside(
        place.connection, reason=reason, path="value.errors", raw=event.raw, received_at=place.received_at
    )


def file_unreadable(place: Place, event: Unreadable, webhook: Callable[[str], Any]) -> None:
    """Keep what could not be read; ``webhook`` gives a body with what stands at a path."""
    inbox.keep_aside(
        place.connection,
        reason=event.reason,
        path=event.path,
        raw=event.raw,
        received_at=place.received_at,
        webhook=webhook(event.path),
    )
