"""The main job, end to end: a real ``rasa run``, its models, its databases, and a stand-in for Meta."""

from __future__ import annotations

import json
import time
from pathlib import Path

from cloud_api import running_simulator
from running_bot import RunningBot, running_bot
from told_history import PATIENCE, expected, give_history, is_history, until_completed

from rasa_coexistence.simulator import Simulator
from rasa_coexistence.simulator.chats import made_up


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
        await commands_agree(meta, bot)


async def commands_agree(meta: Simulator, bot: RunningBot) -> None:
    """The command line finds the running bot well, and asks Meta through it alone."""
    code, said = await bot.command("doctor", "--json")
    assert (code, json.loads(said)["failures"]) == (0, 0), said
    code, said = await bot.command("status", "--json")
    number = meta.number.phone_number_id
    assert json.loads(said)["numbers"][0]["sync"] == await bot.sync_status(number)
    code, said = await bot.command("sync", number, "--url", bot.url)
    assert (code, "150 of 150 messages imported, 6 chats" in said) == (0, True), said
    syncs = [call.body["sync_type"] for call in meta.calls if call.operation == "smb_app_data" and call.body]
    assert syncs == ["smb_app_state_sync"], "the history had come already"


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
