"""Our words for what Meta tells us; ``from_whatsapp`` makes them, the worker acts on them.

Times are Unix seconds in UTC, as Meta, Rasa and the ledger all keep them; ``None`` where Meta gave none
that can be read. ``raw`` is always Meta's object, untouched. What comes by the ten thousand is kept from the
garbage collector (``gc=False``): JSON has no cycles, and looking for them stops everybody.
"""

from __future__ import annotations

from typing import Any, Union

from msgspec import Struct, field

JSON = dict[str, Any]


class NumberRef(Struct, frozen=True, kw_only=True):
    """Which business number a webhook is about; Meta leaves out what does not apply."""

    phone_number_id: str | None = None
    waba_id: str | None = None
    display_phone_number: str | None = None  # digits only


class ContactIds(Struct, frozen=True, kw_only=True):
    """Every id a payload gave for one customer, and what they call themselves."""

    wa_id: str | None = None  # phone, digits only
    user_id: str | None = None  # BSUID: business-scoped user id
    parent_user_id: str | None = None
    username: str | None = None
    name: str | None = None  # profile name

    @property
    def is_known(self) -> bool:
        """Whether anything here tells who it is."""
        return bool(self.wa_id or self.user_id or self.parent_user_id)


class Content(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a message says, whichever door it came through."""

    type: str  # Meta's word: text, image, ..., unsupported; "media_placeholder" in history
    text: str | None = None  # body, caption, id of the pressed reply, or the type in brackets
    typed: bool = True  # the customer wrote ``text`` by hand (False: a reply id or bracketed type)
    label: str | None = None  # what the pressed button or row showed
    fields: JSON = field(default_factory=dict)  # media, location, contacts, order: keys of metadata.whatsapp
    context: JSON | None = None  # quoted message: id, from; forwarded; referred_product
    referral: JSON | None = None
    target: str | None = None  # wamid a reaction, edit or revoke is about
    emoji: str | None = None  # of a reaction; None when it was removed
    replacement: Content | None = None  # new content of an edited message
    errors: list[JSON] = field(default_factory=list)


class CustomerMessage(Struct, frozen=True, kw_only=True, tag=True):
    """A customer wrote just now; the only event that may make the bot speak."""

    number: NumberRef
    contact: ContactIds
    wamid: str
    sent_at: float | None
    content: Content
    raw: JSON


class PhoneEcho(Struct, frozen=True, kw_only=True, tag=True):
    """A person, or the app by itself, wrote from the phone; the bot must step back for a person."""

    number: NumberRef
    contact: ContactIds
    wamid: str
    sent_at: float | None
    content: Content
    automatic: bool  # Meta says that the app made it by itself (``message_creation_type``)
    raw: JSON


class HistoryMessage(Struct, frozen=True, kw_only=True, gc=False):
    """One message of old chat."""

    wamid: str
    sent_at: float | None
    from_business: bool
    status: str | None  # lower case: delivered, error, pending, played, read, sent
    content: Content
    raw: JSON


class HistoryThread(Struct, frozen=True, kw_only=True):
    """The part of one customer's old chat that a chunk carries."""

    contact: ContactIds
    messages: list[HistoryMessage]
    unreadable: list[Unreadable] = field(default_factory=list)


class HistoryChunk(Struct, frozen=True, kw_only=True, tag=True):
    """One item of ``history[]``, or a part of a long one."""

    number: NumberRef
    phase: int | None
    chunk_order: int | None
    progress: int | None  # 0 to 100
    threads: list[HistoryThread]
    earlier: int = 0  # messages of it in the parts before
    goes_on: bool = False  # the next event is another part of it


class HistoryMedia(Struct, frozen=True, kw_only=True, tag=True):
    """The media behind a placeholder of the history; direction and time here are not to be trusted."""

    number: NumberRef
    contact: ContactIds
    message: HistoryMessage


class HistoryDeclined(Struct, frozen=True, kw_only=True, tag=True):
    """The owner did not share the history (2593109), or Meta reports another error with it."""

    number: NumberRef
    code: int | None
    title: str | None
    details: str | None


class StatusChange(Struct, frozen=True, kw_only=True, tag=True):
    """Meta tells how a message of the business fares; also of messages that are not ours."""

    number: NumberRef
    recipient: ContactIds
    wamid: str
    status: str  # sent, delivered, read, played, failed
    at: float | None
    callback_data: str | None  # our ``biz_opaque_callback_data``
    errors: list[JSON] = field(default_factory=list)
    pricing: JSON | None = None


class ContactChange(Struct, frozen=True, kw_only=True, tag=True):
    """The owner's address book changed (``smb_app_state_sync``)."""

    number: NumberRef
    contact: ContactIds
    removed: bool
    full_name: str | None
    first_name: str | None
    at: float | None


class IdentityChange(Struct, frozen=True, kw_only=True, tag=True):
    """A customer's phone number or BSUID changed (system message or ``user_id_update``)."""

    number: NumberRef
    previous: ContactIds
    current: ContactIds
    at: float | None


class AccountChange(Struct, frozen=True, kw_only=True, tag=True):
    """Something happened to the account (``account_update``)."""

    waba_ids: list[str]  # ``waba_info.waba_id`` first, then ``entry.id``
    phone_number: str | None  # digits only
    event: str  # upper case: PARTNER_REMOVED, ACCOUNT_OFFBOARDED, ...
    reason: str | None  # ``disconnection_info.reason``
    at: float | None
    raw: JSON


class AccountFault(Struct, frozen=True, kw_only=True, tag=True):
    """Meta reports an error that belongs to no message (``value.errors``)."""

    number: NumberRef
    code: int | None
    title: str | None
    raw: JSON


class Unreadable(Struct, frozen=True, kw_only=True, tag=True):
    """Something we could not make sense of; it is set aside with its reason, never dropped."""

    reason: str
    path: str  # where in the body, like "entry[0].changes[2].value.messages[1]"
    raw: Any


Event = Union[
    CustomerMessage,
    PhoneEcho,
    HistoryChunk,
    HistoryMedia,
    HistoryDeclined,
    StatusChange,
    ContactChange,
    IdentityChange,
    AccountChange,
    AccountFault,
    Unreadable,
]
