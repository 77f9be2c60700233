"""Collect what customers typed as candidates for NLU training data, the most frequent first."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from types import TracebackType

from rasa_coexistence.export.masking import Mask, region_of
from rasa_coexistence.export.training_text import plain_line, quoted
from rasa_coexistence.ledger.transcripts import Talk
from rasa_coexistence.records import StoredMessage
from rasa_coexistence.to_rasa import NEVER_SAID

INTENT = "candidates"  # the one intent under which all of them stand, for people to sort
HEAD = 'version: "3.1"\n\nnlu:'
NOTHING = " []\n"

# By digests: long texts as keys would have to be looked for all over the file.
_TABLE = "CREATE TABLE said (digest BLOB UNIQUE, times INT, intent TEXT, text TEXT)"
_ADD = (
    "INSERT INTO said (digest, times, intent, text) VALUES (?, 1, ?, ?) "
    "ON CONFLICT (digest) DO UPDATE SET times = times + 1, intent = coalesce(intent, excluded.intent)"
)
_ALL = "SELECT text, intent, times FROM said WHERE times >= ? ORDER BY times DESC, text LIMIT ?"


class Candidates:
    """Counts texts in a temporary file, so that memory does not grow with them."""

    def __init__(self) -> None:
        self._counts = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._counts.execute("PRAGMA synchronous = OFF")
        self._counts.execute("BEGIN")
        self._counts.execute(_TABLE)

    def __enter__(self) -> Candidates:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._counts.close()

    def add(self, talk: Talk, message: StoredMessage, mask: Mask) -> None:
        """Count a message, if a customer typed it; the mask has to mask all numbers alike."""
        text = typed_text(message)
        line = plain_line(text or "")
        if line:
            line = mask.text(line, region=region_of(talk.display_phone_number))
            intent = ((message.parse or {}).get("intent") or {}).get("name")
            self._counts.execute(_ADD, (_digest(line), intent, line))

    def examples(self, *, at_least: int = 1, limit: int | None = None) -> Iterator[str]:
        """Yield the training data, piece by piece."""
        rows = self._counts.execute(_ALL, (at_least, -1 if limit is None else limit))
        for place, (text, intent, times) in enumerate(rows):
            if place == 0:
                yield f"\n- intent: {INTENT}\n  examples:\n"
            found = "" if intent is None else f"      intent: {quoted(intent)}\n"
            yield f"  - text: {quoted(text)}\n    metadata:\n      times: {times}\n{found}"


def typed_text(message: StoredMessage) -> str | None:
    """Return what a customer typed, captions included, or None."""
    is_typed = message.content is None or message.content.typed
    if message.from_business or message.revoked or message.type in NEVER_SAID or not is_typed:
        return None
    return message.text


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()
