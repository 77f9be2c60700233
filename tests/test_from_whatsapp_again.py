"""Whatever Meta told can be made a webhook of its own, and is read as the same again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from rasa_coexistence import events
from rasa_coexistence.from_whatsapp import again, read_webhook
from rasa_coexistence.from_whatsapp.loose import decode

PAYLOADS = {path.stem: path.read_bytes() for path in (Path(__file__).parent / "payloads").glob("*.json")}


def read(body: Any) -> list[Any]:
    return read_webhook(body.encode() if isinstance(body, str) else msgspec.json.encode(body))


@pytest.mark.parametrize("name", sorted(PAYLOADS))
def test_each_part_of_a_body_is_read_as_itself(name: str) -> None:
    """By whichever way: as what it is, or, where it could not be read, as what stands in its place."""
    for event in read_webhook(PAYLOADS[name]):
        if isinstance(event, events.Unreadable):
            body = again.excerpt(decode(PAYLOADS[name]), event.path)
            assert [(each.reason, each.raw) for each in unreadables(read(body))] == [
                (event.reason, event.raw)
            ]
        elif isinstance(event, events.HistoryChunk):
            check_chunk(event, name)
        elif isinstance(event, events.ContactChange):
            assert read(again.webhook_of_contacts([event])) == [event]
        elif isinstance(event, events.AccountFault):
            assert again.webhook_of(event) is None  # it was set aside for people to see
        else:
            [same] = read(again.webhook_of(event))
            assert bare(same) == bare(event)


def check_chunk(chunk: events.HistoryChunk, name: str) -> None:
    whole = decode(PAYLOADS[name])
    for thread in chunk.threads:
        [part] = read(again.webhook_of_chunk(chunk, thread.contact, thread.messages))
        assert [each.messages for each in part.threads] == [thread.messages]
        assert part.threads[0].contact.wa_id == thread.contact.wa_id
        for event in thread.unreadable:
            found = unreadables(read(again.excerpt(whole, event.path)))
            assert [(each.reason, each.raw) for each in found] == [(event.reason, event.raw)]
    assert bare(read(again.webhook_of_chunk(chunk))[0]) == bare(msgspec.structs.replace(chunk, threads=[]))


def bare(event: Any) -> Any:
    """Return an event without what only the body around it can tell, and without Meta's own object."""
    values = {
        name: getattr(event, name) for name in event.__struct_fields__ if name not in ("raw", "earlier")
    }
    if "number" in values:
        values["number"] = msgspec.structs.replace(values["number"], waba_id=None)
    return values


def unreadables(found: list[Any]) -> list[events.Unreadable]:
    """Return what could not be read, in threads too."""
    within = [
        each
        for chunk in found
        if isinstance(chunk, events.HistoryChunk)
        for thread in chunk.threads
        for each in thread.unreadable
    ]
    return [each for each in found if isinstance(each, events.Unreadable)] + within


def test_an_excerpt_holds_nothing_of_the_neighbours() -> None:
    """Who forgets one customer must not lose what another said, and the other way round."""
    body = {
        "object": "whatsapp_business_account",
        "entry": [
            {
                "id": "1",
                "changes": [{"field": "messages", "value": {"messages": [{"id": "a"}, {"id": "b"}]}}],
            },
            {"id": "2"},
        ],
    }
    assert again.excerpt(body, "entry[0].changes[0].value.messages[1]") == {
        "object": "whatsapp_business_account",
        "entry": [{"id": "1", "changes": [{"field": "messages", "value": {"messages": [{"id": "b"}]}}]}],
    }
    assert again.excerpt(body, "") == body
