"""What happens to a message in a conversation: choices, quotes, edits, ids, and what is hidden or ignored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agents import Counter, agent_on, open_counter
from rasa.core.agent import Agent

from rasa_coexistence.identity import inner_id, make_wamid
from rasa_coexistence.ledger import schema
from rasa_coexistence.simulator import webhooks
from rasa_coexistence.simulator.phones import CustomerPhone, deliver
from rasa_coexistence.simulator.state import Person

ANA, BEN = "5217715268513", "5215550000001"
LONG = ", ".join(["extra large"] * 17)
SILENCE_SECONDS = 0.8  # longer than reading and a turn take


@pytest.fixture
def agent(answering: Agent, tmp_path: Path) -> Agent:
    return agent_on(answering, f"sqlite:///{tmp_path}/rasa.db")


@pytest.fixture
async def counter(agent: Agent, tmp_path: Path) -> AsyncIterator[Counter]:
    async with open_counter(agent, f"sqlite:///{tmp_path}/ledger.db", **FAST) as counter:
        counter.meta.sending.rates.messages_per_second = 1000
        yield counter


FAST = {"replies": {"messages_per_second": 1000}}


async def said_back(counter: Counter, to: str, count: int) -> list[str]:
    """Wait for so many answers and for the bot's books to be closed."""
    await counter.answered(count, to=to)

    async def is_done() -> bool:
        return not await counter.rows(schema.messages, state="waiting")

    await counter.until(is_done)
    return [sent.text for sent in counter.meta.sent_to(to)]


async def users(counter: Counter, sender_id: str = ANA) -> list[Any]:
    return await counter.events(sender_id, "user")


def buttons_of(counter: Counter, position: int) -> list[tuple[str, str]]:
    """Return the buttons or rows of a message that a customer got, as (id, title)."""
    action = counter.meta.sent_to(ANA)[position].body["interactive"]["action"]
    replies = [button["reply"] for button in action.get("buttons", ())]
    rows = [row for section in action.get("sections", ()) for row in section["rows"]]
    return [(choice["id"], choice["title"]) for choice in (*replies, *rows)]


@pytest.mark.parametrize(
    ("ask", "items"),
    [("colour", ["red", "blue", "long"]), ("size", ["small", "medium", "large", LONG])],
)
async def test_every_button_brings_back_the_domains_payload(
    counter: Counter, ask: str, items: list[str]
) -> None:
    """Also the one whose title was shortened, and the one whose payload is too long for an id."""
    ana = counter.meta.customer(ANA)
    await ana.writes(ask)
    await said_back(counter, ANA, 1)
    for position, ((id_, title), item) in enumerate(zip(buttons_of(counter, 0), items, strict=True), 2):
        press = ana.presses if ask == "colour" else ana.chooses
        await press(id_, title, of=counter.meta.sent_to(ANA)[0].wamid)
        answers = await said_back(counter, ANA, position)
        assert answers[-1] == f"You chose {item}."
        event = (await users(counter))[-1]
        assert event["text"] == f'/choose{{"item": "{item}"}}'
        assert event["parse_data"]["intent"]["name"] == "choose"
        facts = event["metadata"]["whatsapp"]
        assert facts["label"] == title
        assert facts["context"]["role"] == "bot"


async def ask_for_the_list(counter: Counter, ana: CustomerPhone, answers_before: int) -> str:
    """Have the bot show its numbered list; return what it says."""
    await ana.writes("product")
    return (await said_back(counter, ANA, answers_before + 2))[-2]


async def test_number_of_a_list_means_what_stands_beside_it(counter: Counter) -> None:
    """More than ten choices are a numbered text; the number is the button, however it is typed."""
    ana = counter.meta.customer(ANA)
    typed = {"1": "cap", " 4. ": "shirt", "#4": "shirt", "4)": "shirt", "4️⃣": "shirt", "12": "ring"}
    for round_, (text, item) in enumerate(typed.items()):
        assert "4. Shirt" in await ask_for_the_list(counter, ana, 3 * round_)
        await ana.writes(text)
        assert (await said_back(counter, ANA, 3 * round_ + 3))[-1] == f"You chose {item}."
        event = (await users(counter))[-1]
        assert event["text"] == f'/choose{{"item": "{item}"}}'
        assert event["metadata"]["whatsapp"]["label"] == text


async def test_what_is_no_number_of_the_list_is_text(counter: Counter) -> None:
    """NLU reads it as it was typed."""
    ana = counter.meta.customer(ANA)
    for round_, text in enumerate(["13", "0", "4 please", "4 4", "44444", "-4", "4.5", "/4"]):
        await ask_for_the_list(counter, ana, 3 * round_)
        await ana.writes(text)
        assert (await said_back(counter, ANA, 3 * round_ + 3))[-1] == "I heard you."
        assert (await users(counter))[-1]["text"] == text


async def test_number_without_a_list_is_a_number(counter: Counter) -> None:
    """Nothing was offered."""
    await counter.meta.customer(ANA).writes("4")
    assert await said_back(counter, ANA, 1) == ["I heard you."]
    assert [event["text"] for event in await users(counter)] == ["4"]


async def test_number_answers_the_list_only_while_it_is_the_last_thing_said(counter: Counter) -> None:
    """After the bot has asked something else, "4" may be the answer to that."""
    ana = counter.meta.customer(ANA)
    await ana.writes("product")
    await said_back(counter, ANA, 2)
    await ana.writes("something else")
    await said_back(counter, ANA, 3)
    await ana.writes("4")
    assert (await said_back(counter, ANA, 4))[-1] == "I heard you."
    assert (await users(counter))[-1]["text"] == "4"


async def test_number_that_was_typed_before_the_list_is_a_number(counter: Counter) -> None:
    """Both came in one webhook; the customer cannot have seen the list."""
    ana = counter.meta.customer(ANA)
    items = [ana.compose("text", {"body": text}) for text in ("product", "4")]
    await deliver(counter.meta, *items)
    assert (await said_back(counter, ANA, 3))[-1] == "I heard you."


async def test_number_after_a_persons_message_is_a_number(agent: Agent, tmp_path: Path) -> None:
    """The person may have asked "how many?"."""
    ledger = f"sqlite:///{tmp_path}/ledger.db"
    async with open_counter(agent, ledger, takeover={"enabled": False}) as counter:
        ana = counter.meta.customer(ANA)
        await ana.writes("product")
        await said_back(counter, ANA, 2)
        await counter.meta.owner().writes(ana, "How many would you like?")
        await ana.writes("4")
        assert (await said_back(counter, ANA, 3))[-1] == "I heard you."


async def test_button_that_was_never_sent_is_typed_text(counter: Counter) -> None:
    """Meta would not deliver it, but a stranger's payload must not move the bot."""
    ana = counter.meta.customer(ANA)
    await ana.presses('/choose{"item": "everything"}', "All")
    assert await said_back(counter, ANA, 1) == ["I heard you."]
    event = (await users(counter))[-1]
    assert event["text"] == '/choose{"item": "everything"}'
    assert event["parse_data"]["intent"]["name"] == "nlu_fallback"


async def test_button_of_another_customer_is_typed_text(counter: Counter) -> None:
    """What was offered to one was not offered to all."""
    await counter.meta.customer(ANA).writes("colour")
    await said_back(counter, ANA, 1)
    id_, title = buttons_of(counter, 0)[0]
    await counter.meta.customer(BEN).presses(id_, title)
    assert await said_back(counter, BEN, 1) == ["I heard you."]


async def test_old_button_still_works(counter: Counter) -> None:
    """It stays in the chat, and people scroll up."""
    ana = counter.meta.customer(ANA)
    await ana.writes("colour")
    await said_back(counter, ANA, 1)
    id_, title = buttons_of(counter, 0)[1]
    await ana.writes("size")
    await said_back(counter, ANA, 2)
    await ana.presses(id_, title)
    assert (await said_back(counter, ANA, 3))[-1] == "You chose blue."


async def quote(counter: Counter, phone: CustomerPhone, wamid: str, answers: int) -> dict[str, Any]:
    """Quote a message; return what Rasa is told of it."""
    context = {"from": counter.meta.number.display_phone_number, "id": wamid}
    await phone.sends("text", {"body": "this one"}, context=context)
    await said_back(counter, ANA, answers)
    found: dict[str, Any] = (await users(counter))[-1]["metadata"]["whatsapp"]["context"]
    return found


async def test_quote_of_the_bots_own_message_carries_its_text(counter: Counter) -> None:
    """The bot need not remember which message had which id."""
    ana = counter.meta.customer(ANA)
    await ana.writes("hello")
    await said_back(counter, ANA, 1)
    wamid = counter.meta.sent_to(ANA)[0].wamid
    told = await quote(counter, ana, wamid, 2)
    assert (told["id"], told["text"], told["role"]) == (wamid, "I heard you.", "bot")


async def test_quote_by_the_other_wamid_carries_the_text_too(counter: Counter) -> None:
    """The same message can have one wamid by the phone and one by the user id."""
    ana = counter.meta.customer(ANA)
    await ana.writes("hello")
    await said_back(counter, ANA, 1)
    inner = inner_id(counter.meta.sent_to(ANA)[0].wamid)
    assert inner is not None
    other = make_wamid(ana.person.user_id or "", inner, from_business=True)
    told = await quote(counter, ana, other, 2)
    assert (told["text"], told["role"]) == ("I heard you.", "bot")


async def test_quote_of_the_customers_own_message_carries_its_text(counter: Counter) -> None:
    """Media are quoted by what stands for them."""
    ana = counter.meta.customer(ANA)
    wamid = await ana.sends("location")
    await said_back(counter, ANA, 1)
    told = await quote(counter, ana, wamid, 2)
    assert (told["text"], told["role"]) == ("[location]", "customer")


async def test_quote_of_what_is_not_known_says_only_its_id(counter: Counter) -> None:
    """A quoted id can be a wamid that was never seen here."""
    told = await quote(counter, counter.meta.customer(ANA), "wamid.never", 1)
    assert told == {"from": counter.meta.number.display_phone_number, "id": "wamid.never"}


async def test_quote_of_what_was_taken_back_does_not_repeat_it(counter: Counter) -> None:
    """Taken back means taken back."""
    ana = counter.meta.customer(ANA)
    wamid = await ana.writes("my secret")
    await said_back(counter, ANA, 1)
    await ana.revokes(wamid)
    assert "text" not in await quote(counter, ana, wamid, 2)


@pytest.mark.parametrize("emoji", ["👍", None])
async def test_reaction_to_the_bot_is_kept_and_not_answered(counter: Counter, emoji: str | None) -> None:
    """It is visible in the ledger, with what it is about."""
    ana = counter.meta.customer(ANA)
    await ana.writes("hello")
    await said_back(counter, ANA, 1)
    bubble = counter.meta.sent_to(ANA)[0].wamid
    await ana.reacts(emoji, to=bubble)
    await asyncio.sleep(SILENCE_SECONDS)
    assert len(counter.meta.sent_to(ANA)) == 1
    [kept] = await counter.rows(schema.messages, type="reaction")
    assert kept.state == "kept"
    assert bubble in kept.content
    assert emoji is None or emoji in kept.content


async def test_edit_of_what_still_waits_changes_what_the_bot_hears(counter: Counter) -> None:
    """Message and edit come in one webhook: the bot answers what the customer meant, once."""
    ana = counter.meta.customer(ANA)
    first = ana.compose("text", {"body": "colour"})
    change = {"original_message_id": first[1]["id"], "message": {"type": "text", "text": {"body": "size"}}}
    await deliver(counter.meta, first, ana.compose("edit", change))
    await said_back(counter, ANA, 1)
    await asyncio.sleep(SILENCE_SECONDS)
    [event] = await users(counter)
    assert event["text"] == "size"
    assert event["metadata"]["whatsapp"]["edited_from"] == "colour"
    assert len(counter.meta.sent_to(ANA)) == 1


async def test_edit_keeps_what_the_message_quoted(counter: Counter) -> None:
    """The edit names only the new words."""
    ana = counter.meta.customer(ANA)
    await ana.writes("hello")
    await said_back(counter, ANA, 1)
    quoted = counter.meta.sent_to(ANA)[0].wamid
    first = ana.compose("text", {"body": "thsi"}, context={"id": quoted})
    change = {"original_message_id": first[1]["id"], "message": {"type": "text", "text": {"body": "this"}}}
    await deliver(counter.meta, first, ana.compose("edit", change))
    await said_back(counter, ANA, 2)
    event = (await users(counter))[-1]
    assert event["text"] == "this"
    assert event["metadata"]["whatsapp"]["context"]["text"] == "I heard you."


async def test_edit_and_revoke_of_what_was_answered_are_not_answered(counter: Counter) -> None:
    """The answer is out; the ledger has the new text and the old one."""
    ana = counter.meta.customer(ANA)
    wamid = await ana.writes("colour")
    await said_back(counter, ANA, 1)
    await ana.edits(wamid, "size")
    await ana.revokes(wamid)
    await asyncio.sleep(SILENCE_SECONDS)
    assert len(counter.meta.sent_to(ANA)) == 1
    [message] = await counter.rows(schema.messages, wamid=wamid)
    assert (message.text, message.edited_text, bool(message.revoked)) == ("size", "colour", True)


async def test_what_was_taken_back_before_its_turn_is_not_answered(counter: Counter) -> None:
    """Nobody answers what was deleted for everyone."""
    ana = counter.meta.customer(ANA)
    first = ana.compose("text", {"body": "colour"})
    await deliver(counter.meta, first, ana.compose("revoke", {"original_message_id": first[1]["id"]}))
    await asyncio.sleep(SILENCE_SECONDS)
    assert await users(counter) == []
    assert counter.meta.sent_to(ANA) == []


async def test_hidden_message_starts_a_conversation_that_wants_a_person(counter: Counter) -> None:
    """131060: the content is only on the phone, and the bot must not guess."""
    await counter.meta.customer(ANA).sends_something_hidden()
    await asyncio.sleep(SILENCE_SECONDS)
    [chat] = await counter.rows(schema.conversations)
    assert chat.wants_person
    assert counter.meta.sent_to(ANA) == []
    assert await counter.events(ANA) == []
    status, page = await counter.site.call("GET", "/metrics", headers=BEARER)
    assert status == 200
    assert 'coexistence_conversations_wanting_a_person{takeover="bot"} 1.0' in page
    assert 'coexistence_notices{event="hidden_message"} 1.0' in page
    status, page = await counter.site.call("GET", "/api/conversations?wants_person=true", headers=BEARER)
    [shown] = page["conversations"]
    assert (shown["wants_person"], shown["contact"]["wa_id"]) == (True, ANA)


BEARER = {"Authorization": "Bearer tests-admin-token"}


async def test_hidden_message_that_comes_again_with_content_is_answered(counter: Counter) -> None:
    """The row is filled, the bot answers, and nobody has to come."""
    ana = counter.meta.customer(ANA)
    wamid = await ana.sends_something_hidden()
    await ana.sends("text", {"body": "colour"}, wamid=wamid)
    await said_back(counter, ANA, 1)
    [event] = await users(counter)
    assert (event["text"], event["message_id"]) == ("colour", wamid)
    [message] = await counter.rows(schema.messages, wamid=wamid)
    assert (message.type, message.state) == ("text", "answered")
    assert '"colour"' in message.raw
    [chat] = await counter.rows(schema.conversations)
    assert not chat.wants_person


async def test_ignored_number_is_recorded_and_never_answered(agent: Agent, tmp_path: Path) -> None:
    """Family and suppliers: however the number is spelt, and also when they hide it later."""
    ledger = f"sqlite:///{tmp_path}/ledger.db"
    async with open_counter(agent, ledger, ignore=["+52 771 526 8513"]) as counter:
        ana = counter.meta.customer(ANA)
        await ana.writes("colour")
        hidden = Person(user_id=ana.person.user_id, wa_id=ANA, hides_phone=True)
        await counter.meta.customer_like(hidden).writes("size")
        await counter.meta.owner().writes(ana, "See you at home")
        await counter.meta.customer(BEN).writes("colour")
        await said_back(counter, BEN, 1)
        await asyncio.sleep(SILENCE_SECONDS)
        assert counter.meta.sent_to(ANA) == []
        assert await counter.events(ANA) == []
        texts = [(row.text, row.state) for row in await counter.rows(schema.messages) if row.source != "bot"]
        kept = [(text, "kept") for text in ("colour", "size", "See you at home")]
        assert texts == [*kept, ("colour", "answered")]


async def test_customer_known_by_phone_writes_by_user_id_alone(counter: Counter) -> None:
    """One person, one conversation, one tracker."""
    ana = counter.meta.customer(ANA)
    await ana.writes("colour")
    await said_back(counter, ANA, 1)
    hidden = Person(user_id=ana.person.user_id, wa_id=ANA, hides_phone=True, username="ana")
    await counter.meta.customer_like(hidden).writes("size")
    await said_back(counter, ANA, 2)
    assert [event["text"] for event in await users(counter)] == ["colour", "size"]
    facts = (await users(counter))[-1]["metadata"]["whatsapp"]
    assert facts["contact"]["username"] == "ana"
    assert len(await counter.rows(schema.conversations)) == 1


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("5217715268513", "527715268513"),  # Mexico's 1
        ("5511987654321", "551187654321"),  # Brazil's ninth digit
        ("5491155556666", "541155556666"),  # Argentina's 9
    ],
)
async def test_spelling_of_a_phone_makes_no_second_conversation(
    counter: Counter, first: str, again: str
) -> None:
    """Chats that the phone began doubled contacts in three countries elsewhere."""
    for count, spelling in enumerate((first, again), 1):
        await counter.meta.customer_like(Person(wa_id=spelling)).writes("colour")
        await counter.answered(count)
    assert [event["text"] for event in await users(counter, first)] == ["colour", "colour"]
    assert len(await counter.rows(schema.conversations)) == 1


@pytest.mark.parametrize("how", ["system", "user_id_update"])
async def test_changed_id_keeps_the_conversation(counter: Counter, how: str) -> None:
    """A new phone or user id, and still the customer that the bot knows."""
    ana = counter.meta.customer(ANA)
    await ana.writes("colour")
    await said_back(counter, ANA, 1)
    number, at = counter.meta.number, counter.meta.clock.now()
    counter.meta.accounts.app_fields.add("user_id_update")
    now = Person(wa_id=BEN if how == "system" else ANA, user_id="MX.999", name="Ana")
    if how == "system":
        await counter.meta.post(webhooks.number_changed(number, ana.person, now, "wamid.sys", at))
    else:
        await counter.meta.post(webhooks.user_id_update(number, ana.person, now, at))
    only_new = Person(user_id="MX.999") if how == "user_id_update" else Person(wa_id=BEN, user_id="MX.999")
    await counter.meta.customer_like(only_new).writes("size")

    async def is_heard() -> bool:
        return len(await users(counter)) == 2

    await counter.until(is_heard)
    assert [event["text"] for event in await users(counter)] == ["colour", "size"]
    assert len(await counter.rows(schema.conversations)) == 1
    assert len(await counter.rows(schema.messages, type="system")) == 0
