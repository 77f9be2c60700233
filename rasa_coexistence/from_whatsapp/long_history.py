"""Decode a long body of old chat thread by thread: three megabytes in one go would stop everybody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct

from rasa_coexistence.errors import BadRequest
from rasa_coexistence.from_whatsapp.loose import decode


# The envelope as Meta documents it, with any content but for the threads; any other goes the usual way.
class _Chunk(Struct, forbid_unknown_fields=True):
    threads: list[Raw]
    metadata: Any = UNSET
    errors: Any = UNSET


class _Value(Struct, forbid_unknown_fields=True):
    history: list[_Chunk]
    messaging_product: Any = UNSET
    metadata: Any = UNSET
    contacts: Any = UNSET
    errors: Any = UNSET


class _Change(Struct, forbid_unknown_fields=True):
    field: Any
    value: _Value


class _Entry(Struct, forbid_unknown_fields=True):
    changes: list[_Change]
    id: Any = UNSET
    time: Any = UNSET


class _Envelope(Struct, forbid_unknown_fields=True):
    entry: list[_Entry]
    object: Any = UNSET


_decoder = msgspec.json.Decoder(_Envelope)


class Threads(list[Any]):
    """The threads of a chunk as JSON; who goes through them gets each as an object."""

    def __iter__(self) -> Iterator[Any]:
        """Decode one after the other."""
        return map(_decoded, super().__iter__())


def decode_long(body: bytes) -> Any:
    """Return the JSON in ``body`` as ``decode`` does, with ``Threads`` where it is long old chat."""
    if rb"\u0000" in body:  # to be mended
        return decode(body)
    try:
        return _as_dicts(_decoder.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return decode(body)


def _decoded(thread: Raw) -> Any:
    """Return a thread; its text if it is no JSON after all, which is set aside like any that is no object."""
    encoded = bytes(thread)
    try:
        return decode(encoded)
    except BadRequest:
        return encoded.decode("utf-8", "replace")


def _as_dicts(value: Any) -> Any:
    """Return what ``decode`` would, all but the threads."""
    if isinstance(value, Struct):
        given = {name: getattr(value, name) for name in value.__struct_fields__}
        return {name: _as_dicts(part) for name, part in given.items() if part is not UNSET}
    if isinstance(value, list):
        is_threads = bool(value) and isinstance(value[0], Raw)
        return Threads(value) if is_threads else [_as_dicts(item) for item in value]
    return value
