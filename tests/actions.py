"""An action server for the bot of ``tests/bots/answers``: it schedules a reminder, and thinks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from aiohttp import web


@dataclass
class Actions:
    """What the actions do; ``thinking`` is set while one of them thinks."""

    url: str = ""
    thinks_seconds: float = 1.0
    reminds_after_seconds: float = 1.0
    thinking: asyncio.Event = field(default_factory=asyncio.Event)
    ran: list[str] = field(default_factory=list)

    async def run(self, request: web.Request) -> web.Response:
        """Run what Rasa asks for."""
        name = (await request.json())["next_action"]
        self.ran.append(name)
        events: list[Any] = []
        responses: list[Any] = []
        if name == "action_remind":
            due = datetime.now(timezone.utc) + timedelta(seconds=self.reminds_after_seconds)
            events.append(_reminder(due))
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
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    actions.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhook"
    try:
        yield actions
    finally:
        await runner.cleanup()
