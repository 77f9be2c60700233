"""The simulated Meta takes, refuses and fails as Meta does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from cloud_api import Client, Receiver, client_of, code_of, running_receiver, running_simulator, text

from rasa_coexistence.simulator import Number, Person, Simulator

LUCIA = "5215550001001"
DAY = 86_400
HELLO = {"messaging_product": "whatsapp", "to": LUCIA, **text("Hola")}
SHORT = aiohttp.ClientTimeout(total=0.3)


@pytest.fixture
async def app() -> AsyncIterator[Receiver]:
    async with running_receiver() as receiver:
        yield receiver


@pytest.fixture
async def meta(app: Receiver) -> AsyncIterator[Simulator]:
    async with running_simulator(app.url) as simulator:
        yield simulator


@pytest.fixture
async def client(meta: Simulator) -> AsyncIterator[Client]:
    async with client_of(meta) as client:
        yield client


async def test_an_answer_and_its_statuses(meta: Simulator, app: Receiver, client: Client) -> None:
    """What was sent is accepted first, and its fate is told later with our callback data."""
    await meta.customer(LUCIA, "Lucía").writes("Hola")
    status, body = await client.send(f"+{LUCIA}", biz_opaque_callback_data="job-1")
    assert (status, body["contacts"]) == (200, [{"input": f"+{LUCIA}", "wa_id": LUCIA}])
    await meta.deliveries.settle()
    told = app.told("statuses")
    assert [item["status"] for item in told] == ["sent", "delivered", "read"]
    assert {item["id"] for item in told} == {body["messages"][0]["id"]}
    assert {item["biz_opaque_callback_data"] for item in told} == {"job-1"}
    assert [sent.text for sent in meta.sent_to(LUCIA)] == ["Hola"]


async def test_statuses_can_come_before_the_answer(meta: Simulator, app: Receiver, client: Client) -> None:
    """Meta promises no order between its answer and its webhooks."""
    meta.sending.behaviour.statuses_before_answer = True
    meta.sending.behaviour.statuses = ("read", "sent")
    await meta.customer(LUCIA).writes("Hola")
    await client.send(LUCIA)
    assert [item["status"] for item in app.told("statuses")] == ["read", "sent"]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_own_sends_can_come_as_echoes(
    meta: Simulator, app: Receiver, client: Client, when: str
) -> None:
    """Some providers echo what the app itself sent, even ahead of the answer."""
    meta.sending.behaviour.echo_own_sends = when
    await meta.customer(LUCIA).writes("Hola")
    _, body = await client.send(LUCIA)
    if when == "after":
        await meta.deliveries.settle()
    assert [item["id"] for item in app.told("message_echoes")] == [body["messages"][0]["id"]]


async def test_outside_the_window_only_templates_pass(meta: Simulator, client: Client) -> None:
    """The window opens with a live message and closes after a day."""
    template = {"type": "template", "template": {"name": "hi", "language": {"code": "es_MX"}}}
    assert code_of(await client.send(LUCIA)) == 131047
    await meta.customer(LUCIA).writes("Hola")
    assert code_of(await client.send(LUCIA)) is None
    meta.clock.move(DAY)
    assert code_of(await client.send(LUCIA)) == 131047
    assert code_of(await client.send(LUCIA, template)) is None


async def test_what_the_phone_types_opens_no_window(meta: Simulator, client: Client) -> None:
    """Only customers open it."""
    await meta.owner().writes(LUCIA, "Buenos días")
    assert code_of(await client.send(LUCIA)) == 131047


async def test_a_refusal_can_come_late(meta: Simulator, app: Receiver, client: Client) -> None:
    """Meta often takes a message first and fails it afterwards."""
    meta.sending.behaviour.late_codes = frozenset({131047})
    assert code_of(await client.send(LUCIA)) is None
    await meta.deliveries.settle()
    [failed] = app.told("statuses")
    assert (failed["status"], failed["errors"][0]["code"]) == ("failed", 131047)
    assert "recipient_user_id" not in failed


async def test_the_pair_rate(meta: Simulator, client: Client) -> None:
    """Forty-five may be borrowed; then it is one in six seconds, for this customer only."""
    meta.sending.rates.messages_per_second = 1000
    for wa_id in (LUCIA, "34600000001"):
        await meta.customer(wa_id).writes("Hola")
    codes = [code_of(await client.send(LUCIA)) for _ in range(46)]
    assert codes == [None] * 45 + [131056]
    assert code_of(await client.send("34600000001")) is None
    meta.clock.move(6)
    assert [code_of(await client.send(LUCIA)) for _ in range(2)] == [None, 131056]


async def test_the_throughput_counts_both_directions(meta: Simulator, client: Client) -> None:
    """A coexistence number has 20 messages a second, in and out."""
    meta.clock.freeze()
    for number in range(21):
        await meta.customer(f"5215550002{number:03}").writes("Hola")
    assert code_of(await client.send("5215550002000")) is None
    assert code_of(await client.send("5215550002001")) == 130429
    meta.clock.move(1)
    assert code_of(await client.send("5215550002001")) is None


async def test_a_bsuid_in_to_is_taken_and_dropped(meta: Simulator, app: Receiver, client: Client) -> None:
    """Meta says 200 and delivers nothing: only ``recipient`` reaches a hidden phone."""
    hidden = meta.customer_like(Person(wa_id=LUCIA, user_id="MX.77", name="Lucía", hides_phone=True))
    await hidden.writes("Hola")
    assert "from" not in app.told("messages")[0]
    status, _ = await client.send("MX.77")
    assert (status, meta.sent_to()) == (200, [])
    _, body = await client.send("", to=None, recipient="MX.77")
    assert body["contacts"] == [{"input": "MX.77", "user_id": "MX.77"}]
    assert [sent.person.user_id for sent in meta.sent_to()] == ["MX.77"]


async def test_spellings_of_a_phone_reach_one_customer(meta: Simulator, client: Client) -> None:
    """Mexico's 1 after 52 comes and goes."""
    await meta.customer(LUCIA).writes("Hola")
    _, body = await client.send("+525550001001")
    assert body["contacts"] == [{"input": "+525550001001", "wa_id": LUCIA}]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"to": None}, 100),
        ({"to": 5}, 100),
        ({"to": "5"}, 131009),
        ({"to": "5215550000000"}, 131021),
        ({"messaging_product": "sms"}, 100),
        ({"type": "image", "image": {"id": "404"}}, 131009),
    ],
)
async def test_what_cannot_be_sent(meta: Simulator, client: Client, body: dict[str, Any], code: int) -> None:
    """Each mistake in the frame of a message has Meta's code."""
    await meta.customer(LUCIA).writes("Hola")
    assert code_of(await client.send(LUCIA, {**text("Hola"), **body})) == code


@pytest.mark.parametrize(
    ("who", "body", "code"),
    [
        ({"blocked": True}, text("Hola"), 130403),
        ({"on_whatsapp": False}, text("Hola"), 131026),
        ({}, {"type": "image", "image": {"link": "https://gone.invalid/a.jpg"}}, 131053),
        ({}, {"type": "reaction", "reaction": {"message_id": "wamid.X", "emoji": "👍"}}, 131009),
    ],
)
async def test_what_cannot_arrive(
    meta: Simulator, app: Receiver, client: Client, who: dict[str, Any], body: dict[str, Any], code: int
) -> None:
    """The customer's side of a refusal, at once or by a failed status."""
    await meta.customer(LUCIA, **who).writes("Hola")
    answer = await client.send(LUCIA, body)
    await meta.deliveries.settle()
    late = [item["errors"][0]["code"] for item in app.told("statuses") if item["status"] == "failed"]
    assert [code_of(answer) or late[0]] == [code]


async def test_reading_and_typing(meta: Simulator, client: Client) -> None:
    """A receipt needs a message that a customer sent; typing needs a receipt."""
    wamid = await meta.customer(LUCIA).writes("Hola")
    path = f"/{meta.number.phone_number_id}/messages"
    receipt = {"messaging_product": "whatsapp", "status": "read", "message_id": wamid}
    assert await client.call("POST", path, receipt) == (200, {"success": True})
    assert (list(meta.sending.read), meta.sending.typing) == ([wamid], [])
    await client.call("POST", path, receipt | {"typing_indicator": {"type": "text"}})
    assert [shown for shown, _ in meta.sending.typing] == [wamid]
    assert code_of(await client.call("POST", path, receipt | {"message_id": "wamid.no"})) == 131009
    assert [call.operation for call in meta.calls] == ["read", "read", "read"]


async def test_a_token_must_be_good(meta: Simulator, client: Client) -> None:
    """190 tells a bot that its token is gone; a foreign one sees no object at all."""
    await meta.customer(LUCIA).writes("Hola")
    meta.accounts.add_number(
        Number(phone_number_id="3", display_phone_number="5215550000003", waba_id="9"), token="other"
    )
    codes = []
    for token in (None, "unknown", "other"):
        client.token = token
        codes.append(code_of(await client.send(LUCIA)))
    client.token = meta.setup.access_token
    meta.accounts.revoke(str(client.token))
    codes.append(code_of(await client.send(LUCIA)))
    assert codes == [2500, 190, 100, 190]


async def test_a_version_must_exist(meta: Simulator, client: Client) -> None:
    """Without a token Graph still tells which versions there are."""
    async with client.session.get(f"{meta.url}/v99.0/me") as answer:
        unknown = await answer.json()
    async with client.session.get(f"{meta.url}/v26.0/me") as answer:
        known = await answer.json()
    assert "Unknown path components" in unknown["error"]["error_data"]["details"]
    assert "access token must be used" in known["error"]["error_data"]["details"]


@pytest.mark.parametrize(
    ("kind", "sent", "seen"),
    [
        ("timeout_before", 0, asyncio.TimeoutError),
        ("timeout_after", 1, asyncio.TimeoutError),
        ("refuse", 0, aiohttp.ServerDisconnectedError),
        ("close_after", 1, aiohttp.ServerDisconnectedError),
        ("http", 0, ValueError),
        ("garbage", 1, ValueError),
    ],
)
async def test_calls_fail_as_told(
    meta: Simulator, client: Client, kind: str, sent: int, seen: type[Exception]
) -> None:
    """Whether a message went out is a different question from whether we heard so."""
    await meta.customer(LUCIA).writes("Hola")
    meta.failures.add("messages", kind)
    with pytest.raises((seen, aiohttp.ClientOSError)):
        await client.call("POST", f"/{meta.number.phone_number_id}/messages", HELLO, timeout=SHORT)
    assert len(meta.sent_to(LUCIA)) == sent
    assert code_of(await client.send(LUCIA)) is None


async def test_a_code_can_be_ordered(meta: Simulator, client: Client) -> None:
    """Any of Meta's codes comes as often as it was ordered, then all is well."""
    await meta.customer(LUCIA).writes("Hola")
    meta.failures.add("messages", "error", code=131016, count=2)
    assert [code_of(await client.send(LUCIA)) for _ in range(3)] == [131016, 131016, None]


async def test_one_customer_can_be_singled_out(meta: Simulator, client: Client) -> None:
    """Trouble with one customer must not touch the others: a test needs trouble with just one."""
    for wa_id in (LUCIA, "34600000001"):
        await meta.customer(wa_id).writes("Hola")
    meta.failures.add("messages", "error", code=131056, to=LUCIA)
    codes = [code_of(await client.send(wa_id)) for wa_id in ("34600000001", f"+{LUCIA}", LUCIA)]
    assert codes == [None, 131056, None]


async def test_a_closed_port_refuses_connections(meta: Simulator, client: Client) -> None:
    """Connection refused proves that nothing was sent."""
    await meta.customer(LUCIA).writes("Hola")
    await client.send(LUCIA)
    await meta.server.close_port()
    async with client_of(meta) as other:
        with pytest.raises(aiohttp.ClientConnectorError):
            await other.send(LUCIA)
    await meta.server.open_port()
    assert code_of(await client.send(LUCIA)) is None


async def test_media_go_up_and_come_down(meta: Simulator, client: Client) -> None:
    """Ids and addresses expire, and nothing is downloaded without a token."""
    form = aiohttp.FormData({"messaging_product": "whatsapp", "type": "image/png"})
    form.add_field("file", b"png", filename="a.png", content_type="image/png")
    _, body = await client.call("POST", f"/{meta.number.phone_number_id}/media", data=form)
    _, described = await client.call("GET", f"/{body['id']}")
    bearer = {"Authorization": f"Bearer {client.token}"}
    async with client.session.get(described["url"], headers=bearer) as answer:
        assert (answer.content_type, await answer.read()) == ("image/png", b"png")
    async with client.session.get(described["url"]) as answer:
        assert answer.status == 401
    meta.clock.move(301)
    async with client.session.get(described["url"], headers=bearer) as answer:
        assert answer.status == 404
    assert await client.call("DELETE", f"/{body['id']}") == (200, {"success": True})
    assert code_of(await client.call("GET", f"/{body['id']}")) == 100


async def test_a_big_file_needs_no_memory(meta: Simulator, client: Client) -> None:
    """Customers may send 100 MB; here they are zero bytes made as they are read."""
    described = meta.media.receive("video/mp4", size=100 * 1024 * 1024)
    _, found = await client.call("GET", f"/{described['id']}")
    bearer = {"Authorization": f"Bearer {client.token}"}
    async with client.session.get(found["url"], headers=bearer) as answer:
        assert answer.content_length == 100 * 1024 * 1024
        assert await answer.content.readexactly(1000) == bytes(1000)
