"""Business numbers: how they stand, which token they have, who asks Meta about them when."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from rasa_coexistence.ledger import dialects, syncs
from rasa_coexistence.ledger.queues import SEND, wake
from rasa_coexistence.ledger.schema import chunks, conversations, numbers
from rasa_coexistence.ledger.schema import syncs as sync_rows
from rasa_coexistence.ledger.schema_onboarding import strangers
from rasa_coexistence.records import NumberState

GONE = frozenset({NumberState.REMOVED, NumberState.DELETED})


class Number(Struct, frozen=True, kw_only=True):
    """A business number as the ledger has it."""

    phone_number_id: str
    display_phone_number: str | None
    waba_id: str | None
    state: NumberState
    state_reason: str | None
    state_changed_at: float | None
    state_until: float | None
    access_token: str | None  # closed with Fernet
    token_expires_at: float | None
    onboarding: str | None
    onboarded_at: float | None
    check_due_at: float | None
    checked_at: float | None
    warned_at: float | None
    last_phone_activity_at: float | None
    created_at: float

    @property
    def is_gone(self) -> bool:
        """Whether only a new sign-up brings it back."""
        return self.state in GONE


def load(connection: Any, phone_number_id: str) -> Number | None:
    """Return a number, None for one never heard of."""
    row = connection.execute(_NUMBER.where(numbers.c.phone_number_id == phone_number_id)).first()
    return None if row is None else _number(row)


def all_numbers(connection: Any) -> list[Number]:
    """Return every number that is or was served here."""
    return [_number(row) for row in connection.execute(_NUMBER.order_by(numbers.c.created_at))]


def lock(connection: Any, phone_number_id: str) -> Number | None:
    """Return a number that nobody else can change before this transaction ends."""
    statement = _NUMBER.where(numbers.c.phone_number_id == phone_number_id)
    row = connection.execute(dialects.for_update(statement)).first()
    return None if row is None else _number(row)


def change(connection: Any, phone_number_id: str, **values: Any) -> None:
    """Change columns of a number."""
    connection.execute(numbers.update().where(numbers.c.phone_number_id == phone_number_id).values(**values))


def set_state(
    connection: Any,
    phone_number_id: str,
    state: NumberState,
    *,
    reason: str | None,
    at: float,
    now: float,
    until: float | None = None,
) -> None:
    """Write how a number stands; what waits to be sent is looked at again."""
    change(
        connection,
        phone_number_id,
        state=state.value,
        state_reason=reason,
        state_changed_at=at,
        state_until=until,
        stopped_until=None,
    )
    waiting = sa.select(conversations.c.id).where(
        conversations.c.phone_number_id == phone_number_id, conversations.c.send_due_at.isnot(None)
    )
    wake(connection, SEND, sorted(connection.execute(waiting).scalars()), at=now)


def forget_reason(connection: Any, phone_number_id: str, *, now: float) -> None:
    """Say that nothing is wrong with a number, unless a send has just shown that there is."""
    is_well = sa.or_(numbers.c.stopped_until.is_(None), numbers.c.stopped_until <= now)
    statement = numbers.update().where(numbers.c.phone_number_id == phone_number_id, is_well)
    connection.execute(statement.values(state_reason=None))


def forget(connection: Any, phone_number_id: str) -> None:
    """Forget the token of a number that is gone; the next onboarding asks for its syncs anew."""
    change(
        connection,
        phone_number_id,
        access_token=None,
        token_expires_at=None,
        onboarding=None,
        check_due_at=None,
    )


def reset_syncs(connection: Any, phone_number_id: str) -> None:
    """Begin a number's syncs from nothing; what they brought before stays."""
    for table in (sync_rows, chunks):
        connection.execute(table.delete().where(table.c.phone_number_id == phone_number_id))


def others(connection: Any, phone_number_id: str) -> list[str]:
    """Return the other numbers that are served here, or have left conversations behind."""
    with_chats = sa.select(conversations.c.phone_number_id).distinct()
    found = connection.execute(
        sa.select(numbers.c.phone_number_id).where(
            numbers.c.phone_number_id != phone_number_id,
            sa.or_(
                numbers.c.state.notin_([state.value for state in GONE]),
                numbers.c.phone_number_id.in_(with_chats),
            ),
        )
    )
    return sorted(found.scalars())


def claim_checks(connection: Any, *, now: float, hold_seconds: float) -> list[Number]:
    """Take the numbers that Meta should be asked about; nobody else takes them for ``hold_seconds``."""
    statement = _NUMBER.where(numbers.c.check_due_at <= now)
    found = [_number(row) for row in connection.execute(dialects.for_update(statement, skip_locked=True))]
    for number in found:
        change(connection, number.phone_number_id, check_due_at=now + hold_seconds)
    return found


def claim_warning(connection: Any, phone_number_id: str, *, now: float, not_since: float) -> bool:
    """Take it on us to warn about a number, unless somebody did after ``not_since``."""
    taken = connection.execute(
        numbers.update()
        .where(
            numbers.c.phone_number_id == phone_number_id,
            sa.or_(numbers.c.warned_at.is_(None), numbers.c.warned_at <= not_since),
        )
        .values(warned_at=now)
    )
    return bool(taken.rowcount == 1)


def count_stranger(connection: Any, id_: str, *, now: float) -> None:
    """Count something Meta told about a number or WABA that is not served here."""
    values = {"id": id_[:64], "items": 1, "first_at": now, "last_at": now}
    statement = dialects.insert(connection, strangers).values(**values)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["id"], set_={"items": strangers.c["items"] + 1, "last_at": now}
        )
    )


def strangers_seen(connection: Any) -> dict[str, int]:
    """Return how much Meta told about each number or WABA that is not served here."""
    statement = sa.select(strangers.c.id, strangers.c["items"]).order_by(strangers.c.id)
    return {row[0]: row[1] for row in connection.execute(statement)}


def serve(
    connection: Any, phone_number_id: str, *, now: float, display_phone_number: str | None = None
) -> Number:
    """Know a number from now on, and return it locked."""
    syncs.add_number(connection, phone_number_id, now=now, display_phone_number=display_phone_number)
    found = lock(connection, phone_number_id)
    if found is None:
        raise LookupError(phone_number_id)
    return found


_NUMBER = sa.select(*(numbers.c[name] for name in Number.__struct_fields__))


def _number(row: Any) -> Number:
    return Number(
        **{name: getattr(row, name) for name in Number.__struct_fields__ if name != "state"},
        state=NumberState(row.state),
    )
