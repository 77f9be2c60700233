"""``rasa-coexistence simulate``: a local Cloud API for your own bot."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import Annotated

import typer

from rasa_coexistence.simulator import Setup, Simulator
from rasa_coexistence.simulator.bot import Bot
from rasa_coexistence.simulator.play import CannotPlay, Play, Tempo
from rasa_coexistence.simulator.running import run_until_interrupted
from rasa_coexistence.simulator.screen import Screen
from rasa_coexistence.simulator.story import shop_story
from rasa_coexistence.simulator.typed import chat_by_hand


def simulate(
    app_secret: Annotated[str, typer.Option(help="The app_secret of your credentials.yml.")],
    verify_token: Annotated[str, typer.Option(help="The verify_token of your credentials.yml.")],
    webhook_url: Annotated[
        str, typer.Option(help="Where your bot takes webhooks.")
    ] = "http://127.0.0.1:5005/webhooks/whatsapp/webhook",
    phone_number_id: Annotated[
        str, typer.Option(help="The phone_number_id of your credentials.yml.")
    ] = Setup().phone_number_id,
    access_token: Annotated[
        str | None, typer.Option(help="The only access_token to accept; any will do without it.")
    ] = None,
    admin_token: Annotated[
        str | None, typer.Option(help="The admin_token, to show how far the sync is.")
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Where to listen; 0 takes a free port.")] = 5080,
    play: Annotated[
        bool, typer.Option(help="Play the story of a shop: old chats, then live customers.")
    ] = True,
    once: Annotated[bool, typer.Option(help="End after the story.")] = False,
    pace: Annotated[float, typer.Option(help="Seconds between two pieces of history.", min=0.0)] = 0.9,
) -> None:
    """Stand in for Meta: accept sends, post signed webhooks, play a story, then let you write as a customer.

    Put graph_url: http://127.0.0.1:5080 into credentials.yml first, and run Rasa with --enable-api to see
    how much of the history it knows. Tests can drive the simulator by JSON under /_simulator/.
    """
    setup = Setup(
        webhook_url=webhook_url,
        app_secret=app_secret,
        verify_token=verify_token,
        phone_number_id=phone_number_id,
        access_token=access_token,
    )
    raise typer.Exit(
        run_until_interrupted(_run(setup, admin_token, host, port, play=play, once=once, pace=pace))
    )


async def _run(
    setup: Setup, admin_token: str | None, host: str, port: int, *, play: bool, once: bool, pace: float
) -> int:
    screen, simulator = Screen(), Simulator(setup)
    bot = Bot(str(setup.webhook_url), setup.phone_number_id, admin_token)
    try:
        await simulator.start(host, port)
        screen.say(f"The simulated Meta listens on {simulator.url}; its graph_url is the same.")
        good = not play or await _play(simulator, bot, screen, pace)
        if not once:
            with suppress(asyncio.CancelledError):  # Ctrl-C is how it ends
                await _go_on(simulator, screen)
        return 0 if good else 1
    except OSError as problem:
        screen.problem(f"cannot listen on port {port}: {problem.strerror}. Choose another with --port.")
        return 1
    finally:
        await bot.close()
        await simulator.stop()


async def _play(simulator: Simulator, bot: Bot, screen: Screen, pace: float) -> bool:
    story = shop_story(simulator.number, now=simulator.clock.now())
    try:
        return (await Play(simulator, bot, story, screen, Tempo(pace=pace)).run()).is_good
    except CannotPlay as reason:
        screen.problem(str(reason))
        return False


async def _go_on(simulator: Simulator, screen: Screen) -> None:
    """Serve until interrupted, taking what is typed at a terminal."""
    if sys.stdin.isatty():
        await chat_by_hand(simulator, screen)
    else:
        await asyncio.Event().wait()
