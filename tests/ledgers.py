"""A ledger without a bot: put webhooks into it, read them, look at its rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa

from rasa_coexistence import takeover
from rasa_coexistence.from_whatsapp import BIG_BODY, scan
from rasa_coexistence.ledger import inbox, people, queues, schema
from rasa_coexistence.ledger.database import Database, Urgency
from rasa_coexistence.ledger.filing import FilingRules
from rasa_coexistence.reading import Reader
from rasa_coexistence.simulator import webhooks
from rasa_coexistence.simulator.state import JSON, Number, Person, Webhook

NUMBER = Number(phone_number_id="845237608662425", display_phone_number="5215550000000", waba_id="1001")
NOW = 1_760_200_000.0
DAY = 86_400.0
ANA = Person(wa_id="5217715268513", name="Ana")
BEN = Person(wa_id="5215550000001", name="Ben")


@dataclass
class Clock:
    """A clock that tests move."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Books:
    """A ledger and what reads into it."""

    database: Database
    clock: Clock = field(default_factory=Clock)
    rules: FilingRules = field(default_factory=lambda: filing_rules())

    @property
    def reader(self) -> Reader:
        """Return a new reader, as after a restart."""
        return Reader(self.database, self.rules, self.clock)

    async def accept(self, *bodies: bytes | JSON | Webhook) -> None:
        """Store bodies as the routes do, in this order."""
        for body in bodies:
            await accept(self.database, as_bytes(body), at=self.clock())

    async def read(self) -> None:
        """Read all that was accepted to its end."""
        reader = self.reader
        while await reader.read_live() or await reader.read_history():
            pass

    async def tell(self, *bodies: bytes | JSON | Webhook) -> None:
        """Accept bodies and read them."""
        await self.accept(*bodies)
        await self.read()

    async def rows(self, table: Any, **where: Any) -> list[Any]:
        """Return the rows of a table whose columns have these values, oldest first."""
        statement = sa.select(table).filter_by(**where).order_by(*table.primary_key.columns)
        return await self.database.read(lambda connection: connection.execute(statement).all())

    async def said(self, **where: Any) -> list[str]:
        """Return the texts of messages."""
        return [row.text for row in await self.rows(schema.messages, **where)]

    async def conversation(self, person: Person) -> Any:
        """Return the row of a customer's conversation."""
        contact = contact_of(person)
        found = await self.database.read(people.find, NUMBER.phone_number_id, contact)
        return (await self.rows(schema.conversations, id=found))[0]

    async def claim(
        self, queue: str, *, owner: str = "me", limit: int = 10, due_before: float | None = None
    ) -> list[queues.Lease]:
        """Claim what is due."""
        return await self.database.write(
            queues.claim, queue, owner=owner, now=self.clock(), limit=limit, due_before=due_before
        )


def filing_rules(**changes: Any) -> FilingRules:
    """Return the rules of a plain shop."""
    known: dict[str, Any] = {
        "phone_number_id": NUMBER.phone_number_id,
        "sender_id": lambda phone_number_id, contact: contact,
        "ignored": frozenset(),
        "takeover": takeover.Rules(
            enabled=True,
            resume_after_seconds=1800.0,
            handoff_timeout_seconds=None,
            resume_keyword=None,
            hold_keyword=None,
        ),
        "imports_history": True,
        "messages_per_second": 20.0,
    }
    return FilingRules(**{**known, **changes})


async def accept(database: Database, body: bytes, *, at: float = NOW) -> int:
    """Store a body as the service does."""
    found = scan(body)
    return await database.write(
        inbox.accept,
        inbox.packed(body) if len(body) > BIG_BODY else body,
        lane=found.lane,
        thread_aliases=found.thread_aliases,
        received_at=at,
        urgency=Urgency.ACCEPT,
        shares_commit=True,
    )


async def accept_at_once(database: Database, bodies: Sequence[bytes]) -> list[int]:
    """Store bodies side by side, as many webhooks do."""
    return await asyncio.gather(*(accept(database, body) for body in bodies))


def as_bytes(body: bytes | JSON | Webhook) -> bytes:
    """Return a body as it is posted."""
    if isinstance(body, Webhook):
        body = webhooks.envelope([body], at=NOW)
    return body if isinstance(body, bytes) else msgspec.json.encode(body)


def contact_of(person: Person) -> Any:
    """Return a person as our events name them."""
    from rasa_coexistence.events import ContactIds

    return ContactIds(wa_id=person.shown_wa_id, user_id=person.user_id, username=person.username)


def live(person: Person, *told: tuple[str, str], at: float = NOW) -> Webhook:
    """Tell that a customer wrote; each message is (wamid, text)."""
    described = [webhooks.message(wamid, at, "text", {"body": text}) for wamid, text in told]
    return webhooks.inbound(NUMBER, [(person, message) for message in described])


def echo(person: Person, wamid: str, text: str, *, at: float = NOW) -> Webhook:
    """Tell that somebody typed on the phone."""
    return webhooks.echo(NUMBER, person, webhooks.message(wamid, at, "text", {"body": text}))


def history(
    person: Person,
    *told: tuple[str, str, float],
    from_business: Sequence[str] = (),
    phase: int = 0,
    chunk_order: int = 1,
    progress: int = 50,
) -> Webhook:
    """Tell old chat with one customer; each message is (wamid, text, when)."""
    old = [
        (wamid in from_business, webhooks.message(wamid, at, "text", {"body": text}), "read")
        for wamid, text, at in told
    ]
    threads = [webhooks.thread(NUMBER, person, old)]
    return webhooks.history_chunk(
        NUMBER, phase=phase, chunk_order=chunk_order, progress=progress, threads=threads
    )


async def count_rows(url: str, table: Any, where: Any) -> int:
    """Count rows of a ledger that others write to."""
    database = Database(url)
    statement = sa.select(sa.func.count()).select_from(table).where(where)
    try:
        return await database.read(lambda connection: int(connection.execute(statement).scalar()))
    finally:
        await database.close()
