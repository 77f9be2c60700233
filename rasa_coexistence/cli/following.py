"""Follow a number's contacts and history until they have come, or will not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from msgspec import Struct
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from rasa_coexistence.cli.ground import errors, screen
from rasa_coexistence.cli.server import NoAnswer, Server
from rasa_coexistence.events import JSON

LOOK_SECONDS = 1.0
GONE_SECONDS = 60.0  # a server that is being restarted
HINT_SECONDS = 60.0  # without anything
_HINT = (
    "Nothing came yet. Keep the WhatsApp Business app open on the phone: it sends the history, for minutes."
)


class Syncs(Struct, frozen=True, kw_only=True):
    """How contacts and history stand, as the server tells."""

    wants_history: bool
    history: JSON
    contacts: JSON

    @classmethod
    def of(cls, status: JSON | None, *, wants_history: bool) -> Syncs:
        """Read ``GET /api/sync/status``."""
        nothing: JSON = {"status": "not_started"}
        told = status or {}
        return cls(
            wants_history=wants_history,
            history=told.get("history") or nothing,
            contacts=told.get("contacts") or nothing,
        )

    @property
    def _wanted(self) -> list[JSON]:
        return [self.contacts, *([self.history] if self.wants_history else [])]

    def lack_asking(self, *, again: bool) -> bool:
        """Tell whether there is something to ask Meta for."""
        open_states = ("not_started", "failed") if again else ("not_started",)
        return any(one["status"] in open_states for one in self._wanted)

    @property
    def were_asked(self) -> bool:
        """Whether Meta was asked for all that is wanted."""
        return not self.lack_asking(again=False)

    @property
    def have_ended(self) -> bool:
        """Whether nothing more is to come; a phone without contacts sends none, so nobody waits for them."""
        if not self.were_asked:
            return False
        return not self.wants_history or self.history["status"] in ("completed", "declined", "failed")

    @property
    def problems(self) -> list[str]:
        """Why something that was wanted does not come."""
        names = {"contacts": self.contacts} | ({"history": self.history} if self.wants_history else {})
        return [
            f"{name}: {one.get('error') or one['status']}"
            for name, one in names.items()
            if one["status"] in ("declined", "failed")
        ]

    @property
    def told(self) -> str:
        """What has come so far."""
        if not self.wants_history:
            return f"contacts {self.contacts['status']}"
        history = self.history
        imported, received = history.get("messages_imported", 0), history.get("messages_received", 0)
        chats = history.get("conversations", 0)
        return f"history {history['status']}: {imported} of {received} messages imported, {chats} chats"


class Follower:
    """Looks at the server once a second, and shows what it sees."""

    def __init__(self, server: Server, number: str, *, wants_history: bool, until: float | None) -> None:
        self._server = server
        self._number = number
        self._wants_history = wants_history
        self._until = until
        self._said: set[str] = set()
        self.onboarding: str | None = None  # the one that asks, where it is known

    async def follow(self) -> int:
        """Return the exit code, once all has come or will not; raise NoAnswer when the server is gone."""
        begun = answered = time.monotonic()
        with _bar() as shown:
            while True:
                try:
                    syncs = await self._look()
                    answered = time.monotonic()
                    shown(syncs)
                    if syncs.have_ended:
                        break
                    if (refused := await self._refusal(syncs)) is not None:
                        errors.print(escape(refused), style="red")
                        return 1
                    if syncs.told.startswith("history requested") and answered - begun > HINT_SECONDS:
                        self._say_once(_HINT)
                except NoAnswer:
                    if time.monotonic() - answered > GONE_SECONDS:
                        raise
                    self._say_once("The server does not answer; waiting for it.")
                if self._until is not None and time.monotonic() >= self._until:
                    errors.print("No longer followed; the sync goes on. Look with: rasa-coexistence status")
                    return 1
                await asyncio.sleep(LOOK_SECONDS)
        return _ended(syncs)

    async def _look(self) -> Syncs:
        found = await self._server.sync_status(self._number)
        return Syncs.of(found, wants_history=self._wants_history)

    async def _refusal(self, syncs: Syncs) -> str | None:
        """Return why nothing will be asked for, while it was not; say what the server waits for."""
        if self.onboarding is None or syncs.were_asked:
            return None
        reply = await self._server.onboarding(self.onboarding)
        waits_for = reply.body.get("waits_for")
        if isinstance(waits_for, dict):
            self._say_once(f"The server waits: {waits_for.get('message')}")
        if reply.body.get("state") == "done":
            return f"The server has nothing to ask for: {reply.body.get('steps')}"
        return reply.error or None

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            errors.print(escape(text), style="yellow")


def _ended(syncs: Syncs) -> int:
    screen.print(escape(f"{syncs.told}; contacts {syncs.contacts['status']}."))
    for problem in syncs.problems:
        errors.print(escape(problem), style="red")
    return 1 if syncs.problems else 0


@contextmanager
def _bar() -> Iterator[Any]:
    """Show progress: a bar on a terminal, else a line whenever something changed."""
    if not screen.is_terminal:
        told = [""]

        def say(syncs: Syncs) -> None:
            line = f"{syncs.history.get('progress', 0):>3} % {syncs.told}"
            if line != told[0]:
                told[0] = line
                screen.print(escape(line))

        yield say
        return
    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=screen) as progress:
        task = progress.add_task("", total=100)
        yield lambda syncs: progress.update(
            task, completed=syncs.history.get("progress") or 0, description=escape(syncs.told)
        )
