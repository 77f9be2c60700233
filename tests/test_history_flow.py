"""From the webhook to the tracker, on every kind of tracker store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from history_stage import Stage, open_stage
from ledgers import ANA, BEN, DAY, NOW, echo, history, live
from stores import ALL_KINDS, Shelf, open_store

from rasa_coexistence.to_rasa import is_history

ANA_ID, BEN_ID = str(ANA.wa_id), str(BEN.wa_id)
OLD = (("wamid.H1", "Hola", NOW - 30 * DAY), ("wamid.H2", "Buenas", NOW - 30 * DAY + 60))
YOUNG = (("wamid.H3", "¿Sigue abierto?", NOW - DAY), ("wamid.H4", "Sí", NOW - DAY + 60))


@pytest.fixture(params=ALL_KINDS)
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    """Give an empty store of each kind."""
    with open_store(request.param, tmp_path, request.getfixturevalue) as opened:
        yield opened


@pytest.fixture
async def stage(shelf: Shelf, tmp_path: Path) -> AsyncIterator[Stage]:
    """Give all that stands before it, on a ledger in SQLite."""
    async with open_stage(shelf.store, f"sqlite:///{tmp_path}/ledger.db") as opened:
        yield opened


async def test_history_arrives_in_the_tracker_and_is_counted(stage: Stage) -> None:
    """The main job: chunks out of order, one of them twice."""
    young = history(ANA, *YOUNG, from_business=["wamid.H4"], phase=0, progress=30)
    old = history(ANA, *OLD, from_business=["wamid.H2"], phase=1, progress=100)
    await stage.tell(old, history(BEN, ("wamid.B1", "Oi", NOW - 5 * DAY), phase=1, chunk_order=2))
    await stage.tell(young, old)
    assert await stage.said(ANA_ID) == ["Hola", "Buenas", "¿Sigue abierto?", "Sí"]
    events = await stage.events(ANA_ID)
    assert [event["event"] for event in events if event["event"] in ("user", "bot")] == ["user", "bot"] * 2
    assert [event.get("name") for event in events].count("action_session_start") == 2
    assert await stage.said(BEN_ID) == ["Oi"]
    told = (await stage.status())["history"]
    assert (told["messages_received"], told["messages_imported"], told["conversations"]) == (5, 5, 2)
    await stage.complete()
    assert (await stage.status())["sync_status"] == "completed"


async def test_history_goes_before_what_was_said_live(stage: Stage) -> None:
    """A customer writes in the middle of a sync, and somebody answers from the phone."""
    await stage.tell(live(ANA, ("wamid.L1", "Hola otra vez")))
    stage.clock.move(60)
    await stage.tell(echo(ANA, "wamid.E1", "Le atiendo", at=NOW + 60))
    await stage.tell(history(ANA, *OLD, *YOUNG), history(ANA, *YOUNG, chunk_order=2, progress=100))
    assert await stage.said(ANA_ID) == [
        "Hola",
        "Buenas",
        "¿Sigue abierto?",
        "Sí",
        "Hola otra vez",
        "Le atiendo",
    ]
    events = await stage.events(ANA_ID)
    past = [is_history(event) for event in events]
    assert past == sorted(past, reverse=True)
    assert [event["timestamp"] for event in events] == sorted(event["timestamp"] for event in events)


async def test_a_live_turn_gets_the_history_that_waits(stage: Stage) -> None:
    """What was accepted of a customer's thread is there before their turn, and tells the bot who writes."""
    await stage.accept(history(BEN, ("wamid.B1", "Oi", NOW - 5 * DAY)), history(ANA, *OLD))
    await stage.accept(live(ANA, ("wamid.L1", "Hola otra vez")))
    await stage.reader.read_live()
    await stage.talk_once()
    assert (await stage.slots(ANA_ID))["returning_customer"] is True
    assert await stage.said(ANA_ID) == ["Hola", "Buenas", "Hola otra vez"]
    assert await stage.said(BEN_ID) == []
    await stage.settle()
    assert await stage.said(BEN_ID) == ["Oi"]
    assert await stage.said(ANA_ID) == ["Hola", "Buenas", "Hola otra vez"]


async def test_forgetting_empties_the_store_of_one_customer(stage: Stage) -> None:
    """Whatever the store, nothing of them is left, and all of the others."""
    await stage.tell(history(ANA, *OLD), history(BEN, ("wamid.B1", "Oi", NOW - DAY)))
    await stage.tell(live(ANA, ("wamid.L1", "Hola otra vez")))
    assert (await stage.forget(1)).startswith("done: forgot 3 messages")
    assert await stage.events(ANA_ID) == []
    assert await stage.said(BEN_ID) == ["Oi"]


async def test_old_chat_goes_in_stages_with_pauses_between(
    shelf: Shelf, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes waits for the rest of one short stage; a customer's own history makes no pause."""
    went: list[str] = []

    def noted(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        async def go(*args: Any) -> Any:
            went.append(name)
            return await step(*args)

        return go

    importer = stage.bridge.importer()
    monkeypatch.setattr(importer, "prepare", noted("prepare", importer.prepare))
    monkeypatch.setattr(importer, "replace_history", noted("replace", importer.replace_history))
    monkeypatch.setattr(stage.database.courtesy, "pause", noted("pause", stage.database.courtesy.pause))
    await stage.accept(history(ANA, *OLD), history(BEN, ("wamid.B1", "Oi", NOW - 5 * DAY)))
    await stage.accept(live(ANA, ("wamid.L1", "Hola otra vez")))
    await stage.reader.read_live()
    await stage.talk_once()
    assert went == ["prepare", "replace"]
    went.clear()
    while await stage.reader.read_history():
        pass
    assert went == ["pause"] * 4, "before each of two bodies is cut, and before it is filed"
    went.clear()
    await stage.import_once()
    prepares = shelf.kind in ("sqlite", "postgresql")
    assert went == ["pause", "pause", "prepare", *(["pause"] if prepares else []), "replace"]
    assert await stage.said(BEN_ID) == ["Oi"]
