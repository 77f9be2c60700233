"""How fast webhooks are acknowledged, durably, beside a bare Sanic route that keeps nothing.

    python benchmarks/ack.py [--webhooks 4000] [--connections 16]

Both servers run in a process of their own, one after the other, in turns; what counts is the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from sanic import Blueprint, Request, Sanic
from sanic.response import HTTPResponse, json

from rasa_coexistence.signature import sign

SECRET = "benchmark-secret"
NUMBER = "845237608662425"


def serve_channel(port: int, folder: str) -> None:
    """Run our channel without a Rasa agent: what is accepted waits."""
    from rasa.core.channels.channel import register

    from rasa_coexistence import CoexistenceInput

    channel = CoexistenceInput.from_credentials(
        {
            "verify_token": "benchmark-verify",
            "app_secret": SECRET,
            "phone_number_id": NUMBER,
            "database_url": f"sqlite:///{folder}/ledger.db",
        }
    )
    app = Sanic("channel", configure_logging=False)
    register([channel], app, route="/webhooks/")
    app.run(host="127.0.0.1", port=port, access_log=False, debug=False)


def serve_bare(port: int, _folder: str) -> None:
    """Run a route that reads the body and answers."""
    app = Sanic("bare", configure_logging=False)
    routes = Blueprint("bare")

    async def webhook(request: Request) -> HTTPResponse:
        return json({"status": "ok", "bytes": len(request.body)})

    routes.add_route(webhook, "/webhooks/whatsapp/webhook", methods=["POST"])
    app.blueprint(routes)
    app.run(host="127.0.0.1", port=port, access_log=False, debug=False)


def webhook(index: int) -> bytes:
    """Return a customer's message as Meta sends it."""
    message = {
        "from": f"52155{index % 500:08d}",
        "id": f"wamid.ACK{index:08d}",
        "timestamp": str(int(time.time())),
        "type": "text",
        "text": {"body": f"mensaje {index}"},
    }
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "5215550000000", "phone_number_id": NUMBER},
        "messages": [message],
    }
    entry = {"id": "1001", "changes": [{"field": "messages", "value": value}]}
    return msgspec.json.encode({"object": "whatsapp_business_account", "entry": [entry]})


async def measure(port: int, webhooks: int, connections: int) -> tuple[float, list[float]]:
    """Post webhooks over so many connections; return webhooks a second and each one's seconds."""
    url = f"http://127.0.0.1:{port}/webhooks/whatsapp/webhook"
    waiting = [(body, {"X-Hub-Signature-256": sign(body, SECRET)}) for body in map(webhook, range(webhooks))]
    took: list[float] = []

    async def post(session: aiohttp.ClientSession) -> None:
        while waiting:
            body, headers = waiting.pop()
            began = time.perf_counter()
            async with session.post(url, data=body, headers=headers) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()
            took.append(time.perf_counter() - began)

    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector) as session:
        await until_up(session, url)
        began = time.perf_counter()
        await asyncio.gather(*(post(session) for _ in range(connections)))
        return webhooks / (time.perf_counter() - began), sorted(took)


async def until_up(session: aiohttp.ClientSession, url: str) -> None:
    """Wait until the server takes a webhook: the channel says 503 until its ledger is open."""
    for _ in range(600):
        if await _is_up(session, url):
            return
        await asyncio.sleep(0.1)
    raise TimeoutError(url)


async def _is_up(session: aiohttp.ClientSession, url: str) -> bool:
    body = b"{}"
    try:
        async with session.post(
            url, data=body, headers={"X-Hub-Signature-256": sign(body, SECRET)}
        ) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


def run(serve: Any, webhooks: int, connections: int) -> tuple[float, list[float]]:
    """Measure one server in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        assert Path(folder).is_dir()
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(port, folder), daemon=True)
        server.start()
        try:
            return asyncio.run(measure(port, webhooks, connections))
        finally:
            server.kill()
            server.join()


def main() -> None:
    """Print both servers' figures and their ratio."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--webhooks", type=int, default=4000)
    options.add_argument("--connections", type=int, default=16)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    print(f"{given.webhooks} signed webhooks, {given.connections} connections, {given.rounds} rounds")
    rates: dict[str, list[float]] = {"bare Sanic route": [], "channel, durable": []}
    for _ in range(given.rounds):
        for name, serve in (("bare Sanic route", serve_bare), ("channel, durable", serve_channel)):
            rate, took = run(serve, given.webhooks, given.connections)
            rates[name].append(rate)
            p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
            print(f"{name:18} {rate:7.0f} acks/s   p50 {p50 * 1000:6.1f} ms   p99 {p99 * 1000:6.1f} ms")
    medians = {name: sorted(values)[len(values) // 2] for name, values in rates.items()}
    print(f"ratio of the medians: {medians['channel, durable'] / medians['bare Sanic route']:.2f}")


if __name__ == "__main__":
    main()
