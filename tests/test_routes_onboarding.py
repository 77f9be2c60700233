"""``POST /api/onboarding``, ``POST /api/sync`` and what tells how they go, as scripts use them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from channels import ADMIN_TOKEN, Site, credentials, running_channel
from cloud_api import running_simulator
from signups import APART, CAFE, KEY, SHOP, cafe, shop

from rasa_coexistence.ledger import numbers
from rasa_coexistence.simulator import Simulator
from rasa_coexistence.simulator.chats import cut, made_up

BEARER = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
KNOWN = "845237608662425"  # the number of the settings


@pytest.fixture
async def meta() -> AsyncIterator[Simulator]:
    async with running_simulator(subscribed=False) as meta:
        yield meta


@pytest.fixture
async def site(meta: Simulator, tmp_path: Path) -> AsyncIterator[Site]:
    settings = {"app_id": meta.accounts.app_id, "config_id": "77", "encryption_key": KEY, "sender_id": APART}
    async with running_channel(
        credentials(f"sqlite:///{tmp_path}/ledger.db", graph_url=meta.url, **settings)
    ) as site:
        meta.accounts.webhook_url = f"{site.url}/webhook"
        yield site


async def post(site: Site, path: str, body: Any) -> tuple[int, Any]:
    return await site.call("POST", f"/api/{path}", json=body, headers=BEARER)


async def get(site: Site, path: str) -> tuple[int, Any]:
    return await site.call("GET", f"/api/{path}", headers=BEARER)


def syncs_of(meta: Simulator) -> list[str]:
    return [call.body["sync_type"] for call in meta.calls if call.operation == "smb_app_data" and call.body]


async def test_a_script_signs_a_number_up(site: Site, meta: Simulator) -> None:
    """The same answer later, and to who sends the code again; nothing is asked of Meta twice."""
    given = {"code": meta.accounts.sign_up(shop()), "waba_id": "1002"}
    status, answer = await post(site, "onboarding", given)
    assert (status, answer["state"], answer["phone_number_id"], answer["waba_id"]) == (
        200,
        "done",
        SHOP,
        "1002",
    )
    assert set(answer["steps"].values()) == {"done"}
    assert answer["sync"]["history"]["status"] == "requested"
    assert answer["deadline_at"] == answer["sync"]["deadline_at"]
    for again in (
        await post(site, "onboarding", given),
        await get(site, f"onboarding/{answer['onboarding']}"),
    ):
        assert again == (200, answer)
    assert syncs_of(meta) == ["smb_app_state_sync", "history"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"code": ""},
        {"code": "  "},
        {"code": 7},
        {"code": "A" * 5000},
        {"code": "A", "waba_id": "1/../2"},
        {"code": "A", "waba_id": True},
        {"code": "A", "phone_number_id": "1" * 65},
        {"code": "A", "redirect_uri": "https://evil.example"},
        ["code"],
        "code",
    ],
    ids=str,
)
async def test_what_can_be_no_sign_up_is_refused(site: Site, meta: Simulator, body: Any) -> None:
    """Before Meta is asked anything: ids become part of an address there."""
    status, answer = await post(site, "onboarding", body)
    assert (status, answer["error"]["code"]) == (400, "bad_request")
    assert meta.calls == []


async def test_a_refusal_has_code_sentence_and_state(site: Site, meta: Simulator) -> None:
    """A reused code, an expired one, several numbers, a token without scopes, no number on a phone."""
    late = meta.accounts.sign_up(shop())
    meta.clock.move(31)
    status, answer = await post(site, "onboarding", {"code": late, "waba_id": "1002"})
    assert (status, answer["error"]["code"], answer["state"]) == (400, "code_expired", "failed")
    assert "30 seconds" in answer["error"]["message"]
    used = meta.accounts.sign_up(shop())
    meta.accounts.exchange(meta.accounts.app_id, meta.accounts.app_secret, used)
    assert (await post(site, "onboarding", {"code": used}))[1]["error"]["code"] == "code_used"
    without = meta.accounts.sign_up(shop(), scopes=("whatsapp_business_management",))
    status, answer = await post(site, "onboarding", {"code": without})
    assert (status, answer["error"]["code"]) == (409, "scopes_missing")
    assert "whatsapp_business_messaging" in answer["error"]["message"]
    other = cafe()
    other.waba_id = "1002"
    meta.accounts.add_number(other)
    status, answer = await post(site, "onboarding", {"code": (code := meta.accounts.sign_up(shop()))})
    assert (status, answer["error"]["code"], answer["state"]) == (409, "several_numbers", "choosing")
    assert {number["phone_number_id"] for number in answer["numbers"]} == {SHOP, CAFE}
    status, answer = await post(site, "onboarding", {"code": code, "phone_number_id": int(CAFE)})
    assert (status, answer["phone_number_id"]) == (200, CAFE)
    for number in (other, meta.accounts.numbers[SHOP]):
        number.is_on_biz_app = False
    status, answer = await post(
        site, "onboarding", {"code": meta.accounts.sign_up(meta.accounts.numbers[SHOP])}
    )
    assert (status, answer["error"]["code"]) == (409, "no_coexistence_number")


async def test_what_goes_on_by_itself_is_202(site: Site, meta: Simulator) -> None:
    """The caller is told what it waits for, and until when."""
    meta.accounts.app_fields -= {"history"}
    given = {"code": meta.accounts.sign_up(shop()), "waba_id": "1002"}
    status, answer = await post(site, "onboarding", given)
    assert (status, answer["state"], answer["waits_for"]["code"]) == (202, "running", "fields_missing")
    _status, listed = await get(site, "numbers")
    [shown] = [number for number in listed["numbers"] if number["phone_number_id"] == SHOP]
    assert shown["onboarding"] == {
        "id": answer["onboarding"],
        "state": "running",
        "trouble": "fields_missing",
        "deadline_at": answer["deadline_at"],
    }
    [warning] = shown["warnings"]
    assert (warning["code"], warning["at"]) == ("sync_deadline", answer["deadline_at"])
    assert "24 more hours" in warning["message"]


async def test_a_number_onboarded_elsewhere_asks_for_its_syncs(site: Site, meta: Simulator) -> None:
    """Once; a request that Meta refuses says why, and only a person's word repeats it."""
    meta.failures.add("smb_app_data", "error", code=131031, count=2)
    status, answer = await post(site, "sync", {"phone_number_id": KNOWN})
    assert (status, answer["error"]["code"]) == (409, "sync_failed")
    assert "131031" in answer["error"]["message"]
    assert (await post(site, "sync", {"phone_number_id": int(KNOWN)}))[0] == 409
    assert len(syncs_of(meta)) == 2
    status, answer = await post(site, "sync", {"phone_number_id": KNOWN, "again": True})
    assert (status, answer["sync"]["history"]["status"]) == (200, "requested")
    assert len(syncs_of(meta)) == 4


async def test_only_numbers_of_ours_are_asked_for(site: Site, meta: Simulator) -> None:
    """Anybody's number would need anybody's token."""
    status, answer = await post(site, "sync", {"phone_number_id": "999"})
    assert (status, answer["error"]["code"]) == (404, "unknown_number")
    assert "/connect" in answer["error"]["message"]
    for body in ({}, {"phone_number_id": "x y"}, {"phone_number_id": None}):
        assert (await post(site, "sync", body))[0] == 400
    assert (await get(site, "onboarding/none"))[0] == 404
    assert (await get(site, "sync/events?id=999"))[0] == 404
    assert meta.calls == []


async def test_nobody_gets_in_without_the_admin_token(site: Site, meta: Simulator) -> None:
    """Each of these tells about customers, or spends something that comes once."""
    routes = ["POST /api/onboarding", "POST /api/sync", "GET /api/onboarding/x", "GET /api/numbers"]
    for route in [*routes, "GET /api/sync/events"]:
        method, path = route.split()
        for headers in ({}, {"Authorization": "Bearer guess"}):
            assert (await site.call(method, path, headers=headers))[0] == 401
    assert meta.calls == []


async def test_signing_up_needs_its_settings(tmp_path: Path) -> None:
    """Without encryption_key a token could not be stored, without app_id no code exchanged."""
    async with running_channel(credentials(f"sqlite:///{tmp_path}/ledger.db")) as site:
        status, answer = await post(site, "onboarding", {"code": "A"})
    assert (status, answer["error"]["code"]) == (404, "signup_is_off")
    assert "encryption_key" in answer["error"]["message"]


async def test_a_sync_is_followed_live(site: Site, meta: Simulator) -> None:
    """Each change is told as it happens, to as many as want to hear it."""
    await post(site, "onboarding", {"code": meta.accounts.sign_up(shop()), "waba_id": "1002"})
    now = meta.clock.now()
    chats = list(made_up(shop(), chats=2, messages_each=4, now=now, days=80))
    pieces = [chunk.webhook(shop()) for chunk in cut(chats, now=now, messages_per_chunk=4)]
    async with site.session.get(f"{site.url}/api/sync/events?id={SHOP}", headers=BEARER) as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        seen: list[Any] = []
        for received in (0, *range(4, 4 * len(pieces) + 1, 4)):
            while not seen or seen[-1]["history"]["messages_received"] < received:
                line = await stream.content.readline()
                assert line, "the stream ended"
                if line.startswith(b"data: "):
                    seen.append(json.loads(line[6:]))
            if pieces:
                await meta.post(pieces.pop(0))
        assert seen[-1]["history"]["progress"] == 100
        assert seen[-1] == (await get(site, f"sync/status?id={SHOP}"))[1]


async def test_numbers_tell_what_their_owners_should_mind(site: Site, meta: Simulator) -> None:
    """The same warnings as notify_url gets, for whoever looks."""
    await post(site, "onboarding", {"code": meta.accounts.sign_up(shop()), "waba_id": "1002"})
    now, day = site.service.clock(), 86_400.0
    silent: dict[str, Any] = {"last_phone_activity_at": now - 12.5 * day, "created_at": now - 20 * day}
    change = site.service.database.write
    await change(numbers.change, SHOP, **silent, onboarded_at=now - 13 * day, token_expires_at=now - 1)
    _status, answer = await get(site, "numbers")
    by_id = {number["phone_number_id"]: number for number in answer["numbers"]}
    assert by_id[KNOWN]["warnings"] == []
    assert by_id[SHOP]["state"] == "connected"
    warned = {warning["code"]: (warning["days"], warning["message"]) for warning in by_id[SHOP]["warnings"]}
    assert {code: days for code, (days, _message) in warned.items()} == {"phone_silent": 12, "token_ends": 0}
    assert "open it on the phone" in warned["phone_silent"][1]
    assert "/connect" in warned["token_ends"][1]


async def test_webhooks_of_strangers_are_counted_where_operators_look(site: Site, meta: Simulator) -> None:
    """200 for Meta, which would send them for days; the items are kept."""
    meta.accounts.add_number(cafe())
    meta.accounts.subscribed["1003"] = None
    for _ in range(3):
        await meta.customer("5217715268513").writes("Hola", number=cafe())
    assert [delivery.attempts for delivery in meta.deliveries.log] == [[200]] * 3
    for _ in range(200):
        await asyncio.sleep(0.05)
        told = (await site.call("GET", "/metrics", headers=BEARER))[1]
        if f'coexistence_from_strangers{{id="{CAFE}"}} 3.0' in told:
            return
    raise AssertionError(told)
