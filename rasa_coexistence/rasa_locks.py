"""Take Rasa's own lock of a conversation, and keep it for as long as a turn lasts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from rasa.core.lock_store import LockError

from rasa_coexistence.errors import Postponed

LOCK_SECONDS = 10.0  # of Rasa's lock, renewed while we work: after a crash it stalls a conversation this long
LOCK_POLL_SECONDS = 0.05
LOCK_PATIENCE_SECONDS = 5.0


@contextlib.asynccontextmanager
async def held(lock_store: Any, sender_id: str) -> AsyncIterator[None]:
    """Hold Rasa's lock of a conversation; raise Postponed when it cannot be had."""
    lock = lock_store.lock(sender_id, LOCK_SECONDS, LOCK_POLL_SECONDS)
    try:
        ours = await asyncio.wait_for(lock.__aenter__(), LOCK_PATIENCE_SECONDS)
    except Exception as error:  # LockError, or what the lock store's own driver raises: nothing was done yet
        is_taken = isinstance(error, LockError | asyncio.TimeoutError)
        reason = "Rasa's lock of the conversation is taken" if is_taken else "Rasa's lock store fails"
        raise Postponed(reason, retry_in_seconds=1.0) from error
    renewing = asyncio.create_task(_keep_ticket(lock_store, sender_id, ours))
    try:
        yield
    finally:
        renewing.cancel()
        with contextlib.suppress(Exception):  # a lock store that is gone lets go of the lock by itself
            await lock.__aexit__(None, None, None)


async def _keep_ticket(lock_store: Any, sender_id: str, ours: Any) -> None:
    """Renew our ticket in long turns, so that its lifetime can be short for the sake of crashes."""
    number = None if ours is None else ours.now_serving
    while number is not None:
        await asyncio.sleep(LOCK_SECONDS / 3)
        lock = lock_store.get_lock(sender_id)
        ticket = lock._ticket_for_ticket_number(number) if lock else None
        if ticket is None:
            return
        ticket.expires += LOCK_SECONDS / 3
        lock_store.save_lock(lock)
