"""Old chat and tracker events to test with."""

from __future__ import annotations

from typing import Any

from rasa_coexistence.events import JSON, Content
from rasa_coexistence.records import StoredMessage
from rasa_coexistence.to_rasa import history_events
from rasa_coexistence.tracker_stores.contract import History

CONTACT = {"wa_id": "5217715268513", "user_id": None, "username": None, "name": "Ana"}
NUMBER = "845237608662425"
NOON = 1_760_104_640.0
HOUR = 3600.0
RECEIVED = NOON + 365 * 24 * HOUR
OPENING = ["action_session_start", "session_started", "action_listen"]


def message(wamid: str, sent_at: float | None = NOON, **changes: Any) -> StoredMessage:
    known: dict[str, Any] = {
        "id": 1,
        "wamid": wamid,
        "from_business": False,
        "source": "history",
        "type": "text",
        "text": f"text of {wamid}",
        "sent_at": sent_at,
        "received_at": RECEIVED,
        "status": "read",
    }
    return StoredMessage(**{**known, **changes})


def reaction(
    wamid: str, target: str, emoji: str | None, at: float, *, from_business: bool = False
) -> StoredMessage:
    content = Content(type="reaction", target=target, emoji=emoji)
    return message(wamid, at, type="reaction", text=None, content=content, from_business=from_business)


def events_of(*messages: StoredMessage, live: float | None = None, **changes: Any) -> list[JSON]:
    known: dict[str, Any] = {
        "contact": CONTACT,
        "phone_number_id": NUMBER,
        "session_expiration_seconds": HOUR,
    }
    return history_events(messages, first_live_at=live, **{**known, **changes})


def said(events: list[JSON]) -> list[JSON]:
    return [event for event in events if event["event"] in ("user", "bot")]


def shape(events: list[JSON]) -> list[str]:
    """Return names of actions, texts of messages, types of the rest."""
    return [event.get("name") or event.get("text") or event["event"] for event in events]


def imported(sender_id: str, messages: list[StoredMessage]) -> History:
    """Return a history that minds the first live event."""
    return History(
        sender_id=sender_id,
        make_events=lambda first_live_at: history_events(
            messages,
            contact=CONTACT,
            phone_number_id=NUMBER,
            session_expiration_seconds=HOUR,
            first_live_at=first_live_at,
        ),
    )


ANA, BEN = "5217715268513", "5215550000001"
LIVE = NOON + 100 * HOUR
CHAT = [
    message("wamid.A", NOON),
    message("wamid.B", NOON + 60, from_business=True, text="ñandú 😀"),
    message("wamid.C", NOON + 5 * HOUR),
    message("wamid.D", NOON + 5 * HOUR + 30, from_business=True),
    message("wamid.E", NOON + 30 * HOUR, edited_text="before"),
]
