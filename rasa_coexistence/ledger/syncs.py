"""How far each number's history and contacts are."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from rasa_coexistence.ledger import chunk_rows, dialects, inbox
from rasa_coexistence.ledger.schema import conversations, numbers, syncs
from rasa_coexistence.ledger.schema_onboarding import onboardings
from rasa_coexistence.records import SyncState

HISTORY, CONTACTS = "history", "contacts"
CHECK_SECONDS = 24 * 3600.0  # how often Meta is asked whether a number is still connected
DEADLINE_SECONDS = 24 * 3600.0  # after onboarding Meta takes no request for a sync any more


def add_number(
    connection: Any,
    phone_number_id: str,
    *,
    now: float,
    display_phone_number: str | None = None,
    waba_id: str | None = None,
) -> None:
    """Know a business number; what is known of it already stays."""
    learnt = {"display_phone_number": display_phone_number, "waba_id": waba_id}
    values = {"phone_number_id": phone_number_id, "created_at": now, "check_due_at": now + CHECK_SECONDS}
    connection.execute(
        dialects.insert(connection, numbers).values(**values, **learnt).on_conflict_do_nothing()
    )
    for name, value in learnt.items():
        if value:
            connection.execute(
                numbers.update()
                .where(numbers.c.phone_number_id == phone_number_id, numbers.c[name].is_(None))
                .values({name: value})
            )


def row(connection: Any, phone_number_id: str, kind: str) -> Any:
    """Return a number's sync, made when it is asked for first."""
    same = sa.and_(syncs.c.phone_number_id == phone_number_id, syncs.c.kind == kind)
    found = connection.execute(sa.select(syncs).where(same)).first()
    if found is None:
        values = {"phone_number_id": phone_number_id, "kind": kind}
        connection.execute(dialects.insert(connection, syncs).values(**values).on_conflict_do_nothing())
        found = connection.execute(sa.select(syncs).where(same)).one()
    return found


def state_of(connection: Any, phone_number_id: str, kind: str) -> SyncState:
    """Return how far a number's sync is."""
    same = sa.and_(syncs.c.phone_number_id == phone_number_id, syncs.c.kind == kind)
    found = connection.execute(sa.select(syncs.c.state).where(same)).scalar()
    return SyncState.NOT_STARTED if found is None else SyncState(found)


def update(connection: Any, phone_number_id: str, kind: str, **values: Any) -> None:
    """Change a number's sync."""
    row(connection, phone_number_id, kind)
    same = sa.and_(syncs.c.phone_number_id == phone_number_id, syncs.c.kind == kind)
    connection.execute(syncs.update().where(same).values(**values))


def ask(connection: Any, phone_number_id: str, kind: str, *, now: float) -> None:
    """Note that a sync is about to be asked for; what an earlier one came to no longer counts."""
    anew = dict.fromkeys(
        ("request_id", "phase", "chunk_order", "last_chunk_at", "completed_at", "completed_by", "error")
    )
    state = SyncState.REQUESTED.value
    update(connection, phone_number_id, kind, state=state, requested_at=now, progress=0, **anew)
    if kind == HISTORY:
        chunk_rows.forget(connection, phone_number_id)


def answered(
    connection: Any,
    phone_number_id: str,
    kind: str,
    state: SyncState,
    *,
    request_id: str | None = None,
    error: str | None = None,
) -> None:
    """Note what Meta answered to the request, unless what it brought was faster and tells more."""
    known = row(connection, phone_number_id, kind).state
    if known in (SyncState.NOT_STARTED.value, SyncState.REQUESTED.value):
        update(connection, phone_number_id, kind, state=state.value, request_id=request_id, error=error)
    elif request_id is not None:
        update(connection, phone_number_id, kind, request_id=request_id)


def give_up_unknown(connection: Any, *, asked_before: float, error: str) -> list[str]:
    """Fail the syncs that were asked for before then, without an answer and without anything coming."""
    found = connection.execute(
        sa.select(syncs.c.phone_number_id, syncs.c.kind).where(
            syncs.c.state == SyncState.UNKNOWN.value, syncs.c.requested_at <= asked_before
        )
    ).all()
    for sync in found:
        update(connection, sync.phone_number_id, sync.kind, state=SyncState.FAILED.value, error=error)
    return [sync.phone_number_id for sync in found]


def chunk_arrived(
    connection: Any,
    phone_number_id: str,
    *,
    phase: int | None,
    chunk_order: int | None,
    progress: int | None,
    messages: int,
    at: float,
) -> None:
    """Note a chunk of history that was read; ``progress`` only rises, a completed sync stays completed."""
    known = row(connection, phone_number_id, HISTORY)
    values: dict[str, Any] = {"last_chunk_at": max(at, known.last_chunk_at or 0.0)}
    if phase is not None and chunk_order is not None and chunk_rows.fits(phase, chunk_order):
        place = {"phase": phase, "chunk_order": chunk_order}
        chunk_rows.note(connection, phone_number_id, **place, progress=progress, messages=messages, at=at)
        if (phase, chunk_order) >= (known.phase or 0, known.chunk_order or 0):
            values |= place
    if progress is not None:
        values["progress"] = max(known.progress or 0, min(max(progress, 0), 100))
    if known.state != SyncState.COMPLETED.value:
        values |= {"state": SyncState.SYNCING.value, "error": None}
    update(connection, phone_number_id, HISTORY, **values)


def declined(connection: Any, phone_number_id: str, *, code: int | None, sentence: str) -> None:
    """Note that there will be no history: the owner did not share it, or Meta reports another error."""
    if row(connection, phone_number_id, HISTORY).state == SyncState.COMPLETED.value:
        return
    state = SyncState.DECLINED if code == 2593109 else SyncState.FAILED
    update(connection, phone_number_id, HISTORY, state=state.value, error=sentence)


def complete_what_is_done(connection: Any, *, now: float, quiet_seconds: float) -> list[str]:
    """Complete each history of which nothing more waits and that ended at 100 or fell quiet."""
    completed = []
    for sync in connection.execute(
        sa.select(syncs).where(syncs.c.kind == HISTORY, syncs.c.state == SyncState.SYNCING.value)
    ).all():
        by = "progress" if sync.progress >= 100 else "quiet"
        if by == "quiet" and (sync.last_chunk_at or now) + quiet_seconds > now:
            continue
        if _waits(connection, sync.phone_number_id):
            continue
        update(
            connection,
            sync.phone_number_id,
            HISTORY,
            state=SyncState.COMPLETED.value,
            completed_at=now,
            completed_by=by,
        )
        completed.append(sync.phone_number_id)
    return completed


def status(connection: Any, phone_number_id: str) -> dict[str, Any] | None:
    """Return a number's sync state in the shape of ``GET /api/sync/status``; None for a number never seen."""
    number = connection.execute(
        sa.select(numbers, onboardings.c.deadline_at)
        .select_from(numbers)
        .outerjoin(onboardings, onboardings.c.id == numbers.c.onboarding)
        .where(numbers.c.phone_number_id == phone_number_id)
    ).first()
    if number is None:
        return None
    kinds = {
        found.kind: found
        for found in connection.execute(sa.select(syncs).where(syncs.c.phone_number_id == phone_number_id))
    }
    history = _fields(kinds.get(HISTORY), _HISTORY_FIELDS)
    return {
        "phone_number_id": phone_number_id,
        "display_phone_number": number.display_phone_number,
        "sync_status": history["status"],
        "deadline_at": _deadline(number, kinds),
        "history": history
        | _counts(connection, phone_number_id)
        | {"phases": chunk_rows.phases(connection, phone_number_id)},
        "contacts": _fields(kinds.get(CONTACTS), _CONTACTS_FIELDS),
    }


def _counts(connection: Any, phone_number_id: str) -> dict[str, Any]:
    """Count what Meta has sent, what the tracker store has of it, and what waits or cannot get there."""
    has_history = sa.case((conversations.c.history_received > 0, 1), else_=0)
    waits = sa.case((conversations.c.import_due_at.isnot(None), 1), else_=0)
    counted = connection.execute(
        sa.select(
            *(
                sa.func.coalesce(sa.func.sum(column), 0).label(name)
                for name, column in (
                    ("messages_received", conversations.c.history_received),
                    ("messages_imported", conversations.c.history_imported),
                    ("conversations", has_history),
                    ("conversations_waiting", waits),
                )
            ),
            sa.func.max(conversations.c.import_error).label("import_error"),
        ).where(conversations.c.phone_number_id == phone_number_id)
    ).one()
    return {name: value if name == "import_error" else int(value) for name, value in counted._mapping.items()}


def _deadline(number: Any, kinds: dict[str, Any]) -> float | None:
    """Return until when Meta takes the requests; None when nobody knows when the number was onboarded."""
    if number.deadline_at is not None:
        return float(number.deadline_at)
    asked = [sync.requested_at for sync in kinds.values() if sync.requested_at is not None]
    since = number.onboarded_at if number.onboarded_at is not None else min(asked, default=None)
    return None if since is None else float(since) + DEADLINE_SECONDS


_HISTORY_FIELDS = {
    "status": "state",
    "request_id": "request_id",
    "requested_at": "requested_at",
    "phase": "phase",
    "chunk_order": "chunk_order",
    "progress": "progress",
    "last_chunk_at": "last_chunk_at",
    "completed_at": "completed_at",
    "completed_by": "completed_by",
    "error": "error",
}
_CONTACTS_FIELDS = {
    "status": "state",
    "request_id": "request_id",
    "requested_at": "requested_at",
    "received": "received",
    "error": "error",
}
_EMPTY = {"status": SyncState.NOT_STARTED.value, "progress": 0, "received": 0}


def _fields(found: Any, names: dict[str, str]) -> dict[str, Any]:
    if found is None:
        return {name: _EMPTY.get(name) for name in names}
    shown = {name: getattr(found, column) for name, column in names.items()}
    if shown["status"] == SyncState.UNKNOWN.value:  # asked, no clear answer: to the outside it is requested
        shown["status"] = SyncState.REQUESTED.value
    return shown


def _waits(connection: Any, phone_number_id: str) -> bool:
    """Tell whether history of a number is still to be read or imported."""
    if inbox.waits(connection, inbox.HISTORY) or inbox.has_threads(connection):
        return True
    waiting = sa.select(conversations.c.id).where(
        conversations.c.phone_number_id == phone_number_id, conversations.c.import_due_at.isnot(None)
    )
    return connection.execute(waiting.limit(1)).first() is not None
