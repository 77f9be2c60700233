"""How far each number's history and contacts are."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from rasa_coexistence.ledger import dialects, inbox
from rasa_coexistence.ledger.schema import chunks, conversations, numbers, syncs
from rasa_coexistence.records import SyncState

HISTORY, CONTACTS = "history", "contacts"
CHECK_SECONDS = 24 * 3600.0  # how often Meta is asked whether a number is still connected


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


def update(connection: Any, phone_number_id: str, kind: str, **values: Any) -> None:
    """Change a number's sync."""
    row(connection, phone_number_id, kind)
    same = sa.and_(syncs.c.phone_number_id == phone_number_id, syncs.c.kind == kind)
    connection.execute(syncs.update().where(same).values(**values))


def ask(connection: Any, phone_number_id: str, kind: str, *, now: float) -> None:
    """Note that a sync is about to be asked for."""
    update(
        connection,
        phone_number_id,
        kind,
        state=SyncState.REQUESTED.value,
        requested_at=now,
        request_id=None,
        error=None,
    )


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
    if row(connection, phone_number_id, kind).state == SyncState.REQUESTED.value:
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
    if phase is not None and chunk_order is not None:
        chunk = {"phase": phase, "chunk_order": chunk_order, "progress": progress, "messages": messages}
        statement = dialects.insert(connection, chunks).values(
            phone_number_id=phone_number_id, received_at=at, **chunk
        )
        connection.execute(statement.on_conflict_do_nothing())
        if (phase, chunk_order) >= (known.phase or 0, known.chunk_order or 0):
            values |= {"phase": phase, "chunk_order": chunk_order}
    if progress is not None:
        values["progress"] = max(known.progress or 0, min(max(progress, 0), 100))
    if known.state != SyncState.COMPLETED.value:
        values |= {"state": SyncState.SYNCING.value, "error": None}
    update(connection, phone_number_id, HISTORY, **values)


def declined(connection: Any, phone_number_id: str, *, code: int | None, sentence: str, at: float) -> None:
    """Note that there will be no history: the owner did not share it, or Meta reports another error."""
    if row(connection, phone_number_id, HISTORY).state == SyncState.COMPLETED.value:
        return
    state = SyncState.DECLINED if code == 2593109 else SyncState.FAILED
    update(connection, phone_number_id, HISTORY, state=state.value, error=sentence, last_chunk_at=at)


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
        sa.select(numbers).where(numbers.c.phone_number_id == phone_number_id)
    ).first()
    if number is None:
        return None
    kinds = {
        found.kind: found
        for found in connection.execute(sa.select(syncs).where(syncs.c.phone_number_id == phone_number_id))
    }
    received, imported, count = connection.execute(
        sa.select(
            sa.func.coalesce(sa.func.sum(conversations.c.history_received), 0),
            sa.func.coalesce(sa.func.sum(conversations.c.history_imported), 0),
            sa.func.count(),
        ).where(conversations.c.phone_number_id == phone_number_id, conversations.c.history_received > 0)
    ).one()
    history = _fields(kinds.get(HISTORY), _HISTORY_FIELDS)
    contacts = _fields(kinds.get(CONTACTS), _CONTACTS_FIELDS)
    return {
        "phone_number_id": phone_number_id,
        "display_phone_number": number.display_phone_number,
        "sync_status": history["status"],
        "history": history
        | {"messages_received": int(received), "messages_imported": int(imported), "conversations": count},
        "contacts": contacts,
    }


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
    if inbox.waits(connection, inbox.HISTORY):
        return True
    waiting = sa.select(conversations.c.id).where(
        conversations.c.phone_number_id == phone_number_id, conversations.c.import_due_at.isnot(None)
    )
    return connection.execute(waiting.limit(1)).first() is not None
