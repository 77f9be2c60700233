"""How fast old chat gets from webhooks into Rasa's tracker store, beside two other ways.

    python benchmarks/history.py [--conversations 1000] [--messages 100]

One run measures (a) a bare script that parses the same webhooks and writes the same rows, (b) Rasa's own
``POST /conversations/<id>/tracker/events`` in batches of 100, and the channel in a real ``rasa run``, all on
SQLite. What counts are the ratios. It needs the example bot's model: ``make demo`` trains it.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import bare
import old_chat
from rasa.shared.utils.io import write_yaml

from rasa_coexistence.signature import sign
from rasa_coexistence.simulator.rasa_process import RasaProcess

SECRET, ADMIN = "benchmark-secret", "benchmark-admin-token"
MODEL = Path(__file__).parent.parent / "example_bot" / "models" / "example_bot.tar.gz"
BATCH = 100  # events of one call to Rasa's own API
API_EVENTS = 3000  # a sample: the whole would take minutes


class Server:
    """A real ``rasa run`` with the channel."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        block = {
            "verify_token": "benchmark-verify",
            "app_secret": SECRET,
            "admin_token": ADMIN,
            "phone_number_id": old_chat.PHONE_NUMBER_ID,
            "database_url": f"sqlite:///{folder}/ledger.db",
        }
        write_yaml({"rasa_coexistence.CoexistenceInput": block}, folder / "credentials.yml")
        store = {"type": "SQL", "dialect": "sqlite", "db": f"{folder}/rasa.db"}
        write_yaml({"tracker_store": store}, folder / "endpoints.yml")
        arguments = ["run", "--enable-api", "--port", str(self.port), "--model", str(MODEL)]
        self.process = RasaProcess(arguments, folder=folder, log=folder / "rasa.log")

    async def is_up(self) -> bool:
        """Tell whether webhooks are taken."""
        try:
            async with aiohttp.ClientSession() as session:
                return (await post(session, f"{self.url}/webhooks/whatsapp/webhook", b"{}")) == 200
        except aiohttp.ClientError:
            return False

    def peak_megabytes(self) -> float:
        """Return the most memory that the server has had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024


async def post(session: aiohttp.ClientSession, url: str, body: bytes) -> int:
    """Post a signed webhook and return the status."""
    async with session.post(url, data=body, headers={"X-Hub-Signature-256": sign(body, SECRET)}) as answer:
        return answer.status


async def import_by_channel(server: Server, bodies: Sequence[bytes], messages: int) -> float:
    """Post webhooks until all stands in the tracker store; return the seconds it took."""
    began = time.perf_counter()
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {ADMIN}"}) as session:
        for body in bodies:
            status = await post(session, f"{server.url}/webhooks/whatsapp/webhook", body)
            assert status == 200, status
        url = f"{server.url}/webhooks/whatsapp/api/sync/status?id={old_chat.PHONE_NUMBER_ID}"
        while True:
            async with session.get(url) as answer:
                history = (await answer.json())["history"]
            if history["status"] == "completed" and history["messages_imported"] == messages:
                return time.perf_counter() - began
            await asyncio.sleep(0.1)


async def import_by_api(server: Server, threads: Sequence[dict[str, Any]]) -> float:
    """Hand events to Rasa's own API in batches; return messages a second."""
    done = 0
    began = time.perf_counter()
    async with aiohttp.ClientSession() as session:
        for thread in threads:
            events = [bare.as_event(message, thread["id"]) for message in thread["messages"]]
            for event in events:
                if "parse_data" in event:  # Rasa's API refuses an intent that is null
                    event["parse_data"]["intent"]["name"] = "chat"
            for start in range(0, len(events), BATCH):
                url = f"{server.url}/conversations/api-{thread['id']}/tracker/events"
                async with session.post(url, json=events[start : start + BATCH]) as answer:
                    assert answer.status == 200, await answer.text()
            done += len(events)
            if done >= API_EVENTS:
                break
    return done / (time.perf_counter() - began)


async def measure(conversations: int, messages_each: int) -> None:
    """Measure all three and print them."""
    bodies = list(old_chat.bodies(conversations, messages_each))
    messages = conversations * messages_each
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bare_rate = messages / bare.import_into_sqlite(bodies, folder)
        server = Server(folder)
        async with server.process:
            await server.process.wait_until(server.is_up, seconds=180)
            idle = server.peak_megabytes()
            channel_rate = messages / await import_by_channel(server, bodies, messages)
            peak = server.peak_megabytes()
            api_rate = await import_by_api(server, list(old_chat.threads(conversations, messages_each)))
    print(f"{messages:,} messages in {conversations:,} conversations, {len(bodies)} webhooks, SQLite")
    print(f"  the channel        {channel_rate:9,.0f} messages/s")
    print(
        f"  (a) bare script    {bare_rate:9,.0f} messages/s   channel / bare = {channel_rate / bare_rate:.2f}"
    )
    print(
        f"  (b) Rasa's own API {api_rate:9,.0f} messages/s   channel / API  = {channel_rate / api_rate:.1f}"
    )
    print(f"  peak memory of the server: {peak:,.0f} MB, {peak - idle:,.0f} MB more than idle")


def main() -> None:
    """Measure a tenth first, so that memory can be compared."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--conversations", type=int, default=1000)
    options.add_argument("--messages", type=int, default=100, help="in each conversation")
    given = options.parse_args()
    for conversations in (max(given.conversations // 10, 1), given.conversations):
        asyncio.run(measure(conversations, given.messages))


if __name__ == "__main__":
    main()
