"""The simulated Meta signs numbers up, and lets go of them, as Meta does."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from cloud_api import Client, Receiver, client_of, code_of, running_receiver, running_simulator

from rasa_coexistence.simulator import Number, Simulator
from rasa_coexistence.simulator.chats import made_up
from rasa_coexistence.simulator.state import person

NUMBER = "/845237608662425"
HISTORY = {"messaging_product": "whatsapp", "sync_type": "history"}
CONTACTS = {"messaging_product": "whatsapp", "sync_type": "smb_app_state_sync"}


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


def exchange(meta: Simulator, code: str) -> str:
    """Return the path that changes a code into a token."""
    return (
        f"/oauth/access_token?client_id={meta.accounts.app_id}"
        f"&client_secret={meta.accounts.app_secret}&code={code}"
    )


async def test_a_code_buys_one_token(meta: Simulator, client: Client) -> None:
    """The browser's code works once, within 30 seconds, and the token acts for that WABA."""
    second = Number(phone_number_id="2", display_phone_number="5215550000002", waba_id="1002")
    code = meta.accounts.sign_up(second, lifetime=60 * 86_400)
    _, body = await client.call("GET", exchange(meta, code))
    client.token = body["access_token"]
    assert (await client.call("GET", "/2?fields=is_on_biz_app,platform_type"))[1] == {
        "is_on_biz_app": True,
        "platform_type": "CLOUD_API",
        "id": "2",
    }
    _, numbers = await client.call("GET", "/1002/phone_numbers?fields=id,display_phone_number")
    assert [number["id"] for number in numbers["data"]] == ["2"]
    _, told = await client.call("GET", f"/debug_token?input_token={client.token}")
    assert (told["data"]["is_valid"], told["data"]["granular_scopes"][0]["target_ids"]) == (True, ["1002"])
    assert code_of(await client.call("GET", exchange(meta, code))) == 100
    late = meta.accounts.sign_up(second)
    meta.clock.move(31)
    assert code_of(await client.call("GET", exchange(meta, late))) == 100


async def test_a_sync_is_allowed_once(meta: Simulator, app: Receiver, client: Client) -> None:
    """Meta takes each type once an onboarding, and brings what the phone holds."""
    meta.give_old_chats(list(made_up(meta.number, chats=3, messages_each=10, now=meta.clock.now())))
    meta.address_books[meta.number.phone_number_id] = [person("5215550001001", "Lucía Pérez")]
    for body in (CONTACTS, HISTORY):
        status, answer = await client.call("POST", f"{NUMBER}/smb_app_data", body)
        assert (status, bool(answer["request_id"])) == (200, True)
        assert code_of(await client.call("POST", f"{NUMBER}/smb_app_data", body)) == 2593107
    await meta.deliveries.settle()
    assert sum(len(thread["messages"]) for piece in app.told("history") for thread in piece["threads"]) == 30
    assert app.told("state_sync")[0]["contact"]["full_name"] == "Lucía Pérez"


async def test_a_sync_after_a_day_is_refused(meta: Simulator, client: Client) -> None:
    """The 24 hours are Meta's and final, until a new sign-up."""
    meta.clock.move(86_401)
    assert code_of(await client.call("POST", f"{NUMBER}/smb_app_data", HISTORY)) == 2593108
    meta.accounts.sign_up(meta.number)
    assert code_of(await client.call("POST", f"{NUMBER}/smb_app_data", HISTORY)) is None


async def test_without_subscription_nothing_comes(meta: Simulator, app: Receiver, client: Client) -> None:
    """A request made before subscribing is spent for nothing."""
    meta.give_old_chats(list(made_up(meta.number, chats=1, messages_each=1, now=meta.clock.now())))
    await client.call("DELETE", "/1001/subscribed_apps")
    assert code_of(await client.call("POST", f"{NUMBER}/smb_app_data", HISTORY)) is None
    await client.call("POST", "/1001/subscribed_apps")
    await meta.deliveries.settle()
    assert app.bodies == []


async def test_an_owner_may_decline(meta: Simulator, app: Receiver, client: Client) -> None:
    """Declining is told by webhook; the call itself goes well."""
    meta.number.shares_history = False
    assert code_of(await client.call("POST", f"{NUMBER}/smb_app_data", HISTORY)) is None
    await meta.deliveries.settle()
    assert app.told("history")[0]["errors"][0]["code"] == 2593109


async def test_registering_raises_the_alarm(meta: Simulator, client: Client) -> None:
    """It would take the number out of the owner's phone: refused, and remembered."""
    assert code_of(await client.call("POST", f"{NUMBER}/register", {"pin": "1"})) is not None
    assert code_of(await client.call("POST", f"{NUMBER}/deregister")) is not None
    assert len(meta.accounts.alarms) == 2
    meta.accounts.alarms.clear()


async def test_overrides_lead_messages_elsewhere(meta: Simulator, app: Receiver, client: Client) -> None:
    """Messages follow phone, WABA, app; the rest stays with the app; an empty body takes it away."""
    path = "/1001/subscribed_apps"
    wanted = {"override_callback_uri": f"{app.url}-waba", "verify_token": meta.setup.verify_token}
    assert code_of(await client.call("POST", path, wanted | {"verify_token": "wrong"})) == 2200
    assert code_of(await client.call("POST", path, wanted)) is None
    phone = {"webhook_configuration": wanted | {"override_callback_uri": f"{app.url}-phone"}}
    await client.call("POST", NUMBER, phone)
    lucia = meta.customer("5215550001001")
    await lucia.writes("Hola")
    await client.call("POST", NUMBER, {"webhook_configuration": {"override_callback_uri": ""}})
    await lucia.writes("Hola")
    await meta.owner().saves(lucia.person)
    await client.call("POST", path)
    await lucia.writes("Hola")
    assert [(delivery.url or "").removeprefix(app.url) for delivery in meta.deliveries.log] == [
        "-phone",
        "-waba",
        "",
        "",
    ]


async def test_the_app_subscribes_to_fields(meta: Simulator, app: Receiver, client: Client) -> None:
    """What the app did not ask for is not told."""
    client.token = meta.accounts.app_token
    wanted = {
        "object": "whatsapp_business_account",
        "callback_url": app.url,
        "verify_token": meta.setup.verify_token,
        "fields": "messages",
    }
    assert code_of(await client.call("POST", f"/{meta.accounts.app_id}/subscriptions", wanted)) is None
    _, body = await client.call("GET", f"/{meta.accounts.app_id}/subscriptions")
    assert [field["name"] for field in body["data"][0]["fields"]] == ["messages"]
    await meta.owner().writes("5215550001001", "Hola")
    await meta.customer("5215550001001").writes("Hola")
    assert [field for field, _ in app.values] == ["messages"]


async def test_a_number_goes_and_comes_back(meta: Simulator, app: Receiver, client: Client) -> None:
    """Offboarded keeps token and subscription; removed keeps nothing."""
    await meta.customer("5215550001001").writes("Hola")
    await meta.post(meta.accounts.offboard(meta.number))
    assert code_of(await client.send("5215550001001")) == 133010
    await meta.post(meta.accounts.reconnect(meta.number))
    assert code_of(await client.send("5215550001001")) is None
    await meta.remove_partner(reason="PRIMARY_INACTIVITY", by="SYSTEM")
    assert code_of(await client.send("5215550001001")) == 190
    events = [value["event"] for field, value in app.values if field == "account_update"]
    assert events == ["ACCOUNT_OFFBOARDED", "ACCOUNT_RECONNECTED", "PARTNER_REMOVED"]
