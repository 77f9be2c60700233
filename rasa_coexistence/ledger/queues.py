"""Leases: who works on which conversation, until when."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from rasa_coexistence.errors import LeaseLost
from rasa_coexistence.ledger import dialects
from rasa_coexistence.ledger.columns import Time
from rasa_coexistence.ledger.prepared import Prepared, is_among, pages
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
    return _STATEMENTS[queue].is_due.first(connection, now=now) is not None


def is_leased(connection: Any, queue: str, conversation_id: int, *, now: float) -> bool:
    """Tell whether somebody works on a conversation."""
    _due, _lease, until = _columns(queue)
    statement = sa.select(conversations.c.id).where(conversations.c.id == conversation_id, until >= now)
    return connection.execute(statement).first() is not None


def due_among(connection: Any, queue: str, conversation_ids: Sequence[int], *, now: float) -> set[int]:
    """Return those of some conversations that wait, also if somebody works on them."""
    due = _STATEMENTS[queue].due_among
    return {row.id for page in pages(conversation_ids) for row in due.all(connection, **page, now=now)}


def claim(
    connection: Any, queue: str, *, owner: str, now: float, limit: int, due_before: float | None = None
) -> list[Lease]:
    """Lease the conversations that are due, longest waiting first.

    Their due time becomes the end of the lease: so the work of a process that dies is due again by itself.
    """
    latest = now if due_before is None else due_before
    rows = _STATEMENTS[queue].free.all(connection, now=now, latest=latest, most=limit)
    ids = [row.id for row in rows]
    token, end = f"{owner}:{secrets.token_hex(6)}", now + LEASE_SECONDS
    for page in pages(ids):
        _STATEMENTS[queue].take.run(connection, **page, token=token, end=end)
    return [Lease(conversation_id=id_, queue=queue, token=token, claimed_due_at=end) for id_ in ids]


def renew(connection: Any, leases: Sequence[Lease], *, now: float) -> None:
    """Keep what is being worked on for another while.

    One that ran out is not taken back: somebody may have begun to work on what it guarded.
    """
    dialects.serialize(connection, dialects.MANY)
    for queue in _LEASE_OF:
        ours = [
            {"this": lease.conversation_id, "token": lease.token, "now": now, "end": now + LEASE_SECONDS}
            for lease in leases
            if lease.queue == queue
        ]
        if ours:
            connection.execute(_STATEMENTS[queue].renew, ours)


def check(connection: Any, lease: Lease, *, now: float) -> None:
    """Raise LeaseLost unless the lease still holds; nobody takes it before this transaction ends."""
    held = _STATEMENTS[lease.queue].still_held
    if held.first(connection, this=lease.conversation_id, token=lease.token, now=now) is None:
        raise LeaseLost(f"the {lease.queue} lease of conversation {lease.conversation_id} ran out")


def check_all(connection: Any, leases: Sequence[Lease], *, now: float) -> None:
    """Raise LeaseLost unless all leases of one claim still hold; others may take them right after."""
    for page in pages([lease.conversation_id for lease in leases]):
        held = _STATEMENTS[leases[0].queue].held_among
        found = held.all(connection, **page, token=leases[0].token, now=now)
        if len(found) < len(set(page.values())):
            lost = sorted(set(page.values()) - {row.id for row in found})
            raise LeaseLost(f"the {leases[0].queue} leases of conversations {lost} ran out")


class Released(Struct, frozen=True):
    """A conversation was let go of."""

    due_at: float | None  # when to work on it again


def release(connection: Any, lease: Lease, *, due_at: float | None) -> Released:
    """Let go of a conversation until ``due_at``, or sooner if new work came meanwhile."""
    if due_at is None:
        _let_go(connection, [lease])
    else:
        ours = {"this": lease.conversation_id, "token": lease.token, "claimed": lease.claimed_due_at}
        _STATEMENTS[lease.queue].let_go_until.run(connection, **ours, at=due_at)
    return Released(_STATEMENTS[lease.queue].due_at.scalar(connection, this=lease.conversation_id))


def release_done(connection: Any, leases: Sequence[Lease]) -> None:
    """Let go of conversations that have nothing left to do, unless new work came meanwhile."""
    dialects.serialize(connection, dialects.MANY)
    _let_go(connection, leases)


def _let_go(connection: Any, leases: Sequence[Lease]) -> None:
    claims: dict[tuple[str, str, float], list[int]] = {}
    for lease in leases:
        claim = lease.queue, lease.token, lease.claimed_due_at
        claims.setdefault(claim, []).append(lease.conversation_id)
    for (queue, token, claimed), ids in claims.items():
        for page in pages(ids):
            _STATEMENTS[queue].let_go.run(connection, **page, token=token, claimed=claimed)


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
    if len(conversation_ids) == 1:
        _STATEMENTS[queue].wake_one.run(connection, one=conversation_ids[0], at=at)
        return
    for page in pages(conversation_ids):
        _STATEMENTS[queue].wake.run(connection, **page, at=at)


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


class _Statements:
    """What is asked of one queue."""

    def __init__(self, queue: str) -> None:
        due, lease, until = _columns(queue)
        id_, moment = conversations.c.id, partial(sa.bindparam, type_=Time)
        now, at, end = moment("now"), moment("at"), moment("end")
        free = sa.or_(until.is_(None), until < now)
        ours = sa.and_(id_ == sa.bindparam("this"), lease == sa.bindparam("token"))
        nothing_came = due == moment("claimed")
        one = id_ == sa.bindparam("one")
        nobody = {lease.name: None, until.name: None}
        waits = sa.select(id_).where(due <= moment("latest"), free).order_by(due)
        self.due_among = Prepared(sa.select(id_).where(is_among(id_), due <= now))
        held_among = sa.select(id_).where(is_among(id_), lease == sa.bindparam("token"), until >= now)
        self.held_among = Prepared(held_among)
        self.due_at = Prepared(sa.select(due).where(id_ == sa.bindparam("this")))
        self.is_due = Prepared(sa.select(id_).where(due <= now, free).limit(1))
        self.free = Prepared(dialects.for_update(waits.limit(sa.bindparam("most")), skip_locked=True))
        taken = {lease.name: sa.bindparam("token"), until.name: end, due.name: end}
        self.take = Prepared(conversations.update().where(is_among(id_)).values(taken))
        self.still_held = Prepared(dialects.for_update(sa.select(id_).where(ours, until >= now)))
        self.renew = conversations.update().where(ours, until >= now).values({until.name: end})
        done = {**nobody, due.name: sa.case((nothing_came, sa.null()), else_=due)}
        let_go = conversations.update().where(is_among(id_), lease == sa.bindparam("token")).values(done)
        self.let_go = Prepared(let_go)
        later = {**nobody, due.name: sa.case((nothing_came, at), (due < at, due), else_=at)}
        self.let_go_until = Prepared(conversations.update().where(ours).values(later))
        sooner = sa.or_(due.is_(None), due > at, until.isnot(None))
        self.wake = Prepared(conversations.update().where(is_among(id_), sooner).values({due.name: at}))
        self.wake_one = Prepared(conversations.update().where(one, sooner).values({due.name: at}))


_STATEMENTS = {queue: _Statements(queue) for queue in _LEASE_OF}
