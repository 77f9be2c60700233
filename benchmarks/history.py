"""Measure how fast old chat comes into Rasa's tracker store, beside what else could be done.

    python benchmarks/history.py                        10,000 and 100,000 messages, SQLite
    python benchmarks/history.py --store postgresql     or redis, with its ledger in SQLite
    python benchmarks/history.py --messages 10000 100000 1000000 --without-rasa-api
    python benchmarks/history.py --messages 200000 --while-live     how live customers fare meanwhile

All that matters is measured in one run, on one machine: compare ratios, not rates. ``cost`` is what a
message costs beside one of the first line; ``above`` is how far the server's memory rises above what it had
idle. What is promised: at least 0.5 of the bare script, at most 1.3 times the cost, at most 200 MB above, and
a p99 of live customers of at most twice the idle one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import live
import old_chat
import rasa_api
from bot import Bot
from tracker_databases import STORES, Store

AT_ONCE = 4  # webhooks on their way at a time
MESSAGES_A_CONVERSATION = 100
PARTS_WHILE_LIVE = 4  # with an idle time before each: what else the machine does meets both
WARM_UP_SECONDS, IDLE_SECONDS = 5.0, 30.0


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--conversations", type=int, help="by default one for each 100 messages")
    parser.add_argument("--store", choices=STORES, default="sqlite")
    parser.add_argument("--without-rasa-api", action="store_true", help="leave out the slowest of the three")
    parser.add_argument("--while-live", action="store_true", help="have customers write meanwhile")
    asked = parser.parse_args()
    print(" messages      bare   channel of bare   Rasa API times     CPU  cost    idle   above")
    costs: list[float] = []  # seconds of a message
    with ExitStack() as stack:
        for messages in asked.messages:
            conversations = asked.conversations or messages // MESSAGES_A_CONVERSATION
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="history-")))
            store = stack.enter_context(STORES[asked.store](folder))
            bodies = _written(folder, old_chat.bodies(conversations, messages // conversations))
            messages = messages // conversations * conversations
            case = Case(folder=folder, store=store, bodies=bodies, messages=messages, asked=asked)
            asyncio.run(measure(case, costs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One history to import."""

    folder: Path
    store: Store
    bodies: list[Path]
    messages: int
    asked: argparse.Namespace


async def measure(case: Case, costs: list[float]) -> None:
    """Import one history in every way and print a line."""
    bare_seconds = _import_barely(case)
    idle, busy = live.Latencies(), live.Latencies()
    async with live.graph() as graph, Bot(case.folder, case.store, graph_url=graph.url) as bot:
        before = bot.use()
        bot.reset_peak()
        if case.asked.while_live:
            took = await _import_while_live(bot, graph, case, idle, busy)
        else:
            pause = case.messages / 500_000  # the sooner the end is seen, the truer is the rate
            took = await _import(bot, case.bodies, case.messages, pause=pause)
        after = bot.use()
        rasa_rate = None if case.asked.without_rasa_api else await rasa_api.rate(bot)
    # Before and after: the machine may be faster then than now.
    bare_rate = 2 * case.messages / (bare_seconds + _import_barely(case))
    assert case.store.messages_of_history() == case.messages, "not all of it arrived"
    rate, cpu = case.messages / took.seconds, took.cpu_seconds / case.messages * 1e6
    beside = f"{rasa_rate:>8,.0f}/s {rate / rasa_rate:>5.1f}" if rasa_rate else f"{'-':>10} {'-':>5}"
    costs.append(1 / rate)
    print(
        f"{case.messages:>9,} {bare_rate:>7,.0f}/s {rate:>7,.0f}/s {rate / bare_rate:>7.2f} {beside} "
        f"{cpu:>4.0f} us {costs[-1] / costs[0]:>5.2f} {before.memory_mb:>4.0f} MB "
        f"{after.peak_mb - before.memory_mb:>4.0f} MB",
        flush=True,
    )
    if case.asked.while_live:
        print(f"  idle       {idle}\n  meanwhile  {busy}\n  p99 times  {busy.beside(idle)}", flush=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """What an import took, live customers included."""

    seconds: float
    cpu_seconds: float


def _import_barely(case: Case) -> float:
    return case.store.import_barely(path.read_bytes() for path in case.bodies)


async def _import_while_live(
    bot: Bot, graph: live.Graph, case: Case, idle: live.Latencies, busy: live.Latencies
) -> Took:
    """Import part by part while customers write, who also do so between."""
    parts, messages, size = list[Took](), 0, -(-len(case.bodies) // PARTS_WHILE_LIVE)
    for start in range(0, len(case.bodies), size):
        part = case.bodies[start : start + size]
        messages += sum(path.read_bytes().count(b'"history_context"') for path in part)
        await live.measure(bot, graph, live.Latencies(), seconds=WARM_UP_SECONDS)
        await live.measure(bot, graph, idle, seconds=IDLE_SECONDS)
        customers = asyncio.create_task(live.measure(bot, graph, busy, seconds=3600.0))
        parts.append(await _import(bot, part, messages, pause=1.0))  # as often as who follows the sync looks
        customers.cancel()
        with contextlib.suppress(asyncio.CancelledError):  # one who was never answered fails here
            await customers
    return Took(
        seconds=sum(part.seconds for part in parts), cpu_seconds=sum(part.cpu_seconds for part in parts)
    )


async def _import(bot: Bot, bodies: list[Path], messages: int, *, pause: float) -> Took:
    """Post webhooks and wait until so many messages stand in the tracker store."""
    began, used = time.perf_counter(), bot.use().cpu_seconds
    waiting = iter(bodies)

    async def post() -> None:
        for path in waiting:
            await asyncio.to_thread(bot.post_file, path)

    await asyncio.gather(*(post() for _ in range(AT_ONCE)))
    await bot.until_imported(messages, pause=pause)
    return Took(seconds=time.perf_counter() - began, cpu_seconds=bot.use().cpu_seconds - used)


def _written(folder: Path, bodies: Iterator[bytes]) -> list[Path]:
    """Put webhooks on disk, so that making them costs nothing while the clock runs."""
    paths = []
    for number, body in enumerate(bodies):
        paths.append(folder / f"webhook-{number:04}.json")
        paths[-1].write_bytes(body)
    return paths


if __name__ == "__main__":
    main()
