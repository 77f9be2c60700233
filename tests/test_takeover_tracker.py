"""What Rasa's tracker says of persons: what they sent, that they are there, that they are gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from rasa.shared.core.events import BotUttered, ConversationPaused, ConversationResumed, UserUttered
from takeover_stage import HOLD, RESUME, TIMER, Stage

from rasa_coexistence.ledger import chats, schema, schema_jobs
from rasa_coexistence.simulator.samples import sample

TYPES = ["text", "image", "video", "document", "audio", "sticker", "location", "contacts", "unsupported"]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A customer who was answered, ten seconds ago."""
    stage = Stage(tmp_path, handoff_timeout_minutes=10)
    await meet(stage)
    yield stage
    await stage.close()


async def meet(stage: Stage) -> str:
    wamid = await stage.customer_writes()
    await stage.settle()
    stage.clock.now += 10
    return wamid


async def events(stage: Stage, *kinds: type) -> list[Any]:
    """Return the tracker's events of these kinds, all sessions."""
    return [event for event in (await stage.tracker()).events if isinstance(event, kinds)]


async def of_phone(stage: Stage) -> list[Any]:
    """Return what came from the phone."""
    return [event for event in await events(stage, BotUttered) if facts(event).get("source") == "phone"]


def facts(event: Any) -> Any:
    """Return ``metadata.whatsapp``."""
    return event.metadata.get("whatsapp") or {}


async def takeover(stage: Stage) -> Any:
    """Return the row of the conversation."""
    [row] = await stage.rows(schema.conversations)
    return row


async def left(stage: Stage) -> list[str]:
    """Return which messages were answered, by their wamids."""
    return [text.split()[0] for _wamid, text in stage.meta.left]


@pytest.mark.parametrize("kind", TYPES)
async def test_every_type_is_a_bot_event_that_says_what_it_is(stage: Stage, kind: str) -> None:
    """A bot that reads "[image]" knows that the person sent one, and finds it in the metadata."""
    wamid = await stage.phone_sends(*sample(kind))
    await stage.settle()
    await stage.post(stage.posted[-1])
    await stage.settle()
    [event] = await of_phone(stage)
    assert (facts(event)["wamid"], facts(event)["type"]) == (wamid, kind)
    assert event.text
    assert (await takeover(stage)).takeover == "timed"


async def test_an_edit_on_the_phone_changes_the_message_and_is_noted_once(stage: Stage) -> None:
    """What was wrong before is right now; who reads the tracker sees both."""
    target = await stage.phone_sends(content={"body": "Cuesta 90"})
    await stage.settle()
    await let_the_timer_end(stage)
    change = {"original_message_id": target, "message": {"type": "text", "text": {"body": "Cuesta 99"}}}
    edit = await stage.phone_sends("edit", change)
    for _ in range(2):
        await stage.settle()
        await stage.post(stage.posted[-1])
    [row] = await stage.rows(schema.messages, wamid=target)
    assert (row.text, row.edited_text) == ("Cuesta 99", "Cuesta 90")
    before, noted = await of_phone(stage)
    assert before.text == "Cuesta 90"
    assert (facts(noted)["type"], facts(noted)["wamid"], facts(noted)["target"]) == ("edit", edit, target)
    assert "Cuesta 99" in noted.text
    assert (await takeover(stage)).takeover == "bot"


async def test_a_revoke_on_the_phone_is_noted_once(stage: Stage) -> None:
    """The customer does not see it any more: the bot must not go by it."""
    target = await stage.phone_sends(content={"body": "Cuesta 90"})
    await stage.settle()
    await let_the_timer_end(stage)
    revoke = await stage.phone_sends("revoke", {"original_message_id": target})
    for _ in range(2):
        await stage.settle()
        await stage.post(stage.posted[-1])
    [row] = await stage.rows(schema.messages, wamid=target)
    assert row.revoked
    _before, noted = await of_phone(stage)
    assert (facts(noted)["type"], facts(noted)["wamid"], facts(noted)["target"]) == ("revoke", revoke, target)
    assert (await takeover(stage)).takeover == "bot"


async def test_an_edit_of_the_bot_s_own_message_is_noted(stage: Stage) -> None:
    """The owner corrects the bot on the phone."""
    [(ours, _text)] = stage.meta.left
    change = {"original_message_id": ours, "message": {"type": "text", "text": {"body": "Abrimos a las 10"}}}
    await stage.phone_sends("edit", change)
    await stage.settle()
    [row] = await stage.rows(schema.messages, wamid=ours)
    assert (row.source, row.text) == ("bot", "Abrimos a las 10")
    [noted] = await of_phone(stage)
    assert facts(noted)["target"] == ours
    assert (await takeover(stage)).takeover == "bot"


async def test_a_reaction_on_the_phone_is_noted_and_takes_nothing(stage: Stage) -> None:
    """A thumb up is no answer."""
    question = (await stage.rows(schema.messages, source="live"))[0].wamid
    await stage.phone_sends("reaction", {"message_id": question, "emoji": "👍"})
    await stage.settle()
    [noted] = await of_phone(stage)
    assert (facts(noted)["emoji"], facts(noted)["target"]) == ("👍", question)
    assert (await takeover(stage)).takeover == "bot"


async def test_an_echo_can_be_the_first_sign_of_a_conversation(tmp_path: Path) -> None:
    """The shop begins, or Meta shows the customer's message only on the phone."""
    stage = Stage(tmp_path)
    await stage.phone_sends()
    await stage.settle()
    stage.clock.now += 10
    question = await stage.customer_writes()
    await stage.settle()
    assert stage.meta.left == []
    assert [who for who, _wamid in await stage.chat()] == ["phone", "customer"]
    await let_the_timer_end(stage)
    assert await left(stage) == [question]
    await stage.close()


@pytest.mark.parametrize("word", [HOLD, f"\n{RESUME.upper()} "])
async def test_keywords_are_kept_and_never_shown_to_the_bot(stage: Stage, word: str) -> None:
    """They are said to us, not to the customer; whoever reads the ledger sees that they were typed."""
    await stage.phone_sends(content={"body": word})
    await stage.settle()
    assert await of_phone(stage) == []
    [row] = await stage.rows(schema.messages, source="phone")
    assert (row.text, row.state) == (word, "kept")


async def test_a_pause_outlasts_rasa_s_session(stage: Stage) -> None:
    """Rasa lifts a pause silently with a new session: the ledger does not, and says so again."""
    await stage.hold(None)
    await stage.settle()
    stage.clock.now += 3 * 3600
    await stage.customer_writes()
    await stage.settle()
    assert len(stage.meta.left) == 1
    assert len(await events(stage, ConversationPaused)) == 2
    assert (await stage.tracker()).is_paused()


async def test_a_hold_outlives_the_timer_of_what_is_typed(stage: Stage) -> None:
    """Only who set it, or the resume keyword, ends it."""
    await stage.hold(None)
    await stage.phone_sends()
    await stage.customer_writes()
    await let_the_timer_end(stage)
    assert len(stage.meta.left) == 1
    assert ((await takeover(stage)).takeover, (await takeover(stage)).takeover_until) == ("hold", None)


async def test_a_late_echo_does_not_answer_a_newer_question(stage: Stage) -> None:
    """The person wrote before the customer asked again; only the webhook came after it."""
    await stage.phone_sends()
    stage.clock.now += 30
    question = await stage.customer_writes()
    await stage.phone_sends(age=20.0)
    await let_the_timer_end(stage)
    assert (await left(stage))[1:] == [question]


async def test_what_the_person_answered_the_bot_does_not_answer_again(stage: Stage) -> None:
    """The customer did not speak last."""
    await stage.phone_sends()
    await stage.customer_writes()
    stage.clock.now += 5
    await stage.phone_sends()
    await let_the_timer_end(stage)
    assert len(stage.meta.left) == 1


async def test_on_request_nothing_is_answered_on_resume(tmp_path: Path) -> None:
    """``answer_on_resume: false``: the bot waits for the next message."""
    stage = Stage(tmp_path, answer_on_resume=False)
    await meet(stage)
    await stage.phone_sends()
    await stage.customer_writes()
    await let_the_timer_end(stage)
    assert len(stage.meta.left) == 1
    question = await stage.customer_writes()
    await stage.settle()
    assert (await left(stage))[1:] == [question]
    await stage.close()


async def test_nothing_is_answered_on_resume_when_the_window_is_closed(stage: Stage) -> None:
    """A day later WhatsApp takes only templates."""
    await stage.hold(None)
    await stage.customer_writes()
    await stage.settle()
    stage.clock.now += 25 * 3600
    await stage.hand_back()
    await stage.settle()
    assert len(stage.meta.left) == 1
    assert {row.state for row in await stage.rows(schema.outbox)} == {"accepted"}


async def test_a_tracker_that_says_paused_is_put_right_before_the_turn(stage: Stage) -> None:
    """A crash came between the tracker and the ledger: the ledger decides, and the bot answers."""
    await stage.phone_sends()
    await stage.settle()
    await stage.hand_back()
    await stage.database.write(chats.mirrored, 1, paused=False)  # as if it had never heard of the pause
    question = await stage.customer_writes()
    await stage.settle()
    assert (await left(stage))[1:] == [question]
    told = await events(stage, ConversationPaused, ConversationResumed, UserUttered)
    assert [type(event) for event in told] == [
        UserUttered,
        ConversationPaused,
        ConversationResumed,
        UserUttered,
    ]


async def test_a_hand_off_asks_for_a_person_and_ends_when_nobody_comes(stage: Stage) -> None:
    """``notify_url`` hears of it once; ``handoff_timeout_minutes`` later the bot goes on with what waits."""
    stage.bot.hands_off = True
    asked = await stage.customer_writes()
    await stage.settle()
    stage.bot.hands_off = False
    assert (await left(stage))[1:] == [asked], "its last words leave"
    row = await takeover(stage)
    assert (row.takeover, row.wants_person) == ("hold", True)
    assert row.takeover_until == pytest.approx(stage.clock.now + 600, abs=1)
    assert [notice.event for notice in await stage.rows(schema_jobs.notices)] == ["handoff"]
    question = await stage.customer_writes()
    stage.clock.now += 599
    await stage.settle()
    assert (await left(stage))[2:] == []
    stage.clock.now += 2
    await stage.settle()
    assert (await left(stage))[2:] == [question]
    row = await takeover(stage)
    assert (row.takeover, row.wants_person) == ("bot", False)
    assert len(await stage.rows(schema_jobs.notices)) == 1


async def test_the_first_message_of_a_person_makes_a_hand_off_a_timed_pause(stage: Stage) -> None:
    """Whom the bot called has come: from now on the timer counts."""
    stage.bot.hands_off = True
    await stage.customer_writes()
    await stage.settle()
    stage.bot.hands_off = False
    stage.clock.now += 60
    await stage.phone_sends()
    row = await takeover(stage)
    assert (row.takeover, row.wants_person) == ("timed", False)
    assert row.takeover_until == pytest.approx(stage.clock.now + TIMER, abs=1)


async def let_the_timer_end(stage: Stage) -> None:
    """Work, let more time pass than a person has, and work again."""
    await stage.settle()
    stage.clock.now += TIMER + 1
    await stage.settle()
