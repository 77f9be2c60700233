"""Put old chat into the tracker store by Rasa's own HTTP API, as one would without the channel."""

from __future__ import annotations

import json
import time
from typing import Any

import old_chat
from bare import rows_of
from bot import Bot

CONVERSATIONS, MESSAGES_EACH, AT_ONCE = 20, 100, 100  # a sample is enough: each costs the same
FIRST = 50_000_000  # customers that nobody else writes for


async def rate(bot: Bot) -> float:
    """Return how many messages a second ``POST /conversations/<id>/tracker/events`` takes in batches."""
    chats = []
    for thread in old_chat.threads(CONVERSATIONS, MESSAGES_EACH, first=FIRST):
        _, rows = rows_of(thread, time.time())
        chats.append((thread["id"], [_as_the_api_takes_it(event) for *_, event in rows]))
    began = time.perf_counter()
    for sender_id, events in chats:
        url = f"{bot.url}/conversations/{sender_id}/tracker/events?include_events=NONE"
        for start in range(0, len(events), AT_ONCE):
            async with bot.http.post(url, json=events[start : start + AT_ONCE]) as answer:
                answer.raise_for_status()
    return CONVERSATIONS * MESSAGES_EACH / (time.perf_counter() - began)


def _as_the_api_takes_it(encoded: str) -> dict[str, Any]:
    """Leave out what its schema refuses when it is empty, and name the intent that it insists on."""
    keys = ("event", "timestamp", "metadata", "name", "text", "input_channel", "message_id")
    event = {key: value for key, value in json.loads(encoded).items() if key in keys}
    if event["event"] == "user":
        event["parse_data"] = {"intent": {"name": "greet_es"}, "entities": [], "text": event["text"]}
    return event
