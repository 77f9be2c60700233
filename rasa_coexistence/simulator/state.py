"""Hold what the simulated Meta knows about people, numbers, tokens and messages."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

JSON = dict[str, Any]

SCOPES = ("whatsapp_business_management", "whatsapp_business_messaging")
FIELDS = ("messages", "account_update", "history", "smb_app_state_sync", "smb_message_echoes")
COUNTRIES = {"1": "US", "34": "ES", "44": "GB", "52": "MX", "54": "AR", "55": "BR", "57": "CO", "91": "IN"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A customer, by every id that Meta could give for them."""

    wa_id: str | None = None  # digits only
    user_id: str | None = None  # BSUID
    parent_user_id: str | None = None
    username: str | None = None
    name: str | None = None
    hides_phone: bool = False  # webhooks leave the phone out
    on_whatsapp: bool = True
    blocked: bool = False  # the business blocked them
    phones: frozenset[str] = frozenset()  # other spellings that reach them, digits only

    @property
    def shown_wa_id(self) -> str | None:
        """Return the phone as webhooks show it."""
        return None if self.hides_phone else self.wa_id

    @property
    def key(self) -> str:
        """Return what Meta tells people apart by."""
        return self.user_id or self.wa_id or ""


def person(wa_id: str, name: str | None = None, **others: Any) -> Person:
    """Return a customer with a phone and the BSUID that Meta gives everybody."""
    others.setdefault("user_id", bsuid(wa_id))
    return Person(wa_id=wa_id, name=name, **others)


def bsuid(wa_id: str) -> str:
    """Return a business-scoped user id, always the same for a phone."""
    country = next((COUNTRIES[wa_id[:n]] for n in (2, 1) if wa_id[:n] in COUNTRIES), "US")
    return f"{country}.{int(hashlib.sha256(wa_id.encode()).hexdigest()[:15], 16):018d}"


class Link(str, Enum):
    """How a number stands with its partner."""

    CONNECTED = "connected"
    OFFBOARDED = "offboarded"  # comes back by itself
    REMOVED = "removed"  # only a new sign-up brings it back


@dataclass(slots=True, kw_only=True)
class Number:
    """A business number."""

    phone_number_id: str
    display_phone_number: str  # digits only
    waba_id: str
    verified_name: str = "Local shop"
    is_on_biz_app: bool = True
    platform_type: str = "CLOUD_API"
    onboarded_at: float = 0.0
    link: Link = Link.CONNECTED
    shares_history: bool = True  # what the owner chose in the sign-up
    syncs: dict[str, float] = field(default_factory=dict)  # sync_type -> when asked, once an onboarding
    webhook_configuration: dict[str, str] = field(default_factory=dict)  # override at phone level


@dataclass(slots=True, kw_only=True)
class Token:
    """A business token."""

    waba_ids: tuple[str, ...]
    scopes: tuple[str, ...] = SCOPES
    expires_at: float = 0.0  # 0: never
    valid: bool = True


@dataclass(slots=True, kw_only=True)
class Code:
    """What the sign-up gives the browser: it buys one token within 30 seconds."""

    token: str
    issued_at: float
    used: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Something to tell the app; who hears it is decided when it is posted."""

    field: str
    value: JSON
    waba_id: str
    phone_number_id: str | None = None  # None: about the account
    delay_seconds: float = 0.0


@dataclass(slots=True, kw_only=True)
class Sent:
    """A message the app sent and Meta took."""

    wamid: str
    phone_number_id: str
    recipient: str  # as the app wrote it
    person: Person
    body: JSON
    at: float
    dropped: bool = False  # taken and thrown away: the customer never sees it
    statuses: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Return what the customer reads first."""
        return shown_text(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of the app, whatever became of it."""

    operation: str
    path: str
    at: float
    body: JSON | None
    status: int | None  # None: no answer was given
    code: int | None = None  # Meta's error
    failure: str | None = None  # the injected one


@dataclass(frozen=True, slots=True)
class Answer:
    """What Graph says, and what Meta tells the app because of it."""

    body: JSON
    status: int = 200
    before: Sequence[Webhook] = ()  # told before the answer leaves
    after: Sequence[Webhook] = ()


def shown_text(body: JSON) -> str:
    """Return the text of a Cloud API body, or its type in brackets."""
    kind = str(body.get("type", "text"))
    content = body.get(kind)
    if not isinstance(content, dict):
        return f"[{kind}]"
    text = content.get("body") or content.get("caption") or content.get("emoji") or f"[{kind}]"
    if isinstance(text, dict):  # interactive
        choices = [str(choice) for choice in _choices(content.get("action", {}))]
        text = " ".join([str(text.get("text", "")), *(f"[{choice}]" for choice in choices)])
    return str(text)


def _choices(action: JSON) -> list[Any]:
    rows = [row.get("title") for section in action.get("sections", ()) for row in section.get("rows", ())]
    buttons = [button.get("reply", {}).get("title") for button in action.get("buttons", ())]
    link = action.get("parameters", {}).get("display_text")
    return [choice for choice in (*buttons, *rows, link) if choice]
