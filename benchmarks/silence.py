"""How soon the bot is silent after a person typed on the phone.

    python benchmarks/silence.py [--echoes 200]

The clock runs from the POST of the echo to a real ``rasa run`` until the ledger says that the conversation is
the person's: every bubble asks it before it leaves. Once with an idle bot, once while others write, and once
with a thousand echoes in one webhook.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

import live
import msgspec
import old_chat
import tracker_databases
from bot import Bot

from rasa_coexistence.ledger import schema

CUSTOMERS = 20
GREETING_SECONDS = 3.0  # what comes sooner after a first contact is taken for the app's greeting
POLL_SECONDS = 0.0005
PATIENCE_SECONDS = 90.0
AT_ONCE = 1000
TAKEN = f"SELECT 1 FROM {schema.conversations.name} WHERE takeover_wamid = ?"


def echo(phone: str, wamid: str) -> dict[str, Any]:
    """Return what a person typed, to everybody something else."""
    ids = {"from": old_chat.DISPLAY_PHONE_NUMBER, "to": phone, "id": wamid}
    return {
        **ids,
        "timestamp": str(int(time.time())),
        "type": "text",
        "text": {"body": f"le atiendo {wamid}"},
    }


def webhook(*echoes: dict[str, Any]) -> bytes:
    """Return a webhook that tells of them."""
    metadata = {
        "display_phone_number": old_chat.DISPLAY_PHONE_NUMBER,
        "phone_number_id": old_chat.PHONE_NUMBER_ID,
    }
    value = {"messaging_product": "whatsapp", "metadata": metadata, "message_echoes": echoes}
    changes = [{"field": "smb_message_echoes", "value": value}]
    return msgspec.json.encode(
        {"object": "whatsapp_business_account", "entry": [{"id": "1001", "changes": changes}]}
    )


class Watch:
    """Looks into the ledger's file, as nobody has to in earnest."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def taken_at(self, wamid: str) -> float:
        """Return when the conversation is the person's who typed this."""
        return await asyncio.to_thread(self._look, wamid)

    def _look(self, wamid: str) -> float:
        ledger = sqlite3.connect(self._path, isolation_level=None)
        end = time.perf_counter() + PATIENCE_SECONDS
        try:
            while True:
                found = ledger.execute(TAKEN, (wamid,)).fetchone()
                now = time.perf_counter()
                if found:
                    return now
                if now > end:
                    raise TimeoutError(wamid)
                time.sleep(POLL_SECONDS)
        finally:
            ledger.close()


async def one_by_one(bot: Bot, watch: Watch, phones: list[str], echoes: int, name: str) -> list[float]:
    """Post echoes one after the other; return the seconds until each silenced the bot."""
    took = []
    for number in range(echoes):
        wamid = f"wamid.{name}{number}"
        body = webhook(echo(phones[number % len(phones)], wamid))
        await asyncio.sleep(random.uniform(0.02, 0.08))
        watching = asyncio.create_task(watch.taken_at(wamid))
        await asyncio.sleep(0.005)
        began = time.perf_counter()
        await bot.post(body)
        took.append(await watching - began)
    return took


async def all_at_once(bot: Bot, graph: live.Graph, watch: Watch) -> tuple[float, float, live.Latencies]:
    """Post a thousand echoes together while others write; return when first and last were taken."""
    wamids = [f"wamid.many{number}" for number in range(AT_ONCE)]
    body = webhook(*(echo(f"5219{number:09}", wamid) for number, wamid in enumerate(wamids)))
    first, last = (asyncio.create_task(watch.taken_at(wamid)) for wamid in (wamids[0], wamids[-1]))
    meanwhile = live.Latencies()
    customers = asyncio.create_task(live.measure(bot, graph, meanwhile, seconds=2.0))
    await asyncio.sleep(0.1)
    began = time.perf_counter()
    await bot.post(body)
    seconds = await first - began, await last - began
    await customers
    return *seconds, meanwhile


async def measure(folder: Path, echoes: int) -> None:
    """Print the figures."""
    with tracker_databases.sqlite(folder) as store:
        async with live.graph() as graph, Bot(folder, store, graph_url=graph.url) as bot:
            phones = [old_chat.live_phone(number) for number in range(CUSTOMERS)]
            await live.measure(bot, graph, live.Latencies(), seconds=CUSTOMERS / live.TURNS_A_SECOND)
            await asyncio.sleep(GREETING_SECONDS)
            watch = Watch(folder / "coexistence.db")
            idle = await one_by_one(bot, watch, phones, echoes, "idle")
            print(f"idle bot, {echoes} echoes: silent after {live.shown(idle)}", flush=True)
            turns = live.Latencies()
            others = asyncio.create_task(live.measure(bot, graph, turns, seconds=3600.0))
            busy = await one_by_one(bot, watch, phones, echoes, "busy")
            others.cancel()
            await asyncio.gather(others, return_exceptions=True)
            print(
                f"{live.TURNS_A_SECOND:.0f} turns a second meanwhile: silent after {live.shown(busy)}",
                flush=True,
            )
            first, last, meanwhile = await all_at_once(bot, graph, watch)
            print(f"{AT_ONCE} echoes in one webhook: the first silent after {first * 1000:.0f} ms, ", end="")
            print(f"the last after {last * 1000:.0f} ms; others meanwhile: {meanwhile}")


def main() -> None:
    """Measure in a folder of its own."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--echoes", type=int, default=200)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), given.echoes))


if __name__ == "__main__":
    main()
