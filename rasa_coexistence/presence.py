"""Show a customer that their message was read and that an answer is being made."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from rasa_coexistence import sending
from rasa_coexistence.errors import LedgerError
from rasa_coexistence.graph.client import GraphClient
from rasa_coexistence.graph.errors import GraphError
from rasa_coexistence.ledger import chats
from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.records import NumberState
from rasa_coexistence.settings import Replies

log = structlog.get_logger(__name__)

Token = Callable[[str], Awaitable[str | None]]  # phone_number_id -> access token

RENEW_SECONDS = 20.0  # WhatsApp shows "typing..." for 25
PATIENCE_SECONDS = 2.0  # an answer that overtakes "typing..." would leave it standing; so long it waits


class Presence:
    """Read receipts and "typing...": both are courtesies, so no failure of theirs ever disturbs a turn."""

    def __init__(
        self,
        database: Database,
        graph: GraphClient,
        token: Token,
        replies: Replies,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._graph = graph
        self._token = token
        self._replies = replies
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._calling: dict[int, asyncio.Event] = {}  # conversation -> when its call is over

    @contextlib.asynccontextmanager
    async def shown(self, chat: Chat, wamid: str) -> AsyncIterator[None]:
        """Show it while an answer to a message is made; only where one may go out."""
        over = asyncio.Event()
        if self._is_wanted and self._may_answer(chat):
            task = asyncio.create_task(self._show(chat, wamid, over))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            yield
        finally:
            over.set()

    def is_calling(self, conversation_id: int) -> bool:
        """Tell whether a call is under way that an answer should wait for; any thread may ask."""
        return conversation_id in self._calling

    async def settled(self, conversation_id: int) -> None:
        """Wait for a call under way: "typing..." that comes after the answer would stay for 25 seconds."""
        calling = self._calling.get(conversation_id)
        if calling is not None and not await _within(calling, PATIENCE_SECONDS):
            self._wait_no_more(conversation_id, calling)

    async def close(self) -> None:
        """Show nothing more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def _is_wanted(self) -> bool:
        return self._replies.mark_as_read or self._replies.typing_indicator

    def _may_answer(self, chat: Chat) -> bool:
        now = self._clock()
        return (
            chat.person_has_it(now) is None
            and chat.number_state == NumberState.CONNECTED.value
            and sending.window_is_open(chat.last_customer_at, now)
        )

    async def _show(self, chat: Chat, wamid: str, over: asyncio.Event) -> None:
        """Show it once, and "typing..." again and again until the turn is over."""
        try:
            await self._call(chat, wamid)
            while self._replies.typing_indicator and not await _within(over, RENEW_SECONDS):
                if not self._may_answer(await self._database.read(chats.load, chat.id)) or over.is_set():
                    return
                await self._call(chat, wamid)
        except GraphError as error:
            log.info("presence.not_shown", code=error.code, verdict=error.verdict.name)
        except LedgerError as error:
            log.info("presence.not_shown", reason=type(error).__name__)

    async def _call(self, chat: Chat, wamid: str) -> None:
        over = self._calling[chat.id] = asyncio.Event()
        try:
            token = await self._token(chat.phone_number_id)
            if token is not None:
                typing = self._replies.typing_indicator
                await self._graph.mark_read(chat.phone_number_id, wamid, access_token=token, typing=typing)
        finally:
            over.set()
            self._wait_no_more(chat.id, over)

    def _wait_no_more(self, conversation_id: int, calling: asyncio.Event) -> None:
        if self._calling.get(conversation_id) is calling:
            del self._calling[conversation_id]


async def _within(event: asyncio.Event, seconds: float) -> bool:
    """Tell whether something happens within a time."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except asyncio.TimeoutError:
        return False
    return True
