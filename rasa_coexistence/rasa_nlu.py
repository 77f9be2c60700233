"""Let Rasa's NLU read a text, guarded against customers who type intents."""

from __future__ import annotations

from typing import Any

from rasa.core.channels.channel import UserMessage

from rasa_coexistence.events import JSON
from rasa_coexistence.to_rasa import INPUT_CHANNEL

WORD_JOINER = "\u2060"  # before a "/", keeps Rasa from taking what a customer types for an intent


async def parse(processor: Any, text: str, *, guarded: bool, tracker: Any = None) -> JSON:
    """Return what NLU makes of a text; ``guarded`` text never becomes an intent by a leading slash."""
    guard = WORD_JOINER if guarded and text.lstrip().startswith("/") else ""
    sender_id = None if tracker is None else tracker.sender_id
    said = UserMessage(guard + text.strip(), sender_id=sender_id, input_channel=INPUT_CHANNEL)
    parsed: JSON = await processor.parse_message(said, tracker)
    parsed["text"] = text.strip() if guard else parsed.get("text")
    if guard:
        _shift(parsed, -len(guard))
    return parsed


def _shift(parsed: JSON, by: int) -> None:
    """Move the places that NLU found, to where they are without the guard."""
    for entity in parsed.get("entities") or []:
        for key in ("start", "end"):
            if isinstance(entity.get(key), int):
                entity[key] = max(entity[key] + by, 0)
    if parsed.get("text_tokens"):
        parsed["text_tokens"] = [(max(start + by, 0), end + by) for start, end in parsed["text_tokens"]]
