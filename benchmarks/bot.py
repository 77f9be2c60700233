"""Run a real ``rasa run`` with the channel, in a folder of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from old_chat import PHONE_NUMBER_ID
from rasa.shared.utils.io import write_yaml
from tracker_databases import Store

from rasa_coexistence.signature import sign
from rasa_coexistence.simulator.rasa_process import RasaProcess

ROOT = Path(__file__).parents[1]
APP_SECRET, ADMIN_TOKEN = "app-secret-of-the-benchmark", "admin-token-of-the-benchmark"
START_SECONDS, PATIENCE_SECONDS = 120.0, 300.0
WEBHOOK = "/webhooks/whatsapp/webhook"


def _headers(body: bytes) -> dict[str, str]:
    return {"X-Hub-Signature-256": sign(body, APP_SECRET), "Content-Type": "application/json"}


def model() -> Path:
    """Return the example bot's model, trained first if it is not there."""
    path = ROOT / "example_bot" / "models" / "example_bot.tar.gz"
    if not path.exists():
        subprocess.run([ROOT / "scripts" / "train"], check=True)
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What a process has used so far."""

    cpu_seconds: float
    memory_mb: float  # resident, now
    peak_mb: float  # since the last reset


def use_of(pid: int) -> Use:
    """Return what a process has used."""
    proc = Path(f"/proc/{pid}")
    lines = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
    ticks = (proc / "stat").read_text().rpartition(")")[2].split()[11:13]
    return Use(
        cpu_seconds=sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
        memory_mb=int(lines["VmRSS"].split()[0]) / 1024,
        peak_mb=int(lines["VmHWM"].split()[0]) / 1024,
    )


class Bot:
    """A Rasa server that answers ``PHONE_NUMBER_ID``."""

    def __init__(self, folder: Path, store: Store, *, graph_url: str, **history: Any) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{port}"
        channel = {
            "verify_token": "verify-token-of-the-benchmark",
            "app_secret": APP_SECRET,
            "access_token": "access-token-of-the-benchmark",
            "admin_token": ADMIN_TOKEN,
            "phone_number_id": PHONE_NUMBER_ID,
            "database_url": store.ledger_url,
            "graph_url": graph_url,
            "history": {"quiet_seconds": 1, **history},
            "replies": {"messages_per_second": 1000},
        }
        write_yaml({"rasa_coexistence.CoexistenceInput": channel}, folder / "credentials.yml")
        arguments = [
            "run",
            "--enable-api",
            "--interface",
            "127.0.0.1",
            "--port",
            port,
            "--model",
            str(model()),
        ]
        self._process = RasaProcess(arguments, folder=folder, log=folder / "rasa.log")
        write_yaml({"tracker_store": store.tracker_store}, folder / "endpoints.yml")

    async def __aenter__(self) -> Bot:
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_SECONDS))
        await self._process.__aenter__()
        await self._process.wait_until(self._is_ready, seconds=START_SECONDS)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.http.close()
        await self._process.__aexit__(*exc)

    async def post(self, body: bytes) -> None:
        """Deliver a webhook as Meta would."""
        async with self.http.post(f"{self.url}{WEBHOOK}", data=body, headers=_headers(body)) as answer:
            answer.raise_for_status()

    def post_file(self, path: Path) -> None:
        """Deliver a long webhook from a thread, so that the clock of who writes live does not stand still."""
        body = path.read_bytes()
        request = urllib.request.Request(f"{self.url}{WEBHOOK}", data=body, headers=_headers(body))
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS):
            pass

    async def until_imported(self, messages: int, *, pause: float) -> None:
        """Wait until the tracker store has so many messages; each look costs a little."""
        while True:
            status = await self._sync_status()
            if status["history"]["messages_imported"] >= messages:
                return
            await asyncio.sleep(pause)

    def use(self) -> Use:
        """Return what the server has used."""
        return use_of(self._process.pid)

    def reset_peak(self) -> None:
        """Measure the peak of the memory from now on."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")

    async def _is_ready(self) -> bool:
        with contextlib.suppress(aiohttp.ClientError):
            return (await self._sync_status()) is not None
        return False

    async def _sync_status(self) -> Any:
        url = f"{self.url}/webhooks/whatsapp/api/sync/status?id={PHONE_NUMBER_ID}"
        async with self.http.get(url, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}) as answer:
            return await answer.json() if answer.ok else None
