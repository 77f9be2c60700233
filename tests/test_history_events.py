"""What an old message's event tells besides its text: what it quotes, what NLU made of it."""

from __future__ import annotations

from chat import NOON, events_of, message, said
from rasa.shared.core.events import Event

from rasa_coexistence.events import JSON, Content
from rasa_coexistence.identity import make_wamid
from rasa_coexistence.records import StoredMessage

OURS = make_wamid("5217715268513", "3EB00000000000000384", from_business=True)
THEIRS = make_wamid("MX.1234567890", "3EB00000000000000384", from_business=True)


def quoting(wamid: str, at: float, context: JSON) -> StoredMessage:
    content = Content(type="text", text="yes, that one", context=context)
    return message(wamid, at, text="yes, that one", content=content)


def quotes(*messages: StoredMessage, **changes: int) -> list[JSON | None]:
    events = said(events_of(*messages, **changes))
    return [event["metadata"]["whatsapp"].get("context") for event in events]


def test_a_quote_carries_what_was_said() -> None:
    """A bot that reads "yes, that one" has to know which; the wamid may be the one of the other side."""
    asked = message(OURS, NOON, from_business=True, text="the red one?")
    shown = {"text": "the red one?", "role": "business"}
    assert quotes(asked, quoting("wamid.A", NOON + 1, {"id": OURS})) == [None, {"id": OURS, **shown}]
    assert quotes(asked, quoting("wamid.A", NOON + 1, {"id": THEIRS})) == [None, {"id": THEIRS, **shown}]


def test_a_quoted_message_need_not_be_in_the_tracker_itself() -> None:
    """Stores with a cap hold the newest messages only; the ledger knows the others."""
    about = {"id": "wamid.A", "from": "5217715268513"}
    found = quotes(message("wamid.A"), quoting("wamid.B", NOON + 1, about), max_messages=1)
    assert found == [{**about, "text": "text of wamid.A", "role": "customer"}]


def test_what_was_taken_back_is_not_told_in_a_quote() -> None:
    """A revoked message is left out everywhere."""
    taken_back = message("wamid.A", revoked=True)
    assert quotes(taken_back, quoting("wamid.B", NOON + 1, {"id": "wamid.A"})) == [{"id": "wamid.A"}]


def test_a_context_without_a_quote_stays_as_it_is() -> None:
    """Forwarded messages and product questions have one, too."""
    for context in ({"forwarded": True}, {"referred_product": {"catalog_id": "1"}}, {"id": "wamid.unknown"}):
        assert quotes(quoting("wamid.A", NOON, context)) == [context]


def test_what_nlu_made_of_an_old_message_stands_in_its_event() -> None:
    """With ``history.parse`` a policy sees the intents of half a year."""
    entity = {"entity": "size", "value": "XL", "start": 0, "end": 2, "extractor": "RegexEntityExtractor"}
    parse = {"intent": {"name": "ask_size", "confidence": 0.91}, "entities": [entity]}
    event = said(events_of(message("wamid.A", text="XL?", parse=parse)))[0]
    rebuilt = Event.from_parameters(event)
    assert rebuilt.as_dict() == event
    assert (rebuilt.intent_name, rebuilt.entities, rebuilt.message_id) == ("ask_size", [entity], "wamid.A")
    assert event["parse_data"]["text"] == "XL?"
