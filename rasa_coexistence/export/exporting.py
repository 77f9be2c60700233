"""Bring what the ledger has into a format, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

from msgspec import Struct

from rasa_coexistence.export import candidates, json_lines, stories
from rasa_coexistence.export.masking import Mask
from rasa_coexistence.ledger import transcripts
from rasa_coexistence.ledger.transcripts import Selection, Talk
from rasa_coexistence.records import StoredMessage


class Format(str, Enum):
    """What an export is for."""

    JSON_LINES = "jsonl"  # for anything: one message a line
    STORIES = "stories"  # Rasa test stories
    NLU = "nlu"  # candidates for NLU training data


class Wanted(Struct, frozen=True, kw_only=True):
    """What is to be exported, and how."""

    format: Format
    selection: Selection
    mask_key: bytes | None  # None: nothing is masked
    session_seconds: float = 3600.0
    at_least: int = 1  # of candidates: how often something was said
    limit: int | None = None  # of candidates


def pieces(connection: Any, wanted: Wanted, on_message: Callable[[], None]) -> Iterator[bytes]:
    """Yield an export; ``on_message`` is told of each message that was read."""

    def talks() -> Iterator[tuple[Talk, Iterator[StoredMessage]]]:
        for talk in transcripts.talks(connection, wanted.selection):
            yield talk, _told(transcripts.messages_of(connection, talk, wanted.selection), on_message)

    return _WRITERS[wanted.format](talks(), wanted)


Talks = Iterator[tuple[Talk, Iterator[StoredMessage]]]


def _json_lines(talks: Talks, wanted: Wanted) -> Iterator[bytes]:
    mask = Mask(wanted.mask_key)
    for talk, messages in talks:
        for message in messages:
            yield json_lines.line(talk, message, mask)


def _stories(talks: Talks, wanted: Wanted) -> Iterator[bytes]:
    mask = Mask(wanted.mask_key)
    yield stories.HEAD.encode()
    nothing = stories.NOTHING
    for talk, messages in talks:
        for piece in stories.stories(talk, messages, mask, session_seconds=wanted.session_seconds):
            nothing = ""
            yield piece.encode()
    yield nothing.encode()


def _candidates(talks: Talks, wanted: Wanted) -> Iterator[bytes]:
    mask = Mask(wanted.mask_key, together=True)
    with candidates.Candidates() as counted:
        for talk, messages in talks:
            for message in messages:
                counted.add(talk, message, mask)
        yield candidates.HEAD.encode()
        nothing = candidates.NOTHING
        for piece in counted.examples(at_least=wanted.at_least, limit=wanted.limit):
            nothing = ""
            yield piece.encode()
        yield nothing.encode()


def _told(messages: Iterator[StoredMessage], on_message: Callable[[], None]) -> Iterator[StoredMessage]:
    for message in messages:
        on_message()
        yield message


_WRITERS: dict[Format, Callable[[Talks, Wanted], Iterator[bytes]]] = {
    Format.JSON_LINES: _json_lines,
    Format.STORIES: _stories,
    Format.NLU: _candidates,
}
