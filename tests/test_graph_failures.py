"""What the Graph client makes of lines that break: did anything leave, and is nothing secret told?"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import socket
import ssl
import traceback
from types import ModuleType

import aiohttp
import pytest
from aiohttp import client_exceptions, http_exceptions, web
from aioresponses import aioresponses
from graph_calls import (
    ACCEPTED,
    CALLS,
    CODE,
    HELLO,
    META,
    SECRET,
    TOKEN,
    client_for,
    closed_port,
    error_of,
    full_backlog,
    send,
    serving,
    talking_tcp,
)

from rasa_coexistence.graph.errors import GraphError, Verdict, retry_delay


async def test_refused_connection_proves_that_nothing_left() -> None:
    """So the same message may be tried again."""
    with closed_port() as url:
        async with client_for(url) as client:
            raised = await error_of(send(client))
    assert raised.verdict is Verdict.NOT_SENT
    assert retry_delay(raised.verdict, 1, jitter=0) == 1


async def test_connection_that_nobody_takes_up_proves_it_too() -> None:
    """aiohttp raises the same kind of error as when an answer does not come."""
    with full_backlog() as url:
        async with client_for(url, connect_seconds=0.2) as client:
            raised = await error_of(send(client))
    assert raised.verdict is Verdict.NOT_SENT


async def test_total_time_spent_on_connecting_proves_it_too() -> None:
    """Whichever clock runs out first."""
    with full_backlog() as url:
        async with client_for(url, connect_seconds=5, total_seconds=0.2) as client:
            raised = await error_of(send(client))
    assert raised.verdict is Verdict.NOT_SENT


async def test_tls_that_fails_proves_it_too() -> None:
    """The request is written only after the handshake."""

    async def speak_no_tls(request: web.Request) -> web.Response:
        return web.Response()

    async with serving(speak_no_tls) as url, client_for(url.replace("http:", "https:")) as client:
        raised = await error_of(send(client))
    assert raised.verdict is Verdict.NOT_SENT


@pytest.mark.parametrize(
    "url", ["http://nowhere.invalid", "http://", "graph.facebook.com", "ftp://a.example"]
)
async def test_address_that_leads_nowhere_proves_it_too(url: str) -> None:
    """A name without an address, and what is no address at all."""
    async with client_for(url) as client:
        raised = await error_of(send(client))
    assert raised.verdict is Verdict.NOT_SENT


async def test_answer_that_does_not_come_is_unclear() -> None:
    """Meta may have sent the message before the time was up."""

    async def think(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.json_response(ACCEPTED)

    async with serving(think) as url, client_for(url, total_seconds=0.3) as client:
        raised = await error_of(send(client))
    assert raised.verdict is Verdict.UNCLEAR


ENDINGS = {
    "closed": b"",
    "half a line": b"HTTP/1.1 20",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Len",
    "half a body": b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"messages":[{"id":"wamid.A"}]',
    "half a chunk": b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{"mess',
    "no HTTP": b"220 mail.example ESMTP\r\n",
    "wrong encoding": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_line_that_breaks_after_the_request_is_unclear(ending: str) -> None:
    """However far the answer had come."""

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"Hola")
        writer.write(ENDINGS[ending])
        await writer.drain()

    async with talking_tcp(break_off) as url, client_for(url) as client:
        raised = await error_of(send(client))
    assert raised.verdict is Verdict.UNCLEAR


async def test_line_that_is_reset_after_the_request_is_unclear() -> None:
    """A reset says nothing about what was read before it."""

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"Hola")
        writer.transport.abort()

    async with talking_tcp(reset) as url, client_for(url) as client:
        raised = await error_of(send(client))
    assert raised.verdict is Verdict.UNCLEAR


async def test_line_kept_open_that_breaks_is_unclear() -> None:
    """The second request went out on a line that was good a moment ago."""
    requests = 0

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        while True:
            await reader.readuntil(b"Hola")
            requests += 1
            if requests > 1:
                return
            await reader.readuntil(b"}}")
            raw = json.dumps(ACCEPTED).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(raw), raw))

    async with talking_tcp(answer_once) as url, client_for(url) as client:
        await send(client)
        raised = await error_of(send(client))
    assert raised.verdict is Verdict.UNCLEAR
    assert requests == 2


async def test_call_that_is_cancelled_stays_cancelled() -> None:
    """Stopping the server is not an error of Meta's."""
    arrived = asyncio.Event()

    async def think(request: web.Request) -> web.Response:
        arrived.set()
        await asyncio.sleep(30)
        return web.Response()

    async with serving(think) as url, client_for(url) as client:
        task = asyncio.ensure_future(send(client))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_closed_client_sends_nothing() -> None:
    """What is still in the outbox when the server stops goes out after the next start."""
    async with client_for() as client:
        await client.close()
        raised = await error_of(send(client))
    assert raised.verdict is Verdict.NOT_SENT


def exceptions_of(module: ModuleType) -> set[type[BaseException]]:
    """Every exception that a module defines or hands on."""
    found = (value for _, value in inspect.getmembers(module, inspect.isclass))
    return {value for value in found if issubclass(value, BaseException) and value.__name__[0] != "_"}


RAISED = sorted(
    {
        *exceptions_of(client_exceptions),
        *exceptions_of(http_exceptions),
        *(getattr(aiohttp, name) for name in aiohttp.__all__ if name.endswith(("Error", "Redirects"))),
        *exceptions_of(asyncio.exceptions),
        *exceptions_of(ssl),
        *exceptions_of(socket),
        json.JSONDecodeError,
        UnicodeDecodeError,
        ConnectionResetError,
        BrokenPipeError,
    }
    - {
        asyncio.CancelledError,  # must pass
        aiohttp.WebSocketError,  # only of web sockets
        Exception,  # not raised by itself; catching it would hide our own mistakes
        BaseException,
    },
    key=lambda error: (error.__module__, error.__name__),
)


@pytest.mark.parametrize("error", RAISED, ids=lambda error: error.__name__)
async def test_every_exception_of_the_libraries_becomes_a_graph_error(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raised before a connection it proves that nothing left; while the answer is read it proves nothing."""

    async def break_off(*_: object, **__: object) -> None:
        raise error.__new__(error)

    async def accept(request: web.Request) -> web.Response:
        return web.json_response(ACCEPTED)

    async with serving(accept) as url, client_for(url) as client:
        with monkeypatch.context() as patch:
            patch.setattr(aiohttp.ClientResponse, "read", break_off)
            assert (await error_of(send(client))).verdict is Verdict.UNCLEAR
        with monkeypatch.context() as patch:
            patch.setattr(aiohttp.ClientSession, "_request", break_off)
            assert (await error_of(send(client))).verdict is Verdict.NOT_SENT
            with pytest.raises(GraphError):
                async with client.download(f"{url}/x", access_token=TOKEN):
                    pass
        with monkeypatch.context() as patch:
            patch.setattr(aiohttp.StreamReader, "read", break_off)
            async with client.download(f"{url}/x", access_token=TOKEN) as file:
                with pytest.raises(GraphError):
                    await file.pieces.__anext__()


SECRETS = (TOKEN, SECRET, CODE, "16505551234", "650) 555-1234")
TOLD_BY_META = {
    "code": 190,
    "message": f"Malformed access token {TOKEN}",
    "error_data": {
        "details": f"Recipient +16505551234 or +1 (650) 555-1234; 1|{SECRET}; EAAother123456; {CODE}"
    },
    "fbtrace_id": "AbcTrace",
}


def everything_about(error: GraphError) -> str:
    """All that a log, a traceback or a console could show of an error."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))


@pytest.mark.parametrize("name", CALLS)
async def test_neither_token_nor_secret_nor_phone_number_is_told(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """aiohttp quotes whole addresses, Meta quotes tokens and phone numbers: none of it reaches a log."""
    caplog.set_level(logging.DEBUG)

    async def refuse(request: web.Request) -> web.Response:
        return web.json_response({"error": TOLD_BY_META}, status=401)

    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    errors = []
    async with serving(refuse) as url, client_for(url) as client:
        errors.append(await error_of(CALLS[name](client)))
    async with talking_tcp(stay_silent) as url, client_for(url, total_seconds=0.1) as client:
        errors.append(await error_of(CALLS[name](client)))
    with full_backlog() as url:
        async with client_for(url, connect_seconds=0.1) as client:
            errors.append(await error_of(CALLS[name](client)))
    secrets = SECRETS if name == "exchange_code" else [secret for secret in SECRETS if secret != CODE]
    for told in [*map(everything_about, errors), caplog.text]:
        assert not [secret for secret in secrets if secret in told]
    assert errors[0].details is not None
    assert "EAAother" not in errors[0].details
    assert errors[0].wants_person


async def test_business_token_hides_itself() -> None:
    """It ends up in local variables, and those in error reports."""
    with aioresponses() as meta:
        query = f"client_id=1&client_secret={SECRET}&code={CODE}"
        meta.get(f"{META}/oauth/access_token?{query}", payload={"access_token": TOKEN, "expires_in": "60"})
        async with client_for() as client:
            token = await client.exchange_code("1", SECRET, CODE)
    assert (token.access_token, token.expires_in) == (TOKEN, 60)
    assert TOKEN not in f"{token!r} {token}"


@pytest.mark.parametrize("token", ["", " ", "EAA x", "EAAx\r\nX-Evil: 1", "EAAé"])
async def test_token_that_cannot_be_one_is_not_sent(token: str) -> None:
    """It would break the request's head; a person has to set it right."""
    async with client_for() as client:
        raised = await error_of(client.send_message("2002", HELLO, access_token=token))
    assert raised.verdict is Verdict.STOP_NUMBER
    assert raised.wants_person
