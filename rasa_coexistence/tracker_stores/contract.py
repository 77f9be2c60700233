"""What putting history into a tracker store means, whatever the store."""

from __future__ import annotations

import asyncio
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from rasa_coexistence.errors import Postponed
from rasa_coexistence.events import JSON
from rasa_coexistence.to_rasa import is_history

T = TypeVar("T")
Argument = TypeVar("Argument")
TRIES = 5  # against somebody who writes without Rasa's lock
OPENING_ROWS = 3  # action_session_start, session_started, action_listen


class History(msgspec.Struct, frozen=True, kw_only=True):
    """One conversation's whole history, as it shall stand in the tracker."""

    sender_id: str
    # Takes the time of the tracker's first live event, or None. Pure: runs in a thread, maybe more than once.
    make_events: Callable[[float | None], list[JSON]]


class HistoryImporter(ABC):
    """Puts history before the live events of conversations in one tracker store.

    The errors of the store's own driver come through as they are; ``Postponed`` means that somebody kept
    writing at the same time.
    """

    default_cap: int | None = None  # messages of history a conversation can sensibly hold; None: no limit
    cap_reason: str | None = None  # a sentence for the owner, where there is a cap
    warning: str | None = None  # a sentence for the owner, where the store loses history

    async def prepare(self, histories: Sequence[History]) -> Any:
        """Do what needs no lock: ``replace_history`` of the same histories takes less time with the result.

        It may be stale by then. None: the store has nothing to prepare.
        """
        return None

    @abstractmethod
    async def replace_history(self, histories: Sequence[History], prepared: Any = None) -> None:
        """Make the history of these conversations what it shall be, live events untouched.

        A conversation changes wholly or not at all, and not if it has that history already. SQL stores take
        all conversations of a call in one transaction.
        """

    @abstractmethod
    async def forget(self, sender_ids: Sequence[str]) -> None:
        """Delete these conversations, live events and all."""

    @abstractmethod
    async def read_events(self, sender_id: str) -> list[JSON]:
        """Return the events of all sessions that the store still has, oldest first."""

    async def first_live_at(self, sender_id: str) -> float | None:
        """Return the time of the conversation's first event that is not history."""
        return first_live_time(await self.read_events(sender_id))


async def in_thread(work: Callable[..., T], *args: Any) -> T:
    """Run blocking work off the event loop, and never return before it has ended.

    The caller's lease and lock must outlast it, also when the caller is cancelled.
    """
    running = asyncio.get_running_loop().run_in_executor(None, work, *args)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def until_undisturbed(attempt: Callable[[Argument], bool], argument: Argument) -> None:
    """Repeat an attempt that says False when another writer came between; in the end raise Postponed."""
    for _ in range(TRIES):
        if attempt(argument):
            return
    raise Postponed("the tracker store changed while history went in")


def first_live_time(events: Iterable[JSON]) -> float | None:
    """Return the earliest time of what is not history; zero, which Rasa takes for now, does not count."""
    times = (event.get("timestamp") for event in events if not is_history(event))
    return min((float(time) for time in times if time is not None and time > 0), default=None)


def with_history(events: Sequence[JSON], history: History, *, max_bytes: int | None = None) -> list[JSON]:
    """Return a conversation's events with this history in the place of the one they had.

    ``max_bytes`` bounds the whole: what is oldest gives way, and live events never do.
    """
    live = [event for event in events if not is_history(event)]
    past = history.make_events(first_live_time(live))
    if max_bytes is not None:
        past = newest_within(past, max_bytes - sum(map(_size, live)))
    return past + live


def newest_within(events: list[JSON], max_bytes: int) -> list[JSON]:
    """Drop the oldest history until the rest fits; a session that is cut keeps the rows that open it."""
    start, left = len(events), max_bytes
    while start and (left := left - _size(events[start - 1])) >= 0:
        start -= 1
    if start in (0, len(events)):
        return events[start:]
    opening = max(place for place in range(start + 1) if events[place].get("name") == "action_session_start")
    said = max(start, opening + OPENING_ROWS)
    return events[start:] if opening == start else events[opening : opening + OPENING_ROWS] + events[said:]


def as_json(event: JSON) -> str:
    """Return an event as JSON; only SQLite holds it in every case."""
    try:
        return msgspec.json.encode(event).decode()
    except UnicodeEncodeError:  # half a character: JSON can say it, UTF-8 cannot
        return json.dumps(event)


def as_ascii_json(event: JSON) -> str:
    """Return an event in ASCII, as ``json.dumps`` would: databases of any encoding hold that."""
    encoded = as_json(event)
    if encoded.isascii():
        return encoded
    if "\\" in encoded and r"\\" in encoded:  # the first is found, or not, ten times as fast
        return json.dumps(event)  # a backslash that somebody typed is no beginning of an escape
    # Python's escapes are JSON's but for two; so it takes half the time of json.dumps.
    escaped = encoded.encode("ascii", "backslashreplace").replace(rb"\x", rb"\u00")
    return _BEYOND_16_BITS.sub(_as_pair, escaped).decode()


_BEYOND_16_BITS = re.compile(rb"\\U([0-9a-f]{8})")


def _as_pair(escape: re.Match[bytes]) -> bytes:
    beyond = int(escape.group(1), 16) - 0x10000
    return rb"\u%04x\u%04x" % (0xD800 + (beyond >> 10), 0xDC00 + (beyond & 0x3FF))


def _size(event: JSON) -> int:
    return len(json.dumps(event, default=str))
