"""Where a session begins, and what of the last one it takes along."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agents import Counter, agent_on, open_counter
from ledgers import history
from rasa.core.agent import Agent

from rasa_coexistence.simulator.state import Person

HOUR = 3600.0
ANA = Person(wa_id="5217715268513", name="Ana")
WA_ID = str(ANA.wa_id)


@pytest.fixture
async def counter(loaded: Agent, tmp_path: Path) -> AsyncIterator[Counter]:
    """Run a bot whose sessions last an hour, and to which no person gives way."""
    agent = agent_on(loaded, f"sqlite:///{tmp_path}/rasa.db")
    settings = {"takeover": {"enabled": False}}
    async with open_counter(agent, f"sqlite:///{tmp_path}/ledger.db", **settings) as counter:
        yield counter


async def writes(counter: Counter, text: str) -> str:
    """Let Ana write, and return the answer."""
    known = len(counter.meta.sent_to(WA_ID))
    await counter.meta.customer(WA_ID, "Ana").writes(text)
    return (await counter.answered(known + 1, to=WA_ID))[-1]


def grow_older(tmp_path: Path, seconds: float) -> None:
    """Move all that the tracker store and the ledger have into the past."""
    with sqlite3.connect(tmp_path / "ledger.db") as ledger:
        for column in ("sent_at", "received_at"):
            ledger.execute(f"UPDATE coexistence_messages SET {column} = {column} - ?", (seconds,))
    ledger.close()
    with sqlite3.connect(tmp_path / "rasa.db") as database:
        rows = database.execute("SELECT id, timestamp, data FROM events").fetchall()
        for id_, timestamp, data in rows:
            event = json.loads(data)
            event["timestamp"] -= seconds
            values = (timestamp - seconds, json.dumps(event), id_)
            database.execute("UPDATE events SET timestamp = ?, data = ? WHERE id = ?", values)
    database.close()


async def sessions(counter: Counter) -> list[list[dict[str, Any]]]:
    """Return the events of each session."""
    found: list[list[dict[str, Any]]] = []
    for event in await counter.events(WA_ID):
        if event.get("name") == "action_session_start":
            found.append([])
        found[-1].append(event)
    return found


async def tell(counter: Counter, *told: tuple[str, float], from_business: bool = False) -> None:
    """Let the history tell messages, each (wamid, how long ago), and wait until Rasa has them."""
    now = time.time()
    listed = [(wamid, f"text of {wamid}", now - ago) for wamid, ago in told]
    by_business = [wamid for wamid, _ in told] if from_business else []
    await counter.meta.post(history(ANA, *listed, from_business=by_business, progress=100))

    async def is_imported() -> bool:
        return {text for _, text, _ in listed} <= {text for _, text in await counter.said(WA_ID)}

    await counter.until(is_imported)


async def test_one_session_lasts_while_the_customer_writes(counter: Counter, tmp_path: Path) -> None:
    """A pause that is shorter than the domain's time changes nothing."""
    await writes(counter, "Hola")
    grow_older(tmp_path, 0.9 * HOUR)
    await writes(counter, "¿A qué hora abren?")
    assert len(await sessions(counter)) == 1


async def test_a_new_session_begins_after_the_domain_s_time(counter: Counter, tmp_path: Path) -> None:
    """Rasa's own rule, by the newest event of any kind."""
    await writes(counter, "Hola")
    grow_older(tmp_path, 1.1 * HOUR)
    assert "de nuevo" in await writes(counter, "Hola")
    _first, second = await sessions(counter)
    assert [event["text"] for event in second if event["event"] == "user"] == ["Hola"]
    slots = {event["name"]: event["value"] for event in second if event["event"] == "slot"}
    assert slots["whatsapp_returning_customer"] is True
    assert slots["whatsapp_customer_name"] == "Ana"


async def test_sessions_do_not_pile_up_what_they_carry_over(counter: Counter, tmp_path: Path) -> None:
    """Rasa copies every slot event of the last session, and its first message's metadata."""
    for _ in range(6):
        await writes(counter, "Hola")
        grow_older(tmp_path, 1.1 * HOUR)
    counted = [
        len([event for event in session if event["event"] == "slot"]) for session in await sessions(counter)
    ]
    assert len(counted) == 6
    assert counted[-1] <= counted[2] <= 10
    opening = (await sessions(counter))[-1][:3]
    assert "wamid" not in json.dumps(opening)


async def test_history_of_long_ago_is_followed_by_a_new_session(counter: Counter) -> None:
    """Also where only the business wrote: Rasa looks at user events alone and would go on."""
    await tell(counter, ("wamid.H1", 150 * 24 * HOUR), from_business=True)
    assert "de nuevo" in await writes(counter, "Hola")
    old, new = await sessions(counter)
    assert [event["event"] for event in old if event["event"] in ("user", "bot")] == ["bot"]
    assert [event["event"] for event in new if event["event"] in ("user", "bot")] == ["user", "bot"]


async def test_fresh_history_and_a_live_message_are_one_session(counter: Counter) -> None:
    """The conversation goes on where it was, and the bot speaks."""
    await tell(counter, ("wamid.H1", 5 * HOUR), ("wamid.H2", 600.0), ("wamid.H3", 300.0))
    assert "9:00" in await writes(counter, "¿A qué hora abren?")
    kinds = [
        [event["event"] for event in session if event["event"] in ("user", "bot")]
        for session in await sessions(counter)
    ]
    assert kinds == [["user"], ["user", "user", "user", "bot"]]


async def test_history_that_comes_after_live_messages_stands_before_them(counter: Counter) -> None:
    """The bot had answered a stranger; now it knows better, and what it said stays as it was."""
    first = await writes(counter, "Hola")
    assert "de nuevo" not in first
    live = await counter.events(WA_ID)
    await tell(counter, ("wamid.H1", 40 * 24 * HOUR), ("wamid.H2", 39 * 24 * HOUR))
    assert (await counter.events(WA_ID))[-len(live) :] == live
    assert "de nuevo" in await writes(counter, "Hola")
    slots = {event["name"]: event["value"] for event in await counter.events(WA_ID, "slot")}
    assert [line["text"] for line in slots["whatsapp_history"]][:2] == [
        "text of wamid.H1",
        "text of wamid.H2",
    ]


async def test_who_writes_in_the_middle_of_a_sync_is_known_already(counter: Counter) -> None:
    """Only their thread is brought forward; the chats of everybody else go on waiting."""
    now = time.time()
    crowd = [Person(wa_id=f"52155501{n:05}") for n in range(12)]
    for number, person in enumerate(crowd):
        told = [(f"wamid.{number}.{n}", f"{n}", now - 1e6 + n) for n in range(400)]
        counter.meta.post_soon(history(person, *told))
    await counter.meta.post(history(ANA, ("wamid.H1", "Antes", now - 30 * 24 * HOUR)))
    assert "de nuevo" in await writes(counter, "Hola")
    said = await counter.said(WA_ID)
    assert [text for _, text in said][:2] == ["Antes", "Hola"]
