"""Try again what fails, less and less often, and in the end give it up."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from rasa_coexistence.errors import LedgerError
from rasa_coexistence.faults import fault
from rasa_coexistence.ledger import giving_up, queues
from rasa_coexistence.ledger.database import Database

log = structlog.get_logger(__name__)

TRIES = 5
RETRY_SECONDS = 2.0  # doubled with each try
LONGEST_SECONDS = 60.0


class Patience:
    """Knows how often the same thing failed, in this process: after a restart it gets all its tries anew."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._failed: dict[
            tuple[str, int], tuple[int | None, int]
        ] = {}  # queue, conversation: what, how often

    async def after_failure(self, lease: queues.Lease, error: Exception) -> float:
        """Return when to visit a conversation again; what failed too often is set aside by then."""
        try:
            what = await self._database.read(giving_up.first, lease)
            times = self._count(lease, what)
            log.error(
                "worker.visit_failed",
                queue=lease.queue,
                conversation=lease.conversation_id,
                times=times,
                **fault(error),
            )
            if times < TRIES or what is None:
                return self._clock() + min(RETRY_SECONDS * 2.0 ** (times - 1), LONGEST_SECONDS)
            reason = f"failed {times} times, last with {type(error).__name__}"
            await self._database.write(giving_up.give_up, lease, what, reason=reason, now=self._clock())
        except LedgerError:
            return self._clock() + RETRY_SECONDS
        except Exception as other:
            log.error("worker.cannot_give_up", conversation=lease.conversation_id, **fault(other))
            return self._clock() + LONGEST_SECONDS
        return self._clock()

    def succeeded(self, lease: queues.Lease) -> None:
        """Forget what failed before."""
        self._failed.pop((lease.queue, lease.conversation_id), None)

    def _count(self, lease: queues.Lease, what: int | None) -> int:
        key = lease.queue, lease.conversation_id
        before, times = self._failed.get(key, (None, 0))
        times = min(times + 1 if before == what else 1, 1000)
        self._failed[key] = (what, times)
        return times
