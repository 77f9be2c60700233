"""Take values out of JSON whose types cannot be trusted.

Numbers come as strings and strings as numbers, across Meta's fields and between partners.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from rasa_coexistence.errors import BadRequest
from rasa_coexistence.events import JSON, Unreadable

_decoder = msgspec.json.Decoder()

# An escape that no database takes: half of a surrogate pair, or NUL. Whole pairs and other escapes match
# too, so that they are stepped over.
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<bad>\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\u0000)"
    rb"|\\."
)
_NUMBERS = (str, int, float)  # JSON's, which True and False are not
_INTEGER_LIMIT = 2**31  # of the ledger's columns
_FIRST_MILLISECOND, _LAST_MILLISECOND = 1.2e12, 4.2e12  # 2008 to 2103; as seconds they are no time at all


def decode(body: bytes) -> Any:
    """Return the JSON in ``body``, or raise BadRequest when there is none."""
    try:
        return _decoder.decode(_mended(body) if rb"\u0000" in body else body)
    except UnicodeDecodeError as error:
        raise BadRequest("the body is not UTF-8") from error
    except RecursionError as error:
        raise BadRequest("the body is nested too deeply") from error
    except msgspec.DecodeError:
        return _decode_slowly(body)


def as_text(value: Any) -> str | None:
    """Return a string, or a number as one."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        value = int(value) if value.is_integer() else value
    return str(value)


def as_id(value: Any, longest: int = 150) -> str | None:
    """Return an id; what is empty or has more bytes than any real one is none: indexes take just so many."""
    if value is None:
        return None
    text = value.strip() if isinstance(value, str) else as_text(value)
    if not text or len(text) > longest:
        return None
    return text if text.isascii() or len(text.encode("utf-8", "replace")) <= longest else None


def as_number(value: Any) -> float | None:
    """Return a finite number, also from a string."""
    if type(value) not in _NUMBERS:
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def as_int(value: Any) -> int | None:
    """Return a whole number that fits into the ledger."""
    number = as_number(value)
    if number is None or not number.is_integer() or abs(number) >= _INTEGER_LIMIT:
        return None
    return int(number)


def as_time(value: Any) -> float | None:
    """Return Unix seconds, also from milliseconds; zero, negative and unreadable times are none."""
    number = as_number(value)
    if number is None or number <= 0:
        return None
    return number / 1000 if _FIRST_MILLISECOND <= number <= _LAST_MILLISECOND else number


def as_flag(value: Any) -> bool | None:
    """Return yes or no, also when written as a string or a number."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False, "1": True, "0": False}.get((as_text(value) or "").strip().lower())


def as_object(value: Any) -> JSON:
    """Return an object; anything else counts as an empty one."""
    return value if isinstance(value, dict) else {}


def place(path: str, key: str, index: int) -> str:
    """Return the path of one item of a list."""
    return f"{path}.{key}[{index}]" if path else f"{key}[{index}]"


def objects(holder: JSON, key: str, path: str) -> Iterator[tuple[str, JSON] | Unreadable]:
    """Yield the objects of a list with their paths, and what is none as Unreadable."""
    items = holder.get(key, [])
    if not isinstance(items, list):
        yield Unreadable(reason=f"{key} is not a list", path=f"{path}.{key}".lstrip("."), raw=items)
        return
    for index, item in enumerate(items):
        if isinstance(item, dict):
            yield place(path, key, index), item
        else:
            yield Unreadable(
                reason=f"an item of {key} is not an object", path=place(path, key, index), raw=item
            )


def _decode_slowly(body: bytes) -> Any:
    """Decode what JSON allows and the fast decoder does not: lone surrogates, numbers beyond a float."""
    try:
        return json.loads(_mended(body).decode(), parse_int=_parse_int, parse_constant=_refuse)
    except RecursionError as error:
        raise BadRequest("the body is nested too deeply") from error
    except ValueError as error:
        raise BadRequest("the body is not JSON") from error


def _mended(body: bytes) -> bytes:
    """Replace escapes that stand for no character by U+FFFD."""
    return _ESCAPE.sub(lambda match: rb"\ufffd" if match.group("bad") else match.group(), body)


def _parse_int(digits: str) -> int | float:
    return int(digits) if len(digits) < 400 else float(digits)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
