"""Read accepted webhook bodies and file what they say."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import sqlalchemy as sa
import structlog
from msgspec import Struct

from rasa_coexistence import events, identity
from rasa_coexistence.errors import LedgerError
from rasa_coexistence.from_whatsapp import read_webhook
from rasa_coexistence.ledger import dialects, filing, filing_account, filing_history, filing_rest, inbox
from rasa_coexistence.ledger.database import Database, Urgency
from rasa_coexistence.ledger.filing import FilingRules, NumberNews, Place

log = structlog.get_logger(__name__)

LIVE_EVENTS = 200  # events of one transaction: a big batch must not keep the next echo waiting
HISTORY_MESSAGES = 250  # likewise, messages of one transaction
LIVE_BODIES = 50
CONTACTS = 2000  # of the address book, filed together

# Each of our words, and who files it; contacts come by the thousand and are filed together.
FILE_EACH: dict[type, Callable[[Place, Any], None]] = {
    events.CustomerMessage: filing.file_customer_message,
    events.PhoneEcho: filing.file_phone_echo,
    events.StatusChange: filing_rest.file_status,
    events.IdentityChange: filing_rest.file_identity_change,
    events.AccountChange: filing_account.file_account_change,
    events.AccountFault: filing_rest.file_fault,
    events.HistoryMedia: filing_history.file_media,
    events.HistoryDeclined: filing_history.file_declined,
    events.Unreadable: filing_rest.file_unreadable,
}


class Step(Struct, frozen=True, kw_only=True):
    """A part of a body that is filed, or set aside, as one."""

    file: Callable[[Place], object]
    path: str
    raw: Callable[[], Any]  # what to set aside when it cannot be filed
    weight: int
    aliases: frozenset[str] = frozenset()  # whose thread it is


def steps_of(body: bytes) -> list[Step]:
    """Cut a body into steps, in order; history threads into parts of bounded size."""
    steps: list[Step] = []
    for index, (kind, run) in enumerate(itertools.groupby(read_webhook(body), key=type)):
        path = f"part {index + 1} of the webhook"
        if kind is events.HistoryChunk:
            for chunk in run:
                steps += _chunk_steps(cast(events.HistoryChunk, chunk), path)
        elif kind is events.ContactChange:
            steps += _contact_steps([*run], path)
        else:
            steps += [_event_step(FILE_EACH[kind], event, path) for event in run]
    return steps


class Reader:
    """Reads what the routes accepted, live bodies in the order in which they came, history beside them."""

    def __init__(self, database: Database, rules: FilingRules, clock: Callable[[], float]) -> None:
        self._database = database
        self._rules = rules
        self._clock = clock

    async def read_live(self) -> bool:
        """Read some live bodies; return whether there were any."""
        return await self._database.write(self._read_live)

    async def read_history(self) -> bool:
        """Read one history body in slices, so that others get their turn; return whether there was one."""
        bodies = await self._database.read(inbox.peek, inbox.HISTORY, now=self._clock())
        if not bodies:
            return False
        body = bodies[0]
        steps = await asyncio.to_thread(steps_of, body.body)
        more = True
        while more:
            more = await self._database.write(self._read_slice, body.id, steps, urgency=Urgency.BULK)
        return True

    async def bring_forward(self, aliases: Sequence[str]) -> None:
        """Read one customer's part of the history bodies that are still unread."""
        wanted = frozenset(aliases)
        bodies = await self._database.read(inbox.with_thread, aliases)
        for body in bodies:
            steps = await asyncio.to_thread(_steps_about, body.body, wanted)
            for part in _parts(steps):
                await self._database.write(self._file_all, part, body.received_at)

    def _read_live(self, connection: Any) -> bool:
        bodies = inbox.oldest(connection, inbox.LIVE, now=self._clock(), limit=LIVE_BODIES)
        budget = LIVE_EVENTS
        news = NumberNews()
        for body in bodies:
            steps = steps_of(body.body)
            budget -= self._advance(connection, body, steps, budget, news)
            if budget <= 0:
                break
        news.write(connection, self._rules, self._clock())
        return bool(bodies)

    def _read_slice(self, connection: Any, inbox_id: int, steps: Sequence[Step]) -> bool:
        """File the next slice of a history body; return whether there is more of it."""
        body = inbox.lock(connection, inbox_id)
        if body is None:
            return False  # another replica read it to its end
        self._advance(connection, body, steps, HISTORY_MESSAGES, NumberNews())
        return inbox.exists(connection, inbox_id)

    def _advance(
        self, connection: Any, body: inbox.Body, steps: Sequence[Step], budget: int, news: NumberNews
    ) -> int:
        """File the steps of a body that come next, as many as fit the budget; return what they weigh."""
        position = body.position
        spent = 0
        while position < len(steps) and spent < budget:
            spent += steps[position].weight
            self._file(connection, steps[position], body.received_at, news)
            position += 1
        if position >= len(steps):
            inbox.finish(connection, body.id)
        else:
            inbox.advance(connection, body.id, position)
        return max(spent, 1)

    def _file_all(self, connection: Any, steps: Iterable[Step], received_at: float) -> None:
        dialects.serialize(connection, dialects.MANY)
        for step in steps:
            self._file(connection, step, received_at, NumberNews())

    def _file(self, connection: Any, step: Step, received_at: float, news: NumberNews) -> None:
        """File one step; what cannot be filed is set aside and its neighbours go on."""
        place = Place(
            connection=connection,
            rules=self._rules,
            received_at=received_at,
            now=self._clock(),
            numbers=news,
        )
        try:
            with connection.begin_nested():
                step.file(place)
        except sa.exc.OperationalError:
            raise  # the database is in trouble, not the step
        except LedgerError as error:
            reason = str(error)
        except Exception as error:
            log.exception("reading.step_failed", path=step.path)
            reason = f"could not be filed: {type(error).__name__}"
        else:
            return
        inbox.keep_aside(connection, reason=reason, path=step.path, raw=step.raw(), received_at=received_at)


def _bound(file: Callable[..., object], *arguments: Any) -> Callable[[Place], object]:
    return lambda place: file(place, *arguments)


def _event_step(file: Callable[[Place, Any], None], event: Any, path: str) -> Step:
    return Step(file=_bound(file, event), path=path, raw=partial(getattr, event, "raw", event), weight=1)


def _contact_steps(changes: Sequence[Any], path: str) -> Iterator[Step]:
    for start in range(0, len(changes), CONTACTS):
        part = changes[start : start + CONTACTS]
        file = _bound(filing_rest.file_contacts, part)
        yield Step(file=file, path=path, raw=partial(list, part), weight=LIVE_EVENTS // 2)


def _chunk_steps(chunk: events.HistoryChunk, path: str) -> Iterator[Step]:
    for thread in chunk.threads:
        aliases = frozenset(identity.aliases(thread.contact))
        for start in range(0, len(thread.messages), HISTORY_MESSAGES):
            part = thread.messages[start : start + HISTORY_MESSAGES]
            yield Step(
                file=_bound(filing_history.file_thread, chunk, thread.contact, part),
                path=path,
                raw=partial(_as_webhook, chunk, thread, part),
                weight=len(part),
                aliases=aliases,
            )
        if thread.unreadable:
            file = _bound(filing_history.set_aside_messages, thread.unreadable)
            yield Step(file=file, path=path, raw=dict, weight=len(thread.unreadable))
    yield Step(file=_bound(filing_history.file_chunk_end, chunk), path=path, raw=dict, weight=1)


def _as_webhook(
    chunk: events.HistoryChunk, thread: events.HistoryThread, part: Sequence[events.HistoryMessage]
) -> Any:
    """Return a part of a thread as a body that can be read again."""
    contact = thread.contact
    who = {"wa_id": contact.wa_id, "user_id": contact.user_id, "username": contact.username}
    place = {"phase": chunk.phase, "chunk_order": chunk.chunk_order, "progress": chunk.progress}
    one = {
        "id": contact.wa_id,
        "context": {key: value for key, value in who.items() if value},
        "messages": [message.raw for message in part],
    }
    number = {
        "phone_number_id": chunk.number.phone_number_id,
        "display_phone_number": chunk.number.display_phone_number,
    }
    return {
        "messaging_product": "whatsapp",
        "metadata": {key: value for key, value in number.items() if value},
        "history": [{"metadata": place, "threads": [one]}],
    }


def _steps_about(body: bytes, aliases: frozenset[str]) -> list[Step]:
    return [step for step in steps_of(body) if step.aliases & aliases]


def _parts(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Cut steps into transactions of bounded size."""
    part: list[Step] = []
    weight = 0
    for step in steps:
        part.append(step)
        weight += step.weight
        if weight >= HISTORY_MESSAGES:
            yield part
            part, weight = [], 0
    if part:
        yield part
