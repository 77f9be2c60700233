"""Keep to Meta's rates: slots that all processes of a ledger take from one row."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from rasa_coexistence.ledger.columns import Time
from rasa_coexistence.ledger.prepared import Prepared
from rasa_coexistence.ledger.schema import conversations, numbers
from rasa_coexistence.records import NumberState

INBOUND_SECONDS = 1.0  # what came in counts for the second in which it came


def take_number_slot(connection: Any, phone_number_id: str, *, now: float, interval: float) -> float:
    """Take the number's next free slot and return when it is; nobody else gets it."""
    _TAKE_NUMBER.run(connection, this=phone_number_id, now=now, interval=interval)
    ends = _NUMBER_SLOT.scalar(connection, this=phone_number_id)
    return now if ends is None else float(ends) - interval


def take_pair_slot(connection: Any, conversation_id: int, *, now: float, interval: float) -> None:
    """Use up one message of the rate between a number and one customer."""
    _TAKE_PAIR.run(connection, this=conversation_id, now=now, interval=interval)


def count_inbound(connection: Any, phone_number_id: str, count: int, *, now: float, interval: float) -> None:
    """Leave the slots to what came in: Meta's limit counts both directions."""
    came = {"this": phone_number_id, "now": now, "interval": count * interval}
    _COUNT_INBOUND.run(connection, **came, latest=now + INBOUND_SECONDS)


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


_NOW, _INTERVAL, _LATEST = (sa.bindparam(name, type_=Time) for name in ("now", "interval", "latest"))
_NUMBER = numbers.c.phone_number_id == sa.bindparam("this")
_SLOT, _PAIR_SLOT = numbers.c.send_slot_at, conversations.c.pair_slot_at
_NEXT = _later(_SLOT, _NOW) + _INTERVAL
_TAKE_NUMBER = Prepared(numbers.update().where(_NUMBER).values(send_slot_at=_NEXT))
_NUMBER_SLOT = Prepared(sa.select(_SLOT).where(_NUMBER))
_TAKE_PAIR = Prepared(
    conversations.update()
    .where(conversations.c.id == sa.bindparam("this"))
    .values(pair_slot_at=_later(_PAIR_SLOT, _NOW) + _INTERVAL)
)
_COUNT_INBOUND = Prepared(
    numbers.update()
    .where(_NUMBER)
    .values(send_slot_at=sa.case((_SLOT > _LATEST, _SLOT), (_NEXT > _LATEST, _LATEST), else_=_NEXT))
)
