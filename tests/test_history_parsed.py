"""With ``history.parse`` NLU reads the customers' old messages, when nobody else needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from history_stage import Stage, open_stage
from ledgers import ANA, NOW, live
from old_chats import ANA_ID, chunk, counted, old, text
from stores import open_store

from rasa_coexistence import history_parse
from rasa_coexistence.errors import Postponed
from rasa_coexistence.events import JSON

SAID = [
    text("wamid.A", "quiero mochila"),
    text("wamid.B", "claro que sí", after=5, by_us=True),
    text("wamid.C", "/restart todo", after=10),
    old("wamid.D", "image", {"id": "7", "mime_type": "image/jpeg"}, after=15),
    old("wamid.E", "image", {"id": "8", "caption": "esta talla"}, after=20),
    old("wamid.F", "interactive", {"type": "button_reply", "button_reply": {"id": "/buy", "title": "x"}}),
]
GUARD = "\u2060"  # keeps a leading slash from being a command


@pytest.fixture
def at_full_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait between messages."""
    monkeypatch.setattr(history_parse, "SHARE", 1.0)


@asynccontextmanager
async def opened(folder: Path, **settings: Any) -> AsyncIterator[Stage]:
    with open_store("sqlite", folder, pytest.fail) as shelf:
        async with open_stage(shelf.store, f"sqlite:///{folder}/ledger.db", **settings) as stage:
            yield stage


@pytest.fixture
async def stage(tmp_path: Path, at_full_speed: None) -> AsyncIterator[Stage]:
    """Give a stage whose bot reads old messages."""
    async with opened(tmp_path, history={"parse": True}) as stage:
        yield stage


async def read_all(stage: Stage) -> None:
    """Let NLU read all there is, and the tracker be told."""
    while await stage.parse.step():
        pass
    await stage.settle()


async def heard(stage: Stage) -> dict[str, JSON]:
    """Return the customer's events by wamid."""
    return {
        event["message_id"]: event
        for event in await stage.events(ANA_ID)
        if event["event"] == "user" and event["metadata"]["whatsapp"]["source"] == "history"
    }


async def test_intents_and_entities_stand_in_the_tracker(stage: Stage) -> None:
    """Of what the customer typed, captions too; a placeholder's text and a button's id say nothing to NLU."""
    await stage.tell(chunk(*SAID))
    assert {event["parse_data"]["intent"]["name"] for event in (await heard(stage)).values()} == {None}
    await read_all(stage)
    events = await heard(stage)
    assert events["wamid.A"]["parse_data"]["intent"] == {"name": "quiero", "confidence": 0.9}
    assert events["wamid.A"]["parse_data"]["entities"][0]["value"] == "mochila"
    assert events["wamid.E"]["parse_data"]["intent"]["name"] == "esta"
    assert [events[wamid]["parse_data"]["intent"]["name"] for wamid in ("wamid.D",)] == [None]
    assert [event["text"] for event in await stage.events(ANA_ID) if event["event"] == "bot"] == [
        "claro que sí"
    ]
    parsed = stage.agent.processor.parsed
    assert "claro que sí" not in parsed
    assert await counted(stage) == (6, 6)
    await read_all(stage)
    assert stage.agent.processor.parsed == parsed, "each once"


async def test_what_looks_like_a_command_is_typed_text(stage: Stage) -> None:
    """Half a year ago nobody could have meant the bot."""
    await stage.tell(chunk(SAID[2]))
    await read_all(stage)
    [parsed] = stage.agent.processor.parsed
    assert not parsed.startswith("/")
    event = (await heard(stage))["wamid.C"]
    assert event["text"] == event["parse_data"]["text"] == "/restart todo"


async def test_the_newest_are_read_first(stage: Stage) -> None:
    """They are what the next turn may go by."""
    await stage.tell(chunk(*(text(f"wamid.{n}", f"mensaje {n}", after=n) for n in range(12))))
    assert await stage.parse.step()
    first = {int(words.split()[-1]) for words in stage.agent.processor.parsed}
    assert first == set(range(12 - history_parse.AT_ONCE, 12))


async def test_an_edited_message_is_read_again_and_the_others_are_not(stage: Stage) -> None:
    """What NLU made of other words says nothing."""
    await stage.tell(chunk(text("wamid.A", "quiero mochila"), text("wamid.B", "hola", after=5)))
    await read_all(stage)
    edit = {"original_message_id": "wamid.A", "message": {"type": "text", "text": {"body": "busco bolsa"}}}
    await stage.tell(chunk(old("wamid.E", "edit", edit, after=90), order=2))
    assert (await heard(stage))["wamid.A"]["parse_data"]["intent"]["name"] is None
    await read_all(stage)
    assert (await heard(stage))["wamid.A"]["parse_data"]["intent"]["name"] == "busco"
    assert stage.agent.processor.parsed == ["hola", "quiero mochila", "busco bolsa"]


async def test_a_process_that_dies_is_followed_by_one_that_reads_the_rest(stage: Stage) -> None:
    """What was read is written down; the conversation comes back when the claim runs out."""
    await stage.tell(chunk(*(text(f"wamid.{n}", f"mensaje {n}", after=n) for n in range(12))))
    assert await stage.parse.step()
    stage.parse = stage._service._parsing()
    assert not await stage.parse.step(), "it is another's until its claim runs out"
    stage.clock.move(history_parse.CLAIM_SECONDS + 1)
    await read_all(stage)
    assert sorted(stage.agent.processor.parsed) == sorted(f"mensaje {n}" for n in range(12))
    assert all(event["parse_data"]["intent"]["name"] for event in (await heard(stage)).values())


async def test_a_message_that_nlu_trips_over_keeps_no_other_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any component of the owner's pipeline may raise; then the message has no intent, as before."""
    parse = stage.agent.processor.parse_message

    async def trip(message: Any, tracker: Any = None) -> JSON:
        if "bomba" in message.text:
            raise ValueError("too much")
        return await parse(message, tracker)

    monkeypatch.setattr(stage.agent.processor, "parse_message", trip)
    await stage.tell(chunk(text("wamid.A", "bomba"), text("wamid.B", "hola", after=5)))
    await read_all(stage)
    names = {wamid: event["parse_data"]["intent"]["name"] for wamid, event in (await heard(stage)).items()}
    assert names == {"wamid.A": None, "wamid.B": "hola"}


async def test_it_waits_for_whoever_needs_rasa(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn goes first; and without a model there is nothing to read with."""
    await stage.tell(chunk(*SAID))
    monkeypatch.setattr(type(stage._service.worker), "is_talking", True)
    assert not await stage.parse.step()
    monkeypatch.undo()
    monkeypatch.setattr(stage.agent, "is_ready", lambda: False)
    with pytest.raises(Postponed):
        await stage.parse.step()
    assert stage.agent.processor.parsed == []
    monkeypatch.undo()


async def test_it_leaves_most_of_the_time_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NLU blocks the event loop: after each message it rests three times as long as that took."""
    rests: list[float] = []
    moments = iter(range(100))

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    async with opened(tmp_path, history={"parse": True}) as stage:
        await stage.tell(chunk(*(text(f"wamid.{n}", f"mensaje {n}", after=n) for n in range(2))))
        clock = "rasa_coexistence.history_parse.time.perf_counter"
        monkeypatch.setattr(clock, lambda: float(next(moments)))
        monkeypatch.setattr("rasa_coexistence.history_parse.asyncio.sleep", rest)
        await stage.parse.step()
        monkeypatch.undo()
    assert rests == [3.0, 3.0]


async def test_nothing_is_read_unasked(tmp_path: Path, at_full_speed: None) -> None:
    """It costs the machine, and not every bot goes by old intents."""
    async with opened(tmp_path) as stage:
        await stage.tell(chunk(*SAID))
        assert not await stage.parse.step()
        assert stage.agent.processor.parsed == []


async def test_live_messages_are_no_matter_of_it(stage: Stage) -> None:
    """Their turn has read them."""
    await stage.tell(live(ANA, ("wamid.L", "hola otra vez"), at=NOW))
    await read_all(stage)
    assert stage.agent.processor.parsed == ["hola otra vez"]
