"""Do what the command line and the API ask of the server.

A job of a conversation that works on its tracker is *leased*: it is done in a visit, under the conversation's
lease. Any other is done by a loop of its own, as soon as it is filed. Both may be done twice, after a crash::

    runner.register_leased("forget", forget)    # async def forget(job, lease) -> outcome
    runner.register("hold", hold)               # async def hold(job) -> outcome
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import structlog

from rasa_coexistence.errors import CoexistenceError, LedgerError, Postponed
from rasa_coexistence.faults import fault
from rasa_coexistence.ledger import jobs, queues
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.ledger.jobs import Job

log = structlog.get_logger(__name__)

Work = Callable[[Job], Awaitable[str]]  # returns what to tell who asked
LeasedWork = Callable[[Job, queues.Lease], Awaitable[str]]

LEASE_SECONDS = 15.0
RETRY_SECONDS = 5.0
TRIES = 3  # of a job that fails for a reason nobody thought of
KEEP_SECONDS = 7 * 86400.0


class JobRefused(CoexistenceError):
    """A job cannot be done, now or ever; the text says why."""


class JobRunner:
    """Knows who does which kind of job."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._free: dict[str, Work] = {}
        self._leased: dict[str, LeasedWork] = {}

    def register(self, kind: str, work: Work) -> None:
        """Let a kind of job be done at once."""
        self._free[kind] = work

    def register_leased(self, kind: str, work: LeasedWork) -> None:
        """Let a kind of job be done under the lease of its conversation."""
        self._leased[kind] = work

    async def step(self) -> bool:
        """Do one job that needs no lease; return whether there was one."""
        if not await self._database.read(jobs.are_due, self._free, now=self._clock()):
            return False
        job = await self._database.write(
            jobs.claim, self._free, now=self._clock(), lease_seconds=LEASE_SECONDS
        )
        if job is None:
            return False
        async with self._kept(job):
            await self._try(job, partial(self._free[job.kind], job))
        await self._database.write(jobs.forget_old, before=self._clock() - KEEP_SECONDS)
        return True

    async def run_leased(self, lease: queues.Lease) -> float | None:
        """Do the jobs of a conversation; return when to look again."""
        waiting = await self._database.read(jobs.of_conversation, lease.conversation_id, self._leased)
        if not waiting:
            return None
        for job in waiting:
            await self._database.write(
                jobs.again, job.id, not_before=self._clock() + LEASE_SECONDS, attempts=job.attempts + 1
            )
            await self._try(job, partial(self._leased[job.kind], job, lease))
        return await self._database.read(jobs.next_look, lease.conversation_id, self._leased)

    async def _try(self, job: Job, work: Callable[[], Awaitable[str]]) -> None:
        """Do a job; what fails is tried again, or ended with its reason."""
        state = jobs.DONE
        try:
            outcome = await work()
        except LedgerError:
            raise
        except Postponed as error:
            await self._again(job, error.retry_in_seconds)
            return
        except JobRefused as error:
            state, outcome = jobs.FAILED, str(error)
        except Exception as error:
            log.error("jobs.failed", job=job.id, kind=job.kind, **fault(error))
            if job.attempts + 1 < TRIES:
                await self._again(job, RETRY_SECONDS)
                return
            state, outcome = jobs.FAILED, f"{type(error).__name__}: the server's log says more"
        await self._database.write(jobs.end, job.id, state=state, outcome=outcome, now=self._clock())

    async def _again(self, job: Job, seconds: float) -> None:
        await self._database.write(jobs.again, job.id, not_before=self._clock() + seconds)

    @contextlib.asynccontextmanager
    async def _kept(self, job: Job) -> AsyncIterator[None]:
        """Keep other replicas from a job for as long as it takes."""
        keeping = asyncio.create_task(self._keep(job))
        try:
            yield
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping

    async def _keep(self, job: Job) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            with contextlib.suppress(LedgerError):
                await self._again(job, LEASE_SECONDS)
