"""The server is killed between its 200 and its answer: the next start answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from cloud_api import running_simulator
from ledgers import count_rows
from running_bot import running_bot
from told_history import PATIENCE

from rasa_coexistence.ledger import schema

IN_DOUBT = schema.outbox.c.state.in_(("sending", "unclear", "unknown"))


async def test_a_power_cut_after_the_200_loses_nothing_and_doubles_nothing(
    tmp_path: Path, example_model: Path
) -> None:
    """A 200 means that the bytes are on disk; the next start answers, once."""
    ledger = f"sqlite:///{tmp_path}/ledger.db"
    async with running_simulator() as meta, running_bot(tmp_path, example_model, meta) as bot:
        await meta.customer("5215551230002", "Ana").writes("Hola")
        await bot.kill()
        # On a machine that stood still just then, the answer was quicker than the cut.
        in_doubt = await count_rows(ledger, schema.outbox, IN_DOUBT)
        await bot.start()
        await meta.wait_for_sent(1 - in_doubt, timeout_seconds=PATIENCE)
        await meta.customer("5215551230002", "Ana").writes("¿A qué hora abren?")
        await until(lambda: bot.said("5215551230002"), ["user", "bot"] * 2)
        await meta.wait_for_sent(2 - in_doubt, timeout_seconds=PATIENCE)
        assert len(meta.sent_to()) <= 2


async def until(said: Callable[[], Awaitable[list[tuple[str, str]]]], kinds: list[str]) -> None:
    """Wait until somebody has said something, and somebody else has answered, so often."""
    end = time.monotonic() + PATIENCE
    while [kind for kind, _text in await said()] != kinds:
        assert time.monotonic() < end, "it never came to be"
        await asyncio.sleep(0.1)
