"""Bring old chat from the ledger into Rasa's tracker store."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any

import structlog

from rasa_coexistence import history_parse, identity, publishing
from rasa_coexistence.errors import LeaseLost, LedgerError, Postponed
from rasa_coexistence.faults import fault
from rasa_coexistence.ledger import chats, history_rows, people, queues
from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.ledger.database import Database, Urgency
from rasa_coexistence.projection import Projection
from rasa_coexistence.rasa_bridge import RasaBridge
from rasa_coexistence.reading import Reader
from rasa_coexistence.settings import Settings
from rasa_coexistence.tracker_stores import HistoryImporter

log = structlog.get_logger(__name__)

ROWS_AT_ONCE = 4000  # messages of one transaction in the tracker store, unless one chat alone has more
STORE_IS_DOWN = 3  # failures one after the other
ASIDE_SECONDS = 2.0  # for a visit to begin that imports a chat for its customer's sake
LONGEST_PAUSE_SECONDS = 300.0  # between two tries of what fails again and again

Leased = tuple[queues.Lease, Chat]
Pause = Callable[[], Awaitable[None]]


async def _go_on() -> None:
    """Make no pause: somebody waits."""


class _MakeWay(Exception):
    """A batch is to be cut anew: a customer of it writes, or it is too long now that somebody does."""


class NotTaken(Postponed):
    """The tracker store, or the event broker, did not take a history."""


class HistoryImport:
    """Projects conversations into the tracker store, whole, as often as their history changes."""

    def __init__(
        self,
        database: Database,
        bridge: RasaBridge,
        reader: Reader,
        settings: Settings,
        clock: Callable[[], float],
        *,
        on_release: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._bridge = bridge
        self._reader = reader
        self._settings = settings
        self._clock = clock
        self._on_release = on_release
        self._ignored = {identity.canonical_phone(number) for number in settings.ignore}

    async def bring_forward(self, chat: Chat, lease: queues.Lease) -> None:
        """Import all that was accepted of one customer's history; raise LeaseLost when the lease ran out.

        A history that cannot be taken keeps nobody waiting: the customer is answered without it.
        """
        aliases = await self._database.read(people.aliases_of, chat.id)
        await self._reader.bring_forward(aliases)
        fresh = await self._database.read(chats.load, chat.id)
        if fresh.import_due_at is None or not self._is_wanted(fresh):
            return
        try:
            await self._project([fresh], [lease])
        except NotTaken as error:
            await self._database.write(history_rows.not_imported, chat.id, error.reason)
        else:
            await self._database.write(history_rows.is_done, chat.id, fresh.import_due_at)

    async def import_leased(self, leases: Sequence[queues.Lease]) -> None:
        """Import conversations and let go of them; of the rest whoever calls lets go when this raises.

        Raise Postponed when nothing can be imported now, LeaseLost when a lease ran out.
        """
        self._bridge.importer()
        ids = [lease.conversation_id for lease in leases]
        waiting = deque(zip(leases, await self._database.read(chats.load_many, ids), strict=True))
        suspects: set[int] = set()  # one of them kept the others of its batch back: each goes alone
        failures = 0  # one after the other
        while waiting := await self._without_customers(waiting):
            batch = _next_batch(waiting, self._database.courtesy.piece(ROWS_AT_ONCE), suspects)
            try:
                leased = [lease for lease, _chat in batch]
                pause = partial(self._make_way, batch, [*batch, *waiting])
                await self._project([chat for _lease, chat in batch], leased, pause=pause, lets_go=True)
                failures = 0
            except _MakeWay:
                waiting.extendleft(reversed(batch))
            except Postponed as error:
                if len(batch) > 1:
                    suspects.update(chat.id for _lease, chat in batch)
                    waiting.extendleft(reversed(batch))
                    continue
                await self._put_off(batch[0][0], error)
                failures += 1
                if failures == STORE_IS_DOWN:
                    raise

    async def _make_way(self, batch: Sequence[Leased], leased: Sequence[Leased]) -> None:
        """Pause; raise _MakeWay if a customer of what is leased writes, or the batch is too long now."""
        await self._database.courtesy.pause()
        ids = [chat.id for _lease, chat in leased]
        size = sum(chat.history_received for _lease, chat in batch)
        wanted = await self._database.read(queues.due_among, queues.TALK, ids, now=self._clock())
        if wanted or (len(batch) > 1 and size > self._database.courtesy.piece(ROWS_AT_ONCE)):
            raise _MakeWay

    async def _without_customers(self, waiting: deque[Leased]) -> deque[Leased]:
        """Let go of those in which a customer waits: their visit imports them, and does not stand in line."""
        now = self._clock()
        ids = [chat.id for _lease, chat in waiting]
        wanted = await self._database.read(queues.due_among, queues.TALK, ids, now=now)
        for lease, chat in waiting:
            if chat.id in wanted:
                await self._database.write(queues.release, lease, due_at=now + ASIDE_SECONDS)
                self._on_release()
        return deque(pair for pair in waiting if pair[1].id not in wanted)

    async def _put_off(self, lease: queues.Lease, error: Postponed) -> None:
        """Try a conversation again later, less and less often, and say why."""

        def write(connection: Any) -> None:
            tries = history_rows.not_imported(connection, lease.conversation_id, error.reason)
            pause = min(error.retry_in_seconds * 2 ** min(tries - 1, 20), LONGEST_PAUSE_SECONDS)
            queues.release(connection, lease, due_at=self._clock() + pause)

        log.warning("history.put_off", conversation=lease.conversation_id, reason=error.reason)
        await self._database.write(write)

    async def _project(
        self,
        found: Sequence[Chat],
        leases: Sequence[queues.Lease],
        *,
        pause: Pause = _go_on,
        lets_go: bool = False,
    ) -> None:
        """Write the whole history of some conversations into the tracker store, as long as the leases hold.

        It pauses before each stage, unless a customer waits for this.
        """
        await pause()
        wanted = [chat for chat in found if self._is_wanted(chat)]
        messages = await self._database.read(history_rows.by_conversation, [chat.id for chat in wanted])
        importer = self._bridge.importer()
        expiration = self._bridge.session_expiration_seconds
        projections = [
            Projection(
                chat,
                messages.get(chat.id, []),  # one that was united with another has none any more
                session_expiration_seconds=expiration,
                max_messages=self.cap(importer),
                keeps_events=self._publishes,
            )
            for chat in wanted
        ]
        histories = [projection.history for projection in projections]
        await pause()
        with _taking():
            prepared = await importer.prepare(histories)
        if prepared is not None:
            await pause()
        async with self._bridge.locked([history.sender_id for history in histories]):
            await self._database.read(queues.check_all, leases, now=self._clock())
            with _taking():
                await importer.replace_history(histories, prepared)
        await self._publish(projections)
        await self._count(projections, leases, lets_go=lets_go)
        if lets_go:
            self._on_release()

    @property
    def _publishes(self) -> bool:
        return self._settings.history.publish_events and self._bridge.event_broker is not None

    async def _publish(self, projections: Sequence[Projection]) -> None:
        if not self._publishes:
            return
        try:
            for projection in projections:
                await publishing.publish(self._database, self._bridge.event_broker, projection)
        except LedgerError:
            raise
        except Exception as error:  # each broker has exceptions of its own
            log.warning("history.event_broker_failed", **fault(error))
            raise NotTaken(f"the event broker did not take it: {type(error).__name__}") from error

    async def _count(
        self, projections: Sequence[Projection], leases: Sequence[queues.Lease], *, lets_go: bool
    ) -> None:
        counts = {projection.chat.id: projection.imported for projection in projections}
        parses = self._settings.history.parse
        due_at = {
            projection.chat.id: self._clock()
            for projection in projections
            if parses and any(history_parse.is_unread(message) for message in projection.messages)
        }

        def write(connection: Any) -> None:
            history_rows.imported(connection, counts, parse_due_at=due_at)
            queues.check_all(connection, leases, now=self._clock())
            if lets_go:
                queues.release_done(connection, leases)

        try:
            await self._database.write(write, urgency=Urgency.BULK)
        except LeaseLost:  # others may have written something newer before us
            await self._database.write(queues.wake, queues.IMPORT, list(counts), at=self._clock())
            raise

    def cap(self, importer: HistoryImporter) -> int | None:
        """Return how many old messages a conversation of the tracker store may have."""
        return self._settings.history.max_messages_per_conversation or importer.default_cap

    def _is_wanted(self, chat: Chat) -> bool:
        """Tell whether a customer's history belongs in the tracker."""
        ignored = chat.wa_id is not None and identity.canonical_phone(chat.wa_id) in self._ignored
        return self._settings.history.enabled and not ignored


@contextlib.contextmanager
def _taking() -> Iterator[None]:
    """Let the tracker store work; raise NotTaken when it fails."""
    try:
        yield
    except Postponed:
        raise
    except Exception as error:  # each store has exceptions of its own
        log.warning("history.tracker_store_failed", **fault(error))
        raise NotTaken(f"the tracker store did not take it: {type(error).__name__}") from error


def _next_batch(waiting: deque[Leased], limit: int, suspects: Collection[int]) -> list[Leased]:
    """Take conversations for one transaction of the tracker store, or a long one or a suspect alone."""
    batch = [waiting.popleft()]
    size = batch[0][1].history_received
    if batch[0][1].id in suspects:
        return batch
    while waiting and (size := size + waiting[0][1].history_received) <= limit:
        batch.append(waiting.popleft())
    return batch
