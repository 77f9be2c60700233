"""Tell quickly what a webhook body is about, before it is stored."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Any, Literal, TypedDict

import msgspec
from msgspec import Struct

from rasa_coexistence.errors import BadRequest
from rasa_coexistence.events import JSON, ContactIds, Unreadable
from rasa_coexistence.from_whatsapp.envelope import Change, changes
from rasa_coexistence.from_whatsapp.loose import decode, objects
from rasa_coexistence.from_whatsapp.people import media_contact, thread_contact
from rasa_coexistence.identity import aliases

BULK_OF_ANY_SIZE = frozenset({"history"})
BULK = BULK_OF_ANY_SIZE | {"smb_app_state_sync"}  # a whole address book must not keep an echo waiting
BIG_BODY = 64 * 1024  # bytes; a larger one is looked through in a thread


class Scan(Struct, frozen=True, kw_only=True):
    """What the ledger must know of a body that nobody has read yet."""

    lane: Literal["live", "history"]
    thread_aliases: frozenset[str]  # ``identity.aliases`` of everybody whose old chat it holds
    phone_number_ids: frozenset[str]


# The parts of a body that are looked at; the decoder steps over all others without making objects of them.
class _Thread(TypedDict, total=False):
    id: Any
    context: Any


class _Chunk(TypedDict, total=False):
    threads: list[_Thread]


_Media = TypedDict(
    "_Media",
    {
        "from": Any,
        "from_user_id": Any,
        "from_parent_user_id": Any,
        "to": Any,
        "to_user_id": Any,
        "to_parent_user_id": Any,
    },
    total=False,
)


class _Value(TypedDict, total=False):
    metadata: Any
    contacts: Any
    history: list[_Chunk]
    messages: list[_Media]
    message_echoes: list[_Media]


class _Change(TypedDict, total=False):
    field: Any
    value: _Value


class _Entry(TypedDict, total=False):
    changes: list[_Change]


class _Envelope(_Value, total=False):
    object: Any
    entry: list[_Entry]


class _Body(_Envelope, total=False):
    event: Any
    data: _Envelope


_decoder = msgspec.json.Decoder(_Body)


def scan(body: bytes) -> Scan:
    """Return what a body is about; raise BadRequest when it is no JSON."""
    found = list(changes(_decode(body)))
    of_history = [change for change in found if isinstance(change, Change) and change.field == "history"]
    bulk = BULK if len(body) > BIG_BODY else BULK_OF_ANY_SIZE
    is_bulk = found and all(isinstance(change, Change) and change.field in bulk for change in found)
    numbers = {change.number.phone_number_id for change in found if isinstance(change, Change)}
    customers = [customer for change in of_history for customer in _customers(change)]
    return Scan(
        lane="history" if is_bulk else "live",
        thread_aliases=frozenset(alias for customer in customers for alias in aliases(customer)),
        phone_number_ids=frozenset(number for number in numbers if number),
    )


def _decode(body: bytes) -> JSON:
    try:
        _check_utf8(body)  # the parts that are stepped over would not be checked
    except UnicodeDecodeError as error:
        raise BadRequest("the body is not UTF-8") from error
    try:
        whole = decode(body) if rb"\u0000" in body else _decoder.decode(body)  # mended as when read
    except (msgspec.DecodeError, RecursionError):
        whole = decode(body)  # some part has another type than it should
    return dict(whole) if isinstance(whole, dict) else {}  # what is no object is kept, and set aside


def _check_utf8(body: bytes) -> None:
    """Raise UnicodeDecodeError; bit by bit, since nothing else runs meanwhile."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(body), BIG_BODY):
        decoder.decode(body[start : start + BIG_BODY])
    decoder.decode(b"", final=True)


def _customers(change: Change) -> Iterator[ContactIds]:
    """Yield everybody whose old chat, or media of it, this change holds."""
    for chunk in _dicts(change.value, "history"):
        for thread in _dicts(chunk, "threads"):
            yield thread_contact(thread)
    own, contacts = change.number.display_phone_number, change.value.get("contacts")
    for key in ("messages", "message_echoes"):
        for media in _dicts(change.value, key):
            yield media_contact(media, contacts, own, echoed=key == "message_echoes")


def _dicts(holder: JSON, key: str) -> Iterator[JSON]:
    for found in objects(holder, key, ""):
        if not isinstance(found, Unreadable):
            yield found[1]
