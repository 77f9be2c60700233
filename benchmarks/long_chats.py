"""What a live turn costs with 10,000 old messages behind it, beside one with none.

    python benchmarks/long_chats.py [--store sqlite] [--turns 150]

The same customers write to a server as it comes, and to one with ``history.tune_tracker_store``. Those with
old chat and those without take turns, so that whatever else the machine does meets both. What is promised: at
most 2 times as long, and at most 1.2 times with the setting.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
from pathlib import Path

import live
import old_chat
from bot import Bot
from tracker_databases import STORES, Store

MESSAGES_EACH = 10_000
CUSTOMERS = 8  # of each kind; each gets fewer answers than Meta lets one customer have at once (45)
QUESTION = "¿A qué hora abren?"  # which has one answer
WARM_UP = 5  # turns of each


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--turns", type=int, default=150, help="of each kind of customer")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="long-chats-") as name, STORES[asked.store](Path(name)) as store:
        asyncio.run(measure(Path(name), store, asked.turns))


async def measure(folder: Path, store: Store, turns: int) -> None:
    """Import long chats, and have customers write before and after the tracker store is tuned."""
    print("                 with none           with 10,000         times")
    async with live.graph() as graph:
        async with Bot(folder, store, graph_url=graph.url) as bot:
            for body in old_chat.bodies(CUSTOMERS, MESSAGES_EACH):
                await bot.post(body)
            await bot.until_imported(CUSTOMERS * MESSAGES_EACH, pause=0.2)
            await compare("as it comes", bot, graph, turns)
        async with Bot(folder, store, graph_url=graph.url, tune_tracker_store=True) as bot:
            await compare("tuned", bot, graph, turns)


async def compare(name: str, bot: Bot, graph: live.Graph, turns: int) -> None:
    """Let both kinds of customers write, one after the other, and print a line."""
    strangers = [old_chat.live_phone(number) for number in range(CUSTOMERS)]
    known = [old_chat.old_phone(number) for number in range(CUSTOMERS)]
    seconds: tuple[list[float], list[float]] = ([], [])
    pairs = itertools.islice(itertools.cycle(zip(strangers, known, strict=True)), turns)
    for number, pair in enumerate(pairs):
        for of_one, phone in zip(seconds, pair, strict=True):
            _, answered = await live.turn(bot, graph, phone, QUESTION)
            if number >= WARM_UP * CUSTOMERS:
                of_one.append(answered)
    none, many = (live.quantile(of_one, 0.5) for of_one in seconds)
    print(f"{name:<14} {live.shown(seconds[0])}  {live.shown(seconds[1])}  {many / none:>5.2f}", flush=True)


if __name__ == "__main__":
    main()
