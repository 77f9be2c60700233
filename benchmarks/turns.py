"""How many turns a second, and how soon an answer, beside Rasa's own ``callback`` channel.

    python benchmarks/turns.py [--customers 64] [--messages 10] [--rounds 3]

Two servers run the example bot, each with a SQL tracker store of its own; one answers through our channel,
the other through ``callback``. Whoever takes the answers needs 150 ms for each, as Meta does, and for ours
tells three statuses of each besides. Measured are customers who write again as soon as they are answered,
one customer who writes now and then, and one who writes three messages without waiting. The processor time
of a server says more than turns a second where the machine has other things to do.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from bot import START_SECONDS, model, use_of
from rasa.shared.utils.io import write_yaml

from rasa_coexistence.signature import sign
from rasa_coexistence.simulator import webhooks
from rasa_coexistence.simulator.rasa_process import RasaProcess
from rasa_coexistence.simulator.state import Number, Person

SECRET = "app-secret-of-the-benchmark"
NUMBER = Number(phone_number_id="845237608662425", display_phone_number="5215550000000", waba_id="1001")
CALL_SECONDS = 0.15
QUESTION = "¿A qué hora abren?"
PATIENCE_SECONDS = 120.0
_customers = itertools.count()

Write = Callable[[str], Coroutine[Any, Any, None]]


class Receiver:
    """Takes the answers of both servers, as slowly as Meta does."""

    def __init__(self, *, statuses: bool) -> None:
        self.url = ""
        self.tell: Callable[[bytes], Coroutine[Any, Any, None]] | None = None
        self._statuses = statuses
        self._answers: dict[str, list[float]] = {}
        self._waiting: dict[str, tuple[int, asyncio.Future[None]]] = {}
        self._telling: set[asyncio.Task[None]] = set()

    async def answered(self, customer: str, count: int) -> float:
        """Wait until a customer has so many answers; return when the last one came."""
        if len(self._answers.get(customer, ())) < count:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting[customer] = count, waiting
            await asyncio.wait_for(waiting, PATIENCE_SECONDS)
        return self._answers[customer][count - 1]

    async def take_from_channel(self, request: web.Request) -> web.Response:
        """Stand in for the Cloud API."""
        body = await request.json()
        await asyncio.sleep(CALL_SECONDS)
        customer = body["to"].lstrip("+")
        wamid = f"wamid.OUT{time.time_ns()}"
        self._note(customer)
        if self._statuses and self.tell is not None:
            task = asyncio.create_task(self._tell_statuses(customer, wamid))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)
        contacts = [{"input": body["to"], "wa_id": customer}]
        answer = {"messaging_product": "whatsapp", "contacts": contacts, "messages": [{"id": wamid}]}
        return web.json_response(answer)

    async def take_from_callback(self, request: web.Request) -> web.Response:
        """Stand in for what somebody would put between ``callback`` and Meta."""
        body = await request.json()
        await asyncio.sleep(CALL_SECONDS)
        self._note(body["recipient_id"])
        return web.Response()

    def _note(self, customer: str) -> None:
        times = self._answers.setdefault(customer, [])
        times.append(time.perf_counter())
        count, waiting = self._waiting.get(customer, (0, None))
        if waiting is not None and len(times) >= count and not waiting.done():
            waiting.set_result(None)

    async def all_told(self) -> None:
        """Wait until the last status was told."""
        await asyncio.gather(*self._telling)

    async def _tell_statuses(self, customer: str, wamid: str) -> None:
        person = Person(wa_id=customer)
        for status in ("sent", "delivered", "read"):
            told = webhooks.status(NUMBER, person, wamid, status, time.time())
            if self.tell is not None:
                await self.tell(webhooks.encode(webhooks.envelope([told])))


@asynccontextmanager
async def receiving(*, statuses: bool) -> AsyncIterator[Receiver]:
    """Listen on a free port."""
    receiver = Receiver(statuses=statuses)
    app = web.Application()
    app.router.add_post("/callback", receiver.take_from_callback)
    app.router.add_post("/{version}/{number}/messages", receiver.take_from_channel)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receiver
    finally:
        await runner.cleanup()


@asynccontextmanager
async def rasa(
    folder: Path, channels: dict[str, Any], http: aiohttp.ClientSession
) -> AsyncIterator[tuple[str, int]]:
    """Run the example bot with these channels; gives its address and its process id."""
    await asyncio.to_thread(folder.mkdir)
    write_yaml(channels, folder / "credentials.yml")
    tracker_store = {"type": "SQL", "dialect": "sqlite", "db": str(folder / "rasa.db")}
    write_yaml({"tracker_store": tracker_store}, folder / "endpoints.yml")
    port = _free_port()
    arguments = ["run", "--enable-api", "--interface", "127.0.0.1", "--port", str(port)]
    arguments += ["--model", str(model())]
    url = f"http://127.0.0.1:{port}"

    async def is_ready() -> bool:
        try:
            async with http.get(f"{url}/status") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async with RasaProcess(arguments, folder=folder, log=folder / "rasa.log") as process:
        await process.wait_until(is_ready, seconds=START_SECONDS)
        yield url, process.pid


def our_channel(folder: Path, receiver: Receiver) -> dict[str, Any]:
    """Return a credentials.yml with our channel."""
    return {
        "rasa_coexistence.CoexistenceInput": {
            "verify_token": "verify-token-of-the-benchmark",
            "app_secret": SECRET,
            "access_token": "access-token-of-the-benchmark",
            "phone_number_id": NUMBER.phone_number_id,
            "graph_url": receiver.url,
            "database_url": f"sqlite:///{folder}/ledger.db",
            "replies": {"messages_per_second": 10_000},
        }
    }


def writer_to_channel(
    http: aiohttp.ClientSession, url: str
) -> tuple[Write, Callable[[bytes], Coroutine[Any, Any, None]]]:
    """Return how a customer writes to our channel, and how Meta posts a webhook to it."""
    wamids = itertools.count()

    async def post(body: bytes) -> None:
        headers = {"X-Hub-Signature-256": sign(body, SECRET)}
        status = 503  # as long as the server starts; Meta, too, then sends a webhook again
        while status == 503:
            async with http.post(f"{url}/webhooks/whatsapp/webhook", data=body, headers=headers) as answer:
                status = answer.status
        assert status == 200, status

    async def write(customer: str) -> None:
        described = webhooks.message(f"wamid.IN{next(wamids)}", time.time(), "text", {"body": QUESTION})
        told = webhooks.inbound(NUMBER, [(Person(wa_id=customer), described)])
        await post(webhooks.encode(webhooks.envelope([told])))

    return write, post


def writer_to_callback(http: aiohttp.ClientSession, url: str) -> Write:
    """Return how a customer writes to Rasa's channel."""

    async def write(customer: str) -> None:
        body = {"sender": customer, "message": QUESTION}
        async with http.post(f"{url}/webhooks/callback/webhook", json=body) as answer:
            assert answer.status == 200, await answer.text()

    return write


async def throughput(write: Write, receiver: Receiver, customers: int, messages: int) -> float:
    """Return turns a second of customers who write again as soon as they are answered."""

    async def converse() -> None:
        customer = new_customer()
        for count in range(1, messages + 1):
            writing = asyncio.create_task(write(customer))
            await receiver.answered(customer, count)
            await writing

    began = time.perf_counter()
    await asyncio.gather(*(converse() for _ in range(customers)))
    return customers * messages / (time.perf_counter() - began)


async def latency(write: Write, receiver: Receiver, times: int) -> float:
    """Return the median seconds from a message to its answer, with nothing else going on."""
    took = []
    customer = new_customer()
    for count in range(1, times + 1):
        began = time.perf_counter()
        writing = asyncio.create_task(write(customer))
        took.append(await receiver.answered(customer, count) - began)
        await writing
        await asyncio.sleep(0.1)
    return statistics.median(took)


async def three_at_once(write: Write, receiver: Receiver) -> float:
    """Return the seconds until three quick messages of one customer are all answered."""
    customer = new_customer()
    began = time.perf_counter()
    writing = [asyncio.create_task(write(customer)) for _ in range(3)]
    took = await receiver.answered(customer, 3) - began
    await asyncio.gather(*writing)
    return took


def new_customer() -> str:
    return f"52155{next(_customers):08d}"


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def run(customers: int, messages: int, rounds: int, *, statuses: bool) -> None:
    """Measure both, in turns, and print what came of it."""
    found: dict[str, dict[str, list[float]]] = {}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        receiver = await stack.enter_async_context(receiving(statuses=statuses))
        connector = aiohttp.TCPConnector(limit=0)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        channel = our_channel(folder, receiver)
        ours, pid = await stack.enter_async_context(rasa(folder / "ours", channel, http))
        callback = {"callback": {"url": f"{receiver.url}/callback"}}
        theirs, their_pid = await stack.enter_async_context(rasa(folder / "theirs", callback, http))
        to_ours, receiver.tell = writer_to_channel(http, ours)
        writers = {"callback": (writer_to_callback(http, theirs), their_pid), "this channel": (to_ours, pid)}
        for write, _pid in writers.values():
            await throughput(write, receiver, 4, 2)  # warm
        for round_ in range(rounds):
            for name, (write, pid) in writers.items():
                used = use_of(pid).cpu_seconds
                figures = {
                    "turns/s": await throughput(write, receiver, customers, messages),
                    "processor ms/turn": 1000 * (use_of(pid).cpu_seconds - used) / (customers * messages),
                    "answered after, ms": 1000 * await latency(write, receiver, 10),
                    "three quick messages, ms": 1000 * await three_at_once(write, receiver),
                }
                shown = ", ".join(f"{what} {value:.1f}" for what, value in figures.items())
                print(f"round {round_ + 1}, {name}: {shown}", flush=True)
                for what, value in figures.items():
                    found.setdefault(name, {}).setdefault(what, []).append(value)
        await receiver.all_told()
    show(found)


def show(found: dict[str, dict[str, list[float]]]) -> None:
    """Print the medians side by side."""
    names = list(found)
    print(f"\n{'median':28}" + "".join(f"{name:>16}" for name in names))
    for what in found[names[0]]:
        medians = [statistics.median(found[name][what]) for name in names]
        print(f"{what:28}" + "".join(f"{value:16.1f}" for value in medians))


def main() -> None:
    """Read the options and run."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--customers", type=int, default=64, help="who write at the same time")
    options.add_argument("--messages", type=int, default=10, help="of each customer")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--no-statuses", action="store_true", help="let Meta tell nothing of what it took")
    given = options.parse_args()
    asyncio.run(run(given.customers, given.messages, given.rounds, statuses=not given.no_statuses))


if __name__ == "__main__":
    main()
