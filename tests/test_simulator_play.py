"""The story is played to the end, shown in words, and judged honestly."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cloud_api import running_simulator
from rich.console import Console
from typer.testing import CliRunner

from rasa_coexistence.cli import app as command
from rasa_coexistence.events import CustomerMessage, HistoryChunk
from rasa_coexistence.from_whatsapp import read_webhook
from rasa_coexistence.simulator import Simulator
from rasa_coexistence.simulator.bot import Bot
from rasa_coexistence.simulator.demo import Place, demo, free_port
from rasa_coexistence.simulator.play import CannotPlay, Outcome, Play, Tempo
from rasa_coexistence.simulator.rasa_process import RasaDied, RasaProcess
from rasa_coexistence.simulator.running import INTERRUPTED, run_until_interrupted
from rasa_coexistence.simulator.screen import Screen
from rasa_coexistence.simulator.story import shop_story
from rasa_coexistence.simulator.typed import chat_by_hand

FAST = Tempo(pace=0, patience=0.5, quiet=0.1, sync=2)


@dataclass
class Parrot:
    """A bot with our routes that remembers what it is told and says one thing."""

    graph_url: str = ""
    port: int = 0
    mute: set[str] = field(default_factory=set)  # customers that get no answer
    shows_trackers: bool = True
    forgets: int = 0  # old messages it loses
    _old: dict[str, Counter[str]] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    @property
    def webhook_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/webhooks/whatsapp/webhook"

    async def take(self, request: web.Request) -> web.Response:
        for event in read_webhook(await request.read()):
            if isinstance(event, HistoryChunk):
                for thread in event.threads:
                    known = self._old.setdefault(str(thread.contact.wa_id), Counter())
                    known.update(
                        {message.wamid: 1 for message in thread.messages if message.wamid not in known}
                    )
            elif isinstance(event, CustomerMessage) and event.wamid not in self._seen:
                self._seen.add(event.wamid)
                await self._answer(str(event.contact.wa_id), str(event.contact.name))
        return web.Response()

    async def _answer(self, wa_id: str, name: str) -> None:
        if name in self.mute:
            return
        body = {"messaging_product": "whatsapp", "to": wa_id, "text": {"body": f"Aye, {name} [1]"}}
        url = f"{self.graph_url}/v26.0/845237608662425/messages"
        headers = {"Authorization": "Bearer EAAsimulatedtoken"}
        async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers):
            pass

    async def shake_hands(self, request: web.Request) -> web.Response:
        if request.query["hub.verify_token"] != "simulated-verify-token":
            return web.Response(status=403)
        return web.Response(text=request.query["hub.challenge"])

    async def sync(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer admin":
            return web.Response(status=401)
        received = sum(known.total() for known in self._old.values())
        counts = {"messages_received": received, "messages_imported": received}
        history = {"progress": 100, "conversations": len(self._old), **counts}
        return web.json_response({"sync_status": "completed", "history": history})

    async def tracker(self, request: web.Request) -> web.Response:
        if not self.shows_trackers:
            return web.Response(status=404)
        event = {"event": "user", "metadata": {"whatsapp": {"source": "history"}}}
        known = self._old.get(request.match_info["wa_id"], Counter()).total()
        return web.json_response({"events": [event] * max(0, known - self.forgets), "slots": {}})


@asynccontextmanager
async def running_parrot(**kind: Any) -> AsyncIterator[Parrot]:
    parrot = Parrot(**kind)
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_post("/webhooks/whatsapp/webhook", parrot.take)
    app.router.add_get("/webhooks/whatsapp/webhook", parrot.shake_hands)
    app.router.add_get("/webhooks/whatsapp/api/sync/status", parrot.sync)
    app.router.add_get("/conversations/{wa_id}/tracker", parrot.tracker)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    parrot.port = runner.addresses[0][1]
    try:
        yield parrot
    finally:
        await runner.cleanup()


async def played(admin_token: str | None = "admin", **kind: Any) -> tuple[Outcome, str]:
    """Play before a parrot; returns what came of it and what was shown."""
    shown = io.StringIO()
    async with running_parrot(**kind) as parrot, running_simulator(parrot.webhook_url) as meta:
        parrot.graph_url = meta.url
        bot = Bot(parrot.webhook_url, meta.number.phone_number_id, admin_token)
        story = shop_story(meta.number, now=meta.clock.now())
        try:
            return await Play(meta, bot, story, _screen(shown), FAST).run(), shown.getvalue()
        finally:
            await bot.close()


def _screen(file: io.StringIO) -> Screen:
    return Screen(Console(file=file, highlight=False, width=100))


async def test_the_story_is_played_and_shown() -> None:
    """Every question is seen with its answer, and what the bot knew in the middle of the sync."""
    outcome, shown = await played()
    assert outcome.is_good
    assert (outcome.answered, outcome.in_trackers) == (9, outcome.old_messages)
    for name, knew, arrived, in_all in outcome.knew:
        assert knew == arrived < in_all, name
        assert f"{name} wrote in the middle of the sync: the bot knew {knew} earlier messages" in shown
    for line in ("Lucía: Hola", "bot to Lucía: Aye, Lucía [1]", "sync [", "sync is completed", "9 of 9"):
        assert line in shown


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ({"mute": {"Liam"}}, "8 of 9 questions answered"),
        ({"forgets": 1}, "1,444 of 1,484 old messages"),
    ],
)
async def test_a_bot_that_fails_is_not_praised(kind: dict[str, Any], line: str) -> None:
    """The story ends badly for a question without answer, or an old message that is lost."""
    outcome, shown = await played(**kind)
    assert not outcome.is_good
    assert "NO" in shown
    assert line in shown


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ({"shows_trackers": False}, "start it with --enable-api"),
        ({"admin_token": None}, "give --admin-token"),
    ],
)
async def test_a_bot_that_shows_little_is_enough(kind: dict[str, Any], line: str) -> None:
    """Without Rasa's API or the admin token the story goes on, and says what is missing."""
    outcome, shown = await played(**kind)
    assert outcome.is_good
    assert line in shown


async def test_without_a_bot_it_says_what_to_do() -> None:
    """A wrong token or a bot that is not running is one sentence."""
    async with running_simulator("http://127.0.0.1:9/webhook") as meta:
        bot = Bot("http://127.0.0.1:9/webhook", "1", None)
        with pytest.raises(CannotPlay, match="Is `rasa run` up"):
            await Play(meta, bot, shop_story(meta.number, now=0), _screen(io.StringIO())).run()
        await bot.close()


async def test_what_is_typed_goes_out_from_both_phones(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the story whoever sits there can be the customer, and the owner."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hola\n\nphone: Ya voy\n"))
    async with running_parrot() as parrot, running_simulator(parrot.webhook_url) as meta:
        parrot.graph_url = meta.url
        await chat_by_hand(meta, _screen(io.StringIO()))
        [answer] = await meta.wait_for_sent()
        fields = [json.loads(one.body)["entry"][0]["changes"][0]["field"] for one in meta.deliveries.log]
    assert answer.text == "Aye, You [1]"
    assert [field for field in fields if field == "smb_message_echoes"] == ["smb_message_echoes"]


def test_the_story_is_the_same_each_time() -> None:
    """Forty customers, half a year, and nobody's last word too fresh for the bot to answer."""
    number, now = Simulator().number, 1_760_000_000.0
    story = shop_story(number, now=now)
    assert story == shop_story(number, now=now)
    assert len({chat.person.wa_id for chat in story.chats}) == 40
    ages = [now - message.at for chat in story.chats for message in chat.messages]
    assert min(ages) > 3600
    assert 170 * 86_400 < max(ages) < 180 * 86_400
    assert len({message.wamid for chat in story.chats for message in chat.messages}) == story.messages


async def test_the_command_plays_and_ends() -> None:
    """``rasa-coexistence simulate --once`` is good for scripts: its exit code tells."""
    async with running_parrot() as parrot:
        port = free_port(0)
        parrot.graph_url = f"http://127.0.0.1:{port}"
        options = {
            "--webhook-url": parrot.webhook_url,
            "--app-secret": "simulated-app-secret",
            "--verify-token": "simulated-verify-token",
            "--admin-token": "admin",
            "--port": str(port),
            "--pace": "0",
        }
        arguments = [part for option in options.items() for part in option]
        ended = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from rasa_coexistence.cli import main; main()", "simulate", "--once"),
            *arguments,
            stdout=asyncio.subprocess.PIPE,
        )
        shown, _ = await ended.communicate()
    assert (ended.returncode, "9 of 9 questions answered" in shown.decode()) == (0, True)


def test_the_command_explains_itself() -> None:
    """Every option has its line."""
    shown = CliRunner().invoke(command, ["simulate", "--help"], env={"COLUMNS": "200"}).output
    for option in ("--webhook-url", "--app-secret", "--verify-token", "--port", "--no-play", "--once"):
        assert option in shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_cleans_up(number: signal.Signals) -> None:
    """Ctrl-C ends the work through its clean-up, with the usual exit code."""
    cleaned = []

    async def work() -> int:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(60)
        finally:
            cleaned.append(True)
        return 0

    assert (run_until_interrupted(work()), cleaned) == (INTERRUPTED, [True])


def child(tmp_path: Path, code: str) -> RasaProcess:
    """Return a process that runs other code in place of Rasa."""
    (tmp_path / "rasa.py").write_text(code)
    return RasaProcess([], folder=tmp_path, log=tmp_path / "rasa.log")


async def never() -> bool:
    return False


@pytest.mark.parametrize("wait", ["until", "while"])
async def test_the_last_words_of_rasa_are_kept(tmp_path: Path, wait: str) -> None:
    """A Rasa that dies leaves the end of its log behind."""
    async with child(tmp_path, "print('no model'); raise SystemExit(3)") as rasa:
        with pytest.raises(RasaDied, match="no model"):
            await (
                rasa.wait_until(never, seconds=30)
                if wait == "until"
                else rasa.while_it_runs(asyncio.sleep(60))
            )


async def test_no_rasa_is_left_behind(tmp_path: Path) -> None:
    """The child is gone when the demo is, together with its own children."""
    code = "import subprocess, sys, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
    async with child(tmp_path, code) as rasa:
        assert await rasa.while_it_runs(asyncio.sleep(0, "done")) == "done"
    assert await rasa.wait() == -signal.SIGTERM


async def test_the_demo_plays_with_rasa(tmp_path: Path) -> None:
    """``make demo`` without a terminal: train if need be, run Rasa, play, all answered, all imported."""
    shown = io.StringIO()
    place = Place(folder=tmp_path / "demo", bot=Path(__file__).parents[1] / "example_bot")
    assert await demo(place, _screen(shown), once=True, pace=0.05) == 0, shown.getvalue()
    assert "9 of 9 questions answered" in shown.getvalue()
    assert not (tmp_path / "demo" / "rasa.log").read_text().count("Traceback")
