"""Conversations as the worker sees them: who has them, what waits in them."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from rasa_coexistence import takeover
from rasa_coexistence.events import Content
from rasa_coexistence.ledger import address_book, dialects, message_rows
from rasa_coexistence.ledger.prepared import Prepared, one_of
from rasa_coexistence.ledger.schema import conversations, messages, numbers
from rasa_coexistence.records import MessageState, StoredMessage, Takeover

NUMBER_HOLD = "number"  # reason of a takeover that comes from the whole number


class Chat(Struct, frozen=True, kw_only=True):
    """One conversation, with what its number says about it."""

    id: int
    phone_number_id: str
    sender_id: str
    wa_id: str | None
    user_id: str | None
    username: str | None
    name: str | None
    takeover: Takeover  # the conversation's own
    number_takeover: Takeover  # "bot off now" for the whole number
    tracker_paused: bool
    resumes: int
    handed_back_at: float | None
    last_customer_at: float | None
    last_business_at: float | None
    first_live_at: float | None
    created_at: float
    history_received: int
    history_imported: int
    import_due_at: float | None
    merged_into: int | None
    context_of: int
    pair_slot_at: float
    number_state: str
    stopped_until: float | None

    def person_has_it(self, now: float) -> Takeover | None:
        """Return the takeover in force, the number's first, or None when the bot may speak."""
        for candidate in (self.number_takeover, self.takeover):
            if takeover.in_force(candidate, now):
                return candidate
        return None

    @property
    def contact(self) -> dict[str, str | None]:
        """The customer as ``metadata.whatsapp.contact`` has them."""
        return {"wa_id": self.wa_id, "user_id": self.user_id, "username": self.username, "name": self.name}


def load(connection: Any, conversation_id: int) -> Chat:
    """Return a conversation."""
    return _chat(_ONE.one(connection, this=conversation_id))


def load_many(connection: Any, conversation_ids: Sequence[int]) -> list[Chat]:
    """Return conversations, in the order of their ids as given."""
    found: dict[int, Chat] = {}
    for ids in dialects.in_slices(conversation_ids):
        rows = connection.execute(_CHAT.where(conversations.c.id.in_(ids)))
        found |= {chat.id: chat for chat in map(_chat, rows)}
    return [found[id_] for id_ in conversation_ids]


def by_sender_id(connection: Any, sender_id: str) -> Chat | None:
    """Return the conversation that Rasa knows by this id, or the one it was united with."""
    row = connection.execute(_CHAT.where(conversations.c.sender_id == sender_id)).first()
    chat = None if row is None else _chat(row)
    if chat is not None and chat.merged_into is not None:
        return load(connection, chat.merged_into)
    return chat


def lock(connection: Any, conversation_id: int) -> Chat:
    """Return a conversation that nobody else can change before this transaction ends."""
    _LOCK.one(connection, this=conversation_id)
    return load(connection, conversation_id)


def next_waiting(connection: Any, conversation_id: int, after: int = 0) -> StoredMessage | None:
    """Return the oldest message that the tracker does not have yet."""
    row = _WAITING.first(connection, conversation=conversation_id, after=after)
    return None if row is None else stored_message(row)


def unanswered(connection: Any, conversation_id: int) -> StoredMessage | None:
    """Return the customer's last message if it was only logged and no person wrote after it."""
    row = _LAST_HEARD.first(connection, conversation=conversation_id)
    if row is None or row.state != MessageState.LOGGED.value:
        return None
    asked_at = min(row.sent_at or row.received_at, row.received_at)
    said_at = sa.case(
        (messages.c.sent_at < messages.c.received_at, messages.c.sent_at), else_=messages.c.received_at
    )
    answered = connection.execute(
        sa.select(messages.c.id)
        .where(
            messages.c.conversation_id == conversation_id,
            messages.c.from_business.is_(True),
            sa.or_(messages.c.source == "history", messages.c.by_person.is_(True)),
            messages.c.type.notin_(takeover.NEVER_A_PERSON),
            messages.c.revoked.is_(False),
            # A late echo of something said before the question is no answer to it.
            sa.or_(said_at > asked_at, sa.and_(said_at == asked_at, messages.c.id > row.id)),
        )
        .limit(1)
    ).first()
    return None if answered else stored_message(row)


def settle(connection: Any, message_id: int, state: MessageState) -> None:
    """Say that the tracker has a message."""
    _SETTLE.run(connection, this=message_id, state=state.value)


def mirrored(
    connection: Any,
    conversation_id: int,
    *,
    paused: bool,
    context_of: int | None = None,
    resumed: bool = False,
) -> None:
    """Say what Rasa was told: whether the bot is silent, and of which history the slots were made."""
    values: dict[str, Any] = {"this": conversation_id, "tracker_paused": paused}
    if context_of is not None:
        values["context_of"] = context_of
    (_RESUME if resumed else _CHANGE).run(connection, **values)


def stop_number(connection: Any, phone_number_id: str, reason: str) -> None:
    """Note why a number cannot send, for people to see, and have Meta asked how it is."""
    statement = numbers.update().where(numbers.c.phone_number_id == phone_number_id)
    connection.execute(statement.values(state_reason=reason, check_due_at=0.0))


def ask_for_person(connection: Any, conversation_id: int) -> None:
    """Show that a person must look at a conversation."""
    statement = conversations.update().where(conversations.c.id == conversation_id)
    connection.execute(statement.values(wants_person=True))


def person_not_needed(connection: Any, conversation_id: int) -> None:
    """Say that the bot can do what a person was asked for, unless one has come already."""
    statement = conversations.update().where(
        conversations.c.id == conversation_id, conversations.c.takeover == takeover.BOT.mode
    )
    connection.execute(statement.values(wants_person=False))


def quoted(connection: Any, phone_number_id: str, conversation_id: int, wamid: str) -> StoredMessage | None:
    """Return the message that a quote is about."""
    row = message_rows.find_target(connection, phone_number_id, conversation_id, wamid)
    return None if row is None else stored_message(row)


def stored_message(row: Any) -> StoredMessage:
    """Return a row that begins with all columns of the messages table as a value."""
    # By place: by name SQLAlchemy takes ten times as long, and histories are long.
    return message_of(_VALUES(row))


def message_of(values: Sequence[Any]) -> StoredMessage:
    """Return a value of ``MESSAGE_COLUMNS``, also as a driver gives them."""
    id_, wamid, side, source, kind, text, sent_at, received_at, status, content, edited, revoked = values
    return StoredMessage(
        id=id_,
        wamid=wamid,
        from_business=bool(side),
        source=source,
        type=kind,
        text=text,
        sent_at=sent_at,
        received_at=received_at,
        status=status,
        content=None if content is None else msgspec.json.decode(content, type=Content),
        edited_text=edited,
        revoked=bool(revoked),
    )


MESSAGE_COLUMNS = [messages.c[name] for name in StoredMessage.__struct_fields__ if name in messages.c]
_VALUES = itemgetter(*(messages.c.keys().index(column.name) for column in MESSAGE_COLUMNS))


def _chat(row: Any) -> Chat:
    values = tuple(row)  # by place: see ``stored_message``
    taken = dict(zip(_OTHERS, values[len(_SAME_NAME) :], strict=True))
    fields = dict(zip(_SAME_NAME, values, strict=False))
    return Chat(
        **fields,
        name=taken["address_book_name"] or taken["name"],
        takeover=Takeover(
            mode=taken["takeover"],
            until=taken["takeover_until"],
            since=taken["takeover_since"],
            reason=taken["takeover_reason"],
            wamid=taken["takeover_wamid"],
            wants_person=bool(taken["wants_person"]),
        ),
        number_takeover=Takeover(mode="hold", until=taken["hold_until"], reason=NUMBER_HOLD)
        if taken["hold"]
        else takeover.BOT,
        tracker_paused=bool(taken["tracker_paused"]),
        number_state=taken["number_state"] or "connected",
    )


_READ_APART = {"name", "takeover", "number_takeover", "tracker_paused", "number_state", "stopped_until"}
_SAME_NAME = [name for name in Chat.__struct_fields__ if name not in _READ_APART] + ["stopped_until"]
_OTHERS = {
    **{
        name: conversations.c[name]
        for name in (
            "name",
            "takeover",
            "takeover_until",
            "takeover_since",
            "takeover_reason",
            "takeover_wamid",
            "wants_person",
            "tracker_paused",
        )
    },
    "number_state": numbers.c.state,
    "hold": numbers.c.hold,
    "hold_until": numbers.c.hold_until,
    "address_book_name": address_book.name_of_conversation(),
}

_ALL = [(numbers if name == "stopped_until" else conversations).c[name] for name in _SAME_NAME]
_CHAT = (
    sa.select(*_ALL, *(column.label(name) for name, column in _OTHERS.items()))
    .select_from(conversations)
    .outerjoin(numbers, numbers.c.phone_number_id == conversations.c.phone_number_id)
)
_THIS = conversations.c.id == sa.bindparam("this")
_ONE = Prepared(_CHAT.where(_THIS))
_LOCK = Prepared(dialects.for_update(sa.select(conversations.c.id).where(_THIS)))
_CHANGE = Prepared(conversations.update().where(_THIS))
_RESUME = Prepared(conversations.update().where(_THIS).values(resumes=conversations.c.resumes + 1))
_SETTLE = Prepared(messages.update().where(messages.c.id == sa.bindparam("this")))
_OF_CONVERSATION = sa.select(messages).where(messages.c.conversation_id == sa.bindparam("conversation"))
_WAITING = Prepared(
    _OF_CONVERSATION.where(
        messages.c.state == MessageState.WAITING.value, messages.c.id > sa.bindparam("after")
    )
    .order_by(messages.c.id)
    .limit(1)
)
_HEARD = [state.value for state in (MessageState.WAITING, MessageState.LOGGED, MessageState.ANSWERED)]
_LAST_HEARD = Prepared(
    _OF_CONVERSATION.where(
        one_of(messages.c.state, _HEARD),
        messages.c.source == "live",
        *(messages.c.type != kind for kind in ("reaction", "edit", "revoke", "system", "unsupported")),
        messages.c.revoked.is_(False),
    )
    .order_by(messages.c.id.desc())
    .limit(1)
)
