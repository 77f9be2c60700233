"""A real ``rasa run`` with our channel, beside the simulated Meta."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from channels import ADMIN_TOKEN, credentials
from rasa.shared.utils.io import write_yaml
from servers import free_port

from rasa_coexistence.simulator import Simulator
from rasa_coexistence.simulator.rasa_process import RasaProcess

START_SECONDS = 180.0  # a model with TED on a busy machine
Event = dict[str, Any]


class RunningBot:
    """One Rasa server in a folder of its own; it can be killed and started again."""

    def __init__(
        self,
        folder: Path,
        model: Path,
        graph_url: str,
        *,
        endpoints: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: RasaProcess | None = None
        self._model = model
        block = credentials(settings.pop("database_url", f"sqlite:///{folder}/ledger.db"), **settings)
        block["graph_url"] = graph_url
        write_yaml({"rasa_coexistence.CoexistenceInput": block}, folder / "credentials.yml")
        tracker_store = {"type": "SQL", "dialect": "sqlite", "db": str(folder / "rasa.db")}
        write_yaml(endpoints or {"tracker_store": tracker_store}, folder / "endpoints.yml")

    @property
    def webhook_url(self) -> str:
        """Where Meta posts."""
        return f"{self.url}/webhooks/whatsapp/webhook"

    async def start(self) -> None:
        """Start it, again if need be, and wait until it takes webhooks."""
        arguments = ["run", "--enable-api", "--port", str(self.port), "--interface", "127.0.0.1"]
        arguments += ["--model", str(self._model)]
        process = RasaProcess(arguments, folder=self.folder, log=self.folder / "rasa.log")
        self._process = await process.__aenter__()
        await self._process.wait_until(self._is_up, seconds=START_SECONDS)

    async def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        await self._process.kill()
        await self._process.__aexit__()

    async def stop(self) -> None:
        """End it in peace."""
        if self._process is not None:
            await self._process.__aexit__()

    async def get(self, path: str) -> Any:
        """Return the JSON of a route of Rasa's or ours."""
        return await self.call("GET", path)

    async def call(self, method: str, path: str, **others: Any) -> Any:
        """Make a request and return its JSON."""
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, headers=headers, **others) as answer,
        ):
            return await answer.json()

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Post JSON to a route of ours; return the status and the JSON of the answer."""
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url + path, json=body, headers=headers) as answer,
        ):
            return answer.status, await answer.json()

    async def events(self, sender_id: str, *kinds: str) -> list[Event]:
        """Return a conversation's events, all sessions, of these kinds."""
        tracker = await self.get(f"/conversations/{sender_id}/tracker?include_events=ALL")
        return [event for event in tracker["events"] if not kinds or event["event"] in kinds]

    async def said(self, sender_id: str) -> list[tuple[str, str]]:
        """Return who said what in a conversation, in the order in which Rasa has it."""
        return [(event["event"], event["text"]) for event in await self.events(sender_id, "user", "bot")]

    async def sync_status(self, phone_number_id: str) -> Any:
        """Return what the sync route says."""
        return await self.get(f"/webhooks/whatsapp/api/sync/status?id={phone_number_id}")

    async def command(self, *arguments: str) -> tuple[int, str]:
        """Run rasa-coexistence in the bot's folder; return its exit code and what it printed."""
        command = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from rasa_coexistence.cli import main; main()", *arguments),
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await command.communicate()
        return command.returncode or 0, said.decode()

    async def _is_up(self) -> bool:
        try:
            await self.get("/webhooks/whatsapp/")
        except (aiohttp.ClientError, OSError):
            return False
        return True


@asynccontextmanager
async def running_bot(
    folder: Path, model: Path, meta: Simulator, **settings: Any
) -> AsyncIterator[RunningBot]:
    """Run a bot and point Meta's webhooks at it."""
    bot = RunningBot(folder, model, meta.url, **settings)
    meta.accounts.webhook_url = bot.webhook_url
    try:
        await bot.start()
        yield bot
    finally:
        await bot.stop()
