"""What differs between the databases under Rasa's SQL tracker store, each difference with its reason."""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from rasa_coexistence.ledger.dialects import insert_rows
from rasa_coexistence.tracker_stores.contract import in_thread

T = TypeVar("T")
_LOCK_SPACE = 0x57414358
_LOCKS = 256  # PostgreSQL has room for a few thousand locks, all transactions together


def is_of_one_thread(engine: Any) -> bool:
    """Tell whether each thread would have a database of its own, as with SQLite in memory."""
    return isinstance(engine.pool, sa.pool.SingletonThreadPool)


async def run(engine: Any, work: Callable[..., T], *args: Any) -> T:
    """Run a transaction off the event loop, unless the database is to be had there only."""
    return work(*args) if is_of_one_thread(engine) else await in_thread(work, *args)


def lock(connection: Any, sender_ids: Sequence[str]) -> None:
    """Keep other importers from these conversations until the transaction ends.

    The conversation's lease does that already, until one is lost while its holder still writes.
    """
    if connection.dialect.name == "sqlite":
        # A full cache would be written early, and that shuts out Rasa's readers until we commit. SQLite minds
        # this only outside a transaction.
        connection.exec_driver_sql("PRAGMA cache_spill = OFF")
        # Otherwise the first write would have to upgrade a read lock, and fail if Rasa writes at that moment.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif connection.dialect.name == "postgresql":
        for number in sorted({zlib.crc32(sender_id.encode()) % _LOCKS for sender_id in sender_ids}):
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_SPACE}, {number})")


def bulk_insert(connection: Any, table: Any, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows in their order; the table numbers them."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        insert_rows(connection, table, columns, rows)
    elif connection.dialect.driver == "psycopg2":  # 70,000 rows a second, SQLAlchemy 27,000
        lines, names = io.StringIO(), ", ".join(columns)
        csv.writer(lines).writerows(rows)
        lines.seek(0)
        with connection.connection.cursor() as cursor:
            cursor.copy_expert(f"COPY {table.name} ({names}) FROM STDIN WITH (FORMAT csv)", lines)
    else:
        connection.execute(table.insert(), [dict(zip(columns, row, strict=True)) for row in rows])


def in_slices(items: Sequence[T], size: int = 500) -> Iterator[Sequence[T]]:
    """Cut a list for ``IN (...)``; databases take a bounded number of values in one statement."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
