"""A process that dies at any step of a turn: the next one goes on, and the customer notices nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from agents import agent_on, inner_store
from channels import credentials
from cloud_api import running_simulator
from ledgers import as_bytes
from rasa.core.agent import Agent

from rasa_coexistence.errors import LedgerUnavailable
from rasa_coexistence.ledger import schema
from rasa_coexistence.service import Service
from rasa_coexistence.settings import Settings
from rasa_coexistence.simulator import Simulator, webhooks

TEXT = "¿A qué hora abren?"
Point = tuple[str, str]  # a step, and whether before or after it
AT_ONCE = 6  # lives that are played side by side
DONE = {"accepted", "unclear", "unknown"}


class Death(BaseException):
    """What a dead process does: nothing, not even to clean up."""


class Process:
    """One process with our channel, that dies or stumbles at a step of its work."""

    def __init__(self, loaded: Agent, folder: Path, meta: Simulator, release_after: float | None) -> None:
        self.agent = agent_on(loaded, f"sqlite:///{folder}/rasa.db")
        replies = {"release_after_seconds": release_after}
        block = credentials(f"sqlite:///{folder}/ledger.db", graph_url=meta.url, replies=replies)
        self.service = Service(Settings.from_credentials(block), lambda: self.agent)
        self.steps: list[str] = []
        self.point: Point | None = None
        self.fault: BaseException | None = None  # None: it dies
        self.is_dead = False
        self.met = asyncio.Event()
        self._guard(self.service.database, "write")
        self._guard(self.service.database, "read", counts=False)
        self._guard(inner_store(self.agent), "save", name="tracker.save")
        self._guard(self.service.graph, "send_message", name="graph.send")
        self._silence(self.service.database)

    def _guard(self, holder: Any, method: str, *, name: str | None = None, counts: bool = True) -> None:
        does = getattr(holder, method)

        async def guarded(*args: Any, **others: Any) -> Any:
            step = name or str(getattr(args[0], "__name__", "?"))
            if self.is_dead and step == "release_all":
                return None  # the clean-up of the test, not of the dead
            if self.is_dead:
                raise Death
            if not counts:
                return await does(*args, **others)
            self._stumble(step, "before")
            self.steps.append(step)
            done = await does(*args, **others)
            self._stumble(step, "after")
            return done

        setattr(holder, method, guarded)

    def _silence(self, database: Any) -> None:
        write_here = database.write_here

        def guarded(*args: Any, **others: Any) -> Any:
            if self.is_dead:
                raise LedgerUnavailable("the process is dead")
            return write_here(*args, **others)

        database.write_here = guarded  # what renews leases

    def _stumble(self, step: str, when: str) -> None:
        if self.point == (step, when):
            self.point = None
            self.is_dead = self.fault is None
            self.met.set()
            raise self.fault or Death

    @property
    def may_have_sent(self) -> bool:
        """Whether it wrote down that it sends, and died before it did."""
        return "_step" in self.steps and "graph.send" not in self.steps

    async def is_done(self) -> bool:
        """Tell whether the message is answered and the answer has left, or will not."""
        messages = await self._rows(schema.messages.c.state)
        bubbles = await self._rows(schema.outbox.c.state)
        return "waiting" not in messages and bool(bubbles) and DONE.issuperset(bubbles)

    async def said(self, wa_id: str) -> list[str]:
        """Return what stands in the tracker, of customer and bot."""
        tracker = await inner_store(self.agent).retrieve_full_tracker(wa_id)
        return [event.type_name for event in tracker.events if event.type_name in ("user", "bot")]

    async def _rows(self, column: Any) -> list[str]:
        statement = sa.select(column)
        return await self.service.database.read(
            lambda connection: connection.execute(statement).scalars().all()
        )


@asynccontextmanager
async def living(process: Process) -> AsyncIterator[Process]:
    """Let a process work."""
    await process.service.start()
    try:
        yield process
    finally:
        await process.service.stop()
        inner_store(process.agent).engine.dispose()


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + 60
    while not await is_so():
        assert time.monotonic() < end, "it never came to be"
        await asyncio.sleep(0.03)


@dataclass(kw_only=True)
class Lives:
    """Many lives of one turn, each with its own fault, side by side."""

    loaded: Agent
    folder: Path
    meta: Simulator
    release_after: float | None = 1.0
    played: int = 0

    async def steps(self) -> list[str]:
        """Return the steps of a turn that goes well."""
        folder, _wa_id, body = self._begin()
        async with living(self._process(folder)) as process:
            process.steps.clear()
            await process.service.accept(body)
            await until(process.is_done)
            return list(dict.fromkeys(process.steps))

    async def die(self, point: Point) -> None:
        """Let a process die at a step, and the next one go on."""
        folder, wa_id, body = self._begin()
        acknowledged = False
        async with living(self._process(folder)) as first:
            first.point = point
            with suppress(Death, LedgerUnavailable):
                await first.service.accept(body)
                acknowledged = True
            await asyncio.wait_for(first.met.wait(), 10)
        async with living(self._process(folder)) as second:
            if not acknowledged:
                await second.service.accept(body)  # Meta tries again
            await until(second.is_done)
            await self._check(second, wa_id, point, first.may_have_sent)

    async def stumble(self, point: Point) -> None:
        """Let the ledger fail at a step, once; ``after``: what it did is done, and nobody was told."""
        folder, wa_id, body = self._begin()
        async with living(self._process(folder)) as process:
            process.point, process.fault = point, LedgerUnavailable("gone")
            with suppress(LedgerUnavailable):
                await process.service.accept(body)
            await asyncio.wait_for(process.met.wait(), 10)
            await process.service.accept(body)
            await until(process.is_done)
            await self._check(process, wa_id, point, point == ("_step", "after"))

    async def _check(self, process: Process, wa_id: str, point: Point, may_have_sent: bool) -> None:
        await asyncio.sleep(0.4)  # whatever would be done twice is done now
        assert await process.said(wa_id) == ["user", "bot"], point
        # A bubble that is on its way for all that the books say is never tried again: it may be lost.
        assert len(self.meta.sent_to(wa_id)) in ((0, 1) if may_have_sent else (1,)), point
        aside = await process.service.database.read(
            lambda connection: connection.execute(sa.select(schema.set_aside)).all()
        )
        assert aside == [], point

    def _begin(self) -> tuple[Path, str, bytes]:
        self.played += 1
        folder = self.folder / str(self.played)
        folder.mkdir()
        wa_id = f"52155500{self.played:05}"
        item = self.meta.customer(wa_id).compose("text", {"body": TEXT})
        return folder, wa_id, as_bytes(webhooks.inbound(self.meta.number, [item]))

    def _process(self, folder: Path) -> Process:
        return Process(self.loaded, folder, self.meta, self.release_after)


@pytest.fixture
async def lives(loaded: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lives]:
    """Play with short leases: how long they are is not the matter here."""
    monkeypatch.setattr("rasa_coexistence.ledger.queues.LEASE_SECONDS", 0.8)
    monkeypatch.setattr("rasa_coexistence.ledger.queues.RENEW_SECONDS", 0.2)
    monkeypatch.setattr("rasa_coexistence.worker.RETRY_SECONDS", 0.1)
    async with running_simulator() as meta:
        yield Lives(loaded=loaded, folder=tmp_path, meta=meta)


async def side_by_side(play: Callable[[Point], Awaitable[None]], points: Iterable[Point]) -> None:
    """Play a life for each point."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(point: Point) -> None:
        async with free:
            try:
                await play(point)
            except Exception as error:
                raise AssertionError(f"{point}: {error!r}") from error

    await asyncio.gather(*(one(point) for point in points))


@pytest.mark.parametrize("release_after", [0.0, None])
async def test_whenever_a_process_dies_the_message_is_answered_once(
    lives: Lives, release_after: float | None
) -> None:
    """One user event, one answer, also when its bubbles had left already, or the tracker was just saved."""
    lives.release_after = release_after
    steps = await lives.steps()
    assert {"accept", "tracker.save", "graph.send"} <= set(steps)
    await side_by_side(lives.die, [("accept", "before"), *((step, "after") for step in steps)])


async def test_whenever_the_ledger_fails_the_message_is_answered_once(lives: Lives) -> None:
    """The database went away for a moment; whether it had committed before nobody knows."""
    steps = [step for step in await lives.steps() if "." not in step]
    await side_by_side(lives.stumble, [(step, when) for step in steps for when in ("before", "after")])
