"""Make one HTTP request to Meta and judge what came of it, above all whether anything had left."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import aiohttp
import msgspec
from aiohttp.http_exceptions import HttpProcessingError

from rasa_coexistence import __version__
from rasa_coexistence.events import JSON
from rasa_coexistence.graph.answers import read_object
from rasa_coexistence.graph.errors import GraphError, Verdict

# All that aiohttp, asyncio, ssl and the decoders raise; being cancelled is none of it.
FAILURES = (
    aiohttp.ClientError,
    HttpProcessingError,
    asyncio.InvalidStateError,
    asyncio.LimitOverrunError,
    asyncio.TimeoutError,
    EOFError,
    OSError,
    RuntimeError,  # a session or loop that was closed
    ValueError,
)
_KEEP_ALIVE_SECONDS = (
    15  # a line that Meta closes while we write on it makes an unclear answer: use none that old
)
_TOKEN = re.compile(r"[!-~]+")
_ID = re.compile(r"(?!\.+$)[A-Za-z0-9_.:=-]{1,256}")


class Transport:
    """The one session with Meta; it begins with the first request, in the event loop of that request."""

    def __init__(self, *, connect_seconds: float, total_seconds: float) -> None:
        self.timeout = aiohttp.ClientTimeout(total=total_seconds, connect=connect_seconds)
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    async def close(self) -> None:
        """Close all lines; later calls fail without leaving this machine."""
        self._is_closed = True
        if self._session is not None:
            await self._session.close()

    async def call(
        self,
        method: str,
        url: str,
        *,
        token: str | None = None,
        query: Mapping[str, str] | None = None,
        body: JSON | None = None,
        repeatable: bool = False,
        secrets: Iterable[str] = (),
    ) -> JSON:
        """Return the JSON object that Meta answers with; raise GraphError for anything else.

        ``repeatable``: doing it twice is as good as once, so an unclear answer is simply tried again.
        """
        headers = {} if token is None else bearer(token)
        data = None if body is None else _encode(body)
        if data is not None:
            headers["Content-Type"] = "application/json"
        failed, line = "", SimpleNamespace(is_open=False)
        try:
            async with self.session().request(
                method,
                url,
                params=query,
                data=data,
                headers=headers,
                allow_redirects=False,
                timeout=self.timeout,
                trace_request_ctx=line,
            ) as response:
                status, raw = response.status, await response.read()
        except FAILURES as error:
            failed = type(error).__name__
        if failed:  # raised out here: the text of aiohttp's error may quote an address that holds secrets
            raise failure(failed, line, repeatable=repeatable)
        return _judge(status, raw, repeatable=repeatable, secrets=[*secrets, token or ""])

    async def look(self, url: str) -> tuple[int, str | None, bytes]:
        """Return status, Date header and body of whatever answers a GET without a token; raise GraphError."""
        failed, line = "", SimpleNamespace(is_open=False)
        try:
            async with self.session().get(
                url, allow_redirects=False, timeout=self.timeout, trace_request_ctx=line
            ) as response:
                return response.status, response.headers.get("Date"), await response.read()
        except FAILURES as error:
            failed = type(error).__name__
        raise failure(failed, line, repeatable=True)

    def session(self) -> aiohttp.ClientSession:
        """Return the open session, which notes on each request's line whether a connection was had."""
        if self._is_closed:
            raise GraphError.not_sent("the server is stopping")
        if self._session is None or self._session.closed:
            tracing: Any = aiohttp.TraceConfig()  # aiohttp 3.9 is typed for an older aiosignal
            tracing.on_connection_create_end.append(_note_open_line)
            tracing.on_connection_reuseconn.append(_note_open_line)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(keepalive_timeout=_KEEP_ALIVE_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"rasa-coexistence/{__version__}"},
                trace_configs=[tracing],
            )
        return self._session


def bearer(token: str) -> dict[str, str]:
    """Return the header that carries a token, if it can be one."""
    if not _TOKEN.fullmatch(token):
        raise GraphError(
            "the access token is empty or holds spaces or line ends; copy it again",
            verdict=Verdict.STOP_NUMBER,
            wants_person=True,
        )
    return {"Authorization": f"Bearer {token}"}


def segment(id_: str) -> str:
    """Return an id as part of an address; ids come with webhooks, so they are not to be trusted."""
    if not _ID.fullmatch(id_):
        raise GraphError("this is not an id as Meta gives them", verdict=Verdict.STOP)
    return id_


def failure(error_name: str, line: SimpleNamespace, *, repeatable: bool) -> GraphError:
    """Judge a request that ended in an exception: without a connection nothing can have left."""
    if not line.is_open:
        return GraphError.not_sent(f"no connection to Meta ({error_name})")
    return GraphError.unclear(f"Meta did not answer ({error_name})", repeatable=repeatable)


def _encode(body: JSON) -> bytes:
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise GraphError("the message cannot be written as JSON", verdict=Verdict.STOP) from error


def _judge(status: int, raw: bytes, *, repeatable: bool, secrets: Iterable[str]) -> JSON:
    answer = read_object(raw)
    error = (answer or {}).get("error")
    if isinstance(error, dict) and "code" in error:
        raise GraphError.from_error(error, http_status=status, secrets=secrets)
    if not 200 <= status < 300:
        raise GraphError.from_status(status, repeatable=repeatable)
    if answer is None:
        raise GraphError.unclear("Meta's answer is not JSON", http_status=status, repeatable=repeatable)
    return answer


async def _note_open_line(_session: aiohttp.ClientSession, context: Any, _params: object) -> None:
    context.trace_request_ctx.is_open = True
