"""Turns of a real Rasa agent: each message answered once, in order, as plain text, whatever fails."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agents import Counter, agent_on, inner_store, open_counter
from channels import PHONE_NUMBER_ID
from rasa.core.agent import Agent
from rasa.core.lock_store import LockError

from rasa_coexistence import patience
from rasa_coexistence.ledger import schema
from rasa_coexistence.simulator.phones import deliver
from rasa_coexistence.tracker_stores.live import SQLConversations

ANA, BEN = "5217715268513", "5215550000001"
OPENING = ["action_session_start", "session_started", "action_listen"]


@pytest.fixture
def agent(loaded: Agent, tmp_path: Path) -> Agent:
    """Give a bot with an empty tracker store."""
    return agent_on(loaded, f"sqlite:///{tmp_path}/rasa.db")


@pytest.fixture
async def counter(agent: Agent, tmp_path: Path) -> AsyncIterator[Counter]:
    """Run a bot with the settings that it has by itself."""
    async with open_counter(agent, f"sqlite:///{tmp_path}/ledger.db") as counter:
        yield counter


async def test_a_message_is_answered_and_stands_in_the_tracker(counter: Counter) -> None:
    """The whole way there and back."""
    wamid = await counter.meta.customer(ANA, "Ana").writes("¿A qué hora abren?")
    [answer] = await counter.answered()
    assert "9:00" in answer
    user, bot = await counter.events(ANA, "user", "bot")
    assert (user["text"], user["message_id"], user["input_channel"]) == (
        "¿A qué hora abren?",
        wamid,
        "whatsapp",
    )
    assert user["parse_data"]["intent"]["name"] == "opening_hours_es"
    assert bot["text"] == answer
    facts = user["metadata"]["whatsapp"]
    assert facts["contact"]["wa_id"] == ANA
    assert facts["contact"]["name"] == "Ana"
    assert {key: facts[key] for key in ("source", "wamid", "type", "phone_number_id")} == {
        "source": "live",
        "wamid": wamid,
        "type": "text",
        "phone_number_id": PHONE_NUMBER_ID,
    }
    assert facts["timestamp"] == pytest.approx(user["timestamp"], abs=5)
    names = [event.get("name") or event["event"] for event in await counter.events(ANA)]
    assert names[:3] == OPENING
    assert names.count("action_session_start") == 1
    [message] = await counter.rows(schema.messages, wamid=wamid)
    assert message.state == "answered"


async def test_ten_deliveries_at_once_are_one_turn(counter: Counter) -> None:
    """Meta repeats; ten 200s, one answer."""
    await counter.meta.customer(ANA).writes("Hola")
    await counter.meta.deliveries.redeliver(copies=10)
    await counter.answered()
    await counter.meta.deliveries.redeliver(copies=3)
    await counter.meta.customer(ANA).writes("¿A qué hora abren?")
    await counter.answered(2)
    assert [kind for kind, _ in await counter.said(ANA)] == ["user", "bot", "user", "bot"]
    assert len(counter.meta.sent_to(ANA)) == 2


async def test_messages_of_one_webhook_are_answered_each_in_its_conversation_in_order(
    counter: Counter,
) -> None:
    """Loop over all: others stop at the first item."""
    ana, ben = counter.meta.customer(ANA), counter.meta.customer(BEN)
    texts = ["Hola", "¿A qué hora abren?", "¿Cuánto cuesta?"]
    items = [ana.compose("text", {"body": text}) for text in texts]
    items.insert(1, ben.compose("text", {"body": "Hola"}))
    items.append(ben.compose("text", {"body": "Adiós"}))
    await deliver(counter.meta, *items, entries=2)
    await counter.answered(3, to=ANA)
    await counter.answered(2, to=BEN)
    assert [text for kind, text in await counter.said(ANA) if kind == "user"] == texts
    assert [text for kind, text in await counter.said(BEN) if kind == "user"] == ["Hola", "Adiós"]
    assert [sent.text for sent in counter.meta.sent_to(ANA)] == [
        text for kind, text in await counter.said(ANA) if kind == "bot"
    ]


TYPED = [
    "/order_status_es",
    " /greet_es",
    "\n/greet_es",
    '/greet_en{"language":"xx"}',
    "//greet_es",
    "/",
    "\u2060/greet_es",
]


async def test_what_a_customer_types_is_plain_text(counter: Counter) -> None:
    """With Rasa's own channels anybody can type an intent, and the bot obeys."""
    ana = counter.meta.customer(ANA)
    for number, text in enumerate(TYPED):
        await ana.writes(text)
        await counter.answered(number + 1)
    users = await counter.events(ANA, "user")
    assert [user["text"] for user in users] == [text.strip() for text in TYPED]
    for user in users:
        parse = user["parse_data"]
        assert parse["text"] == user["text"]
        assert len(parse["intent_ranking"]) > 1, "NLU read it, not the parser of intents"
        assert parse["entities"] == []


async def test_typed_intents_can_be_allowed_for_testing(agent: Agent, tmp_path: Path) -> None:
    """The setting says so and nothing else does."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    async with open_counter(agent, url, allow_typed_intents=True) as counter:
        await counter.meta.customer(ANA).writes("/opening_hours_en")
        [answer] = await counter.answered()
    assert answer.startswith("We are open")


async def test_without_a_model_messages_wait(agent: Agent, tmp_path: Path) -> None:
    """Rasa itself would drop them with a line in its log."""
    async with open_counter(None, f"sqlite:///{tmp_path}/ledger.db") as counter:
        ana = counter.meta.customer(ANA)
        await ana.writes("Hola")
        await ana.writes("¿A qué hora abren?")
        unready = Agent()
        assert not unready.is_ready()
        counter.site.app.ctx.agent = unready
        await counter.until(lambda: counter.rows(schema.messages, state="waiting"))
        await asyncio.sleep(0.5)
        assert counter.meta.sent_to() == []
        counter.site.app.ctx.agent = counter.agent = agent
        answers = await counter.answered(2)
        assert "9:00" in answers[1]
        assert [kind for kind, _ in await counter.said(ANA)] == ["user", "bot", "user", "bot"]


@pytest.mark.parametrize("method", ["retrieve", "save", "get_or_create_tracker", "load", "_insert"])
async def test_a_tracker_store_that_fails_once_loses_nothing(
    counter: Counter, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rasa swallows the error, answers, and the customer's words are gone."""
    of: Any = SQLConversations if method in ("load", "_insert") else inner_store(counter.agent)
    failed = list[str]()
    works = getattr(of, method)

    def fails_once(*args: Any, **others: Any) -> Any:
        if not failed:
            failed.append(method)
            raise OSError("the database went away")
        return works(*args, **others)

    monkeypatch.setattr(of, method, fails_once)
    ana = counter.meta.customer(ANA)
    await ana.writes("Hola")
    await ana.writes("¿A qué hora abren?")
    answers = await counter.answered(2)
    assert failed
    assert "9:00" in answers[1]
    assert [kind for kind, _ in await counter.said(ANA)] == ["user", "bot", "user", "bot"]
    assert len(counter.meta.sent_to(ANA)) == 2


async def test_a_tracker_store_that_is_locked_for_ten_seconds_loses_nothing(
    counter: Counter, tmp_path: Path
) -> None:
    """Somebody runs a backup; a webhook that comes meanwhile is taken all the same."""
    ana = counter.meta.customer(ANA)
    await ana.writes("Hola")
    await counter.answered(1)
    held, done = threading.Event(), threading.Event()

    def lock() -> None:
        blocker = sqlite3.connect(tmp_path / "rasa.db", isolation_level=None)
        blocker.execute("BEGIN EXCLUSIVE")
        held.set()
        done.wait(10)
        blocker.close()

    locking = asyncio.get_running_loop().run_in_executor(None, lock)
    await asyncio.to_thread(held.wait)
    await ana.writes("¿A qué hora abren?")
    await locking
    await ana.writes("Adiós")
    answers = await counter.answered(3)
    assert "9:00" in answers[1]
    assert [kind for kind, _ in await counter.said(ANA)] == ["user", "bot"] * 3
    assert len(counter.meta.sent_to(ANA)) == 3


async def test_while_somebody_has_rasa_s_lock_the_message_waits(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rasa's HTTP API may be working on the same tracker."""
    monkeypatch.setattr("rasa_coexistence.rasa_locks.LOCK_PATIENCE_SECONDS", 0.2)
    async with counter.agent.lock_store.lock(ANA):
        await counter.meta.customer(ANA).writes("Hola")
        await counter.meta.customer(BEN).writes("Hola")
        await counter.answered(to=BEN)  # nobody else waits for it
        await asyncio.sleep(0.5)
        assert counter.meta.sent_to(ANA) == []
        assert await counter.events(ANA) == []
    await counter.answered(to=ANA)
    assert [kind for kind, _ in await counter.said(ANA)] == ["user", "bot"]


async def test_a_lock_store_that_fails_postpones(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis restarts; however often it is asked meanwhile, no message is given up for it."""
    monkeypatch.setattr(patience, "TRIES", 2)
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.0)
    works, failed = counter.agent.lock_store.issue_ticket, list[int]()

    def fails_once(*args: Any, **others: Any) -> Any:
        if len(failed) < 4:
            failed.append(1)
            raise LockError("gone") if len(failed) == 1 else ConnectionError("Redis is gone")
        return works(*args, **others)

    monkeypatch.setattr(counter.agent.lock_store, "issue_ticket", fails_once)
    await counter.meta.customer(ANA).writes("Hola")
    await counter.answered()
    assert [kind for kind, _ in await counter.said(ANA)] == ["user", "bot"]
