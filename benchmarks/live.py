"""Have customers write live, and measure how soon they are acknowledged and answered."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import old_chat
from aiohttp import web
from bot import Bot

TURNS_A_SECOND = 5.0
PATIENCE_SECONDS = 30.0
_customers = itertools.count()


class Graph:
    """Meta's side: takes what the bot sends and notes when."""

    def __init__(self) -> None:
        self.url = ""
        self._answered: dict[str, asyncio.Future[float]] = {}

    def answer_to(self, phone: str) -> asyncio.Future[float]:
        """Return what will be the time of the next message to a customer."""
        self._answered[phone] = asyncio.get_running_loop().create_future()
        return self._answered[phone]

    async def send(self, request: web.Request) -> web.Response:
        """Accept a message."""
        body = await request.json()
        phone = body.get("to", "").lstrip("+")
        if (answered := self._answered.get(phone)) is not None and not answered.done():
            answered.set_result(time.perf_counter())
        messages = [{"id": f"wamid.{time.time_ns()}"}]
        contacts = [{"input": phone, "wa_id": phone}]
        return web.json_response(
            {"messaging_product": "whatsapp", "contacts": contacts, "messages": messages}
        )


@asynccontextmanager
async def graph() -> AsyncIterator[Graph]:
    """Run Meta's side on a free port."""
    meta = Graph()
    app = web.Application()
    app.router.add_post("/{version}/{number}/messages", meta.send)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    meta.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield meta
    finally:
        await runner.cleanup()


class Latencies:
    """Seconds from a customer's message to the 200, and to the answer."""

    def __init__(self) -> None:
        self.acks: list[float] = []
        self.turns: list[float] = []

    def __str__(self) -> str:
        return f"{len(self.turns)} turns, answered {shown(self.turns)}; acknowledged {shown(self.acks)}"

    def beside(self, others: Latencies) -> str:
        """Return how much longer one of a hundred waits here than there."""
        turns = quantile(self.turns, 0.99) / quantile(others.turns, 0.99)
        acks = quantile(self.acks, 0.99) / quantile(others.acks, 0.99)
        return f"{turns:.2f} answered, {acks:.2f} acknowledged"


async def measure(bot: Bot, meta: Graph, into: Latencies, *, seconds: float) -> None:
    """Have new customers write one after the other, at a steady pace, whether they are answered or not."""
    end = time.perf_counter() + seconds
    turns: set[asyncio.Task[None]] = set()
    try:
        while time.perf_counter() < end:
            task = asyncio.create_task(_turn(bot, meta, into))
            turns.add(task)
            await asyncio.sleep(1 / TURNS_A_SECOND)
    finally:
        await asyncio.gather(*turns)


async def _turn(bot: Bot, meta: Graph, into: Latencies) -> None:
    acknowledged, answered = await turn(bot, meta, old_chat.live_phone(next(_customers)), "hola")
    into.acks.append(acknowledged)
    into.turns.append(answered)


async def turn(bot: Bot, meta: Graph, phone: str, text: str) -> tuple[float, float]:
    """Let a customer write; return the seconds to the 200 and to the answer."""
    body, answered = old_chat.live_message(phone, text), meta.answer_to(phone)
    began = time.perf_counter()
    await bot.post(body)
    acknowledged = time.perf_counter() - began
    return acknowledged, await asyncio.wait_for(answered, PATIENCE_SECONDS) - began


def shown(seconds: list[float]) -> str:
    """Return median and 99th percentile in words."""
    return f"p50 {quantile(seconds, 0.5) * 1000:.0f} ms, p99 {quantile(seconds, 0.99) * 1000:.0f} ms"


def quantile(values: list[float], share: float) -> float:
    """Return the value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
