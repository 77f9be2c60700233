"""Let whoever sits at the terminal write as a customer, and as the owner on the phone."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator

from rasa_coexistence.simulator.screen import Screen
from rasa_coexistence.simulator.simulator import Simulator

YOU = ("5215550009999", "You")
OWNER = "phone:"
HELP = f'Type a message to write as a customer; "{OWNER} ..." is typed on the shop\'s phone. Ctrl-C ends it.'


async def chat_by_hand(simulator: Simulator, screen: Screen) -> None:
    """Send each line as a message and show the answers, until the input ends."""
    screen.say(HELP)
    wa_id, name = YOU
    you, owner = simulator.customer(wa_id, name), simulator.owner()
    asked_at = [simulator.clock.now()]
    showing = asyncio.ensure_future(_show_answers(simulator, screen, asked_at))
    try:
        async for line in _lines():
            if line.startswith(OWNER):
                await owner.writes(you, line.removeprefix(OWNER).strip())
            elif line:
                asked_at.append(simulator.clock.now())
                await you.writes(line)
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)


async def _show_answers(simulator: Simulator, screen: Screen, asked_at: list[float]) -> None:
    wa_id, name = YOU
    seen = len(simulator.sent_to(wa_id))
    while True:
        if len(simulator.sent_to(wa_id)) > seen:
            sent = simulator.sent_to(wa_id)[seen]
            screen.answer(name, sent.text, sent.at, sent.at - asked_at[-1])
            seen += 1
            continue
        try:
            await simulator.wait_for_sent(seen + 1, to=wa_id, timeout_seconds=3600)
        except TimeoutError:
            continue


async def _lines() -> AsyncIterator[str]:
    """Give the lines of the terminal; a thread waits for them, so that nothing else has to."""
    loop, lines = asyncio.get_running_loop(), asyncio.Queue[str | None]()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line.strip())
        loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, daemon=True).start()
    while (line := await lines.get()) is not None:
        yield line
