"""Everything in a thread becomes the right event, whatever comes first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from history_stage import Stage, open_stage
from ledgers import ANA, NOW, NUMBER, live
from old_chats import WHEN, chunk, counted, old, text, told
from stores import open_store

from rasa_coexistence.identity import make_wamid
from rasa_coexistence.simulator import webhooks
from rasa_coexistence.simulator.state import Webhook


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


LOCATION = {"latitude": 19.4, "longitude": -99.1, "name": "Tienda"}
CARD = [{"name": {"formatted_name": "Luis"}, "phones": [{"phone": "+52 1 555"}]}]
REPLY = {"type": "button_reply", "button_reply": {"id": "/buy", "title": "Comprar"}}


EVERY_TYPE = [
    ("text", {"body": "Hola"}, "Hola"),
    ("image", {"id": "7", "mime_type": "image/jpeg", "caption": "Mira"}, "Mira"),
    ("image", {"id": "7", "mime_type": "image/jpeg"}, "[image]"),
    ("video", {"id": "7"}, "[video]"),
    ("audio", {"id": "7", "voice": True}, "[audio]"),
    ("sticker", {"id": "7"}, "[sticker]"),
    ("document", {"id": "7", "filename": "offer.pdf"}, "[document: offer.pdf]"),
    ("location", LOCATION, "[location]"),
    ("contacts", CARD, "[contacts]"),
    ("order", {"catalog_id": "1", "product_items": []}, "[order]"),
    ("interactive", REPLY, "/buy"),
    ("button", {"payload": "YES", "text": "Sí"}, "YES"),
    ("media_placeholder", None, "[media_placeholder]"),
    ("unsupported", {"type": "poll_creation"}, "[unsupported]"),
    ("future_type", {"x": 1}, "[future_type]"),
]


async def test_every_type_has_its_place(stage: Stage) -> None:
    """Nothing that was said is missing, and each says what it was."""
    described = [old(f"wamid.{n}", kind, given, after=n) for n, (kind, given, _) in enumerate(EVERY_TYPE)]
    await stage.tell(chunk(*described))
    events = await told(stage)
    assert [(event["type"], event["text"]) for event in events] == [
        (kind, shown) for kind, _, shown in EVERY_TYPE
    ]
    assert [event["at"] for event in events] == [WHEN + n for n in range(len(EVERY_TYPE))]
    assert {event["by"] for event in events} == {"user"}
    assert await counted(stage) == (len(EVERY_TYPE), len(EVERY_TYPE))


async def test_reactions_and_quotes_stand_in_the_metadata(stage: Stage) -> None:
    """They are about another message, and come before or after it."""
    thumb = old("wamid.R", "reaction", {"message_id": "wamid.A", "emoji": "👍"}, after=9, by_us=True)
    quote = old("wamid.B", "text", {"body": "esa"}, after=5, context={"id": "wamid.A"})
    await stage.tell(chunk(thumb, quote), chunk(text("wamid.A", "¿La roja?"), order=2))
    first, second = await told(stage)
    assert first["reactions"] == [{"emoji": "👍", "from": "business"}]
    assert second["context"] == {"id": "wamid.A", "text": "¿La roja?", "role": "customer"}


async def test_a_live_reaction_stands_at_the_old_message(stage: Stage) -> None:
    """The customer reacts today to what was said last week; the last word counts."""
    await stage.tell(chunk(text("wamid.A", "Hola")))
    for wamid, emoji in (("wamid.R1", "👍"), ("wamid.R2", "❤")):
        reaction = {"message_id": "wamid.A", "emoji": emoji}
        stage.clock.move(5)
        described = webhooks.message(wamid, stage.clock(), "reaction", reaction)
        await stage.tell(webhooks.inbound(NUMBER, [(ANA, described)]))
    assert (await told(stage))[0]["reactions"] == [{"emoji": "❤", "from": "customer"}]
    assert await counted(stage) == (1, 1)


EDIT = old(
    "wamid.E1",
    "edit",
    {"original_message_id": "wamid.A", "message": {"type": "text", "text": {"body": "a las 5"}}},
    after=60,
)
EDIT_AGAIN = old(
    "wamid.E2",
    "edit",
    {"original_message_id": "wamid.A", "message": {"type": "text", "text": {"body": "a las 6"}}},
    after=90,
)
REVOKE = old("wamid.E3", "revoke", {"original_message_id": "wamid.A"}, after=99)
FOREIGN = old(
    "wamid.E4",
    "edit",
    {"original_message_id": "wamid.A", "message": {"type": "text", "text": {"body": "nunca"}}},
    after=95,
    by_us=True,
)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
async def test_edits_apply_in_whatever_order_they_come(each_stage: Stage, order: Sequence[int]) -> None:
    """The newest of them counts, the first text stays in the metadata, and nobody edits another's words."""
    bodies = [chunk(text("wamid.A", "a las 4"), FOREIGN), chunk(EDIT, order=2), chunk(EDIT_AGAIN, order=3)]
    for place in order:
        await each_stage.tell(bodies[place])
    [event] = await told(each_stage)
    assert (event["text"], event["edited_from"], event["at"]) == ("a las 6", "a las 4", WHEN)
    await each_stage.tell(*bodies)
    assert await told(each_stage) == [event]
    assert await counted(each_stage) == (4, 4)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("first", ["revoke", "message"])
async def test_a_revoked_message_is_left_out(stage: Stage, first: str, *, together: bool) -> None:
    """What was taken back is gone, also when the news of it comes first or with it."""
    messages = [REVOKE, EDIT, text("wamid.A", "a las 4"), text("wamid.B", "Hola", after=1)]
    messages = messages if first == "revoke" else messages[::-1]
    await stage.tell(*([chunk(*messages)] if together else [chunk(message) for message in messages]))
    assert [event["text"] for event in await told(stage)] == ["Hola"]


async def test_an_edit_that_comes_live_or_as_an_echo_reaches_the_old_message(stage: Stage) -> None:
    """Whoever edits a message of last week does it today."""
    await stage.tell(chunk(text("wamid.A", "a las 4"), text("wamid.B", "Abrimos", after=5, by_us=True)))
    described = webhooks.message("wamid.E1", NOW, "edit", EDIT[1]["edit"])
    await stage.tell(webhooks.inbound(NUMBER, [(ANA, described)]))
    edit = {"original_message_id": "wamid.B", "message": {"type": "text", "text": {"body": "Cerramos"}}}
    await stage.tell(webhooks.echo(NUMBER, ANA, webhooks.message("wamid.E2", NOW, "edit", edit)))
    events = [event for event in await told(stage) if event["source"] == "history"]
    assert [(event["text"], event["edited_from"]) for event in events] == [
        ("a las 5", "a las 4"),
        ("Cerramos", "Abrimos"),
    ]


async def test_a_revoke_before_its_live_message_keeps_the_bot_silent(stage: Stage) -> None:
    """Nobody answers what was taken back already."""
    revoke = webhooks.message("wamid.E1", NOW, "revoke", {"original_message_id": "wamid.A"})
    await stage.tell(webhooks.inbound(NUMBER, [(ANA, revoke)]), live(ANA, ("wamid.A", "Hola")))
    assert await told(stage) == []


def media(wamid: str, *, by_us: bool = False, caption: str | None = "Mira", after: float = 9.0) -> Webhook:
    """Meta tells the side and the time of media wrong at times."""
    image = {"id": "77", "mime_type": "image/jpeg"} | ({"caption": caption} if caption else {})
    described = webhooks.message(wamid, WHEN + after, "image", image)
    return webhooks.history_media(NUMBER, ANA, described, from_business=by_us)


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (1, 0, 1), (0, 1, 0)])
async def test_media_join_their_placeholder_in_either_order(each_stage: Stage, order: Sequence[int]) -> None:
    """Direction and time stay those of the placeholder: Meta's own example contradicts it."""
    bodies = [chunk(old("wamid.A", "media_placeholder", None, by_us=True, status="played")), media("wamid.A")]
    for place in order:
        await each_stage.tell(bodies[place])
    [event] = await told(each_stage)
    assert (event["text"], event["by"], event["at"], event["type"]) == ("Mira", "bot", WHEN, "image")
    assert (event["media"]["id"], event["status"]) == ("77", "played")
    assert await counted(each_stage) == (1, 1)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_media_join_their_placeholder_under_its_other_wamid(stage: Stage, order: Sequence[int]) -> None:
    """The placeholder is scoped to the phone, its media to the BSUID."""
    phone = make_wamid(str(ANA.wa_id), "3EB00000000000000384", from_business=True)
    scoped = make_wamid("MX.1234567890", "3EB00000000000000384", from_business=True)
    bodies = [chunk(old(phone, "media_placeholder", None, by_us=True)), media(scoped)]
    for place in order:
        await stage.tell(bodies[place])
    assert [(event["text"], event["by"]) for event in await told(stage)] == [("Mira", "bot")]


async def test_media_without_their_placeholder_show_no_word_of_ours(stage: Stage) -> None:
    """It may never come; what we note of that is nobody's business."""
    await stage.tell(media("wamid.A"))
    [event] = await told(stage)
    assert event["text"] == "Mira"
    assert "status" not in event
