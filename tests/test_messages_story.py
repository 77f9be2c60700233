"""With a real ``rasa run``: batches, repeats, a customer of two ids, reminders and external triggers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from actions import running_actions
from cloud_api import running_simulator
from running_bot import RunningBot, running_bot

from rasa_coexistence.simulator import Simulator
from rasa_coexistence.simulator.phones import deliver
from rasa_coexistence.simulator.state import Person

ANA, BEN, EVA = "5217715268513", "5215550000001", "5215550000002"
PATIENCE_SECONDS = 90.0
SILENCE_SECONDS = 2.0


@asynccontextmanager
async def open_bot(folder: Path, model: Path, **settings: Any) -> AsyncIterator[tuple[RunningBot, Simulator]]:
    """Run the bot of ``tests/bots/answers`` with its action server."""
    async with running_simulator() as meta, running_actions() as actions:
        tracker_store = {"type": "SQL", "dialect": "sqlite", "db": str(folder / "rasa.db")}
        endpoints = {"tracker_store": tracker_store, "action_endpoint": {"url": actions.url}}
        async with running_bot(folder, model, meta, endpoints=endpoints, **settings) as bot:
            yield bot, meta


async def answers(meta: Simulator, to: str, count: int) -> list[str]:
    sent = await meta.wait_for_sent(count, to=to, timeout_seconds=PATIENCE_SECONDS)
    return [one.text for one in sent]


async def trigger(bot: RunningBot, sender_id: str, output_channel: str) -> None:
    """Have Rasa act on something that happened outside, as its HTTP API allows."""
    url = f"{bot.url}/conversations/{sender_id}/trigger_intent?output_channel={output_channel}"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json={"name": "EXTERNAL_parcel"}) as answer,
    ):
        assert answer.status == 200


async def test_what_comes_together_or_again_is_answered_once_and_in_order(
    tmp_path: Path, answers_model: Path
) -> None:
    """Five messages of two customers in one webhook, across two entries, and the whole of it ten times."""
    async with open_bot(tmp_path, answers_model) as (bot, meta):
        ana, ben = meta.customer(ANA), meta.customer(BEN)
        said = [(ana, "colour"), (ben, "size"), (ana, "hello"), (ben, "hello"), (ana, "size")]
        await deliver(meta, *(phone.compose("text", {"body": text}) for phone, text in said), entries=2)
        await meta.deliveries.redeliver(copies=10)
        of_ana, of_ben = await answers(meta, ANA, 3), await answers(meta, BEN, 2)
        await meta.deliveries.redeliver(copies=3)

        hidden = Person(user_id=ana.person.user_id, wa_id=ANA, hides_phone=True, username="ana")
        await meta.customer_like(hidden).writes("hello there")
        of_ana = await answers(meta, ANA, 4)
        await asyncio.sleep(SILENCE_SECONDS)

        assert [text.split("?")[0] for text in of_ana] == [
            "Which colour",
            "I heard you.",
            "Which size",
            "I heard you.",
        ]
        assert [text.split("?")[0] for text in of_ben] == ["Which size", "I heard you."]
        assert len(meta.sent_to(ANA)) == 4
        assert len(meta.sent_to(BEN)) == 2
        heard = [event["text"] for event in await bot.events(ANA, "user")]
        assert heard == ["colour", "hello", "size", "hello there"], "by phone or by user id: one tracker"
        assert [event["text"] for event in await bot.events(BEN, "user")] == ["size", "hello"]


async def test_reminders_and_triggers_speak_once(tmp_path: Path, answers_model: Path) -> None:
    """Rasa's own scheduler and its HTTP API; where the window is closed the template goes, once for each."""
    template = {"name": "we_answer", "language": "es_MX"}
    settings = {"replies": {"closed_window_template": template}}
    async with open_bot(tmp_path, answers_model, **settings) as (bot, meta):
        ana = meta.customer(ANA)
        await ana.writes("reminder")
        assert await answers(meta, ANA, 3) == ["I will.", "You asked me to remind you.", "That was it."]

        await trigger(bot, ANA, "whatsapp")
        await trigger(bot, ANA, "latest")
        assert (await answers(meta, ANA, 5))[3:] == ["Your parcel is on its way."] * 2

        await ana.writes("hello")
        await answers(meta, ANA, 6)
        await trigger(bot, ANA, "whatsapp")
        await answers(meta, ANA, 7)
        await asyncio.sleep(SILENCE_SECONDS)
        assert len(meta.sent_to(ANA)) == 7
        told = [event["text"] for event in await bot.events(ANA, "bot")]
        assert told == [sent.text for sent in meta.sent_to(ANA)], "tracker and phone agree"

        late = meta.customer(EVA)
        await late.writes("reminder", at=meta.clock.now() - 25 * 3600)
        await answers(meta, EVA, 2)
        await asyncio.sleep(SILENCE_SECONDS)
        kinds = [sent.body["type"] for sent in meta.sent_to(EVA)]
        assert kinds == ["template", "template"], "one for the answer, one for the reminder"
