"""Put the parts together for one process, start them and stop them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import structlog

from rasa_coexistence import forget, identity, takeover
from rasa_coexistence.errors import CoexistenceError, LedgerUnavailable
from rasa_coexistence.faults import fault
from rasa_coexistence.from_whatsapp import BIG_BODY, Scan, scan
from rasa_coexistence.graph.client import GraphClient
from rasa_coexistence.history import HistoryImport
from rasa_coexistence.history_parse import HistoryParse
from rasa_coexistence.jobs import JobRunner
from rasa_coexistence.ledger import inbox
from rasa_coexistence.ledger.database import Database, Urgency
from rasa_coexistence.ledger.filing import FilingRules
from rasa_coexistence.ledger.jobs import FORGET
from rasa_coexistence.media import MediaFiles
from rasa_coexistence.notify import Notifier
from rasa_coexistence.onboarding.adopting import check_in
from rasa_coexistence.onboarding.flow import Onboardings
from rasa_coexistence.onboarding.watch import Watch
from rasa_coexistence.outbox import Outbox
from rasa_coexistence.presence import Presence
from rasa_coexistence.rasa_bridge import RasaBridge
from rasa_coexistence.reading import Reader
from rasa_coexistence.settings import Settings
from rasa_coexistence.store_check import StoreCheck
from rasa_coexistence.talk import Talk
from rasa_coexistence.tokens import Tokens
from rasa_coexistence.turn import FreeSpeech, WhatsAppOutput
from rasa_coexistence.worker import Worker

log = structlog.get_logger(__name__)

OPEN_RETRY_SECONDS = 2.0


class Service:
    """Everything that runs behind the routes."""

    def __init__(
        self, settings: Settings, agent: Callable[[], Any], clock: Callable[[], float] = time.time
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.database = Database(settings.database_url)
        self.bridge = RasaBridge(agent)
        self.graph = GraphClient(graph_url=settings.graph_url, graph_version=settings.graph_version)
        self.tokens = Tokens(self.database, settings)
        self.media = MediaFiles(self.database, self.graph, self.tokens.of)
        self._presence = Presence(self.database, self.graph, self.tokens.of, settings.replies, clock=clock)
        self.jobs = JobRunner(self.database, clock)
        self.jobs.register_leased(FORGET, forget.Forget(self.database, self.bridge, clock=clock).forget)
        self._notifier = Notifier(self.database, settings.takeover.notify_url, clock=clock)
        self._reader = Reader(self.database, filing_rules(settings), clock)
        history = HistoryImport(
            self.database, self.bridge, self._reader, settings, clock, on_release=self._something_waits
        )
        talk = Talk(
            self.database,
            self.bridge,
            history,
            settings,
            self.jobs,
            presence=self._presence,
            clock=clock,
            on_release=self._bubbles_wait,
        )
        outbox = Outbox(
            self.database,
            self.graph,
            self.tokens.within,
            self._presence,
            settings,
            clock=clock,
            on_news=self._something_waits,
        )
        self.onboardings = Onboardings(self.database, self.graph, self.tokens, settings, clock=clock)
        watch = Watch(self.database, self.graph, self.tokens, settings, self.onboardings, clock=clock)
        self.worker = Worker(
            self.database,
            self._reader,
            talk,
            history,
            outbox,
            quiet_seconds=settings.history.quiet_seconds,
            imports_history=settings.history.enabled,
            clock=clock,
            others={
                "notices": self._notifier.step,
                "watch": watch.step,
                "tracker store": StoreCheck(self.bridge, settings).step,
                **({"parse": self._parsing().step} if settings.history.parse else {}),
            },
        )
        self.is_stopping = asyncio.Event()  # ends the streams of those who follow a sync
        self._opening: asyncio.Task[None] | None = None
        self._is_open = False

    async def start(self) -> None:
        """Open the ledger and start to work; while the database cannot be reached, keep trying.

        Raise SchemaTooNew when a newer release wrote the ledger, ConfigError when its numbers do not go with
        the settings.
        """
        try:
            await self._open()
        except LedgerUnavailable:
            log.error("ledger.not_reachable", remedy="check database_url; webhooks get 503 until it answers")
            self._opening = asyncio.create_task(self._open_when_possible())

    async def stop(self) -> None:
        """End the work; what is unfinished goes on after the next start."""
        self.is_stopping.set()
        if self._opening is not None:
            self._opening.cancel()
        if self._is_open:
            await self.worker.stop()
            await self._presence.close()
            await self.onboardings.stop()
            await self.database.close()
        await self.graph.close()
        await self._notifier.close()

    async def accept(self, body: bytes) -> None:
        """Store a webhook's body durably; raise BadRequest or LedgerUnavailable."""
        if not self._is_open:
            raise LedgerUnavailable("the ledger is not open yet")
        if len(body) <= BIG_BODY:
            lane = await self._store(body, scan(body))
        else:
            async with self.database.courtesy.big():
                stored, found = await asyncio.to_thread(_packed_and_scanned, body)
                lane = await self._store(stored, found)
        self.worker.wake(lane)

    async def _store(self, stored: bytes, found: Scan) -> str:
        # Old chat goes alone and after the others: to write half a megabyte takes a while.
        is_old_chat = found.lane == inbox.HISTORY
        with contextlib.nullcontext() if is_old_chat else self.database.courtesy.answering():
            await self.database.write(
                inbox.accept,
                stored,
                lane=found.lane,
                thread_aliases=found.thread_aliases,
                received_at=self.clock(),
                urgency=Urgency.BULK if is_old_chat else Urgency.ACCEPT,
                shares_commit=not is_old_chat,
            )
        return found.lane

    def output_channel(self) -> WhatsAppOutput:
        """Return Rasa's way to write to a customer outside a turn."""
        return WhatsAppOutput(FreeSpeech(self.database, self.clock, self._bubbles_wait).say)

    async def _open(self) -> None:
        await asyncio.to_thread(self.database.open)
        await self.database.write(check_in, self.settings, now=self.clock())
        await self.tokens.rotate()
        self._is_open = True
        self.worker.start()

    async def _open_when_possible(self) -> None:
        while not self._is_open:
            await asyncio.sleep(OPEN_RETRY_SECONDS)
            try:
                with contextlib.suppress(LedgerUnavailable):
                    await self._open()
            except CoexistenceError as error:
                log.error("ledger.cannot_open", reason=str(error), remedy="put it right and start again")
                return
            except Exception as error:  # if this task ended, every webhook would get 503 for ever
                log.error("ledger.cannot_open", remedy="check what its user may do", **fault(error))

    def _parsing(self) -> HistoryParse:
        return HistoryParse(
            self.database,
            self.bridge,
            typed_intents=self.settings.allow_typed_intents,
            is_busy=lambda: self.worker.is_talking,
            clock=self.clock,
        )

    def wake(self) -> None:
        """Look now at what has to be said to Rasa or to customers."""
        self.worker.wake("talk", "send")

    def _bubbles_wait(self) -> None:
        self.worker.wake("send")

    def _something_waits(self) -> None:
        self.worker.wake("talk")


def _packed_and_scanned(body: bytes) -> tuple[bytes, Scan]:
    return inbox.packed(body), scan(body)


def filing_rules(settings: Settings) -> FilingRules:
    """Return what the settings say about filing."""
    ignored = (identity.canonical_phone(number) for number in settings.ignore)
    return FilingRules(
        phone_number_id=settings.phone_number_id,
        sender_id=settings.contact_sender_id,
        ignored=frozenset(number for number in ignored if number),
        takeover=takeover.rules_of(settings.takeover),
        imports_history=settings.history.enabled,
        messages_per_second=settings.replies.messages_per_second,
        adopts_first_number=not settings.has_embedded_signup,
    )
