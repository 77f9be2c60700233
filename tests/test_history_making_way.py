"""An import of old chat makes way: for customers who write, for who took its leases, for another replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from history_stage import Stage, open_stage
from ledgers import ANA, BEN, DAY, NOW, history, live
from stores import open_store

from rasa_coexistence.errors import LeaseLost
from rasa_coexistence.ledger import inbox, queues, schema
from rasa_coexistence.reading import HISTORY_MESSAGES, Reader
from rasa_coexistence.simulator.state import Person
from rasa_coexistence.steps import THREAD_PART

ANA_ID, BEN_ID = str(ANA.wa_id), str(BEN.wa_id)
BOTH = Person(wa_id=ANA.wa_id, user_id="MX.ANA")
OLD = (("wamid.H1", "Hola", NOW - 30 * DAY), ("wamid.H2", "Buenas", NOW - 30 * DAY + 60))


@pytest.fixture
async def stage(ledger_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """Give all that stands before Rasa's SQL store, on each kind of ledger."""
    with open_store("sqlite", tmp_path, lambda name: None) as shelf:
        async with open_stage(shelf.store, ledger_url) as opened:
            yield opened


def after(step: Callable[..., Any], then: Callable[[], Awaitable[Any]]) -> Callable[..., Any]:
    """Return a step after which something else happens, the first time."""
    waits = [then]

    async def go(*args: Any) -> Any:
        result = await step(*args)
        if waits:
            await waits.pop()()
        return result

    return go


async def test_who_writes_in_the_middle_of_their_own_import_is_answered_first(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The import paused for others, and nothing is written yet: it lets go, and the visit brings the rest."""
    await stage.accept(history(ANA, *OLD), history(BEN, ("wamid.B1", "Oi", NOW - 5 * DAY)))
    await stage.read()

    async def write() -> None:
        await stage.accept(live(ANA, ("wamid.L1", "Hola otra vez")))
        await stage.reader.read_live()

    importer, woken = stage.bridge.importer(), list[str]()
    monkeypatch.setattr(importer, "prepare", after(importer.prepare, write))
    monkeypatch.setattr(stage.worker, "wake", lambda *names: woken.extend(names))
    await stage.import_once()
    assert woken == ["talk", "talk"], "she is let go of, and Ben's import ended"
    assert await stage.said(ANA_ID) == []
    assert await stage.said(BEN_ID) == ["Oi"]
    await stage.talk_once()
    assert await stage.said(ANA_ID) == ["Hola", "Buenas", "Hola otra vez"]


@pytest.mark.parametrize("method", ["prepare", "replace_history"])
async def test_an_import_that_lost_its_leases_leaves_what_is_newer(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Its process stood still for so long that another took over, before it wrote or before it counted."""
    await stage.accept(history(ANA, *OLD))
    await stage.read()

    async def stand_still() -> None:
        stage.clock.move(queues.LEASE_SECONDS + 1)
        await stage.tell(history(ANA, ("wamid.H3", "¿Y bien?", NOW - 29 * DAY)))

    importer = stage.bridge.importer()
    monkeypatch.setattr(importer, method, after(getattr(importer, method), stand_still))
    with pytest.raises(LeaseLost):
        await stage.import_once()
    [chat] = await stage.database.read(_chats)
    assert (chat.import_due_at is not None) == (method == "replace_history"), "it may have written last"
    await stage.settle()
    assert await stage.said(ANA_ID) == ["Hola", "Buenas", "¿Y bien?"]
    assert (await stage.status())["history"]["messages_imported"] == 3


async def test_a_turn_that_lost_its_lease_leaves_newer_history(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A customer's own history, too, is written only as long as nobody else may write it."""
    await stage.accept(history(ANA, *OLD), live(ANA, ("wamid.L1", "Hola otra vez")))
    await stage.reader.read_live()

    async def stand_still() -> None:
        stage.clock.move(queues.LEASE_SECONDS + 1)
        await stage.accept(history(ANA, ("wamid.H3", "¿Y bien?", NOW - 29 * DAY)))
        await stage.settle()

    importer = stage.bridge.importer()
    monkeypatch.setattr(importer, "prepare", after(importer.prepare, stand_still))
    await stage.talk_once()
    await stage.settle()
    assert await stage.said(ANA_ID) == ["Hola", "Buenas", "¿Y bien?", "Hola otra vez"]


@pytest.mark.parametrize("method", ["prepare", "replace_history"])
async def test_a_store_that_fails_is_tried_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Each store has exceptions of its own; the owner reads why, and nobody is kept silent meanwhile."""
    await stage.accept(history(ANA, *OLD))
    await stage.read()

    async def fail(*_: Any) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(stage.bridge.importer(), method, fail)
        await stage.import_once()
    assert (await stage.status())["history"]["import_error"] == "the tracker store did not take it: OSError"
    await stage.tell(live(ANA, ("wamid.L1", "Hola otra vez")))
    assert await stage.said(ANA_ID) == ["Hola", "Buenas", "Hola otra vez"]


async def test_a_batch_is_cut_anew_once_somebody_writes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was as long as may be while nobody did."""
    people = [Person(wa_id=f"52155500001{number:02}") for number in range(3)]
    for person in people:
        told = [(f"wamid.{person.wa_id}.{n}", f"{n}", NOW - DAY + n) for n in range(100)]
        await stage.accept(history(person, *told))
    await stage.read()

    async def hear() -> None:
        with stage.database.courtesy.answering():
            pass

    importer, sizes = stage.bridge.importer(), list[int]()
    replace = importer.replace_history

    async def counted(histories: Any, prepared: Any) -> None:
        sizes.append(len(histories))
        await replace(histories, prepared)

    monkeypatch.setattr(importer, "prepare", after(importer.prepare, hear))
    monkeypatch.setattr(importer, "replace_history", counted)
    await stage.import_once()
    assert sizes == [1, 1, 1]


async def test_a_slice_is_shorter_once_somebody_writes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was cut while nobody did is filed bit by bit."""
    told = [(f"wamid.H{n}", f"{n}", NOW - 5000 + n) for n in range(2 * HISTORY_MESSAGES)]
    await stage.accept(history(ANA, *told))
    filed = list[int]()
    file_slice, in_thread = Reader._read_slice, asyncio.to_thread

    def counted(reader: Reader, connection: Any, body: inbox.Body, *args: Any) -> int | None:
        before = body.position if not filed else filed[-1]
        end = file_slice(reader, connection, body, *args)
        assert end is None or end > before
        filed.append(end or -1)
        return end

    async def hear() -> None:
        with stage.database.courtesy.answering():
            pass

    monkeypatch.setattr(Reader, "_read_slice", counted)
    monkeypatch.setattr(asyncio, "to_thread", after(in_thread, hear))
    await stage.read()
    assert filed[0] == 1, "one step"
    assert len(await stage.database.read(_messages)) == len(told)


async def test_what_another_replica_filed_meanwhile_is_not_filed_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not even cut while the database is locked: the next slice begins where the other one ended."""
    told = [(f"wamid.H{n}", f"{n}", NOW - 5000 + n) for n in range(2 * HISTORY_MESSAGES)]
    await stage.accept(history(ANA, *told))
    ahead = HISTORY_MESSAGES // THREAD_PART
    began: list[int] = []
    file_slice = Reader._read_slice

    def behind(reader: Reader, connection: Any, body: inbox.Body, steps: Any, start: int, budget: int) -> Any:
        if not began:
            file_slice(reader, connection, body, steps, start, HISTORY_MESSAGES)
            known = len(_messages(connection))
            end = file_slice(reader, connection, body, steps, start, budget)
            assert len(_messages(connection)) == known
        else:
            end = file_slice(reader, connection, body, steps, start, budget)
        began.append(start)
        return end

    monkeypatch.setattr(Reader, "_read_slice", behind)
    await stage.read()
    assert began[:2] == [0, ahead]
    assert len(await stage.database.read(_messages)) == len(told)


async def test_whoever_is_imported_while_they_are_forgotten_is_forgotten(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two conversations of one person: the lease of one does not keep an import of the other back."""
    by_user_id = Person(wa_id=None, user_id="MX.ANA")
    await stage.tell(history(ANA, *OLD), live(by_user_id, ("wamid.A1", "Hola")))
    await stage.tell(live(BOTH, ("wamid.A2", "Soy yo")))
    older, younger = await stage.database.read(_chats)
    await stage.database.write(queues.wake, queues.IMPORT, [older.id], at=stage.clock())
    importing: list[asyncio.Task[bool]] = []

    async def import_the_other() -> None:
        importing.append(asyncio.create_task(stage.import_once()))
        await asyncio.sleep(0.2)
        assert not importing[0].done(), "it waits for Rasa's lock"

    importer = stage.bridge.importer()
    monkeypatch.setattr(importer, "forget", after(importer.forget, import_the_other))
    said = await stage.forget(younger.id)
    await asyncio.gather(*importing)
    assert not said.startswith("done"), "it was being worked on"
    stage.clock.move(queues.LEASE_SECONDS)
    await stage.settle()
    assert await stage.database.read(_chats) == []
    assert [await stage.events(row.sender_id) for row in (older, younger)] == [[], []]


def _chats(connection: Any) -> list[Any]:
    return list(connection.execute(schema.conversations.select()).all())


def _messages(connection: Any) -> list[Any]:
    return list(connection.execute(schema.messages.select()).all())
