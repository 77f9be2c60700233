"""The main job on PostgreSQL, ledger and tracker store both, with a power cut in the middle of everything."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cloud_api import running_simulator
from ledgers import as_bytes, count_rows, history
from running_bot import RunningBot, running_bot

from rasa_coexistence.ledger import schema
from rasa_coexistence.simulator import Simulator
from rasa_coexistence.simulator.state import Person

PATIENCE = 120.0
CROWD = [Person(wa_id=f"52155512{n:05}", name=f"C{n}") for n in range(10)]
OLD = 12  # messages of each one's history


async def test_a_power_cut_in_a_busy_hour_loses_nothing_and_doubles_nothing(
    tmp_path: Path, answers_model: Path, postgres_database: str
) -> None:
    """History comes in, ten customers write, the server dies, Meta repeats, and the next one goes on."""
    endpoints = {"tracker_store": {"type": "SQL", "dialect": "postgresql", "url": postgres_database}}
    settings: dict[str, Any] = {"endpoints": endpoints, "database_url": postgres_database}
    settings["takeover"] = {"enabled": False}
    async with running_simulator() as meta, running_bot(tmp_path, answers_model, meta, **settings) as bot:
        for number, person in enumerate(CROWD):
            meta.deliveries.post(as_bytes(old_chat(number, person)), bot.webhook_url)
        writing = [meta.customer(str(person.wa_id), person.name).writes("Hola") for person in CROWD]
        await asyncio.gather(*writing)
        await asyncio.sleep(0.1)
        await bot.kill()
        await meta.deliveries.redeliver(last=3)
        await bot.start()
        await meta.deliveries.settle()  # Meta has posted all again that was not acknowledged
        await until_answered(postgres_database)
        for person in CROWD:
            await check(person, bot, meta)
        status = await bot.sync_status(meta.number.phone_number_id)
        assert status["history"]["messages_received"] == len(CROWD) * OLD
        assert len(meta.sent_to()) >= len(CROWD) - await unclear(postgres_database)


def old_chat(number: int, person: Person) -> Any:
    """Return the history of one customer, of a month ago."""
    began = time.time() - 30 * 86_400
    told = [(f"wamid.H{number}.{n}", f"old {n}", began + 60 * n) for n in range(OLD)]
    by_business = [wamid for wamid, _, _ in told[1::2]]
    return history(person, *told, from_business=by_business, chunk_order=number, progress=10 * number + 10)


async def check(person: Person, bot: RunningBot, meta: Simulator) -> None:
    """Every message once, oldest first, and at most one answer."""
    said = await bot.said(str(person.wa_id))
    assert [text for _, text in said[:OLD]] == [f"old {n}" for n in range(OLD)]
    assert [kind for kind, _ in said[OLD:]] == ["user", "bot"]
    assert said[OLD][1] == "Hola"
    assert len(meta.sent_to(person.wa_id)) <= 1


async def until_answered(url: str) -> None:
    """Wait until every message is answered and imported, and every answer has left or is in doubt."""
    end = time.monotonic() + PATIENCE
    while (
        await count_rows(url, schema.inbox, sa.true())
        or await count_rows(url, schema.messages, schema.messages.c.state == "waiting")
        or await count_rows(url, schema.conversations, schema.conversations.c.import_due_at.isnot(None))
        or await count_rows(url, schema.outbox, schema.outbox.c.state.in_(("held", "queued", "sending")))
    ):
        assert time.monotonic() < end, "it never came to be"
        await asyncio.sleep(0.2)


async def unclear(url: str) -> int:
    """Count the answers that were on their way when the power went."""
    return await count_rows(url, schema.outbox, schema.outbox.c.state.in_(("unclear", "unknown")))
