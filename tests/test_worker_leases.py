"""Who works on what in one process: nothing is kept by nobody, and nobody is kept by others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from ledgers import ANA, Books, live

from rasa_coexistence.errors import LedgerUnavailable, Postponed
from rasa_coexistence.ledger import chats, queues
from rasa_coexistence.records import MessageState
from rasa_coexistence.worker import Worker

Between = Callable[[str], Awaitable[None]]  # takes the text that was heard


class Bot:
    """Hears what waits in a conversation; ``at`` runs before each message is settled."""

    is_ready = True

    def __init__(self, books: Books, at: Between) -> None:
        self.heard: list[str] = []
        self._books = books
        self._at = at

    async def visit(self, lease: queues.Lease) -> None:
        """Hear all that waits, as ``Talk`` does."""
        database = self._books.database
        while (message := await database.read(chats.next_waiting, lease.conversation_id)) is not None:
            await self._at(message.text or "")
            self.heard.append(message.text or "")
            await database.write(chats.settle, message.id, MessageState.ANSWERED)

    async def empty(self, _lease: queues.Lease) -> None:
        """Send nothing."""


@asynccontextmanager
async def working(books: Books, bot: Any) -> AsyncIterator[Worker]:
    """Run a worker with this bot."""
    history: Any = None
    worker = Worker(
        books.database,
        books.reader,
        bot,
        history,
        bot,
        quiet_seconds=60.0,
        imports_history=False,
        clock=books.clock,
    )
    worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


async def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something holds."""
    for _ in range(int(seconds / 0.02)):
        if holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came about")


async def test_a_lease_that_could_not_be_given_back_runs_out(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that fails for one moment must not leave a conversation in nobody's hands for ever."""
    monkeypatch.setattr(queues, "RENEW_SECONDS", 0.05)
    visits = 0

    async def at(_text: str) -> None:
        nonlocal visits
        visits += 1
        if visits == 1:
            raise Postponed("the tracker store is busy", retry_in_seconds=0.0)

    write, failed = books.database.write, asyncio.Event()

    async def failing(work: Any, *args: Any, **others: Any) -> Any:
        if work is queues.release and not failed.is_set():
            failed.set()
            raise LedgerUnavailable("the disk is full")
        return await write(work, *args, **others)

    monkeypatch.setattr(books.database, "write", failing)
    await books.accept(live(ANA, ("wamid.A1", "Hola")))
    bot = Bot(books, at)
    async with working(books, bot):
        await asyncio.wait_for(failed.wait(), 20)
        for _ in range(5):  # renewals go on meanwhile
            books.clock.move(queues.LEASE_SECONDS / 4)
            await asyncio.sleep(0.2)
        await until(lambda: bot.heard == ["Hola"])
