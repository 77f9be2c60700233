"""Let customers who write now go before old chat."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

GRACE_SECONDS = 0.05  # what a message sets going, up to its answer, follows faster than this
STEP_SECONDS = 0.005
CALM_SECONDS = 5.0
PATIENCE_SECONDS = 0.25  # a bot that is never quiet gets its history all the same, only more slowly


class Courtesy:
    """Knows when nobody is being answered; of one event loop.

    Python runs one thread at a time and SQLite has one writer: old chat slows whatever runs meanwhile. So it
    goes in pieces of some milliseconds, and asks before each.
    """

    def __init__(self) -> None:
        self._answering = 0
        self._last_at = -CALM_SECONDS  # of the monotonic clock

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Say that somebody waits."""
        self._answering += 1
        try:
            yield
        finally:
            self._answering -= 1
            self._last_at = time.monotonic()

    async def quiet(self) -> None:
        """Wait for a moment in which nobody is being answered, but not for long."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not self._is_quiet():
            await asyncio.sleep(STEP_SECONDS)
            if time.monotonic() > end:
                return

    def piece(self, size: int) -> int:
        """Return how much to do at once: so much while nobody writes, a thirty-second while somebody does."""
        calm = not self._answering and time.monotonic() - self._last_at > CALM_SECONDS
        return size if calm else size // 32

    def _is_quiet(self) -> bool:
        return not self._answering and time.monotonic() - self._last_at > GRACE_SECONDS
