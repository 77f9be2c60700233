"""Ask the running server by its API, as scripts do."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any

import aiohttp
import msgspec
from msgspec import Struct

from rasa_coexistence.cli.ground import CommandFailed
from rasa_coexistence.doctor.addresses import CHANNEL, server_of
from rasa_coexistence.events import JSON

LOCAL = "http://127.0.0.1:5005"  # where rasa run listens unless told otherwise
CONNECT_SECONDS, ANSWER_SECONDS = 3.0, 40.0  # POST /api/sync answers after 25 s at the latest


class NoAnswer(CommandFailed):
    """Nobody listens there, or no answer came; the server may have taken what was asked."""


class Reply(Struct, frozen=True, kw_only=True):
    """What the server answered."""

    status: int
    body: JSON

    @property
    def error(self) -> str:
        """What is wrong, in the server's words; empty when nothing is."""
        error = self.body.get("error")
        return str(error.get("message", "")) if isinstance(error, dict) else ""


class Server:
    """One server, and the line to it."""

    def __init__(self, url: str, admin_token: str) -> None:
        self.url = server_of(url)
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS, connect=CONNECT_SECONDS)
        headers = {"Authorization": f"Bearer {admin_token}"}
        self._session = aiohttp.ClientSession(timeout=timeout, headers=headers)

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def sync_status(self, number: str) -> JSON | None:
        """Return how a number's syncs stand, None for one that is not known; raise CommandFailed."""
        reply = await self._call("GET", "/api/sync/status", params={"id": number})
        if reply.status == 200:
            return reply.body
        if reply.status == 404 and "phone_number_id" in reply.error:
            return None
        if reply.status >= 500:
            raise NoAnswer(f"{self.url} cannot answer now: {reply.error} (HTTP {reply.status}).")
        raise CommandFailed(
            f"{self.url} does not say how the sync stands: {reply.error} (HTTP {reply.status})"
        )

    async def ask_for_syncs(self, number: str, *, waba_id: str | None, again: bool) -> Reply:
        """Let the server ask Meta for what it did not ask for yet; doing this twice asks once."""
        body: JSON = {"phone_number_id": number, "again": again}
        return await self._call("POST", "/api/sync", json=body | ({"waba_id": waba_id} if waba_id else {}))

    async def onboarding(self, id_: str) -> Reply:
        """Return how an onboarding stands."""
        return await self._call("GET", f"/api/onboarding/{id_}")

    async def _call(self, method: str, path: str, **others: Any) -> Reply:
        try:
            asked = self._session.request(
                method, f"{self.url}{CHANNEL}{path}", allow_redirects=False, **others
            )
            async with asked as answer:
                status, raw = answer.status, await answer.read()
        except aiohttp.ClientConnectorError as error:
            raise NoAnswer(
                f"Nobody answers at {self.url}: start rasa run, or say where it listens with --url."
            ) from error
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            raise NoAnswer(f"{self.url} did not answer ({type(error).__name__}): see its log.") from error
        return self._read(status, raw)

    def _read(self, status: int, raw: bytes) -> Reply:
        try:
            body = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            body = None
        if not isinstance(body, dict) and status >= 500:
            raise NoAnswer(f"{self.url} cannot answer now (HTTP {status}): see its log.")
        if not isinstance(body, dict):
            raise CommandFailed(
                f"{self.url} answers (HTTP {status}), but it is not this plug-in: say where rasa run listens "
                "with --url."
            )
        if status == 401:
            raise CommandFailed(
                f"{self.url} does not know this admin_token: restart rasa run with these credentials.yml."
            )
        return Reply(status=status, body=body)
