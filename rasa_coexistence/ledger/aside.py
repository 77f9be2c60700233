"""What was set aside: look at it, and take it up again."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from rasa_coexistence.ledger.queues import TALK, wake
from rasa_coexistence.ledger.schema import messages, set_aside
from rasa_coexistence.records import MessageState

BEING_READ = "being read again"  # in the place of a digest: the same item can be set aside beside it


class Item(Struct, frozen=True, kw_only=True):
    """One thing that could not be read or acted on."""

    id: int
    reason: str
    path: str
    raw: str  # JSON
    webhook: str | None
    received_at: float
    digest: str
    newest: int = 0  # id of what was set aside last, when this was taken up


def items(connection: Any, *, after: int = 0, limit: int = 500) -> list[Item]:
    """Return what was set aside, oldest first."""
    statement = sa.select(set_aside).where(set_aside.c.id > after).order_by(set_aside.c.id).limit(limit)
    return [Item(**row._mapping) for row in connection.execute(statement)]


def get(connection: Any, aside_id: int) -> Item | None:
    """Return one item."""
    row = connection.execute(sa.select(set_aside).where(set_aside.c.id == aside_id)).first()
    return None if row is None else Item(**row._mapping)


def take_up(connection: Any, aside_id: int, *, now: float) -> Item | bool:
    """Return an item to be read again; True for one that is done with so, False for one that stays.

    A message with which Rasa failed needs no reading: it goes back into the queue of its conversation.
    """
    item = get(connection, aside_id)
    if item is None:
        return True  # somebody else read it meanwhile
    if item.webhook is None:
        given_up = _back_into_queue(connection, item, now)
        if given_up:
            _delete(connection, item.id)
        return given_up
    newest = connection.execute(sa.select(sa.func.max(set_aside.c.id))).scalar()
    mark = f"{BEING_READ} {item.id}"
    connection.execute(set_aside.update().where(set_aside.c.id == item.id).values(digest=mark))
    return Item(**{name: getattr(item, name) for name in item.__struct_fields__} | {"newest": newest})


def put_back(connection: Any, item: Item) -> bool:
    """Delete an item that was read; when nothing came of it but itself again, it stays as it was.

    Return whether all of it was acted on: of what holds several things some can have been set aside anew.
    """
    again = sa.and_(set_aside.c.id > item.newest, set_aside.c.received_at == item.received_at)
    found = connection.execute(sa.select(set_aside.c.id, set_aside.c.digest).where(again)).all()
    same = [row.id for row in found if row.digest == item.digest]
    if same:
        _delete(connection, same[0])
        row = set_aside.c.id == item.id
        connection.execute(set_aside.update().where(row).values(digest=item.digest))
    else:
        _delete(connection, item.id)
    return not found


def _back_into_queue(connection: Any, item: Item, now: float) -> bool:
    given_up = sa.and_(messages.c.wamid == item.path, messages.c.state == MessageState.SET_ASIDE.value)
    ids = connection.execute(sa.select(messages.c.conversation_id).where(given_up)).scalars().all()
    connection.execute(messages.update().where(given_up).values(state=MessageState.WAITING.value))
    wake(connection, TALK, ids, at=now)
    return bool(ids)


def _delete(connection: Any, aside_id: int) -> None:
    connection.execute(set_aside.delete().where(set_aside.c.id == aside_id))
