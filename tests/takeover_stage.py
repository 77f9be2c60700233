"""A shop on one number: its ledger, its bot, two phones and a Meta, on a clock that tests move."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ledgers import ANA, NOW, NUMBER, accept, as_bytes
from rasa.shared.core.events import BotUttered, UserUttered
from stand_in_rasa import StandInAgent, StandInBot

from rasa_coexistence.graph.answers import Receipt
from rasa_coexistence.history import HistoryImport
from rasa_coexistence.jobs import JobRunner
from rasa_coexistence.ledger import queues, takeovers
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.outbox import Outbox
from rasa_coexistence.presence import Presence
from rasa_coexistence.rasa_bridge import RasaBridge
from rasa_coexistence.reading import Reader
from rasa_coexistence.service import filing_rules
from rasa_coexistence.settings import Settings
from rasa_coexistence.simulator import webhooks
from rasa_coexistence.simulator.state import JSON, Webhook
from rasa_coexistence.talk import Talk
from rasa_coexistence.turn import FreeSpeech

RESUME, HOLD = "#bot", "#ich"
TIMER = 120.0


class Crash(BaseException):
    """A power cut."""


class Clock:
    """A clock that stands, but for a step so small that it only keeps moments apart."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        self.now += 1e-4
        return self.now


@dataclass
class Meta:
    """Takes messages, and lets things happen while it does."""

    clock: Clock
    left: list[tuple[str, str]] = field(default_factory=list)  # (wamid, text)
    before: Callable[[str], None] = lambda text: None
    meanwhile: Callable[[str, str], Awaitable[None]] | None = None  # (wamid, text)

    async def send_message(self, _number: str, body: JSON, *, access_token: str) -> Receipt:
        """Take a message."""
        text = body["text"]["body"]
        self.before(text)
        wamid = f"wamid.OUT{len(self.left)}"
        self.left.append((wamid, text))
        if self.meanwhile is not None:
            await self.meanwhile(wamid, text)
        return Receipt(wamid=wamid, wa_id=ANA.wa_id)


class Stage:
    """Everything; ``restart`` leaves only what is on disk."""

    def __init__(self, folder: Path, **takeover: Any) -> None:
        self.clock = Clock()
        self.meta = Meta(self.clock)
        self.bot = StandInBot(self.clock)
        self._tracker_url = f"sqlite:///{folder}/rasa.db"
        block = {"resume_after_minutes": TIMER / 60, "resume_keyword": RESUME, "hold_keyword": HOLD}
        self.settings = Settings.from_credentials(
            {
                "verify_token": "verify-me",
                "app_secret": "0123456789abcdef",
                "access_token": "EAAtoken",
                "phone_number_id": NUMBER.phone_number_id,
                "database_url": f"sqlite:///{folder}/ledger.db",
                "takeover": {**block, **takeover},
                "replies": {"release_after_seconds": None, "messages_per_second": 1e6},
            }
        )
        self.posted: list[bytes] = []
        self._count = 0
        self.restart()

    def restart(self) -> None:
        """Start the process (again)."""
        settings, clock = self.settings, self.clock
        self.agent = StandInAgent(self._tracker_url, self.bot, clock)
        self.database = Database(settings.database_url)
        self.database.open()
        self.reader = Reader(self.database, filing_rules(settings), clock)
        bridge = RasaBridge(lambda: self.agent)
        history = HistoryImport(self.database, bridge, self.reader, settings, clock)
        graph: Any = self.meta
        presence = Presence(self.database, graph, _token, settings.replies, clock=clock)
        self._visits = {
            queues.TALK: Talk(
                self.database,
                bridge,
                history,
                settings,
                JobRunner(self.database, clock),
                presence=presence,
                clock=clock,
                on_release=lambda: None,
            ).visit,
            queues.SEND: Outbox(
                self.database, graph, _token_within, presence, settings, clock=clock, on_news=lambda: None
            ).empty,
        }

    async def close(self) -> None:
        """End the process."""
        await self.database.close()
        self.agent.close()

    def new_wamid(self, kind: str) -> str:
        """Return an id that no message has."""
        self._count += 1
        return f"wamid.{kind}{self._count:04}"

    async def post(self, body: bytes | Webhook) -> None:
        """Post a webhook and have it read."""
        raw = as_bytes(body)
        self.posted.append(raw)
        await accept(self.database, raw, at=self.clock())
        while await self.reader.read_live():
            pass

    async def customer_writes(self) -> str:
        """Let the customer write."""
        wamid = self.new_wamid("C")
        described = webhooks.message(wamid, self.clock.now, "text", {"body": f"text of {wamid}"})
        await self.post(webhooks.inbound(NUMBER, [(ANA, described)]))
        return wamid

    async def phone_sends(
        self, kind: str = "text", content: Any = None, *, wamid: str = "", age: float = 0.0, **others: Any
    ) -> str:
        """Let something come from the phone that was sent ``age`` seconds ago."""
        wamid = wamid or self.new_wamid("P")
        content = {"body": f"text of {wamid}"} if content is None else content
        described = webhooks.message(wamid, self.clock.now - age, kind, content, **others)
        await self.post(webhooks.echo(NUMBER, ANA, described))
        return wamid

    async def remind(self, text: str) -> None:
        """Let the bot say something outside a turn, as Rasa does when a reminder is due."""
        await FreeSpeech(self.database, self.clock, lambda: None).say(str(ANA.wa_id), {"text": text})

    async def hold(self, seconds: float | None) -> None:
        """Set a hold, as the API does."""
        until = None if seconds is None else self.clock.now + seconds
        await self.database.write(takeovers.hold, 1, until=until, reason="api", now=self.clock())

    async def hand_back(self) -> None:
        """Give the conversation to the bot, as the API does."""
        await self.database.write(takeovers.hand_back, 1, reason="api", now=self.clock())

    async def hold_number(self, seconds: float | None) -> None:
        """Switch the bot off on the whole number."""
        until = None if seconds is None else self.clock.now + seconds
        number = NUMBER.phone_number_id
        await self.database.write(takeovers.hold_number, number, until=until, now=self.clock())

    async def release_number(self) -> None:
        """Switch it on again."""
        await self.database.write(takeovers.release_number, NUMBER.phone_number_id, now=self.clock())

    async def work(self, queue: str) -> bool:
        """Visit what is due in a queue; return whether there was anything."""
        leases = await self.database.write(queues.claim, queue, owner="stage", now=self.clock(), limit=9)
        for lease in leases:
            due_at = await self._visits[queue](lease)
            if not isinstance(due_at, queues.Released):
                await self.database.write(queues.release, lease, due_at=due_at)
        return bool(leases)

    async def settle(self) -> None:
        """Visit and send until there is nothing to do now."""
        for _ in range(50):
            worked = [await self.work(queue) for queue in (queues.TALK, queues.SEND)]
            if not any(worked):
                return
        raise AssertionError("there is always something to do")

    async def tracker(self) -> Any:
        """Return all that Rasa knows of the conversation, every session."""
        return await self.agent.tracker_store.retrieve_full_tracker(ANA.wa_id)

    async def chat(self) -> list[tuple[str, str]]:
        """Return (who, wamid) of what the tracker has from customer and phone, in its order."""
        tracker = await self.tracker()
        said = []
        for event in tracker.events if tracker else []:
            whatsapp = event.metadata.get("whatsapp") or {}
            if isinstance(event, UserUttered):
                said.append(("customer", event.message_id))
            elif isinstance(event, BotUttered) and whatsapp.get("source") == "phone":
                said.append(("phone", whatsapp["wamid"]))
        return said

    async def rows(self, table: Any, **where: Any) -> list[Any]:
        """Return rows of the ledger, oldest first."""
        statement = table.select().filter_by(**where).order_by(*table.primary_key.columns)
        return await self.database.read(lambda connection: connection.execute(statement).all())


def _token_within(_connection: Any, _number: str) -> str:
    return "EAAtoken"


async def _token(_number: str) -> str:
    return "EAAtoken"
