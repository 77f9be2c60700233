"""What only SQL stores promise: rows stay rows, one transaction, and Rasa is hardly held up."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from chat import ANA, BEN, CHAT, LIVE, NOON, events_of, imported, message
from rasa.core.tracker_store import SQLTrackerStore
from rasa.shared.core.trackers import DialogueStateTracker
from stores import DOMAIN, Shelf, open_store, sql_store

from rasa_coexistence.errors import Postponed
from rasa_coexistence.events import JSON
from rasa_coexistence.tracker_stores import History, importer_for, sql_dialects

Row = tuple[Any, ...]


@pytest.fixture(params=["sqlite", "postgresql"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    """Give an empty SQL store of each kind."""
    with open_store(request.param, tmp_path, request.getfixturevalue) as opened:
        yield opened


def rows(shelf: Shelf, sender_id: str, *, ids: bool = False) -> list[Row]:
    """Return a conversation's rows as they stand in the table, in Rasa's order."""
    names = "type_name, timestamp, intent_name, action_name, data"
    query = f"SELECT id, {names} FROM events WHERE sender_id = '{sender_id}' ORDER BY id"
    with shelf.inner.engine.connect() as connection:
        found = [tuple(row) for row in connection.exec_driver_sql(query)]
    return found if ids else [row[1:] for row in found]


def write_behind_our_back(shelf: Shelf, sender_id: str, times: list[int]) -> History:
    """Return a history while which is made somebody writes, as often as ``times`` counts down from."""

    def make_events(first_live_at: float | None) -> list[JSON]:
        if times[0] > 0:
            times[0] -= 1
            row = {"sender_id": sender_id, "type_name": "slot", "timestamp": LIVE, "data": '{"event":"slot"}'}
            with shelf.inner.engine.begin() as connection:
                connection.execute(shelf.inner.SQLEvent.__table__.insert(), [row])
        return events_of(*CHAT)

    return History(sender_id=sender_id, make_events=make_events)


async def test_rows_are_what_rasa_would_have_written(shelf: Shelf) -> None:
    """Reports and other tools read the columns."""
    await shelf.importer.replace_history([imported(ANA, CHAT)])
    await shelf.store.save(DialogueStateTracker.from_dict(BEN, events_of(*CHAT), []))
    ours, rasas = rows(shelf, ANA), rows(shelf, BEN)
    assert [row[:4] for row in ours] == [row[:4] for row in rasas]
    decode = sa.JSON().result_processor(sa.create_engine("sqlite://").dialect, None)
    assert [decode(row[4]) for row in ours] == [decode(row[4]) for row in rasas]
    holds_any_character = shelf.inner.engine.dialect.name == "sqlite"  # others may have any encoding
    assert all(row[4].isascii() or holds_any_character for row in ours)


async def test_live_rows_keep_every_byte(shelf: Shelf) -> None:
    """Other tools may have written what we would write otherwise, or cannot even read."""
    table = shelf.inner.SQLEvent.__table__
    odd: list[dict[str, Any]] = [
        {"data": '{"event": "slot",   "name":"x", "value": NaN, "timestamp": 1760464640.1234567}'},
        {
            "data": '{"event": "slot", "metadata": null, "timestamp": 0}',
            "intent_name": "a",
            "action_name": "",
        },
        {"data": '{"event":"bot","text":"\\ud800 ñ"}', "timestamp": None},
    ]
    blank = {"sender_id": ANA, "type_name": "slot", "timestamp": LIVE + 1 / 3, "intent_name": None}
    with shelf.inner.engine.begin() as connection:
        for row in odd:
            connection.execute(table.insert(), [{"action_name": None, **blank, **row}])
    await shelf.turn(ANA, LIVE + 1, new_session=True)
    before = rows(shelf, ANA)
    await shelf.importer.replace_history([imported(ANA, CHAT)])
    after = rows(shelf, ANA)
    assert after[-len(before) :] == before
    assert len(after) == len(before) + len(events_of(*CHAT))


async def test_what_is_there_already_is_not_written_again(shelf: Shelf) -> None:
    """Each chunk repeats much of what came before; ids are kept, so nothing was rewritten."""
    await shelf.importer.replace_history([imported(ANA, CHAT[:3])])
    some = rows(shelf, ANA, ids=True)
    await shelf.importer.replace_history([imported(ANA, CHAT)])
    more = rows(shelf, ANA, ids=True)
    assert more[: len(some)] == some
    await shelf.turn(ANA, LIVE, new_session=True)
    before = rows(shelf, ANA, ids=True)
    await shelf.importer.replace_history([imported(ANA, CHAT)])
    assert rows(shelf, ANA, ids=True) == before
    await shelf.importer.replace_history([imported(ANA, CHAT[:-1])])
    assert rows(shelf, ANA, ids=True) == before[: len(more) - 4] + before[len(more) :]


async def test_history_that_stands_behind_live_rows_is_put_right(shelf: Shelf) -> None:
    """Somebody may have posted it through Rasa's own API."""
    live = await shelf.turn(ANA, LIVE, new_session=True)
    tracker = await shelf.store.retrieve(ANA)
    assert tracker is not None
    await shelf.store.save(
        DialogueStateTracker.from_dict(
            ANA, [event.as_dict() for event in tracker.events] + events_of(*CHAT, live=LIVE), []
        )
    )
    live += await shelf.turn(ANA, LIVE + 9, new_session=True)
    await shelf.importer.replace_history([imported(ANA, CHAT)])
    full = await shelf.full(ANA)
    assert full[: len(events_of(*CHAT))] == events_of(*CHAT)
    assert [event["timestamp"] for event in full[len(events_of(*CHAT)) :]] == [e["timestamp"] for e in live]


@pytest.mark.parametrize("at", ["bulk_insert", "_move_live"])
async def test_dying_in_the_middle_changes_nothing(
    shelf: Shelf, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old or new, never a mix, for all conversations of a call."""
    await shelf.importer.replace_history([imported(sender, CHAT[2:4]) for sender in (ANA, BEN)])
    await shelf.turn(ANA, LIVE, new_session=True)
    before = [rows(shelf, sender, ids=True) for sender in (ANA, BEN)]
    place: Any = sql_dialects if at == "bulk_insert" else type(shelf.importer)
    insert = getattr(place, at)

    def die_after(*args: Any) -> None:
        insert(*args)
        raise KeyError("power is gone")

    with monkeypatch.context() as patched:
        patched.setattr(place, at, die_after)
        with pytest.raises(KeyError):
            await shelf.importer.replace_history([imported(sender, CHAT) for sender in (BEN, ANA)])
    assert [rows(shelf, sender, ids=True) for sender in (ANA, BEN)] == before
    await shelf.importer.replace_history([imported(sender, CHAT) for sender in (BEN, ANA)])
    assert (await shelf.full(ANA))[: len(events_of(*CHAT))] == await shelf.full(BEN) == events_of(*CHAT)


@pytest.mark.parametrize("with_live", [False, True])
async def test_a_write_in_between_is_not_lost(shelf: Shelf, with_live: bool) -> None:
    """Rasa's lock can fail: what was written after our look stays, and behind the history."""
    if with_live:
        await shelf.turn(ANA, LIVE, new_session=True)
    before = len(rows(shelf, ANA))
    await shelf.importer.replace_history([write_behind_our_back(shelf, ANA, [2])])
    kinds = [row[0] for row in rows(shelf, ANA)]
    assert len(kinds) == before + len(events_of(*CHAT)) + 2
    assert kinds[-2:] == ["slot", "slot"]


async def test_somebody_who_never_stops_writing_postpones_the_import(shelf: Shelf) -> None:
    """The worker comes back later."""
    times = [99]
    with pytest.raises(Postponed):
        await shelf.importer.replace_history([write_behind_our_back(shelf, ANA, times)])
    assert [row[0] for row in rows(shelf, ANA)] == ["slot"] * (99 - times[0])


async def test_history_that_is_there_already_waits_for_no_lock(shelf: Shelf) -> None:
    """Meta repeats itself, and another conversation may be written meanwhile."""
    await shelf.importer.replace_history([imported(ANA, CHAT)])
    with shelf.inner.engine.begin() as other:
        sql_dialects.lock(other, [ANA])
        await asyncio.wait_for(shelf.importer.replace_history([imported(ANA, CHAT)]), 4.0)


async def test_two_imports_at_once_write_once(shelf: Shelf) -> None:
    """A lease may be lost while its holder still writes."""
    other = importer_for(shelf.store)
    for number in range(10):
        sender = f"{ANA}{number}"
        await asyncio.gather(
            *(each.replace_history([imported(sender, CHAT)]) for each in (shelf.importer, other, other))
        )
        assert await shelf.full(sender) == events_of(*CHAT)


async def test_an_import_outlasts_whoever_waited_for_it(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease and the lock are given back by who is cancelled: not before the transaction has ended."""
    inserting, insert = asyncio.Event(), sql_dialects.bulk_insert
    loop = asyncio.get_running_loop()

    def slow(*args: Any) -> None:
        loop.call_soon_threadsafe(inserting.set)
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.1), loop).result()
        insert(*args)

    monkeypatch.setattr(sql_dialects, "bulk_insert", slow)
    importing = asyncio.create_task(shelf.importer.replace_history([imported(ANA, CHAT)]))
    await inserting.wait()
    importing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await importing
    assert await shelf.full(ANA) == events_of(*CHAT)


async def test_any_database_gets_the_same_rows(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """MySQL, Oracle and the others go through SQLAlchemy alone."""

    class SlowConnection:
        class dialect:  # noqa: N801
            name, driver = "mysql", "pymysql"

        def __init__(self, connection: Any) -> None:
            self.execute = connection.execute

    fast = sql_dialects.bulk_insert

    def plainly(connection: Any, table: Any, columns: Sequence[str], fresh: Sequence[Row]) -> None:
        fast(SlowConnection(connection), table, columns, fresh)

    await shelf.importer.replace_history([imported(BEN, CHAT)])
    monkeypatch.setattr(sql_dialects, "bulk_insert", plainly)
    await shelf.importer.replace_history([imported(ANA, CHAT)])
    assert rows(shelf, ANA) == rows(shelf, BEN)


async def test_rasa_can_read_while_a_long_history_goes_in(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite would write a full cache early and shut readers out until the end."""
    insert, seen = sql_dialects.bulk_insert, list[int]()

    def look_before_the_end(*args: Any) -> None:
        insert(*args)
        reader = sqlite3.connect(tmp_path / "rasa.db", timeout=0)
        seen.extend(reader.execute("SELECT count(*) FROM events").fetchone())
        reader.close()

    monkeypatch.setattr(sql_dialects, "bulk_insert", look_before_the_end)
    with open_store("sqlite", tmp_path, request.getfixturevalue) as shelf:
        long_chat = [message(f"wamid.{number}", NOON + number) for number in range(10_000)]
        await shelf.importer.replace_history([imported(ANA, long_chat)])
        assert seen == [0]
        assert len(await shelf.full(ANA)) == 10_003


async def test_a_locked_database_is_an_error_and_changes_nothing(tmp_path: Path) -> None:
    """The driver's error comes through, and the worker postpones."""
    store = sql_store(f"sqlite:///{tmp_path}/rasa.db?timeout=0.1")
    importer = importer_for(store)
    other = sqlite3.connect(tmp_path / "rasa.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sa.exc.OperationalError, match="locked"):
        await importer.replace_history([imported(ANA, CHAT)])
    other.execute("ROLLBACK")
    other.close()
    await importer.replace_history([imported(ANA, CHAT)])
    assert await importer.read_events(ANA) == events_of(*CHAT)
    store.engine.dispose()


async def test_a_database_in_memory_is_written_where_rasa_reads_it() -> None:
    """SQLite in memory has one database for each thread."""
    store = SQLTrackerStore(DOMAIN, dialect="sqlite", db=":memory:")
    importer = importer_for(store)
    await importer.replace_history([imported(ANA, CHAT)])
    tracker = await store.retrieve_full_tracker(ANA)
    assert tracker is not None
    assert [event.as_dict() for event in tracker.events] == events_of(*CHAT)
    store.engine.dispose()
