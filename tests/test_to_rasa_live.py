"""What goes with live messages: their metadata, echoes of the phone, and the chat so far."""

from __future__ import annotations

from chat import CONTACT, NOON, NUMBER, message, reaction
from rasa.shared.core.events import Event

from rasa_coexistence.events import Content
from rasa_coexistence.to_rasa import chat_context, echo_event, is_history, message_metadata


def test_an_echo_is_stamped_at_its_arrival() -> None:
    """With Meta's whole second it could be older than the session that has just begun."""
    echo = message("wamid.E", NOON, source="phone", from_business=True, text="Transfer to 123", status=None)
    event = echo_event(echo, now=NOON + 0.7, phone_number_id=NUMBER, contact=CONTACT)
    assert (event["event"], event["timestamp"], event["text"]) == ("bot", NOON + 0.7, "Transfer to 123")
    assert event["metadata"]["whatsapp"]["source"] == "phone"
    assert event["metadata"]["whatsapp"]["timestamp"] == NOON
    assert not is_history(event)
    rebuilt = Event.from_parameters(event)
    assert rebuilt is not None
    assert rebuilt.as_dict() == event


def test_live_metadata_says_all_that_is_there() -> None:
    """One function for live, history and phone: actions find the same keys everywhere."""
    content = Content(
        type="interactive",
        text="buy",
        typed=False,
        label="Buy it",
        fields={"type": "must not win", "order": {"catalog_id": "7"}},
        referral={"source_id": "ad"},
        errors=[{"code": 131051}],
    )
    live = message("wamid.L", None, source="live", type="interactive", content=content, status=None)
    assert message_metadata(live, source="live", phone_number_id=NUMBER, contact=CONTACT, timestamp=NOON) == {
        "source": "live",
        "wamid": "wamid.L",
        "type": "interactive",
        "phone_number_id": NUMBER,
        "timestamp": NOON,
        "contact": CONTACT,
        "order": {"catalog_id": "7"},
        "label": "Buy it",
        "referral": {"source_id": "ad"},
        "errors": [{"code": 131051}],
    }


def test_chat_context_tells_who_said_what() -> None:
    """A language model behind an action needs to tell person from bot."""
    chat = [
        message("wamid.D", NOON + 4, source="bot", from_business=True),
        message("wamid.A", NOON + 1),
        message("wamid.C", NOON + 3, source="phone", from_business=True),
        message("wamid.B", NOON + 2, from_business=True),
        message("wamid.E", None, source="live", received_at=NOON + 5),
        message("wamid.F", NOON + 6, revoked=True),
        reaction("wamid.R", "wamid.A", "👍", NOON + 7),
    ]
    context = chat_context(chat, 4)
    assert [(entry["role"], entry["text"][-1], entry["timestamp"] - NOON) for entry in context] == [
        ("business", "B", 2),
        ("business", "C", 3),
        ("bot", "D", 4),
        ("customer", "E", 5),
    ]
    assert chat_context(chat, 0) == []
    assert len(chat_context(chat, 99)) == 5
