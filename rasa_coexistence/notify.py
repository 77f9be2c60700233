"""Call a person: POST what they must hear of to ``notify_url``, until it is taken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
import structlog

from rasa_coexistence.ledger import notices
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.ledger.notices import Notice

log = structlog.get_logger(__name__)

TIMEOUT = aiohttp.ClientTimeout(total=10, connect=5)
LEASE_SECONDS = 30.0  # longer than a try can take
AT_ONCE = 16
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 2.0, 900.0
GIVE_UP_SECONDS = 86400.0  # by then somebody has looked at the console


class Notifier:
    """Sends what the ledger keeps; nothing else ever waits for it."""

    def __init__(self, database: Database, url: str | None, *, clock: Callable[[], float]) -> None:
        self._database = database
        self._url = url
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._tidy_at = 0.0

    async def step(self) -> bool:
        """Send what is due; return whether there was anything."""
        now = self._clock()
        if now >= self._tidy_at:
            self._tidy_at = now + 3600
            await self._database.write(notices.forget_old, now=now)
        if self._url is None or not await self._database.read(notices.are_due, now=now):
            return False
        claimed = await self._database.write(
            notices.claim, now=now, lease_seconds=LEASE_SECONDS, limit=AT_ONCE
        )
        await asyncio.gather(*(self._send(notice, self._url) for notice in claimed))
        return bool(claimed)

    async def close(self) -> None:
        """Close the connections; what was not sent is sent after the next start."""
        if self._session is not None:
            await self._session.close()

    async def _send(self, notice: Notice, url: str) -> None:
        trouble = await self._post(notice, url)
        now = self._clock()
        state, not_before = notices.SENT, now
        if trouble is not None:
            is_over = now - notice.created_at > GIVE_UP_SECONDS
            state = notices.FAILED if is_over else notices.WAITING
            not_before = now + retry_seconds(notice.attempts)
            # The address may hold a token, aiohttp's errors quote it: neither is logged.
            log.warning("notify.not_taken", notice=notice.id, notice_event=notice.event, trouble=trouble)
        await self._database.write(notices.settle, notice.id, state=state, not_before=not_before)

    async def _post(self, notice: Notice, url: str) -> str | None:
        """Return what kept a notice from being taken, None when it was."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=TIMEOUT, cookie_jar=aiohttp.DummyCookieJar())
        headers = {"Content-Type": "application/json", "Idempotency-Key": f"rasa-coexistence-{notice.id}"}
        try:
            async with self._session.post(
                url, data=notice.body, headers=headers, allow_redirects=False
            ) as answer:
                return None if 200 <= answer.status < 300 else f"HTTP {answer.status}"
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            return type(error).__name__


def retry_seconds(tries: int) -> float:
    """Return how long to wait after a try that failed, ``tries`` before it."""
    return min(FIRST_RETRY_SECONDS * 2.0 ** min(tries, 20), LONGEST_RETRY_SECONDS)
