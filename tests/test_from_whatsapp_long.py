"""Long old chat is decoded thread by thread, and says what it would all at once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rasa_coexistence import from_whatsapp
from rasa_coexistence.events import HistoryChunk, Unreadable
from rasa_coexistence.from_whatsapp import read_webhook
from rasa_coexistence.from_whatsapp.long_history import Threads, decode_long
from rasa_coexistence.from_whatsapp.loose import decode

NUMBER = {"display_phone_number": "15550783881", "phone_number_id": "845237608662425"}
ABOUT = {"phase": 1, "chunk_order": 2, "progress": 50}
MESSAGE = {"from": "5215550000001", "id": "wamid.1", "timestamp": "1760000000", "type": "text"}
THREAD: dict[str, Any] = {"id": "5215550000001", "messages": [MESSAGE | {"text": {"body": "¿Abren hoy? 🙏"}}]}
DECLINED = {"code": 2593109, "title": "declined"}


def body_of(*threads: Any, value: Any = None, chunk: Any = None, entry: Any = None) -> bytes:
    chunks = [{"metadata": ABOUT, "threads": list(threads), **(chunk or {})}]
    whole = {"messaging_product": "whatsapp", "metadata": NUMBER, "history": chunks, **(value or {})}
    one = {"id": "1", "changes": [{"field": "history", "value": whole}], **(entry or {})}
    return msgspec.json.encode({"object": "whatsapp_business_account", "entry": [one]})


BODIES = {
    "as documented": body_of(THREAD, THREAD),
    "no threads": body_of(),
    "errors beside them": body_of(THREAD, chunk={"errors": [DECLINED]}, value={"errors": [DECLINED]}),
    "contacts and a time": body_of(THREAD, value={"contacts": [{"wa_id": "1"}]}, entry={"time": 1760000000}),
    "a field that nobody documents": body_of(THREAD, value={"new": {"a": [1]}}, chunk={"x": None}),
    "threads that are no objects": body_of(THREAD, None, "text", 7, [THREAD]),
    "threads that are no list": body_of(chunk={"threads": {"id": "1"}}),
    "no object": b"[1, 2]",
    "half a character": body_of(THREAD).replace("¿".encode(), rb"\ud83d"),
    "a character that no database takes": body_of(THREAD).replace("¿".encode(), rb"\u0000"),
    "a number beyond all bounds": body_of(THREAD).replace(b'"1760000000"', b"1" + b"0" * 400),
    "a field twice": body_of(THREAD).replace(b'"id":"1"', b'"id":"0","id":"1"'),
}


@pytest.mark.parametrize("case", BODIES)
def test_what_is_decoded_is_the_same(case: str) -> None:
    """Whatever Meta sends in a body; only the moment differs."""
    assert _as_lists(decode_long(BODIES[case])) == decode(BODIES[case])


@pytest.mark.parametrize("case", BODIES)
def test_what_is_read_is_the_same(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The events of a webhook do not depend on how long it is."""
    at_once = read_webhook(BODIES[case])
    monkeypatch.setattr(from_whatsapp, "BIG_BODY", 0)
    assert read_webhook(BODIES[case]) == at_once


def test_a_thread_is_decoded_when_it_is_reached() -> None:
    """Ten thousand messages in one go are forty milliseconds in which nobody is answered."""
    found = decode_long(BODIES["as documented"])
    threads = found["entry"][0]["changes"][0]["value"]["history"][0]["threads"]
    assert isinstance(threads, Threads)
    assert next(iter(threads)) == THREAD


def test_a_thread_that_cannot_be_decoded_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is set aside with its text, and its neighbours are read."""
    monkeypatch.setattr(from_whatsapp, "BIG_BODY", 0)
    bad = {"id": "5215550000002", "messages": [MESSAGE | {"text": {"body": "HERE"}}]}
    body = body_of(THREAD, bad, THREAD).replace(b"HERE", b"\xff")  # not UTF-8
    events = read_webhook(body)
    [aside] = [event for event in events if isinstance(event, Unreadable)]
    assert "5215550000002" in str(aside.raw)
    chunks = [event for event in events if isinstance(event, HistoryChunk)]
    assert sum(len(thread.messages) for chunk in chunks for thread in chunk.threads) == 2


def _as_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_lists(part) for key, part in value.items()}
    return [_as_lists(item) for item in value] if isinstance(value, list) else value
