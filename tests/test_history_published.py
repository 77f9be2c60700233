"""With ``publish_events`` Rasa's event broker hears of every imported event, at least once, by an id."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from history_stage import Stage, open_stage
from ledgers import ANA, BEN, DAY, NOW, history, live
from old_chats import ANA_ID, chunk, counted, old, text, told
from rasa.core.brokers.broker import EventBroker
from rasa.core.tracker_store import FailSafeTrackerStore, SQLTrackerStore
from stores import DOMAIN

from rasa_coexistence import publishing
from rasa_coexistence.errors import LedgerUnavailable
from rasa_coexistence.events import JSON
from rasa_coexistence.to_rasa import is_history

PUBLISH = {"publish_events": True}


class Broker(EventBroker):
    """Hears everything, until it fails."""

    def __init__(self) -> None:
        self.heard: list[JSON] = []
        self.fails_after: int | None = None

    @classmethod
    async def from_endpoint_config(cls, _config: Any, _loop: Any = None) -> Broker:
        return cls()

    def publish(self, event: JSON) -> None:
        """Note an event."""
        if self.fails_after is not None and len(self.heard) >= self.fails_after:
            raise ConnectionError("the broker is gone")
        self.heard.append(event)

    @property
    def ids(self) -> list[str]:
        return [event["event_id"] for event in self.history]

    @property
    def history(self) -> list[JSON]:
        return [event for event in self.heard if is_history(event)]


class SlowBroker(Broker):
    """One whose ``publish`` has to be awaited, as a custom one may."""

    async def publish(self, event: JSON) -> None:  # type: ignore[override]
        """Note an event, later."""
        super().publish(event)


@asynccontextmanager
async def stage_with(broker: Broker, folder: Path, **settings: Any) -> AsyncIterator[Stage]:
    """Open a stage before Rasa's SQL store with a broker, wrapped as Rasa wraps it."""
    inner = SQLTrackerStore(DOMAIN, event_broker=broker, host=f"sqlite:///{folder}/rasa.db")
    async with open_stage(
        FailSafeTrackerStore(inner), f"sqlite:///{folder}/ledger.db", history=settings
    ) as opened:
        yield opened
    inner.engine.dispose()


@pytest.mark.parametrize("kind", [Broker, SlowBroker])
async def test_every_imported_event_is_told_with_an_id_of_its_own(tmp_path: Path, kind: type[Broker]) -> None:
    """What consumers know of live events holds for old ones: the tracker's event, and whose it is."""
    broker = kind()
    async with stage_with(broker, tmp_path, **PUBLISH) as stage:
        await stage.tell(chunk(text("wamid.A", "Hola"), text("wamid.B", "Buenas", after=2 * DAY, by_us=True)))
        await stage.tell(history(BEN, ("wamid.C", "Oi", NOW - DAY)))
        for sender_id in (ANA_ID, str(BEN.wa_id)):
            mine = [event for event in broker.heard if event["sender_id"] == sender_id]
            bare = [
                {key: event[key] for key in event if key not in ("sender_id", "event_id")} for event in mine
            ]
            assert bare == await stage.events(sender_id)
    assert len(set(broker.ids)) == len(broker.heard) == 4 + 4 + 4


async def test_the_same_again_is_not_told_again_and_what_changed_is_under_its_old_id(tmp_path: Path) -> None:
    """A consumer replaces what it has of an id."""
    broker = Broker()
    async with stage_with(broker, tmp_path, **PUBLISH) as stage:
        first = chunk(text("wamid.A", "a las 4"), text("wamid.B", "Hola", after=60))
        await stage.tell(first)
        known = {event["event_id"]: event for event in broker.heard}
        await stage.tell(first)
        assert len(broker.heard) == len(known) == 5
        edit = {"original_message_id": "wamid.A", "message": {"type": "text", "text": {"body": "a las 5"}}}
        await stage.tell(chunk(old("wamid.E", "edit", edit, after=90), order=2))
        again = broker.heard[5:]
        assert [event.get("text") for event in again][-1] == "a las 5"
        assert {event["event_id"] for event in again} <= set(known)
        assert not any(event.get("text") == "Hola" for event in again)


async def test_a_broker_that_fails_is_told_later_and_nothing_counts_as_imported_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least once: the sync is not completed while the broker has not heard all of it."""
    monkeypatch.setattr(publishing, "AT_ONCE", 4)
    broker = Broker()
    broker.fails_after = 9
    async with stage_with(broker, tmp_path, **PUBLISH) as stage:
        messages = [text(f"wamid.{n}", str(n), after=n) for n in range(20)]
        await stage.tell(chunk(*messages, progress=100))
        assert await counted(stage) == (20, 0)
        assert await stage.complete() == []
        waiting = (await stage.status())["history"]
        assert waiting["conversations_waiting"] == 1
        assert "event broker" in waiting["import_error"]
        assert [event["text"] for event in await told(stage)] == [str(n) for n in range(20)]
        broker.fails_after = None
        stage.clock.move(10)
        await stage.settle()
        assert await counted(stage) == (20, 20)
        assert (await stage.status())["history"]["import_error"] is None
        assert await stage.complete() != []
    assert {event["text"] for event in broker.heard if event["event"] == "user"} == set(map(str, range(20)))
    assert len(set(broker.ids)) == 23
    assert len(broker.ids) <= 23 + 4, "only what was under way is told twice"


async def test_a_crash_before_it_is_written_down_tells_it_twice_by_one_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Consumers tell repeats by the id."""

    def die(*_args: Any) -> None:
        raise LedgerUnavailable("power is gone")

    broker = Broker()
    async with stage_with(broker, tmp_path, **PUBLISH) as stage:
        with monkeypatch.context() as patched:
            patched.setattr(publishing, "_note", die)
            with pytest.raises(LedgerUnavailable):
                await stage.tell(chunk(text("wamid.A", "Hola")))
        first = broker.ids
        stage.clock.move(60)
        await stage.settle()
        assert await counted(stage) == (1, 1)
    assert len(first) == 4
    assert broker.ids == first * 2


async def test_live_events_are_told_by_rasa_alone(tmp_path: Path) -> None:
    """Rasa's own save tells them; old chat that comes later does not tell them again."""
    broker = Broker()
    async with stage_with(broker, tmp_path, **PUBLISH) as stage:
        await stage.tell(live(ANA, ("wamid.L", "Hola")))
        before = [event for event in broker.heard if event.get("text") == "Hola"]
        await stage.tell(chunk(text("wamid.A", "Antes")))
        after = [event for event in broker.heard if event.get("text") == "Hola"]
    assert len(before) == len(after) == 1
    assert [event["text"] for event in broker.history if event["event"] == "user"] == ["Antes"]


async def test_nothing_old_is_told_unasked(tmp_path: Path) -> None:
    """Half a year of chat would flood whoever listens."""
    broker = Broker()
    async with stage_with(broker, tmp_path) as stage:
        await stage.tell(chunk(text("wamid.A", "Antes")))
        assert await counted(stage) == (1, 1)
    assert broker.heard == []
