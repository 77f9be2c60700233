"""The main job, end to end: a real ``rasa run``, its models, its databases, and a stand-in for Meta."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from cloud_api import running_simulator
from running_bot import RunningBot, running_bot

from rasa_coexistence.simulator import Simulator
from rasa_coexistence.simulator.chats import Chat, cut, made_up, shaken

PATIENCE = 30.0
NUMBER = "845237608662425"
DIALOGUE = (("hola", "¡Hola! ¿Quieres comprar una playera?"), ("comprar", "¿Qué talla?"))


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


async def test_history_and_live_messages_make_one_truthful_conversation(
    tmp_path: Path, example_model: Path
) -> None:
    """History before and after live turns; the live rows stay, and each answer goes out once."""
    async with running_simulator() as meta, running_bot(tmp_path, example_model, meta) as bot:
        chats = list(made_up(meta.number, chats=6, messages_each=25, now=time.time()))
        first, second = chats[0], chats[1]
        early = meta.customer(str(second.person.wa_id), "Early bird")
        await early.writes("¿A qué hora abren?")
        await meta.wait_for_sent(1, to=second.person.wa_id, timeout_seconds=PATIENCE)
        before = [event for event in await bot.events(str(second.person.wa_id)) if not is_history(event)]

        await give_history(meta, chats)
        status = await until_completed(bot)
        assert status["history"]["completed_by"] == "progress"
        assert status["history"]["messages_received"] == 150
        assert status["history"]["messages_imported"] == 150

        for chat in chats:
            events = await bot.events(str(chat.person.wa_id))
            old = [event for event in events if is_history(event)]
            said = [(event["event"], event["text"]) for event in old if event["event"] in ("user", "bot")]
            assert said == expected(chat)
            assert [event["timestamp"] for event in old] == sorted(event["timestamp"] for event in old)
        live = [event for event in await bot.events(str(second.person.wa_id)) if not is_history(event)]
        assert live == before, "live events stay exactly as they were"

        late = meta.customer(str(first.person.wa_id), "Late")
        await late.writes("¿Cuánto cuesta el envío?")
        await meta.wait_for_sent(1, to=first.person.wa_id, timeout_seconds=PATIENCE)
        assert (await bot.said(str(first.person.wa_id)))[-2][0] == "user"
        assert len(meta.sent_to()) == 2
        await answered_once(meta, bot)


async def answered_once(meta: Simulator, bot: RunningBot) -> None:
    """Meta may deliver ten times at once, and again for days."""
    customer = meta.customer("5215551230001", "Ana")
    await customer.writes("Hola")
    await meta.deliveries.redeliver(copies=10)
    await meta.wait_for_sent(3, timeout_seconds=PATIENCE)
    await meta.deliveries.redeliver(copies=2)
    await meta.deliveries.settle()
    await customer.writes("¿A qué hora abren?")
    await meta.wait_for_sent(4, timeout_seconds=PATIENCE)
    assert len(meta.sent_to()) == 4
    assert [kind for kind, _text in await bot.said("5215551230001")] == ["user", "bot", "user", "bot"]


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


async def test_a_bot_trained_on_stories_speaks_after_history(tmp_path: Path, stories_model: Path) -> None:
    """Policies that go by what came before must not fall silent over messages that they did not cause."""
    settings = {"takeover": {"enabled": False}}  # else the owner's fresh messages keep the bot out
    async with running_simulator() as meta, running_bot(tmp_path, stories_model, meta, **settings) as bot:
        now = time.time()
        open_session = list(made_up(meta.number, chats=3, messages_each=12, now=now, days=0.12))
        long_ago = list(made_up(meta.number, chats=5, messages_each=12, now=now, days=100, seed=2))[3:]
        await give_history(meta, [*open_session, *long_ago], repeats=0)
        await until_completed(bot)
        for wa_id in (*(str(chat.person.wa_id) for chat in (*open_session, *long_ago)), "5215559990000"):
            for text, answer in (
                ("hola", "¡Hola! ¿Quieres comprar una playera?"),
                ("comprar", "¿Qué talla?"),
            ):
                known = len(meta.sent_to(wa_id))
                await meta.customer(wa_id, "Customer").writes(text)
                sent = await meta.wait_for_sent(known + 1, to=wa_id, timeout_seconds=PATIENCE)
                assert sent[-1].text == answer
