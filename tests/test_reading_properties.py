"""Whatever JSON comes: reading never raises, loses nothing, and invents nothing."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rasa_coexistence.errors import BadRequest
from rasa_coexistence.events import CustomerMessage, Event, HistoryChunk, PhoneEcho, Unreadable
from rasa_coexistence.from_whatsapp import read_webhook, scan
from rasa_coexistence.identity import aliases

PAYLOADS = [
    msgspec.json.decode(path.read_bytes())
    for path in sorted((Path(__file__).parent / "payloads").glob("*.json"))
]
LISTS = {  # field: lists of items that are read one by one
    "messages": ["messages", "statuses", "errors"],
    "smb_message_echoes": ["message_echoes"],
    "smb_app_state_sync": ["state_sync"],
    "user_id_update": ["user_id_update"],
    "history": ["messages", "message_echoes", "errors"],
}
WORDS = [
    *("entry", "changes", "field", "value", "metadata", "event", "data", "object", "contacts", "context"),
    *("history", "threads", "messages", "statuses", "message_echoes", "state_sync", "errors", "system"),
    *("id", "from", "to", "from_user_id", "wa_id", "user_id", "type", "timestamp", "text", "body", "image"),
    *("edit", "message", "reaction", "interactive", "button_reply", "nfm_reply", "response_json", "profile"),
]
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.sampled_from(
        ["16505551234", "US.1349", "wamid.HBg...", "1749416383", "0", "add", "read", "edit", "text"]
    )
)
KEYS = st.sampled_from(WORDS) | TEXTS
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # others use this machine
ANY_JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=30,
)
ITEMS = [
    item
    for payload in PAYLOADS
    for change in [c for e in payload.get("entry", []) for c in e["changes"]]
    for key in ("messages", "statuses", "errors", "message_echoes", "state_sync", "user_id_update")
    for item in change["value"].get(key, [])
]
OLD_MESSAGES = [
    message
    for payload in PAYLOADS
    for change in [c for e in payload.get("entry", []) for c in e["changes"]]
    for chunk in change["value"].get("history", [])
    if isinstance(chunk, dict) and isinstance(chunk.get("threads"), list)
    for thread in chunk["threads"]
    if isinstance(thread, dict)
    for message in thread["messages"]
]


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place of a JSON tree as (its holder, the key or index in it)."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []
    for key in keys:
        yield node, key
        yield from places(node[key])


@st.composite
def broken(draw: st.DrawFn, wholes: list[Any]) -> Any:
    """Draw one of ``wholes`` with some of its nodes replaced or taken away."""
    whole = copy.deepcopy(draw(st.sampled_from(wholes)))
    for _ in range(draw(st.integers(1, 4))):
        known = list(places(whole))
        if not known:
            break
        holder, key = known[draw(st.integers(0, len(known) - 1))]
        if draw(st.booleans()):
            holder[key] = draw(ANY_JSON)
        else:
            del holder[key]
    return whole


def at(body: Any, path: str) -> Any:
    """Return the node of a body that a path names."""
    for key, index in re.findall(r"([a-z_]+)|\[(\d+)\]", path):
        body = body[key] if key else body[int(index)]
    return body


def encode(body: Any) -> bytes:
    encoded: bytes = msgspec.json.encode(body)
    return encoded


def unreadables(events: list[Event]) -> Iterator[Unreadable]:
    for event in events:
        if isinstance(event, Unreadable):
            yield event
        elif isinstance(event, HistoryChunk):
            for thread in event.threads:
                yield from thread.unreadable


@unhurried
@given(ANY_JSON | broken(PAYLOADS))
def test_reading_takes_any_json(body: Any) -> None:
    """One odd webhook must never stop the queue behind it; what is read can be stored."""
    events = read_webhook(encode(body))
    assert encode(events)
    assert all(event.reason and encode(event.raw) for event in unreadables(events))


@unhurried
@given(broken(PAYLOADS))
def test_what_is_set_aside_is_kept_where_it_stood(body: Any) -> None:
    """Its path and its raw object are all that a person has to find out what happened."""
    encoded = encode(body)
    decoded = msgspec.json.decode(encoded)
    for event in unreadables(read_webhook(encoded)):
        assert event.raw == (at(decoded, event.path) if event.path else decoded)


@unhurried
@given(st.binary(max_size=60) | ANY_JSON.map(encode) | broken(PAYLOADS).map(encode))
def test_a_scan_takes_any_bytes(body: bytes) -> None:
    """It stands before storing: raising anything but BadRequest there would refuse a webhook for days."""
    try:
        found = scan(body)
    except BadRequest:
        assert not isinstance(_decoded(body), dict)
        return
    events = read_webhook(body)
    chunks = [event for event in events if isinstance(event, HistoryChunk)]
    known_as = {alias for chunk in chunks for thread in chunk.threads for alias in aliases(thread.contact)}
    assert known_as <= found.thread_aliases
    if found.lane == "history":
        assert not any(isinstance(event, CustomerMessage | PhoneEcho) for event in events)


@pytest.mark.parametrize("field", LISTS)
@unhurried
@given(drawn=st.data())
def test_every_item_of_a_batch_is_one_event(field: str, drawn: st.DataObject) -> None:
    """Nothing is dropped in silence, nothing is told twice."""
    item = st.sampled_from(ITEMS) | broken(ITEMS) | ANY_JSON
    value: dict[str, Any] = {key: drawn.draw(st.lists(item, max_size=5)) for key in LISTS[field]}
    value["metadata"] = {"display_phone_number": "15550783881", "phone_number_id": "2002"}
    events = read_webhook(encode({"entry": [{"changes": [{"field": field, "value": value}]}]}))
    assert len(events) == sum(len(value[key]) for key in LISTS[field])


@unhurried
@given(
    st.lists(
        st.lists(st.sampled_from(OLD_MESSAGES) | broken(OLD_MESSAGES) | ANY_JSON, max_size=6), max_size=4
    )
)
def test_every_message_of_a_thread_is_read_or_set_aside(threads: list[list[Any]]) -> None:
    """Counters of a sync must add up to what Meta sent."""
    given_threads = [{"id": f"1650555{index:04}", "messages": thread} for index, thread in enumerate(threads)]
    chunk = {"metadata": {"phase": 0, "chunk_order": 1, "progress": 1}, "threads": given_threads}
    (event,) = read_webhook(encode({"history": [chunk]}))
    assert isinstance(event, HistoryChunk)
    counted = [len(thread.messages) + len(thread.unreadable) for thread in event.threads]
    assert counted == [len(thread) for thread in threads]
    kept = [message for thread in event.threads for message in thread.messages]
    assert all(message.sent_at and message.wamid for message in kept)


@unhurried
@given(st.sampled_from(PAYLOADS))
def test_reading_again_gives_the_same(body: Any) -> None:
    """A body is read again after a crash, from the item where it stopped."""
    encoded = encode(body)
    assert read_webhook(encoded) == read_webhook(encoded)


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
