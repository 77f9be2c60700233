"""Leases: who works on which conversation, until when."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from rasa_coexistence.errors import LeaseLost
from rasa_coexistence.ledger import dialects
from rasa_coexistence.ledger.schema import conversations

LEASE_SECONDS = 10.0  # what a dead process held comes back after this long
RENEW_SECONDS = 2.5

TALK, SEND, IMPORT = "talk", "send", "import"
_LEASE_OF = {TALK: TALK, SEND: SEND, IMPORT: TALK}  # turns and imports of a conversation exclude each other


def new_owner() -> str:
    """Return a name that no other process has."""
    return secrets.token_hex(8)


class Lease(Struct, frozen=True, kw_only=True):
    """The right to work on one conversation."""

    conversation_id: int
    queue: str
    token: str
    claimed_due_at: float  # what its due time was set to; another value at the end means that new work came


def is_due(connection: Any, queue: str, *, now: float) -> bool:
    """Tell whether a conversation waits that nobody works on."""
    due, _lease, until = _columns(queue)
    statement = sa.select(conversations.c.id).where(due <= now, sa.or_(until.is_(None), until < now))
    return connection.execute(statement.limit(1)).first() is not None


def is_leased(connection: Any, queue: str, conversation_id: int, *, now: float) -> bool:
    """Tell whether somebody works on a conversation."""
    _due, _lease, until = _columns(queue)
    statement = sa.select(conversations.c.id).where(conversations.c.id == conversation_id, until >= now)
    return connection.execute(statement).first() is not None


def claim(
    connection: Any, queue: str, *, owner: str, now: float, limit: int, due_before: float | None = None
) -> list[Lease]:
    """Lease the conversations that are due, longest waiting first.

    Their due time becomes the end of the lease: so the work of a process that dies is due again by itself.
    """
    due, lease, until = _columns(queue)
    free = sa.or_(until.is_(None), until < now)
    latest = now if due_before is None else due_before
    statement = sa.select(conversations.c.id).where(due <= latest, free).order_by(due).limit(limit)
    ids = connection.execute(dialects.for_update(statement, skip_locked=True)).scalars().all()
    token, end = f"{owner}:{secrets.token_hex(6)}", now + LEASE_SECONDS
    if ids:
        values = {lease.name: token, until.name: end, due.name: end}
        connection.execute(conversations.update().where(conversations.c.id.in_(ids)).values(values))
    return [Lease(conversation_id=id_, queue=queue, token=token, claimed_due_at=end) for id_ in ids]


def renew(connection: Any, owner: str, *, now: float) -> None:
    """Keep all leases of a process for another while."""
    dialects.serialize(connection, dialects.MANY)
    for queue in (TALK, SEND):
        _due, lease, until = _columns(queue)
        # A lease that ran out is not taken back: somebody may have begun to work on what it guarded.
        held = sa.and_(lease.like(f"{owner}:%"), until >= now)
        connection.execute(
            conversations.update().where(until.isnot(None), held).values({until.name: now + LEASE_SECONDS})
        )


def check(connection: Any, lease: Lease, *, now: float) -> None:
    """Raise LeaseLost unless the lease still holds; nobody takes it before this transaction ends."""
    _due, held, until = _columns(lease.queue)
    statement = sa.select(conversations.c.id).where(
        conversations.c.id == lease.conversation_id, held == lease.token, until >= now
    )
    if connection.execute(dialects.for_update(statement)).first() is None:
        raise LeaseLost(f"the {lease.queue} lease of conversation {lease.conversation_id} ran out")


def release(connection: Any, lease: Lease, *, due_at: float | None) -> None:
    """Let go of a conversation until ``due_at``, or sooner if new work came meanwhile."""
    due, held, until = _columns(lease.queue)
    nothing_came = (due == lease.claimed_due_at, sa.literal(due_at, sa.Float))
    if due_at is None:
        next_due = sa.case(nothing_came, else_=due)
    else:
        next_due = sa.case(nothing_came, (due < due_at, due), else_=sa.literal(due_at, sa.Float))
    connection.execute(
        conversations.update()
        .where(conversations.c.id == lease.conversation_id, held == lease.token)
        .values({held.name: None, until.name: None, due.name: next_due})
    )


def release_done(connection: Any, leases: Sequence[Lease]) -> None:
    """Let go of conversations of one queue that have nothing left to do, unless new work came meanwhile."""
    dialects.serialize(connection, dialects.MANY)
    if leases:
        due, held, until = _columns(leases[0].queue)
        next_due = sa.case((due == sa.bindparam("claimed"), sa.null()), else_=due)
        ours = sa.and_(conversations.c.id == sa.bindparam("conversation"), held == sa.bindparam("token"))
        values = {held.name: None, until.name: None, due.name: next_due}
        connection.execute(
            conversations.update().where(ours).values(values),
            [
                {"conversation": lease.conversation_id, "token": lease.token, "claimed": lease.claimed_due_at}
                for lease in leases
            ],
        )


def release_all(connection: Any, owner: str, *, now: float) -> None:
    """Let go of all that a process held, to be done by whoever comes next."""
    dialects.serialize(connection, dialects.MANY)
    for queue in (TALK, SEND):
        due, held, until = _columns(queue)
        connection.execute(
            conversations.update()
            .where(held.like(f"{owner}:%"))
            .values({held.name: None, until.name: None, due.name: now})
        )


def wake(connection: Any, queue: str, conversation_ids: Sequence[int], *, at: float) -> None:
    """Make conversations due at a time, or leave them if they are due sooner.

    One that is being worked on gets the new time in any case: its due time is the end of the first lease,
    which a long visit leaves behind, and ``release`` would take that for no news.
    """
    due, _lease, until = _columns(queue)
    for ids in dialects.in_slices(conversation_ids):
        connection.execute(
            conversations.update()
            .where(conversations.c.id.in_(ids), sa.or_(due.is_(None), due > at, until.isnot(None)))
            .values({due.name: at})
        )


def import_again(connection: Any, conversation_ids: Sequence[int], *, at: float) -> None:
    """Make conversations due to be imported that were imported before, or wait for it.

    Of the others Rasa's tracker has no history that could be wrong: their owner does not want it there.
    """
    for ids in dialects.in_slices(conversation_ids):
        has_any = sa.or_(conversations.c.history_imported > 0, conversations.c.import_due_at.isnot(None))
        wanted = sa.select(conversations.c.id).where(conversations.c.id.in_(ids), has_any)
        wake(connection, IMPORT, list(connection.execute(wanted).scalars()), at=at)


def _columns(queue: str) -> tuple[Any, Any, Any]:
    of = _LEASE_OF[queue]
    return (
        conversations.c[f"{queue}_due_at"],
        conversations.c[f"{of}_lease"],
        conversations.c[f"{of}_lease_until"],
    )
