"""Write messages, each once, whichever doors it comes through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from rasa_coexistence import identity
from rasa_coexistence.events import JSON, Content, HistoryMessage
from rasa_coexistence.ledger import dialects
from rasa_coexistence.ledger.inbox import plain
from rasa_coexistence.ledger.prepared import Prepared
from rasa_coexistence.ledger.schema import messages
from rasa_coexistence.records import MessageState

EARLY_MEDIA = "early_media"  # status of a media follow-up whose placeholder has not come yet
PLACEHOLDER = "media_placeholder"  # type of an old message whose media come apart


class Line(NamedTuple):
    """What is written of one old message, whosever it is; the fields are columns."""

    wamid: str
    inner_id: str | None
    from_business: bool
    type: str
    text: str | None
    content: str | None
    raw: str | None
    sent_at: float | None
    status: str | None
    source: str = "history"
    state: str = MessageState.KEPT.value
    revoked: bool = False
    target: str | None = None


def find(
    connection: Any, phone_number_id: str, conversation_id: int, wamid: str, *, from_business: bool
) -> Any:
    """Return the row of a message that came before, also under its other wamid; None when it is new."""
    row = _BY_WAMID.first(connection, number=phone_number_id, wamid=wamid)
    inner = identity.inner_id(wamid)
    if row is not None or inner is None:
        return row
    rows = _BY_INNER_ID.all(connection, conversation=conversation_id, inner=inner, side=from_business)
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
        "inner_id": identity.inner_id(wamid),
        "from_business": from_business,
        "source": source,
        "state": state.value,
        "raw": None if raw is None else raw_of(raw),
        "sent_at": sent_at,
        "received_at": received_at,
    }
    return dialects.insert_returning_id(connection, messages, values | said(content))


def line(message: HistoryMessage) -> Line:
    """Return what is to be written of an old message."""
    content = encoded(message.content)
    return Line(
        message.wamid,
        identity.inner_id(message.wamid),
        message.from_business,
        message.content.type[:32],
        plain(message.content.text),
        content,
        None if content is None else raw_of(message.raw),
        message.sent_at,
        message.status,
        target=target(message.content),
    )


def insert_lines(connection: Any, rows: Sequence[tuple[Any, ...]]) -> int:
    """Write old messages, each number, conversation, time of arrival and Line; what exists stays.

    Return how many there were to write.
    """
    columns = ("phone_number_id", "conversation_id", "received_at", *Line._fields)
    return dialects.bulk_insert(connection, messages, columns, rows)


def raw_of(raw: JSON) -> str | None:
    """Return Meta's object as the column has it."""
    return plain(msgspec.json.encode(raw).decode())


def change(connection: Any, message_id: int, **values: Any) -> None:
    """Change a message."""
    _CHANGE.run(connection, this=message_id, **values)


def said(content: Content) -> dict[str, Any]:
    """Return the columns that say what a message says."""
    return {
        "type": content.type[:32],
        "text": plain(content.text),
        "content": encoded(content),
        "target": target(content),
    }


def key(wamid: str) -> str:
    """Return what all wamids of one message have in common, as far as it can be told."""
    return identity.inner_id(wamid) or wamid


def target(content: Content) -> str | None:
    """Return the key of the message that an edit or a revoke is about."""
    amends = content.type in ("edit", "revoke") and content.target is not None
    return key(content.target or "") if amends else None


def encoded(content: Content) -> str | None:
    """Return a message's content as JSON, or None when its text column says it all."""
    if (
        content.type == "text"
        and content.typed
        and not (content.context or content.referral or content.fields)
    ):
        return None
    return plain(msgspec.json.encode(content).decode())


_CHANGE = Prepared(messages.update().where(messages.c.id == sa.bindparam("this")))
_BY_WAMID = Prepared(
    sa.select(messages).where(
        messages.c.phone_number_id == sa.bindparam("number"), messages.c.wamid == sa.bindparam("wamid")
    )
)
_BY_INNER_ID = Prepared(
    sa.select(messages)
    .where(
        messages.c.conversation_id == sa.bindparam("conversation"),
        messages.c.inner_id == sa.bindparam("inner"),
        messages.c.from_business == sa.bindparam("side"),
    )
    .limit(2)
)
