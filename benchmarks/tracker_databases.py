"""The databases that the benchmarks run on."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import bare
import sqlalchemy as sa
from bare import CONVERSATION_COLUMNS, EVENT_COLUMNS, INBOX_COLUMNS, MESSAGE_COLUMNS, Row

from rasa_coexistence.ledger import schema

OF_HISTORY = """
    SELECT count(*) FROM events
    WHERE type_name IN ('user', 'bot') AND sender_id BETWEEN '5215' AND '521505'
"""  # neither those who write live nor the sample for Rasa's API
OTHERS_FROM = 50_000_000


class Store:
    """A ledger and a tracker store for the channel, and two more databases for the bare script."""

    def __init__(
        self,
        *,
        ledger_url: str,
        tracker_store: dict[str, Any],
        bare_databases: Callable[[], bare.Databases],
        messages_of_history: Callable[[], int],
    ) -> None:
        self.ledger_url = ledger_url
        self.tracker_store = tracker_store  # of endpoints.yml
        self.messages_of_history = messages_of_history  # counts the old ones in the channel's tracker store
        self._bare_databases = bare_databases

    def import_barely(self, bodies: Iterable[bytes]) -> float:
        """Import with the bare script; return the seconds that took."""
        databases = self._bare_databases()
        seconds = bare.run(bodies, databases)
        databases.close()
        return seconds


def _count(url: str) -> int:
    with sa.create_engine(url).connect() as connection:
        return int(connection.exec_driver_sql(OF_HISTORY).scalar())


@contextmanager
def sqlite(folder: Path) -> Iterator[Store]:
    """Use files."""
    yield Store(
        ledger_url=f"sqlite:///{folder}/coexistence.db",
        tracker_store={"type": "SQL", "dialect": "sqlite", "db": str(folder / "rasa.db")},
        bare_databases=lambda: _SQLite(folder),
        messages_of_history=lambda: _count(f"sqlite:///{folder}/rasa.db"),
    )


@contextmanager
def postgresql(_folder: Path) -> Iterator[Store]:
    """Use a server that is started for it."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from servers import running_postgres

    with running_postgres() as url:
        admin = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
        with admin.connect() as connection:
            for name in ("ledger", "tracker", "bare_ledger", "bare_tracker"):
                connection.exec_driver_sql(f"CREATE DATABASE {name}")
        server = sa.engine.make_url(url)

        def named(database: str) -> str:
            return str(server.set(database=database).render_as_string(hide_password=False))

        place = {"username": server.username, "password": server.password, "query": dict(server.query)}
        yield Store(
            ledger_url=named("ledger"),
            tracker_store={
                "type": "SQL",
                "dialect": "postgresql",
                "url": server.host,
                "db": "tracker",
                **place,
            },
            bare_databases=lambda: _PostgreSQL(named("bare_ledger"), named("bare_tracker")),
            messages_of_history=lambda: _count(named("tracker")),
        )


@contextmanager
def redis(folder: Path) -> Iterator[Store]:
    """Use a Redis server that is started for it, and a ledger in a file."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from servers import running_redis

    with running_redis() as port:
        yield Store(
            ledger_url=f"sqlite:///{folder}/coexistence.db",
            tracker_store={"type": "redis", "url": "127.0.0.1", "port": port},
            bare_databases=lambda: _SQLiteAndRedis(folder, port),
            messages_of_history=lambda: _count_in_redis(port),
        )


def _count_in_redis(port: int) -> int:
    from redis import Redis

    client, count = Redis(port=port), 0
    for key in client.scan_iter("tracker:5215*"):
        if int(key[12:21]) < OTHERS_FROM:
            events = json.loads(client.get(key))["events"]
            count += sum(event["event"] in ("user", "bot") for event in events)
    return count


STORES: dict[str, Callable[[Path], AbstractContextManager[Store]]] = {
    "sqlite": sqlite,
    "postgresql": postgresql,
    "redis": redis,
}


def _make_tables(ledger_url: str, tracker_url: str) -> None:
    from rasa.core.tracker_store import SQLTrackerStore

    for url, metadata in (
        (ledger_url, schema.messages.metadata),
        (tracker_url, SQLTrackerStore.Base.metadata),
    ):
        engine = sa.create_engine(url)
        metadata.create_all(engine)
        engine.dispose()


def _insert(table: str, columns: Sequence[str], mark: str) -> str:
    marks = ", ".join([mark] * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"


_KEEP_CONVERSATION = """
    ON CONFLICT (sender_id) DO UPDATE
    SET history_received = coexistence_conversations.history_received + excluded.history_received
    RETURNING id
"""


class _SQLite:
    def __init__(self, folder: Path) -> None:
        paths = folder / "bare.db", folder / "bare_rasa.db"
        _make_tables(*(f"sqlite:///{path}" for path in paths))
        self._paths = paths
        self._ledger, self._tracker = map(sqlite3.connect, paths)
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):  # as the channel's; Rasa leaves the defaults
            self._ledger.execute(f"PRAGMA {pragma}")

    def accept(self, inbox: Row, aliases: Iterable[str]) -> int:
        cursor = self._ledger.execute(_insert("coexistence_inbox", INBOX_COLUMNS, "?"), inbox)
        inbox_id = int(cursor.lastrowid or 0)
        threads = [(alias, inbox_id) for alias in aliases]
        columns = ("alias", "inbox_id")
        self._ledger.executemany(_insert("coexistence_inbox_threads", columns, "?"), threads)
        self._ledger.commit()
        return inbox_id

    def file(self, chats: Sequence[tuple[Row, list[list[Any]]]], inbox_id: int) -> None:
        ledger = self._ledger
        make = _insert("coexistence_conversations", CONVERSATION_COLUMNS, "?") + _KEEP_CONVERSATION
        for conversation, messages in chats:
            (conversation_id,) = ledger.execute(make, conversation).fetchone()
            number, phone = conversation[:2]
            link = (number, f"phone:{phone}", conversation_id)
            ledger.execute("INSERT OR IGNORE INTO coexistence_aliases VALUES (?, ?, ?)", link)
            for message in messages:
                message[1] = conversation_id
            ledger.executemany(_insert("coexistence_messages", MESSAGE_COLUMNS, "?"), messages)
        ledger.execute("DELETE FROM coexistence_inbox_threads WHERE inbox_id = ?", (inbox_id,))
        ledger.execute("DELETE FROM coexistence_inbox WHERE id = ?", (inbox_id,))
        ledger.commit()

    def track(self, events: Sequence[Row]) -> None:
        self._tracker.executemany(_insert("events", EVENT_COLUMNS, "?"), events)
        self._tracker.commit()

    def close(self) -> None:
        self._ledger.close()
        self._tracker.close()
        for path in self._paths:
            path.unlink()


class _SQLiteAndRedis(_SQLite):
    def __init__(self, folder: Path, port: int) -> None:
        from redis import Redis

        super().__init__(folder)
        self._redis = Redis(port=port, db=1)

    def track(self, events: Sequence[Row]) -> None:
        chats: dict[str, list[Any]] = {}
        for sender_id, *_, event in events:
            chats.setdefault(sender_id, []).append(json.loads(event))
        with self._redis.pipeline(transaction=False) as pipeline:
            for sender_id, its_events in chats.items():
                pipeline.set(f"tracker:{sender_id}", json.dumps({"name": sender_id, "events": its_events}))
            pipeline.execute()

    def close(self) -> None:
        super().close()
        self._redis.flushdb()


class _PostgreSQL:
    def __init__(self, ledger_url: str, tracker_url: str) -> None:
        import psycopg2

        _make_tables(ledger_url, tracker_url)
        self._ledger, self._tracker = psycopg2.connect(ledger_url), psycopg2.connect(tracker_url)

    def accept(self, inbox: Row, aliases: Iterable[str]) -> int:
        cursor = self._ledger.cursor()
        cursor.execute(f"{_insert('coexistence_inbox', INBOX_COLUMNS, '%s')} RETURNING id", inbox)
        inbox_id = int(cursor.fetchone()[0])
        threads = [(alias, inbox_id) for alias in aliases]
        self._insert_many(cursor, "coexistence_inbox_threads", ("alias", "inbox_id"), threads)
        self._ledger.commit()
        return inbox_id

    def file(self, chats: Sequence[tuple[Row, list[list[Any]]]], inbox_id: int) -> None:
        cursor = self._ledger.cursor()
        make = _insert("coexistence_conversations", CONVERSATION_COLUMNS, "%s") + _KEEP_CONVERSATION
        links, rows = [], []
        for conversation, messages in chats:
            cursor.execute(make, conversation)
            (conversation_id,) = cursor.fetchone()
            links.append((conversation[0], f"phone:{conversation[1]}", conversation_id))
            for message in messages:
                message[1] = conversation_id
            rows += messages
        columns = ("phone_number_id", "alias", "conversation_id")
        self._insert_many(cursor, "coexistence_aliases", columns, links, "ON CONFLICT DO NOTHING")
        self._insert_many(cursor, "coexistence_messages", MESSAGE_COLUMNS, rows)
        cursor.execute("DELETE FROM coexistence_inbox_threads WHERE inbox_id = %s", (inbox_id,))
        cursor.execute("DELETE FROM coexistence_inbox WHERE id = %s", (inbox_id,))
        self._ledger.commit()

    def track(self, events: Sequence[Row]) -> None:
        self._insert_many(self._tracker.cursor(), "events", EVENT_COLUMNS, events)
        self._tracker.commit()

    def close(self) -> None:
        for connection in (self._ledger, self._tracker):
            connection.cursor().execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
            connection.commit()
            connection.close()

    @staticmethod
    def _insert_many(
        cursor: Any, table: str, columns: Sequence[str], rows: Sequence[Any], conflict: str = ""
    ) -> None:
        from psycopg2.extras import execute_values

        into = f"INSERT INTO {table} ({', '.join(columns)}) VALUES %s {conflict}"
        execute_values(cursor, into, rows, page_size=1000)
