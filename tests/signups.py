"""Where numbers sign up: the simulated Meta, a ledger, and processes that can die in between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from channels import credentials
from cloud_api import Receiver, running_receiver, running_simulator
from cryptography.fernet import Fernet
from ledgers import Books, Clock, filing_rules

from rasa_coexistence.graph.client import GraphClient
from rasa_coexistence.ledger import numbers, onboardings, syncs
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.ledger.numbers import Number as KnownNumber
from rasa_coexistence.ledger.onboardings import Onboarding
from rasa_coexistence.onboarding.flow import Onboardings
from rasa_coexistence.onboarding.watch import Watch
from rasa_coexistence.settings import Settings
from rasa_coexistence.simulator import Number, Simulator
from rasa_coexistence.simulator.chats import made_up
from rasa_coexistence.simulator.state import JSON, person
from rasa_coexistence.tokens import Tokens

KEY = Fernet.generate_key().decode()
SHOP = "2002"
CAFE = "2003"
APART = "{phone_number_id}:{contact}"


def shop() -> Number:
    """Return a number on a phone."""
    return Number(phone_number_id=SHOP, display_phone_number="5215550000002", waba_id="1002")


def cafe() -> Number:
    """Return another number, of another WABA."""
    return Number(phone_number_id=CAFE, display_phone_number="5215550000003", waba_id="1003")


class MetaClock(Clock):
    """The simulated Meta's time."""

    def __init__(self, meta: Simulator) -> None:
        super().__init__()
        self._meta = meta

    def __call__(self) -> float:
        return self._meta.clock.now()


@dataclass
class Process:
    """What of a server has to do with onboarding."""

    graph: GraphClient
    tokens: Tokens
    onboardings: Onboardings
    watch: Watch

    async def end(self) -> None:
        """Stop as a server does."""
        await self.onboardings.stop()
        await self.graph.close()


@dataclass
class Office:
    """One app at Meta and one ledger."""

    meta: Simulator
    app: Receiver
    books: Books
    block: JSON
    timeout_seconds: float = 5.0
    processes: list[Process] = field(default_factory=list)

    @property
    def database(self) -> Database:
        """The ledger."""
        return self.books.database

    @property
    def settings(self) -> Settings:
        """What credentials.yml says."""
        return Settings.from_credentials(self.block)

    def start(self, graph: GraphClient | None = None, database: Any = None) -> Process:
        """Start a process."""
        settings, clock = self.settings, self.meta.clock.now
        graph = graph or GraphClient(
            self.meta.url, settings.graph_version, total_seconds=self.timeout_seconds
        )
        known = database or self.database
        tokens = Tokens(known, settings)
        onboardings = Onboardings(known, graph, tokens, settings, clock=clock)
        watch = Watch(known, graph, tokens, settings, onboardings, clock=clock)
        self.processes.append(Process(graph, tokens, onboardings, watch))
        return self.processes[-1]

    def signs_up(self, number: Number, **how: Any) -> str:
        """Let an owner finish Meta's window; the phone holds old chats and contacts."""
        code = self.meta.accounts.sign_up(number, **how)
        now = self.meta.clock.now()
        self.meta.give_old_chats(list(made_up(number, chats=2, messages_each=4, now=now)), number=number)
        self.meta.address_books[number.phone_number_id] = [person("5215550001001", "Lucía")]
        return code

    async def onboard(self, number: Number, process: Process | None = None, **how: Any) -> Onboarding:
        """Sign a number up and wait for what comes of it."""
        process = process or self.start()
        code = self.signs_up(number, **how)
        return await self.post(process, code, number.waba_id)

    async def post(
        self, process: Process, code: str, waba_id: str | None, phone_number_id: str | None = None
    ) -> Onboarding:
        """Do what ``POST /api/onboarding`` does."""
        id_ = await process.onboardings.sign_up(code, waba_id=waba_id, phone_number_id=phone_number_id)
        return await process.onboardings.wait(id_, seconds=10)

    async def ask(self, process: Process, number: str, **others: Any) -> Onboarding:
        """Do what ``POST /api/sync`` does."""
        id_ = await process.onboardings.ask_for_syncs(number, **others)
        return await process.onboardings.wait(id_, seconds=10)

    async def turn(self, process: Process) -> None:
        """Let a process do what is due, to its end."""
        await process.watch.turn()
        await process.onboardings.stop()

    async def onboarding(self, id_: str) -> Onboarding:
        """Return an onboarding as it stands."""
        found = await self.database.read(onboardings.load, id_)
        assert found is not None
        return found

    async def file_webhooks(self) -> None:
        """Let everything that Meta posted be read."""
        await self.meta.deliveries.settle()
        bodies, self.app.bodies = self.app.bodies, []
        await self.books.tell(*bodies)

    async def number(self, phone_number_id: str = SHOP) -> KnownNumber:
        """Return what the ledger knows of a number."""
        found = await self.database.read(numbers.load, phone_number_id)
        assert found is not None
        return found

    async def sync(self, phone_number_id: str = SHOP) -> JSON:
        """Return what ``GET /api/sync/status`` tells."""
        found = await self.database.read(syncs.status, phone_number_id)
        assert found is not None
        return found

    def made(self, *operations: str) -> list[str]:
        """Return the calls that reached Meta, or how often some of them did, syncs by their type."""
        names = [
            f"{call.operation}:{call.body['sync_type']}"
            if call.operation == "smb_app_data" and call.body
            else call.operation
            for call in self.meta.calls
        ]
        return [name for name in names if not operations or name.split(":")[0] in operations]

    async def rows(self, table: Any) -> list[Any]:
        """Return a table's rows."""
        return await self.database.read(lambda connection: connection.execute(sa.select(table)).all())


@asynccontextmanager
async def office(books: Books, **changes: Any) -> AsyncIterator[Office]:
    """Open for sign-ups; nobody has signed up yet."""
    async with running_receiver() as app, running_simulator(app.url, subscribed=False) as meta:
        block = credentials(
            books.database.engine.url.render_as_string(hide_password=False),
            graph_url=meta.url,
            app_id=meta.accounts.app_id,
            config_id="77",
            encryption_key=KEY,
            **{"access_token": None, "phone_number_id": None, **changes},
        )
        books.clock = MetaClock(meta)
        books.rules = filing_rules(phone_number_id=block.get("phone_number_id"), adopts_first_number=False)
        found = Office(meta, app, books, block)
        try:
            yield found
        finally:
            for process in found.processes:
                await process.end()
