"""Person and bot on one number with two Rasa servers on PostgreSQL and Redis, one of which dies."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import redis
from actions import Thought
from running_bot import RunningBot
from takeover_story import PATIENCE_SECONDS, Shop, marks, open_shop

from rasa_coexistence.ledger.queues import LEASE_SECONDS
from rasa_coexistence.rasa_locks import LOCK_SECONDS

TIMER_SECONDS = 8.0
THINKING_SECONDS = 2.0
HEARD, THOUGHT = "I heard you.", "Thought about it."
ANA, BEN, EVA = "5215550000001", "5215550000002", "5215550000003"


async def test_one_of_two_servers_dies_and_nobody_is_talked_over_or_forgotten(
    tmp_path: Path, answers_model: Path, postgres_database: str, redis_port: int
) -> None:
    """Webhooks go to either, silence holds in both, and what the dead one had the other answers once."""
    endpoints: dict[str, Any] = {
        "tracker_store": {"type": "SQL", "dialect": "postgresql", "url": postgres_database},
        "lock_store": {"type": "redis", "url": "localhost", "port": redis_port},
    }
    async with open_shop(
        tmp_path,
        answers_model,
        servers=2,
        endpoints=endpoints,
        database_url=postgres_database,
        takeover={"resume_after_minutes": TIMER_SECONDS / 60},
    ) as shop:
        await asyncio.gather(*(shop.meet(wa_id) for wa_id in (ANA, BEN, EVA)))
        await silent_in_both(shop)
        question = await asked_during_the_pause(shop)
        left = await answered_after_the_death_of_a_server(shop, redis_port)
        await shop.answered(BEN, HEARD, HEARD)
        events = await left.events(BEN, "user", "bot", "pause", "resume")
        assert [event["event"] for event in events] == [
            "user",
            "bot",
            "bot",
            "pause",
            "user",
            "resume",
            "bot",
        ]
        assert marks(events[-2])["wamid"] == question
        await asyncio.sleep(TIMER_SECONDS / 2)
        assert shop.sent(ANA) == [HEARD]
        assert shop.sent(BEN) == [HEARD, HEARD]
        assert shop.sent(EVA) == [HEARD, THOUGHT]


async def silent_in_both(shop: Shop) -> None:
    """The question comes through one server, the person's answer through the other."""
    shop.actions.thoughts[ANA] = [Thought(THINKING_SECONDS, (THOUGHT,))]
    ana = shop.meta.customer(ANA)
    await ana.writes("think")
    await shop.until(lambda: ANA in shop.actions.asked)
    shop.webhooks_go_to(shop.servers[1 - int(shop.actions.asked[ANA][0])])
    await asyncio.sleep(THINKING_SECONDS / 2)
    await shop.person_types(ana)
    await shop.until(lambda: shop.bubbles(ANA, "held_back"))


async def asked_during_the_pause(shop: Shop) -> str:
    """The timer ends when a server is dead."""
    ben = shop.meta.customer(BEN)
    await shop.person_types(ben)
    question = await ben.writes("is anybody there?")
    await shop.is_logged(ben, question)
    return question


async def answered_after_the_death_of_a_server(shop: Shop, redis_port: int) -> RunningBot:
    """The other goes on as soon as lease and ticket of the dead one have run out; return it."""
    shop.actions.thoughts[EVA] = [Thought(PATIENCE_SECONDS), Thought(0.0, (THOUGHT,))]
    await shop.meta.customer(EVA).writes("think")
    await shop.until(lambda: EVA in shop.actions.asked)
    dead = int(shop.actions.asked[EVA][0])
    await shop.servers[dead].kill()
    died_at = time.monotonic()
    with redis.Redis(port=redis_port, db=1) as client:  # which Rasa takes unless told otherwise
        assert [key for key in client.scan_iter() if EVA.encode() in key], "the ticket of the dead"
    shop.webhooks_go_to(shop.servers[1 - dead])
    await shop.answered(EVA, HEARD, THOUGHT)
    took = time.monotonic() - died_at
    print(f"answered {took:.1f} s after the death of the server that was at it")
    assert took < max(LEASE_SECONDS, LOCK_SECONDS) + PATIENCE_SECONDS / 3
    assert shop.actions.asked[EVA] == [str(dead), str(1 - dead)]
    return shop.servers[1 - dead]
