"""Find the changes in a webhook body, whichever of its three forms it has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from rasa_coexistence.events import JSON, NumberRef, Unreadable
from rasa_coexistence.from_whatsapp.loose import as_id, as_object, objects
from rasa_coexistence.identity import phone_digits


class Change(Struct, frozen=True, kw_only=True):
    """One change: what Meta says about one field."""

    path: str  # of ``value`` in the body; empty when the body is the value
    field: str
    value: JSON
    number: NumberRef
    time: Any = None  # ``entry.time``, of account fields


def changes(body: JSON) -> Iterator[Change | Unreadable]:
    """Yield the changes of an envelope, of a bare history value, or of either in ``{"event", "data"}``."""
    if "entry" in body:
        yield from _in_entries(body, "")
    elif body.get("event") == "history" and isinstance(body.get("data"), dict):
        if "entry" in body["data"]:
            yield from _in_entries(body["data"], "data")
        else:
            yield _change("data", "history", body["data"])
    elif "history" in body:
        yield _change("", "history", body)
    else:
        yield Unreadable(reason="neither an envelope nor a history object", path="", raw=body)


def _in_entries(envelope: JSON, path: str) -> Iterator[Change | Unreadable]:
    about = envelope.get("object")
    if isinstance(about, str) and about != "whatsapp_business_account":
        yield Unreadable(reason="a webhook of another product", path=path, raw=envelope)
        return
    for found in objects(envelope, "entry", path):
        if isinstance(found, Unreadable):
            yield found
        elif "changes" not in found[1]:
            yield Unreadable(reason="an entry without changes", path=found[0], raw=found[1])
        else:
            yield from _in_changes(*found)


def _in_changes(path: str, entry: JSON) -> Iterator[Change | Unreadable]:
    for found in objects(entry, "changes", path):
        if isinstance(found, Unreadable):
            yield found
            continue
        where, change = found
        field, value = change.get("field"), change.get("value")
        if not isinstance(field, str):
            yield Unreadable(reason="a change without a field", path=where, raw=change)
        elif not isinstance(value, dict):
            yield Unreadable(reason="a change whose value is not an object", path=where, raw=change)
        else:
            yield _change(f"{where}.value", field, value, entry)


def _change(path: str, field: str, value: JSON, entry: JSON | None = None) -> Change:
    entry = entry or {}
    about = as_object(value.get("metadata"))
    number = NumberRef(
        phone_number_id=as_id(about.get("phone_number_id"), 64),
        waba_id=as_id(entry.get("id"), 64),
        display_phone_number=phone_digits(as_id(about.get("display_phone_number")) or ""),
    )
    return Change(path=path, field=field, value=value, number=number, time=entry.get("time"))
