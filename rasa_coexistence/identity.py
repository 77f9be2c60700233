"""Tell which messages are the same message, which ids the same person.

Meta documents neither the inside of a wamid nor the phone variants; both are read leniently here, and
nothing raises.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache

import phonenumbers

from rasa_coexistence.events import ContactIds

_BY_BUSINESS, _BY_CUSTOMER = 0x11, 0x12
_LONGEST_INNER_ID = 64
_LONGEST_PHONE = 20  # E.164 allows 15 digits; leave room for what people type
_LONGEST_ID = 150

_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")
_PADDING = ("", "===", "==", "=")

# A wamid is a Thrift struct: the chat (a nested struct: its name, 15 and a kind, 00), whether we wrote it, 18
# and the id.
_SIDES = (_BY_BUSINESS, _BY_CUSTOMER)

_MEXICO = re.compile(r"52(?:1|01|044|045)(\d{10})")
_BRAZIL = re.compile(r"55([1-9]{2})([6-9]\d{7})")
_ARGENTINA = re.compile(r"549(\d{10})")
_ARGENTINA_15 = re.compile(r"549?0?\d{2,4}15\d{6,8}")


def inner_id(wamid: str) -> str | None:
    """Return the message's own id within a wamid; it stays when the wamid is scoped to another id."""
    parts = _anatomy(wamid)
    return parts[1] if parts else None


def wamid_from_business(wamid: str) -> bool | None:
    """Tell from a wamid whether the business wrote the message; None when it does not say."""
    parts = _anatomy(wamid)
    return parts[0] if parts else None


def make_wamid(recipient_or_sender: str, inner: str, *, from_business: bool) -> str:
    """Build a wamid as Meta would for the chat with this phone number or BSUID."""
    direction = bytes([_BY_BUSINESS if from_business else _BY_CUSTOMER])
    chat = b"\x1c\x18" + _with_length(recipient_or_sender) + b"\x15\x02\x00"
    packed = chat + direction + b"\x18" + _with_length(inner) + b"\x00"
    return f"wamid.{base64.b64encode(packed).decode()}"


def phone_digits(number: str) -> str | None:
    """Return the digits of a phone number as Meta writes them, or None when it is none."""
    if not (number.isascii() and number.isdigit()):
        if "@" in number or any(character.isalpha() for character in number):
            return None  # a BSUID, a group, a name
        number = number.replace("(0)", "")  # the trunk prefix, as people write it after a country code
        number = "".join(str(int(character)) for character in number if character.isdecimal())
    number = number.removeprefix("00")
    return number if 0 < len(number) <= _LONGEST_PHONE else None


@lru_cache(maxsize=8192)
def canonical_phone(number: str) -> str | None:
    """Return the one form of a phone number that all its spellings share, or None when it is none.

    The same mobile comes with and without Mexico's 1 after 52, Brazil's ninth digit, and Argentina's 9 after
    54 or 15 after the area code. The form is a key: reply to the number that Meta gave, not to this one.
    """
    digits = phone_digits(number)
    if digits is None:
        return None
    if match := _MEXICO.fullmatch(digits):
        return f"52{match.group(1)}"
    if match := _BRAZIL.fullmatch(digits):
        return f"55{match.group(1)}9{match.group(2)}"
    if len(digits) > 13 and _ARGENTINA_15.fullmatch(digits):
        digits = _without_argentine_15(digits)
    if match := _ARGENTINA.fullmatch(digits):
        return f"54{match.group(1)}"
    return digits


def phones_match(a: str | None, b: str | None) -> bool:
    """Tell whether two phone numbers are the same one, however each is spelt."""
    if not a or not b:
        return False
    canonical = canonical_phone(a)
    return canonical is not None and canonical == canonical_phone(b)


def aliases(contact: ContactIds) -> tuple[str, ...]:
    """Return every id that leads to a customer's conversation, the most trusted first.

    A phone, a BSUID and a parent id (the BSUID that linked portfolios share) each name one person by
    themselves. A username does not: its owner can give it up, and somebody else take it. Look it up only when
    nothing else is known, and never take it as proof that two conversations are one: see ``identifies``.
    """
    phone = canonical_phone(contact.wa_id) if contact.wa_id else None
    username = (contact.username or "").strip().removeprefix("@").casefold()
    found = (
        ("phone", phone),
        ("user", contact.user_id),
        ("parent", contact.parent_user_id),
        ("username", username),
    )
    return tuple(f"{kind}:{value}" for kind, value in found if value and len(value) <= _LONGEST_ID)


def identifies(alias: str) -> bool:
    """Tell whether an alias proves by itself who it is; usernames change hands."""
    return not alias.startswith("username:")


def _anatomy(wamid: str) -> tuple[bool, str] | None:
    """Return (written by the business, inner id) of a wamid that can be decoded."""
    encoded = wamid.removeprefix("wamid.").rstrip("=")
    if not (encoded.isascii() and encoded.isalnum()):  # nearly always they are
        encoded = encoded.replace("-", "+").replace("_", "/")
        if _NOT_BASE64.search(encoded):
            return None  # the decoder would step over it
    try:
        packed = binascii.a2b_base64(encoded + _PADDING[len(encoded) % 4])
    except binascii.Error:
        return None
    if not packed.startswith(b"\x1c\x18"):
        return None
    _, at = _counted(packed, 2)
    about, inner = packed[at : at + 5], _counted(packed, at + 5)[0]
    if len(about) < 5 or about[0] != 0x15 or about[2] or about[3] not in _SIDES or about[4] != 0x18:
        return None
    if not 0 < len(inner) <= _LONGEST_INNER_ID or not inner.isalnum():
        return None
    return about[3] == _BY_BUSINESS, inner.decode("ascii")


def _counted(packed: bytes, position: int) -> tuple[bytes, int]:
    """Return the string whose length stands at ``position``, and where it ends."""
    if position < len(packed) and packed[position] < 0x80:  # nearly always
        end = position + 1 + packed[position]
        return packed[position + 1 : end], end
    length = shift = 0
    while position < len(packed) and shift < 21:
        byte = packed[position]
        position += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return packed[position : position + length], position + length


def _with_length(text: str) -> bytes:
    encoded = text.encode()
    length, prefix = len(encoded), bytearray()
    while length > 0x7F:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(prefix) + bytes([length]) + encoded


def _without_argentine_15(digits: str) -> str:
    """Return 549... for a mobile written with 15; only the library knows how long each area code is."""
    try:
        parsed = phonenumbers.parse(f"+{digits}")
    except phonenumbers.NumberParseException:
        return digits
    return f"{parsed.country_code}{parsed.national_number}"
