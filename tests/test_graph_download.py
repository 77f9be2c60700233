"""How files come from Meta: in pieces, and the token to nobody else."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from aioresponses import aioresponses
from graph_calls import TOKEN, client_for, error_of, serving, talking_tcp
from yarl import URL

from rasa_coexistence.graph.client import GraphClient
from rasa_coexistence.graph.download import is_trusted
from rasa_coexistence.graph.errors import Verdict


async def collect(client: GraphClient, url: str, **limits: int) -> bytes:
    """Download a file whole."""
    async with client.download(url, access_token=TOKEN, **limits) as file:
        return b"".join([piece async for piece in file.pieces])


async def test_file_comes_in_pieces_with_its_type() -> None:
    """Large files never stand in memory whole."""
    content = bytes(range(256)) * 2000
    seen: list[str | None] = []

    async def give(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(body=content, content_type="image/jpeg")

    async with serving(give) as url, client_for(url) as client:
        async with client.download(f"{url}/f?x=1", access_token=TOKEN) as file:
            pieces = [piece async for piece in file.pieces]
        assert (file.mime_type, file.size) == ("image/jpeg", len(content))
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= 64 * 1024
    assert seen == [f"Bearer {TOKEN}"]


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        ("https://lookaside.fbsbx.com/whatsapp/x?mid=1", True),
        ("https://scontent.xx.fbcdn.net/x", True),
        ("https://facebook.com/x", True),
        ("https://LOOKASIDE.FBSBX.COM./x", True),
        ("http://127.0.0.1:9999/x", True),
        ("http://127.0.0.1:9998/x", False),
        ("https://127.0.0.1:9999/x", False),
        ("http://lookaside.fbsbx.com/x", False),
        ("https://lookaside.fbsbx.com:8443/x", False),
        ("https://evilfbsbx.com/x", False),
        ("https://fbsbx.com.evil.example/x", False),
        ("https://lookaside.fbsbx.com@evil.example/x", False),
        ("https://user:pass@lookaside.fbsbx.com/x", False),
        ("https://evil.example/lookaside.fbsbx.com", False),
        ("https://evil.example\\.fbsbx.com/x", False),
        ("//lookaside.fbsbx.com/x", False),
        ("file:///etc/passwd", False),
        ("", False),
    ],
)
def test_token_goes_to_meta_only(url: str, trusted: bool) -> None:
    """The address of a file comes with a webhook; whoever forges one must not get our token."""
    try:
        address = URL(url)
    except ValueError:
        assert not trusted
    else:
        assert is_trusted(address, URL("http://127.0.0.1:9999")) is trusted


@pytest.mark.parametrize("url", ["https://evil.example/x", "", "http://[", "file:///etc/passwd", "x" * 10])
async def test_foreign_address_is_not_even_looked_up(url: str) -> None:
    """No request leaves."""
    with aioresponses() as meta:
        async with client_for() as client:
            raised = await error_of(collect(client, url))
        assert not meta.requests
    assert raised.verdict is Verdict.STOP


async def test_redirect_to_a_foreign_host_is_not_followed() -> None:
    """Nor one that leads in circles; one that stays with Meta is."""
    visited: list[str] = []

    async def steal(request: web.Request) -> web.Response:
        visited.append("thief")
        return web.Response(body=b"x")

    async with serving(steal) as thief:

        async def redirect(request: web.Request) -> web.Response:
            visited.append(request.path)
            places = {"/abroad": f"{thief}/x", "/near": "/file", "/circle": "/circle", "/odd": "http://["}
            place = places.get(request.path)
            if place is None:
                return web.Response(body=b"content")
            return web.Response(status=302, headers={"Location": place})

        async with serving(redirect) as url, client_for(url) as client:
            assert await collect(client, f"{url}/near") == b"content"
            for path in ("/abroad", "/circle", "/odd"):
                assert (await error_of(collect(client, f"{url}{path}"))).verdict is Verdict.STOP
    assert "thief" not in visited
    assert visited.count("/circle") == 4


@pytest.mark.parametrize("announced", [True, False])
async def test_file_too_large_is_cut_off(announced: bool) -> None:
    """By its announced size before the first piece, else as soon as it grows too large."""

    async def give(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if announced:
            response.content_length = 300_000
        await response.prepare(request)
        try:
            for _ in range(3):
                await response.write(b"x" * 100_000)
        except ConnectionError:
            pass
        return response

    got = bytearray()

    async def take(client: GraphClient, url: str) -> None:
        async with client.download(url, access_token=TOKEN, most_bytes=150_000) as file:
            async for piece in file.pieces:
                got.extend(piece)

    async with serving(give) as url, client_for(url) as client:
        raised = await error_of(take(client, f"{url}/f"))
    assert raised.verdict is Verdict.STOP
    assert len(got) <= (0 if announced else 150_000)


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (404, "URL signature expired", Verdict.STOP),
        (401, "", Verdict.STOP),
        (401, '{"error":{"code":190}}', Verdict.STOP_NUMBER),
        (500, "", Verdict.RETRY),
        (429, "", Verdict.THROTTLED),
        (206, "x", Verdict.STOP),
    ],
)
async def test_file_refused_is_told_apart(status: int, body: str, verdict: Verdict) -> None:
    """404 is an address that has expired: the caller asks for a new one."""

    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    async with serving(refuse) as url, client_for(url) as client:
        raised = await error_of(collect(client, f"{url}/f"))
    assert (raised.verdict, raised.http_status) == (verdict, status)


async def test_file_that_breaks_off_is_an_error() -> None:
    """Half a picture must not pass for a whole one."""

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhalf")
        await writer.drain()

    async with talking_tcp(break_off) as url, client_for(url) as client:
        raised = await error_of(collect(client, f"{url}/f"))
    assert raised.verdict is Verdict.RETRY


async def test_reader_of_a_file_keeps_its_own_errors() -> None:
    """When the custom action that fetches a file hangs up, that is no failure of Meta's."""

    async def give(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 10)

    async with serving(give) as url, client_for(url) as client:
        with pytest.raises(ConnectionResetError, match="the reader left"):
            async with client.download(f"{url}/f", access_token=TOKEN):
                raise ConnectionResetError("the reader left")
