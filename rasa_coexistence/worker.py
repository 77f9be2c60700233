"""Keep everything moving: read what came, visit conversations that are due, send what may leave."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from rasa_coexistence.errors import LeaseLost, LedgerUnavailable, Postponed
from rasa_coexistence.faults import fault
from rasa_coexistence.history import HistoryImport
from rasa_coexistence.ledger import dialects, queues, syncs
from rasa_coexistence.ledger.database import Database, Urgency
from rasa_coexistence.outbox import Outbox
from rasa_coexistence.patience import Patience
from rasa_coexistence.reading import Read, Reader
from rasa_coexistence.talk import Talk

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.25  # how soon what is due by the clock, or came in through another replica, is seen
AT_ONCE = 32  # conversations worked on side by side, for talking and for sending each,
SLOW_SECONDS = 5.0  # those apart that take longer: an action that hangs must not silence the bot for all
MOST_AT_ONCE = 256  # those included
IMPORT_AT_ONCE = 256  # conversations leased, while nobody writes,
IMPORT_AT_LEAST = 32  # while somebody does: each of them must let go of for its own customer
RETRY_SECONDS = 2.0
STOP_SECONDS = 5.0
PATIENCE_SECONDS = 20.0  # an import waits this long for more chunks of the same chat

Visit = Callable[[queues.Lease], Awaitable["float | queues.Released | None"]]
Step = Callable[[], Awaitable[bool]]  # returns whether there was anything to do


class Worker:
    """All the loops of one process; several processes may share a ledger."""

    def __init__(
        self,
        database: Database,
        reader: Reader,
        talk: Talk,
        history: HistoryImport,
        outbox: Outbox,
        *,
        quiet_seconds: float,
        imports_history: bool,
        clock: Callable[[], float],
        others: Mapping[str, Step] | None = None,
    ) -> None:
        self._database = database
        self._reader = reader
        self._history = history
        self._talk = talk
        self._visits: dict[str, Visit] = {queues.TALK: talk.visit, queues.SEND: outbox.empty}
        self._quiet_seconds = quiet_seconds
        self._imports_history = imports_history
        self._clock = clock
        self._others = dict(others or {})
        self._patience = Patience(database, clock)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._owner = ""
        self._is_full = {queues.TALK: False, queues.SEND: False}
        self._news = {name: asyncio.Event() for name in ("live", "history", queues.TALK, queues.SEND)}
        self._tasks: set[asyncio.Task[None]] = set()
        self._began: dict[asyncio.Task[None], float] = {}  # visits, by the monotonic clock
        self._held: set[queues.Lease] = set()  # what is being worked on; a lease left behind runs out
        self._stopping = threading.Event()

    def start(self) -> None:
        """Start the loops in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._owner = queues.new_owner()  # not before: Sanic's workers are forks of one process
        for loop in (
            self._forever("live", self._read_live),
            self._forever("history", self._read_or_import),
            self._forever(queues.TALK, lambda: self._dispatch(queues.TALK)),
            self._forever(queues.SEND, lambda: self._dispatch(queues.SEND)),
            self._forever("clock", self._complete_syncs),
            *(self._forever(name, step) for name, step in self._others.items()),
        ):
            self._spawn(loop)
        threading.Thread(target=self._renew_until_stopped, name="ledger-renew", daemon=True).start()

    async def stop(self) -> None:
        """End the loops; what was under way comes back by itself, here or in another process."""
        self._stopping.set()
        visits = [task for task in self._tasks if task.get_name() in self._visits]
        await _cancel(task for task in list(self._tasks) if task not in visits)
        if visits:  # an answer of Meta's that is not waited for leaves a bubble in doubt
            await asyncio.wait(visits, timeout=STOP_SECONDS)
        await _cancel(list(self._tasks))
        with contextlib.suppress(LedgerUnavailable):
            await self._database.write(queues.release_all, self._owner, now=self._clock())

    @property
    def is_talking(self) -> bool:
        """Whether somebody waits for Rasa just now."""
        return any(task.get_name() == queues.TALK for task in self._tasks)

    def wake(self, *queues_with_news: str) -> None:
        """Look at these queues now instead of at the next poll; any thread may say so."""
        if self._loop is not None and not self._loop.is_closed():
            for name in queues_with_news:
                self._loop.call_soon_threadsafe(self._news[name].set)

    async def _forever(self, name: str, step: Step) -> None:
        """Repeat a step; sleep until there is news, or for one poll, when it had nothing to do."""
        news = self._news.setdefault(name, asyncio.Event())
        while not self._stopping.is_set():  # wait_for can swallow a cancellation
            news.clear()
            pause = 0.0
            try:
                if not await step():
                    pause = POLL_SECONDS
            except (LedgerUnavailable, Postponed) as error:
                log.warning("worker.waits", loop=name, reason=type(error).__name__)
                pause = RETRY_SECONDS
            except Exception as error:  # a loop that ends would be a bot that is silent for ever
                log.error("worker.step_failed", loop=name, **fault(error))
                pause = RETRY_SECONDS
            if pause:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(news.wait(), pause)

    async def _read_live(self) -> bool:
        read = await self._reader.read_live()
        if read is not Read.NOTHING:
            self.wake(queues.TALK, queues.SEND)
        return read is Read.SOME

    async def _read_or_import(self) -> bool:
        """Read history, and import it once nothing more is to be read: each import writes a chat anew."""
        now = self._clock()
        if await self._reader.read_history():
            await self._import(due_before=now - PATIENCE_SECONDS)
            return True
        return await self._import(due_before=now)

    async def _import(self, *, due_before: float) -> bool:
        if not self._imports_history:
            return False
        now = self._clock()
        leases: Sequence[queues.Lease] = await self._database.write(
            queues.claim,
            queues.IMPORT,
            owner=self._owner,
            now=now,
            limit=max(self._database.courtesy.piece(IMPORT_AT_ONCE), IMPORT_AT_LEAST),
            due_before=due_before,
            urgency=Urgency.BULK,
        )
        if not leases:
            return False
        self._held.update(leases)
        try:
            await self._history.import_leased(leases)
        except BaseException as error:
            await self._database.write(self._release_all, leases, self._clock() + RETRY_SECONDS)
            if not isinstance(error, LeaseLost):
                raise
            log.info("worker.lease_lost", queue=queues.IMPORT, reason=str(error))
        finally:
            self._held.difference_update(leases)
        return True

    async def _dispatch(self, queue: str) -> bool:
        """Start visits to conversations that are due, as many as fit; return whether more may be due."""
        if queue == queues.TALK and not self._talk.is_ready:
            return False  # no model is loaded yet: all would only be postponed
        room = self._room(queue)
        self._is_full[queue] = room <= 0
        if room <= 0 or not await self._database.read(queues.is_due, queue, now=self._clock()):
            return False
        leases = await self._database.write(
            queues.claim, queue, owner=self._owner, now=self._clock(), limit=room
        )
        for lease in leases:
            self._held.add(lease)
            visit = self._spawn(self._visit(queue, lease), name=queue)
            self._began[visit] = time.monotonic()
            visit.add_done_callback(partial(self._let_lie, lease))
        return len(leases) == room

    def _room(self, queue: str) -> int:
        """Return how many more visits may begin."""
        began = [at for task, at in self._began.items() if task.get_name() == queue]
        slow = sum(at < time.monotonic() - SLOW_SECONDS for at in began)
        return min(AT_ONCE + slow, MOST_AT_ONCE) - len(began)

    def _let_lie(self, lease: queues.Lease, visit: asyncio.Task[None]) -> None:
        self._held.discard(lease)
        self._began.pop(visit, None)

    async def _visit(self, queue: str, lease: queues.Lease) -> None:
        due_at: float | queues.Released | None = None
        try:
            with self._database.courtesy.answering() if queue == queues.TALK else contextlib.nullcontext():
                due_at = await self._visits[queue](lease)
            self._patience.succeeded(lease)
        except LeaseLost:
            log.info("worker.lease_lost", queue=queue, conversation=lease.conversation_id)
            return
        except Postponed as error:
            log.info(
                "worker.postponed", queue=queue, conversation=lease.conversation_id, reason=error.reason[:80]
            )
            due_at = self._clock() + error.retry_in_seconds
        except LedgerUnavailable:
            due_at = self._clock() + RETRY_SECONDS
        except Exception as error:
            due_at = await self._patience.after_failure(lease, error)
        with contextlib.suppress(LedgerUnavailable):  # then the lease runs out by itself
            if not isinstance(due_at, queues.Released):
                due_at = await self._database.write(queues.release, lease, due_at=due_at)
            is_due = due_at.due_at is not None and due_at.due_at <= self._clock()
            if is_due or self._is_full[queue]:
                self.wake(queue)

    async def _complete_syncs(self) -> bool:
        for phone_number_id in await self._database.write(
            syncs.complete_what_is_done, now=self._clock(), quiet_seconds=self._quiet_seconds
        ):
            log.info("history.completed", phone_number_id=phone_number_id)
        return False

    @staticmethod
    def _release_all(connection: Any, leases: Sequence[queues.Lease], due_at: float) -> None:
        dialects.serialize(connection, dialects.MANY)
        for lease in leases:
            queues.release(connection, lease, due_at=due_at)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str | None = None) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _renew_until_stopped(self) -> None:
        """Renew the leases of what is under way, from a thread: Rasa blocks the event loop at times."""
        while not self._stopping.wait(queues.RENEW_SECONDS):
            self._renew()

    def _renew(self) -> None:
        try:
            if held := list(self._held):
                self._database.write_here(queues.renew, held, now=self._clock())
        except LedgerUnavailable:
            pass  # said in the log by the ledger
        except Exception as error:  # if this thread ended, every long turn would run twice
            log.error("worker.renewal_failed", **fault(error))


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    waiting = list(tasks)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
