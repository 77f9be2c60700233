"""What differs between databases, each difference with its reason."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import attrgetter, methodcaller
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from rasa_coexistence.ledger.prepared import at_drivers_speed, is_from_standby

T = TypeVar("T")
# Values of one statement. After each SQLite asks for Python's lock, and waits for it whenever another thread
# computes; 32,766 is what it takes at most.
SQLITE_VALUES = 32_766 if sqlite3.sqlite_version_info >= (3, 32) else 999
FEW_ROWS = 50  # go in one statement, whatever their number
OTHERS_ROWS = 1000
UPDATE_ROWS = 300  # three values each
BUSY_SECONDS = 10  # how long SQLite waits for the lock of another


def create_engine(url: str) -> Any:
    """Return an engine whose commits are on disk when they return."""
    # Without hide_parameters any error that gets into a log would bring along what customers wrote.
    always = {"future": True, "hide_parameters": True}
    if sa.engine.make_url(url).get_backend_name() != "sqlite":
        # The connection that came back last goes first: each keeps for ever the room that its largest webhook
        # took, and in turn all of them would need it.
        pool = {"pool_pre_ping": True, "pool_size": 12, "pool_use_lifo": True}
        connect_args = {**_NOTICE_SILENCE, **sa.engine.make_url(url).query}
        engine = sa.create_engine(url, connect_args=connect_args, **pool, **always)
        sa.event.listen(engine, "connect", _prepare_postgresql)
        sa.event.listen(engine, "handle_error", _leave_read_only_server)
        return engine
    # Kept open: SQLite moves the whole write-ahead log into the file whenever the last connection closes.
    pool = {"poolclass": sa.pool.QueuePool, "pool_size": 8, "pool_use_lifo": True}
    options = {"check_same_thread": False, "cached_statements": 512}
    engine = sa.create_engine(url, connect_args=options, **pool, **always)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin)
    return engine


# A server whose machine died, or that a fail-over cut off, does not hang up: without these we would wait for
# two hours, and Meta with us.
_NOTICE_SILENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 10,  # seconds
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # milliseconds
}


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    # A replica that stands still in a transaction would keep all the others from reading what came in.
    with connection.cursor() as cursor:
        cursor.execute("SET idle_in_transaction_session_timeout = '15s'")
    connection.commit()  # or the pool's rollback would take it back


def _leave_read_only_server(context: Any) -> None:
    """Connect anew after a fail-over, all of the pool."""
    if is_from_standby(context.original_exception):
        context.is_disconnect = True


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see below
    _use_write_ahead_log(connection)
    # secure_delete: what is deleted is overwritten where that costs no write; ``forgetting`` does the rest.
    for pragma in ("synchronous=FULL", f"busy_timeout={BUSY_SECONDS * 1000}", "secure_delete=FAST"):
        connection.execute(f"PRAGMA {pragma}")


def _use_write_ahead_log(connection: Any) -> None:
    """Set the journal mode; when servers start together on a new file, SQLite refuses it without any wait."""
    end = time.monotonic() + BUSY_SECONDS
    while not _has_write_ahead_log(connection, may_wait=time.monotonic() < end):
        time.sleep(0.01)


def _has_write_ahead_log(connection: Any, *, may_wait: bool) -> bool:
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    except connection.OperationalError as error:
        if may_wait and "locked" in str(error):
            return False
        raise
    return True


def _begin(connection: Any) -> None:
    # A transaction that reads first and writes later fails if another wrote in between: writers lock at once.
    read_only = connection.get_execution_options().get("read_only")
    at_drivers_speed(connection, "BEGIN" if read_only else "BEGIN IMMEDIATE")


def insert(connection: Any, table: Any) -> Any:
    """Return an INSERT that knows ``on_conflict_do_nothing`` and ``on_conflict_do_update``."""
    return (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)


def bulk_insert(connection: Any, table: Any, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> int:
    """Insert many rows at the driver's speed and return how many; rows that exist are left as they are."""
    return insert_rows(connection, table, columns, rows, "ON CONFLICT DO NOTHING")


def bulk_upsert(
    connection: Any,
    table: Any,
    columns: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
    *,
    key: int,
    kept: int = 0,
    newer: str,
) -> None:
    """Insert many rows; one with the same key, the first columns, is replaced unless it is newer.

    The ``kept`` columns after the key stay what they were.
    """
    changes = ", ".join(f"{column} = excluded.{column}" for column in columns[key + kept :])
    conflict = (
        f"ON CONFLICT ({', '.join(columns[:key])}) DO UPDATE SET {changes} "
        f"WHERE {table.name}.{newer} <= excluded.{newer}"
    )
    insert_rows(connection, table, columns, rows, conflict)


def insert_rows(
    connection: Any, table: Any, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], conflict: str = ""
) -> int:
    """Insert rows, with a clause for those that exist, at the driver's speed and return how many were."""
    is_sqlite, written = connection.dialect.name == "sqlite", 0
    mark = "?" if is_sqlite else "%s"
    for page in _pages(rows, SQLITE_VALUES // len(columns)) if is_sqlite else in_slices(rows, OTHERS_ROWS):
        statement = _insert_statement(table.name, tuple(columns), mark, len(page), conflict)
        written += int(at_drivers_speed(connection, statement, tuple(chain.from_iterable(page))))
    return written


def update_each(connection: Any, table: Any, numbers: Mapping[int, int], change: str) -> None:
    """Change rows by their ids in few statements; ``{}`` in ``change`` stands for a row's own number."""
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    for page in in_slices(numbers.items(), UPDATE_ROWS):
        own = f"CASE id {f'WHEN {mark} THEN {mark} ' * len(page)}END"
        ids = ", ".join([mark] * len(page))
        statement = f"UPDATE {table.name} SET {change.format(own)} WHERE id IN ({ids})"
        at_drivers_speed(connection, statement, (*chain.from_iterable(page), *(id_ for id_, _ in page)))


def _pages(rows: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """Cut rows into a few pages of few different sizes: each size is a statement that SQLite compiles."""
    start, size, few = 0, 1 << (most.bit_length() - 1), min(FEW_ROWS, most)
    while len(rows) - start > few:
        while size > len(rows) - start:
            size //= 2
        yield rows[start : start + size]
        start += size
    if start < len(rows):
        yield rows[start:]


def _insert_statement(table: str, columns: tuple[str, ...], mark: str, rows: int, conflict: str) -> str:
    row = f"({', '.join([mark] * len(columns))})"
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * rows)} {conflict}"


def for_update(statement: Any, *, skip_locked: bool = False) -> Any:
    """Lock the rows read; SQLite ignores it, there BEGIN IMMEDIATE has locked everything already."""
    return statement.with_for_update(skip_locked=skip_locked)


UPGRADE, MANY = 0, 1


def serialize(connection: Any, what: int) -> None:
    """Let only one transaction at a time go on from here; SQLite has only one writer anyway.

    ``MANY`` is for transactions that change several conversations: two of them would lock the same rows in
    different orders. One that changes a single conversation takes its row first, then its number's.
    """
    if connection.dialect.name != "sqlite":
        statement = sa.text("SELECT pg_advisory_xact_lock(:space, :what)")
        connection.execute(statement, {"space": 0x57414358, "what": what})


def insert_returning_id(connection: Any, table: Any, values: dict[str, Any]) -> int:
    """Insert one row at the driver's speed and return its new id."""
    row = {**_defaults(table), **values}
    given = tuple(row.values())
    into = f"INSERT INTO {table.name} ({', '.join(row)}) VALUES"
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(row))
        return int(at_drivers_speed(connection, f"{into} ({marks})", given, attrgetter("lastrowid")))
    marks = ", ".join(["%s"] * len(row))
    return int(
        at_drivers_speed(connection, f"{into} ({marks}) RETURNING id", given, methodcaller("fetchone"))[0]
    )


@lru_cache
def _defaults(table: Any) -> dict[str, Any]:
    return {column.name: column.default.arg for column in table.c if column.default is not None}


def in_slices(items: Iterable[Any], size: int = 500) -> Iterable[list[Any]]:
    """Cut a list for ``IN (...)``; SQLite takes a bounded number of values in one statement."""
    slice_: list[Any] = []
    for item in items:
        slice_.append(item)
        if len(slice_) == size:
            yield slice_
            slice_ = []
    if slice_:
        yield slice_
