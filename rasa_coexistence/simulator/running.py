"""Run until done or interrupted, and end cleanly either way."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

INTERRUPTED = 130


def run_until_interrupted(main: Coroutine[Any, Any, int]) -> int:
    """Return what ``main`` returns; Ctrl-C, SIGTERM and SIGHUP cancel it, so that its clean-up runs."""
    try:
        return asyncio.run(_guarded(main))
    except asyncio.CancelledError:
        return INTERRUPTED


async def _guarded(main: Coroutine[Any, Any, int]) -> int:
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(main)
    for wanted in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # SIGHUP: the terminal was closed
        loop.add_signal_handler(wanted, task.cancel)
    return await task
