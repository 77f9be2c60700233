"""File what is neither said nor typed: statuses, contacts, changed ids, account news."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from rasa_coexistence import identity
from rasa_coexistence.events import AccountFault, ContactChange, IdentityChange, StatusChange, Unreadable
from rasa_coexistence.ledger import dialects, inbox, people, syncs
from rasa_coexistence.ledger.bubbles import apply_status
from rasa_coexistence.ledger.filing import Place, business_number
from rasa_coexistence.ledger.inbox import plain
from rasa_coexistence.ledger.schema import contacts, messages, numbers
from rasa_coexistence.records import SyncState

_RANK = {None: 0, "pending": 1, "sent": 2, "delivered": 3, "read": 4, "played": 5}


def file_status(place: Place, event: StatusChange) -> None:
    """Move a message's status forward; Meta also tells of messages that are not ours."""
    number = business_number(place, event.number)
    apply_status(place.connection, number, event, now=place.now)
    rank = _RANK.get(event.status, 0)
    lower = [status for status, its_rank in _RANK.items() if status is not None and its_rank < rank]
    place.connection.execute(
        messages.update()
        .where(
            messages.c.phone_number_id == number,
            messages.c.wamid == event.wamid,
            sa.or_(messages.c.status.is_(None), messages.c.status.in_(lower)),
        )
        .values(status=event.status)
    )


def file_contact(place: Place, event: ContactChange) -> None:
    """Keep the owner's name for a customer; the newest by its own time wins. It makes no conversation."""
    number = business_number(place, event.number)
    place.connection.execute(
        numbers.update().where(numbers.c.phone_number_id == number).values(last_phone_activity_at=place.now)
    )
    changed_at = event.at or place.received_at
    values: dict[str, Any] = {
        "full_name": plain(event.full_name),
        "first_name": plain(event.first_name),
        "username": plain(event.contact.username),
        "removed": event.removed,
        "changed_at": changed_at,
    }
    for alias in identity.aliases(event.contact):
        statement = dialects.insert(place.connection, contacts).values(
            phone_number_id=number, alias=alias[:160], **values
        )
        place.connection.execute(
            statement.on_conflict_do_update(
                index_elements=["phone_number_id", "alias"],
                set_=values,
                where=contacts.c.changed_at <= changed_at,
            )
        )


def count_contacts(place: Place, number: str, received: int) -> None:
    """Note that contacts came."""
    known = syncs.row(place.connection, number, syncs.CONTACTS)
    values: dict[str, Any] = {"received": known.received + received, "last_chunk_at": place.received_at}
    if known.state != SyncState.COMPLETED.value:
        values |= {"state": SyncState.COMPLETED.value, "completed_at": place.now}
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


def file_unreadable(place: Place, event: Unreadable) -> None:
    """Keep what could not be read."""
    inbox.keep_aside(
        place.connection, reason=event.reason, path=event.path, raw=event.raw, received_at=place.received_at
    )
