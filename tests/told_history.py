"""Give a running bot a history, and say what the tracker must then hold."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from running_bot import RunningBot

from rasa_coexistence.simulator import Simulator
from rasa_coexistence.simulator.chats import Chat, cut, shaken

PATIENCE = 90.0
NUMBER = "845237608662425"


def is_history(event: dict[str, Any]) -> bool:
    """Whether an event came with the history."""
    return bool(((event.get("metadata") or {}).get("whatsapp") or {}).get("source") == "history")


async def give_history(meta: Simulator, chats: list[Chat], *, repeats: int = 3) -> None:
    """Post a shuffled, partly repeated history."""
    chunks = shaken(cut(chats, now=time.time(), messages_per_chunk=15), repeats=repeats)
    for chunk in chunks:
        meta.post_soon(chunk.webhook(meta.number))
    await meta.deliveries.settle()


async def until_completed(bot: RunningBot) -> dict[str, Any]:
    """Wait until the sync is completed and return its status."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        status: dict[str, Any] = await bot.sync_status(NUMBER)
        if status.get("sync_status") == "completed":
            return status
        await asyncio.sleep(0.2)
    raise TimeoutError(str(status))


def expected(chat: Chat) -> list[tuple[str, str]]:
    """Return what a chat looks like in the tracker; within a second the customer goes first."""
    ordered = sorted(chat.messages, key=lambda one: (one.at, one.from_business, one.wamid))
    return [("bot" if one.from_business else "user", one.text) for one in ordered]
