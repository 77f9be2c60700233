"""Make old chat as Meta sends it, the same at every run."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from typing import Any

from rasa_coexistence.identity import make_wamid

PHONE_NUMBER_ID, DISPLAY_PHONE_NUMBER = "845237608662425", "15550783881"
LARGEST_BODY = 3_000_000  # bytes, as Meta's own limit is said to be
MESSAGES_A_SESSION = 10
DAY = 86_400
_SENTENCES = (
    "Hola, buenas tardes",
    "Quería saber si todavía tienen la mochila azul en talla grande, porque mi hermana la vio ayer ahí",
    "¿Cuánto cuesta el envío a Guadalajara?",
    "Gracias",
    "Perfecto, mañana paso por ella",
    "Sí, con gusto. Le cuesta 99 pesos y llega en 3 a 5 días",
    "¿Me puede mandar una foto, por favor? 🙏",
    "Ya quedó su pedido, sale hoy mismo de la tienda",
    "ok",
    "Abrimos de lunes a sábado, de 9:00 a 19:00",
)


def threads(conversations: int, messages_each: int, *, first: int = 0) -> Iterator[dict[str, Any]]:
    """Yield one whole thread of each conversation, in sessions over the last 180 days."""
    begin = int(time.time()) - 180 * DAY
    sessions = max(messages_each // MESSAGES_A_SESSION, 1)
    apart = 170 * DAY // sessions
    for conversation in range(first, first + conversations):
        dice, phone = random.Random(conversation), old_phone(conversation)
        messages = []
        for index in range(messages_each):
            session, place = divmod(index, MESSAGES_A_SESSION)
            at = begin + session * apart + dice.randrange(60) + place * 60
            messages.append(_message(dice, phone, at, from_business=bool(index % 2)))
        yield {"id": phone, "messages": messages}


def bodies(conversations: int, messages_each: int, *, first: int = 0) -> Iterator[bytes]:
    """Yield webhooks of at most 3 MB; a thread that does not fit goes on in the next."""
    parts: list[bytes] = []
    size = order = 0
    for done, thread in enumerate(threads(conversations, messages_each, first=first)):
        for part in _cut(thread):
            encoded = _encoded(part)
            if size + len(encoded) > LARGEST_BODY - 1000:
                order += 1
                yield _webhook(parts, order, progress=min(99, 100 * done // conversations))
                parts, size = [], 0
            parts.append(encoded)
            size += len(encoded) + 1
    yield _webhook(parts, order + 1, progress=100)


def old_phone(conversation: int) -> str:
    """Return the phone of a customer with old chat."""
    return f"521{5_000_000_000 + conversation}"


def live_message(phone: str, text: str) -> bytes:
    """Return the webhook of one message that a customer writes now."""
    wamid = make_wamid(phone, f"{random.getrandbits(80):020X}", from_business=False)
    message = {"from": phone, "id": wamid, "timestamp": str(int(time.time())), "type": "text"}
    contacts = [{"profile": {"name": "Ana"}, "wa_id": phone}]
    return _envelope("messages", {"contacts": contacts, "messages": [message | {"text": {"body": text}}]})


def live_phone(number: int) -> str:
    """Return the phone of a customer who writes live."""
    return f"5233{number:08d}"


def _message(dice: random.Random, phone: str, at: int, *, from_business: bool) -> dict[str, Any]:
    return {
        "from": DISPLAY_PHONE_NUMBER if from_business else phone,
        "id": make_wamid(phone, f"{dice.getrandbits(80):020X}", from_business=from_business),
        "timestamp": str(at),
        "type": "text",
        "text": {"body": dice.choice(_SENTENCES)},
        "history_context": {"status": dice.choice(("READ", "DELIVERED"))},
    }


def _cut(thread: dict[str, Any]) -> Iterator[dict[str, Any]]:
    messages, at_once = thread["messages"], 5000
    for start in range(0, len(messages), at_once):
        yield {"id": thread["id"], "messages": messages[start : start + at_once]}


def _webhook(parts: list[bytes], order: int, *, progress: int) -> bytes:
    about = {"phase": 1, "chunk_order": order, "progress": progress}
    empty = _envelope("history", {"history": [{"metadata": about, "threads": "HERE"}]})
    return empty.replace(b'"HERE"', b"[" + b",".join(parts) + b"]")


def _envelope(field: str, value: dict[str, Any]) -> bytes:
    number = {"display_phone_number": DISPLAY_PHONE_NUMBER, "phone_number_id": PHONE_NUMBER_ID}
    change = {"field": field, "value": {"messaging_product": "whatsapp", "metadata": number, **value}}
    return _encoded({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]})


def _encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
