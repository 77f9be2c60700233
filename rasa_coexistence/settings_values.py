"""Read one value of ``credentials.yml`` into the form the settings keep, or say what to write instead.

A reader takes what YAML gave, which is always text where Rasa filled in a ``${VARIABLE}``, and raises
``Unusable`` with the remedy. No reader repeats the value: it may be a secret in the wrong place.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

MAKE_A_KEY = (
    "make one with: python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
)
_PLACEHOLDER = re.compile(r"\.{2,}|…|<.*>|your[-_ ].*|change[-_ ]?me", re.IGNORECASE | re.DOTALL)


class Unusable(Exception):
    """A value cannot be used; ``problems`` pairs a place in it, like ``[2]`` or nothing, with its remedy."""

    def __init__(self, *remedies: str | tuple[str, str]) -> None:
        self.problems = [("", remedy) if isinstance(remedy, str) else remedy for remedy in remedies]
        super().__init__(*remedies)


class Secret(str):
    """A text that is not shown where values are printed for debugging."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def is_blank(value: Any) -> bool:
    """Tell whether nothing was given; an empty environment variable counts as nothing."""
    return value is None or (isinstance(value, str) and not value.strip())


def is_placeholder(value: Any) -> bool:
    """Tell whether this is what the example file holds in place of a value."""
    if isinstance(value, list | tuple):
        return any(is_placeholder(item) for item in value)
    return isinstance(value, str) and _PLACEHOLDER.fullmatch(value.strip()) is not None


def text(value: Any) -> str:
    """Read a text; YAML makes a number of an id without quotes."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Unusable(f"it must be text, not {_kind(value)}; put it in quotes")
    read = str(value).strip()
    if not read:
        raise Unusable("it is empty; leave the line out or give a text")
    if variable := re.search(r"\$\{(.*?)\}", read):
        raise Unusable(f"${{{variable[1]}}} was not filled in; set the variable and write it without quotes")
    return read


def secret(value: Any) -> Secret:
    """Read a text that is never shown."""
    return Secret(text(value))


def secrets(value: Any) -> tuple[Secret, ...]:
    """Read one secret or, while rotating, several."""
    return _at_least_one(_each(secret, value))


def admin_token(value: Any) -> Secret:
    """Read a token that an HTTP header can carry."""
    token = secret(value)
    if not token.isascii() or any(character.isspace() for character in token):
        raise Unusable("it travels in an HTTP header; use letters, digits and signs of ASCII, no spaces")
    return token


def fernet_keys(value: Any) -> tuple[Secret, ...]:
    """Read one Fernet key or, while rotating, several, newest first."""
    return _at_least_one(_each(_fernet_key, value))


def meta_id(value: Any) -> str:
    """Read an id of Meta's."""
    read = text(value)
    if not re.fullmatch(r"[\w-]+", read, re.ASCII):
        raise Unusable("it must be Meta's id (digits, not a phone number with spaces or +)")
    return read


def keyword(value: Any) -> str:
    """Read a word that owners type on the phone."""
    return text(value)


def switch(value: Any) -> bool:
    """Read true or false."""
    words = {
        "true": True,
        "yes": True,
        "on": True,
        "1": True,
        "false": False,
        "no": False,
        "off": False,
        "0": False,
    }
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    raise Unusable("it must be true or false")


def more_than_zero(value: Any) -> float:
    """Read a number above 0; fractions are fine."""
    return _number(value, lambda number: number > 0, "it must be a number above 0")


def zero_or_more(value: Any) -> float:
    """Read a number of 0 or more; fractions are fine."""
    return _number(value, lambda number: number >= 0, "it must be a number, 0 or more")


def count(value: Any) -> int:
    """Read a whole number of 0 or more."""
    return int(_number(value, lambda n: n >= 0 and n == int(n), "it must be a whole number, 0 or more"))


def count_from_one(value: Any) -> int:
    """Read a whole number of 1 or more."""
    return int(
        _number(value, lambda n: n >= 1 and n == int(n), "it must be a whole number, 1 or more, or null")
    )


def url(value: Any) -> str:
    """Read a web address without its last slash."""
    read = text(value)
    try:
        parts = urlsplit(read)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or any(character.isspace() for character in read):
        raise Unusable("it must be a web address that begins with https:// (or http://), without ? or #")
    return read.rstrip("/")


def secret_url(value: Any) -> Secret:
    """Read a web address that may carry a token, also in its query."""
    read = text(value)
    url(re.split(r"[?#]", read)[0])
    return Secret(read)


def graph_version(value: Any) -> str:
    """Read a version of the Graph API."""
    read = text(value)
    if not re.fullmatch(r"v\d{1,3}\.\d", read, re.ASCII):
        raise Unusable("it must look like v26.0")
    return read


def database_url(value: Any) -> Secret:
    """Read where the ledger lives: a SQLite file or PostgreSQL."""
    read = secret(value)
    if read.startswith("postgres://"):
        raise Unusable("write postgresql:// instead of postgres://")
    try:
        parsed = make_url(read)
    except (ArgumentError, ValueError):
        raise Unusable(
            "it must look like sqlite:///coexistence.db or postgresql://user:password@host/name"
        ) from None
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg2"):
        raise Unusable("only sqlite:/// and postgresql:// (by psycopg2) are supported; choose one of them")
    if not parsed.database or parsed.database == ":memory:":
        raise Unusable(
            "messages must outlive a restart; name a file, like sqlite:///coexistence.db, or a database, "
            "like postgresql://user:password@host/name"
        )
    return read


def sender_id(value: Any) -> str:
    """Read the pattern of Rasa's conversation ids."""
    read = text(value)
    try:
        parts = list(string.Formatter().parse(read))
    except ValueError:
        parts = [("", "", "", None)]
    names = [name for _, name, _, _ in parts if name is not None]
    plain = all(not conversion and not spec for _, _, spec, conversion in parts)
    escaped = "{{" in read or "}}" in read
    if not plain or escaped or not set(names) <= {"contact", "phone_number_id"}:
        raise Unusable("between braces only {contact} and {phone_number_id} may stand")
    if "contact" not in names:
        raise Unusable('it must contain {contact}; for several numbers use "{phone_number_id}:{contact}"')
    return read


def phone_numbers(value: Any) -> tuple[str, ...]:
    """Read phone numbers into their digits, country code first."""
    return _each(_phone_number, value)


def _phone_number(value: Any) -> str:
    digits = re.sub(r"[\s().+-]", "", text(value))
    if not re.fullmatch(r"[1-9]\d{6,14}", digits, re.ASCII):
        raise Unusable("it must be a phone number with its country code, like +52 1 55 1234 5678")
    return digits


def _fernet_key(value: Any) -> Secret:
    key = secret(value)
    try:
        Fernet(key)
    except ValueError:
        raise Unusable(f"it is no Fernet key; {MAKE_A_KEY}") from None
    return key


def _at_least_one(items: tuple[Any, ...]) -> tuple[Any, ...]:
    if not items:
        raise Unusable("the list is empty; give at least one")
    return items


def _each(reader: Callable[[Any], Any], value: Any) -> tuple[Any, ...]:
    """Read every item of a list; one alone is a list of one, and a variable may hold several with commas."""
    if not isinstance(value, list | tuple):
        value = value.split(",") if isinstance(value, str) else [value]
        value = [item for item in value if not is_blank(item)]
    outcomes = [_try(reader, item) for item in value]
    problems = [
        (f"[{index}]" if len(value) > 1 else "", outcome.problems[0][1])
        for index, outcome in enumerate(outcomes)
        if isinstance(outcome, Unusable)
    ]
    if problems:
        raise Unusable(*problems)
    return tuple(outcomes)


def _try(reader: Callable[[Any], Any], item: Any) -> Any:
    try:
        return reader(item)
    except Unusable as unusable:
        return unusable


def _number(value: Any, is_fine: Callable[[float], bool], remedy: str) -> float:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number) and is_fine(number):
            return number
    raise Unusable(remedy)


def _kind(value: Any) -> str:
    names = {
        bool: "true or false",
        float: "a number with a fraction",
        list: "a list",
        dict: "a group of settings",
    }
    return names.get(type(value), "this")
