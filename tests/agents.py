"""A real Rasa agent in the process of the tests, our channel beside it, the simulated Meta before both."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from channels import Site, credentials, running_channel
from cloud_api import running_simulator
from rasa.core.agent import Agent
from rasa.core.lock_store import InMemoryLockStore
from rasa.core.tracker_store import SQLTrackerStore

from rasa_coexistence.events import JSON
from rasa_coexistence.simulator import Simulator

PATIENCE_SECONDS = 60.0


def agent_on(loaded: Agent, tracker_url: str) -> Agent:
    """Return an agent with the model of another and a tracker store of its own."""
    agent = Agent(
        tracker_store=SQLTrackerStore(loaded.domain, host=tracker_url), lock_store=InMemoryLockStore()
    )
    agent.domain = agent.tracker_store.domain = loaded.domain
    agent.nlg = loaded.nlg
    agent.processor = copy.copy(loaded.processor)
    agent.processor.tracker_store = agent.tracker_store
    agent.processor.lock_store = agent.lock_store
    return agent


@dataclass
class Counter:
    """A bot at work: customers come through Meta, and everything can be looked at."""

    site: Site
    agent: Agent
    meta: Simulator

    async def events(self, sender_id: str, *kinds: str) -> list[JSON]:
        """Return a conversation's events, all sessions, of these kinds."""
        tracker = await inner_store(self.agent).retrieve_full_tracker(sender_id)
        events = [event.as_dict() for event in tracker.events] if tracker else []
        return [event for event in events if not kinds or event["event"] in kinds]

    async def said(self, sender_id: str) -> list[tuple[str, str]]:
        """Return who said what, in the order in which Rasa has it."""
        return [(event["event"], event["text"]) for event in await self.events(sender_id, "user", "bot")]

    async def rows(self, table: Any, **where: Any) -> list[Any]:
        """Return rows of the ledger."""
        statement = sa.select(table).filter_by(**where).order_by(*table.primary_key.columns)
        return await self.site.service.database.read(lambda connection: connection.execute(statement).all())

    async def answered(self, count: int = 1, *, to: str | None = None) -> list[str]:
        """Wait for so many answers and return their texts."""
        sent = await self.meta.wait_for_sent(count, to=to, timeout_seconds=PATIENCE_SECONDS)
        return [one.text for one in sent]

    async def until(self, is_so: Callable[[], Awaitable[Any]]) -> None:
        """Wait until something is so."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not await is_so():
            assert time.monotonic() < end, "it never came to be"
            await asyncio.sleep(0.02)


@asynccontextmanager
async def open_counter(agent: Agent | None, database_url: str, **settings: Any) -> AsyncIterator[Counter]:
    """Run everything; ``settings`` are of credentials.yml."""
    async with running_simulator() as meta:
        block = credentials(database_url, graph_url=meta.url, **settings)
        async with running_channel(block, agent) as site:
            meta.accounts.webhook_url = f"{site.url}/webhook"
            yield Counter(site, agent, meta)


def inner_store(agent: Agent) -> Any:
    """Return the tracker store within Rasa's fail-safe one."""
    return agent.tracker_store._tracker_store
