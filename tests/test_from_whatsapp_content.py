"""What a message says: one payload for every type, and for every way a type was seen to vary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from rasa_coexistence.events import Content, CustomerMessage, PhoneEcho, Unreadable
from rasa_coexistence.from_whatsapp import read_webhook
from rasa_coexistence.identity import make_wamid

PAYLOADS = Path(__file__).parent / "payloads"
QUOTED = {
    "from": "15550783881",
    "id": make_wamid("16505551234", "3EB00000000000000384", from_business=True),
}
ORDER = {
    "catalog_id": "77",
    "product_items": [
        {"product_retailer_id": "shirt-7", "quantity": 1, "item_price": 9.9, "currency": "USD"}
    ],
}
CARD = {
    "name": {"formatted_name": "Ana Ruiz", "first_name": "Ana"},
    "phones": [{"phone": "+1 650-555-9999", "wa_id": "16505559999", "type": "MOBILE"}],
    "origin": "other",
}
ADVERTISEMENT = {
    "source_url": "https://fb.me/example",
    "source_id": "120",
    "source_type": "ad",
    "headline": "Linen shirts",
    "body": "Summer",
    "media_type": "image",
    "ctwa_clid": "clid-1",
}


def wamid(number: int, *, from_business: bool = False) -> str:
    return make_wamid("16505551234", f"3EB0{number:016X}", from_business=from_business)


def media(mime_type: str, **more: Any) -> dict[str, Any]:
    known = {
        "id": "1908647269898587",
        "mime_type": mime_type,
        "sha256": "Bzp8Sa0tYS6H3WcPnQwAG9c1rR0R8pW3kVqY0uT9d7E=",
    }
    return {"media": {**known, **more}}


def bracketed(kind: str, text: str | None = None, **more: Any) -> Content:
    return Content(type=kind, text=text or f"[{kind}]", typed=False, **more)


def fault(code: int, title: str) -> dict[str, Any]:
    return {"code": code, "title": title, "message": title, "error_data": {"details": title}}


CONTENTS = {
    "text": Content(type="text", text="Do you have it in blue?"),
    "text_empty": Content(type="text", text=""),
    "text_as_number": Content(type="text", text="42"),
    "type_missing": Content(type="text", text="No type here"),
    "image": Content(
        type="image",
        text="Like this one",
        fields=media("image/jpeg", caption="Like this one", url="https://lookaside.fbsbx.com/whatsapp/1"),
    ),
    "image_without_caption": bracketed("image", fields=media("image/jpeg")),
    "video": Content(type="video", text="See the seam", fields=media("video/mp4", caption="See the seam")),
    "audio": bracketed("audio", fields=media("audio/mpeg")),
    "voice_note": bracketed("audio", fields=media("audio/ogg; codecs=opus", voice=True)),
    "document": bracketed(
        "document", "[document: offer.pdf]", fields=media("application/pdf", filename="offer.pdf")
    ),
    "document_with_caption": Content(
        type="document",
        text="Is this still valid?",
        fields=media("application/pdf", filename="offer.pdf", caption="Is this still valid?"),
    ),
    "sticker": bracketed("sticker", fields=media("image/webp", animated=False)),
    "location": bracketed(
        "location",
        fields={
            "location": {
                "latitude": 19.4326,
                "longitude": -99.1332,
                "name": "Zócalo",
                "address": "Plaza de la Constitución",
                "url": "https://example.com/zocalo",
            }
        },
    ),
    "location_without_name": bracketed(
        "location", fields={"location": {"latitude": 19.4326, "longitude": -99.0}}
    ),
    "contacts": bracketed("contacts", fields={"contacts": [CARD]}),
    "order": Content(
        type="order", text="For Friday please", fields={"order": {**ORDER, "text": "For Friday please"}}
    ),
    "order_without_text": bracketed("order", fields={"order": ORDER}),
    "button_reply": bracketed(
        "interactive",
        "/affirm",
        label="Yes",
        fields={"reply": {"id": "/affirm", "title": "Yes"}},
        context=QUOTED,
    ),
    "list_reply": bracketed(
        "interactive",
        "size_m",
        label="M",
        fields={"reply": {"id": "size_m", "title": "M", "description": "Medium"}},
        context=QUOTED,
    ),
    "reply_without_id": Content(type="interactive", text="/restart", fields={"reply": {"title": "/restart"}}),
    "flow_reply": bracketed(
        "interactive",
        "[flow]",
        label="Sent",
        fields={"flow": {"name": "flow", "response": {"flow_token": "t1", "size": "M"}}},
    ),
    "flow_reply_not_json": bracketed(
        "interactive", "[flow]", label="Sent", fields={"flow": {"name": "flow", "response_json": "{oops"}}
    ),
    "template_quick_reply": bracketed(
        "button",
        "CANCEL",
        label="Cancel",
        fields={"reply": {"id": "CANCEL", "title": "Cancel"}},
        context=QUOTED,
    ),
    "reaction": bracketed("reaction", target=QUOTED["id"], emoji="👍"),
    "reaction_removed": bracketed("reaction", target=QUOTED["id"]),
    "edit": Content(
        type="edit",
        text="In green, I mean",
        target=wamid(1),
        replacement=Content(type="text", text="In green, I mean"),
    ),
    "edit_of_caption": Content(
        type="edit",
        text="Like that one",
        target=wamid(4),
        replacement=Content(
            type="image", text="Like that one", fields=media("image/jpeg", caption="Like that one")
        ),
    ),
    "revoke": bracketed("revoke", target=wamid(1)),
    "quote": Content(type="text", text="This one", context=QUOTED),
    "forwarded": Content(
        type="text",
        text="Sale today!",
        fields={"frequently_forwarded": True},
        context={"frequently_forwarded": True},
    ),
    "product_question": Content(
        type="text",
        text="Is it in stock?",
        context={**QUOTED, "referred_product": {"catalog_id": "77", "product_retailer_id": "shirt-7"}},
    ),
    "advertisement": Content(type="text", text="I saw your ad", referral=ADVERTISEMENT),
    "unsupported": bracketed(
        "unsupported",
        fields={"unsupported": {"type": "poll_update"}},
        errors=[fault(131051, "Message type unknown")],
    ),
    "unsupported_only_on_the_phone": bracketed(
        "unsupported",
        fields={"unsupported": {"type": "text"}},
        errors=[fault(131060, "This message is currently unavailable.")],
    ),
    "unsupported_old_spelling": bracketed(
        "unsupported",
        fields={"unsupported": {"type": "unknown"}},
        errors=[fault(131051, "Message type unknown")],
    ),
    "media_too_big": bracketed("video", errors=[fault(131052, "Media download error")]),
    "system_other": bracketed(
        "system",
        "The security code changed",
        fields={"system": {"type": "customer_identity_changed", "body": "The security code changed"}},
    ),
}
ECHOED = {
    "echo": Content(type="text", text="On my way"),
    "echo_edit": Content(
        type="edit",
        text="new caption",
        target=wamid(4, from_business=True),
        replacement=Content(
            type="image", text="new caption", fields=media("image/jpeg", caption="new caption")
        ),
    ),
    "echo_revoke": bracketed("revoke", target=wamid(70, from_business=True)),
    "echo_reaction": bracketed("reaction", target=wamid(1), emoji="❤️"),
    "echo_of_unknown_type": bracketed("poll"),
    "echo_of_buttons": bracketed(
        "interactive",
        "Which size?",
        fields={"interactive": {"type": "button", "body": {"text": "Which size?"}, "action": {}}},
    ),
}
SET_ASIDE = {
    "text_without_body": "a text message without text",
    "edit_without_content": "an edit without the new content",
    "type_not_known": "a message type that is not known: hologram",
}


@pytest.mark.parametrize("case", CONTENTS)
def test_a_customer_message_says_all_that_meta_told(case: str) -> None:
    """Every documented type reaches the bot with its text and its fields."""
    (event,) = read_webhook((PAYLOADS / f"{case}.json").read_bytes())
    assert isinstance(event, CustomerMessage)
    assert event.content == CONTENTS[case]
    assert event.sent_at == 1749416383.0


@pytest.mark.parametrize("case", ECHOED)
def test_an_echo_says_all_that_meta_told(case: str) -> None:
    """The bot must see what the person wrote, also when we do not know its type."""
    (event,) = read_webhook((PAYLOADS / f"{case}.json").read_bytes())
    assert isinstance(event, PhoneEcho)
    assert event.content == ECHOED[case]


@pytest.mark.parametrize("case", SET_ASIDE)
def test_a_message_that_lacks_its_content_is_set_aside(case: str) -> None:
    """There is nothing to answer; the raw object is kept for replay."""
    body = (PAYLOADS / f"{case}.json").read_bytes()
    raw = msgspec.json.decode(body)["entry"][0]["changes"][0]["value"]["messages"][0]
    path = "entry[0].changes[0].value.messages[0]"
    assert read_webhook(body) == [Unreadable(reason=SET_ASIDE[case], path=path, raw=raw)]


def read_one(message: dict[str, Any]) -> CustomerMessage | Unreadable:
    whole = {"id": "wamid.X", "from": "16505551234", "timestamp": "1749416383", **message}
    value = {"messaging_product": "whatsapp", "metadata": {}, "messages": [whole]}
    body = {"entry": [{"changes": [{"field": "messages", "value": value}]}]}
    (event,) = read_webhook(msgspec.json.encode(body))
    assert isinstance(event, CustomerMessage | Unreadable)
    return event


@pytest.mark.parametrize(
    "content",
    [
        {"type": "reaction", "reaction": {"emoji": "👍"}},
        {"type": "revoke", "revoke": {}},
        {"type": "revoke"},
        {"type": "edit", "edit": {"message": {"type": "text", "text": {"body": "new"}}}},
        {"type": "edit", "edit": {"original_message_id": "wamid.O", "message": {"type": "text"}}},
        {"type": "edit", "edit": {"original_message_id": "wamid.O", "message": {"type": "edit", "edit": {}}}},
        {"type": "text", "text": {"body": None}},
        {"type": "text", "text": ["body"]},
        {"type": "text", "text": {"body": {"body": "x"}}},
        {"type": True, "poll": {}},
        {},
    ],
)
def test_what_acts_on_nothing_is_set_aside(content: dict[str, Any]) -> None:
    """A reaction, edit or revoke needs its target; a text its text."""
    assert isinstance(read_one(content), Unreadable)


@pytest.mark.parametrize("kind", ["image", "video", "audio", "document", "sticker", "location", "contacts"])
@pytest.mark.parametrize("broken", [None, [], "x", 7, {}, {"id": {}, "mime_type": [], "latitude": "north"}])
def test_what_cannot_be_read_is_left_out(kind: str, broken: Any) -> None:
    """The customer did send something: the bot learns what kind it was."""
    event = read_one({"type": kind, kind: broken})
    assert isinstance(event, CustomerMessage)
    assert event.content.text == f"[{kind}]"
    assert event.content.fields in ({}, {"contacts": []})


def test_ids_may_come_as_numbers() -> None:
    """Partners convert what looks like a number."""
    event = read_one({"type": "image", "image": {"id": 1908647269898587, "voice": "true"}, "id": 77})
    assert isinstance(event, CustomerMessage)
    assert event.wamid == "77"
    assert event.content.fields == {"media": {"id": "1908647269898587", "voice": True}}
    quoting = read_one({"type": "text", "text": {"body": "x"}, "context": {"id": 5, "from": [], "a": 1}})
    assert isinstance(quoting, CustomerMessage)
    assert quoting.content.context == {"id": "5", "a": 1}


@pytest.mark.parametrize("text", ["x" * 70_000, "👩‍👩‍👧 שלום", "/restart", " \n/restart", "\t"])
def test_a_text_is_kept_to_the_letter(text: str) -> None:
    """Nothing a customer types is cut, trimmed or interpreted here."""
    event = read_one({"type": "text", "text": {"body": text}})
    assert isinstance(event, CustomerMessage)
    assert event.content == Content(type="text", text=text)
