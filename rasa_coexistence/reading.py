"""Read accepted webhook bodies and file what they say."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from typing import Any

import sqlalchemy as sa
import structlog

from rasa_coexistence.errors import LedgerError
from rasa_coexistence.faults import fault
from rasa_coexistence.ledger import aside, dialects, inbox, numbers
from rasa_coexistence.ledger.database import Database, Urgency, is_too_much
from rasa_coexistence.ledger.filing import FilingRules, NumberNews, Place, UnknownNumber
from rasa_coexistence.ledger.filing_threads import file_old_chats
from rasa_coexistence.ledger.prepared import savepoint
from rasa_coexistence.steps import Step, Steps, steps_of, unreadable_body

log = structlog.get_logger(__name__)

LIVE_BODIES = 25
LIVE_SECONDS = 0.015  # of one transaction: the next webhook's 200 waits for it
LIVE_EVENTS = 4  # filed before the clock is asked again
PART_MESSAGES = 500  # of one transaction, while somebody waits for them
HISTORY_MESSAGES = 2000  # of one transaction, while nobody writes


class Read(IntEnum):
    """How much was read."""

    NOTHING = 0  # there was nothing
    ALL = 1
    SOME = 2  # there is more


class Reader:
    """Reads what the routes accepted, live bodies in the order in which they came, history beside them."""

    def __init__(self, database: Database, rules: FilingRules, clock: Callable[[], float]) -> None:
        self._database = database
        self._rules = rules
        self._clock = clock
        self._half_read: tuple[int, Steps] | None = None  # to read a long body anew for each slice takes long

    async def read_live(self) -> Read:
        """Read some live bodies."""
        return await self._database.write(self._read_live, urgency=Urgency.READ)

    async def read_history(self) -> bool:
        """Read one history body in slices, so that others get their turn; return whether there was one."""
        bodies = await self._database.read(inbox.peek, inbox.HISTORY, now=self._clock())
        if not bodies:
            return False
        body = bodies[0]
        steps = Steps(_steps(body.stored))
        position: int | None = body.position
        while position is not None:
            await self._database.courtesy.pause()
            budget = self._database.courtesy.piece(HISTORY_MESSAGES)
            await asyncio.to_thread(steps.prepare, position, budget)
            await self._database.courtesy.pause()
            budget = min(budget, self._database.courtesy.piece(HISTORY_MESSAGES))
            position = await self._database.write(
                self._read_slice, body, steps, position, budget, urgency=Urgency.BULK
            )
        return True

    async def bring_forward(self, aliases: Sequence[str]) -> None:
        """Read one customer's part of the history bodies that are still unread."""
        wanted = frozenset(aliases)
        bodies = await self._database.read(inbox.with_thread, aliases)
        for body in bodies:
            steps = await asyncio.to_thread(_steps_about, body.stored, wanted)
            for part in _parts(Steps(steps)):
                await self._database.write(self._file_part, part, body.received_at)

    async def read_again(self, aside_id: int) -> bool:
        """Read something that was set aside; return False, and keep it, when it still cannot be acted on."""
        return await self._database.write(self._read_again, aside_id, shares_commit=False)

    def _read_again(self, connection: Any, aside_id: int) -> bool:
        dialects.serialize(connection, dialects.MANY)
        item = aside.take_up(connection, aside_id, now=self._clock())
        if not isinstance(item, aside.Item):
            return item
        news = NumberNews()
        for part in _parts(Steps(_steps((item.webhook or "").encode()))):
            self._file_all(connection, part, item.received_at, news)
        news.write(connection, self._rules, self._clock())
        return aside.put_back(connection, item)

    def _read_live(self, connection: Any) -> Read:
        bodies = inbox.oldest(connection, inbox.LIVE, now=self._clock(), limit=LIVE_BODIES)
        news = NumberNews()
        end, done = time.perf_counter() + LIVE_SECONDS, 0
        waiting: frozenset[str] | None = None  # who may have something in a long body that is half read
        for body in bodies:
            steps = self._steps_of(body)
            if waiting is not None:
                people = steps.people()
                if people is None or not waiting.isdisjoint(people):
                    break  # each customer's messages stay in their order
            is_done = self._read_until(end, connection, body, steps, news)
            done += is_done
            if body is bodies[0]:
                self._half_read = None if is_done else (body.id, steps)
            if not is_done and waiting is None and (waiting := steps.people()) is not None:
                end = time.perf_counter() + LIVE_SECONDS  # the others need not wait for its end
            elif not is_done or time.perf_counter() > end:
                break
        news.write(connection, self._rules, self._clock())
        if not bodies:
            return Read.NOTHING
        return Read.ALL if done == len(bodies) < LIVE_BODIES else Read.SOME

    def _read_until(
        self, end: float, connection: Any, body: inbox.Body, steps: Steps, news: NumberNews
    ) -> bool:
        """File some of a body's steps, and more while there is time; return whether that was all."""
        position = self._advance(connection, body, steps, body.position, LIVE_EVENTS, news)
        while not steps.end_at(position) and time.perf_counter() < end:
            position = self._advance(connection, body, steps, position, LIVE_EVENTS, news)
        return steps.end_at(position)

    def _steps_of(self, body: inbox.Body) -> Steps:
        """Return a body's steps; after a rollback those that were let go of are needed again."""
        if self._half_read is not None and self._half_read[0] == body.id:
            steps = self._half_read[1]
            if steps.has(body.position):
                return steps
        return Steps(_steps(body.stored))

    def _read_slice(
        self, connection: Any, body: inbox.Body, steps: Steps, prepared: int, budget: int
    ) -> int | None:
        """File the next slice of a history body; return where the rest of it begins, None when it is done."""
        position = inbox.lock(connection, body)
        if position != prepared:
            return position  # another replica went on, or read it to its end
        end = self._advance(connection, body, steps, position, budget, NumberNews())
        return None if steps.end_at(end) else end

    def _advance(
        self,
        connection: Any,
        body: inbox.Body,
        steps: Steps,
        position: int,
        budget: int,
        news: NumberNews,
    ) -> int:
        """File the steps of a body that come next, as many as fit the budget; return the new position."""
        part = steps.after(position, budget)
        self._file_all(connection, part, body.received_at, news)
        end = position + len(part)
        if steps.end_at(end):
            inbox.finish(connection, body.id)
        else:
            inbox.advance(connection, body.id, end)
        return end

    def _file_part(self, connection: Any, steps: Sequence[Step], received_at: float) -> None:
        dialects.serialize(connection, dialects.MANY)
        self._file_all(connection, steps, received_at, NumberNews())

    def _file_all(self, connection: Any, steps: Sequence[Step], received_at: float, news: NumberNews) -> None:
        """File steps in their order; old chat of many customers goes together unless some of it is bad."""
        for is_old_chat, run in itertools.groupby(steps, key=lambda step: step.old_chat is not None):
            alike = list(run)
            place = self._place(connection, received_at, news)
            if not (is_old_chat and len(alike) > 1 and _file_together(place, alike)):
                for step in alike:
                    _file(place, step)

    def _place(self, connection: Any, received_at: float, news: NumberNews) -> Place:
        return Place(
            connection=connection, rules=self._rules, received_at=received_at, now=self._clock(), numbers=news
        )


def _file_together(place: Place, steps: Sequence[Step]) -> bool:
    """File steps of old chat as one; return False, nothing filed, when one of them cannot be filed."""
    try:
        with savepoint(place.connection):
            file_old_chats(place, [step.old_chat for step in steps if step.old_chat is not None])
    except Exception as error:
        if isinstance(error, sa.exc.OperationalError) and not is_too_much(error):
            raise  # the database is in trouble, not a step
        return False
    return True


def _file(place: Place, step: Step) -> None:
    """File one step; what cannot be filed is set aside and its neighbours go on."""
    try:
        try:
            _file_wholly(place, step)
        except sa.exc.IntegrityError:  # another transaction wrote the same just now: this time we see it
            _file_wholly(place, step)
    except LedgerError as error:
        reason = str(error)
        if isinstance(error, UnknownNumber):
            numbers.count_stranger(place.connection, error.phone_number_id, now=place.now)
    except Exception as error:
        if isinstance(error, sa.exc.OperationalError) and not is_too_much(error):
            raise  # the database is in trouble, not the step
        log.error("reading.step_failed", path=step.path, **fault(error))
        reason = f"could not be filed: {type(error).__name__}"
    else:
        return
    try:
        raw, webhook = step.raw(), step.webhook()
        _keep_aside(place, step, reason, raw, webhook)
    except Exception as error:  # what cannot even be written down must not keep all that is behind it waiting
        if isinstance(error, sa.exc.DBAPIError):
            raise
        log.error("reading.content_lost", path=step.path, **fault(error))
        _keep_aside(place, step, f"{reason}, nor written down: {type(error).__name__}", None, None)


def _keep_aside(place: Place, step: Step, reason: str, raw: Any, webhook: Any) -> None:
    inbox.keep_aside(
        place.connection,
        reason=reason,
        path=step.path,
        raw=raw,
        received_at=place.received_at,
        webhook=webhook,
    )


def _file_wholly(place: Place, step: Step) -> None:
    with savepoint(place.connection):
        step.file(place)


def _steps(stored: bytes) -> Iterator[Step]:
    """Cut a body into steps; one that our code trips over is set aside whole, and those behind it go on."""
    body = inbox.unpacked(stored)  # fails to be tried again: set aside as it is, nobody could read it
    try:
        yield from steps_of(body)
    except Exception as error:
        log.error("reading.body_failed", **fault(error))
        reason = f"could not be read: {type(error).__name__}"
        yield unreadable_body(body, reason)


def _steps_about(stored: bytes, aliases: frozenset[str]) -> list[Step]:
    return [step for step in _steps(stored) if step.aliases & aliases]


def _parts(steps: Steps) -> Iterator[list[Step]]:
    """Cut steps into transactions of bounded size."""
    position = 0
    while part := steps.after(position, PART_MESSAGES):
        yield part
        position += len(part)
