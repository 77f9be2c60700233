"""Write messages, each once, whichever doors it comes through."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
import sqlalchemy as sa

from rasa_coexistence import identity
from rasa_coexistence.events import JSON, Content
from rasa_coexistence.ledger import dialects
from rasa_coexistence.ledger.inbox import plain
from rasa_coexistence.ledger.schema import messages
from rasa_coexistence.records import MessageState

COLUMNS = (
    "phone_number_id",
    "conversation_id",
    "wamid",
    "inner_id",
    "from_business",
    "source",
    "state",
    "type",
    "text",
    "content",
    "raw",
    "sent_at",
    "received_at",
    "status",
    "revoked",
)
EARLY_MEDIA = "early_media"  # status of a media follow-up whose placeholder has not come yet


def find(
    connection: Any, phone_number_id: str, conversation_id: int, wamid: str, *, from_business: bool
) -> Any:
    """Return the row of a message that came before, also under its other wamid; None when it is new."""
    exact = sa.select(messages).where(
        messages.c.phone_number_id == phone_number_id, messages.c.wamid == wamid
    )
    row = connection.execute(exact).first()
    inner = identity.inner_id(wamid)
    if row is not None or inner is None:
        return row
    same = sa.select(messages).where(
        messages.c.conversation_id == conversation_id,
        messages.c.inner_id == inner,
        messages.c.from_business.is_(from_business),
    )
    rows = connection.execute(same.limit(2)).all()
    return rows[0] if len(rows) == 1 else None


def find_target(connection: Any, phone_number_id: str, conversation_id: int, wamid: str) -> Any:
    """Return the row that a reaction, edit, revoke or quote is about, whoever wrote it."""
    for from_business in (True, False):
        row = find(connection, phone_number_id, conversation_id, wamid, from_business=from_business)
        if row is not None:
            return row
    return None


def insert(
    connection: Any,
    *,
    phone_number_id: str,
    conversation_id: int,
    wamid: str,
    from_business: bool,
    source: str,
    state: MessageState,
    content: Content,
    raw: JSON | None,
    sent_at: float | None,
    received_at: float,
) -> int:
    """Write a new message and return its id."""
    values = {
        "phone_number_id": phone_number_id,
        "conversation_id": conversation_id,
        "wamid": wamid,
        "inner_id": inner_id(wamid),
        "from_business": from_business,
        "source": source,
        "state": state.value,
        "raw": None if raw is None else plain(msgspec.json.encode(raw).decode()),
        "sent_at": sent_at,
        "received_at": received_at,
    }
    return dialects.insert_returning_id(connection, messages, values | said(content))


def insert_many(connection: Any, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write new messages, each a tuple of ``COLUMNS``; those that exist stay as they are."""
    dialects.bulk_insert(connection, messages, COLUMNS, rows)


def change(connection: Any, message_id: int, **values: Any) -> None:
    """Change a message."""
    connection.execute(messages.update().where(messages.c.id == message_id).values(**values))


def edit(connection: Any, row: Any, replacement: Content) -> None:
    """Give a message its new content and keep the text that it had first."""
    change(connection, row.id, edited_text=row.edited_text or row.text or "", **said(replacement))


def said(content: Content) -> dict[str, Any]:
    """Return the columns that say what a message says."""
    return {"type": content.type[:32], "text": plain(content.text), "content": encoded(content)}


def encoded(content: Content) -> str | None:
    """Return a message's content as JSON, or None when its text column says it all."""
    if (
        content.type == "text"
        and content.typed
        and not (content.context or content.referral or content.fields)
    ):
        return None
    return plain(msgspec.json.encode(content).decode())


@lru_cache(maxsize=4096)  # asked for twice: is it known, and to write it down
def inner_id(wamid: str) -> str | None:
    """Return the part of a wamid that the same message's other wamid shares."""
    inner = identity.inner_id(wamid)
    return None if inner is None else inner[:64]
