"""The server is killed between its 200 and its answer: the next start answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cloud_api import running_simulator
from running_bot import running_bot
from told_history import PATIENCE


async def test_a_power_cut_after_the_200_loses_nothing_and_doubles_nothing(
    tmp_path: Path, example_model: Path
) -> None:
    """A 200 means that the bytes are on disk; the next start answers, once."""
    async with running_simulator() as meta, running_bot(tmp_path, example_model, meta) as bot:
        for count, moment in enumerate((0.0, 0.03), start=1):
            await meta.customer("5215551230002", "Ana").writes("Hola")
            await asyncio.sleep(moment)
            await bot.kill()
            await bot.start()
            await meta.wait_for_sent(count, timeout_seconds=PATIENCE)
        await meta.customer("5215551230002", "Ana").writes("¿A qué hora abren?")
        await meta.wait_for_sent(3, timeout_seconds=PATIENCE)
        assert [kind for kind, _text in await bot.said("5215551230002")] == ["user", "bot"] * 3
        assert len(meta.sent_to()) == 3
