"""Who works on what in one process: nothing is kept by nobody, and nobody is kept by others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from ledgers import ANA, BEN, DAY, NOW, Books, history, live

from rasa_coexistence import history as history_module
from rasa_coexistence import worker
from rasa_coexistence.errors import LeaseLost, LedgerUnavailable, Postponed
from rasa_coexistence.history import HistoryImport
from rasa_coexistence.ledger import chats, queues
from rasa_coexistence.records import MessageState
from rasa_coexistence.settings import Settings
from rasa_coexistence.simulator.state import Person

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
async def working(books: Books, bot: Any, history: Any = None) -> AsyncIterator[worker.Worker]:
    """Run a worker with this bot, and with what imports history if that is to be done."""
    working = worker.Worker(
        books.database,
        books.reader,
        bot,
        history,
        bot,
        quiet_seconds=60.0,
        imports_history=history is not None,
        clock=books.clock,
    )
    working.start()
    try:
        yield working
    finally:
        await working.stop()


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


async def test_conversations_whose_actions_hang_do_not_silence_the_bot_for_the_others(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many wait for a shop system that does not answer, the next customer is heard."""
    monkeypatch.setattr(worker, "SLOW_SECONDS", 0.3)
    shop_system = asyncio.Event()

    async def at(text: str) -> None:
        if text == "¿Mi pedido?":
            await shop_system.wait()

    bot = Bot(books, at)
    crowd = [Person(wa_id=f"52155500001{number:02}") for number in range(worker.AT_ONCE + 3)]
    await books.accept(*(live(one, (f"wamid.{one.wa_id}", "¿Mi pedido?")) for one in crowd))
    async with working(books, bot):
        await asyncio.sleep(0.5)
        await books.accept(live(ANA, ("wamid.A1", "Hola")))
        await until(lambda: bot.heard == ["Hola"])
        shop_system.set()
        await until(lambda: len(bot.heard) == len(crowd) + 1)


async def test_conversations_whose_import_lost_a_lease_come_back(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While somebody writes few are leased at once; when one is lost all are let go of, and come again."""
    monkeypatch.setattr(worker, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(worker, "IMPORT_AT_LEAST", 2)
    monkeypatch.setattr(worker, "IMPORT_AT_ONCE", 64)
    for number in range(5):
        person = Person(wa_id=f"52155500001{number:02}")
        await books.tell(history(person, (f"wamid.H{number}", "Antes", NOW - DAY)))
    leased: list[list[int]] = []

    async def nothing(_text: str) -> None:
        pass

    class Losing:
        async def import_leased(self, leases: Sequence[queues.Lease]) -> None:
            leased.append([lease.conversation_id for lease in leases])
            if len(leased) == 1:
                raise LeaseLost("the talk leases of conversations [1] ran out")
            await books.database.write(queues.release_done, leases)

    with books.database.courtesy.answering():
        async with working(books, Bot(books, at=nothing), Losing()):
            await until(lambda: len(leased) == 4)
    assert [len(ids) for ids in leased] == [2, 2, 2, 1]
    assert {conversation for ids in leased[1:] for conversation in ids} == {1, 2, 3, 4, 5}


async def test_a_customer_does_not_wait_for_the_old_chats_of_others(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many conversations are leased at once to be imported; the last one's turn may be half a minute away."""
    monkeypatch.setattr(history_module, "ROWS_AT_ONCE", 1)
    await books.tell(history(ANA, ("wamid.H1", "Antes", NOW - DAY)))
    await books.tell(history(BEN, ("wamid.H2", "Antes", NOW - DAY)))
    imported: list[str | None] = []
    bridge: Any = SimpleNamespace(importer=lambda: None)
    importing = HistoryImport(books.database, bridge, books.reader, _settings(), books.clock)

    async def project(chats_: Sequence[chats.Chat], leases: Sequence[queues.Lease], **_: Any) -> None:
        imported.extend(chat.wa_id for chat in chats_)
        await books.database.write(queues.release_done, leases)
        await books.tell(live(BEN, ("wamid.B1", "Hola")))

    monkeypatch.setattr(importing, "_project", project)
    await importing.import_leased(await books.claim(queues.IMPORT))
    assert imported == [ANA.wa_id]
    [talk] = await books.claim(queues.TALK)
    assert talk.conversation_id == (await books.conversation(BEN)).id
    await books.database.write(queues.release, talk, due_at=None)
    books.clock.move(history_module.ASIDE_SECONDS)
    assert len(await books.claim(queues.IMPORT)) == 1, "his old chat is still to be imported"


async def test_a_chat_that_cannot_be_imported_keeps_no_customer_waiting(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not go together goes one by one, and who writes meanwhile is let go of just as before."""
    people = [Person(wa_id=f"52155500001{number:02}") for number in range(6)]
    bad, last = people[1], people[-1]
    for number, person in enumerate(people):
        await books.tell(history(person, (f"wamid.H{number}", "Antes", NOW - DAY)))
        books.clock.move(1)  # so that they are claimed in this order
    imported: list[str | None] = []
    bridge: Any = SimpleNamespace(importer=lambda: None)
    importing = HistoryImport(books.database, bridge, books.reader, _settings(), books.clock)

    async def project(chats_: Sequence[chats.Chat], leases: Sequence[queues.Lease], **_: Any) -> None:
        if bad.wa_id in [chat.wa_id for chat in chats_]:
            raise history_module.NotTaken("the tracker store did not take it")
        if not imported:
            await books.tell(live(last, ("wamid.L1", "Hola")))
        imported.extend(chat.wa_id for chat in chats_)
        await books.database.write(queues.release_done, leases)

    monkeypatch.setattr(importing, "_project", project)
    await importing.import_leased(await books.claim(queues.IMPORT))
    assert imported == [person.wa_id for person in people if person not in (bad, last)]
    [talk] = await books.claim(queues.TALK)
    assert talk.conversation_id == (await books.conversation(last)).id
    assert (await books.conversation(bad)).import_error is not None


def _settings() -> Settings:
    return Settings.from_credentials({"verify_token": "verify-me", "app_secret": "0123456789abcdef"})
