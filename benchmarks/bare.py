"""Write the same rows as the channel with nothing around: what the machine and the drivers allow.

The steps are those of the channel, each on disk before the next: the webhook as it came, then the messages
and conversations that it holds, then the tracker's events. There are no signatures, no repeats, no bad input,
no other process, no customer to answer meanwhile.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec
from old_chat import DISPLAY_PHONE_NUMBER, PHONE_NUMBER_ID

from rasa_coexistence.ledger import schema

SESSION_SECONDS = 3600
Row = tuple[Any, ...]

EVENT_COLUMNS = ("sender_id", "type_name", "timestamp", "intent_name", "action_name", "data")
_SESSION = {"whatsapp": {"source": "history", "phone_number_id": PHONE_NUMBER_ID}}
_encode = msgspec.json.encode


def _columns(table: Any, *given: str) -> tuple[str, ...]:
    """Return the columns to fill: the given ones, then those that the channel gives a default."""
    defaults = [column.name for column in table.c if column.default is not None]
    return (*given, *(name for name in defaults if name not in given))


def _defaults(table: Any, *given: str) -> Row:
    return tuple(table.c[name].default.arg for name in _columns(table, *given)[len(given) :])


_INBOX = ("lane", "body", "received_at")
_CONVERSATION = (
    "phone_number_id",
    "sender_id",
    "created_at",
    "wa_id",
    "history_received",
    "history_imported",
)
_MESSAGE = (
    "phone_number_id",
    "conversation_id",
    "wamid",
    "inner_id",
    "from_business",
    "source",
    "state",
    "type",
    "text",
    "sent_at",
    "received_at",
    "status",
)
INBOX_COLUMNS = _columns(schema.inbox, *_INBOX)
CONVERSATION_COLUMNS = _columns(schema.conversations, *_CONVERSATION)
MESSAGE_COLUMNS = _columns(schema.messages, *_MESSAGE)
_INBOX_DEFAULTS = _defaults(schema.inbox, *_INBOX)
_CONVERSATION_DEFAULTS = _defaults(schema.conversations, *_CONVERSATION)
_MESSAGE_DEFAULTS = _defaults(schema.messages, *_MESSAGE)


class Databases(Protocol):
    """Two connections, to a ledger and to a tracker store; what is done by a method is on disk after it."""

    def accept(self, inbox: Row, aliases: Iterable[str]) -> int:
        """Store a webhook; return its id."""

    def file(self, chats: Sequence[tuple[Row, list[list[Any]]]], inbox_id: int) -> None:
        """Store conversations with their messages (second value: the conversation's id), drop the webhook."""

    def track(self, events: Sequence[Row]) -> None:
        """Store events of the tracker."""

    def close(self) -> None:
        """Leave nothing that could slow down who is measured next."""


def run(bodies: Iterable[bytes], databases: Databases) -> float:
    """Import webhooks of old chat; return the seconds that took."""
    began = time.perf_counter()
    for body in bodies:
        now = time.time()
        value = msgspec.json.decode(body)["entry"][0]["changes"][0]["value"]
        threads = value["history"][0]["threads"]
        aliases = [f"phone:{thread['id']}" for thread in threads]
        inbox_id = databases.accept(("history", body, now, *_INBOX_DEFAULTS), aliases)
        chats, events = [], []
        for thread in threads:
            count = len(thread["messages"])
            phone = thread["id"]
            conversation = (PHONE_NUMBER_ID, phone, now, phone, count, count, *_CONVERSATION_DEFAULTS)
            messages, its_events = rows_of(thread, now)
            chats.append((conversation, messages))
            events += its_events
        databases.file(chats, inbox_id)
        databases.track(events)
    return time.perf_counter() - began


def rows_of(thread: dict[str, Any], now: float) -> tuple[list[list[Any]], list[Row]]:
    """Return the rows that a thread makes in the ledger and in the tracker store."""
    messages, events = [], []
    phone = thread["id"]
    contact = {"wa_id": phone, "user_id": None, "username": None, "name": None}
    previous = 0.0
    for message in thread["messages"]:
        wamid, at, text = message["id"], float(message["timestamp"]), message["text"]["body"]
        from_business = message["from"] == DISPLAY_PHONE_NUMBER
        status = message["history_context"]["status"].lower()
        row = [PHONE_NUMBER_ID, None, wamid, _inner_id(wamid), from_business, "history", "kept", "text", text]
        messages.append([*row, at, now, status, *_MESSAGE_DEFAULTS])
        if at - previous > SESSION_SECONDS:
            events += _opening(phone, at)
        previous = at
        metadata = {
            "source": "history",
            "wamid": wamid,
            "type": "text",
            "phone_number_id": PHONE_NUMBER_ID,
            "timestamp": at,
            "contact": contact,
            "status": status,
        }
        event = (_bot if from_business else _user)(text, at, wamid, {"whatsapp": metadata})
        events.append((phone, event["event"], at, None, None, _encode(event).decode()))
    return messages, events


def _inner_id(wamid: str) -> str:
    packed = base64.b64decode(wamid[6:])
    begin = packed[2] + 8  # behind the chat, whose length stands there
    return packed[begin + 1 : begin + 1 + packed[begin]].decode()


def _bot(text: str, at: float, wamid: str, metadata: Any) -> dict[str, Any]:
    return {"event": "bot", "timestamp": at, "metadata": metadata, "text": text, "data": {}}


def _user(text: str, at: float, wamid: str, metadata: Any) -> dict[str, Any]:
    return {
        "event": "user",
        "timestamp": at,
        "metadata": metadata,
        "text": text,
        "parse_data": {
            "intent": {"name": None, "confidence": 0.0},
            "entities": [],
            "text": text,
            "message_id": wamid,
            "metadata": metadata,
        },
        "input_channel": "whatsapp",
        "message_id": wamid,
    }


def _opening(phone: str, at: float) -> list[Row]:
    start = {
        "event": "action",
        "timestamp": at,
        "metadata": _SESSION,
        "name": "action_session_start",
        "policy": None,
        "confidence": 1.0,
        "action_text": None,
        "hide_rule_turn": False,
    }
    started = {"event": "session_started", "timestamp": at, "metadata": _SESSION}
    listen = start | {"name": "action_listen", "confidence": None}
    events = (start, started, listen)
    return [(phone, event["event"], at, None, event.get("name"), _encode(event).decode()) for event in events]
