"""Whatever the old chat and however it came: one right tracker."""

from __future__ import annotations

import math
from typing import Any

from chat import HOUR, NOON, OPENING, RECEIVED, events_of, message, said, shape
from hypothesis import given
from hypothesis import strategies as st
from rasa.shared.core.events import Event

from rasa_coexistence.events import JSON
from rasa_coexistence.records import StoredMessage

moments = st.one_of(
    st.none(),
    st.sampled_from([0.0, NOON, NOON + 1, RECEIVED, RECEIVED + HOUR, 1e12]),
    st.integers(0, 400 * 24).map(lambda hours: NOON + hours * HOUR / 2),
)
stored_messages = st.builds(
    message,
    st.uuids().map("wamid.{}".format),
    moments,
    from_business=st.booleans(),
    revoked=st.sampled_from([False, False, False, True]),
    type=st.sampled_from(["text", "text", "image", "reaction", "edit", "revoke"]),
    text=st.one_of(st.none(), st.text(max_size=5)),
    received_at=st.sampled_from([RECEIVED, RECEIVED + 9]),
)
lives = st.one_of(st.none(), st.sampled_from([NOON, NOON + 100 * HOUR + 0.25, RECEIVED + HOUR, 1e10]))


@given(
    st.lists(stored_messages, max_size=25).flatmap(
        lambda some: st.tuples(st.just(some), st.lists(st.sampled_from(some or [message("wamid.-", None)])))
    ),
    lives,
    st.randoms(use_true_random=False),
)
def test_any_order_and_repetition_gives_the_same_tracker(
    messages: tuple[list[StoredMessage], list[StoredMessage]], live: float | None, random: Any
) -> None:
    """Chunks come shuffled and more than once."""
    once, again = messages
    shuffled = [*once, *again]
    random.shuffle(shuffled)
    assert events_of(*shuffled, live=live) == events_of(*once, live=live)


@given(st.lists(stored_messages, max_size=40), lives, st.sampled_from([0.0, HOUR, 48 * HOUR]))
def test_history_keeps_the_contract(
    messages: list[StoredMessage], live: float | None, expiration: float
) -> None:
    """Whatever was said: each message once, in order, in its session, before the first live event."""
    events = events_of(*messages, live=live, session_expiration_seconds=expiration)
    due = {
        known.wamid
        for known in messages
        if known.type in ("text", "image") and not known.revoked and known.sent_at
    }
    assert sorted(event["metadata"]["whatsapp"]["wamid"] for event in said(events)) == sorted(due)
    times = [event["timestamp"] for event in events]
    assert times == sorted(times)
    assert all(time > 0 and (live is None or time < live) for time in times)
    assert_sessions_are_right(messages, events, expiration or 24 * HOUR)
    for event in events:
        rebuilt = Event.from_parameters(event)
        assert rebuilt is not None
        assert rebuilt.as_dict() == event


def assert_sessions_are_right(messages: list[StoredMessage], events: list[JSON], expiration: float) -> None:
    moment = {known.wamid: min(known.sent_at or 0.0, known.received_at) for known in messages}
    previous = -math.inf
    for place, event in enumerate(events):
        if event not in said([event]):
            continue
        now = moment[event["metadata"]["whatsapp"]["wamid"]]
        opening = events[place - 3 : place] if place >= 3 else []
        opens = shape(opening) == OPENING
        assert opens == (now - previous > expiration)
        assert not opens or opening[1]["timestamp"] <= event["timestamp"]
        previous = now
    assert not events or events[-1]["event"] in ("user", "bot")
