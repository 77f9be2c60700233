"""Tell the simulator's time, which tests may move."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Run with the real clock, at a distance that can be changed."""

    def __init__(self, real: Callable[[], float] = time.time) -> None:
        self._real = real
        self._ahead = 0.0

    def now(self) -> float:
        """Return Unix seconds."""
        return self._real() + self._ahead

    def move(self, seconds: float) -> None:
        """Let this many seconds pass at once; negative goes back."""
        self._ahead += seconds

    def set(self, at: float) -> None:
        """Make it this moment, in Unix seconds."""
        self._ahead = at - self._real()

    def freeze(self) -> None:
        """Stand still until moved."""
        moment = self._real()
        self._real = lambda: moment
