"""What fails whenever it is tried must not stay at the head of its queue for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from ledgers import ANA, BEN, Books, echo, live

from rasa_coexistence import patience
from rasa_coexistence.errors import Postponed
from rasa_coexistence.ledger import bubbles, chats, queues, schema, schema_jobs
from rasa_coexistence.ledger.bubbles import Draft
from rasa_coexistence.records import BubbleState, MessageState
from rasa_coexistence.worker import Worker


class Bot:
    """A bot that cannot take some texts, and what it took."""

    is_ready = True

    def __init__(self, books: Books, error: Callable[[], Exception]) -> None:
        self.heard: list[str] = []
        self.tries = 0
        self._books = books
        self._error = error

    async def visit(self, lease: queues.Lease) -> None:
        """Hear all that waits, as ``Talk`` does."""
        database = self._books.database
        while (message := await database.read(chats.next_waiting, lease.conversation_id)) is not None:
            if message.text == "bomba":
                self.tries += 1
                raise self._error()
            self.heard.append(message.text or "")
            await database.write(chats.settle, message.id, MessageState.ANSWERED)


class Mail:
    """A sender that fails with every message, or has none."""

    def __init__(self, *, fails: bool = False) -> None:
        self._fails = fails

    async def empty(self, _lease: queues.Lease) -> None:
        """Send."""
        if self._fails:
            raise RuntimeError("what Ana wrote")


@asynccontextmanager
async def working(books: Books, bot: Any, mail: Any) -> AsyncIterator[Worker]:
    """Run a worker with another bot and another sender."""
    history: Any = None
    worker = Worker(
        books.database,
        books.reader,
        bot,
        history,
        mail,
        quiet_seconds=60.0,
        imports_history=False,
        clock=books.clock,
    )
    worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


async def until(holds: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait until something holds."""
    for _ in range(int(seconds / 0.02)):
        if await holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came about")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.0)


@pytest.mark.usefixtures("hasty")
async def test_a_message_that_always_fails_is_set_aside_and_the_next_is_answered(
    books: Books, capfd: pytest.CaptureFixture[str]
) -> None:
    """One message that Rasa trips over must not silence the bot for a customer for ever."""
    bot = Bot(books, lambda: RuntimeError("bomba"))
    await books.accept(
        live(ANA, ("wamid.A1", "bomba"), ("wamid.A2", "¿Siguen?")), live(BEN, ("wamid.B1", "Hola"))
    )

    async def both_heard() -> bool:
        return sorted(bot.heard) == ["Hola", "¿Siguen?"]

    async with working(books, bot, Mail()):
        await until(both_heard)
    assert bot.tries == patience.TRIES
    [row] = await books.rows(schema.messages, wamid="wamid.A1")
    assert row.state == "set_aside"
    [aside] = await books.rows(schema.set_aside)
    assert "RuntimeError" in aside.reason
    assert "bomba" in aside.raw
    assert bool((await books.conversation(ANA)).wants_person)
    [notice] = await books.rows(schema_jobs.notices)
    assert notice.event == "message_set_aside"
    assert "bomba" not in capfd.readouterr().out


@pytest.mark.usefixtures("hasty")
async def test_an_echo_that_always_fails_does_not_stop_the_customer(books: Books) -> None:
    """What the phone sent is worth less than the question behind it."""
    bot = Bot(books, lambda: RuntimeError("bomba"))
    await books.accept(echo(ANA, "wamid.P1", "bomba"), live(ANA, ("wamid.A2", "¿Siguen?")))

    async def heard() -> bool:
        return bot.heard == ["¿Siguen?"]

    async with working(books, bot, Mail()):
        await until(heard)


@pytest.mark.usefixtures("hasty")
async def test_what_is_only_postponed_waits_however_long(books: Books) -> None:
    """No model is loaded for an hour: nothing of what was written meanwhile may be given up."""
    bot = Bot(books, lambda: Postponed("Rasa has no model loaded", retry_in_seconds=0.0))
    await books.accept(live(ANA, ("wamid.A1", "bomba")))

    async def tried_often() -> bool:
        return bot.tries > 2 * patience.TRIES

    async with working(books, bot, Mail()):
        await until(tried_often)
    [row] = await books.rows(schema.messages)
    assert row.state == "waiting"


@pytest.mark.usefixtures("hasty")
async def test_a_bubble_that_always_fails_is_given_up_and_seen(books: Books) -> None:
    """What the bot says next must not wait for it, and somebody must know."""
    await books.tell(live(ANA, ("wamid.A1", "Hola")))
    conversation = await books.conversation(ANA)
    draft = Draft(ordinal=0, body={"type": "text"}, text="Hola, Ana")
    await books.database.write(
        bubbles.write, conversation.id, "wamid.A1", [draft], BubbleState.QUEUED, now=books.clock()
    )

    async def failed() -> bool:
        [row] = await books.rows(schema.outbox)
        return bool(row.state == "failed")

    async with working(books, Bot(books, RuntimeError), Mail(fails=True)):
        await until(failed)
    [row] = await books.rows(schema.outbox)
    assert "RuntimeError" in row.reason
    assert "Ana" not in row.reason
    [notice] = await books.rows(schema_jobs.notices)
    assert notice.event == "send_failed"


async def test_any_thread_can_wake_the_worker(books: Books) -> None:
    """The ledger's threads have news too, and the loop's own objects are not made for them."""
    asyncio.get_running_loop().set_debug(True)
    async with working(books, Bot(books, RuntimeError), Mail()) as worker:
        failed: list[BaseException] = []

        def wake() -> None:
            try:
                worker.wake(queues.TALK, queues.SEND)
            except BaseException as error:
                failed.append(error)

        await asyncio.sleep(0.1)  # the loops are waiting for news by now
        thread = threading.Thread(target=wake)
        thread.start()
        await asyncio.to_thread(thread.join)
    assert failed == []
