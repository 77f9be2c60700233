"""What Rasa hears of everything that a customer can send."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from agents import Counter, agent_on, open_counter
from rasa.core.agent import Agent

from rasa_coexistence.ledger import schema
from rasa_coexistence.media_links import read_link

PAYLOADS = Path(__file__).parent / "payloads"
NUMBER = "2002"  # of the payloads
BASE = "https://bot.example"
SHEENA = "16505551234"
CONTACT = {
    "wa_id": SHEENA,
    "user_id": "US.13491208655302741918",
    "username": "sheena",
    "name": "Sheena Nelson",
}
FILE = {"id": "1908647269898587", "sha256": "Bzp8Sa0tYS6H3WcPnQwAG9c1rR0R8pW3kVqY0uT9d7E=", "url": "<link>"}
QUOTED = {"from": "15550783881", "id": "wamid.HBgLMTY1MDU1NTEyMzQVAgARGBQzRUIwMDAwMDAwMDAwMDAwMDM4NAA="}
CARD = {
    "name": {"formatted_name": "Ana Ruiz", "first_name": "Ana"},
    "phones": [{"phone": "+1 650-555-9999", "wa_id": "16505559999", "type": "MOBILE"}],
    "origin": "other",
}
SHIRT = {"product_retailer_id": "shirt-7", "quantity": 1, "item_price": 9.9, "currency": "USD"}
PLACE = {
    "latitude": 19.4326,
    "longitude": -99.1332,
    "name": "Zócalo",
    "address": "Plaza de la Constitución",
    "url": "https://example.com/zocalo",
}
TOO_BIG = {
    "code": 131052,
    "title": "Media download error",
    "message": "Media download error",
    "error_data": {"details": "Media download error"},
}
AD = {
    "source_url": "https://fb.me/example",
    "source_id": "120",
    "source_type": "ad",
    "headline": "Linen shirts",
    "body": "Summer",
    "media_type": "image",
    "ctwa_clid": "clid-1",
}


def media(mime_type: str, **others: Any) -> dict[str, Any]:
    return {**FILE, "mime_type": mime_type, **others}


def as_entities(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a file's fields under the names that they have as entities."""
    return {"media_id" if name == "id" else name: value for name, value in fields.items()}


JPEG = media("image/jpeg")
CAPTIONED = media("image/jpeg", caption="Like this one")
OFFER = media("application/pdf", filename="offer.pdf")

# case -> type, text, facts of metadata.whatsapp beside the usual ones
AS_TEXT: dict[str, tuple[str, str, dict[str, Any]]] = {
    "text": ("text", "Do you have it in blue?", {}),
    "text_as_number": ("text", "42", {}),
    "text_empty": ("text", "[text]", {}),
    "type_missing": ("text", "No type here", {}),
    "quote": ("text", "This one", {"context": QUOTED}),
    "forwarded": (
        "text",
        "Sale today!",
        {"frequently_forwarded": True, "context": {"frequently_forwarded": True}},
    ),
    "product_question": (
        "text",
        "Is it in stock?",
        {
            "context": {
                **QUOTED,
                "referred_product": {"catalog_id": "77", "product_retailer_id": "shirt-7"},
            }
        },
    ),
    "advertisement": ("text", "I saw your ad", {"referral": AD}),
    "audio": ("audio", "[audio]", {"media": media("audio/mpeg")}),
    "voice_note": ("audio", "[audio]", {"media": media("audio/ogg; codecs=opus", voice=True)}),
    "video": ("video", "See the seam", {"media": media("video/mp4", caption="See the seam")}),
    "media_too_big": ("video", "[video]", {"errors": [TOO_BIG]}),
    "document": ("document", "[document: offer.pdf]", {"media": OFFER}),
    "document_with_caption": (
        "document",
        "Is this still valid?",
        {"media": {**OFFER, "caption": "Is this still valid?"}},
    ),
    "sticker": ("sticker", "[sticker]", {"media": media("image/webp", animated=False)}),
    # Buttons that we never sent are text that somebody typed.
    "button_reply": (
        "interactive",
        "/affirm",
        {"reply": {"id": "/affirm", "title": "Yes"}, "label": "Yes", "context": QUOTED},
    ),
    "list_reply": (
        "interactive",
        "size_m",
        {
            "reply": {"id": "size_m", "title": "M", "description": "Medium"},
            "label": "M",
            "context": QUOTED,
        },
    ),
    "reply_without_id": ("interactive", "/restart", {"reply": {"title": "/restart"}}),
    "template_quick_reply": (
        "button",
        "CANCEL",
        {"reply": {"id": "CANCEL", "title": "Cancel"}, "label": "Cancel", "context": QUOTED},
    ),
}
# case -> type, text, facts, entities: the domain has an intent for the type
AS_INTENT: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "image": ("image", "Like this one", {"media": CAPTIONED}, as_entities(CAPTIONED)),
    "image_without_caption": ("image", "[image]", {"media": JPEG}, as_entities(JPEG)),
    "location": ("location", "[location]", {"location": PLACE}, PLACE),
    "location_without_name": (
        "location",
        "[location]",
        {"location": {"latitude": 19.4326, "longitude": -99.0}},
        {"latitude": 19.4326, "longitude": -99.0},
    ),
    "contacts": ("contacts", "[contacts]", {"contacts": [CARD]}, {"contacts": [CARD]}),
    "order": (
        "order",
        "For Friday please",
        {"order": {"catalog_id": "77", "text": "For Friday please", "product_items": [SHIRT]}},
        {"catalog_id": "77", "text": "For Friday please", "product_items": [SHIRT]},
    ),
    "order_without_text": (
        "order",
        "[order]",
        {"order": {"catalog_id": "77", "product_items": [SHIRT]}},
        {"catalog_id": "77", "product_items": [SHIRT]},
    ),
    "flow_reply": (
        "interactive",
        "[flow]",
        {"flow": {"name": "flow", "response": {"flow_token": "t1", "size": "M"}}, "label": "Sent"},
        {"name": "flow", "response": {"flow_token": "t1", "size": "M"}},
    ),
    "flow_reply_not_json": (
        "interactive",
        "[flow]",
        {"flow": {"name": "flow", "response_json": "{oops"}, "label": "Sent"},
        {"name": "flow", "response_json": "{oops"},
    ),
}
# case -> type in the ledger: seen, kept, never answered
SILENT = {
    "reaction": "reaction",
    "reaction_removed": "reaction",
    "edit": "edit",
    "edit_of_caption": "edit",
    "revoke": "revoke",
    "system_other": "system",
    "unsupported": "unsupported",
    "unsupported_old_spelling": "unsupported",
    "unsupported_only_on_the_phone": "unsupported",
}
# case -> why it is set aside
SET_ASIDE = {
    "sender_unknown": "sender cannot be told",
    "sender_by_username_alone": "which customer",
    "sender_in_a_group": "in a group",
    "sender_is_the_business": "business number itself",
    "text_without_body": "without text",
    "edit_without_content": "without the new content",
    "type_not_known": "not known: hologram",
}
# case -> the id that Rasa knows the customer by
SENDERS = {
    "sender_with_hidden_phone": "US.13491208655302741918",
    "sender_only_in_contacts": SHEENA,
    "sender_spelt_in_two_ways": "527771234567",
    "sender_among_several_contacts": "US.222",
    "sender_contradicted_by_contacts": "16505550000",
}


@pytest.fixture
async def counter(answering: Agent, tmp_path: Path) -> AsyncIterator[Counter]:
    agent = agent_on(answering, f"sqlite:///{tmp_path}/rasa.db")
    ledger = f"sqlite:///{tmp_path}/ledger.db"
    async with open_counter(agent, ledger, phone_number_id=NUMBER, base_url=BASE) as counter:
        yield counter


async def post(counter: Counter, case: str) -> None:
    """Post a payload and wait until all that it says is worked off."""
    status, _ = await counter.site.post("/webhook", (PAYLOADS / f"{case}.json").read_bytes())
    assert status == 200

    async def is_done() -> bool:
        return not await counter.rows(schema.inbox) and not await counter.rows(
            schema.messages, state="waiting"
        )

    await counter.until(is_done)


async def heard(counter: Counter, sender_id: str = SHEENA) -> Any:
    """Return the one user event of a conversation."""
    [event] = await counter.events(sender_id, "user")
    return event


def facts_of(counter: Counter, event: Any) -> dict[str, Any]:
    """Return metadata.whatsapp less what is always there, which is checked here."""
    facts = dict(event["metadata"]["whatsapp"])
    if "url" in facts.get("media", {}):
        facts["media"] = {**facts["media"], "url": checked_link(counter, facts["media"]["url"])}
    usual = {name: facts.pop(name) for name in ("source", "wamid", "phone_number_id", "timestamp", "contact")}
    assert usual == {
        "source": "live",
        "wamid": event["message_id"],
        "phone_number_id": NUMBER,
        "timestamp": 1749416383.0,
        "contact": CONTACT,
    }
    return facts


def checked_link(counter: Counter, url: str) -> str:
    """Check that an address is a link of ours to the file."""
    place, _, query = url.partition("?")
    assert place == f"{BASE}/webhooks/whatsapp/media/{FILE['id']}"
    given = dict(part.split("=") for part in query.split("&"))
    service = counter.site.service
    read_link(
        FILE["id"],
        given["message"],
        given["expires"],
        given["signature"],
        app_secrets=service.settings.app_secrets,
        now=service.clock(),
    )
    return "<link>"


@pytest.mark.parametrize("case", AS_TEXT)
async def test_message_is_heard_as_text(counter: Counter, case: str) -> None:
    """Caption, reply id, or the type in brackets; everything else stands in the metadata."""
    kind, text, facts = AS_TEXT[case]
    await post(counter, case)
    event = await heard(counter)
    assert event["text"] == text
    assert event["parse_data"]["text"] == text
    assert event["parse_data"]["intent"]["name"] == "nlu_fallback"  # NLU read it, also "/affirm"
    assert facts_of(counter, event) == {"type": kind, **facts}


@pytest.mark.parametrize("case", AS_INTENT)
async def test_message_is_heard_as_an_intent_that_the_domain_has(counter: Counter, case: str) -> None:
    """Its fields are entities, so that forms and slots can take them."""
    kind, text, facts, entities = AS_INTENT[case]
    await post(counter, case)
    event = await heard(counter)
    assert event["text"] == text
    assert event["parse_data"]["intent"] == {"name": f"whatsapp_{kind}", "confidence": 1.0}
    found = {entity["entity"]: entity["value"] for entity in event["parse_data"]["entities"]}
    if "url" in found and "media_id" in found:
        found["url"] = checked_link(counter, found["url"])
    assert found == entities
    assert facts_of(counter, event) == {"type": kind, **facts}


@pytest.mark.parametrize("case", SILENT)
async def test_message_is_kept_and_never_answered(counter: Counter, case: str) -> None:
    """They are no turn of the conversation; the ledger shows them."""
    await post(counter, case)
    [message] = await counter.rows(schema.messages)
    assert (message.type, message.state) == (SILENT[case], "kept")
    assert message.raw
    assert await counter.events(SHEENA) == []
    assert await counter.rows(schema.outbox) == []


@pytest.mark.parametrize("case", SET_ASIDE)
async def test_message_that_cannot_be_placed_is_set_aside(counter: Counter, case: str) -> None:
    """Nobody guesses; it can be looked at and replayed."""
    await post(counter, case)
    [kept] = await counter.rows(schema.set_aside)
    assert SET_ASIDE[case] in kept.reason
    assert msgspec.json.decode(kept.raw)
    assert await counter.rows(schema.messages) == []
    assert await counter.rows(schema.conversations) == []


@pytest.mark.parametrize("case", SENDERS)
async def test_sender_is_known_by_the_best_id(counter: Counter, case: str) -> None:
    """Whatever ids the webhook gives."""
    await post(counter, case)
    assert (await heard(counter, SENDERS[case]))["text"] == "Hi"


def test_every_kind_of_live_message_is_in_a_table() -> None:
    """A payload that is added must say what becomes of it."""
    elsewhere = (
        *("history", "account", "address", "echo", "status", "customer_changed", "user_id", "field"),
        *("bad_items", "two_customers"),
    )
    shown = {*AS_TEXT, *AS_INTENT, *SILENT, *SET_ASIDE, *SENDERS}
    cases = {path.stem for path in PAYLOADS.glob("*.json")}
    assert {case for case in cases - shown if not case.startswith(elsewhere)} == set()


@pytest.mark.parametrize("case", ["image", "voice_note"])
async def test_without_a_base_url_there_is_no_link(answering: Agent, tmp_path: Path, case: str) -> None:
    """Nor Meta's own address, which nobody can open without the token."""
    agent = agent_on(answering, f"sqlite:///{tmp_path}/rasa.db")
    async with open_counter(agent, f"sqlite:///{tmp_path}/ledger.db", phone_number_id=NUMBER) as counter:
        await post(counter, case)
        event = await heard(counter)
    assert "url" not in event["metadata"]["whatsapp"]["media"]
    assert "url" not in {entity["entity"] for entity in event["parse_data"]["entities"]}


@pytest.mark.parametrize("entry", ["text", "image", "location"])
async def test_unknown_keys_do_no_harm(counter: Counter, entry: str) -> None:
    """Meta adds keys without asking; they stay in the raw object."""
    body = msgspec.json.decode((PAYLOADS / f"{entry}.json").read_bytes())
    value = body["entry"][0]["changes"][0]["value"]
    message = value["messages"][0]
    for holder in (body, body["entry"][0], value, value["contacts"][0], message, message[message["type"]]):
        holder["new_key"] = {"of": ["Meta's"]}
    status, _ = await counter.site.post("/webhook", msgspec.json.encode(body))
    assert status == 200

    async def is_heard() -> bool:
        return bool(await counter.events(SHEENA, "user"))

    await counter.until(is_heard)
    event = await heard(counter)
    assert event["text"] == {**AS_TEXT, **AS_INTENT}[entry][1]
    assert "new_key" not in msgspec.json.encode(event).decode()
    [kept] = await counter.rows(schema.messages)
    assert "new_key" in kept.raw
