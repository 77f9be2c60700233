"""Conversations and takeovers as the console and scripts see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels import ADMIN_TOKEN, PHONE_NUMBER_ID, Site, credentials, running_channel
from ledgers import ANA, BEN, NUMBER, as_bytes

from rasa_coexistence.ledger import bubbles, schema
from rasa_coexistence.ledger.bubbles import Draft
from rasa_coexistence.records import BubbleState
from rasa_coexistence.simulator import webhooks
from rasa_coexistence.simulator.state import Person

BEARER = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
ANA_ID = str(ANA.wa_id)


@pytest.fixture
async def site(ledger_url: str) -> AsyncIterator[Site]:
    """Run the channel on each kind of ledger, without a bot."""
    async with running_channel(credentials(ledger_url)) as running:
        yield running


async def call(site: Site, method: str, path: str, **others: Any) -> tuple[int, Any]:
    return await site.call(method, f"/api{path}", headers=BEARER, **others)


async def tell(
    site: Site, person: Person, text: str, at: float, *, wamid: str, by_phone: bool = False
) -> None:
    """Post a message and wait until it is filed."""
    described = webhooks.message(wamid, at, "text", {"body": text})
    told = (
        webhooks.echo(NUMBER, person, described)
        if by_phone
        else webhooks.inbound(NUMBER, [(person, described)])
    )
    status, _answer = await site.post("/webhook", as_bytes(told))
    assert status == 200
    statement = schema.messages.select().filter_by(wamid=wamid)
    for _ in range(1000):
        if await site.service.database.read(lambda connection: connection.execute(statement).first()):
            return
        await asyncio.sleep(0.01)
    raise TimeoutError("the message was never filed")


async def test_conversations_come_newest_first_in_pages(site: Site) -> None:
    """An owner looks for who wrote just now; paging must neither skip nor repeat anybody."""
    now = site.service.clock()
    people = [Person(wa_id=f"52155500002{n:02}", name=f"P{n}") for n in range(7)]
    for number, person in enumerate(people):
        await tell(site, person, "Hola", now - 100 + number, wamid=f"wamid.{number}")
    await tell(site, people[2], "¿Hay alguien?", now, wamid="wamid.again")
    seen: list[str] = []
    before = ""
    for _ in range(10):
        status, page = await call(site, "GET", f"/conversations?limit=3{before}")
        assert status == 200
        seen += [each["id"] for each in page["conversations"]]
        if page["next"] is None:
            break
        before = f"&before={page['next']}"
    expected = [people[2], *(person for person in reversed(people) if person is not people[2])]
    assert seen == [person.wa_id for person in expected]
    _status, page = await call(site, "GET", "/conversations?limit=1")
    [newest] = page["conversations"]
    assert newest["last_message"]["text"] == "¿Hay alguien?"
    assert newest["contact"]["name"] == "P2"
    assert newest["takeover"]["mode"] == "bot"
    assert newest["wants_person"] is False


async def test_a_takeover_by_the_api_lasts_until_it_is_handed_back(site: Site) -> None:
    """Without minutes somebody has to say when it ends."""
    await tell(site, ANA, "Hola", site.service.clock(), wamid="wamid.1")
    status, answer = await call(site, "POST", f"/conversations/{ANA_ID}/takeover")
    assert status == 200
    taken = answer["conversation"]["takeover"]
    assert (taken["mode"], taken["until"], taken["reason"]) == ("hold", None, "api")
    _status, page = await call(site, "GET", "/conversations?taken=true")
    assert [each["id"] for each in page["conversations"]] == [ANA_ID]
    status, answer = await call(site, "DELETE", f"/conversations/{ANA_ID}/takeover")
    assert (status, answer["conversation"]["takeover"]["mode"]) == (200, "bot")
    _status, page = await call(site, "GET", "/conversations?taken=true")
    assert page["conversations"] == []


async def test_a_takeover_can_be_given_its_end_and_its_author(site: Site) -> None:
    """The console says that it was the console."""
    await tell(site, ANA, "Hola", site.service.clock(), wamid="wamid.1")
    body = {"minutes": 0.5, "by": "console"}
    _status, answer = await call(site, "POST", f"/conversations/{ANA_ID}/takeover", json=body)
    taken = answer["conversation"]["takeover"]
    assert taken["reason"] == "console"
    assert 25 < taken["until"] - site.service.clock() <= 30


@pytest.mark.parametrize(
    "body",
    [
        b'{"minutes": 0}',
        b'{"minutes": -5}',
        b'{"minutes": "60"}',
        b'{"minutes": true}',
        b'{"minutes": 1e9}',
        b'{"minute": 5}',
        b'{"by": "ghost"}',
        b"[]",
        b"not JSON",
    ],
)
async def test_a_takeover_that_makes_no_sense_is_refused(site: Site, body: bytes) -> None:
    """A bot that is silent by mistake is found out by customers."""
    await tell(site, ANA, "Hola", site.service.clock(), wamid="wamid.1")
    for path in (f"/conversations/{ANA_ID}/takeover", f"/numbers/{PHONE_NUMBER_ID}/takeover"):
        status, answer = await call(site, "POST", path, data=body)
        assert (status, answer["error"]["code"]) == (400, "bad_request")
    _status, page = await call(site, "GET", "/conversations")
    assert page["conversations"][0]["takeover"]["mode"] == "bot"


@pytest.mark.parametrize("path", ["/conversations/5210000000000/takeover", "/numbers/999/takeover"])
@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_nobody_can_be_taken_over_who_is_not_there(site: Site, method: str, path: str) -> None:
    """A script with a typing error must not think that the bot is silent."""
    status, answer = await call(site, method, path)
    assert (status, answer["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "path",
    [
        "/conversations?limit=0",
        "/conversations?limit=1000",
        "/conversations?limit=many",
        "/conversations?before=yesterday",
        "/conversations?taken=perhaps",
        "/conversations?phone_number_id=%00",
        f"/conversations/{ANA_ID}/messages?before=1,2",
        f"/conversations/{ANA_ID}/messages?limit=-1",
    ],
)
async def test_odd_questions_are_refused(site: Site, path: str) -> None:
    """Rather than answered with something else."""
    await tell(site, ANA, "Hola", site.service.clock(), wamid="wamid.1")
    status, answer = await call(site, "GET", path)
    assert (status, answer["error"]["code"]) == (400, "bad_request")


@pytest.mark.parametrize("conversation", ["%00", "a" * 300, "%ff%fe", "5210000000000"])
async def test_messages_of_nobody_are_not_found(site: Site, conversation: str) -> None:
    """Whatever somebody writes into the address."""
    status, answer = await call(site, "GET", f"/conversations/{conversation}/messages")
    assert (status, answer["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/conversations"),
        ("GET", f"/conversations/{ANA_ID}/messages"),
        ("POST", f"/conversations/{ANA_ID}/takeover"),
        ("DELETE", f"/conversations/{ANA_ID}/takeover"),
        ("POST", f"/numbers/{PHONE_NUMBER_ID}/takeover"),
        ("DELETE", f"/numbers/{PHONE_NUMBER_ID}/takeover"),
    ],
)
async def test_only_admins_see_and_change_conversations(site: Site, method: str, path: str) -> None:
    """Chats are private."""
    status, answer = await site.call(method, f"/api{path}")
    assert (status, answer["error"]["code"]) == (401, "unauthorized")


async def test_messages_show_who_said_what_and_what_never_left(site: Site) -> None:
    """A person who takes over must see what the bot said, and what it wanted to say."""
    now = float(int(site.service.clock()))
    await tell(site, ANA, "¿Precio?", now - 30, wamid="wamid.1")
    database = site.service.database
    for ordinal, state in enumerate((BubbleState.HELD_BACK, BubbleState.FAILED)):
        drafts = [Draft(ordinal=ordinal, body={"type": "text"}, text=f"bubble {ordinal}")]
        at = now - 20 + ordinal
        await database.write(bubbles.write, 1, "wamid.1", drafts, state, now=at, reason="takeover: phone")
    await tell(site, ANA, "Yo le digo", now - 10, wamid="wamid.2", by_phone=True)
    _status, page = await call(site, "GET", f"/conversations/{ANA_ID}/messages")
    shown = [(each["role"], each["text"], each["status"]) for each in page["messages"]]
    assert shown == [
        ("business", "Yo le digo", None),
        ("bot", "bubble 1", "failed"),
        ("bot", "bubble 0", "held_back"),
        ("customer", "¿Precio?", None),
    ]
    assert page["messages"][2]["reason"] == "takeover: phone"
    paged: list[str] = []
    before = ""
    while before is not None:
        _status, page = await call(
            site, "GET", f"/conversations/{ANA_ID}/messages?limit=1" + (f"&before={before}" if before else "")
        )
        paged += [each["text"] for each in page["messages"]]
        before = page["next"]
    assert paged == [text for _role, text, _status in shown]


async def test_a_whole_number_is_silenced_and_speaks_again(site: Site) -> None:
    """ "Bot off now" counts for customers who have not written yet, too."""
    status, answer = await call(site, "POST", f"/numbers/{PHONE_NUMBER_ID}/takeover")
    assert status == 200
    assert (answer["takeover"]["mode"], answer["takeover"]["until"]) == ("hold", None)
    await tell(site, BEN, "Hola", site.service.clock(), wamid="wamid.1")
    _status, page = await call(site, "GET", "/conversations?taken=true")
    assert [each["takeover"]["reason"] for each in page["conversations"]] == ["number"]
    status, answer = await call(site, "DELETE", f"/numbers/{PHONE_NUMBER_ID}/takeover")
    assert (status, answer["takeover"]["mode"]) == (200, "bot")
    _status, page = await call(site, "GET", "/conversations?taken=true")
    assert page["conversations"] == []
