"""Blue ticks and "typing...": only where the bot is going to answer, and never in the way of the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from actions import Actions, running_actions
from agents import Counter, agent_on, open_counter
from rasa.core.agent import Agent
from rasa.utils.endpoints import EndpointConfig

from rasa_coexistence import presence
from rasa_coexistence.ledger import schema, takeovers

ANA = "5217715268513"
BOTH = {"mark_as_read": True, "typing_indicator": True}
TYPING = {"typing_indicator": True}
SILENCE_SECONDS = 0.8


@asynccontextmanager
async def open_bot(
    answering: Agent, tmp_path: Path, **settings: Any
) -> AsyncIterator[tuple[Counter, Actions]]:
    agent = agent_on(answering, f"sqlite:///{tmp_path}/rasa.db")
    async with running_actions() as actions:
        agent.processor.action_endpoint = EndpointConfig(actions.url)
        async with open_counter(agent, f"sqlite:///{tmp_path}/ledger.db", **settings) as counter:
            yield counter, actions


def shown(counter: Counter) -> list[bool]:
    """Return every call that marks as read, and whether it says that somebody types."""
    calls = [call for call in counter.meta.calls if call.operation == "read"]
    return ["typing_indicator" in (call.body or {}) for call in calls]


async def test_nothing_is_shown_unless_it_is_asked_for(answering: Agent, tmp_path: Path) -> None:
    """A read receipt from here could clear the badge that the owner goes by."""
    async with open_bot(answering, tmp_path) as (counter, _):
        await counter.meta.customer(ANA).writes("hello")
        await counter.answered(1)
        await asyncio.sleep(SILENCE_SECONDS)
        assert shown(counter) == []


async def test_answered_message_is_marked_as_read(answering: Agent, tmp_path: Path) -> None:
    """Each message that the bot takes up."""
    async with open_bot(answering, tmp_path, replies={"mark_as_read": True}) as (counter, _):
        wamids = [await counter.meta.customer(ANA).writes("hello") for _ in range(2)]
        await counter.answered(2)
        await counter.meta.until(lambda: set(counter.meta.sending.read) == set(wamids))
        assert shown(counter) == [False, False]


@pytest.mark.parametrize("replies", [TYPING, BOTH])
async def test_typing_is_shown_before_the_answer(
    answering: Agent, tmp_path: Path, replies: dict[str, Any]
) -> None:
    """After it, "typing..." would stand there for 25 seconds."""
    async with open_bot(answering, tmp_path, replies=replies) as (counter, _):
        counter.meta.sending.behaviour.latency_seconds = 0.2
        await counter.meta.customer(ANA).writes("hello")
        await counter.answered(1)
        assert [call.operation for call in counter.meta.calls] == ["read", "messages"]
        assert shown(counter) == [True]


async def test_typing_is_renewed_while_a_turn_is_long(
    answering: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no longer: when the answer is out it is over."""
    monkeypatch.setattr(presence, "RENEW_SECONDS", 0.3)
    async with open_bot(answering, tmp_path, replies=TYPING) as (counter, actions):
        actions.thinks_seconds = 1.4
        await counter.meta.customer(ANA).writes("think")
        assert await counter.answered(1) == ["Thought about it."]
        times = len(shown(counter))
        assert 3 <= times <= 6
        await asyncio.sleep(SILENCE_SECONDS)
        assert len(shown(counter)) == times


async def test_read_receipt_alone_is_not_renewed(
    answering: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read is read."""
    monkeypatch.setattr(presence, "RENEW_SECONDS", 0.2)
    async with open_bot(answering, tmp_path, replies={"mark_as_read": True}) as (counter, actions):
        actions.thinks_seconds = 1.0
        await counter.meta.customer(ANA).writes("think")
        await counter.answered(1)
        assert shown(counter) == [False]


async def person_takes(counter: Counter) -> None:
    """Let a person take the one conversation that there is."""
    [chat] = await counter.rows(schema.conversations)
    service = counter.site.service
    await service.database.write(takeovers.hold, chat.id, until=None, reason="api", now=service.clock())


async def test_nothing_is_shown_while_a_person_has_the_chat(answering: Agent, tmp_path: Path) -> None:
    """The person decides when it is read, and nobody but them is going to answer."""
    async with open_bot(answering, tmp_path, replies=BOTH) as (counter, _):
        ana = counter.meta.customer(ANA)
        await ana.writes("hello")
        await counter.answered(1)
        await person_takes(counter)
        await ana.writes("hello there")

        async def is_logged() -> bool:
            return bool(await counter.rows(schema.messages, state="logged", source="live"))

        await counter.until(is_logged)
        await asyncio.sleep(SILENCE_SECONDS)
        assert len(shown(counter)) == 1


async def test_person_who_comes_in_the_middle_ends_the_typing(
    answering: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bot's answer is held back, so nobody is typing any more."""
    monkeypatch.setattr(presence, "RENEW_SECONDS", 0.4)
    async with open_bot(answering, tmp_path, replies=TYPING) as (counter, actions):
        actions.thinks_seconds = 2.5
        await counter.meta.customer(ANA).writes("think")
        await actions.thinking.wait()
        await person_takes(counter)
        times = len(shown(counter))
        await asyncio.sleep(1.5)
        assert len(shown(counter)) <= times + 1  # one may have been on its way
        assert counter.meta.sent_to(ANA) == []


async def test_person_who_comes_while_an_answer_waits_for_the_typing_is_not_talked_over(
    answering: Agent, tmp_path: Path
) -> None:
    """A slow read receipt keeps the answer back: who may speak is asked after it, not before."""
    async with open_bot(answering, tmp_path, replies=BOTH) as (counter, _):
        counter.meta.failures.add("read", "timeout_before", seconds=1.5)
        ana = counter.meta.customer(ANA)
        await ana.writes("hello", at=time.time() - 60)

        async def waits_to_leave() -> bool:
            return bool(await counter.rows(schema.outbox, state="queued"))

        async def is_held_back() -> bool:
            return bool(await counter.rows(schema.outbox, state="held_back"))

        await counter.until(waits_to_leave)
        await counter.meta.owner().writes(ana, "I am here")
        await counter.until(is_held_back)
        assert counter.meta.sent_to(ANA) == []


async def test_nothing_is_shown_where_no_answer_may_go(answering: Agent, tmp_path: Path) -> None:
    """A message that comes a day late is heard, but the window is closed."""
    async with open_bot(answering, tmp_path, replies=BOTH) as (counter, _):
        await counter.meta.customer(ANA).writes("hello", at=time.time() - 25 * 3600)

        async def is_refused() -> bool:
            return bool(await counter.rows(schema.outbox, state="undeliverable"))

        await counter.until(is_refused)
        assert counter.meta.calls == []


async def test_nothing_is_shown_for_what_is_never_answered(answering: Agent, tmp_path: Path) -> None:
    """Ignored numbers, reactions, and what only the phone shows."""
    async with open_bot(answering, tmp_path, replies=BOTH, ignore=["5215550000001"]) as (counter, _):
        ana = counter.meta.customer(ANA)
        await counter.meta.customer("5215550000001").writes("hello")
        await ana.reacts("👍", to="wamid.x")
        await ana.sends_something_hidden()
        await asyncio.sleep(SILENCE_SECONDS)
        assert counter.meta.calls == []


@pytest.mark.parametrize(
    "failure",
    [
        {"kind": "error", "code": 131009},
        {"kind": "error", "code": 190},
        {"kind": "http", "http_status": 500},
        {"kind": "refuse"},
        {"kind": "garbage"},
        {"kind": "timeout_before"},
    ],
    ids=lambda failure: "-".join(str(part) for part in failure.values()),
)
async def test_failure_disturbs_no_turn(
    answering: Agent, tmp_path: Path, failure: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a courtesy: the answer leaves all the same, and soon."""
    monkeypatch.setattr(presence, "PATIENCE_SECONDS", 0.3)
    async with open_bot(answering, tmp_path, replies=BOTH) as (counter, _):
        timeout = aiohttp.ClientTimeout(total=3, connect=3)
        counter.site.service.graph._transport.timeout = timeout
        counter.meta.failures.add("read", **failure, count=None)
        await counter.meta.customer(ANA).writes("hello")
        assert await counter.answered(1) == ["I heard you."]
        [message] = await counter.rows(schema.messages, source="live")
        [number] = await counter.rows(schema.numbers)
        assert (message.state, number.stopped_until) == ("answered", None)
