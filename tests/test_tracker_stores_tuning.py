"""What ``tune_tracker_store`` changes: the speed of Rasa's reading, and nothing that it reads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from chat import ANA, BEN, CHAT, LIVE, events_of, imported
from rasa.core.tracker_store import InMemoryTrackerStore, SQLTrackerStore
from stores import DOMAIN, Shelf, open_store

from rasa_coexistence.tracker_stores import tuning


@pytest.fixture(params=["sqlite", "postgresql"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    """Give an empty SQL store of each kind."""
    with open_store(request.param, tmp_path, request.getfixturevalue) as opened:
        yield opened


async def test_a_tuned_store_reads_and_writes_the_same(shelf: Shelf) -> None:
    """Old chat, a turn in a new session, one in the same session, and somebody without any session."""
    assert not tuning.has_index(shelf.inner.engine)
    await shelf.importer.replace_history([imported(ANA, CHAT)])
    live = await shelf.turn(ANA, LIVE, new_session=True)
    before = [await shelf.full(ANA), await shelf.last_session(ANA), await shelf.last_session(BEN)]
    assert tuning.tune(shelf.inner)
    assert tuning.has_index(shelf.inner.engine)
    assert [await shelf.full(ANA), await shelf.last_session(ANA), await shelf.last_session(BEN)] == before
    live += await shelf.turn(ANA, LIVE + 5, new_session=False)
    other = await shelf.turn(BEN, LIVE, new_session=False)
    other += await shelf.turn(BEN, LIVE + 5, new_session=False)
    assert await shelf.full(ANA) == events_of(*CHAT) + live
    assert await shelf.last_session(ANA) == live[1:]  # from session_started on
    assert await shelf.full(BEN) == await shelf.last_session(BEN) == other
    await shelf.importer.replace_history([imported(BEN, CHAT)])
    assert await shelf.full(BEN) == events_of(*CHAT) + other


async def test_the_database_goes_by_the_index(tmp_path: Path) -> None:
    """What makes it fast is that no row of an earlier session is touched."""
    with open_store("sqlite", tmp_path, pytest.fail) as shelf:
        await shelf.importer.replace_history([imported(ANA, CHAT)])
        assert tuning.tune(shelf.inner)
        with shelf.inner.session_scope() as session:
            query = shelf.inner._event_query(session, ANA, fetch_events_from_all_sessions=False)
            asked = str(query.statement.compile(session.bind, compile_kwargs={"literal_binds": True}))
            plan = session.execute(sa.text(f"EXPLAIN QUERY PLAN {asked}")).all()
    steps = [row[-1] for row in plan]
    assert f"SEARCH events USING INDEX {tuning.INDEX} (sender_id=? AND timestamp>?)" in steps
    assert not [step for step in steps if "SCAN" in step]


async def test_tuning_again_is_harmless(shelf: Shelf) -> None:
    """Every start asks for it, in every replica."""
    assert tuning.tune(shelf.inner)
    assert tuning.tune(shelf.inner)
    assert tuning.tune(SQLTrackerStore(DOMAIN, host=str(shelf.inner.engine.url)))


def test_an_index_that_was_interrupted_is_built_anew(postgres_database: str) -> None:
    """PostgreSQL leaves one behind that only costs writes when a process dies while it builds."""
    store = SQLTrackerStore(DOMAIN, host=postgres_database)
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f"CREATE INDEX {tuning.INDEX} ON events (sender_id)"))
        broken = f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{tuning.INDEX}'::regclass"
        connection.execute(sa.text(broken))
    assert not tuning.has_index(store.engine)
    assert tuning.tune(store)
    columns = [index["column_names"] for index in sa.inspect(store.engine).get_indexes("events")]
    assert list(tuning.COLUMNS) in columns
    store.engine.dispose()


def test_replicas_that_start_together_build_one_index(postgres_database: str) -> None:
    """Who comes second goes on without waiting, and has the index as soon as it is there."""
    stores = [SQLTrackerStore(DOMAIN, host=postgres_database) for _ in range(3)]
    threads = [threading.Thread(target=tuning.tune, args=[store]) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(tuning.has_index(store.engine) for store in stores)
    for store in stores:
        store.engine.dispose()


def test_a_store_with_a_query_of_its_own_stays_as_it_is(tmp_path: Path) -> None:
    """Somebody's subclass knows better what it keeps where."""

    class Own(SQLTrackerStore):
        def _event_query(self, *args: Any, **kwargs: Any) -> Any:
            return super()._event_query(*args, **kwargs)

    store = Own(DOMAIN, host=f"sqlite:///{tmp_path}/rasa.db")
    assert not tuning.tune(store)
    assert not tuning.has_index(store.engine)
    store.engine.dispose()


async def test_the_sql_store_is_found_in_its_wrappers(shelf: Shelf) -> None:
    """Rasa wraps every store in one that swallows errors."""
    assert tuning.sql_store_of(shelf.store) is shelf.inner
    assert tuning.sql_store_of(shelf.inner) is shelf.inner
    assert tuning.sql_store_of(InMemoryTrackerStore(DOMAIN)) is None
