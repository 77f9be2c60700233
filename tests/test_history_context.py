"""The four slots tell a bot what went before the session, whenever the history comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from history_stage import Stage, open_stage
from ledgers import ANA, DAY, NOW, NUMBER, echo, history, live
from stores import open_store

from rasa_coexistence.events import JSON
from rasa_coexistence.simulator import webhooks

ANA_ID = str(ANA.wa_id)
HOUR = 3600.0
OLD = history(
    ANA,
    ("wamid.H1", "Hola", NOW - 2 * DAY),
    ("wamid.H2", "Buenas", NOW - 2 * DAY + 60),
    from_business=["wamid.H2"],
)
ENTRIES = [
    {"role": "customer", "text": "Hola", "timestamp": NOW - 2 * DAY},
    {"role": "business", "text": "Buenas", "timestamp": NOW - 2 * DAY + 60},
]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """Give a stage on SQLite whose bot remembers three messages."""
    with open_store("sqlite", tmp_path, pytest.fail) as shelf:
        url = f"sqlite:///{tmp_path}/ledger.db"
        async with open_stage(shelf.store, url, history={"context_messages": 3}) as opened:
            yield opened


async def writes(stage: Stage, wamid: str, text: str = "Hola otra vez", after: float = 0.0) -> dict[str, Any]:
    """Let Ana write now and return the slots."""
    stage.clock.move(after)
    await stage.tell(live(ANA, (wamid, text), at=stage.clock()))
    return await stage.slots(ANA_ID)


async def slot_events(stage: Stage) -> list[JSON]:
    return [event for event in await stage.events(ANA_ID) if event["event"] == "slot"]


async def test_a_stranger_is_known_as_one(stage: Stage) -> None:
    """A first contact has no past."""
    slots = await writes(stage, "wamid.L1")
    assert slots == {
        "history": [],
        "customer_name": "Ana",
        "returning_customer": False,
        "days_since_last_contact": None,
    }


async def test_history_that_was_there_first(stage: Stage) -> None:
    """The bot greets somebody who wrote two days ago."""
    await stage.tell(OLD)
    slots = await writes(stage, "wamid.L1")
    assert slots["history"] == ENTRIES
    assert (slots["returning_customer"], slots["days_since_last_contact"]) == (True, 2.0)


async def test_history_that_comes_in_the_middle_of_a_conversation(stage: Stage) -> None:
    """The next message mends the slots, which speak of the time before the conversation all the same."""
    await writes(stage, "wamid.L1")
    await stage.tell(echo(ANA, "wamid.E1", "Ya le atiendo", at=NOW + 1))
    assert (await writes(stage, "wamid.L2", after=60))["returning_customer"] is False
    await stage.tell(OLD)
    slots = await writes(stage, "wamid.L3", after=60)
    assert slots["history"] == ENTRIES
    assert (slots["returning_customer"], slots["days_since_last_contact"]) == (True, 2.0)
    before = await slot_events(stage)
    await stage.tell(OLD)
    assert await writes(stage, "wamid.L4", after=60) == slots
    assert await slot_events(stage) == before


async def test_an_old_message_that_changes_changes_the_slot(stage: Stage) -> None:
    """Nothing is counted anew by an edit, yet the bot must not quote what was taken back."""
    await stage.tell(OLD)
    await writes(stage, "wamid.L1")
    revoke = webhooks.message("wamid.R1", NOW + 30, "revoke", {"original_message_id": "wamid.H1"})
    await stage.tell(webhooks.inbound(NUMBER, [(ANA, revoke)]))
    assert (await writes(stage, "wamid.L2", after=60))["history"] == ENTRIES[1:]


async def test_each_session_tells_of_the_ones_before_in_which_the_bot_spoke(stage: Stage) -> None:
    """Live messages of both sides are the past of the next session."""
    await stage.tell(OLD)
    await writes(stage, "wamid.L1", "una mochila")
    await stage.tell(echo(ANA, "wamid.E1", "Se la guardo", at=NOW + 5))
    slots = await writes(stage, "wamid.L2", after=12 * HOUR)
    assert [entry["text"] for entry in slots["history"]] == ["Buenas", "una mochila", "Se la guardo"]
    assert slots["days_since_last_contact"] == 0.5


async def test_carry_over_piles_nothing_up(stage: Stage) -> None:
    """Rasa copies every slot event into the next session; after fifteen there is still one of each."""
    await stage.tell(OLD)
    for number in range(15):
        await writes(stage, f"wamid.L{number}", after=5 * HOUR)
        await writes(stage, f"wamid.M{number}", after=5)
    tracker = await stage.agent.tracker_store.retrieve(ANA_ID)
    assert tracker is not None
    names = [event.as_dict()["name"] for event in tracker.events if event.type_name == "slot"]
    assert len(names) <= 2 * 4
    assert len(tracker.events) < 20


async def test_slots_that_do_not_change_are_not_set_again(stage: Stage) -> None:
    """Within a session there is nothing to say twice."""
    await stage.tell(OLD)
    await writes(stage, "wamid.L1")
    before = await slot_events(stage)
    for number in range(5):
        await writes(stage, f"wamid.M{number}", after=60)
    assert await slot_events(stage) == before


async def test_a_young_chat_goes_on_in_its_session(stage: Stage) -> None:
    """History that is younger than the session's end leaves it open, and the bot still knows who writes."""
    await stage.tell(history(ANA, ("wamid.H1", "Hola", NOW - 600), ("wamid.H2", "Oi", NOW - 300)))
    slots = await writes(stage, "wamid.L1")
    assert [entry["text"] for entry in slots["history"]] == ["Hola", "Oi"]
    assert slots["returning_customer"] is True
    events = await stage.events(ANA_ID)
    assert [event["event"] for event in events].count("session_started") == 1


async def test_messages_of_one_burst_are_not_their_own_past(stage: Stage) -> None:
    """Three quick first messages come from a stranger."""
    await stage.accept(*(live(ANA, (f"wamid.L{n}", f"{n}")) for n in range(3)))
    await stage.settle()
    assert (await stage.slots(ANA_ID))["returning_customer"] is False
