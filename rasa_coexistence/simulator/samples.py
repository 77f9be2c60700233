"""Hold one believable content for every type of message a customer can send."""

from __future__ import annotations

import copy
from typing import Any

LOOKASIDE = "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid="
SHA256 = "SfInY0gGKTsJlUWbwxC1k+FAD0FZHvzwfpvO0zX0GUI="


def _media(media_id: str, mime_type: str, **others: Any) -> dict[str, Any]:
    return {
        "id": media_id,
        "mime_type": mime_type,
        "sha256": SHA256,
        "url": f"{LOOKASIDE}{media_id}",
        **others,
    }


SAMPLES: dict[str, Any] = {
    "text": {"body": "Hola"},
    "image": _media("7001", "image/jpeg", caption="¿Tienen esta mochila?"),
    "video": _media("7002", "video/mp4", caption="Así llegó el paquete"),
    "audio": _media("7003", "audio/ogg; codecs=opus", voice=True),
    "document": _media("7004", "application/pdf", filename="offer.pdf", caption="La oferta"),
    "sticker": _media("7005", "image/webp", animated=False),
    "location": {
        "latitude": 20.6736,
        "longitude": -103.344,
        "name": "Mercado Juárez",
        "address": "Prisciliano Sánchez 1, Guadalajara",
    },
    "contacts": [
        {
            "name": {"formatted_name": "Pablo Morales", "first_name": "Pablo"},
            "phones": [{"phone": "+52 1 55 5000 9001", "wa_id": "5215550009001", "type": "MOBILE"}],
            "origin": "other",
        }
    ],
    "order": {
        "catalog_id": "8001",
        "text": "Para el sábado, por favor",
        "product_items": [
            {"product_retailer_id": "MOCHILA-1", "quantity": 2, "item_price": 349.5, "currency": "MXN"}
        ],
    },
    "button": {"payload": "CANCEL", "text": "Cancelar"},
    "button_reply": {"type": "button_reply", "button_reply": {"id": "yes", "title": "Sí"}},
    "list_reply": {
        "type": "list_reply",
        "list_reply": {"id": "row-1", "title": "Mochila", "description": "De tela"},
    },
    "nfm_reply": {
        "type": "nfm_reply",
        "nfm_reply": {
            "name": "flow",
            "body": "Sent",
            "response_json": '{"flow_token":"t-1","size":"M","gift":true}',
        },
    },
    "unsupported": {"type": "poll_creation"},
}
REPLIES = ("button_reply", "list_reply", "nfm_reply")  # types of an interactive message


def sample(kind: str) -> tuple[str, Any]:
    """Return Meta's type and a fresh content for a kind of SAMPLES."""
    return "interactive" if kind in REPLIES else kind, copy.deepcopy(SAMPLES.get(kind))
