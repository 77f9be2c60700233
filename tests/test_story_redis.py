"""The main job on Redis: what a capped store gets of a long chat, and turns that go on from there."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from cloud_api import running_simulator
from running_bot import running_bot
from told_history import PATIENCE, expected, give_history, is_history, until_completed

from rasa_coexistence.simulator.chats import made_up

LONG, CAP = 130, 100  # messages of each chat, and what Rasa's Redis store gets of them


async def test_history_and_live_messages_on_redis(
    tmp_path: Path, example_model: Path, redis_port: int
) -> None:
    """History goes before a live turn and behind it; Rasa hears of all events, and the owner of the cap."""
    at_redis = {"type": "redis", "url": "127.0.0.1", "port": redis_port}
    endpoints = {
        "tracker_store": {**at_redis, "db": 0},
        "lock_store": {**at_redis, "db": 1},
        "event_broker": {"type": "file", "path": str(tmp_path / "events.log")},
    }
    settings: dict[str, Any] = {"endpoints": endpoints, "history": {"publish_events": True}}
    settings["takeover"] = {"enabled": False}  # else the owner's fresh messages keep the bot out
    async with running_simulator() as meta, running_bot(tmp_path, example_model, meta, **settings) as bot:
        chats = list(made_up(meta.number, chats=4, messages_each=LONG, now=time.time()))
        first, second = str(chats[0].person.wa_id), str(chats[1].person.wa_id)
        await meta.customer(second, "Early bird").writes("¿A qué hora abren?")
        await meta.wait_for_sent(1, to=second, timeout_seconds=PATIENCE)
        before = await bot.events(second)

        await give_history(meta, chats)
        status = await until_completed(bot)
        counted = {name: status["history"][f"messages_{name}"] for name in ("received", "imported")}
        assert counted == {"received": 4 * LONG, "imported": 4 * CAP}
        for chat in chats:
            old = [event for event in await bot.events(str(chat.person.wa_id)) if is_history(event)]
            said = [(event["event"], event["text"]) for event in old if event["event"] in ("user", "bot")]
            assert said == expected(chat)[-CAP:], "the newest"
            assert [event["timestamp"] for event in old] == sorted(event["timestamp"] for event in old)
        assert [event for event in await bot.events(second) if not is_history(event)] == before

        for number in (1, 2):
            await meta.customer(first, "Late").writes("¿Cuánto cuesta el envío?")
            await meta.wait_for_sent(number, to=first, timeout_seconds=PATIENCE)
        said = await bot.said(first)
        assert said[:CAP] == expected(chats[0])[-CAP:]
        assert [kind for kind, _ in said[CAP:]] == ["user", "bot"] * 2
        assert len(meta.sent_to()) == 3

    published = [json.loads(line) for line in (tmp_path / "events.log").read_text().splitlines()]
    told = {event["event_id"]: event for event in published if is_history(event)}
    assert sum(event["event"] in ("user", "bot") for event in told.values()) >= 4 * CAP
    log = (tmp_path / "rasa.log").read_text()
    assert "tracker_store.cap" in log
    assert f"the newest {CAP} old messages" in log
