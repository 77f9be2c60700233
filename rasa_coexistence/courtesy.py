"""Let customers who write now go before old chat."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Iterator

GRACE_SECONDS = 0.05  # what a message sets going, up to its answer, follows faster than this
STEP_SECONDS = 0.005
CALM_SECONDS = 30.0
PATIENCE_SECONDS = 0.25  # a bot that is never quiet gets its history all the same, only more slowly:
UNHEEDING_SECONDS = 0.1  # for so long nobody waits for quiet after waiting for it in vain
REST = 2  # times as long as what was done before it
LONGEST_REST_SECONDS = 0.1
APART_SECONDS = 0.25  # between two long webhooks while somebody writes
LONGEST_WAIT_SECONDS = 1.0  # of a long webhook for that: Meta waits for its 200


class Courtesy:
    """Knows when nobody is being answered; of one event loop.

    Python runs one thread at a time and SQLite has one writer: old chat slows whatever runs meanwhile. So it
    goes in pieces of some milliseconds, and pauses before each.
    """

    def __init__(self) -> None:
        self._answering = 0
        self._last_at = -CALM_SECONDS  # of the monotonic clock
        self._went_on_at = -CALM_SECONDS
        self._waited_in_vain_at = -math.inf
        self._big = asyncio.Lock()
        self._big_ended_at = -APART_SECONDS

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Say that somebody waits."""
        self._answering += 1
        try:
            yield
        finally:
            self._answering -= 1
            self._last_at = time.monotonic()

    async def pause(self) -> None:
        """Wait for a moment in which nobody is being answered, but not for long; for one task alone.

        While somebody writes, rest before that from what was done since the last pause: old chat is at work
        for a part of the time only, and whoever writes next may well come in the other.
        """
        if not self._is_calm:
            rest = REST * (time.monotonic() - self._went_on_at)
            await asyncio.sleep(min(rest, LONGEST_REST_SECONDS))
        now = time.monotonic()
        if now > self._waited_in_vain_at + UNHEEDING_SECONDS:
            is_quiet = await self._quiet(now + PATIENCE_SECONDS)
            self._waited_in_vain_at = -math.inf if is_quiet else time.monotonic()
        self._went_on_at = time.monotonic()

    async def _quiet(self, latest: float) -> bool:
        while not self._is_quiet():
            if time.monotonic() >= latest:
                return False
            await asyncio.sleep(STEP_SECONDS)
        return True

    @contextlib.asynccontextmanager
    async def big(self) -> AsyncIterator[None]:
        """Do what takes long beside nothing else of its kind, and with room before it while somebody writes.

        However many come at once, a second after it came nothing waits for room any more: they follow one
        another then, and customers wait. What somebody gave up in the middle may go on beside the next.
        """
        latest = time.monotonic() + LONGEST_WAIT_SECONDS
        async with self._big:
            if not self._is_calm:
                await asyncio.sleep(min(self._big_ended_at + APART_SECONDS, latest) - time.monotonic())
            await self._quiet(min(time.monotonic() + PATIENCE_SECONDS, latest))
            try:
                yield
            finally:
                self._big_ended_at = time.monotonic()

    def piece(self, size: int) -> int:
        """Return how much to do at once: so much while nobody writes, a thirty-second while somebody does."""
        return size if self._is_calm else max(size // 32, 1)

    @property
    def _is_calm(self) -> bool:
        return not self._answering and time.monotonic() - self._last_at > CALM_SECONDS

    def _is_quiet(self) -> bool:
        return not self._answering and time.monotonic() - self._last_at > GRACE_SECONDS
