"""Whatever comes when: every message once, live events as they were, and Rasa reads it right."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from chat import HOUR, LIVE, NOON, events_of, imported, message
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import Shelf, open_store

from rasa_coexistence.events import JSON
from rasa_coexistence.records import StoredMessage

OLD_AND_YOUNG = [
    NOON,
    NOON,
    NOON + 60,
    NOON + 5 * HOUR,
    LIVE - 1,
    LIVE,
    LIVE + 1.5,
    LIVE + 9 * HOUR,
    LIVE * 2,
]
POOL = [
    message(f"wamid.{number}", sent_at, from_business=number % 3 == 0, received_at=LIVE + 20 * HOUR)
    for number, sent_at in enumerate(OLD_AND_YOUNG)
]
steps = st.lists(
    st.one_of(
        st.lists(st.sampled_from(POOL), max_size=6),  # a chunk of history
        st.booleans(),  # a live turn, in a new session or not
    ),
    max_size=8,
)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Shelf]:
    """Give one SQLite store for all examples, which keep to conversations of their own."""
    with open_store("sqlite", tmp_path_factory.mktemp("store"), request.getfixturevalue) as opened:
        yield opened


@settings(deadline=None, max_examples=60)
@given(steps)
async def test_chunks_and_live_turns_in_any_order(shelf: Shelf, story: list[Any]) -> None:
    """The tracker holds the history of all chunks so far, then the live events, after every step."""
    sender, known, live = uuid.uuid4().hex, list[StoredMessage](), list[JSON]()
    for number, step in enumerate(story):
        if isinstance(step, bool):
            live += await shelf.turn(sender, LIVE + number * HOUR, new_session=step, text=f"live {number}")
        else:
            known += step
            await shelf.importer.replace_history([imported(sender, known)])
        full = await shelf.full(sender)
        assert full[len(full) - len(live) :] == live
        texts = [event["text"] for event in full if event["event"] == "user"]
        assert [text for text in texts if text.startswith("live")] == [
            event["text"] for event in live if event["event"] == "user"
        ]
    await shelf.importer.replace_history([imported(sender, known)])
    first_live_at = live[0]["timestamp"] if live else None
    assert await shelf.full(sender) == events_of(*known, live=first_live_at) + live
    session = await shelf.last_session(sender)
    assert not session or session == (await shelf.full(sender))[-len(session) :]
