"""Show the whole thing: the example bot under ``rasa run``, a local WhatsApp, and a story.

``make demo`` runs it. Everything it writes goes to ``.demo``, which is made anew each time.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shutil
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rasa_coexistence.simulator.bot import Bot
from rasa_coexistence.simulator.play import CannotPlay, Play, Tempo
from rasa_coexistence.simulator.rasa_process import RasaDied, RasaProcess
from rasa_coexistence.simulator.running import run_until_interrupted
from rasa_coexistence.simulator.screen import Screen
from rasa_coexistence.simulator.simulator import Setup, Simulator
from rasa_coexistence.simulator.story import shop_story
from rasa_coexistence.simulator.typed import chat_by_hand

ROOT = Path(__file__).parents[2]
SIMULATOR_PORT, RASA_PORT = 5080, 5005
START_SECONDS, TRAIN_SECONDS = 120.0, 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the demo lives."""

    folder: Path
    bot: Path  # the example bot

    @property
    def log(self) -> Path:
        """Return what Rasa writes."""
        return self.folder / "rasa.log"

    def model(self) -> Path | None:
        """Return the newest trained model, if there is one."""
        models = sorted(self.bot.glob("models/*.tar.gz"), key=lambda path: path.stat().st_mtime)
        return models[-1] if models else None

    def make(self) -> None:
        """Start with an empty folder: fresh databases, an empty log."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for pattern in ("*.db*", "*.log", "*.yml"):
            for left in self.folder.glob(pattern):
                left.unlink()
        shutil.copy(self.bot / "endpoints.yml", self.folder)


def credentials(setup: Setup, graph_url: str, admin_token: str) -> str:
    """Return a credentials.yml for the simulated Meta."""
    return f"""\
rasa_coexistence.CoexistenceInput:
  verify_token: "{setup.verify_token}"
  app_secret: "{setup.app_secret}"
  access_token: "{setup.access_token}"
  phone_number_id: "{setup.phone_number_id}"
  admin_token: "{admin_token}"
  graph_url: {graph_url}
  database_url: sqlite:///coexistence.db
  history: {{quiet_seconds: 10}}
"""


def free_port(wanted: int) -> int:
    """Return the wanted port if nobody has it, else any other."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no port is free")


async def demo(place: Place, screen: Screen, *, once: bool, pace: float) -> int:
    """Run bot and simulator, play, then go on with what is typed; returns the exit code."""
    try:
        place.make()
        await _train(place, screen)
        rasa_port, admin_token = free_port(RASA_PORT), secrets.token_urlsafe(16)
        setup = Setup(
            webhook_url=f"http://127.0.0.1:{rasa_port}/webhooks/whatsapp/webhook",
            app_secret=secrets.token_hex(16),
            verify_token=secrets.token_hex(8),
        )
        simulator = Simulator(setup)
        await simulator.start(port=free_port(SIMULATOR_PORT))
        try:
            (place.folder / "credentials.yml").write_text(credentials(setup, simulator.url, admin_token))
            return await _with_rasa(place, screen, simulator, rasa_port, admin_token, once=once, pace=pace)
        finally:
            await simulator.stop()
    except RasaDied as died:
        screen.problem(f"rasa ended by itself; the end of {place.log}:")
        screen.say(str(died))
        return 1
    except CannotPlay as reason:
        screen.problem(str(reason))
        return 1


async def _with_rasa(
    place: Place,
    screen: Screen,
    simulator: Simulator,
    port: int,
    admin_token: str,
    *,
    once: bool,
    pace: float,
) -> int:
    bot = Bot(str(simulator.setup.webhook_url), simulator.setup.phone_number_id, admin_token)
    arguments = ["run", "--enable-api", "-i", "127.0.0.1", "-p", str(port), "-m", str(place.model())]
    arguments += ["--credentials", "credentials.yml", "--endpoints", "endpoints.yml"]
    try:
        async with RasaProcess(arguments, folder=place.folder, log=place.log) as rasa:
            with screen.waiting("Starting `rasa run` with the example bot"):
                await rasa.wait_until(bot.is_up, seconds=START_SECONDS)
            _say_where(place, screen, simulator, bot, admin_token)
            story = shop_story(simulator.number, now=simulator.clock.now())
            play = Play(simulator, bot, story, screen, Tempo(pace=pace))
            outcome = await rasa.while_it_runs(play.run())
            if not once and sys.stdin.isatty():
                screen.heading("Your turn")
                with suppress(asyncio.CancelledError):  # Ctrl-C is how it ends
                    await rasa.while_it_runs(chat_by_hand(simulator, screen))
            return 0 if outcome.is_good else 1
    finally:
        await bot.close()


async def _train(place: Place, screen: Screen) -> None:
    if place.model() is not None:
        return
    arguments = ["train", "--fixed-model-name", "example_bot"]
    async with RasaProcess(arguments, folder=place.bot, log=place.log) as training:
        with screen.waiting("Training the example bot"):
            try:
                await asyncio.wait_for(training.wait(), TRAIN_SECONDS)
            except asyncio.TimeoutError:
                raise RasaDied(training.last_lines()) from None
        if place.model() is None:
            raise RasaDied(training.last_lines())


def _say_where(place: Place, screen: Screen, simulator: Simulator, bot: Bot, admin_token: str) -> None:
    screen.heading("A shop's phone and a Rasa bot on one WhatsApp number; Meta is played by this program")
    screen.say(f"  bot's log     {place.log}")
    screen.say(
        f"  databases     {place.folder}/coexistence.db (ours), {place.folder}/rasa.db (Rasa's tracker store)"
    )
    screen.say(f"  simulator     {simulator.url}/_simulator/state")
    screen.say(f"  sync status   curl -H 'Authorization: Bearer {admin_token}' '{bot.status_url}'")


def main() -> int:
    """Read the command line and run the demo."""
    parser = argparse.ArgumentParser(prog="demo", description="Play the example bot with a local WhatsApp.")
    parser.add_argument("--once", action="store_true", help="end after the story, also at a terminal")
    parser.add_argument("--pace", type=float, default=0.9, help="seconds between two pieces of history")
    parser.add_argument("--folder", type=Path, default=Path(".demo"), help="where everything is written")
    given = parser.parse_args()
    place = Place(folder=given.folder.resolve(), bot=ROOT / "example_bot")
    screen = Screen()
    if not place.bot.is_dir():
        screen.problem(f"{place.bot} is missing: the demo needs a clone of the repository")
        return 1
    return run_until_interrupted(demo(place, screen, once=given.once, pace=given.pace))


if __name__ == "__main__":
    sys.exit(main())
