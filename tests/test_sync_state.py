"""The sync state is honest: what came, what is missing, what is imported, and when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from channels import ADMIN_TOKEN, Site, credentials, running_channel
from history_stage import Stage, open_stage
from ledgers import ANA, BEN, DAY, NOW, NUMBER, as_bytes, history
from old_chats import chunk, text
from stores import open_store

from rasa_coexistence.events import JSON
from rasa_coexistence.ledger import syncs
from rasa_coexistence.simulator import webhooks
from rasa_coexistence.simulator.state import Webhook

CONTRACT = {  # keys that users' scripts rely on
    *("status", "request_id", "requested_at", "phase", "chunk_order", "progress", "last_chunk_at"),
    *("completed_at", "completed_by", "error", "messages_received", "messages_imported", "conversations"),
}
QUIET = 61.0


@pytest.fixture
async def stage(ledger_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """Give a stage with a ledger of each kind."""
    with open_store("sqlite", tmp_path, pytest.fail) as shelf:
        async with open_stage(shelf.store, ledger_url) as opened:
            yield opened


def part(phase: int | None, order: int | None, progress: int | None, messages: int = 1) -> Webhook:
    """Return a chunk with messages that no other has."""
    told = [(f"wamid.{phase}.{order}.{n}", "Hola", NOW - DAY - n) for n in range(messages)]
    made = history(ANA, *told, phase=phase or 0, chunk_order=order or 0, progress=progress or 0)
    about = made.value["history"][0]["metadata"]
    for name, given in (("phase", phase), ("chunk_order", order), ("progress", progress)):
        if given is None:
            del about[name]
    return made


async def seen(stage: Stage, *keys: str) -> list[Any]:
    told = (await stage.status())["history"]
    return [told[key] for key in keys]


async def test_each_phase_tells_what_came_and_what_is_missing(stage: Stage) -> None:
    """Chunks come shuffled and twice: a gap is one that lies between those that came."""
    for phase, order, messages in ((1, 5, 3), (0, 1, 1), (1, 2, 2), (1, 5, 3), (0, 3, 1), (2, 0, 4)):
        await stage.accept(part(phase, order, 10 * order, messages))
    await stage.read()
    told = (await stage.status())["history"]
    assert told["phases"] == [
        {"phase": 0, "chunks": 2, "messages": 2, "highest_order": 3, "missing": [2], "missing_count": 1},
        {
            "phase": 1,
            "chunks": 2,
            "messages": 5,
            "highest_order": 5,
            "missing": [1, 3, 4],
            "missing_count": 3,
        },
        {"phase": 2, "chunks": 1, "messages": 4, "highest_order": 0, "missing": [], "missing_count": 0},
    ]
    assert set(told) >= CONTRACT
    assert (told["phase"], told["chunk_order"], told["progress"]) == (2, 0, 50)
    await stage.tell(part(0, 2, 20))
    assert (await stage.status())["history"]["phases"][0]["missing"] == []


async def test_a_wild_order_is_counted_and_not_listed(stage: Stage) -> None:
    """A gap of millions must not fill the answer, nor one that no integer holds break it."""
    await stage.tell(part(0, 1, 1), part(0, 5_000_000, 2), part(0, 2**40, 3), part(None, None, None))
    [phase] = (await stage.status())["history"]["phases"]
    assert (phase["missing_count"], phase["missing"][:2], len(phase["missing"])) == (4_999_998, [2, 3], 100)
    assert await seen(stage, "messages_received", "messages_imported") == [4, 4]


async def test_received_and_imported_are_counted_apart(stage: Stage) -> None:
    """Between the two lies what is read and not yet in the tracker store."""
    await stage.accept(part(0, 1, 100, 7), chunk(text("wamid.B", "Oi"), person=BEN, order=2, progress=100))
    await stage.read()
    keys = ("status", "messages_received", "messages_imported", "conversations", "conversations_waiting")
    assert await seen(stage, *keys) == ["syncing", 8, 0, 2, 2]
    assert await stage.complete() == [], "100 has come, and two conversations wait"
    await stage.settle()
    assert await seen(stage, *keys) == ["syncing", 8, 8, 2, 0]
    assert await stage.complete() == [NUMBER.phone_number_id]
    assert await seen(stage, "status", "completed_by", "completed_at") == ["completed", "progress", NOW]


async def test_an_unread_body_keeps_the_sync_from_being_completed(stage: Stage) -> None:
    """It is accepted: Meta will not send it again."""
    await stage.tell(part(0, 1, 100))
    await stage.accept(part(1, 1, 50))
    stage.clock.move(QUIET)
    assert await stage.complete() == []
    await stage.settle()
    assert await stage.complete() == [NUMBER.phone_number_id]
    assert await seen(stage, "messages_received", "messages_imported") == [2, 2]


async def test_quiet_is_a_matter_of_the_clock(stage: Stage) -> None:
    """On a small account 100 never comes, and neither does a webhook that would say so."""
    assert await stage.complete() == []
    await stage.tell(part(0, 1, 40))
    stage.clock.move(QUIET - 2)
    assert await stage.complete() == []
    await stage.tell(part(0, 2, 60))
    stage.clock.move(QUIET - 2)
    assert await stage.complete() == [], "the last chunk counts"
    stage.clock.move(2)
    assert await stage.complete() == [NUMBER.phone_number_id]
    assert await seen(stage, "status", "completed_by", "progress") == ["completed", "quiet", 60]


async def test_a_late_chunk_is_imported_and_changes_no_state(stage: Stage) -> None:
    """Counters rise; what is completed stays so, with its time."""
    await stage.tell(part(0, 1, 100))
    await stage.complete()
    before = await seen(stage, "status", "completed_at", "completed_by")
    stage.clock.move(3600)
    await stage.tell(part(2, 9, 70, 3))
    assert await stage.complete() == []
    assert await seen(stage, "status", "completed_at", "completed_by") == before
    assert await seen(stage, "messages_received", "messages_imported", "progress") == [4, 4, 100]
    assert await seen(stage, "last_chunk_at") == [stage.clock()]


@pytest.mark.parametrize("late", [False, True])
async def test_a_refusal_is_told_with_what_helps(stage: Stage, late: bool) -> None:
    """Declined is the owner's choice; after a completed sync it says nothing about what is there."""
    if late:
        await stage.tell(part(0, 1, 100))
        await stage.complete()
    await stage.tell(webhooks.history_declined(NUMBER, {"code": 2593109, "title": "turned off"}))
    [status, error] = await seen(stage, "status", "error")
    assert status == ("completed" if late else "declined")
    assert late or ("2593109" in error and "share" in error)


async def test_another_error_of_meta_is_told_with_its_code(stage: Stage) -> None:
    """And chunks that come all the same are history like any other."""
    error = {"code": 131000, "title": "Something went wrong", "error_data": {"details": "try later"}}
    await stage.tell(webhooks.history_declined(NUMBER, error))
    [status, told] = await seen(stage, "status", "error")
    assert (status, (await stage.status())["sync_status"]) == ("failed", "failed")
    assert "131000" in told
    assert "Something went wrong" in told
    await stage.tell(part(0, 1, 100))
    assert await stage.complete() == [NUMBER.phone_number_id]
    assert await seen(stage, "status", "error") == ["completed", None]


async def test_the_deadline_is_a_day_after_it_began(stage: Stage) -> None:
    """Who asks later gets nothing any more."""
    await stage.tell(part(0, 1, 10))
    assert (await stage.status())["deadline_at"] is None, "nobody knows when this number was onboarded"
    await stage.database.write(syncs.ask, NUMBER.phone_number_id, syncs.CONTACTS, now=NOW)
    await stage.database.write(syncs.ask, NUMBER.phone_number_id, syncs.HISTORY, now=NOW + 60)
    assert (await stage.status())["deadline_at"] == NOW + DAY


async def test_a_new_request_begins_to_count_chunks_anew(stage: Stage) -> None:
    """The gaps of an earlier onboarding are not those of this one; what is imported stays."""
    await stage.tell(part(0, 3, 100))
    await stage.complete()
    await stage.database.write(syncs.ask, NUMBER.phone_number_id, syncs.HISTORY, now=stage.clock())
    keys = ("status", "phases", "progress", "completed_at", "messages_imported")
    assert await seen(stage, *keys) == ["requested", [], 0, None, 1]


class Stream:
    """What a reader of ``/api/sync/events`` gets."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def told(self, **wanted: Any) -> JSON:
        """Return the first state that has these values under ``history``."""
        while True:
            status = msgspec.json.decode(await asyncio.wait_for(self._next(), 20.0))
            if wanted.items() <= status["history"].items():
                return dict(status)

    async def _next(self) -> bytes:
        """Return the data of the next event."""
        while line := await self.answer.content.readline():
            if line == b"event: sync\n":
                field, _, data = (await self.answer.content.readline()).partition(b": ")
                assert (field, await self.answer.content.readline()) == (b"data", b"\n")
                return data
        raise EOFError

    async def beats(self) -> bool:
        """Wait for the next line of text, and tell whether it is a sign of life."""
        line = await asyncio.wait_for(self.answer.content.readline(), 20.0)
        return line == b": still here\n"

    async def end(self) -> bytes:
        """Return what comes until the server ends it."""
        return await asyncio.wait_for(self.answer.content.read(), 20.0)


@asynccontextmanager
async def following(site: Site) -> AsyncIterator[Stream]:
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    url = f"{site.url}/api/sync/events?id={NUMBER.phone_number_id}"
    async with site.session.get(url, headers=headers) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        yield Stream(answer)


async def test_a_stream_tells_each_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the words of the status route, to several readers, until the server stops."""
    monkeypatch.setattr("rasa_coexistence.routes_onboarding.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("rasa_coexistence.routes_onboarding.BEAT_SECONDS", 0.1)
    block = credentials(f"sqlite:///{tmp_path}/ledger.db", history={"enabled": False, "quiet_seconds": 2.0})
    async with running_channel(block) as site, following(site) as first, following(site) as second:
        assert (await first.told())["sync_status"] == "not_started"
        assert await site.post("/webhook", as_bytes(part(0, 2, 40))) == (200, {"status": "ok"})
        told = await first.told(status="syncing", messages_received=1)
        assert told["history"]["phases"][0]["missing"] == [1]
        last = await first.told(status="completed", completed_by="quiet")
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        assert (await site.call("GET", "/api/sync/status", headers=headers))[1] == last
        assert await second.told(status="completed") == last
        assert await first.beats(), "so that no proxy cuts the line"
        site.service.is_stopping.set()
        await first.end()


async def test_the_stream_is_for_admins_and_of_numbers_that_are_known(tmp_path: Path) -> None:
    """As the status is."""
    async with running_channel(credentials(f"sqlite:///{tmp_path}/ledger.db")) as site:
        assert (await site.call("GET", "/api/sync/events"))[0] == 401
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        assert (await site.call("GET", "/api/sync/events?id=1", headers=headers))[0] == 404
