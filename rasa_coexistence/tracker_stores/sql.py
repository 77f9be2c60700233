"""Put history into the ``events`` table of Rasa's SQL tracker store.

Rasa reads a conversation in the order of ids, so history has to have smaller ids than the live rows. It is
inserted with fresh ones, then the live rows are moved behind it. History that is there already stays.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
import structlog

from rasa_coexistence.events import JSON
from rasa_coexistence.sqlite_wiping import overwriting, wipe
from rasa_coexistence.to_rasa import is_history
from rasa_coexistence.tracker_stores import sql_dialects
from rasa_coexistence.tracker_stores.contract import (
    History,
    HistoryImporter,
    as_ascii_json,
    as_json,
    first_live_time,
    until_undisturbed,
)

log = structlog.get_logger(__name__)

T = TypeVar("T")
Stored = tuple[int, str]  # id, data
Fingerprint = tuple[int, int]  # number of rows, largest id
NO_ROWS: Fingerprint = (0, 0)
REWRITE_BELOW_BYTES = 64 * 1024 * 1024  # of an SQLite file: it takes less than a second
COLUMNS = ("sender_id", "type_name", "timestamp", "intent_name", "action_name", "data")


class _Change(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done to one conversation's rows."""

    sender_id: str
    found: Fingerprint  # the rows this was decided on
    delete_ids: list[int]  # outdated history
    insert_rows: list[tuple[Any, ...]]
    first_live_id: int | None  # move the rows from this one behind the inserted ones
    live_count: int

    @property
    def does_something(self) -> bool:
        """Whether there is anything to delete, insert or move."""
        return bool(self.delete_ids or self.insert_rows)


class _Disturbed(Exception):
    """Somebody wrote to a conversation between our look and our change."""


class SQLImporter(HistoryImporter):
    """SQLite and PostgreSQL at their drivers' speed, other databases through SQLAlchemy alone."""

    def __init__(self, store: Any) -> None:
        self._engine = store.engine
        self._events = store.SQLEvent.__table__

    async def prepare(self, histories: Sequence[History]) -> list[_Change]:
        """Look at the rows, and decide what is to be done to them."""
        return await sql_dialects.run(self._engine, self._decide, histories)

    async def replace_history(
        self, histories: Sequence[History], prepared: list[_Change] | None = None
    ) -> None:
        """Bring the conversations of one call to their history in one transaction."""
        await sql_dialects.run(self._engine, self._replace_history, histories, prepared)

    async def forget(self, sender_ids: Sequence[str]) -> None:
        """Delete these conversations in one transaction."""
        await sql_dialects.run(self._engine, self._forget, sender_ids)

    async def read_events(self, sender_id: str) -> list[JSON]:
        """Return the events of all sessions, oldest first."""
        stored = await sql_dialects.run(self._engine, self._read, [sender_id])
        return [as_event(data) for _, data in stored.get(sender_id, [])]

    def _replace_history(self, histories: Sequence[History], prepared: list[_Change] | None) -> None:
        """Decide without a lock, then change under one if nobody wrote meanwhile: the lock stays short."""
        if prepared is None or not self._change(prepared):
            until_undisturbed(lambda wanted: self._change(self._decide(wanted)), histories)

    def _decide(self, histories: Sequence[History]) -> list[_Change]:
        wanted = {history.sender_id: history for history in histories}
        stored = self._read(list(wanted))
        as_text = as_json if self._engine.dialect.name == "sqlite" else as_ascii_json
        return [_plan(stored.get(sender_id, []), history, as_text) for sender_id, history in wanted.items()]

    def _change(self, changes: Sequence[_Change]) -> bool:
        """Do what was decided; return False, and do nothing, when it was decided on other rows."""
        if not any(change.does_something for change in changes):
            with self._engine.connect() as connection:
                return self._is_as_found(connection, changes)
        try:
            with self._engine.begin() as connection:
                sql_dialects.lock(connection, [change.sender_id for change in changes])
                self._apply(connection, changes)
        except _Disturbed:
            return False
        return True

    def _read(self, sender_ids: Sequence[str]) -> dict[str, list[Stored]]:
        table, stored = self._events, dict[str, list[Stored]]()
        with self._engine.connect() as connection:
            for some in sql_dialects.in_slices(sender_ids):
                query = sa.select(table.c.sender_id, table.c.id, table.c.data)
                query = query.where(table.c.sender_id.in_(some)).order_by(table.c.id)
                for sender_id, row_id, data in connection.execute(query):
                    stored.setdefault(sender_id, []).append((row_id, data))
        return stored

    def _apply(self, connection: Any, changes: Sequence[_Change]) -> None:
        table = self._events
        if not self._is_as_found(connection, changes):
            raise _Disturbed
        for change in changes:
            for some in sql_dialects.in_slices(change.delete_ids):
                ours = sa.and_(table.c.sender_id == change.sender_id, table.c.id.in_(some))
                connection.execute(table.delete().where(ours))
        rows = [row for change in changes for row in change.insert_rows]
        sql_dialects.bulk_insert(connection, table, COLUMNS, rows)
        for change in changes:
            if change.first_live_id is not None:
                self._move_live(connection, change)

    def _is_as_found(self, connection: Any, changes: Sequence[_Change]) -> bool:
        found = self._fingerprints(connection, [change.sender_id for change in changes])
        return all(found.get(change.sender_id, NO_ROWS) == change.found for change in changes)

    def _fingerprints(self, connection: Any, sender_ids: Sequence[str]) -> dict[str, Fingerprint]:
        table, found = self._events, dict[str, Fingerprint]()
        for some in sql_dialects.in_slices(sender_ids):
            query = sa.select(table.c.sender_id, sa.func.count(), sa.func.max(table.c.id))
            query = query.where(table.c.sender_id.in_(some)).group_by(table.c.sender_id)
            for sender_id, count, last_id in connection.execute(query):
                found[sender_id] = (count, last_id)
        return found

    def _move_live(self, connection: Any, change: _Change) -> None:
        # The database copies them, not we: MySQL hands out six digits of a FLOAT, which is no time of day.
        table = self._events
        ours = sa.and_(
            table.c.sender_id == change.sender_id,
            table.c.id.between(change.first_live_id, change.found[1]),
        )
        columns = [column for column in table.c if not column.primary_key]
        copy = sa.select(*columns).where(ours).order_by(table.c.id)
        connection.execute(table.insert().from_select([column.name for column in columns], copy))
        if connection.execute(table.delete().where(ours)).rowcount != change.live_count:
            raise _Disturbed

    def _forget(self, sender_ids: Sequence[str]) -> None:
        with self._engine.begin() as connection, overwriting(connection):
            for some in sql_dialects.in_slices(sender_ids):
                connection.execute(self._events.delete().where(self._events.c.sender_id.in_(some)))
        if sql_dialects.is_of_one_thread(self._engine):
            return  # nothing is on disk
        # History that was written anew stood in other places before.
        if not wipe(self._engine, rewrite_below_bytes=REWRITE_BELOW_BYTES):
            log.warning("forget.still_legible", remedy="others used the tracker store for too long")


def _plan(stored: Sequence[Stored], history: History, as_text: Callable[[JSON], str]) -> _Change:
    """Decide what to do to a conversation's rows: nothing if its history is as it should be."""
    events = [as_event(data) for _, data in stored]
    past, live = list[Stored](), list[Stored]()
    for row, event in zip(stored, events, strict=True):
        (past if is_history(event) else live).append(row)
    made = history.make_events(first_live_time(events))
    rows = [_row(history.sender_id, event, as_text(event)) for event in made]
    past_is_first = not past or not live or past[-1][0] < live[0][0]
    kept = _common_length(past, rows) if past_is_first else 0
    moves_live = bool(live) and kept < len(rows)
    return _Change(
        sender_id=history.sender_id,
        found=(len(stored), stored[-1][0]) if stored else NO_ROWS,
        delete_ids=[row_id for row_id, _ in past[kept:]],
        insert_rows=rows[kept:],
        first_live_id=live[0][0] if moves_live else None,
        live_count=len(live),
    )


def _common_length(past: Sequence[Stored], rows: Sequence[tuple[Any, ...]]) -> int:
    place = 0
    while place < len(past) and place < len(rows) and past[place][1] == rows[place][-1]:
        place += 1
    return place


def _row(sender_id: str, event: JSON, data: str) -> tuple[Any, ...]:
    """Fill the columns as ``SQLTrackerStore.save`` does."""
    intent = event["parse_data"]["intent"].get("name") if event["event"] == "user" else None
    return sender_id, event["event"], event["timestamp"], intent, event.get("name"), data


def as_event(data: str) -> JSON:
    """Return what stands in the column ``data``."""
    try:
        event: JSON = msgspec.json.decode(data)
    except msgspec.DecodeError:  # NaN and the like, which Rasa writes and reads
        event = json.loads(data)
    return event
