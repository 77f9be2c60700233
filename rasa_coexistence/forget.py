"""Forget a customer: in the ledger, in Rasa's tracker store, and with them every link to their media."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from rasa_coexistence.errors import CoexistenceError, LeaseLost, Postponed
from rasa_coexistence.faults import fault
from rasa_coexistence.jobs import JobRefused
from rasa_coexistence.ledger import forgetting, jobs, queues
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.ledger.forgetting import Customer
from rasa_coexistence.ledger.jobs import Job
from rasa_coexistence.rasa_bridge import RasaBridge
from rasa_coexistence.sqlite_wiping import wipe

log = structlog.get_logger(__name__)


class Forget:
    """Does the jobs that ``rasa-coexistence forget`` files."""

    def __init__(self, database: Database, bridge: RasaBridge, *, clock: Callable[[], float]) -> None:
        self._database = database
        self._bridge = bridge
        self._clock = clock

    async def forget(self, job: Job, lease: queues.Lease) -> str:
        """Delete a customer everywhere, end the job, and raise LeaseLost: there is nothing left to work on.

        Raise Postponed while something about them waits to be read or is on its way to them. The ledger comes
        last: should we die before, the job is still there.
        """
        customer = await self._database.read(forgetting.customer_of, lease.conversation_id)
        if customer is None:
            return "this customer was forgotten already"
        reason = await self._database.read(forgetting.is_still_read, customer)
        if reason is not None:
            raise Postponed(reason, retry_in_seconds=1.0)
        # Our lease is of one conversation: without the lock another of theirs could be imported in between.
        async with self._bridge.locked(customer.sender_ids):
            await self._forget_trackers(customer)
            aside = await self._database.read(forgetting.named_aside, customer)
            count = await self._database.write(self._delete, job, lease, customer, aside)
        if not await asyncio.to_thread(wipe, self._database.engine):
            log.warning("forget.still_legible", remedy="others read or wrote the ledger's file for too long")
        log.info("customer.forgotten", conversation=lease.conversation_id, messages=count)
        raise LeaseLost("the customer was forgotten")

    def _delete(
        self, connection: Any, job: Job, lease: queues.Lease, customer: Customer, aside: Sequence[int]
    ) -> int:
        now = self._clock()
        count = forgetting.delete(connection, lease, customer, aside, job_id=job.id, now=now)
        told = f"forgot {count} messages in {len(customer.conversation_ids)} conversations"
        jobs.end(connection, job.id, state=jobs.DONE, outcome=told, now=now)
        return count

    async def _forget_trackers(self, customer: Customer) -> None:
        importer = self._bridge.importer()
        try:
            await importer.forget(customer.sender_ids)
        except CoexistenceError as error:
            raise JobRefused(str(error)) from error
        except Exception as error:  # each store has exceptions of its own
            log.warning("forget.tracker_store_failed", **fault(error))
            raise Postponed("the tracker store failed to delete") from error
