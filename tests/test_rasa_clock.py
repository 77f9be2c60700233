"""Clocks that do not agree: one that was put back, or another server's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rasa.shared.core.events import BotUttered, UserUttered
from takeover_stage import Stage


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """Open a shop."""
    stage = Stage(tmp_path)
    yield stage
    await stage.close()


async def test_a_slower_clock_loses_nothing_that_was_said(stage: Stage) -> None:
    """The next message may come to a server whose clock is behind the one that began the session."""
    wamids = [await stage.customer_writes()]
    await stage.settle()
    stage.clock.now -= 30
    for _ in range(3):
        wamids.append(await stage.customer_writes())
        await stage.settle()
    tracker = await stage.tracker()
    assert [event.message_id for event in tracker.events if isinstance(event, UserUttered)] == wamids
    answers = [event.text for event in tracker.events if isinstance(event, BotUttered)]
    assert answers == [f"{wamid} 0" for wamid in wamids]
    assert len((await stage.agent.tracker_store.retrieve(tracker.sender_id)).events) == len(tracker.events)
