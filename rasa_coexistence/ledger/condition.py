"""Say how everything stands in the ledger: ``rasa-coexistence status`` and ``doctor`` show it to people."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from rasa_coexistence.errors import LedgerError, SchemaTooNew
from rasa_coexistence.events import JSON
from rasa_coexistence.ledger import jobs as job_rows
from rasa_coexistence.ledger import numbers as number_rows
from rasa_coexistence.ledger import overview, syncs
from rasa_coexistence.ledger.numbers import Number
from rasa_coexistence.ledger.schema import (
    SCHEMA_VERSION,
    conversations,
    inbox,
    messages,
    outbox,
    schema_version,
    set_aside,
)
from rasa_coexistence.ledger.schema_jobs import jobs, notices
from rasa_coexistence.records import BubbleState, MessageState

_WAITING = (BubbleState.HELD, BubbleState.QUEUED, BubbleState.SENDING)
_SHOWN = (
    BubbleState.UNCLEAR,
    BubbleState.UNKNOWN,
    BubbleState.FAILED,
    BubbleState.UNDELIVERABLE,
    BubbleState.HELD_BACK,
)


class SchemaTooOld(LedgerError):
    """The tables are not there yet, or of an earlier release: ``rasa run`` brings them up to date."""


class Condition(Struct, frozen=True, kw_only=True):
    """The ledger at a glance; its JSON is what ``status --json`` prints."""

    schema_version: int
    numbers: list[JSON]
    conversations: JSON
    outbox: dict[str, int]
    inbox: JSON
    set_aside: dict[str, int]  # by reason
    strangers: dict[str, int]  # what webhooks said about numbers that are not served here
    jobs: dict[str, int]
    notices: dict[str, int]

    @property
    def set_aside_count(self) -> int:
        """How many items wait to be looked at by a person."""
        return sum(self.set_aside.values())


def version(connection: Any) -> int:
    """Return the version of the tables without touching them; 0 where there are none."""
    if not sa.inspect(connection).has_table(schema_version.name):
        return 0
    return int(connection.execute(sa.select(schema_version.c.version)).scalar() or 0)


def check_version(connection: Any) -> int:
    """Return the version of the tables; raise SchemaTooOld or SchemaTooNew when it is not ours."""
    found = version(connection)
    if found > SCHEMA_VERSION:
        raise SchemaTooNew(found, SCHEMA_VERSION)
    if found < SCHEMA_VERSION:
        state = "is empty" if found == 0 else f"has schema version {found} of {SCHEMA_VERSION}"
        raise SchemaTooOld(f"the ledger {state}; rasa run brings it up to date when it starts")
    return found


def read(connection: Any, *, now: float) -> Condition:
    """Return how everything stands; raise SchemaTooOld or SchemaTooNew."""
    found = check_version(connection)
    return Condition(
        schema_version=found,
        numbers=[_number(connection, number, now) for number in number_rows.all_numbers(connection)],
        conversations=_conversations(connection, now),
        outbox=_outbox(connection),
        inbox=_inbox(connection),
        set_aside=_by(connection, set_aside.c.reason),
        strangers=number_rows.strangers_seen(connection),
        jobs=_named(_by(connection, jobs.c.state), (job_rows.WAITING, job_rows.FAILED)),
        notices=_named(_by(connection, notices.c.state), ("waiting", "failed")),
    )


def _number(connection: Any, number: Number, now: float) -> JSON:
    held = overview.number_takeover(connection, number.phone_number_id, now=now)
    return {
        "phone_number_id": number.phone_number_id,
        "display_phone_number": number.display_phone_number,
        "waba_id": number.waba_id,
        "state": number.state.value,
        "state_reason": number.state_reason,
        "state_until": number.state_until,
        "token_expires_at": number.token_expires_at,
        "checked_at": number.checked_at,
        "last_phone_activity_at": number.last_phone_activity_at,
        "held": held is not None and held.mode == "hold",
        "held_until": None if held is None else held.until,
        "sync": syncs.status(connection, number.phone_number_id),
    }


def _conversations(connection: Any, now: float) -> JSON:
    whole = conversations.c.merged_into.is_(None)
    until = conversations.c.takeover_until
    lasts = sa.or_(until.is_(None), until > now)
    taken = _by(connection, conversations.c.takeover, whole, conversations.c.takeover != "bot", lasts)
    wanting = sa.select(sa.func.count()).select_from(conversations)
    return {
        "count": int(connection.execute(wanting.where(whole)).scalar()),
        "taken_over": sum(taken.values()),
        "taken_for_a_time": taken.get("timed", 0),
        "on_hold": taken.get("hold", 0),
        "want_a_person": int(
            connection.execute(wanting.where(whole, conversations.c.wants_person.is_(True))).scalar()
        ),
    }


def _outbox(connection: Any) -> dict[str, int]:
    found = _by(connection, outbox.c.state)
    waiting = sum(found.get(state.value, 0) for state in _WAITING)
    return {"waiting": waiting} | {state.value: found.get(state.value, 0) for state in _SHOWN}


def _inbox(connection: Any) -> JSON:
    found = _by(connection, inbox.c.lane)
    waiting = _by(connection, messages.c.state, messages.c.state == MessageState.WAITING.value)
    return {
        "live": found.get("live", 0),
        "history": found.get("history", 0),
        "oldest_at": connection.execute(sa.select(sa.func.min(inbox.c.received_at))).scalar(),
        "messages_waiting": sum(waiting.values()),  # read, and not in the tracker yet
    }


def _by(connection: Any, column: Any, *where: Any) -> dict[str, int]:
    statement = sa.select(column, sa.func.count()).where(*where).group_by(column)
    rows = connection.execute(statement.order_by(sa.func.count().desc(), column))
    return {str(value): int(count) for value, count in rows}


def _named(found: dict[str, int], names: tuple[str, ...]) -> dict[str, int]:
    return {name: found.get(name, 0) for name in names}
