"""What a bot says in a turn leaves once and whole, however slowly the ledger writes."""

from __future__ import annotations

import asyncio
from typing import Any

from ledgers import ANA, Books, live

from rasa_coexistence.ledger import bubbles, queues, schema
from rasa_coexistence.turn import Turn


class Lagging:
    """A ledger whose writer comes to early releases late, as one of several may on PostgreSQL."""

    def __init__(self, books: Books) -> None:
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self._database = books.database

    async def write(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        if work.__name__ != "_queue":
            return await self._database.write(work, *args, **kwargs)
        self.late = asyncio.ensure_future(self._later(work, *args, **kwargs))
        self.asked.set()
        return await asyncio.shield(self.late)

    async def _later(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        await self.gate.wait()
        return await self._database.write(work, *args, **kwargs)


async def test_nothing_is_lost_when_a_turn_ends_while_its_first_bubbles_leave(books: Books) -> None:
    """An early release that is written after the end of the turn would sweep away what was said last."""
    await books.tell(live(ANA, ("wamid.A1", "Hola")))
    [lease] = await books.claim(queues.TALK)
    lagging: Any = Lagging(books)
    turn = Turn(
        lagging,
        lease,
        "wamid.A1",
        release_after_seconds=0.01,
        clock=books.clock,
        on_release=lambda: None,
    )
    await turn.say({"text": "Un momento"})
    await lagging.asked.wait()
    await turn.say({"text": "Cuesta 100"})
    holding = asyncio.create_task(turn.hold())
    await asyncio.wait({holding}, timeout=0.2)
    lagging.gate.set()
    await holding
    await turn.close()
    await lagging.late
    await books.database.write(bubbles.release, lease.conversation_id, "wamid.A1", now=books.clock())
    rows = await books.rows(schema.outbox)
    assert [(row.text, row.state) for row in rows] == [("Un momento", "queued"), ("Cuesta 100", "queued")]
