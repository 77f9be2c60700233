"""Keep what Meta sent until it has been read."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from rasa_coexistence.ledger import dialects
from rasa_coexistence.ledger.columns import Time
from rasa_coexistence.ledger.prepared import Prepared
from rasa_coexistence.ledger.schema import inbox, inbox_progress, inbox_threads, set_aside

LIVE, HISTORY = "live", "history"
_PACKED = b"x\x01"  # begins what zlib writes at its fastest, and no JSON


def packed(body: bytes) -> bytes:
    """Return a long body as it is stored: a fifth of its size, in a third of the time its writing takes."""
    return zlib.compress(body, 1)


def unpacked(stored: bytes) -> bytes:
    """Return the body that Meta signed."""
    return zlib.decompress(stored) if stored.startswith(_PACKED) else stored


class Body(Struct, frozen=True, kw_only=True):
    """A webhook body that has not been read to its end."""

    id: int
    stored: bytes  # see ``unpacked``
    received_at: float
    position: int  # items of it that are filed already
    attempts: int


def accept(
    connection: Any, body: bytes, *, lane: str, thread_aliases: Iterable[str], received_at: float
) -> int:
    """Store one body, packed or not, with whose history it holds; return its id."""
    values = {"lane": lane, "body": body, "received_at": received_at}
    inbox_id = dialects.insert_returning_id(connection, inbox, values)
    rows = [(alias[:160], inbox_id) for alias in thread_aliases]
    dialects.bulk_insert(connection, inbox_threads, ("alias", "inbox_id"), rows)
    return inbox_id


def oldest(connection: Any, lane: str, *, now: float, limit: int) -> list[Body]:
    """Return the oldest unread bodies of a lane; nobody else reads that lane until the transaction ends.

    Reading is one short transaction, not a lease: when its process dies the database lets go at once, and
    two replicas cannot file the messages of one customer in the wrong order.
    """
    dialects.serialize(connection, dialects.MANY)
    return peek(connection, lane, now=now, limit=limit)


def peek(connection: Any, lane: str, *, now: float, limit: int = 1) -> list[Body]:
    """Return the oldest unread bodies of a lane, which others may read too."""
    return [_body(row) for row in _OLDEST.all(connection, lane=lane, now=now, most=limit)]


def lock(connection: Any, body: Body) -> int | None:
    """Return how far a body is read, by nobody else until this transaction ends; None when it is done.

    SQLite gives the id of what is done to what comes next; the time tells them apart.
    """
    dialects.serialize(connection, dialects.MANY)
    position: int | None = _LOCK.scalar(connection, this=body.id, received_at=body.received_at)
    return position


def with_thread(connection: Any, aliases: Iterable[str]) -> list[Body]:
    """Return the unread history bodies that hold a part of the thread that ``aliases`` lead to."""
    ids = sa.select(inbox_threads.c.inbox_id).where(inbox_threads.c.alias.in_(list(aliases)))
    statement = _BODY.where(inbox.c.id.in_(ids)).order_by(inbox.c.id)
    return [_body(row) for row in connection.execute(statement)]


def advance(connection: Any, inbox_id: int, position: int) -> None:
    """Remember how many items of a body are filed."""
    row = (inbox_id, position)
    dialects.bulk_upsert(connection, inbox_progress, ("inbox_id", "position"), [row], key=1, newer="position")


def finish(connection: Any, inbox_id: int) -> None:
    """Delete a body that was read to its end: all that it said has rows of its own now."""
    for statement in _FINISH:
        statement.run(connection, this=inbox_id)


def postpone(connection: Any, inbox_id: int, *, not_before: float) -> None:
    """Try to read a body again later."""
    values = {"not_before": not_before, "attempts": inbox.c.attempts + 1}
    connection.execute(inbox.update().where(inbox.c.id == inbox_id).values(**values))


def waits(connection: Any, lane: str) -> bool:
    """Tell whether a lane has unread bodies."""
    statement = sa.select(inbox.c.id).where(inbox.c.lane == lane).limit(1)
    return connection.execute(statement).first() is not None


def has_threads(connection: Any) -> bool:
    """Tell whether any unread body, of either lane, holds old chat."""
    return connection.execute(sa.select(inbox_threads.c.inbox_id).limit(1)).first() is not None


def keep_aside(
    connection: Any, *, reason: str, path: str, raw: Any, received_at: float, webhook: Any = None
) -> None:
    """Keep something that could not be read or acted on, once however often it comes.

    ``webhook`` is a body, as JSON or as text, by which it can be read again.
    """
    encoded = msgspec.json.encode(raw)
    body = webhook.encode("utf-8", "replace") if isinstance(webhook, str) else msgspec.json.encode(webhook)
    told = encoded if webhook is None else body
    values = {
        "reason": reason,
        "path": path,
        "raw": plain(encoded.decode()),
        "webhook": None if webhook is None else plain(body.decode()),
        "received_at": received_at,
        "digest": hashlib.sha256(reason.encode("utf-8", "replace") + b"\0" + told).hexdigest(),
    }
    connection.execute(dialects.insert(connection, set_aside).values(**values).on_conflict_do_nothing())


def plain(text: str | None) -> str | None:
    """Return a text that every database takes: PostgreSQL refuses NUL, UTF-8 refuses lone surrogates."""
    if text is None:
        return None
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


_POSITION = sa.func.coalesce(
    sa.select(inbox_progress.c.position).where(inbox_progress.c.inbox_id == inbox.c.id).scalar_subquery(), 0
).label("position")
_BODY = sa.select(inbox, _POSITION)

_THIS = sa.and_(
    inbox.c.id == sa.bindparam("this"), inbox.c.received_at == sa.bindparam("received_at", type_=Time)
)
_LOCK = Prepared(dialects.for_update(sa.select(_POSITION).where(_THIS)))
_OLDEST = Prepared(
    _BODY.where(inbox.c.lane == sa.bindparam("lane"), inbox.c.not_before <= sa.bindparam("now"))
    .order_by(inbox.c.id)
    .limit(sa.bindparam("most"))
)
_FINISH = [
    Prepared(table.delete().where(column == sa.bindparam("this")))
    for table, column in (
        (inbox_threads, inbox_threads.c.inbox_id),
        (inbox_progress, inbox_progress.c.inbox_id),
        (inbox, inbox.c.id),
    )
]


def _body(row: Any) -> Body:
    return Body(
        id=row.id,
        stored=bytes(row.body),
        received_at=row.received_at,
        position=row.position,
        attempts=row.attempts,
    )
