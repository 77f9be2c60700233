"""Old chat becomes tracker events as if the bot had been there."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from chat import CONTACT, HOUR, NOON, NUMBER, OPENING, RECEIVED, events_of, message, reaction, said, shape
from rasa.shared.core.events import Event
from rasa.shared.core.trackers import DialogueStateTracker

from rasa_coexistence.events import JSON, Content
from rasa_coexistence.identity import make_wamid
from rasa_coexistence.to_rasa import is_history

IMAGE = Content(
    type="image",
    text="[image]",
    typed=False,
    fields={"media": {"id": "77", "mime_type": "image/jpeg"}},
    context={"id": "wamid.Q", "from": "5217715268513", "text": "Which one?"},
)


def test_customer_message_is_a_user_event_without_intent() -> None:
    """Actions and the story of a conversation read old messages where they read live ones."""
    metadata = {
        "whatsapp": {
            "source": "history",
            "wamid": "wamid.A",
            "type": "text",
            "phone_number_id": NUMBER,
            "timestamp": NOON,
            "contact": CONTACT,
            "status": "read",
        }
    }
    assert events_of(message("wamid.A", text="Hola"))[-1] == {
        "event": "user",
        "timestamp": NOON,
        "metadata": metadata,
        "text": "Hola",
        "parse_data": {
            "intent": {"name": None, "confidence": 0.0},
            "entities": [],
            "text": "Hola",
            "message_id": "wamid.A",
            "metadata": metadata,
        },
        "input_channel": "whatsapp",
        "message_id": "wamid.A",
    }


def test_business_message_is_a_bot_event() -> None:
    """What a person wrote reads as if the bot had said it."""
    event = events_of(message("wamid.B", text="Hola", from_business=True))[-1]
    assert (event["event"], event["text"], event["timestamp"]) == ("bot", "Hola", NOON)
    assert event["metadata"]["whatsapp"]["wamid"] == "wamid.B"


def test_every_event_is_one_that_rasa_would_write() -> None:
    """Rasa reads the rows and writes them back in some stores: nothing may change on the way."""
    events = events_of(
        message("wamid.A"),
        message("wamid.B", NOON + 1, from_business=True, content=IMAGE, type="image", text="[image]"),
        message("wamid.C", NOON + 9 * HOUR, edited_text="before"),
    )
    for event in events:
        rebuilt = Event.from_parameters(event)
        assert rebuilt is not None
        assert rebuilt.as_dict() == event
    tracker = DialogueStateTracker.from_dict("5217715268513", events, [])
    assert [event.as_dict() for event in tracker.events] == events
    assert tracker.latest_message is not None
    assert tracker.latest_message.text == "text of wamid.C"


def test_all_rows_are_marked_as_history_by_their_metadata() -> None:
    """Session rows too: an import has to find all it wrote, and nothing else."""
    events = events_of(message("wamid.A"), message("wamid.B", NOON + 9 * HOUR))
    assert len(events) == 8
    assert all(is_history(event) for event in events)


@pytest.mark.parametrize(
    "event",
    [
        {"event": "user"},
        {"event": "user", "metadata": None},
        {"event": "user", "metadata": {"whatsapp": "history"}},
        {"event": "user", "metadata": {"whatsapp": {"source": "live"}}},
        {"event": "user", "metadata": {"source": "history"}},
    ],
)
def test_other_events_are_not_history(event: JSON) -> None:
    """An import deletes what it takes for its own."""
    assert not is_history(event)


@pytest.mark.parametrize(
    ("gap", "expiration", "sessions"),
    [
        (HOUR, HOUR, 1),
        (HOUR + 1, HOUR, 2),
        (24 * HOUR, 0.0, 1),
        (24 * HOUR + 1, 0.0, 2),
        (24 * HOUR + 1, -5.0, 2),
        (10 * HOUR, 365 * 24 * HOUR, 1),
    ],
)
def test_a_session_ends_when_the_pause_exceeds_the_domains(
    gap: float, expiration: float, sessions: int
) -> None:
    """Zero means never to Rasa; a day is meant then, or half a year would be one session."""
    pair = [message("wamid.A"), message("wamid.B", NOON + gap, from_business=True)]
    events = events_of(*pair, session_expiration_seconds=expiration)
    assert shape(events).count("session_started") == sessions


def test_either_side_keeps_a_session_open() -> None:
    """Rasa looks at the customer's messages only; the chat went on while the business wrote."""
    events = events_of(
        message("wamid.A"),
        message("wamid.B", NOON + 0.9 * HOUR, from_business=True),
        message("wamid.C", NOON + 1.8 * HOUR),
        message("wamid.D", NOON + 5 * HOUR),
    )
    texts = [f"text of wamid.{letter}" for letter in "ABCD"]
    assert shape(events) == [*OPENING, *texts[:3], *OPENING, texts[3]]


def test_session_rows_carry_the_time_of_the_first_message() -> None:
    """Rasa's SQL store loads rows that are not older than the newest session_started."""
    events = events_of(message("wamid.A"), message("wamid.B", NOON + 9 * HOUR))
    assert [event["timestamp"] for event in events] == [NOON] * 4 + [NOON + 9 * HOUR] * 4


def test_ties_within_a_second_do_not_depend_on_arrival() -> None:
    """Meta counts whole seconds and shuffles chunks."""
    same = [message("wamid.2", from_business=True), message("wamid.3"), message("wamid.1")]
    order = ["text of wamid.1", "text of wamid.3", "text of wamid.2"]
    assert shape(events_of(*same))[3:] == order
    assert shape(events_of(*reversed(same)))[3:] == order


@pytest.mark.parametrize("sent_at", [None, 0.0, -1.0, math.nan])
def test_unreadable_times_stay_out(sent_at: float | None) -> None:
    """Rasa would take a zero for now, which hides every live turn."""
    assert events_of(message("wamid.A", sent_at)) == []


@pytest.mark.parametrize("sent_at", [RECEIVED + 1, RECEIVED * 10, math.inf])
def test_a_future_message_was_said_when_it_was_received(sent_at: float) -> None:
    """One row from the future and Rasa forgets every turn until then."""
    event = events_of(message("wamid.A", sent_at))[-1]
    assert event["timestamp"] == RECEIVED
    assert event["metadata"]["whatsapp"]["timestamp"] == sent_at


def test_history_is_older_than_the_first_live_event() -> None:
    """A history session younger than the live one would hide slots and pause from Rasa."""
    live = NOON + 0.5
    events = events_of(
        message("wamid.A", NOON - 9 * HOUR),
        message("wamid.B", NOON + 1),
        message("wamid.C", NOON + 2, from_business=True),
        message("wamid.D", RECEIVED * 2),
        live=live,
    )
    times = [event["timestamp"] for event in events]
    assert times[:4] == [NOON - 9 * HOUR] * 4
    assert all(earlier < later for earlier, later in zip(times[4:], [*times[5:], live], strict=True))
    assert times[4] > live - 1e-4
    assert [event["metadata"]["whatsapp"]["timestamp"] for event in said(events)][1:3] == [NOON + 1, NOON + 2]
    assert shape(events)[4:] == [
        *OPENING,
        "text of wamid.B",
        "text of wamid.C",
        *OPENING,
        "text of wamid.D",
    ]


@pytest.mark.parametrize("live", [NOON, NOON + 0.123456, 4e9, 2.0**33, 1e15])
def test_thousands_of_young_messages_stay_apart(live: float) -> None:
    """A microsecond is a few steps of a float at today's time; later it is less than one."""
    events = events_of(*(message(f"wamid.{n}", live + n, received_at=1e17) for n in range(5000)), live=live)
    times = [*(event["timestamp"] for event in events), live]
    assert all(earlier < later for earlier, later in pairwise(times))


def test_edited_and_revoked() -> None:
    """The tracker says what the chat says now; what it said before stands in the metadata."""
    events = events_of(
        message("wamid.A", text="at 5", edited_text="at 4"), message("wamid.B", NOON + 1, revoked=True)
    )
    assert [event["text"] for event in said(events)] == ["at 5"]
    assert said(events)[0]["metadata"]["whatsapp"]["edited_from"] == "at 4"


def test_media_and_quote_stand_in_the_metadata() -> None:
    """The keys are those of a live message."""
    event = events_of(message("wamid.A", type="image", text="[image]", content=IMAGE))[-1]
    metadata = event["metadata"]["whatsapp"]
    assert metadata["media"] == {"id": "77", "mime_type": "image/jpeg"}
    assert metadata["context"]["text"] == "Which one?"
    assert (metadata["type"], metadata["source"]) == ("image", "history")


def test_a_message_without_text_is_named_by_its_type() -> None:
    """Policies and people want to see that something came."""
    assert events_of(message("wamid.A", type="media_placeholder", text=None))[-1]["text"] == (
        "[media_placeholder]"
    )


def test_reactions_stand_at_their_message() -> None:
    """Each side has one at a time; the newest counts, and may be its removal."""
    events = events_of(
        message("wamid.A"),
        message("wamid.B", NOON + 1, from_business=True),
        reaction("wamid.R1", "wamid.A", "👍", NOON + 5, from_business=True),
        reaction("wamid.R2", "wamid.A", "❤", NOON + 9, from_business=True),
        reaction("wamid.R3", "wamid.A", "😀", NOON + 7),
        reaction("wamid.R4", "wamid.B", "😀", NOON + 7),
        reaction("wamid.R5", "wamid.B", None, NOON + 8),
        reaction("wamid.R6", "wamid.unknown", "😀", NOON + 8),
    )
    first, second = said(events)
    assert first["metadata"]["whatsapp"]["reactions"] == [
        {"emoji": "❤", "from": "business"},
        {"emoji": "😀", "from": "customer"},
    ]
    assert "reactions" not in second["metadata"]["whatsapp"]


def test_a_reaction_finds_its_message_under_another_wamid() -> None:
    """The same message has one wamid for the phone and another for the BSUID."""
    ours = make_wamid("5217715268513", "3EB00000000000000384", from_business=True)
    theirs = make_wamid("MX.1234567890", "3EB00000000000000384", from_business=True)
    events = events_of(message(ours, from_business=True), reaction("wamid.R", theirs, "👍", NOON + 5))
    assert said(events)[0]["metadata"]["whatsapp"]["reactions"] == [{"emoji": "👍", "from": "customer"}]


@pytest.mark.parametrize(("cap", "kept"), [(None, "ABC"), (2, "BC"), (9, "ABC"), (0, ""), (-1, "")])
def test_a_cap_keeps_the_newest(cap: int | None, kept: str) -> None:
    """Redis cannot hold half a year, and yesterday matters more than June."""
    three = (message(f"wamid.{letter}", NOON + n) for n, letter in enumerate("ABC"))
    events = events_of(*three, max_messages=cap)
    assert [event["message_id"] for event in said(events)] == [f"wamid.{letter}" for letter in kept]
