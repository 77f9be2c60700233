"""Turn ordered chat into Rasa tracker events, as the dicts that ``Event.as_dict()`` gives."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from operator import itemgetter

from rasa_coexistence.cross_references import Targets, reactions, with_quoted_text
from rasa_coexistence.events import JSON
from rasa_coexistence.records import StoredMessage

INPUT_CHANNEL = "whatsapp"
NO_EXPIRATION_SECONDS = 24 * 60 * 60.0  # Rasa's 0 means "never": months of chat in one session help nobody
STEP_SECONDS = 1e-6  # about four times the distance between two floats at today's Unix time
NEVER_SAID = frozenset({"reaction", "edit", "revoke"})  # they change another message


def history_events(
    messages: Sequence[StoredMessage],
    *,
    contact: JSON,
    phone_number_id: str,
    session_expiration_seconds: float,
    first_live_at: float | None,
    max_messages: int | None = None,
) -> list[JSON]:
    """Return the rows that old chat makes in a tracker, oldest first, sessions and all.

    They depend on what the messages are, never on their order or on repeats. ``first_live_at`` is the time of
    the tracker's first event that is not history; every row is older than it. Rasa reads a session as the
    rows that are not older than its ``session_started``, so the three rows that open one carry the time of
    its first message. ``max_messages`` keeps the newest.
    """
    whole = _in_order(message for message in messages if message.type not in NEVER_SAID)
    said = whole if max_messages is None else whole[max(len(whole) - max_messages, 0) :]
    targets = Targets(message for _moment, message in whole)
    reacting = _in_order(message for message in messages if message.type == "reaction")
    reacted = reactions([message for _moment, message in reacting], targets)
    expiration = session_expiration_seconds if session_expiration_seconds > 0 else NO_EXPIRATION_SECONDS
    opening_metadata = {"whatsapp": {"source": "history", "phone_number_id": phone_number_id}}
    rows: list[JSON] = []
    previous = -math.inf
    for moment, message in said:
        if moment - previous > expiration:
            rows += opening(moment, opening_metadata)
        previous = moment
        metadata = message_metadata(
            message, source="history", phone_number_id=phone_number_id, contact=contact
        )
        if "context" in metadata:
            metadata["context"] = with_quoted_text(metadata["context"], targets)
        if message.wamid in reacted:
            metadata["reactions"] = reacted[message.wamid]
        rows.append(_uttered(message, moment, {"whatsapp": metadata}))
    if first_live_at is not None:
        _keep_before(rows, first_live_at)
    return rows


def message_metadata(
    message: StoredMessage,
    *,
    source: str,
    phone_number_id: str,
    contact: JSON,
    timestamp: float | None = None,
) -> JSON:
    """Return ``metadata.whatsapp`` of a message; ``source`` is live, history or phone.

    ``timestamp`` is Meta's time where ``message.sent_at`` is not it. Keys without a value are left out.
    """
    content = message.content
    metadata: JSON = dict(content.fields) if content is not None else {}
    metadata["source"] = source
    metadata["wamid"] = message.wamid
    metadata["type"] = message.type
    metadata["phone_number_id"] = phone_number_id
    metadata["timestamp"] = message.sent_at if timestamp is None else timestamp
    metadata["contact"] = contact
    if message.status is not None:
        metadata["status"] = message.status
    if message.edited_text is not None:
        metadata["edited_from"] = message.edited_text
    if content is not None:
        for name in ("label", "context", "referral", "target", "emoji"):
            if (value := getattr(content, name)) is not None:
                metadata[name] = value
        if content.errors:
            metadata["errors"] = content.errors
    return metadata


def echo_event(message: StoredMessage, *, now: float, phone_number_id: str, contact: JSON) -> JSON:
    """Return the ``bot`` event of what a person typed on the phone.

    It is stamped at ``now``: with Meta's whole seconds it would be older than a session that has just begun,
    and Rasa would not load it. Meta's time stands in the metadata.
    """
    metadata = message_metadata(message, source="phone", phone_number_id=phone_number_id, contact=contact)
    return _bot(message, now, {"whatsapp": metadata})


def opening(moment: float, metadata: JSON) -> list[JSON]:
    """Return the events that begin a session, as Rasa itself would write them."""
    return [
        _action("action_session_start", 1.0, moment, metadata),
        {"event": "session_started", "timestamp": moment, "metadata": metadata},
        _action("action_listen", None, moment, metadata),
    ]


def chat_context(messages: Sequence[StoredMessage], limit: int) -> list[JSON]:
    """Return the last ``limit`` messages, oldest first, as the slot ``whatsapp_history`` holds them."""
    said = _in_order(
        (message for message in messages if message.type not in NEVER_SAID), unreadable_times=True
    )
    return [
        {"role": role_of(message), "text": _text(message), "timestamp": moment}
        for moment, message in (said[-limit:] if limit > 0 else [])
    ]


def is_history(event: JSON) -> bool:
    """Whether an event, as a dict, came from the history."""
    metadata = event.get("metadata")
    whatsapp = metadata.get("whatsapp") if isinstance(metadata, dict) else None
    return isinstance(whatsapp, dict) and whatsapp.get("source") == "history"


def _in_order(
    messages: Iterable[StoredMessage], *, unreadable_times: bool = False
) -> list[tuple[float, StoredMessage]]:
    """Sort by time, each message once; ties (Meta counts whole seconds) are settled by what they are."""
    known = [
        (_place(message), message)
        for message in messages
        if not message.revoked and (unreadable_times or _is_time(message.sent_at))
    ]
    known.sort(key=_BY_PLACE)
    by_wamid: dict[str, tuple[float, StoredMessage]] = {}
    for place, message in known:
        by_wamid.setdefault(message.wamid, (place[0], message))
    return list(by_wamid.values())


_BY_PLACE = itemgetter(0)


def _place(message: StoredMessage) -> tuple[float, float, bool, str, str]:
    # A customer's message goes first within a second: what the business says then is the answer to it.
    moment = _moment(message)
    return moment, message.sent_at or moment, message.from_business, message.wamid, message.text or ""


def _is_time(seconds: float | None) -> bool:
    return seconds is not None and seconds > 0  # Rasa takes 0 for "now"; NaN is no time either


def _moment(message: StoredMessage) -> float:
    """Return when it was said, which is never after we heard of it."""
    if message.sent_at is None or not _is_time(message.sent_at):
        return message.received_at
    return min(message.sent_at, message.received_at)


def _action(name: str, confidence: float | None, moment: float, metadata: JSON) -> JSON:
    return {
        "event": "action",
        "timestamp": moment,
        "metadata": metadata,
        "name": name,
        "policy": None,
        "confidence": confidence,
        "action_text": None,
        "hide_rule_turn": False,
    }


def _uttered(message: StoredMessage, moment: float, metadata: JSON) -> JSON:
    return (_bot if message.from_business else _user)(message, moment, metadata)


def _bot(message: StoredMessage, moment: float, metadata: JSON) -> JSON:
    return {"event": "bot", "timestamp": moment, "metadata": metadata, "text": _text(message), "data": {}}


def _user(message: StoredMessage, moment: float, metadata: JSON) -> JSON:
    text = _text(message)
    return {
        "event": "user",
        "timestamp": moment,
        "metadata": metadata,
        "text": text,
        "parse_data": {
            **(message.parse or {"intent": {"name": None, "confidence": 0.0}, "entities": []}),
            "text": text,
            "message_id": message.wamid,
            "metadata": metadata,
        },
        "input_channel": INPUT_CHANNEL,
        "message_id": message.wamid,
    }


def _keep_before(rows: list[JSON], first_live_at: float) -> None:
    """Move the rows that are as new as the first live event just before it, their order kept."""
    limit = _earlier(first_live_at)
    for row in reversed(rows):
        if row["timestamp"] <= limit:
            return  # so are all before it
        row["timestamp"] = limit
        limit = _earlier(limit)


def _earlier(moment: float) -> float:
    return min(moment - STEP_SECONDS, math.nextafter(moment, -math.inf))


def _text(message: StoredMessage) -> str:
    return message.text if message.text is not None else f"[{message.type}]"


def role_of(message: StoredMessage) -> str:
    """Return who said something: customer, business or bot."""
    if not message.from_business:
        return "customer"
    return "bot" if message.source == "bot" else "business"
