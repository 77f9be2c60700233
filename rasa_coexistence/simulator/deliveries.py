"""Post webhooks as Meta does: signed, several at once, again and again until a 200."""

from __future__ import annotations

import asyncio
import io
import secrets
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from rasa_coexistence.signature import sign
from rasa_coexistence.simulator.webhooks import encode

# Meta tries at once, then ever more rarely for up to seven days; nobody waits here for more than a minute.
RETRY_SECONDS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, *(60.0,) * 100)


@dataclass(slots=True, kw_only=True)
class Delivery:
    """One body and what became of every try to post it."""

    body: bytes
    url: str | None  # None: nobody is subscribed, it is lost
    headers: dict[str, str]
    attempts: list[int | str] = field(default_factory=list)  # HTTP status, or what went wrong
    tried: asyncio.Event = field(default_factory=asyncio.Event)  # the first try is over
    over: asyncio.Event = field(default_factory=asyncio.Event)  # a 200, or given up

    @property
    def is_acknowledged(self) -> bool:
        """Whether the app answered 200."""
        return bool(self.attempts) and self.attempts[-1] == 200


@dataclass(kw_only=True)
class Deliveries:
    """Everything that is or was posted."""

    app_secret: str
    retry_seconds: Sequence[float] = RETRY_SECONDS
    concurrency: int = 16
    escaped: bool = True  # JSON in ASCII, as Meta writes it
    on_change: Callable[[], None] = lambda: None
    log: list[Delivery] = field(default_factory=list)
    _is_stopped: bool = False
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    _session: aiohttp.ClientSession | None = None
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.concurrency)

    async def start(self) -> None:
        """Open what posting needs."""
        self._is_stopped = False
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20))

    async def stop(self) -> None:
        """Give up what is under way."""
        self._is_stopped = True  # aiohttp can swallow a cancellation that comes with a refused connection
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def post(
        self, body: Any, url: str | None, *, signature: str | None = None, signed: bool = True
    ) -> Delivery:
        """Begin to post a body (bytes as they are); ``signature`` replaces the right one."""
        raw = body if isinstance(body, bytes) else encode(body, escaped=self.escaped)
        headers = {"Content-Type": "application/json", "User-Agent": "facebookexternalua"}
        if signed:
            headers["X-Hub-Signature-256"] = signature or sign(raw, self.app_secret)
        return self.post_again(Delivery(body=raw, url=url, headers=headers))

    def post_again(self, before: Delivery) -> Delivery:
        """Begin to post the same bytes again."""
        delivery = Delivery(body=before.body, url=before.url, headers=before.headers)
        self.log.append(delivery)
        if delivery.url is None:
            delivery.tried.set()
            delivery.over.set()
        else:
            self.spawn(self._deliver(delivery, delivery.url))
        return delivery

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run work of the simulator beside everything else."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def redeliver(self, last: int = 1, *, copies: int = 1) -> list[Delivery]:
        """Post the last bodies again, all at once; waits for the first try of each."""
        again = [self.post_again(before) for before in self.log[-last:] for _ in range(copies)]
        for delivery in again:
            await delivery.tried.wait()
        return again

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while pending := [task for task in self._tasks if task is not asyncio.current_task()]:
            await asyncio.wait(pending)

    async def verify(self, url: str, verify_token: str) -> bool:
        """Shake hands with a callback address, as Meta does before it takes one."""
        challenge = str(secrets.randbelow(10**10))
        query = {
            "hub.mode": "subscribe",
            "hub.challenge": challenge,
            "hub.verify_token": verify_token,
        }
        try:
            async with self._http().get(url, params=query) as answer:
                return answer.status == 200 and await answer.text() == challenge
        except (aiohttp.ClientError, asyncio.TimeoutError, ValueError):
            return False

    async def _deliver(self, delivery: Delivery, url: str) -> None:
        try:
            for pause in (None, *self.retry_seconds):
                if pause is not None:
                    await asyncio.sleep(pause)
                delivery.attempts.append(await self._attempt(delivery, url))
                delivery.tried.set()
                self.on_change()
                if delivery.is_acknowledged or self._is_stopped:
                    return
        finally:
            delivery.tried.set()
            delivery.over.set()

    async def _attempt(self, delivery: Delivery, url: str) -> int | str:
        async with self._slots:
            try:
                body = io.BytesIO(delivery.body)  # aiohttp minds big bodies in one piece
                async with self._http().post(url, data=body, headers=delivery.headers) as answer:
                    await answer.read()
                    return answer.status
            except (aiohttp.ClientError, asyncio.TimeoutError) as problem:
                return type(problem).__name__

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the simulator is not running: call start() first")
        return self._session
