"""What the simulated Meta posts is what our reader understands, and is posted as Meta posts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from cloud_api import Receiver, running_receiver, running_simulator

from rasa_coexistence import events
from rasa_coexistence.from_whatsapp import read_webhook
from rasa_coexistence.simulator import Person, Simulator, chats, deliver, webhooks
from rasa_coexistence.simulator.samples import SAMPLES
from rasa_coexistence.simulator.state import bsuid

LUCIA = "5215550001001"


@pytest.fixture
async def app() -> AsyncIterator[Receiver]:
    async with running_receiver() as receiver:
        yield receiver


@pytest.fixture
async def meta(app: Receiver) -> AsyncIterator[Simulator]:
    async with running_simulator(app.url) as simulator:
        yield simulator


def read(app: Receiver) -> list[Any]:
    """Return every event of everything that was told."""
    return [event for body in app.bodies for event in read_webhook(body)]


@pytest.mark.parametrize("kind", SAMPLES)
async def test_every_type_of_message_is_read_back(meta: Simulator, app: Receiver, kind: str) -> None:
    """Each type a customer can send is one message of that customer."""
    wamid = await meta.customer(LUCIA, "Lucía").sends(kind)
    [event] = read(app)
    assert isinstance(event, events.CustomerMessage)
    assert (event.wamid, event.contact.wa_id, event.contact.name) == (wamid, LUCIA, "Lucía")
    assert event.content.type in (kind, "interactive")


async def test_acts_on_earlier_messages_are_read_back(meta: Simulator, app: Receiver) -> None:
    """Reactions, edits and revokes name their target, from both phones."""
    lucia, owner = meta.customer(LUCIA), meta.owner()
    asked = await lucia.writes("Hola")
    await lucia.reacts("👍", to=asked)
    await lucia.reacts(None, to=asked)
    await lucia.edits(asked, "Buenas")
    await lucia.revokes(asked)
    said = await owner.writes(lucia, "Buenos días")
    await owner.reacts(lucia, "👍", target=asked)
    await owner.edits(lucia, said, "Buenas tardes")
    await owner.revokes(lucia, said)
    found = [(type(event), event.content.type, event.content.target) for event in read(app)]
    message, echo = events.CustomerMessage, events.PhoneEcho
    assert found == [
        (message, "text", None),
        *((message, kind, asked) for kind in ("reaction", "reaction", "edit", "revoke")),
        (echo, "text", None),
        (echo, "reaction", asked),
        (echo, "edit", said),
        (echo, "revoke", said),
    ]


async def test_presses_and_quotes_are_read_back(meta: Simulator, app: Receiver) -> None:
    """A pressed button brings its id and what it was pressed on."""
    lucia = meta.customer(LUCIA)
    await lucia.presses("yes", "Sí", of="wamid.Q")
    await lucia.chooses("row-1", "Mochila", of="wamid.Q")
    found = [(event.content.text, event.content.label, event.content.context["id"]) for event in read(app)]
    assert found == [("yes", "Sí", "wamid.Q"), ("row-1", "Mochila", "wamid.Q")]


async def test_automatic_greetings_are_read_back(meta: Simulator, app: Receiver) -> None:
    """The app marks what it writes by itself."""
    await meta.owner().greets_by_itself(LUCIA, "Gracias por escribir")
    assert [event.automatic for event in read(app)] == [True]


async def test_hidden_phones_leave_no_number(meta: Simulator, app: Receiver) -> None:
    """Whole keys are missing, and the id inside the wamid is the BSUID."""
    hidden = meta.customer_like(Person(wa_id=LUCIA, user_id="MX.77", username="lu", hides_phone=True))
    await hidden.writes("Hola")
    await meta.owner().writes(hidden, "Hola")
    await meta.owner().saves(hidden.person)
    for event in read(app):
        assert (event.contact.wa_id, event.contact.user_id) == (None, "MX.77")
    assert LUCIA not in b"".join(app.bodies).decode()


async def test_what_happens_to_accounts_and_ids_is_read_back(meta: Simulator, app: Receiver) -> None:
    """The rarer fields come in their own words."""
    before, now = meta.customer(LUCIA).person, meta.customer("5215550001009").person
    at = meta.clock.now()
    await meta.post(meta.accounts.offboard(meta.number))
    await meta.post(webhooks.number_changed(meta.number, before, now, "wamid.S", at))
    await meta.post(webhooks.history_declined(meta.number, {"code": 2593109, "title": "declined"}))
    await meta.post(webhooks.status(meta.number, now, "wamid.X", "read", at))
    meta.accounts.app_fields.add("user_id_update")
    await meta.post(webhooks.user_id_update(meta.number, before, now, at))
    kinds = [type(event) for event in read(app)]
    assert kinds == [
        events.AccountChange,
        events.IdentityChange,
        events.HistoryDeclined,
        events.StatusChange,
        events.IdentityChange,
    ]


async def test_old_chats_are_read_back(meta: Simulator, app: Receiver) -> None:
    """Three phases, every message once, progress 100 on the last piece, both directions."""
    now = meta.clock.now()
    made = list(chats.made_up(meta.number, chats=10, messages_each=50, now=now))
    pieces = chats.cut(made, now=now, messages_per_chunk=40)
    for piece in chats.shaken(pieces, repeats=3):
        await meta.post(piece.webhook(meta.number))
    told = [event for event in read(app) if isinstance(event, events.HistoryChunk)]
    assert {chunk.phase for chunk in told} == {0, 1, 2}
    assert max(chunk.progress or 0 for chunk in told) == 100 == pieces[-1].progress
    found = {
        (message.wamid, message.from_business, message.sent_at, thread.contact.wa_id)
        for chunk in told
        for thread in chunk.threads
        for message in thread.messages
    }
    assert found == {
        (one.wamid, one.from_business, one.at, chat.person.wa_id) for chat in made for one in chat.messages
    }
    assert sum(len(thread.messages) for chunk in told for thread in chunk.threads) > 500


async def test_media_behind_placeholders_are_read_back(meta: Simulator, app: Receiver) -> None:
    """They come under history with the keys of live messages."""
    lucia = meta.customer(LUCIA).person
    described = webhooks.message("wamid.M", 1_760_000_000, "image", SAMPLES["image"])
    for from_business in (False, True):
        await meta.post(webhooks.history_media(meta.number, lucia, described, from_business=from_business))
    assert [type(event) for event in read(app)] == [events.HistoryMedia, events.HistoryMedia]


async def test_a_batch_goes_over_entries(meta: Simulator, app: Receiver) -> None:
    """Five messages of two customers may come in one body, across two entries."""
    people = [meta.customer(LUCIA, "Lucía"), meta.customer("34600000001", "Jordi")]
    items = [people[index % 2].compose("text", {"body": str(index)}) for index in range(5)]
    await deliver(meta, *items, entries=2)
    [body] = app.bodies
    assert len(json.loads(body)["entry"]) == 2
    assert [event.content.text for event in read(app)] == ["0", "1", "2", "3", "4"]


async def test_bodies_are_written_as_meta_writes_them(meta: Simulator, app: Receiver) -> None:
    """Escaped, signed over exactly these bytes (the receiver checks), and raw UTF-8 on demand."""
    await meta.customer(LUCIA).writes("mañana a/b")
    meta.deliveries.escaped = False
    await meta.customer(LUCIA).writes("mañana a/b")
    assert b'"ma\\u00f1ana a\\/b"' in app.bodies[0]
    assert '"mañana a/b"'.encode() in app.bodies[1]


async def test_what_is_not_taken_comes_again(meta: Simulator, app: Receiver) -> None:
    """Anything but 200 is posted again, the same bytes, until it is taken."""
    app.answers = [503, 500]
    await meta.customer(LUCIA).writes("Hola")
    await meta.deliveries.settle()
    [delivery] = meta.deliveries.log
    assert (delivery.attempts, app.bodies) == ([503, 500, 200], [delivery.body])


async def test_a_delivery_comes_many_times_at_once(meta: Simulator, app: Receiver) -> None:
    """Meta repeats what was taken already."""
    await meta.customer(LUCIA).writes("Hola")
    await meta.deliveries.redeliver(copies=9)
    assert len(app.bodies) == 10
    assert len(set(app.bodies)) == 1


async def drive(meta: Simulator, method: str, path: str, **body: Any) -> Any:
    """Drive the simulator as another process would."""
    url = f"{meta.url}/_simulator{path}"
    async with aiohttp.ClientSession() as session, session.request(method, url, json=body) as answer:
        return await answer.json()


async def test_another_process_can_drive_it(meta: Simulator, app: Receiver) -> None:
    """Everything a test does in this process can be done by HTTP."""
    told = await drive(meta, "POST", f"/customers/{LUCIA}/messages", text="Hola", name="Lucía")
    assert (told["acknowledged"], app.told("messages")[0]["id"]) == (True, told["wamid"])
    await drive(meta, "POST", "/phone/messages", to=LUCIA, text="Voy")
    await drive(meta, "POST", "/statuses", wamid="wamid.F", status="read", recipient=LUCIA)
    await drive(meta, "POST", "/raw", body="not JSON")
    await drive(meta, "POST", "/redeliver", last=1, copies=2)
    await drive(meta, "POST", "/phone/contacts", wa_id=LUCIA, name="Lucía")
    made = await drive(meta, "POST", "/history", count=4, messages_each=5, repeats=1, shuffle=True)
    assert made["messages"] == 20
    await drive(meta, "POST", "/history/declined")
    await drive(meta, "POST", "/account", event="ACCOUNT_OFFBOARDED")
    posted = await drive(meta, "GET", "/webhooks")
    assert all(delivery["acknowledged"] for delivery in posted)
    assert [delivery["body"] for delivery in posted].count("not JSON") == 3


async def test_another_process_can_order_failures(meta: Simulator, app: Receiver) -> None:
    """Failures, behaviour and the clock are there as well, and mistakes are told."""
    assert await drive(meta, "POST", "/failures", operation="messages", kind="error", code=131016) == {
        "ok": True
    }
    assert await drive(meta, "DELETE", "/failures") == {"ok": True}
    await drive(meta, "POST", "/behaviour", status_seconds=0, late_codes=[131047])
    assert meta.sending.behaviour.late_codes == {131047}
    before = (await drive(meta, "GET", "/state"))["now"]
    assert (await drive(meta, "POST", "/clock", seconds=3600))["now"] > before + 3599
    assert await drive(meta, "GET", "/sent") == []
    signed_up = await drive(meta, "POST", "/sign_up")
    assert signed_up["code"] in meta.accounts.codes
    assert (await drive(meta, "POST", "/behaviour", colour=1))["error"]["code"] == "bad_request"
    assert (await drive(meta, "POST", "/clock", wrong=1))["error"]["code"] == "bad_request"


def test_everybody_has_a_steady_bsuid() -> None:
    """The same phone gives the same id in every run, with its country in front."""
    assert bsuid(LUCIA) == bsuid(LUCIA) != bsuid("5215550001002")
    assert [bsuid(phone)[:3] for phone in (LUCIA, "34600000001", "12025550101")] == ["MX.", "ES.", "US."]
