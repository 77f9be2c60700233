"""Serve the Graph API over HTTP."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from aiohttp import web

from rasa_coexistence.simulator.control import add_control_routes
from rasa_coexistence.simulator.failures import Failure, act_out
from rasa_coexistence.simulator.graph_calls import CALLS, GraphCall, bearer
from rasa_coexistence.simulator.refusals import Refusal
from rasa_coexistence.simulator.state import JSON, Answer, Call

if TYPE_CHECKING:
    from rasa_coexistence.simulator.simulator import Simulator

OLDEST_VERSION, NEWEST_VERSION = 20, 26
LARGEST_UPLOAD = 110 * 1024 * 1024


class GraphServer:
    """The HTTP side of a Simulator; its port can be closed and opened to refuse connections."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._stopping = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._host, self._port = "127.0.0.1", 0

    @property
    def url(self) -> str:
        """Return where it listens."""
        return f"http://{self._host}:{self._port}"

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes a free one, which is kept when it is closed and opened again."""
        app = web.Application(client_max_size=LARGEST_UPLOAD)
        add_control_routes(app, self._simulator)
        app.router.add_get("/_lookaside/{media_id}", self._download)
        for method, path, call in CALLS:
            app.router.add_route(method, f"/{{version:v\\d+\\.\\d+}}{path}", self._route(call))
        app.router.add_route("*", "/{rest:.*}", _unknown_path)
        preparing: Any = app.on_response_prepare  # aiohttp 3.9 is typed for an older aiosignal
        preparing.append(self._tell_time)
        self._stopping.clear()
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        self._host, self._port = host, port
        await self.open_port()

    async def stop(self) -> None:
        """Stop listening, and let go of the lines that a timeout keeps open."""
        self._stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def open_port(self) -> None:
        """Take connections (again)."""
        if self._runner is None:
            raise RuntimeError("the simulator is not running: call start() first")
        site = web.TCPSite(self._runner, self._host, self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def close_port(self) -> None:
        """Refuse connections, and cut the ones that are open (a client may notice at its next call)."""
        if self._runner is None or self._runner.server is None:
            return
        for site in list(self._runner.sites):
            await site.stop()
        for connection in list(self._runner.server.connections):
            if connection.transport is not None:
                connection.transport.abort()

    async def _tell_time(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Date"] = formatdate(self._simulator.clock.now(), usegmt=True)

    def _route(self, call: GraphCall) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            return await self._serve(request, call)

        return serve

    async def _serve(self, request: web.Request, call: GraphCall) -> web.StreamResponse:
        """Read, fail if that is wanted, decide, tell what comes first, answer, tell the rest."""
        simulator = self._simulator
        body = await _read_body(request)
        operation = call.name_for(body)
        failure = simulator.failures.take(operation, body)
        await asyncio.sleep(simulator.sending.behaviour.latency_seconds)
        if failure is not None and not failure.kind.is_done:
            self._note(operation, request, body, None, failure)
            return await act_out(failure, request, self._stopping)
        try:
            _check_version(request)
            answer = await call.act(simulator, request, body)
        except Refusal as refusal:
            answer = Answer(refusal.envelope(), refusal.http_status)
        self._note(operation, request, body, answer, failure)
        for webhook in answer.before:
            await simulator.post(webhook)
        simulator.tell_later(answer.after)
        if failure is not None:
            return await act_out(failure, request, self._stopping)
        return web.json_response(answer.body, status=answer.status)

    def _note(
        self,
        operation: str,
        request: web.Request,
        body: JSON | None,
        answer: Answer | None,
        failure: Failure | None,
    ) -> None:
        error = answer.body.get("error", {}) if answer is not None else {}
        self._simulator.calls.append(
            Call(
                operation=operation,
                path=request.path,
                at=self._simulator.clock.now(),
                body=body,
                status=answer.status if answer is not None else None,
                code=error.get("code") if isinstance(error, dict) else None,
                failure=failure.kind.value if failure is not None else None,
            )
        )
        self._simulator.changed()

    async def _download(self, request: web.Request) -> web.StreamResponse:
        simulator = self._simulator
        failure = simulator.failures.take("download")
        if failure is not None:
            self._note("download", request, None, None, failure)
            return await act_out(failure, request, self._stopping)
        media = simulator.media.at(request.match_info["media_id"], request.query.get("ext", ""))
        authorised = bool(bearer(request))
        status = 401 if not authorised else 404 if media is None else 200
        self._note("download", request, None, Answer({}, status), None)
        if media is None or status != 200:
            return web.Response(status=status, text="URL signature expired")
        answer = web.StreamResponse(headers={"Content-Length": str(media.size)})
        answer.content_type = media.mime_type.split(";")[0]
        await answer.prepare(request)
        for piece in media.pieces():
            await answer.write(piece)
        await answer.write_eof()
        return answer


def _check_version(request: web.Request) -> None:
    version = request.match_info["version"]
    major = re.match(r"v(\d+)", version)
    if major is None or not OLDEST_VERSION <= int(major.group(1)) <= NEWEST_VERSION:
        raise Refusal(2500, f"Unknown path components: /{version}")


async def _read_body(request: web.Request) -> JSON | None:
    """Return the JSON object of a call; None if there is none, or another kind of body."""
    if request.content_type.startswith("multipart/"):
        return None
    raw = await request.read()
    try:
        body: Any = json.loads(raw) if raw else None
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


async def _unknown_path(request: web.Request) -> web.Response:
    refusal = Refusal(2500, f"Unknown path components: {request.path}")
    return web.json_response(refusal.envelope(), status=refusal.http_status)
