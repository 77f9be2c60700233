"""A shop with real Rasa servers for stories about persons: what was sent, what the tracker and ledger say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from actions import Actions, running_actions
from aiohttp import web
from cloud_api import running_simulator
from running_bot import Event, RunningBot

from rasa_coexistence.ledger import schema
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.simulator import Simulator
from rasa_coexistence.simulator.phones import CustomerPhone, OwnerPhone

PATIENCE_SECONDS = 60.0
LONG_AGO_SECONDS = 60.0  # a customer who wrote so long before is greeted no more


@dataclass
class Shop:
    """Everything that a story looks at."""

    meta: Simulator
    actions: Actions
    servers: list[RunningBot]
    ledger: Database
    notices: list[Any] = field(default_factory=list)  # what notify_url got
    power_cuts: int = 0  # after which the server is up again

    @property
    def owner(self) -> OwnerPhone:
        """The business's phone."""
        return self.meta.owner()

    def webhooks_go_to(self, server: RunningBot) -> None:
        """Let Meta post to this one."""
        self.meta.accounts.webhook_url = server.webhook_url

    async def meet(self, wa_id: str) -> CustomerPhone:
        """Let a customer write for the first time, and be answered."""
        customer = self.meta.customer(wa_id)
        await customer.writes("hello", at=time.time() - LONG_AGO_SECONDS)
        await self.answered(wa_id, "I heard you.")
        return customer

    def sent(self, wa_id: str) -> list[str]:
        """Return what went out to a customer."""
        return [one.text for one in self.meta.sent_to(wa_id)]

    async def answered(self, wa_id: str, *texts: str) -> None:
        """Wait until exactly this went out to a customer."""
        await self.meta.wait_for_sent(len(texts), to=wa_id, timeout_seconds=PATIENCE_SECONDS)
        assert self.sent(wa_id) == list(texts)

    async def until(self, is_so: Callable[[], Awaitable[Any] | Any]) -> None:
        """Wait until something is so."""
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = is_so()
            if await answer if isinstance(answer, Awaitable) else answer:
                return
            assert time.monotonic() < end, "it never came to be"
            await asyncio.sleep(0.05)

    async def rows(self, table: Any, wa_id: str, **where: Any) -> list[Any]:
        """Return the ledger's rows of one customer, oldest first."""

        def read(connection: Any) -> list[Any]:
            chat = connection.execute(schema.conversations.select().filter_by(sender_id=wa_id)).one()
            key = {"id" if table is schema.conversations else "conversation_id": chat.id}
            statement = table.select().filter_by(**key, **where).order_by(table.c.id)
            return list(connection.execute(statement))

        return await self.ledger.read(read)

    async def bubbles(self, wa_id: str, state: str) -> list[str]:
        """Return the texts of a customer's bubbles in a state."""
        return [row.text for row in await self.rows(schema.outbox, wa_id, state=state)]

    async def chat(self, wa_id: str) -> Any:
        """Return the row of a conversation."""
        [row] = await self.rows(schema.conversations, wa_id)
        return row

    async def person_types(self, to: CustomerPhone) -> str:
        """Type on the phone, and wait until it is the person's conversation."""
        # The same text in three chats would be a broadcast.
        wamid = await self.owner.writes(to, f"Yo le atiendo, {to.person.wa_id}")

        async def is_theirs() -> bool:
            return bool((await self.chat(str(to.person.wa_id))).takeover_wamid == wamid)

        await self.until(is_theirs)
        return wamid

    async def posted_again(self, wamid: str) -> None:
        """Let Meta deliver a webhook once more."""
        inside = wamid.replace("/", "\\/").encode()
        [before] = [delivery for delivery in self.meta.deliveries.log if inside in delivery.body]
        await self.meta.deliveries.post_again(before).over.wait()

    async def is_logged(self, to: CustomerPhone, wamid: str) -> None:
        """Wait until the tracker has a message that nobody is to answer now."""

        async def is_so() -> bool:
            return bool(await self.rows(schema.messages, str(to.person.wa_id), wamid=wamid, state="logged"))

        await self.until(is_so)


def marks(event: Event) -> Any:
    """Return ``metadata.whatsapp`` of an event."""
    return (event.get("metadata") or {}).get("whatsapp") or {}


@asynccontextmanager
async def open_shop(
    folder: Path, model: Path, *, servers: int, endpoints: dict[str, Any], **settings: Any
) -> AsyncIterator[Shop]:
    """Run the bot of ``tests/bots/answers`` on so many servers, its actions, and whoever is notified."""
    async with AsyncExitStack() as stack:
        meta = await stack.enter_async_context(running_simulator())
        meta.number.onboarded_at -= 2 * LONG_AGO_SECONDS
        actions = await stack.enter_async_context(running_actions())
        notices: list[Any] = []
        settings["takeover"]["notify_url"] = await stack.enter_async_context(_notified(notices))
        bots = []
        for number in range(servers):
            own = folder / f"server{number}"
            own.mkdir()
            action_endpoint = {"url": f"{actions.url}/{number}"}
            bot = RunningBot(
                own,
                model,
                meta.url,
                endpoints={**endpoints, "action_endpoint": action_endpoint},
                **settings,
            )
            stack.push_async_callback(bot.stop)
            bots.append(bot)
        ledger = Database(settings["database_url"])
        stack.push_async_callback(ledger.close)
        shop = Shop(meta, actions, bots, ledger, notices)
        shop.webhooks_go_to(bots[0])
        await asyncio.gather(*(bot.start() for bot in bots))
        yield shop


@asynccontextmanager
async def _notified(notices: list[Any]) -> AsyncIterator[str]:
    async def take(request: web.Request) -> web.Response:
        notices.append(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def trigger(server: RunningBot, wa_id: str, output_channel: str = "latest") -> None:
    """Have Rasa speak of something that happened outside, as its HTTP API allows."""
    path = f"/conversations/{wa_id}/trigger_intent?output_channel={output_channel}"
    url = server.url + path
    async with aiohttp.ClientSession() as session, session.post(url, json={"name": "EXTERNAL_parcel"}):
        pass
