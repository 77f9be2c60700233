"""Fetch a file from Meta piece by piece, without ever showing the token to somebody else.

The address comes from outside, so the token goes only to Meta's own hosts and to the configured Graph API.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp
from yarl import URL

from rasa_coexistence.graph.answers import read_object
from rasa_coexistence.graph.errors import GraphError, Verdict
from rasa_coexistence.graph.transport import FAILURES, Transport, bearer, failure

_META_HOSTS = ("facebook.com", "fbcdn.net", "fbsbx.com")
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 3
_TOTAL_SECONDS = 600.0
_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A file on its way."""

    mime_type: str | None
    size: int | None  # bytes, as announced
    pieces: AsyncIterator[bytes]


@asynccontextmanager
async def download(
    transport: Transport, url: str, *, access_token: str, graph_url: str, most_bytes: int
) -> AsyncIterator[Download]:
    """Open a file; GraphError if it cannot be had, is larger than ``most_bytes``, or breaks off."""
    response = await _open(transport, url, access_token, URL(graph_url))
    try:
        if response.status != 200:
            raise await _refusal(response, access_token)
        size = response.content_length
        if size is not None and size > most_bytes:
            raise _too_large(most_bytes)
        mime_type = response.headers.get("Content-Type")
        yield Download(mime_type=mime_type, size=size, pieces=_pieces(response, most_bytes))
    finally:
        response.close()


def is_trusted(url: URL, graph_url: URL) -> bool:
    """Tell whether an address may see the token: the configured Graph API, or Meta over TLS."""
    if url.user is not None or url.password is not None or not url.host:
        return False
    if url.scheme in ("http", "https") and url.origin() == graph_url.origin():
        return True
    host = url.host.lower().rstrip(".")
    is_meta = any(host == known or host.endswith(f".{known}") for known in _META_HOSTS)
    return is_meta and url.scheme == "https" and url.port == 443


async def _open(transport: Transport, url: str, token: str, graph_url: URL) -> aiohttp.ClientResponse:
    """Follow redirects by hand: each next host must be trusted, too."""
    place = _parse(url)
    for _ in range(_MOST_REDIRECTS + 1):
        if place is None or not is_trusted(place, graph_url):
            raise GraphError(
                "the file's address is not one of Meta's; it is not fetched", verdict=Verdict.STOP
            )
        response = await _get(transport, place, token)
        location = response.headers.get("Location")
        if response.status not in _REDIRECTS or location is None:
            return response
        response.close()
        following = _parse(location)
        place = None if following is None else place.join(following)
    raise GraphError("the file's address leads in circles", verdict=Verdict.STOP)


async def _get(transport: Transport, place: URL, token: str) -> aiohttp.ClientResponse:
    headers = bearer(token) | {"Accept-Encoding": "identity"}  # its size, as announced, is what arrives
    idle_seconds = transport.timeout.total
    timeout = aiohttp.ClientTimeout(
        total=_TOTAL_SECONDS, connect=transport.timeout.connect, sock_read=idle_seconds
    )
    line = SimpleNamespace(is_open=False)
    try:
        return await transport.session().get(
            place, headers=headers, allow_redirects=False, timeout=timeout, trace_request_ctx=line
        )
    except FAILURES as error:
        failed = type(error).__name__
    raise failure(failed, line, repeatable=True)


async def _pieces(response: aiohttp.ClientResponse, most_bytes: int) -> AsyncIterator[bytes]:
    got = 0
    while True:
        piece = await _read(response)
        if not piece:
            return
        got += len(piece)
        if got > most_bytes:
            raise _too_large(most_bytes)
        yield piece


async def _read(response: aiohttp.ClientResponse) -> bytes:
    try:
        return await response.content.read(_PIECE)
    except FAILURES as error:
        failed = type(error).__name__
    raise GraphError.unclear(f"the file broke off ({failed})", repeatable=True)


async def _refusal(response: aiohttp.ClientResponse, token: str) -> GraphError:
    status = response.status
    error = (read_object(await _read(response)) or {}).get("error")
    if isinstance(error, dict) and "code" in error:
        return GraphError.from_error(error, http_status=status, secrets=[token])
    if status in (404, 410):
        return GraphError(
            "the file's address has expired; ask for a new one", verdict=Verdict.STOP, http_status=status
        )
    if status >= 500 or status in (408, 429):
        return GraphError.from_status(status, repeatable=True)
    return GraphError(
        f"Meta does not give out this file (HTTP {status})", verdict=Verdict.STOP, http_status=status
    )


def _too_large(most_bytes: int) -> GraphError:
    return GraphError(f"the file is larger than {most_bytes} bytes; it is not fetched", verdict=Verdict.STOP)


def _parse(url: str) -> URL | None:
    try:
        return URL(url)
    except (ValueError, TypeError):
        return None
