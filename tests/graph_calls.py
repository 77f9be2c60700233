"""Help tests of the Graph client: servers that behave and misbehave, and every call there is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from aiohttp import web

from rasa_coexistence.graph.client import NUMBER_FIELDS, GraphClient
from rasa_coexistence.graph.errors import GraphError

TOKEN = "EAAtokenThatNobodyMaySee123"
SECRET = "appsecretThatNobodyMaySee"
CODE = "AQcodeThatNobodyMaySee"
HELLO = {"to": "+16505551234", "type": "text", "text": {"body": "Hola"}}
ACCEPTED = {"messages": [{"id": "wamid.A"}], "contacts": [{"input": "+1650", "wa_id": "16505551234"}]}
META = "https://graph.facebook.com/v26.0"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Call = Callable[[GraphClient], Awaitable[Any]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Serve HTTP on a free port; gives its address."""
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def talking_tcp(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """Serve bare TCP on a free port, for what no web server would do."""
    tasks: set[asyncio.Task[Any]] = set()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await talk(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)


@asynccontextmanager
async def client_for(url: str = "https://graph.facebook.com", **seconds: float) -> AsyncIterator[GraphClient]:
    """Open a client and close it again."""
    client = GraphClient(url, "v26.0", **seconds)
    try:
        yield client
    finally:
        await client.close()


async def error_of(call: Awaitable[Any]) -> GraphError:
    """Return the GraphError that a call raises."""
    with pytest.raises(GraphError) as caught:
        await call
    return caught.value


def send(client: GraphClient) -> Awaitable[Any]:
    """Send a message."""
    return client.send_message("2002", HELLO, access_token=TOKEN)


@contextmanager
def closed_port() -> Iterator[str]:
    """An address that refuses connections; nobody else gets the port meanwhile."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{kept.getsockname()[1]}"


@contextmanager
def full_backlog() -> Iterator[str]:
    """An address that lets nobody in: its queue is full and nobody takes from it."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        kept.listen(0)
        waiting = [socket.socket() for _ in range(8)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(kept.getsockname())
        try:
            yield f"http://127.0.0.1:{kept.getsockname()[1]}"
        finally:
            for one in waiting:
                one.close()


REQUESTS: dict[str, tuple[Call, Any, tuple[str, str, dict[str, str], Any]]] = {
    "send_message": (
        send,
        ACCEPTED,
        ("POST", "/v26.0/2002/messages", {}, {"messaging_product": "whatsapp", **HELLO}),
    ),
    "mark_read": (
        lambda client: client.mark_read("2002", "wamid.A", access_token=TOKEN),
        {"success": True},
        (
            "POST",
            "/v26.0/2002/messages",
            {},
            {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.A"},
        ),
    ),
    "mark_read and typing": (
        lambda client: client.mark_read("2002", "wamid.A", access_token=TOKEN, typing=True),
        {"success": True},
        (
            "POST",
            "/v26.0/2002/messages",
            {},
            {
                "messaging_product": "whatsapp",
                "status": "read",
                "message_id": "wamid.A",
                "typing_indicator": {"type": "text"},
            },
        ),
    ),
    "media": (
        lambda client: client.media("77", phone_number_id="2002", access_token=TOKEN),
        {"url": "https://lookaside.fbsbx.com/x"},
        ("GET", "/v26.0/77", {"phone_number_id": "2002"}, None),
    ),
    "exchange_code": (
        lambda client: client.exchange_code("1", SECRET, CODE),
        {"access_token": TOKEN},
        ("GET", "/v26.0/oauth/access_token", {"client_id": "1", "client_secret": SECRET, "code": CODE}, None),
    ),
    "debug_token": (
        lambda client: client.debug_token(TOKEN, "1", SECRET),
        {"data": {"is_valid": True}},
        ("GET", "/v26.0/debug_token", {"input_token": TOKEN}, None),
    ),
    "phone_numbers": (
        lambda client: client.phone_numbers("1001", access_token=TOKEN),
        {"data": []},
        (
            "GET",
            "/v26.0/1001/phone_numbers",
            {
                "fields": NUMBER_FIELDS,
                "limit": "100",
            },
            None,
        ),
    ),
    "number": (
        lambda client: client.number(
            "2002", fields="is_on_biz_app,webhook_configuration", access_token=TOKEN
        ),
        {"id": "2002"},
        ("GET", "/v26.0/2002", {"fields": "is_on_biz_app,webhook_configuration"}, None),
    ),
    "subscribe_app": (
        lambda client: client.subscribe_app("1001", access_token=TOKEN),
        {"success": True},
        ("POST", "/v26.0/1001/subscribed_apps", {}, None),
    ),
    "subscribe_app with an address of its own": (
        lambda client: client.subscribe_app(
            "1001", access_token=TOKEN, override_callback_uri="https://a.example/w", verify_token="v"
        ),
        {"success": True},
        (
            "POST",
            "/v26.0/1001/subscribed_apps",
            {},
            {"override_callback_uri": "https://a.example/w", "verify_token": "v"},
        ),
    ),
    "subscribed_apps": (
        lambda client: client.subscribed_apps("1001", access_token=TOKEN),
        {"data": []},
        ("GET", "/v26.0/1001/subscribed_apps", {}, None),
    ),
    "app_subscriptions": (
        lambda client: client.app_subscriptions("1", SECRET),
        {"data": []},
        ("GET", "/v26.0/1/subscriptions", {}, None),
    ),
    "request_sync": (
        lambda client: client.request_sync("2002", "history", access_token=TOKEN),
        {"messaging_product": "whatsapp", "request_id": "r1"},
        ("POST", "/v26.0/2002/smb_app_data", {}, {"messaging_product": "whatsapp", "sync_type": "history"}),
    ),
}
CALLS = {name: call for name, (call, _, _) in REQUESTS.items()}
NOT_REPEATABLE = {"send_message", "exchange_code", "request_sync"}  # doing these twice is not as good as once
BEARERS = {
    "exchange_code": None,
    "debug_token": f"Bearer 1|{SECRET}",
    "app_subscriptions": f"Bearer 1|{SECRET}",
}
