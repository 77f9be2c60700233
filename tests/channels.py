"""Our channel in a real Sanic server, as Rasa runs it, in the process of the tests."""

from __future__ import annotations

import io
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
from rasa.core.channels.channel import register
from sanic import Sanic
from servers import free_port

from rasa_coexistence import CoexistenceInput
from rasa_coexistence.service import Service
from rasa_coexistence.signature import sign
from rasa_coexistence.simulator import Setup

SETUP = Setup()
ADMIN_TOKEN = "tests-admin-token"
PHONE_NUMBER_ID = SETUP.phone_number_id


@dataclass
class Site:
    """A running channel and a client for it."""

    url: str  # up to /webhooks/whatsapp
    app: Sanic
    channel: CoexistenceInput
    session: aiohttp.ClientSession

    @property
    def service(self) -> Service:
        """What runs behind the routes."""
        return self.channel.service

    async def call(self, method: str, path: str, **others: Any) -> tuple[int, Any]:
        """Make a request; return its status and its JSON, or its text where it is none."""
        async with self.session.request(method, self.url + path, **others) as answer:
            body = await answer.read()
            return answer.status, _decoded(body)

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        """Post a signed body; bytes go as they are."""
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        given = {"X-Hub-Signature-256": sign(raw, SETUP.app_secret), **headers}
        return await self.call("POST", path, data=io.BytesIO(raw), headers=given)


def credentials(database_url: str, **changes: Any) -> dict[str, Any]:
    """Return the block of credentials.yml that fits the simulated Meta."""
    known: dict[str, Any] = {
        "verify_token": SETUP.verify_token,
        "app_secret": SETUP.app_secret,
        "access_token": SETUP.access_token,
        "phone_number_id": SETUP.phone_number_id,
        "admin_token": ADMIN_TOKEN,
        "graph_url": "http://127.0.0.1:9",
        "database_url": database_url,
    }
    merged = {**known, **changes}
    return {name: value for name, value in merged.items() if value is not None}


@asynccontextmanager
async def running_channel(block: dict[str, Any], agent: Any = None) -> AsyncIterator[Site]:
    """Run the channel in a server on a free port, beside an agent if there is one."""
    Sanic.test_mode = True  # else only the first server of a process starts
    channel = CoexistenceInput.from_credentials(block)
    app = Sanic(f"tests-{uuid.uuid4().hex}", configure_logging=False)
    app.ctx.agent = agent
    register([channel], app, route="/webhooks/")
    server = await app.create_server(
        host="127.0.0.1",
        port=free_port(),  # Sanic takes 0 for its usual one
        return_asyncio_server=True,
        asyncio_server_kwargs={"start_serving": False},
    )
    await server.startup()
    await server.before_start()
    await server.after_start()
    await server.start_serving()
    host, port = server.server.sockets[0].getsockname()
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            yield Site(f"http://{host}:{port}/webhooks/whatsapp", app, channel, session)
    finally:
        await server.before_stop()
        await server.close()
        for connection in list(server.connections):
            connection.abort()
        await server.after_stop()


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body.decode()
