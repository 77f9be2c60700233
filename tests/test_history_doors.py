"""One message, one person, one event: through whichever door and under whichever id they come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from history_stage import Stage, open_stage
from ledgers import ANA, DAY, NOW, NUMBER, echo, history, live
from old_chats import ANA_ID, WHEN, chunk, counted, old, text, told
from stores import open_store

from rasa_coexistence import takeover
from rasa_coexistence.identity import make_wamid
from rasa_coexistence.ledger import chats, own_sends, schema
from rasa_coexistence.simulator import webhooks
from rasa_coexistence.simulator.state import Person


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """Give a stage with its ledger in SQLite, before Rasa's SQL store."""
    with open_store("sqlite", tmp_path, pytest.fail) as shelf:
        async with open_stage(shelf.store, f"sqlite:///{tmp_path}/ledger.db") as opened:
            yield opened


@pytest.fixture
async def each_stage(ledger_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """Give a stage with a ledger of each kind."""
    with open_store("sqlite", tmp_path, pytest.fail) as shelf:
        async with open_stage(shelf.store, ledger_url) as opened:
            yield opened


async def test_a_hidden_phone_is_known_by_its_bsuid(stage: Stage) -> None:
    """Whoever has a username need not show a phone: Meta leaves out the thread's id and the sender."""
    hidden = Person(user_id="MX.13491208655302741918", username="ana", hides_phone=True)
    await stage.tell(chunk(text("wamid.A", "Hola"), text("wamid.B", "Buenas", by_us=True), person=hidden))
    events = await told(stage, "MX.13491208655302741918")
    assert [(event["text"], event["by"]) for event in events] == [("Hola", "user"), ("Buenas", "bot")]
    assert events[0]["contact"]["user_id"] == "MX.13491208655302741918"
    await stage.tell(
        webhooks.inbound(NUMBER, [(hidden, webhooks.message("wamid.L", NOW, "text", {"body": "Yo"}))])
    )
    assert [event["text"] for event in await told(stage, "MX.13491208655302741918")] == [
        "Hola",
        "Buenas",
        "Yo",
    ]


@pytest.mark.parametrize("order", [("sent", "READ", "delivered"), ("READ", "sent"), ("delivered", "READ")])
async def test_statuses_of_both_spellings_only_rise(stage: Stage, order: Sequence[str]) -> None:
    """Live ones are lower case, those of the history upper; a repeated chunk may know more."""
    for status in order:
        await stage.tell(chunk(text("wamid.A", "Hola", by_us=True, status=status)))
    assert [event["status"] for event in await told(stage)] == ["read"]


INNER = "3EB00000000000000384"
BY_PHONE = make_wamid(str(ANA.wa_id), INNER, from_business=False)
BY_BSUID = make_wamid("MX.1234567890", INNER, from_business=False)
BY_US = make_wamid("5215550000000", INNER, from_business=True)
BY_THEM = make_wamid(str(ANA.wa_id), INNER, from_business=True)


@pytest.mark.parametrize("wamids", [(BY_PHONE, BY_PHONE), (BY_PHONE, BY_BSUID), (BY_BSUID, BY_PHONE)])
@pytest.mark.parametrize("first", ["history", "live"])
async def test_a_message_that_comes_live_and_as_history_is_one(
    stage: Stage, first: str, wamids: tuple[str, str]
) -> None:
    """The overlap of phase 0 with live traffic: one live turn, whichever came first."""
    bodies = [chunk(text(wamids[0], "Hola", after=3 * DAY)), live(ANA, (wamids[1], "Hola"))]
    for body in bodies if first == "history" else bodies[::-1]:
        await stage.tell(body)
    await stage.tell(bodies[0])
    assert [(event["text"], event["source"]) for event in await told(stage)] == [("Hola", "live")]
    assert await counted(stage) == (0, 0)


@pytest.mark.parametrize("wamids", [(BY_US, BY_US), (BY_US, BY_THEM), (BY_THEM, BY_US)])
@pytest.mark.parametrize("first", ["history", "echo"])
async def test_a_message_from_the_phone_that_comes_as_history_too_is_one(
    stage: Stage, first: str, wamids: tuple[str, str]
) -> None:
    """A real history is prefixed with the business's number, its echoes with the customer's."""
    await stage.tell(live(ANA, ("wamid.L", "¿Está?"), at=NOW - 5))
    bodies = [chunk(text(wamids[0], "Hola", after=3 * DAY, by_us=True)), echo(ANA, wamids[1], "Hola")]
    for body in bodies if first == "history" else bodies[::-1]:
        await stage.tell(body)
    await stage.tell(bodies[0])
    assert [(event["text"], event["source"]) for event in await told(stage)] == [
        ("¿Está?", "live"),
        ("Hola", "phone"),
    ]
    assert await counted(stage) == (0, 0)


@pytest.mark.parametrize("wamids", [(BY_US, BY_US), (BY_US, BY_THEM), (BY_THEM, BY_US)])
@pytest.mark.parametrize("first", ["history", "send"])
async def test_an_answer_of_the_bot_s_that_comes_as_history_too_is_one(
    stage: Stage, first: str, wamids: tuple[str, str]
) -> None:
    """Phase 0 tells what the bot said in the first hours; Rasa's tracker has that already."""
    await stage.tell(live(ANA, ("wamid.L", "¿Está?"), at=NOW - 5))

    def send(connection: Any) -> None:
        chat = chats.by_sender_id(connection, ANA_ID)
        assert chat is not None
        rules = takeover.rules_of(stage.settings.takeover)
        sent = SimpleNamespace(text="Hola")
        own_sends.remember(connection, chat, sent, wamids[1], rules, now=stage.clock())

    for door in ("history", "send") if first == "history" else ("send", "history"):
        if door == "history":
            await stage.tell(chunk(text(wamids[0], "Hola", after=3 * DAY, by_us=True)))
        else:
            await stage.database.write(send)
            await stage.settle()
    await stage.tell(chunk(text(wamids[0], "Hola", after=3 * DAY, by_us=True)))
    assert [(event["text"], event["source"]) for event in await told(stage)] == [("¿Está?", "live")]
    assert await counted(stage) == (0, 0)


async def test_both_wamids_of_a_message_in_one_chunk_are_one(stage: Stage) -> None:
    """One copy a side; another message of the same inner id but the other direction is another."""
    await stage.tell(
        chunk(text(BY_US, "Hola", by_us=True), text(BY_THEM, "Hola", by_us=True), text(BY_PHONE, "Eh"))
    )
    assert sorted(event["text"] for event in await told(stage)) == ["Eh", "Hola"]
    assert await counted(stage) == (2, 2)


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 1, 0)])
async def test_chunks_that_contradict_each_other_give_one_tracker(
    each_stage: Stage, order: Sequence[int]
) -> None:
    """The same wamid with another time, side and text: one message, the same whatever came first."""
    bodies = [chunk(text("wamid.A", "b")), chunk(text("wamid.A", "a", after=50, by_us=True), order=2)]
    for place in order:
        await each_stage.tell(bodies[place])
    [event] = await told(each_stage)
    assert (event["text"], event["by"], event["at"]) == ("a", "user", WHEN)
    assert await counted(each_stage) == (1, 1)


async def test_two_threads_of_one_person_become_one(each_stage: Stage) -> None:
    """Known by phone in one chunk and by BSUID in another, until something proves that it is one person."""
    phone, hidden = Person(wa_id=ANA.wa_id), Person(user_id="MX.777", hides_phone=True)
    both = Person(wa_id=ANA.wa_id, user_id="MX.777")
    await each_stage.tell(
        chunk(text("wamid.A", "1"), person=phone), chunk(text("wamid.B", "2", after=5), person=hidden)
    )
    assert [event["text"] for event in await told(each_stage, "MX.777")] == ["2"]
    await each_stage.tell(chunk(text("wamid.C", "3", after=9), text("wamid.A", "1"), person=both, order=2))
    assert [event["text"] for event in await told(each_stage)] == ["1", "2", "3"]
    assert await told(each_stage, "MX.777") == []
    assert await counted(each_stage) == (3, 3)


async def test_the_same_message_in_two_threads_is_counted_once(each_stage: Stage) -> None:
    """Before anything proves that they are one person."""
    hidden = Person(user_id="MX.777", hides_phone=True)
    await each_stage.tell(
        chunk(text(BY_PHONE, "1")), chunk(text(BY_PHONE, "1"), text("wamid.B", "2"), person=hidden)
    )
    assert [event["text"] for event in await told(each_stage)] == ["1"]
    assert [event["text"] for event in await told(each_stage, "MX.777")] == ["2"]
    assert await counted(each_stage) == (2, 2)


@pytest.mark.parametrize(
    ("age", "kind", "mode"),
    [(60.0, "text", "timed"), (1799.0, "text", "timed"), (1900.0, "text", "bot"), (60.0, "reaction", "bot")],
)
async def test_a_person_who_wrote_just_now_has_the_conversation(
    stage: Stage, age: float, kind: str, mode: str
) -> None:
    """Half an hour counts from what was said, not from when the history came; reactions take nothing over."""
    said = text("wamid.A", "Hola", after=3 * DAY - age, by_us=True)
    content = {"message_id": "wamid.Z", "emoji": "👍"}
    if kind == "reaction":
        said = old("wamid.A", "reaction", content, after=3 * DAY - age, by_us=True)
    await stage.tell(chunk(said), live(ANA, ("wamid.L", "¿Está?")))
    rows = await stage.database.read(
        lambda connection: connection.execute(schema.conversations.select()).all()
    )
    assert [row.takeover for row in rows] == [mode]
    assert (rows[0].takeover_until == NOW - age + 1800.0) is (mode == "timed")
    assert any(event["event"] == "pause" for event in await stage.events(ANA_ID)) is (mode == "timed")


async def test_a_message_without_an_id_is_set_aside_and_its_neighbours_go_on(stage: Stage) -> None:
    """Nothing could tell whether it is new, the next time it comes."""
    without = text("wamid.X", "quién sabe")
    del without[1]["id"]
    await stage.tell(chunk(without, text("wamid.A", "Hola")), history(ANA, ("wamid.B", "0", 0.0)))
    assert [event["text"] for event in await told(stage)] == ["Hola"]
    rows = await stage.database.read(lambda connection: connection.execute(schema.set_aside.select()).all())
    assert sorted(row.reason for row in rows) == [
        "a message whose time is zero or cannot be read",
        "a message without an id",
    ]
