"""Keep to Meta's rates: slots that all processes of a ledger take from one row."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from rasa_coexistence.ledger.schema import conversations, numbers
from rasa_coexistence.records import NumberState

INBOUND_SECONDS = 1.0  # what came in counts for the second in which it came


def take_number_slot(connection: Any, phone_number_id: str, *, now: float, interval: float) -> float:
    """Take the number's next free slot and return when it is; nobody else gets it."""
    row = numbers.c.phone_number_id == phone_number_id
    begins = _later(numbers.c.send_slot_at, now)
    connection.execute(numbers.update().where(row).values(send_slot_at=begins + interval))
    ends = connection.execute(sa.select(numbers.c.send_slot_at).where(row)).scalar()
    return now if ends is None else float(ends) - interval


def take_pair_slot(connection: Any, conversation_id: int, *, now: float, interval: float) -> None:
    """Use up one message of the rate between a number and one customer."""
    begins = _later(conversations.c.pair_slot_at, now)
    statement = conversations.update().where(conversations.c.id == conversation_id)
    connection.execute(statement.values(pair_slot_at=begins + interval))


def count_inbound(connection: Any, phone_number_id: str, count: int, *, now: float, interval: float) -> None:
    """Leave the slots to what came in: Meta's limit counts both directions."""
    slot, latest = numbers.c.send_slot_at, now + INBOUND_SECONDS
    after = _later(slot, now) + count * interval
    connection.execute(
        numbers.update()
        .where(numbers.c.phone_number_id == phone_number_id)
        .values(send_slot_at=sa.case((slot > latest, slot), (after > latest, latest), else_=after))
    )


def slow_down(connection: Any, phone_number_id: str, *, until: float) -> None:
    """Let all conversations of a number wait: Meta says that it sends too fast."""
    slot = _later(numbers.c.send_slot_at, until)
    connection.execute(
        numbers.update().where(numbers.c.phone_number_id == phone_number_id).values(send_slot_at=slot)
    )


def stop(connection: Any, phone_number_id: str, *, until: float) -> None:
    """Let nothing of a number leave for a while: all of it would fail."""
    statement = numbers.update().where(numbers.c.phone_number_id == phone_number_id)
    connection.execute(statement.values(stopped_until=until))


def go_on(connection: Any, phone_number_id: str) -> None:
    """Say that a number can send again: it just did."""
    is_well = numbers.c.state == NumberState.CONNECTED.value  # else the reason is Meta's, not ours
    reason = sa.case((is_well, sa.null()), else_=numbers.c.state_reason)
    statement = numbers.update().where(numbers.c.phone_number_id == phone_number_id)
    connection.execute(statement.values(stopped_until=None, state_reason=reason))


def _later(column: Any, moment: float) -> Any:
    return sa.case((column > moment, column), else_=moment)
