"""An action server for the bot of ``tests/bots/answers``: it schedules a reminder, and thinks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from aiohttp import web


@dataclass(frozen=True)
class Thought:
    """What ``action_think`` does when it is asked for once; ``goes_on`` lets Rasa ask for it again."""

    seconds: float = 0.0
    texts: tuple[str, ...] = ()
    goes_on: bool = False
    hands_off: bool = False

    @property
    def events(self) -> list[dict[str, Any]]:
        """Return what it writes into the tracker."""
        if self.hands_off:
            return [{"event": "pause"}]
        return [{"event": "followup", "name": "action_think" if self.goes_on else "action_listen"}]


@dataclass
class Actions:
    """What the actions do; ``thinking`` is set while one of them thinks.

    ``thoughts`` tells what a conversation's thinking is to be, one time after the other; ``asked`` by which
    Rasa server (the end of the URL that it was given) each conversation's thinking was asked for.
    """

    url: str = ""
    thoughts: dict[str, list[Thought]] = field(default_factory=dict)
    asked: dict[str, list[str]] = field(default_factory=dict)
    thinks_seconds: float = 1.0
    reminds_after_seconds: float = 1.0
    thinking: asyncio.Event = field(default_factory=asyncio.Event)
    ran: list[str] = field(default_factory=list)

    async def run(self, request: web.Request) -> web.Response:
        """Run what Rasa asks for."""
        asked = await request.json()
        name, sender_id = asked["next_action"], asked["sender_id"]
        self.ran.append(name)
        events: list[Any] = []
        responses: list[Any] = []
        if name == "action_remind":
            due = datetime.now(timezone.utc) + timedelta(seconds=self.reminds_after_seconds)
            events.append(_reminder(due))
        elif sender_id in self.thoughts:
            thought = self.thoughts[sender_id].pop(0)
            self.asked.setdefault(sender_id, []).append(request.match_info.get("server", ""))
            await asyncio.sleep(thought.seconds)
            events, responses = thought.events, [{"text": text} for text in thought.texts]
        else:
            self.thinking.set()
            await asyncio.sleep(self.thinks_seconds)
            responses.append({"text": "Thought about it."})
        return web.json_response({"events": events, "responses": responses})


def _reminder(due: datetime) -> dict[str, Any]:
    return {
        "event": "reminder",
        "timestamp": None,
        "intent": "EXTERNAL_reminder",
        "entities": [],
        "date_time": due.isoformat(),
        "name": "asked for",
        "kill_on_user_msg": False,
    }


@asynccontextmanager
async def running_actions() -> AsyncIterator[Actions]:
    """Run an action server on a free port."""
    actions = Actions()
    app = web.Application()
    app.router.add_post("/webhook", actions.run)
    app.router.add_post("/webhook/{server}", actions.run)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    actions.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhook"
    try:
        yield actions
    finally:
        await runner.cleanup()
