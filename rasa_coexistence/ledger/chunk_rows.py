"""Know which chunks of a number's history came, and which are missing between them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from rasa_coexistence.events import JSON
from rasa_coexistence.ledger import dialects
from rasa_coexistence.ledger.schema import chunks

MAX_MISSING_SHOWN = 100
LARGEST = 2**31 - 1  # of the columns; no phase and no order comes near it


def note(
    connection: Any,
    phone_number_id: str,
    *,
    phase: int,
    chunk_order: int,
    progress: int | None,
    messages: int,
    at: float,
) -> None:
    """Note a chunk that came; of one that comes again with more in it, the larger number counts."""
    values = {
        "phone_number_id": phone_number_id,
        "phase": phase,
        "chunk_order": chunk_order,
        "progress": progress,
        "messages": messages,
        "received_at": at,
    }
    statement = dialects.insert(connection, chunks).values(**values)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["phone_number_id", "phase", "chunk_order"],
            set_={"messages": messages},
            where=chunks.c.messages < messages,
        )
    )


def fits(phase: int | None, chunk_order: int | None) -> bool:
    """Tell whether a chunk says where it belongs."""
    return all(given is not None and 0 <= given <= LARGEST for given in (phase, chunk_order))


def forget(connection: Any, phone_number_id: str) -> None:
    """Forget all chunks: another sync begins to count anew."""
    connection.execute(chunks.delete().where(chunks.c.phone_number_id == phone_number_id))


def phases(connection: Any, phone_number_id: str) -> list[JSON]:
    """Return for each phase what came and what is missing; more than a hundred are only counted."""
    columns = (chunks.c.phase, chunks.c.chunk_order, chunks.c.messages)
    rows = connection.execute(
        sa.select(*columns)
        .where(chunks.c.phone_number_id == phone_number_id)
        .order_by(chunks.c.phase, chunks.c.chunk_order)
    ).all()
    return [_phase(phase, list(group)) for phase, group in itertools.groupby(rows, key=lambda row: row.phase)]


def _phase(phase: int, rows: Sequence[Any]) -> JSON:
    orders = [row.chunk_order for row in rows]
    first = min(orders[0], 1)  # Meta counts from one; from zero where a zero came
    gaps = list(_gaps(orders, first))
    return {
        "phase": phase,
        "chunks": len(orders),
        "messages": sum(row.messages for row in rows),
        "highest_order": orders[-1],
        "missing": list(itertools.islice(itertools.chain.from_iterable(gaps), MAX_MISSING_SHOWN)),
        "missing_count": sum(map(len, gaps)),
    }


def _gaps(orders: Sequence[int], first: int) -> Iterable[range]:
    """Yield what is missing before each of some numbers that rise."""
    expected = first
    for order in orders:
        if order > expected:
            yield range(expected, order)
        expected = order + 1
