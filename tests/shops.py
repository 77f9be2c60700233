"""A shop without a bot: the real service before the simulated Meta, by a clock that tests move."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import sqlalchemy as sa
from aiohttp import web
from channels import credentials

from rasa_coexistence.errors import LedgerUnavailable
from rasa_coexistence.ledger import queues, schema
from rasa_coexistence.service import Service
from rasa_coexistence.settings import Settings
from rasa_coexistence.signature import check_signature
from rasa_coexistence.simulator import Setup, Simulator
from rasa_coexistence.simulator.clock import Clock
from rasa_coexistence.simulator.phones import CustomerPhone
from rasa_coexistence.simulator.state import Call

ANA, BEN = "5217715268513", "5215550000001"
PATIENCE_SECONDS = 60.0
A_WHILE = 0.7  # longer than a poll: what was to happen has happened


@dataclass
class Shop:
    """One or more servers that share a ledger, and Meta before them."""

    simulator: Simulator
    services: list[Service]
    phones: dict[str, CustomerPhone] = field(default_factory=dict)

    @property
    def service(self) -> Service:
        return self.services[0]

    @property
    def clock(self) -> Clock:
        return self.simulator.clock

    @property
    def calls(self) -> list[Call]:
        """Every try to send, whatever became of it."""
        return [call for call in self.simulator.calls if call.operation == "messages"]

    def seen_by(self, wa_id: str) -> list[str]:
        """Return what reached a customer."""
        return [sent.text for sent in self.simulator.sent_to(wa_id)]

    async def customer(self, wa_id: str, **others: Any) -> CustomerPhone:
        """Return a customer who has written just now, so that the window is open."""
        phone = self.simulator.customer(wa_id, **others)
        wamid = await phone.writes("Hola")
        await self.until(lambda: self.rows(schema.messages, wamid=wamid))
        return phone

    async def say(self, wa_id: str, *texts: str, **response: Any) -> None:
        """Let the bot say something outside a turn: each text is a bubble, all of one cause."""
        channel = self.service.output_channel()
        for text in texts:
            await channel.send_response(wa_id, {"text": text})
        if response:
            await channel.send_response(wa_id, response)

    async def rows(self, table: Any, **where: Any) -> list[Any]:
        """Return the rows of a table whose columns have these values, oldest first."""
        statement = sa.select(table).filter_by(**where).order_by(*table.primary_key.columns)
        return await self.service.database.read(lambda connection: connection.execute(statement).all())

    async def bubbles(self) -> list[Any]:
        """Return the outbox."""
        return await self.rows(schema.outbox)

    async def states(self) -> list[str]:
        """Return how far each outgoing message is."""
        return [row.state for row in await self.bubbles()]

    async def until_states(self, *states: str) -> None:
        """Wait until the outbox is so far."""

        async def is_so() -> bool:
            return await self.states() == list(states)

        try:
            await self.until(is_so)
        except AssertionError:
            found = [(row.state, row.code, row.reason) for row in await self.bubbles()]
            raise AssertionError(f"expected {states}, found {found}") from None

    async def until(self, is_so: Callable[[], Awaitable[Any]]) -> None:
        """Wait until something is so."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not await is_so():
            assert time.monotonic() < end, "it never came to be"
            await asyncio.sleep(0.02)

    async def until_tried(self, count: int) -> None:
        """Wait until so many tries to send were made and what came of them is written down."""

        async def are_made() -> bool:
            return len(self.calls) >= count and "sending" not in await self.states()

        await self.until(are_made)

    async def passes(self, seconds: float) -> None:
        """Let time pass, and what is due then happen."""
        self.clock.move(seconds)
        await asyncio.sleep(A_WHILE)


@asynccontextmanager
async def open_shop(
    database_url: str,
    *,
    servers: int = 1,
    graph_seconds: float = 20.0,
    setup: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Shop]:
    """Open a shop; ``settings`` are of credentials.yml."""
    async with _listening() as door:
        simulator = Simulator(Setup(webhook_url=door.url, retry_seconds=(0.05,) * 200, **(setup or {})))
        async with simulator:
            block = credentials(database_url, graph_url=simulator.url, **settings)
            shop = Shop(simulator, [_service(block, simulator, graph_seconds) for _ in range(servers)])
            door.services = shop.services
            for service in shop.services:
                await service.start()
            try:
                yield shop
            finally:
                for service in shop.services:
                    await service.stop()
    assert not simulator.accounts.alarms


def _service(block: dict[str, Any], simulator: Simulator, graph_seconds: float) -> Service:
    service = Service(Settings.from_credentials(block), lambda: None, clock=simulator.clock.now)
    service.graph._transport.timeout = aiohttp.ClientTimeout(total=graph_seconds, connect=graph_seconds)
    service.worker._visits[queues.TALK] = _hear_nothing
    return service


async def _hear_nothing(_lease: queues.Lease) -> None:
    """Stand where the bot would be asked."""


@dataclass
class _Door:
    """Where Meta's webhooks arrive; they go to each server in turn."""

    url: str = ""
    services: list[Service] = field(default_factory=list)
    taken: int = 0

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        service = self.services[self.taken % len(self.services)]
        self.taken += 1
        check_signature(
            body, request.headers.get("X-Hub-Signature-256"), app_secrets=service.settings.app_secrets
        )
        try:
            await service.accept(body)
        except LedgerUnavailable:
            return web.Response(status=503)
        return web.Response()


@asynccontextmanager
async def _listening() -> AsyncIterator[_Door]:
    door = _Door()
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_post("/webhook", door.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    door.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhook"
    try:
        yield door
    finally:
        await runner.cleanup()
