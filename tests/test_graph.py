"""What the Graph client asks of Meta, and how it reads what Meta answers."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from aiohttp import web
from aioresponses import aioresponses
from graph_calls import (
    ACCEPTED,
    BEARERS,
    CALLS,
    META,
    NOT_REPEATABLE,
    REQUESTS,
    TOKEN,
    client_for,
    error_of,
    send,
    serving,
)

from rasa_coexistence.graph.answers import read_app_subscriptions, read_token_facts
from rasa_coexistence.graph.client import GraphClient
from rasa_coexistence.graph.errors import Verdict


@pytest.mark.parametrize("name", REQUESTS)
async def test_call_is_made_as_meta_documents_it(name: str) -> None:
    """Method, path, query, body and token, seen from the other side of a socket."""
    call, answer, expected = REQUESTS[name]
    seen: list[Any] = []

    async def note(request: web.Request) -> web.Response:
        raw = await request.read()
        body = json.loads(raw) if raw else None
        seen.append((request.method, request.path, dict(request.query), body))
        seen.append(request.headers.get("Authorization"))
        return web.json_response(answer)

    async with serving(note) as url, client_for(url) as client:
        await call(client)
    assert seen == [expected, BEARERS.get(name, f"Bearer {TOKEN}")]


def test_no_call_registers_a_number() -> None:
    """Registering takes the number out of the owner's phone."""
    assert not [name for name, _ in inspect.getmembers(GraphClient) if "register" in name]


async def test_answers_are_read_into_values() -> None:
    """Numbers may come as text, keys may be missing."""
    with aioresponses() as meta:
        async with client_for() as client:
            meta.post(f"{META}/2002/messages", payload=ACCEPTED)
            receipt = await send(client)
            assert (receipt.wamid, receipt.wa_id, receipt.user_id) == ("wamid.A", "16505551234", None)
            hidden = {"messages": [{"id": "wamid.B"}], "contacts": [{"input": "US.1", "user_id": "US.1"}]}
            meta.post(f"{META}/2002/messages", payload=hidden)
            receipt = await send(client)
            assert (receipt.wamid, receipt.wa_id, receipt.user_id) == ("wamid.B", None, "US.1")
            meta.get(
                f"{META}/77", payload={"url": "https://x.fbsbx.com/y", "file_size": "303833", "sha256": "s"}
            )
            media = await client.media("77", access_token=TOKEN)
            assert (media.file_size, media.sha256, media.mime_type) == (303833, "s", None)
            meta.get(
                f"{META}/2002?fields=throughput", payload={"id": "2002", "throughput": {"level": "HIGH"}}
            )
            number = await client.number("2002", fields="throughput", access_token=TOKEN)
            assert (number.is_on_biz_app, number.raw["throughput"]) == (None, {"level": "HIGH"})
            meta.post(f"{META}/2002/smb_app_data", payload={"messaging_product": "whatsapp"})
            assert await client.request_sync("2002", "history", access_token=TOKEN) is None
    granular = [
        {"scope": "whatsapp_business_management", "target_ids": ["1001", 1002]},
        {"scope": "whatsapp_business_messaging", "target_ids": ["1001"]},
        {"scope": "business_management", "target_ids": ["3003"]},  # a business, not a WABA
        {"scope": "whatsapp_business_manage_events"},
    ]
    facts = read_token_facts(
        {"data": {"is_valid": True, "expires_at": 0, "scopes": ["a"], "granular_scopes": granular}}
    )
    assert facts is not None
    assert (facts.expires_at, facts.scopes, facts.waba_ids) == (None, ("a",), ("1001", "1002"))
    listed = read_app_subscriptions(
        {"data": [{"object": "o", "fields": [{"name": "messages"}]}, {"object": "p", "fields": ["history"]}]}
    )
    assert listed is not None
    assert [subscription.fields for subscription in listed] == [("messages",), ("history",)]


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (500, "<html>", Verdict.UNCLEAR),
        (502, "", Verdict.UNCLEAR),
        (503, '{"error":"busy"}', Verdict.UNCLEAR),
        (504, '{"error":{"message":"gateway"}}', Verdict.UNCLEAR),
        (408, "", Verdict.UNCLEAR),
        (429, "", Verdict.THROTTLED),
        (404, "<html>", Verdict.STOP),
        (302, "", Verdict.STOP),
        (200, "<html>", Verdict.UNCLEAR),
        (200, "", Verdict.UNCLEAR),
        (200, "[]", Verdict.UNCLEAR),
        (200, "{}", Verdict.UNCLEAR),
        (200, '{"messages":[]}', Verdict.UNCLEAR),
        (200, '{"messages":[{"id":""}]}', Verdict.UNCLEAR),
        (200, '{"messages":{"id":"wamid.A"}}', Verdict.UNCLEAR),
        (200, "\udcff", Verdict.UNCLEAR),
        (200, "[" * 100_000, Verdict.UNCLEAR),
    ],
)
async def test_answer_that_is_not_metas_proves_nothing(status: int, body: str, verdict: Verdict) -> None:
    """A message may have gone out behind a gateway's error page: it must not be sent again."""
    with aioresponses() as meta:
        meta.post(f"{META}/2002/messages", status=status, body=body.encode("utf-8", "surrogateescape"))
        async with client_for() as client:
            raised = await error_of(send(client))
    assert raised.verdict is verdict
    assert raised.http_status == status


@pytest.mark.parametrize("name", CALLS)
async def test_only_what_may_be_repeated_is(name: str) -> None:
    """A question asked twice does no harm; a message, a sign-up's code and a sync request do."""

    async def fail(request: web.Request) -> web.Response:
        return web.Response(status=502)

    async with serving(fail) as url, client_for(url) as client:
        raised = await error_of(CALLS[name](client))
    assert raised.verdict is (Verdict.UNCLEAR if name in NOT_REPEATABLE else Verdict.RETRY)


async def test_success_denied_is_an_error() -> None:
    """Meta may answer 200 and still say no."""
    with aioresponses() as meta:
        meta.post(f"{META}/1001/subscribed_apps", payload={"success": False})
        async with client_for() as client:
            raised = await error_of(client.subscribe_app("1001", access_token=TOKEN))
    assert raised.verdict is Verdict.STOP


@pytest.mark.parametrize("id_", ["", "..", "../me", "1/2", "a?b", "a#b", "1%2F2", "1\n", "x" * 300])
async def test_id_that_is_none_is_not_made_part_of_an_address(id_: str) -> None:
    """Ids of media come with webhooks; they must not lead a token elsewhere."""
    async with client_for() as client:
        raised = await error_of(client.media(id_, access_token=TOKEN))
    assert raised.verdict is Verdict.STOP


@pytest.mark.parametrize("body", [{"text": {"body": "\ud83d"}}, {"x": object()}])
async def test_body_that_is_no_json_is_not_sent(body: dict[str, Any]) -> None:
    """It would fail for ever, so it stops here."""
    async with client_for() as client:
        raised = await error_of(client.send_message("2002", body, access_token=TOKEN))
    assert raised.verdict is Verdict.STOP
