"""The routes on a real server: who is let in, what is stored, and what everybody is told."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from channels import ADMIN_TOKEN, PHONE_NUMBER_ID, SETUP, Site, credentials, running_channel
from ledgers import ANA, DAY, NOW, as_bytes, history, live

from rasa_coexistence import sessions
from rasa_coexistence.errors import LedgerUnavailable
from rasa_coexistence.ledger import inbox, schema
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.onboarding.adopting import check_in
from rasa_coexistence.signature import sign

LIVE = as_bytes(live(ANA, ("wamid.A1", "Hola")))
OLD = as_bytes(history(ANA, ("wamid.H1", "Antes", NOW - DAY)))
MIB = 1024 * 1024
BEARER = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
OK = (200, {"status": "ok"})


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Run the channel without a bot: what is accepted stays in the inbox or becomes rows."""
    async with running_channel(credentials(f"sqlite:///{tmp_path}/ledger.db")) as site:
        yield site


@pytest.fixture
async def idle(site: Site) -> Site:
    """Stop the worker: what was accepted stays to be looked at."""
    await site.service.worker.stop()
    return site


async def bodies(site: Site) -> list[bytes]:
    """Return what is stored and was not read yet."""
    statement = sa.select(schema.inbox.c.body).order_by(schema.inbox.c.id)
    found = await site.service.database.read(lambda connection: connection.execute(statement).scalars().all())
    return [bytes(body) for body in found]


async def rows(site: Site, table: Any) -> list[Any]:
    return await site.service.database.read(lambda connection: connection.execute(sa.select(table)).all())


async def test_the_channel_says_that_it_is_there(site: Site) -> None:
    """Load balancers ask for it."""
    assert await site.call("GET", "/") == OK


async def test_meta_verifies_the_webhook(site: Site) -> None:
    """Meta wants its challenge back, as it is."""
    query = {"hub.mode": "subscribe", "hub.verify_token": SETUP.verify_token, "hub.challenge": "1158201444"}
    async with site.session.get(f"{site.url}/webhook", params=query) as answer:
        assert (answer.status, await answer.text()) == (200, "1158201444")


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"hub.mode": "subscribe", "hub.challenge": "1"},
        {"hub.mode": "subscribe", "hub.challenge": "1", "hub.verify_token": ""},
        {"hub.mode": "subscribe", "hub.challenge": "1", "hub.verify_token": "guess"},
        {"hub.mode": "subscribe", "hub.challenge": "1", "hub.verify_token": "contraseña"},
        {"hub.mode": "unsubscribe", "hub.challenge": "1", "hub.verify_token": SETUP.verify_token},
    ],
)
async def test_nobody_else_verifies_the_webhook(site: Site, query: dict[str, str]) -> None:
    """Whoever could, could take over the subscription."""
    status, answer = await site.call("GET", "/webhook", params=query)
    assert (status, answer["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize("path", ["/webhook", "/history"])
async def test_a_signed_body_is_stored_byte_for_byte(idle: Site, path: str) -> None:
    """What Meta sent is what is read later."""
    for body in (LIVE, OLD):
        assert await idle.post(path, body) == OK
    assert await bodies(idle) == [LIVE, OLD]


@pytest.mark.parametrize("path", ["/webhook", "/history"])
async def test_a_long_signed_body_is_stored_packed(idle: Site, path: str) -> None:
    """Months of chat say much twice, and what is unpacked is what was signed."""
    said = [(f"wamid.H{number}", "¿Tienen la mochila azul?", NOW - DAY + number) for number in range(1000)]
    long = as_bytes(history(ANA, *said))
    assert await idle.post(path, long) == OK
    [stored] = await bodies(idle)
    assert inbox.unpacked(stored) == long
    assert len(stored) < len(long) / 2


async def test_old_chat_is_nobody_who_writes(idle: Site) -> None:
    """Meta sends months of it in many small webhooks too, and old chat does not pause for old chat."""
    assert await idle.post("/history", OLD) == OK
    assert idle.service.database.courtesy.piece(3200) == 3200
    assert await idle.post("/webhook", LIVE) == OK
    assert idle.service.database.courtesy.piece(3200) == 100


def _wrong(body: bytes) -> dict[str, Any]:
    right = sign(body, SETUP.app_secret)
    digest = hmac.new(SETUP.app_secret.encode(), body, hashlib.sha1).hexdigest()
    return {
        "none": None,
        "empty": "",
        "the digest alone": right.removeprefix("sha256="),
        "another hash": f"sha1={digest}",
        "too short": right[:-1],
        "too long": f"{right}0",
        "not hexadecimal": f"sha256={'z' * 64}",
        "not ASCII": "sha256=ñandú",
        "bytes of no encoding": b"sha256=\xff\xfe",
        "another secret": sign(body, "guess"),
        "an empty secret": sign(body, ""),
        "of another body": sign(body + b" ", SETUP.app_secret),
    }


@pytest.mark.parametrize("path", ["/webhook", "/history"])
@pytest.mark.parametrize("kind", list(_wrong(LIVE)))
async def test_what_meta_did_not_sign_is_refused(idle: Site, path: str, kind: str) -> None:
    """Anybody could put words into a customer's mouth."""
    given = _wrong(LIVE)[kind]
    status, code = await post_by_hand(idle, path, LIVE, given)
    assert (status, code) == (401, "unauthorized")
    assert await bodies(idle) == []


async def post_by_hand(site: Site, path: str, body: bytes, signature: str | bytes | None) -> tuple[int, str]:
    """Post with any header at all, also one that no client library would write."""
    host, port = site.url.split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /webhooks/whatsapp{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
    raw = signature.encode() if isinstance(signature, str) else signature
    header = b"" if raw is None else b"X-Hub-Signature-256: " + raw + b"\r\n"
    writer.write(head.encode() + header + b"Connection: close\r\n\r\n" + body)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    head_, _, said = answer.partition(b"\r\n\r\n")
    return int(head_.split()[1]), str(msgspec.json.decode(said)["error"]["code"])


async def test_a_body_changed_by_one_byte_is_refused(idle: Site) -> None:
    """The signature is of exactly these bytes."""
    signature = sign(LIVE, SETUP.app_secret)
    for place in (0, len(LIVE) // 2, len(LIVE) - 1):
        changed = LIVE[:place] + bytes([LIVE[place] ^ 1]) + LIVE[place + 1 :]
        status, _ = await idle.post("/webhook", changed, **{"X-Hub-Signature-256": signature})
        assert status == 401
    assert await bodies(idle) == []


async def test_while_secrets_rotate_both_count(tmp_path: Path) -> None:
    """Meta signs with the new secret from one moment to the next."""
    block = credentials(f"sqlite:///{tmp_path}/ledger.db", app_secret=["new", SETUP.app_secret])
    async with running_channel(block) as site:
        assert await site.post("/webhook", LIVE) == OK
        assert await site.post("/webhook", LIVE, **{"X-Hub-Signature-256": sign(LIVE, "new")}) == OK


@pytest.mark.parametrize("body", [b"", b"hello", b"{", b'{"object":', b"\xff\xfe", b'{"a":NaN}', b"[" * 100])
@pytest.mark.parametrize("path", ["/webhook", "/history"])
async def test_what_is_not_json_is_refused(idle: Site, path: str, body: bytes) -> None:
    """Nothing could ever be read from it."""
    status, answer = await idle.post(path, body)
    assert (status, answer["error"]["code"]) == (400, "bad_request")
    assert await bodies(idle) == []


WRONG_SHAPES: list[Any] = [
    [],
    [{"object": "whatsapp_business_account"}],
    None,
    7,
    "hello",
    True,
    {},
    {"object": "page", "entry": []},
    {"object": 7},
    {"entry": {}},
    {"entry": [7, None, "x", []]},
    {"entry": [{"changes": {}}]},
    {"entry": [{"changes": [7, {}]}]},
    {"entry": [{"changes": [{"field": 5, "value": {}}]}]},
    {"entry": [{"changes": [{"field": "messages", "value": []}]}]},
    {"entry": [{"changes": [{"field": "messages", "value": {"messages": {}}}]}]},
    {"entry": [{"changes": [{"field": "messages", "value": {"metadata": [], "messages": [[], 5, {}]}}]}]},
    {"entry": [{"changes": [{"field": "news", "value": {"a": 1}}]}]},
    {"history": 5},
    {"history": [5, {"threads": 7}, {"threads": [5, {"id": {}}]}]},
    {"event": "history", "data": []},
    {"event": "history", "data": {"history": [{"threads": [{"id": "1", "messages": {"a": 1}}]}]}},
]


@pytest.mark.parametrize("body", WRONG_SHAPES, ids=lambda body: msgspec.json.encode(body).decode()[:60])
async def test_json_of_any_shape_is_taken_and_kept(site: Site, body: Any) -> None:
    """A 4xx would make Meta send it for seven days, and drop what we cannot read yet."""
    assert await site.post("/webhook", body) == OK
    assert await site.post("/history", body) == OK
    await read_out(site)
    assert await rows(site, schema.set_aside)


async def read_out(site: Site) -> None:
    """Wait until all that was accepted has been read."""
    for _ in range(200):
        if not await bodies(site):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the inbox was never read to its end")


@pytest.mark.parametrize(
    "body",
    [
        {"object": "whatsapp_business_account", "entry": []},
        {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": []}]},
    ],
)
async def test_an_empty_batch_is_taken(site: Site, body: Any) -> None:
    """There is nothing to keep in it and nothing wrong with it."""
    assert await site.post("/webhook", body) == OK
    await read_out(site)
    assert await rows(site, schema.set_aside) == []


async def test_sixteen_mebibytes_are_taken_and_seventeen_are_not(idle: Site) -> None:
    """A history chunk has three; without a limit anybody could fill the memory."""
    large = LIVE[:-1] + b" " * (16 * MIB - len(LIVE)) + b"}"
    assert len(large) == 16 * MIB
    assert await idle.post("/webhook", large) == OK
    status, answer = await idle.post("/webhook", large + b" ")
    assert (status, answer["error"]["code"]) == (413, "too_large")
    status, _ = await idle.post("/history", bytes(17 * MIB), **BEARER)
    assert status == 413
    assert len(await bodies(idle)) == 1


@pytest.mark.parametrize("size", [1, 17])
async def test_a_body_in_chunks_is_counted_while_it_comes(idle: Site, size: int) -> None:
    """Its length is not announced."""
    whole = LIVE[:-1] + b" " * (size * MIB) + b"}"

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(whole), 65536):
            yield whole[start : start + 65536]

    headers = {"X-Hub-Signature-256": sign(whole, SETUP.app_secret)}
    status, _ = await idle.call("POST", "/webhook", data=pieces(), headers=headers)
    assert status == (200 if size == 1 else 413)
    assert len(await bodies(idle)) == (1 if size == 1 else 0)


async def test_the_server_lives_on_after_a_body_that_was_too_large(site: Site) -> None:
    """The connection is the client's to lose, not everybody's."""
    for _ in range(3):
        await site.post("/webhook", bytes(17 * MIB))
    assert await site.post("/webhook", LIVE) == OK


HISTORY_VALUE = msgspec.json.decode(OLD)["entry"][0]["changes"][0]["value"]
HISTORY_SHAPES = {
    "envelope": msgspec.json.decode(OLD),
    "bare": {key: HISTORY_VALUE[key] for key in ("messaging_product", "metadata", "history")},
    "event": {"event": "history", "data": HISTORY_VALUE},
    "event with an envelope": {"event": "history", "data": msgspec.json.decode(OLD)},
}


@pytest.mark.parametrize("shape", list(HISTORY_SHAPES))
@pytest.mark.parametrize("signed", [True, False])
async def test_history_comes_in_each_shape_signed_or_with_the_admin_token(
    site: Site, shape: str, signed: bool
) -> None:
    """Providers split it off and wrap it as they like; not all of them can sign as Meta does."""
    body = HISTORY_SHAPES[shape]
    if signed:
        assert await site.post("/history", body) == OK
    else:
        assert await site.call("POST", "/history", json=body, headers=BEARER) == OK
    await read_out(site)
    [message] = await rows(site, schema.messages)
    assert (message.wamid, message.source, message.text) == ("wamid.H1", "history", "Antes")


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer guess", f"Basic {ADMIN_TOKEN}", "Bearer señal"])
async def test_history_with_a_wrong_token_needs_a_signature(idle: Site, given: str) -> None:
    """The token is no shortcut for who does not know it, and no obstacle for who can sign."""
    headers = {"Authorization": given}
    assert (await idle.call("POST", "/history", data=OLD, headers=headers))[0] == 401
    assert await idle.post("/history", OLD, **headers) == OK


async def test_the_admin_token_does_not_open_the_webhook(idle: Site) -> None:
    """Live messages come from Meta alone."""
    assert (await idle.call("POST", "/webhook", data=LIVE, headers=BEARER))[0] == 401


async def test_without_admin_token_history_must_be_signed(tmp_path: Path) -> None:
    """An empty token must not fit an empty setting."""
    block = credentials(f"sqlite:///{tmp_path}/ledger.db", admin_token=None)
    async with running_channel(block) as site:
        for given in ("Bearer", "Bearer ", "Bearer None"):
            headers = {"Authorization": given}
            assert (await site.call("POST", "/history", data=OLD, headers=headers))[0] == 401
        assert await site.post("/history", OLD) == OK


async def test_the_sync_status_is_for_admins(site: Site) -> None:
    """It tells about customers."""
    for headers in ({}, {"Authorization": "Bearer guess"}, {"Authorization": "Bearer señal"}):
        status, answer = await site.call("GET", "/api/sync/status", headers=headers)
        assert (status, answer["error"]["code"]) == (401, "unauthorized")


async def test_without_admin_token_there_is_no_sync_status(tmp_path: Path) -> None:
    """Nobody could ever be let in."""
    block = credentials(f"sqlite:///{tmp_path}/ledger.db", admin_token=None)
    async with running_channel(block) as site:
        status, answer = await site.call("GET", "/api/sync/status", headers=BEARER)
    assert (status, answer["error"]["code"]) == (404, "not_found")


async def test_the_sync_status_of_a_number_before_its_history(site: Site) -> None:
    """Every key is there from the beginning."""
    status, answer = await site.call("GET", f"/api/sync/status?id={PHONE_NUMBER_ID}", headers=BEARER)
    assert status == 200
    history, contacts = answer["history"], answer["contacts"]
    assert [answer[key] for key in ("phone_number_id", "display_phone_number", "sync_status")] == [
        PHONE_NUMBER_ID,
        None,
        "not_started",
    ]
    never_asked = {"status": "not_started", "request_id": None, "requested_at": None, "received": 0}
    assert contacts == never_asked | {"error": None}
    assert (
        history.items()
        >= {
            **dict.fromkeys(("request_id", "requested_at", "phase", "chunk_order", "last_chunk_at")),
            **dict.fromkeys(("completed_at", "completed_by", "error")),
            "status": "not_started",
            "progress": 0,
            "messages_received": 0,
            "messages_imported": 0,
            "conversations": 0,
        }.items()
    )


async def test_the_sync_status_follows_the_chunks(site: Site) -> None:
    """The owner watches it."""
    body = as_bytes(history(ANA, ("wamid.H1", "Antes", NOW - DAY), phase=1, chunk_order=5, progress=55))
    assert await site.post("/webhook", body) == OK
    await read_out(site)
    _, answer = await site.call("GET", "/api/sync/status", headers=BEARER)
    assert answer["display_phone_number"] == SETUP.display_phone_number
    assert answer["sync_status"] == "syncing"
    seen = {key: answer["history"][key] for key in ("phase", "chunk_order", "progress", "conversations")}
    assert seen == {"phase": 1, "chunk_order": 5, "progress": 55, "conversations": 1}
    assert answer["history"]["messages_received"] == 1
    assert answer["history"]["last_chunk_at"] > NOW


async def test_declined_history_is_told_as_such(site: Site) -> None:
    """The owner chose so; it is no error of anybody's."""
    declined = {"code": 2593109, "title": "History sync is turned off", "message": "...", "error_data": {}}
    envelope = msgspec.json.decode(OLD)
    envelope["entry"][0]["changes"][0]["value"]["history"] = [{"errors": [declined]}]
    assert await site.post("/webhook", envelope) == OK
    await read_out(site)
    _, answer = await site.call("GET", "/api/sync/status", headers=BEARER)
    assert (answer["sync_status"], answer["history"]["status"]) == ("declined", "declined")
    assert "2593109" in answer["history"]["error"]


@pytest.mark.parametrize("number", ["1", "x" * 300, "%00", "ñ", "'; DROP TABLE x"])
async def test_the_sync_status_of_an_unknown_number_is_not_found(postgres_database: str, number: str) -> None:
    """Also of one that no database could hold."""
    async with running_channel(credentials(postgres_database)) as site:
        status, answer = await site.call("GET", f"/api/sync/status?id={number}", headers=BEARER)
    assert (status, answer["error"]["code"]) == (404, "not_found")


async def test_503_when_the_ledger_cannot_store(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Meta sends it again; a 200 would be the message's end."""

    async def refuse(*_args: Any, **_others: Any) -> None:
        raise LedgerUnavailable("the disk is full")

    monkeypatch.setattr(site.service.database, "write", refuse)
    for path in ("/webhook", "/history"):
        status, answer = await site.post(path, LIVE)
        assert (status, answer["error"]["code"]) == (503, "unavailable")
    monkeypatch.undo()
    assert await site.post("/webhook", LIVE) == OK


async def test_a_server_that_starts_before_its_database_serves_as_soon_as_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut everything starts at once."""
    monkeypatch.setattr("rasa_coexistence.service.OPEN_RETRY_SECONDS", 0.05)
    folder = tmp_path / "later"
    async with running_channel(credentials(f"sqlite:///{folder}/ledger.db")) as site:
        assert await site.call("GET", "/") == OK
        assert (await site.post("/webhook", LIVE))[0] == 503
        assert (await site.call("GET", "/api/sync/status", headers=BEARER))[0] == 503
        folder.mkdir()
        for _ in range(100):
            if (await site.post("/webhook", LIVE))[0] == 200:
                break
            await asyncio.sleep(0.05)
        await read_out(site)
        assert len(await rows(site, schema.messages)) == 1


async def test_a_ledger_that_turns_out_to_be_a_newer_release_s_is_told_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The server is up already; nobody would know why every webhook gets 503."""
    monkeypatch.setattr("rasa_coexistence.service.OPEN_RETRY_SECONDS", 0.05)
    folder = tmp_path / "later"
    async with running_channel(credentials(f"sqlite:///{folder}/ledger.db")) as site:
        with monkeypatch.context() as newer:
            newer.setattr(schema, "SCHEMA_VERSION", 99)
            made = Database(f"sqlite:///{tmp_path}/ledger.db")
            made.open()
            await made.close()
        assert (await site.post("/webhook", LIVE))[0] == 503
        tmp_path.joinpath("newer").mkdir()
        tmp_path.joinpath("ledger.db").rename(tmp_path / "newer" / "ledger.db")
        tmp_path.joinpath("newer").rename(folder)
        told = ""
        for _ in range(100):
            told += capfd.readouterr().out
            if "ledger.cannot_open" in told:
                break
            await asyncio.sleep(0.05)
        assert "install the newer release" in told
        assert (await site.post("/webhook", LIVE))[0] == 503


async def test_a_ledger_that_cannot_be_opened_for_any_other_reason_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Somebody puts the rights of its user right meanwhile."""
    monkeypatch.setattr("rasa_coexistence.service.OPEN_RETRY_SECONDS", 0.05)
    folder, tries = tmp_path / "later", list[int]()

    def fails_twice(*args: Any, **others: Any) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("permission denied for schema public")
        check_in(*args, **others)

    monkeypatch.setattr("rasa_coexistence.service.check_in", fails_twice)
    async with running_channel(credentials(f"sqlite:///{folder}/ledger.db")) as site:
        assert (await site.post("/webhook", LIVE))[0] == 503
        folder.mkdir()
        for _ in range(200):
            if (await site.post("/webhook", LIVE))[0] == 200:
                break
            await asyncio.sleep(0.05)
        assert await site.post("/webhook", LIVE) == OK
    assert "ledger.cannot_open" in capfd.readouterr().out


@pytest.mark.parametrize("path", ["/api/sync/events?id=%00", "/api/onboarding/%2500"])
async def test_ids_that_no_database_could_hold_are_not_found(postgres_database: str, path: str) -> None:
    """They are not an error of ours."""
    async with running_channel(credentials(postgres_database)) as site:
        assert (await site.call("GET", path, headers=BEARER))[0] == 404


def test_a_cookie_of_any_bytes_is_no_session() -> None:
    """Sanic hands out what is not UTF-8 as halves of characters."""
    assert not sessions.is_session("\udcff.\udcff", "a token", now=0.0)


async def test_everything_that_was_accepted_is_there_after_a_restart(tmp_path: Path) -> None:
    """A 200 means that the bytes are on disk."""
    block = credentials(f"sqlite:///{tmp_path}/ledger.db")
    async with running_channel(block) as site:
        await site.service.worker.stop()
        answers = await asyncio.gather(*(site.post("/webhook", LIVE) for _ in range(20)))
        assert answers == [OK] * 20
    database = Database(block["database_url"])
    database.open()
    found = await database.read(lambda connection: connection.execute(sa.select(schema.inbox.c.body)).all())
    await database.close()
    assert [bytes(row.body) for row in found] == [LIVE] * 20
