"""The doctor knocks at the webhook's public address as Meta would, and tells what answers there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from servers import free_port
from shell import open_desk, the

from rasa_coexistence.doctor import webhook_part
from rasa_coexistence.doctor.addresses import same_place, server_of, shown, webhook_of
from rasa_coexistence.doctor.line import Level
from rasa_coexistence.signature import check_signature

Answer = Callable[[web.Request], Awaitable[web.Response]]
WEBHOOK = "/webhooks/whatsapp/webhook"


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[str]:
    """Run a server of somebody else's."""
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def shakes_hands(request: web.Request) -> web.Response:
    """Answer the handshake and whatever is posted."""
    return web.Response(text=request.query.get("hub.challenge", ""))


async def redirects(request: web.Request) -> web.Response:
    """Send elsewhere."""
    return web.Response(status=301, headers={"Location": "https://elsewhere.example"})


async def knows_nothing(request: web.Request) -> web.Response:
    """Answer as a server without our channel."""
    return web.Response(status=404, text="no")


async def welcomes(request: web.Request) -> web.Response:
    """Answer as a web site's front page."""
    return web.Response(text="<html>Welcome</html>")


async def has_no_ledger(request: web.Request) -> web.Response:
    """Answer as our channel does while its database is gone."""
    return await shakes_hands(request) if request.method == "GET" else web.Response(status=503)


async def is_broken(request: web.Request) -> web.Response:
    """Answer as a proxy whose server is gone."""
    return await shakes_hands(request) if request.method == "GET" else web.Response(status=502)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (shakes_hands, "also takes what Meta did not sign"),
        (redirects, "Meta does not follow"),
        (knows_nothing, "does not shake hands (HTTP 404)"),
        (welcomes, "does not shake hands (HTTP 200)"),
        (has_no_ledger, "cannot store webhooks"),
        (is_broken, "HTTP 502"),
    ],
)
async def test_somebody_else_answers(tmp_path: Path, answer: Answer, said: str) -> None:
    """Whatever is not our channel in good order is seen."""
    async with open_desk(tmp_path, serves=False) as desk, answering(answer) as url:
        line = the(await desk.examine(url=url), "webhook")
        assert (line.level, said in line.text) == (Level.FAILURE, True), line
        assert line.remedy


async def test_rasa_does_not_run(tmp_path: Path) -> None:
    """Then the address is silent, and the remedy is to start it; all else is looked at."""
    async with open_desk(tmp_path, serves=False, base_url=f"http://127.0.0.1:{free_port()}") as desk:
        lines = await desk.examine()
        line = the([one for one in lines if "does not answer" in one.text], "webhook")
        assert "start rasa run" in str(line.remedy)
        assert the(lines, "token").level is Level.OK
        assert (await desk.shell("doctor")).exit_code == 1


async def test_server_with_other_settings(tmp_path: Path) -> None:
    """A server that was not restarted after a change knows neither the new token nor the new secret."""
    async with open_desk(tmp_path) as desk:
        desk.block["verify_token"] = "another one"
        assert "verify_token" in the(await desk.examine(), "webhook").text
        desk.block["verify_token"] = "simulated-verify-token"
        desk.block["app_secret"] = "another one"
        assert "app_secret" in the(await desk.examine(url=desk.webhook_url), "webhook").text


async def test_address_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for longer than a few seconds."""
    monkeypatch.setattr(webhook_part, "SECONDS", aiohttp.ClientTimeout(total=0.2))

    async def hangs(request: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    async with open_desk(tmp_path, serves=False) as desk, answering(hangs) as url:
        begun = time.monotonic()
        assert "does not answer" in the(await desk.examine(url=url), "webhook").text
        assert time.monotonic() - begun < 5


async def test_meta_calls_another_address(tmp_path: Path) -> None:
    """History comes to the app's callback URL, whatever base_url says."""
    async with open_desk(tmp_path) as desk:
        desk.meta.accounts.webhook_url = "https://elsewhere.example/hook?secret=hidden"
        lines = await desk.examine(url=desk.webhook_url)
        line = the(lines, "webhook")
        assert (line.level, "elsewhere.example/hook" in line.text) == (Level.FAILURE, True)
        assert "hidden" not in str(lines)
        assert any(one.check == "webhook" and one.level is Level.OK for one in lines)


async def test_nobody_knows_the_address(tmp_path: Path) -> None:
    """Without base_url, --url or Meta's word there is nowhere to knock."""
    async with open_desk(tmp_path, serves=False) as desk:
        desk.meta.accounts.webhook_url = None
        line = the(await desk.examine(), "webhook")
        assert (line.level, "base_url" in str(line.remedy)) == (Level.WARNING, True)


async def test_meta_wants_https(tmp_path: Path) -> None:
    """The real Meta posts to https alone."""
    async with open_desk(tmp_path) as desk:
        url, desk.block["graph_url"] = desk.webhook_url, f"https://127.0.0.1:{free_port()}"
        lines = await desk.examine(url=url)
        assert any("is not https" in line.text for line in lines)


async def test_the_knock_holds_nothing_and_is_signed(tmp_path: Path) -> None:
    """What arrives is an envelope without entries, signed as Meta signs."""
    async with open_desk(tmp_path, serves=False) as desk:
        taken: list[tuple[bytes, str | None]] = []

        async def take(request: web.Request) -> web.Response:
            if request.method == "GET":
                return await shakes_hands(request)
            taken.append((await request.read(), request.headers.get("X-Hub-Signature-256")))
            return web.Response(status=200 if len(taken) == 1 else 401)

        async with answering(take) as url:
            assert the(await desk.examine(url=url), "webhook").level is Level.OK
        (body, right), (again, wrong) = taken
        assert body == again == b'{"object":"whatsapp_business_account","entry":[]}'
        check_signature(body, right, app_secrets=[desk.block["app_secret"]])
        assert right != wrong


def test_addresses_as_people_write_them() -> None:
    """The server's address and the webhook's are both understood."""
    for url in ("https://a.example", "https://a.example/", f"https://a.example{WEBHOOK}"):
        assert webhook_of(url) == f"https://a.example{WEBHOOK}"
        assert server_of(url) == "https://a.example"
    assert webhook_of("https://a.example/rasa/") == f"https://a.example/rasa{WEBHOOK}"
    assert same_place("https://A.example:443/x/", "https://a.example/x")
    assert not same_place("https://a.example/x", "https://a.example/y")
    assert shown("https://u:p@a.example:8443/x?t=1#f") == "https://a.example:8443/x"
