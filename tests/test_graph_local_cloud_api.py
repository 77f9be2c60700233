"""The Graph client and the local Cloud API understand each other, when all goes well and when it does not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from cloud_api import running_receiver, running_simulator
from graph_calls import client_for, error_of

from rasa_coexistence.graph.client import GraphClient
from rasa_coexistence.graph.errors import GraphError, Verdict
from rasa_coexistence.simulator import FailureKind, Number, Simulator
from rasa_coexistence.to_whatsapp import bodies

ANA = "5215550001001"


@pytest.fixture
async def meta() -> AsyncIterator[Simulator]:
    """Run the local Cloud API; a customer has written, so the window is open."""
    async with running_simulator() as simulator:
        await simulator.customer(ANA, "Ana").writes("Hola")
        yield simulator


@pytest.fixture
async def graph(meta: Simulator) -> AsyncIterator[GraphClient]:
    """Open a client that gives up after a moment."""
    async with client_for(meta.url, total_seconds=0.5) as client:
        yield client


async def say(meta: Simulator, graph: GraphClient, text: str = "Hola, Ana") -> str:
    """Send a text to Ana; returns its wamid."""
    (bubble,) = bodies({"text": text})
    body = {"to": f"+{ANA}", **bubble.body}
    token = str(meta.setup.access_token)
    return (await graph.send_message(meta.number.phone_number_id, body, access_token=token)).wamid


async def test_onboarding_calls_in_their_order(meta: Simulator, graph: GraphClient) -> None:
    """Code, token, number, subscription, contacts, history; then each sync is used up."""
    app_id, app_secret = meta.setup.app_id, meta.setup.app_secret
    code = meta.accounts.sign_up(
        Number(phone_number_id="2", display_phone_number="5215550000002", waba_id="1002"), lifetime=3600
    )
    token = (await graph.exchange_code(app_id, app_secret, code)).access_token
    facts = await graph.debug_token(token, app_id, app_secret)
    assert facts.is_valid
    assert facts.waba_ids == ("1002",)
    assert facts.expires_at
    (number,) = await graph.phone_numbers("1002", access_token=token)
    assert (number.id, number.is_on_biz_app, number.platform_type) == ("2", True, "CLOUD_API")
    assert await graph.subscribed_apps("1002", access_token=token) == []
    await graph.subscribe_app("1002", access_token=token)
    (app,) = await graph.subscribed_apps("1002", access_token=token)
    assert (app.id, app.override_callback_uri) == (app_id, None)
    (subscription,) = await graph.app_subscriptions(app_id, app_secret)
    assert {"messages", "history", "smb_message_echoes"} <= set(subscription.fields)
    for sync_type in ("smb_app_state_sync", "history"):
        assert await graph.request_sync("2", sync_type, access_token=token)
        raised = await error_of(graph.request_sync("2", sync_type, access_token=token))
        assert (raised.code, raised.verdict) == (2593107, Verdict.STOP)
    reused = await error_of(graph.exchange_code(app_id, app_secret, code))
    assert (reused.code, reused.subcode, reused.verdict) == (100, 36009, Verdict.STOP)


async def test_message_and_receipt(meta: Simulator, graph: GraphClient) -> None:
    """What Rasa said stands on the customer's phone, and is marked as read before."""
    token, sender = str(meta.setup.access_token), meta.number.phone_number_id
    incoming = await meta.customer(ANA, "Ana").writes("¿Abierto?")
    await graph.mark_read(sender, incoming, access_token=token, typing=True)
    wamid = await say(meta, graph)
    (sent,) = await meta.wait_for_sent(to=ANA)
    assert sent.wamid == wamid


@pytest.mark.parametrize(
    ("kind", "verdict", "arrived"),
    [
        (FailureKind.TIMEOUT_BEFORE, Verdict.UNCLEAR, False),
        (FailureKind.TIMEOUT_AFTER, Verdict.UNCLEAR, True),
        (FailureKind.REFUSE, Verdict.UNCLEAR, False),
        (FailureKind.CLOSE_AFTER, Verdict.UNCLEAR, True),
        (FailureKind.GARBAGE, Verdict.UNCLEAR, True),
        (FailureKind.HTTP, Verdict.UNCLEAR, False),
        (FailureKind.ERROR, Verdict.RETRY_THRICE, False),
    ],
)
async def test_unclear_failures_cannot_be_told_apart(
    meta: Simulator, graph: GraphClient, kind: FailureKind, verdict: Verdict, arrived: bool
) -> None:
    """Whether the message went out or not, the client sees the same: so nothing is sent again blindly."""
    meta.failures.add("messages", kind)
    raised = await error_of(say(meta, graph))
    assert raised.verdict is verdict
    assert len(meta.sending.sent) == arrived


async def test_closed_port_proves_that_nothing_arrived(meta: Simulator, graph: GraphClient) -> None:
    """And once it is open again, the same client goes on."""
    await meta.server.close_port()
    raised = await error_of(say(meta, graph))
    assert raised.verdict is Verdict.NOT_SENT
    await meta.server.open_port()
    await say(meta, graph)
    assert len(meta.sending.sent) == 1


@pytest.mark.parametrize("code", [130429, 131056, 131047, 190, 133010])
async def test_code_of_a_refusal_reaches_the_caller(meta: Simulator, graph: GraphClient, code: int) -> None:
    """The local Cloud API writes Meta's envelope."""
    meta.failures.add("messages", FailureKind.ERROR, code=code)
    raised: GraphError = await error_of(say(meta, graph))
    assert raised.code == code
    assert raised.http_status is not None


async def test_hello_tells_time_and_version(meta: Simulator) -> None:
    """Without any token Meta's refusal tells its clock, and whether it knows our version."""
    meta.clock.move(3600)
    async with client_for(meta.url) as client:
        hello = await client.hello()
    assert hello.at == pytest.approx(meta.clock.now(), abs=5)
    assert hello.knows_version
    client = GraphClient(meta.url, "v3.0")
    assert not (await client.hello()).knows_version
    await client.close()


async def test_hello_of_somebody_else() -> None:
    """A page that is not Graph's is no answer of Meta's."""
    async with running_receiver() as elsewhere, client_for(elsewhere.url) as client:
        raised = await error_of(client.hello())
    assert "lacks what it should tell" in str(raised)
