"""What is asked of the server from outside, until it is done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from rasa_coexistence.events import JSON
from rasa_coexistence.ledger import dialects
from rasa_coexistence.ledger.inbox import plain
from rasa_coexistence.ledger.queues import TALK, wake
from rasa_coexistence.ledger.schema_jobs import jobs

WAITING, DONE, FAILED = "waiting", "done", "failed"
KEEP_SECONDS = 7 * 86400.0  # of a job that has ended
FORGET = "forget"  # kind of the job that deletes a customer, under the lease of their conversation


class Job(Struct, frozen=True, kw_only=True):
    """One thing that was asked for."""

    id: int
    kind: str
    conversation_id: int | None
    phone_number_id: str | None
    arguments: JSON
    state: str  # waiting | done | failed
    outcome: str | None  # for who asked
    attempts: int  # tries before this one
    created_at: float


def file(
    connection: Any,
    kind: str,
    *,
    now: float,
    conversation_id: int | None = None,
    phone_number_id: str | None = None,
    arguments: JSON | None = None,
    not_before: float = 0.0,
) -> int:
    """Ask for something and return the job's id; the conversation it is about is visited soon."""
    values = {
        "kind": kind,
        "conversation_id": conversation_id,
        "phone_number_id": phone_number_id,
        "arguments": plain(msgspec.json.encode(arguments or {}).decode()),
        "state": WAITING,
        "not_before": not_before,
        "created_at": now,
    }
    _forget_old(connection, before=now - KEEP_SECONDS)
    job_id = dialects.insert_returning_id(connection, jobs, values)
    if conversation_id is not None:
        wake(connection, TALK, [conversation_id], at=max(now, not_before))
    return job_id


def get(connection: Any, job_id: int) -> Job:
    """Return a job."""
    return _job(connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).one())


def of_conversation(connection: Any, conversation_id: int, kinds: Iterable[str]) -> list[Job]:
    """Return the jobs of a conversation that wait, oldest first."""
    wanted = sa.and_(jobs.c.conversation_id == conversation_id, jobs.c.kind.in_(list(kinds)))
    statement = sa.select(jobs).where(jobs.c.state == WAITING, wanted).order_by(jobs.c.id)
    return [_job(row) for row in connection.execute(statement)]


def next_look(connection: Any, conversation_id: int, kinds: Iterable[str]) -> float | None:
    """Return when a conversation has a job to be tried, None when it has none."""
    wanted = sa.and_(jobs.c.conversation_id == conversation_id, jobs.c.kind.in_(list(kinds)))
    statement = sa.select(sa.func.min(jobs.c.not_before)).where(jobs.c.state == WAITING, wanted)
    found: float | None = connection.execute(statement).scalar()
    return found


def again(connection: Any, job_id: int, *, not_before: float, attempts: int | None = None) -> None:
    """Do not try a job before a time; ``attempts`` counts a try."""
    values: JSON = {"not_before": not_before} | ({} if attempts is None else {"attempts": attempts})
    connection.execute(jobs.update().where(jobs.c.id == job_id, jobs.c.state == WAITING).values(**values))


def end(connection: Any, job_id: int, *, state: str, outcome: str, now: float) -> None:
    """Say what became of a job."""
    values = {"state": state, "outcome": plain(outcome), "ended_at": now}
    connection.execute(jobs.update().where(jobs.c.id == job_id, jobs.c.state == WAITING).values(**values))


def _forget_old(connection: Any, *, before: float) -> None:
    """Delete jobs that were done and of which nobody asks any more."""
    connection.execute(jobs.delete().where(jobs.c.state != WAITING, jobs.c.ended_at < before))


def _job(row: Any) -> Job:
    return Job(
        id=row.id,
        kind=row.kind,
        conversation_id=row.conversation_id,
        phone_number_id=row.phone_number_id,
        arguments=msgspec.json.decode(row.arguments),
        state=row.state,
        outcome=row.outcome,
        attempts=row.attempts,
        created_at=row.created_at,
    )
