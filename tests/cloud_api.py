"""Help tests that talk to the simulated Meta: an app that listens, and calls as a client makes them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from rasa_coexistence.signature import check_signature
from rasa_coexistence.simulator import Setup, Simulator

VERSION = "v26.0"
RETRY_SECONDS = (*(0.02,) * 100, *(0.5,) * 200)  # until a bot that was killed is up again


@dataclass
class Receiver:
    """An app with a webhook that notes what it is told, and answers as it was told to."""

    setup: Setup = field(default_factory=Setup)
    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)  # statuses to give first; 200 afterwards

    @property
    def values(self) -> list[tuple[str, Any]]:
        """Return (field, value) of every change of every body that was taken."""
        return [
            (change["field"], change["value"])
            for body in self.bodies
            for entry in json.loads(body)["entry"]
            for change in entry["changes"]
        ]

    def told(self, key: str) -> list[Any]:
        """Return every item under a key of the values, like messages or statuses."""
        return [item for _, value in self.values for item in value.get(key, ())]

    async def take(self, request: web.Request) -> web.Response:
        """Answer one webhook, checking its signature."""
        body = await request.read()
        check_signature(body, request.headers.get("X-Hub-Signature-256"), app_secrets=[self.setup.app_secret])
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            self.bodies.append(body)
        return web.Response(status=status)

    async def shake_hands(self, request: web.Request) -> web.Response:
        """Answer Meta's challenge."""
        if request.query.get("hub.verify_token") != self.setup.verify_token:
            return web.Response(status=403)
        return web.Response(text=request.query["hub.challenge"])


@asynccontextmanager
async def running_receiver() -> AsyncIterator[Receiver]:
    """Run an app that listens."""
    receiver = Receiver()
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_post("/{any:.*}", receiver.take)
    app.router.add_get("/{any:.*}", receiver.shake_hands)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running_simulator(webhook_url: str | None = None, **setup: Any) -> AsyncIterator[Simulator]:
    """Run the simulated Meta; a call that must never be made fails the test."""
    setup.setdefault("retry_seconds", RETRY_SECONDS)
    simulator = Simulator(Setup(webhook_url=webhook_url, **setup))
    await simulator.start()
    try:
        yield simulator
    finally:
        await simulator.stop()
    assert not simulator.accounts.alarms


@dataclass
class Client:
    """Calls the Graph API as a careful client would."""

    simulator: Simulator
    session: aiohttp.ClientSession
    token: str | None = "EAAsimulatedtoken"

    async def call(self, method: str, path: str, body: Any = None, **others: Any) -> tuple[int, Any]:
        """Make a call; returns its HTTP status and JSON."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        url = f"{self.simulator.url}/{VERSION}{path}"
        content = {"json": body} if body is not None else {}
        async with self.session.request(method, url, headers=headers, **content, **others) as answer:
            return answer.status, await answer.json(content_type=None)

    async def send(self, wa_id: str, body: dict[str, Any] | None = None, **others: Any) -> tuple[int, Any]:
        """Send a message, a text unless a body says otherwise."""
        whole = {"messaging_product": "whatsapp", "to": wa_id, **(body or text("Hola")), **others}
        return await self.call("POST", f"/{self.simulator.number.phone_number_id}/messages", whole)


@asynccontextmanager
async def client_of(simulator: Simulator) -> AsyncIterator[Client]:
    """Open a client."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield Client(simulator, session)


def text(body: str) -> dict[str, Any]:
    """Return the part of a message that says text."""
    return {"type": "text", "text": {"body": body}}


def code_of(answer: tuple[int, Any]) -> int | None:
    """Return Meta's code of an answer, None when it went well."""
    code = answer[1].get("error", {}).get("code")
    return None if code is None else int(code)
