"""Person and bot on one number: a real ``rasa run``, its actions, a timer of seconds, a power cut."""

from __future__ import annotations

import asyncio
from pathlib import Path

from actions import Thought
from takeover_story import Shop, marks, open_shop, trigger

from rasa_coexistence.ledger import schema

TIMER_SECONDS = 6.0
THINKING_SECONDS = 2.0
SILENCE_SECONDS = 2.0
HEARD = "I heard you."


async def test_the_bot_steps_back_and_comes_back(tmp_path: Path, answers_model: Path) -> None:
    """Each customer has a story of their own; they happen side by side, and then the power goes."""
    tracker_store = {"type": "SQL", "dialect": "sqlite", "db": str(tmp_path / "rasa.db")}
    takeover = {"resume_after_minutes": TIMER_SECONDS / 60, "resume_keyword": "#bot"}
    async with open_shop(
        tmp_path,
        answers_model,
        servers=1,
        endpoints={"tracker_store": tracker_store},
        database_url=f"sqlite:///{tmp_path}/ledger.db",
        takeover=takeover,
        replies={"release_after_seconds": 0},
    ) as shop:
        await asyncio.gather(
            answered_by_the_person_while_the_bot_thinks(shop, "5215550000001"),
            answered_by_the_person_after_the_first_bubble(shop, "5215550000002"),
            answered_by_the_bot_when_the_person_is_gone(shop, "5215550000003"),
            handed_back_by_keyword(shop, "5215550000004"),
            handed_off_by_the_bot(shop, "5215550000005"),
        )
        power_may_go = asyncio.Event()
        await asyncio.gather(
            held_for_longer_than_the_timer(shop, "5215550000006", power_may_go),
            answered_though_the_server_was_down_when_the_timer_ended(shop, "5215550000007", power_may_go),
        )
        assert shop.sent("5215550000001") == [HEARD]
        assert shop.sent("5215550000002") == [HEARD, "One."]


async def answered_by_the_person_while_the_bot_thinks(shop: Shop, wa_id: str) -> None:
    """Nothing of an answer goes out that was not ready when the person typed; not after the timer either."""
    shop.actions.thoughts[wa_id] = [Thought(THINKING_SECONDS, ("Thought about it.",))]
    customer = await shop.meet(wa_id)
    await customer.writes("think")
    await shop.until(lambda: wa_id in shop.actions.asked)
    await asyncio.sleep(THINKING_SECONDS / 2)
    echo = await shop.person_types(customer)
    await shop.until(lambda: shop.bubbles(wa_id, "held_back"))

    async def is_in_the_tracker() -> bool:
        said = [marks(event).get("wamid") for event in await shop.servers[0].events(wa_id, "bot")]
        return echo in said

    await shop.until(is_in_the_tracker)
    [_, answer, phone] = await shop.servers[0].events(wa_id, "bot")
    assert (answer["text"], marks(answer)["held_back"]) == ("Thought about it.", "takeover: phone")
    assert marks(phone)["source"] == "phone"
    [kept] = await shop.rows(schema.outbox, wa_id, state="held_back")
    assert kept.reason == "takeover: phone"


async def answered_by_the_person_after_the_first_bubble(shop: Shop, wa_id: str) -> None:
    """The rest of an answer under way stays here, and tracker and ledger say so."""
    shop.actions.thoughts[wa_id] = [
        Thought(0.0, ("One.",), goes_on=True),
        Thought(THINKING_SECONDS, ("Two.", "Three.")),
    ]
    customer = await shop.meet(wa_id)
    await customer.writes("think")
    await shop.answered(wa_id, HEARD, "One.")
    await asyncio.sleep(THINKING_SECONDS / 2)
    await shop.person_types(customer)

    async def are_held_back() -> bool:
        return await shop.bubbles(wa_id, "held_back") == ["Two.", "Three."]

    await shop.until(are_held_back)

    async def are_marked() -> bool:
        said = await shop.servers[0].events(wa_id, "bot")
        held_back = [event["text"] for event in said if marks(event).get("held_back") == "takeover: phone"]
        return held_back == ["Two.", "Three."]

    await shop.until(are_marked)
    assert shop.sent(wa_id) == [HEARD, "One."]


async def answered_by_the_bot_when_the_person_is_gone(shop: Shop, wa_id: str) -> None:
    """Who writes while the person is there and then is not, is answered, once, and Rasa knows why."""
    customer = await shop.meet(wa_id)
    await shop.person_types(customer)
    question = await customer.writes("is anybody there?")
    await shop.is_logged(customer, question)
    assert shop.sent(wa_id) == [HEARD]
    await shop.answered(wa_id, HEARD, HEARD)
    events = await shop.servers[0].events(wa_id, "user", "bot", "pause", "resume")
    assert [event["event"] for event in events] == ["user", "bot", "bot", "pause", "user", "resume", "bot"]
    [resume] = await shop.servers[0].events(wa_id, "resume")
    assert (marks(resume)["reason"], marks(resume)["wamid"]) == ("timer", question)


async def handed_back_by_keyword(shop: Shop, wa_id: str) -> None:
    """The keyword is not shown to the bot, and an echo from before it, delivered again, takes nothing."""
    customer = await shop.meet(wa_id)
    echo = await shop.person_types(customer)
    await shop.owner.writes(customer, " #BOT ")

    async def is_the_bots() -> bool:
        return bool((await shop.chat(wa_id)).takeover == "bot")

    await shop.until(is_the_bots)
    await shop.posted_again(echo)
    await customer.writes("is anybody there?")
    await shop.answered(wa_id, HEARD, HEARD)
    assert "#BOT" not in str(await shop.servers[0].events(wa_id))


async def handed_off_by_the_bot(shop: Shop, wa_id: str) -> None:
    """A custom action that pauses the bot calls a person, who has the chat from their first message on."""
    shop.actions.thoughts[wa_id] = [Thought(texts=("Somebody will answer.",), hands_off=True)]
    customer = await shop.meet(wa_id)
    await customer.writes("think")
    await shop.answered(wa_id, HEARD, "Somebody will answer.")
    await shop.until(lambda: [told for told in shop.notices if told["conversation"] == wa_id])
    [told] = [told for told in shop.notices if told["conversation"] == wa_id]
    assert (told["event"], told["contact"]["wa_id"]) == ("handoff", wa_id)
    chat = await shop.chat(wa_id)
    assert (chat.takeover, chat.takeover_until, chat.wants_person) == ("hold", None, True)
    await customer.writes("hello?")
    await trigger(shop.servers[0], wa_id)
    await asyncio.sleep(TIMER_SECONDS + SILENCE_SECONDS)  # nobody has come: it does not end by itself
    assert shop.sent(wa_id) == [HEARD, "Somebody will answer."]
    await shop.person_types(customer)
    chat = await shop.chat(wa_id)
    assert (chat.takeover, chat.wants_person) == ("timed", False)
    await customer.writes("is anybody there?")
    await shop.answered(wa_id, HEARD, "Somebody will answer.", HEARD)


async def held_for_longer_than_the_timer(shop: Shop, wa_id: str, power_may_go: asyncio.Event) -> None:
    """A hold ends when somebody ends it, not with the timer of a message and not with a restart."""
    customer = await shop.meet(wa_id)
    path = f"/webhooks/whatsapp/api/conversations/{wa_id}/takeover"
    await shop.servers[0].call("POST", path)
    await shop.owner.writes(customer, "Un momento")
    question = await customer.writes("is anybody there?")
    await shop.is_logged(customer, question)
    await trigger(shop.servers[0], wa_id)
    power_may_go.set()
    await shop.until(lambda: shop.power_cuts)
    await asyncio.sleep(TIMER_SECONDS + SILENCE_SECONDS)
    assert shop.sent(wa_id) == [HEARD]
    await shop.servers[0].call("DELETE", path)
    await shop.answered(wa_id, HEARD, HEARD)


async def answered_though_the_server_was_down_when_the_timer_ended(
    shop: Shop, wa_id: str, power_may_go: asyncio.Event
) -> None:
    """The end is a time in the ledger: it comes also while nobody looks."""
    customer = await shop.meet(wa_id)
    await power_may_go.wait()
    echo = await shop.person_types(customer)
    question = await customer.writes("is anybody there?")
    await shop.is_logged(customer, question)
    await shop.servers[0].kill()
    until = (await shop.chat(wa_id)).takeover_until
    await asyncio.sleep(max(until - shop.meta.clock.now(), 0.0))
    await shop.servers[0].start()
    shop.power_cuts += 1
    await shop.posted_again(echo)
    await shop.posted_again(question)
    await shop.answered(wa_id, HEARD, HEARD)
    await asyncio.sleep(SILENCE_SECONDS)
    assert shop.sent(wa_id) == [HEARD, HEARD]
    said = [kind for kind, _text in await shop.servers[0].said(wa_id)]
    assert said == ["user", "bot", "bot", "user", "bot"]
