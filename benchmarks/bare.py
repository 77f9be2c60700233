"""Write the same rows as the channel does, with nothing around: what the hardware and the drivers allow."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from old_chat import DISPLAY_PHONE_NUMBER, PHONE_NUMBER_ID
from rasa.core.tracker_store import SQLTrackerStore

from rasa_coexistence.identity import inner_id
from rasa_coexistence.ledger import schema

SESSION_SECONDS = 3600
EVENT_COLUMNS = ("sender_id", "type_name", "timestamp", "intent_name", "action_name", "data")
JSON = dict[str, Any]


def import_into_sqlite(bodies: Iterable[bytes], folder: Path) -> float:
    """Import webhooks into two SQLite files, durable step by step; return the seconds it took."""
    ledger = _database(folder / "bare.db", schema.messages.metadata.tables.values())
    tracker = _database(folder / "bare_rasa.db", [SQLTrackerStore.SQLEvent.__table__])
    known: dict[str, int] = {}
    began = time.perf_counter()
    for body in bodies:
        now = time.time()
        _insert(ledger, schema.inbox, [{"id": 1, "lane": "history", "body": body, "received_at": now}])
        chunk = msgspec.json.decode(body)["entry"][0]["changes"][0]["value"]["history"][0]
        aliases = [{"alias": f"phone:{thread['id']}", "inbox_id": 1} for thread in chunk["threads"]]
        _insert(ledger, schema.inbox_threads, aliases)
        ledger.commit()
        events: list[tuple[Any, ...]] = []
        for thread in chunk["threads"]:
            events += _file(ledger, thread, known, now)
        ledger.execute("DELETE FROM coexistence_inbox_threads")
        ledger.execute("DELETE FROM coexistence_inbox")
        ledger.commit()
        marks = ", ".join("?" * len(EVENT_COLUMNS))
        tracker.executemany(f"INSERT INTO events ({', '.join(EVENT_COLUMNS)}) VALUES ({marks})", events)
        tracker.commit()
    seconds = time.perf_counter() - began
    ledger.close()
    tracker.close()
    return seconds


def _file(
    ledger: sqlite3.Connection, thread: JSON, known: dict[str, int], now: float
) -> list[tuple[Any, ...]]:
    phone, messages = thread["id"], thread["messages"]
    if phone not in known:
        known[phone] = len(known) + 1
        conversation = {"id": known[phone], "phone_number_id": PHONE_NUMBER_ID, "sender_id": phone}
        counts = {"wa_id": phone, "created_at": now, "history_received": len(messages)}
        _insert(ledger, schema.conversations, [conversation | counts])
        alias = {
            "phone_number_id": PHONE_NUMBER_ID,
            "alias": f"phone:{phone}",
            "conversation_id": known[phone],
        }
        _insert(ledger, schema.aliases, [alias])
    _insert(ledger, schema.messages, [_row(message, known[phone], now) for message in messages])
    events: list[JSON] = []
    previous = 0.0
    for message in messages:
        at = float(message["timestamp"])
        if at - previous > SESSION_SECONDS:
            events += _opening(at)
        previous = at
        events.append(as_event(message, phone))
    return [
        (phone, one["event"], one["timestamp"], None, one.get("name"), msgspec.json.encode(one).decode())
        for one in events
    ]


def _row(message: JSON, conversation_id: int, now: float) -> JSON:
    return {
        "phone_number_id": PHONE_NUMBER_ID,
        "conversation_id": conversation_id,
        "wamid": message["id"],
        "inner_id": inner_id(message["id"]),
        "from_business": message["from"] == DISPLAY_PHONE_NUMBER,
        "source": "history",
        "state": "kept",
        "type": "text",
        "text": message["text"]["body"],
        "sent_at": float(message["timestamp"]),
        "received_at": now,
        "status": message["history_context"]["status"].lower(),
    }


def as_event(message: JSON, phone: str) -> JSON:
    """Return the event that a message of old chat becomes."""
    at = float(message["timestamp"])
    about = {
        "source": "history",
        "wamid": message["id"],
        "type": "text",
        "phone_number_id": PHONE_NUMBER_ID,
        "timestamp": at,
        "contact": {"wa_id": phone, "user_id": None, "username": None, "name": None},
        "status": message["history_context"]["status"].lower(),
    }
    metadata, text = {"whatsapp": about}, message["text"]["body"]
    if message["from"] == DISPLAY_PHONE_NUMBER:
        return {"event": "bot", "timestamp": at, "metadata": metadata, "text": text, "data": {}}
    parse: JSON = {"intent": {"name": None, "confidence": 0.0}, "entities": [], "text": text}
    ids = {"message_id": message["id"], "metadata": metadata}
    said = {"event": "user", "timestamp": at, "text": text, "parse_data": parse | ids}
    return said | ids | {"input_channel": "whatsapp"}


def _opening(at: float) -> list[JSON]:
    metadata = {"whatsapp": {"source": "history", "phone_number_id": PHONE_NUMBER_ID}}
    start = {"event": "action", "timestamp": at, "metadata": metadata, "name": "action_session_start"}
    started = {"event": "session_started", "timestamp": at, "metadata": metadata}
    return [start, started, start | {"name": "action_listen"}]


def _insert(connection: sqlite3.Connection, table: Any, rows: list[JSON]) -> None:
    """Insert rows with the table's defaults, in one call of the driver."""
    defaults = {one.name: one.default.arg for one in table.c if one.default is not None}
    names = list(dict.fromkeys([*defaults, *rows[0]]))
    marks = ", ".join("?" * len(names))
    values = [tuple(row.get(name, defaults.get(name)) for name in names) for row in rows]
    connection.executemany(f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks})", values)


def _database(path: Path, tables: Iterable[Any]) -> sqlite3.Connection:
    engine = sa.create_engine(f"sqlite:///{path}", future=True)
    with engine.begin() as connection:
        for table in tables:
            table.create(connection)
    engine.dispose()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection
