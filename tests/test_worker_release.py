"""When what the bot says in a slow turn leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from agents import Counter, agent_on, open_counter
from rasa.core.agent import Agent

ANA = "5217715268513"


class SlowAction:
    """Makes a bot stop for long after it has said the first thing of a turn."""

    def __init__(self, agent: Agent) -> None:
        self.spoke = asyncio.Event()
        self.may_end = asyncio.Event()
        self._run = agent.processor._run_action
        agent.processor._run_action = self.run

    async def run(self, action: Any, *others: Any) -> Any:
        """Run an action."""
        done = await self._run(action, *others)
        if action.name().startswith("utter_"):
            self.spoke.set()
            await self.may_end.wait()
        return done


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a place for both databases."""
    return tmp_path


@asynccontextmanager
async def slow_bot(
    loaded: Agent, folder: Path, release_after: float | None
) -> AsyncIterator[tuple[Counter, SlowAction]]:
    """Run a bot that is in the middle of a turn: it has spoken and goes on working."""
    agent = agent_on(loaded, f"sqlite:///{folder}/rasa.db")
    slow = SlowAction(agent)
    settings = {"replies": {"release_after_seconds": release_after}}
    async with open_counter(agent, f"sqlite:///{folder}/ledger.db", **settings) as counter:
        await counter.meta.customer(ANA).writes("¿A qué hora abren?")
        await asyncio.wait_for(slow.spoke.wait(), 10)
        try:
            yield counter, slow
        finally:
            slow.may_end.set()


@pytest.mark.parametrize("release_after", [0, 0.2])
async def test_a_customer_need_not_wait_for_the_end_of_a_slow_turn(
    loaded: Agent, folder: Path, release_after: float
) -> None:
    """The action may take minutes; what was said leaves, and is not said again at the end."""
    async with slow_bot(loaded, folder, release_after) as (counter, slow):
        await counter.answered(1)
        assert await counter.said(ANA) == [], "the turn is not saved yet"
        slow.may_end.set()
        await counter.until(lambda: counter.said(ANA))
        await counter.meta.customer(ANA).writes("Hola")
        await counter.answered(2)
        assert [kind for kind, _ in await counter.said(ANA)] == ["user", "bot", "user", "bot"]
        assert len(counter.meta.sent_to()) == 2


async def test_nothing_leaves_before_the_tracker_is_saved_if_so_set(loaded: Agent, folder: Path) -> None:
    """null: what a customer has seen is certain to stand in the tracker."""
    async with slow_bot(loaded, folder, None) as (counter, slow):
        await asyncio.sleep(1.2)
        assert counter.meta.sent_to() == []
        slow.may_end.set()
        await counter.answered(1)
        assert [kind for kind, _ in await counter.said(ANA)] == ["user", "bot"]


async def test_a_turn_longer_than_a_lease_is_one_turn(
    loaded: Agent, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is renewed for as long as it takes."""
    monkeypatch.setattr("rasa_coexistence.ledger.queues.LEASE_SECONDS", 0.6)
    monkeypatch.setattr("rasa_coexistence.ledger.queues.RENEW_SECONDS", 0.15)
    async with slow_bot(loaded, folder, 0) as (counter, slow):
        await counter.meta.customer(ANA).writes("Hola")  # waits its turn
        await asyncio.sleep(1.5)
        assert len(counter.meta.sent_to()) == 1
        slow.may_end.set()
        await counter.answered(2)
        assert [kind for kind, _ in await counter.said(ANA)] == ["user", "bot", "user", "bot"]
