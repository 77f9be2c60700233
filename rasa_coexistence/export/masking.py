"""Put placeholders in the place of phone numbers, e-mail addresses and ids, the same for the same.

A placeholder is made with a secret and stands in no list: nothing grows with what is masked, and nobody
without the secret can try all numbers to find out whose it is. It too often masks rather than too rarely:
any seven digits in a row, however they are grouped, are a phone number, unless they are a date.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from functools import lru_cache

import phonenumbers

from rasa_coexistence import identity
from rasa_coexistence.ledger.message_rows import key as key_of_message

_DOMAIN = b"rasa_coexistence export"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"  # no digits: a placeholder must not look like a number
_TOKEN_LETTERS = 10
_MOST_DIGITS = 15  # of one phone number: E.164

# What people, and keyboards, put between the digits of a number; a plus begins another one.
_BETWEEN = (
    r"[ \t\u00a0\u2000-\u200f\u202a-\u202f\u2060-\u2069\u00ad\ufe0f\u20e3\ufeff"
    r"().\[\]/_*~\-\u2010-\u2015\u2212\u00b7\u2022]"
)
_NUMBER = re.compile(rf"\+?\(?\+?\d(?:{_BETWEEN}{{0,6}}\d){{6,}}[\ufe0f\u20e3]*")
_DATE = re.compile(
    r"((?:19|20)\d\d([-/.])(?:0?[1-9]|1[0-2])\2(?:0?[1-9]|[12]\d|3[01])"
    r"|(?:0?[1-9]|[12]\d|3[01])([-/.])(?:0?[1-9]|1[0-2])\3(?:19|20)\d\d)( \d{1,2})?",
    re.ASCII,
)
_WORD = re.compile(r"\S+")
_EMAIL = re.compile(r"[\w.+%'&=!#$*/?^`{|}~-]+@[\w-]+(?:\.[\w-]+)+")
_NAME = re.compile(r"\w")
_DOMAIN_NAME = re.compile(r"\w\.\w")
_EDGES = "<>()[]{},;:!?\"'.*_~`|\u00ab\u00bb\u201c\u201d\u2018\u2019\u00bf\u00a1\u2026"


class Mask:
    """Masks what belongs to persons; without a key it leaves everything as it is.

    ``together`` gives all numbers one placeholder, for texts that are to be counted.
    """

    def __init__(self, key: bytes | None, *, together: bool = False) -> None:
        self._key = key
        self._together = together

    @property
    def is_on(self) -> bool:
        """Whether anything is masked."""
        return self._key is not None

    def text(self, text: str, *, region: str | None = None) -> str:
        """Return a text without numbers and addresses; ``region`` is where numbers without + are at home."""
        if self._key is None:
            return text
        if "@" in text:
            text = _WORD.sub(self._word, text)
        return _NUMBER.sub(lambda match: self._number(match.group(), region), text)

    def conversation(self, sender_id: str) -> str:
        """Return what a conversation is called."""
        return sender_id if self._key is None else f"customer-{self._token('conversation', sender_id)}"

    def wamid(self, wamid: str) -> str:
        """Return what a message is called; a wamid has the customer's number in it."""
        return wamid if self._key is None else f"message-{self._token('message', key_of_message(wamid))}"

    def _word(self, match: re.Match[str]) -> str:
        """Mask an address within a word; a word in which one may hide is masked whole."""
        word = match.group()
        before, _, after = word.partition("@")
        if not (_NAME.search(before) and _DOMAIN_NAME.search(after)):
            return word
        inner = word.strip(_EDGES)
        start = word.find(inner)
        masked = _EMAIL.sub(lambda found: self._placeholder("email", found.group().casefold()), inner)
        if "@" in masked:
            masked = self._placeholder("email", inner.casefold())
        return word[:start] + masked + word[start + len(inner) :]

    def _number(self, found: str, region: str | None) -> str:
        parts = found.split()
        digits = [_digits(part) for part in parts]
        if sum(map(len, digits)) > _MOST_DIGITS and all(len(each) >= 7 for each in digits):
            return " ".join(self._placeholder("phone", _person(part, region)) for part in parts)
        if _DATE.fullmatch(found):
            return found
        return self._placeholder("phone", _person(found, region))

    def _placeholder(self, kind: str, value: str) -> str:
        return f"<{kind}>" if self._together else f"<{kind}-{self._token(kind, value)}>"

    def _token(self, kind: str, value: str) -> str:
        said = f"{kind}\n{value}".encode("utf-8", "replace")
        number = int.from_bytes(hmac.new(self._key or b"", said, hashlib.sha256).digest()[:8], "big")
        letters = ""
        for _ in range(_TOKEN_LETTERS):
            number, place = divmod(number, len(_LETTERS))
            letters += _LETTERS[place]
        return letters


def mask_key(app_secrets: Sequence[str]) -> bytes:
    """Return the key of this installation: the same customer has the same placeholder in every export."""
    return hmac.new(app_secrets[0].encode(), _DOMAIN, hashlib.sha256).digest()


@lru_cache
def region_of(display_phone_number: str | None) -> str | None:
    """Return the country of a business number, where numbers without a country code are at home."""
    try:
        return phonenumbers.region_code_for_number(phonenumbers.parse(f"+{display_phone_number}"))
    except phonenumbers.NumberParseException:
        return None


@lru_cache(maxsize=4096)
def _person(found: str, region: str | None) -> str:
    """Return the one form of a number, however it is written."""
    digits = _digits(found)
    if region is not None and "+" not in found and not digits.startswith("00"):
        try:
            at_home = phonenumbers.parse(digits, region)
        except phonenumbers.NumberParseException:
            at_home = None
        if at_home is not None and phonenumbers.is_valid_number(at_home):
            digits = f"{at_home.country_code}{at_home.national_number}"
    return identity.canonical_phone(digits) or digits


def _digits(found: str) -> str:
    return "".join(str(int(character)) for character in found if character.isdecimal())
