"""Do what the command line asks of the server about a conversation, in a visit, under its lease.

A job may be done twice, after a crash::

    runner.register_leased("forget", forget)    # async def forget(job, lease) -> outcome
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from rasa_coexistence.errors import CoexistenceError, LedgerError, Postponed
from rasa_coexistence.faults import fault
from rasa_coexistence.ledger import jobs, queues
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.ledger.jobs import Job

log = structlog.get_logger(__name__)

LeasedWork = Callable[[Job, queues.Lease], Awaitable[str]]  # returns what to tell who asked

LEASE_SECONDS = 15.0
RETRY_SECONDS = 5.0
TRIES = 3  # of a job that fails for a reason nobody thought of


class JobRefused(CoexistenceError):
    """A job cannot be done, now or ever; the text says why."""


class JobRunner:
    """Knows who does which kind of job."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._leased: dict[str, LeasedWork] = {}

    def register_leased(self, kind: str, work: LeasedWork) -> None:
        """Let a kind of job be done under the lease of its conversation."""
        self._leased[kind] = work

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
