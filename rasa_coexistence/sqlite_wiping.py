"""Leave nothing legible in an SQLite file of what was deleted from it.

SQLite only takes deleted pages out of use: what stood there can be read until the page is needed again. So
the pages that are free are taken into use once, full of zeros, and let go of.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

AT_ONCE_BYTES = 1 << 20  # of one transaction: others write meanwhile
BUSY_SECONDS = 10.0  # how long others may keep the write-ahead log from being emptied
_TABLE = "coexistence_wiping"


@contextlib.contextmanager
def overwriting(connection: Any) -> Iterator[None]:
    """Have SQLite write zeros over what a transaction deletes; on other databases do nothing."""
    if connection.dialect.name != "sqlite":
        yield
        return
    before = connection.exec_driver_sql("PRAGMA secure_delete").scalar()
    connection.exec_driver_sql("PRAGMA secure_delete = ON")
    try:
        yield
    finally:
        connection.exec_driver_sql(f"PRAGMA secure_delete = {'FAST' if before == 2 else before}")


def wipe(engine: Any, *, rewrite_below_bytes: int = 0) -> bool:
    """Overwrite what is free in the file, and empty its log; return False when others kept us from it.

    On other databases do nothing. It takes as long as to write what was ever deleted and not used again.
    A file that is smaller is written anew, which others wait for: that also clears what is left within pages
    in use, where rows once stood that somebody moved without ``secure_delete``.
    """
    if engine.dialect.name != "sqlite":
        return True
    try:
        return _wipe(engine, rewrite_below_bytes)
    except sqlite3.OperationalError:  # locked, or the disk is full
        return False


def _wipe(engine: Any, rewrite_below_bytes: int) -> bool:
    with contextlib.closing(engine.raw_connection()) as pooled:
        connection = pooled.driver_connection if hasattr(pooled, "driver_connection") else pooled.connection
        level, connection.isolation_level = connection.isolation_level, None
        try:
            size = _asked(connection, "PRAGMA page_count") * _asked(connection, "PRAGMA page_size")
            if size < rewrite_below_bytes:
                connection.execute("VACUUM")
            else:
                _overwrite_free_pages(connection)
            return _empty_log(connection)
        finally:
            connection.isolation_level = level


def _overwrite_free_pages(connection: Any) -> None:
    size = _asked(connection, "PRAGMA page_size")
    try:
        while free := min(_asked(connection, "PRAGMA freelist_count"), AT_ONCE_BYTES // size):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"CREATE TABLE IF NOT EXISTS {_TABLE} (zeros BLOB)")
            # A row of one page less the rest that fits on no page of its own: no page is left half used.
            connection.executemany(f"INSERT INTO {_TABLE} VALUES (zeroblob(?))", [(size - 64,)] * free)
            connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        connection.execute(f"DROP TABLE IF EXISTS {_TABLE}")


def _empty_log(connection: Any) -> bool:
    """Move the write-ahead log into the file and make it empty, once nobody reads what is in it."""
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        return True
    end = time.monotonic() + BUSY_SECONDS
    while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _asked(connection: Any, question: str) -> int:
    return int(connection.execute(question).fetchone()[0])
