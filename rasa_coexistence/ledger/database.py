"""Run transactions on the ledger's database without ever blocking the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog

from rasa_coexistence.courtesy import Courtesy
from rasa_coexistence.errors import LedgerUnavailable
from rasa_coexistence.ledger import dialects, schema
from rasa_coexistence.ledger.prepared import savepoint

T = TypeVar("T")
Work = Callable[..., T]  # (connection, *args, **kwargs) -> T
log = structlog.get_logger(__name__)

TRIES = 5  # of a transaction that others get in the way of
_COLLISIONS = ("40001", "40P01")  # PostgreSQL: could not serialize, deadlock
_LIMITS = "54"  # PostgreSQL: class of what exceeds a limit of its own
_SQLITE_LIMITS = ("too complex", "too large", "too many", "too deep", "too big")
MOST_WAITING = 5000  # transactions; what the database cannot follow must not fill the memory
# What says nothing about our statement: gone, locked, full, read-only after a fail-over.
_OF_THE_DATABASE = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.InternalError, sa.exc.TimeoutError)


class Urgency(IntEnum):
    """Which transaction goes first when several wait."""

    ACCEPT = 0  # Meta waits for its 200
    READ = 1  # it may say that a person typed: the bot must not go on meanwhile
    LIVE = 2  # a customer or a person waits
    BULK = 3  # history


@dataclass(order=True)
class _Job:
    urgency: int
    order: int
    work: Callable[[Any], Any] = field(compare=False)
    answer: asyncio.Future[Any] = field(compare=False)
    shares_commit: bool = field(compare=False)


class Database:
    """The ledger's engine, its writer threads and its reader threads.

    SQLite has one writer, so that writers of this process never wait on each other's lock, and everything
    that waits shares one commit. PostgreSQL has several; there only ``accept`` shares commits, since a
    transaction that holds the rows of many conversations could deadlock with another replica's.
    """

    def __init__(self, url: str) -> None:
        self.engine = dialects.create_engine(url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._read_engine = self.engine.execution_options(read_only=True)
        self.courtesy = Courtesy()
        self._jobs: list[_Job] = []
        self._ready = threading.Condition()
        self._closing = False
        self._order = itertools.count()
        self._writers: list[threading.Thread] = []
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="ledger-read")

    def open(self) -> None:
        """Create or upgrade the tables and start the writers; raise SchemaTooNew or LedgerUnavailable."""
        self.write_here(schema.upgrade)
        if self._writers:
            return  # opened before, when what came next could not be done
        for number in range(1 if self.is_sqlite else 6):
            writer = threading.Thread(
                target=self._write_until_closed, name=f"ledger-write-{number}", daemon=True
            )
            writer.start()
            self._writers.append(writer)

    async def write(
        self,
        work: Work[T],
        *args: Any,
        urgency: Urgency = Urgency.LIVE,
        shares_commit: bool | None = None,
        **kwargs: Any,
    ) -> T:
        """Run ``work(connection, *args, **kwargs)`` in one durable transaction and return its result."""
        loop = asyncio.get_running_loop()
        job = _Job(
            urgency,
            next(self._order),
            lambda connection: work(connection, *args, **kwargs),
            loop.create_future(),
            self.is_sqlite if shares_commit is None else shares_commit,
        )
        with self._ready:
            if self._closing:
                raise LedgerUnavailable("the ledger is closed")
            if urgency is Urgency.ACCEPT and len(self._jobs) >= MOST_WAITING:
                raise LedgerUnavailable("too much waits for the database already")
            heapq.heappush(self._jobs, job)
            self._ready.notify()
        result: T = await job.answer
        return result

    def write_here(self, work: Work[T], *args: Any, **kwargs: Any) -> T:
        """Run one durable transaction in the calling thread, which is not the event loop's.

        One that another transaction got in the way of runs again, from its beginning.
        """
        tries = 0
        with _database_errors():
            while True:
                tries += 1
                try:
                    with self.engine.connect() as connection, connection.begin():
                        return work(connection, *args, **kwargs)
                except sa.exc.DBAPIError as error:
                    if tries == TRIES or not _another_was_first(error):
                        raise

    async def read(self, work: Work[T], *args: Any, **kwargs: Any) -> T:
        """Run ``work(connection, *args, **kwargs)``, which must not write, beside the writers."""

        def run() -> T:
            with _database_errors(), self._read_engine.connect() as connection, connection.begin():
                return work(connection, *args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._readers, run)

    async def close(self) -> None:
        """Finish the transactions that wait, then let go of the database."""
        with self._ready:
            self._closing = True
            self._ready.notify_all()
        loop = asyncio.get_running_loop()
        for writer in self._writers:
            await loop.run_in_executor(None, writer.join)
        self._readers.shutdown(wait=True)
        self.engine.dispose()

    def _write_until_closed(self) -> None:
        while jobs := self._next_jobs():
            outcomes = self._commit(jobs)
            for job, outcome in zip(jobs, outcomes, strict=True):
                with contextlib.suppress(RuntimeError):  # the loop that asked is gone
                    job.answer.get_loop().call_soon_threadsafe(_deliver, job.answer, outcome)

    def _next_jobs(self) -> list[_Job]:
        with self._ready:
            while not self._jobs and not self._closing:
                self._ready.wait()
            jobs = [heapq.heappop(self._jobs)] if self._jobs else []
            while jobs and self._jobs and _go_together(jobs, self._jobs[0]):
                jobs.append(heapq.heappop(self._jobs))
            return jobs

    def _commit(self, jobs: Sequence[_Job]) -> list[Any]:
        """Run all jobs in one transaction; an outcome is a value or the exception to raise."""
        try:
            if len(jobs) == 1:
                return [_Value(self.write_here(jobs[0].work))]
            with _database_errors(), self.engine.connect() as connection, connection.begin():
                return [_run_in_savepoint(connection, job) for job in jobs]
        except BaseException as error:
            if len(jobs) == 1 or isinstance(error, LedgerUnavailable):
                return [error] * len(jobs)
            return [self._commit([job])[0] for job in jobs]


@dataclass(frozen=True)
class _Value:
    value: Any


# How many transactions share a commit: each waits for its whole group, and who comes next for one more.
_AT_ONCE = {Urgency.ACCEPT: 64, Urgency.READ: 1, Urgency.LIVE: 8, Urgency.BULK: 1}


def _go_together(jobs: Sequence[_Job], other: _Job) -> bool:
    first = jobs[0]
    alike = first.shares_commit and other.shares_commit and first.urgency == other.urgency
    return alike and len(jobs) < _AT_ONCE[Urgency(first.urgency)]


def _run_in_savepoint(connection: Any, job: _Job) -> Any:
    try:
        with savepoint(connection):
            return _Value(job.work(connection))
    except Exception as error:
        if isinstance(error, sa.exc.OperationalError) and not is_too_much(error):
            raise  # disk full or lock lost: the whole transaction is in doubt
        return error


def _deliver(answer: asyncio.Future[Any], outcome: Any) -> None:
    if answer.cancelled():
        return
    if isinstance(outcome, _Value):
        answer.set_result(outcome.value)
    else:
        answer.set_exception(outcome)


def _another_was_first(error: sa.exc.DBAPIError) -> bool:
    """Tell whether a transaction failed only since another wrote the same rows at the same time."""
    return isinstance(error, sa.exc.IntegrityError) or getattr(error.orig, "pgcode", None) in _COLLISIONS


def is_too_much(error: Exception) -> bool:
    """Tell whether a database refuses a statement as more than it can do; to Python it looks like trouble."""
    cause = getattr(error, "orig", None)
    if isinstance(cause, sqlite3.Error):
        return any(limit in str(cause) for limit in _SQLITE_LIMITS)
    return (getattr(cause, "pgcode", None) or "").startswith(_LIMITS)


@contextlib.contextmanager
def _database_errors() -> Iterator[None]:
    try:
        yield
    except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
        gone = getattr(error, "connection_invalidated", False)
        if not gone and (is_too_much(error) or not isinstance(error, _OF_THE_DATABASE)):
            raise
        cause = error.__cause__ or error
        said = str(cause).partition("\n")[0][:200]  # routes do not say it: it names hosts and users
        log.warning("ledger.unavailable", error=type(cause).__name__, said=said)
        raise LedgerUnavailable("the database of database_url cannot be used now") from error
