"""A custom action fetches what a customer sent through a link of ours, and nobody else does."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp
import pytest
import sqlalchemy as sa
from aiohttp import web
from channels import PHONE_NUMBER_ID, SETUP, Site, credentials, running_channel
from cloud_api import running_simulator
from cryptography.fernet import Fernet
from graph_calls import serving
from ledgers import ANA, NUMBER

from rasa_coexistence import media_links
from rasa_coexistence.graph.client import LARGEST_MEDIA
from rasa_coexistence.ledger import schema, syncs
from rasa_coexistence.media import plain_type
from rasa_coexistence.media_links import BadLink, DeadLink, MediaLink, read_link, url_of, with_link
from rasa_coexistence.simulator import Simulator, webhooks
from rasa_coexistence.simulator.state import JSON, Number

NOON = 1_760_104_640.0
LINK = MediaLink(media_id="7001", message_id=57, expires=int(NOON) + 60)
BASE = "https://bot.example"


def parts(link: MediaLink = LINK, secret: str = "one") -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url_of(BASE, link, [secret])).query))


def opened(changes: dict[str, str] | None = None, *, media_id: str = "7001", now: float = NOON) -> MediaLink:
    given = parts() | (changes or {})
    return read_link(
        media_id,
        given.get("message"),
        given.get("expires"),
        given.get("signature"),
        app_secrets=["two", "one"],
        now=now,
    )


def test_link_leads_to_its_file() -> None:
    """It stands under base_url, and still opens while the app secret rotates."""
    assert url_of(f"{BASE}/", LINK, ["one"]).startswith(f"{BASE}/webhooks/whatsapp/media/7001?")
    assert opened() == LINK


@pytest.mark.parametrize(
    "changes",
    [
        {"expires": str(LINK.expires + 1)},
        {"message": "58"},
        {"signature": "0" * 64},
        {"signature": ""},
        {"signature": "ñ"},
        {"signature": parts(secret="three")["signature"]},
        {"expires": "soon"},
        {"message": "\u0665\u0667"},
        {"expires": "9" * 400},
        {"message": "-57"},
    ],
)
def test_changed_link_opens_nothing(changes: dict[str, str]) -> None:
    """Who has one link must not make another of it."""
    with pytest.raises(BadLink):
        opened(changes)


def test_link_for_one_file_opens_no_other() -> None:
    """The id in the path is signed as well."""
    with pytest.raises(BadLink):
        opened(media_id="7002")


def test_webhook_signature_is_no_media_signature() -> None:
    """Both come from the app secret; a key of its own keeps one from serving as the other."""
    claim = f"{LINK.message_id}\n{LINK.expires}\n{LINK.media_id}".encode()
    with pytest.raises(BadLink):
        opened({"signature": hmac.new(b"one", claim, hashlib.sha256).hexdigest()})


def test_link_dies() -> None:
    """It stands in the tracker, in logs, in front of models: it must not open the file for ever."""
    with pytest.raises(DeadLink):
        opened(now=LINK.expires)


def test_metas_own_address_is_never_handed_on() -> None:
    """It needs the access token, which no custom action should have."""
    fields = {"media": {"id": "7001", "url": "https://lookaside.fbsbx.com/x"}, "forwarded": True}
    without = with_link(fields, base_url=None, message_id=57, app_secrets=["one"], now=NOON)
    assert without == {"media": {"id": "7001"}, "forwarded": True}
    shown = with_link(fields, base_url=BASE, message_id=57, app_secrets=["one"], now=NOON)
    assert shown["media"]["url"].startswith(BASE)
    assert fields["media"] == {"id": "7001", "url": "https://lookaside.fbsbx.com/x"}
    assert with_link({}, base_url=BASE, message_id=57, app_secrets=["one"], now=NOON) == {}


@asynccontextmanager
async def shop(tmp_path: Path, graph_url: str, **changes: object) -> AsyncIterator[Site]:
    block = credentials(f"sqlite:///{tmp_path}/ledger.db", graph_url=graph_url, base_url=BASE, **changes)
    async with running_channel(block) as site:
        yield site


async def told(site: Site, media: JSON, *, kind: str = "image", number: Number = NUMBER) -> str:
    """Let a customer send a file; return the path of our link to it."""
    wamid = f"wamid.{media['id']}"
    message = webhooks.message(wamid, site.service.clock(), kind, media)
    status, _ = await site.post("/webhook", webhooks.envelope([webhooks.inbound(number, [(ANA, message)])]))
    assert status == 200
    row = None
    for _ in range(200):
        row = await site.service.database.read(
            lambda connection: connection.execute(
                sa.select(schema.messages).where(schema.messages.c.wamid == wamid)
            ).first()
        )
        if row is not None:
            break
        await asyncio.sleep(0.02)
    assert row is not None
    return path_of(site, media["id"], row.id)


def path_of(site: Site, media_id: str, message_id: int, *, seconds: float = 60) -> str:
    link = MediaLink(media_id=media_id, message_id=message_id, expires=int(site.service.clock() + seconds))
    return url_of(BASE, link, [SETUP.app_secret]).removeprefix(f"{BASE}/webhooks/whatsapp")


async def fetch(site: Site, path: str) -> tuple[int, bytes, dict[str, str]]:
    async with site.session.get(site.url + path) as answer:
        return answer.status, await answer.read(), {**answer.headers}


async def code_of(site: Site, path: str) -> tuple[int, str]:
    status, answer = await site.call("GET", path)
    return status, answer["error"]["code"]


@asynccontextmanager
async def shop_with_meta(tmp_path: Path) -> AsyncIterator[tuple[Site, Simulator]]:
    async with running_simulator() as simulator, shop(tmp_path, simulator.url) as site:
        yield site, simulator


async def test_file_comes_as_it_was_sent(tmp_path: Path) -> None:
    """Byte for byte, with the name that the customer gave it, and unable to do harm in a browser."""
    content = bytes(range(256)) * 999
    async with shop_with_meta(tmp_path) as (site, simulator):
        media = simulator.media.receive("application/pdf", content) | {"filename": "oferta 1€.pdf"}
        status, body, headers = await fetch(site, await told(site, media, kind="document"))
    assert (status, body) == (200, content)
    assert headers["Content-Type"] == "application/pdf"
    assert headers["Content-Length"] == str(len(content))
    assert headers["Content-Disposition"] == "attachment; filename*=UTF-8''oferta%201%E2%82%AC.pdf"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("sandbox")
    assert [call.operation for call in simulator.calls] == ["object", "download"]


async def test_link_without_or_with_a_wrong_signature_is_forbidden(tmp_path: Path) -> None:
    """And nobody asks Meta for anything because of it."""
    async with shop_with_meta(tmp_path) as (site, simulator):
        path = await told(site, simulator.media.receive("image/jpeg", b"x"))
        bare, _, query = path.partition("?")
        signed = dict(parse_qsl(query))
        for wrong in (
            {},
            signed | {"signature": "f" * 64},
            signed | {"expires": str(int(signed["expires"]) + 9)},
        ):
            assert await code_of(site, f"{bare}?{urlencode(wrong)}") == (403, "forbidden")
        assert simulator.calls == []


async def test_dead_link_is_gone(tmp_path: Path) -> None:
    """410 says that asking again is no use."""
    async with shop_with_meta(tmp_path) as (site, _simulator):
        assert await code_of(site, path_of(site, "7001", 1, seconds=-1)) == (410, "gone")


async def test_file_of_a_forgotten_customer_is_not_found(tmp_path: Path) -> None:
    """Forgetting somebody closes the links to what they sent, also when another message gets the row's id."""
    async with shop_with_meta(tmp_path) as (site, simulator):
        path = await told(site, simulator.media.receive("image/jpeg", b"x"))
        await site.service.database.write(lambda connection: connection.execute(schema.messages.delete()))
        assert await code_of(site, path) == (404, "not_found")
        await told(site, simulator.media.receive("image/jpeg", b"of somebody else"))
        assert await code_of(site, path) == (404, "not_found")


async def test_file_that_was_taken_back_is_gone(tmp_path: Path) -> None:
    """Who deletes a photo for everyone means everyone."""
    async with shop_with_meta(tmp_path) as (site, simulator):
        path = await told(site, simulator.media.receive("image/jpeg", b"x"))
        await site.service.database.write(
            lambda connection: connection.execute(schema.messages.update().values(revoked=True))
        )
        assert await code_of(site, path) == (410, "gone")


async def test_file_that_meta_dropped_is_gone(tmp_path: Path) -> None:
    """Meta keeps what customers send for a week."""
    async with shop_with_meta(tmp_path) as (site, simulator):
        path = await told(site, simulator.media.receive("image/jpeg", b"x"))
        simulator.clock.move(8 * 24 * 3600)
        assert await code_of(site, path) == (410, "gone")


@pytest.mark.parametrize(
    ("operation", "failure", "answer"),
    [
        ("object", {"kind": "error", "code": 190}, (502, "not_to_be_had")),
        ("object", {"kind": "error", "code": 131016}, (503, "unavailable")),
        ("object", {"kind": "http", "http_status": 500}, (503, "unavailable")),
        ("object", {"kind": "refuse"}, (503, "unavailable")),
        ("download", {"kind": "http", "http_status": 403}, (502, "not_to_be_had")),
        ("download", {"kind": "http", "http_status": 500}, (503, "unavailable")),
        ("download", {"kind": "http", "http_status": 404, "count": 2}, (410, "gone")),
        ("download", {"kind": "refuse"}, (503, "unavailable")),
    ],
)
async def test_failure_of_metas_is_told(
    tmp_path: Path, operation: str, failure: JSON, answer: tuple[int, str]
) -> None:
    """503 is worth another try, 502 needs somebody to look at it."""
    async with shop_with_meta(tmp_path) as (site, simulator):
        path = await told(site, simulator.media.receive("image/jpeg", b"x"))
        simulator.failures.add(operation, **failure)
        assert await code_of(site, path) == answer


async def test_address_that_died_on_the_way_is_asked_for_again(tmp_path: Path) -> None:
    """Meta's addresses live five minutes."""
    async with shop_with_meta(tmp_path) as (site, simulator):
        path = await told(site, simulator.media.receive("image/jpeg", b"x"))
        simulator.failures.add("download", "http", http_status=404)
        status, body, _ = await fetch(site, path)
    assert (status, body) == (200, b"x")


async def test_largest_file_passes_through_without_being_held(tmp_path: Path) -> None:
    """100 MB of a customer's video must not become 100 MB of memory."""
    async with shop_with_meta(tmp_path) as (site, simulator):
        path = await told(site, simulator.media.receive("video/mp4", size=LARGEST_MEDIA), kind="video")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        got = 0
        async with site.session.get(site.url + path) as answer:
            async for piece in answer.content.iter_any():
                got += len(piece)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert got == LARGEST_MEDIA
    assert grown < 50 * 1024  # KiB: both servers and the client are in this process


async def test_larger_file_is_not_fetched(tmp_path: Path) -> None:
    """It is nothing that a customer could have sent."""
    async with shop_with_meta(tmp_path) as (site, simulator):
        path = await told(site, simulator.media.receive("video/mp4", size=LARGEST_MEDIA + 1), kind="video")
        assert await code_of(site, path) == (413, "too_large")
        assert [call.operation for call in simulator.calls] == ["object"]


async def test_address_on_a_foreign_host_gets_no_token(tmp_path: Path) -> None:
    """Whoever could put an address into Meta's answer would have the token."""
    asked: list[web.Request] = []

    async def listen(request: web.Request) -> web.Response:
        asked.append(request)
        return web.Response(body=b"got you")

    async with shop_with_meta(tmp_path) as (site, simulator), serving(listen) as foreign:
        path = await told(site, simulator.media.receive("image/jpeg", b"x"))
        simulator.media.base_url = foreign
        assert await code_of(site, path) == (502, "not_to_be_had")
    assert asked == []


async def test_file_that_breaks_off_is_no_whole_file(tmp_path: Path) -> None:
    """The reader must see that something is missing."""

    async def break_off(request: web.Request) -> web.StreamResponse:
        if "lookaside" not in request.path:
            address = f"http://{request.host}/lookaside"
            return web.json_response({"url": address, "id": "7001", "messaging_product": "whatsapp"})
        answer = web.StreamResponse(headers={"Content-Length": "200000"})
        await answer.prepare(request)
        await answer.write(b"x" * 100_000)
        assert request.transport is not None
        request.transport.abort()
        return answer

    async with serving(break_off) as graph, shop(tmp_path, graph) as site:
        path = await told(site, {"id": "7001", "mime_type": "image/jpeg"})
        with pytest.raises(aiohttp.ClientError):
            await fetch(site, path)


async def test_each_number_shows_its_own_token(tmp_path: Path) -> None:
    """A file that came to one number cannot be had with the token of another."""
    shown: list[tuple[str, str]] = []

    async def note(request: web.Request) -> web.StreamResponse:
        shown.append((request.path, request.headers["Authorization"]))
        if "lookaside" in request.path:
            return web.Response(body=b"x")
        assert request.query["phone_number_id"] == "2002"
        address = f"http://{request.host}/lookaside"
        return web.json_response({"url": address, "id": "7001"})

    key = Fernet.generate_key().decode()
    several = {"sender_id": "{phone_number_id}:{contact}", "encryption_key": key}
    async with serving(note) as graph, shop(tmp_path, graph, **several) as site:
        other = Number(phone_number_id="2002", display_phone_number="15550002002", waba_id="1002")
        closed = site.service.tokens.closed("EAAtheOtherNumbers")
        await site.service.database.write(syncs.add_number, "2002", now=NOON)
        await site.service.database.write(
            lambda connection: connection.execute(
                schema.numbers.update()
                .where(schema.numbers.c.phone_number_id == "2002")
                .values(access_token=closed)
            )
        )
        path = await told(site, {"id": "7001", "mime_type": "image/jpeg"}, number=other)
        status, _, _ = await fetch(site, path)
    assert status == 200
    assert PHONE_NUMBER_ID != "2002"
    assert {token for _path, token in shown} == {"Bearer EAAtheOtherNumbers"}


@pytest.mark.parametrize(
    ("mime_type", "shown"),
    [
        ("audio/ogg; codecs=opus", "audio/ogg"),
        ("image/svg+xml", "image/svg+xml"),
        ("text/html\r\nSet-Cookie: a=b", "application/octet-stream"),
        ("nonsense", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_type_of_a_file_cannot_write_headers(mime_type: str, shown: str) -> None:
    """It is the sender's word; the header is ours."""
    assert plain_type(mime_type) == shown


def test_lifetime_covers_the_customer_service_window() -> None:
    """While the bot may still answer a message, its action can fetch the file."""
    assert media_links.LIFETIME_SECONDS == 24 * 3600
