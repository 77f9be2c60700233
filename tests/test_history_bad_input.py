"""Old chat as nobody should send it: nothing stops, nothing is lost, and what is there stays right."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from history_stage import Stage, open_stage
from ledgers import ANA, BEN, DAY, NOW, NUMBER, as_bytes, history, live
from old_chats import ANA_ID, chunk, counted, text, told
from rasa.shared.core.events import ActionExecuted, BotUttered, SlotSet, UserUttered
from stores import Shelf, open_store

from rasa_coexistence.ledger import schema
from rasa_coexistence.simulator import webhooks
from rasa_coexistence.to_rasa import is_history

MANY = 50_000


@pytest.fixture
def shelf(tmp_path: Path) -> Any:
    """Give Rasa's SQL store."""
    with open_store("sqlite", tmp_path, pytest.fail) as opened:
        yield opened


@pytest.fixture
async def stage(shelf: Shelf, ledger_url: str) -> AsyncIterator[Stage]:
    """Give a stage with a ledger of each kind."""
    async with open_stage(shelf.store, ledger_url) as opened:
        yield opened


async def aside(stage: Stage) -> list[Any]:
    return list(
        await stage.database.read(lambda connection: connection.execute(schema.set_aside.select()).all())
    )


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
async def test_a_thread_of_fifty_thousand_messages_in_one_webhook(stage: Stage) -> None:
    """It is imported whole, in order, and whoever writes meanwhile is answered with it behind them."""
    began = NOW - 150 * DAY
    messages = [(f"wamid.{n}", f"{n}", began + 60.0 * n) for n in range(MANY)]
    await stage.accept(history(ANA, *reversed(messages), progress=100))
    await stage.accept(live(BEN, ("wamid.L", "Hola")))
    await stage.reader.read_live()
    await stage.talk_once()
    assert await stage.said(str(BEN.wa_id)) == ["Hola"], "others do not wait for it"
    await stage.settle()
    assert await stage.said(ANA_ID) == [str(n) for n in range(MANY)]
    assert await counted(stage) == (MANY, MANY)
    assert await stage.complete() == [NUMBER.phone_number_id]


async def test_ten_thousand_empty_threads(stage: Stage) -> None:
    """Chats without a message make no conversation, and the one among them that has some is there."""
    threads = [{"id": f"52155{n:08}", "messages": []} for n in range(10_000)]
    full = webhooks.thread(NUMBER, ANA, [text("wamid.A", "Hola")])
    body = webhooks.history_chunk(
        NUMBER, phase=1, chunk_order=1, progress=100, threads=[*threads[:7000], full, *threads[7000:]]
    )
    await stage.tell(body, body)
    assert [event["text"] for event in await told(stage)] == ["Hola"]
    assert await counted(stage) == (1, 1)
    assert (await stage.status())["history"]["conversations"] == 1
    rows = await stage.database.read(
        lambda connection: connection.execute(schema.conversations.select()).all()
    )
    assert len(rows) == 1
    assert await stage.complete() == [NUMBER.phone_number_id]
    assert await aside(stage) == []


async def test_messages_of_the_future_hide_no_turn(stage: Stage) -> None:
    """A phone with a wrong clock: the true time stands in the metadata, and live events go on behind."""
    future = [
        text("wamid.F1", "mañana", after=10 * DAY),
        text("wamid.F2", "en mil años", after=365_000 * DAY),
        text("wamid.F3", "luego", after=9 * DAY, by_us=True),
    ]
    await stage.tell(live(ANA, ("wamid.L1", "Hola")))
    stage.clock.move(60)
    await stage.tell(chunk(*future, text("wamid.A", "antes")))
    await stage.tell(live(ANA, ("wamid.L2", "¿Siguen?"), at=NOW + 60))
    events = await told(stage)
    assert [event["text"] for event in events] == [
        "antes",
        "luego",
        "mañana",
        "en mil años",
        "Hola",
        "¿Siguen?",
    ]
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    assert all(event["at"] < NOW for event in events[:4])
    assert events[2]["timestamp"] == NOW + 7 * DAY


async def test_messages_without_what_they_need_are_set_aside_and_the_chunk_goes_on(stage: Stage) -> None:
    """Each with its reason and as it came, in every place of a thread of several hundred."""
    good = [text(f"wamid.{n}", str(n), after=n) for n in range(600)]
    body = chunk(*good, progress=100)
    messages = body.value["history"][0]["threads"][0]["messages"]
    for place, broken in ((0, {"id": None}), (300, {"id": ""}), (599, {"timestamp": "0"})):
        messages.insert(place, {**messages[place], **broken, "text": {"body": f"broken {place}"}})
    messages.insert(450, "no object at all")
    await stage.tell(as_bytes(body))
    assert await stage.said(ANA_ID) == [str(n) for n in range(600)]
    assert await counted(stage) == (600, 600)
    assert sorted(row.reason for row in await aside(stage)) == [
        "a message whose time is zero or cannot be read",
        "a message without an id",
        "a message without an id",
        "an item of messages is not an object",
    ]
    assert await stage.complete() == [NUMBER.phone_number_id]


async def test_a_conversation_that_other_channels_began_stays_theirs(stage: Stage, shelf: Shelf) -> None:
    """Its events stay as they are, history stands before them, and the customer goes on in it."""
    tracker = await shelf.store.get_or_create_tracker(ANA_ID, append_action_listen=False)
    others = [
        UserUttered("por la web", {"name": "greet"}, input_channel="rest"),
        SlotSet("size", "M"),
        ActionExecuted("utter_greet"),
        BotUttered("Bienvenida", metadata={"utter_action": "utter_greet"}),
        ActionExecuted("action_listen"),
    ]
    for number, event in enumerate(others):
        event.timestamp = NOW - 2 * DAY + number
        tracker.update(event)
    await shelf.store.save(tracker)
    before = await stage.events(ANA_ID)
    await stage.tell(chunk(text("wamid.A", "antes"), text("wamid.B", "ayer", after=2 * DAY)))
    events = await stage.events(ANA_ID)
    assert events[-len(before) :] == before
    assert [event["text"] for event in events if is_history(event) and event["event"] == "user"] == [
        "antes",
        "ayer",
    ]
    assert [event["timestamp"] for event in events] == sorted(event["timestamp"] for event in events)
    await stage.tell(live(ANA, ("wamid.L", "Hola otra vez")))
    after = await stage.events(ANA_ID)
    assert after[: len(events)] == events
    assert [event["text"] for event in after if event["event"] == "user"][-1] == "Hola otra vez"
    tracker = await shelf.store.retrieve(ANA_ID)
    assert [event.text for event in tracker.events if isinstance(event, UserUttered)] == ["Hola otra vez"]
    await stage.tell(chunk(text("wamid.C", "hace mucho", after=-DAY), order=2))
    assert (await stage.events(ANA_ID))[-len(after) + len(events) - len(before) :] == after[
        -len(after) + len(events) - len(before) :
    ]


async def test_a_chunk_that_says_nothing_of_itself(stage: Stage) -> None:
    """Without phase, order, progress, or threads it is still history; nonsense in them counts for nothing."""
    body = chunk(text("wamid.A", "Hola"))
    for metadata in ({}, {"phase": "x", "chunk_order": None, "progress": [1]}, {"progress": 10**30}):
        body.value["history"][0]["metadata"] = metadata
        await stage.tell(as_bytes(body))
    body.value["history"].append({"metadata": {"phase": 0, "chunk_order": 1, "progress": 5}})
    await stage.tell(as_bytes(body))
    assert [event["text"] for event in await told(stage)] == ["Hola"]
    assert await counted(stage) == (1, 1)
    assert (await stage.status())["history"]["progress"] in range(101)
