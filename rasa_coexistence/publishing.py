"""Tell Rasa's event broker of imported events: at least once, each with an id that stays the same."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from inspect import isawaitable
from typing import Any

import msgspec
import sqlalchemy as sa

from rasa_coexistence.events import JSON
from rasa_coexistence.ledger import dialects
from rasa_coexistence.ledger.database import Database, Urgency
from rasa_coexistence.ledger.schema_history import published
from rasa_coexistence.projection import Projection

AT_ONCE = 50  # events between two pauses, in which others get their turn
_NAMESPACE = uuid.UUID("6b0a4a52-6c0e-5a3b-9a31-5d7f0f8c7a10")

Batch = list[tuple[int, str, list[JSON]]]  # message id, digest, bodies


async def publish(database: Database, broker: Any, projection: Projection) -> int:
    """Tell the broker all of a history that it has not been told, and return how many events that were.

    A message that changed, by an edit say, is told again under its old id. What was told is written down
    afterwards: a crash between makes it be told twice. The errors of the broker come through.
    """
    ids = {message.wamid: message.id for message in projection.messages}
    told = await database.read(_told, list(ids.values()))
    count = 0
    for batch in _batches(projection, ids, told):
        for _message_id, _digest, bodies in batch:
            for body in bodies:
                answer = broker.publish(body)
                if isawaitable(answer):
                    await answer
            count += len(bodies)
        rows = [(message_id, digest) for message_id, digest, _bodies in batch]
        await database.write(_note, rows, urgency=Urgency.BULK)
        await asyncio.sleep(0)
    return count


def _batches(projection: Projection, ids: Mapping[str, int], told: Mapping[int, str]) -> Iterator[Batch]:
    batch: Batch = []
    size = 0
    opening: list[JSON] = []  # rows that open the session of the next message
    for event in projection.events:
        opening.append(event)
        wamid = event["metadata"]["whatsapp"].get("wamid")
        if wamid is None:
            continue
        digest = hashlib.blake2b(msgspec.json.encode(event), digest_size=16).hexdigest()
        if told.get(ids[wamid]) != digest:
            sender_id = projection.chat.sender_id
            bodies = [_body(sender_id, each, f"{wamid}:{n}") for n, each in enumerate(reversed(opening))]
            batch.append((ids[wamid], digest, bodies[::-1]))
            size += len(bodies)
        opening = []
        if size >= AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _body(sender_id: str, event: JSON, name: str) -> JSON:
    """Return what Rasa's tracker stores publish of an event, and an id besides."""
    event_id = str(uuid.uuid5(_NAMESPACE, f"{sender_id}:{name}"))
    return {"sender_id": sender_id, **event, "event_id": event_id}


def _told(connection: Any, message_ids: Sequence[int]) -> dict[int, str]:
    told: dict[int, str] = {}
    for some in dialects.in_slices(message_ids):
        statement = sa.select(published).where(published.c.message_id.in_(some))
        told |= {row.message_id: row.digest for row in connection.execute(statement)}
    return told


def _note(connection: Any, rows: Sequence[tuple[int, str]]) -> None:
    connection.execute(published.delete().where(published.c.message_id.in_([row[0] for row in rows])))
    dialects.bulk_insert(connection, published, ("message_id", "digest"), rows)
