"""Read what happens now: messages of customers, copies of what the phone wrote, statuses."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rasa_coexistence.events import (
    JSON,
    AccountFault,
    ContactIds,
    CustomerMessage,
    Event,
    IdentityChange,
    PhoneEcho,
    StatusChange,
    Unreadable,
)
from rasa_coexistence.from_whatsapp.content import is_known, missing_part, read_content
from rasa_coexistence.from_whatsapp.envelope import Change
from rasa_coexistence.from_whatsapp.loose import as_id, as_int, as_object, as_text, as_time, objects
from rasa_coexistence.from_whatsapp.people import complete, ids
from rasa_coexistence.identity import aliases, phone_digits, phones_match

_STATUSES = ("sent", "delivered", "read", "played", "failed")
_AUTOMATIC = "created_by_1p_bot"

# Meta's own words stand at the end; what precedes them is the customer's name and may say anything.
_CHANGED = re.compile(r"changed from (\S+) to \S+$")


def read_messages(change: Change) -> Iterator[Event]:
    """Yield what field ``messages`` tells: messages, then statuses, then faults of the account."""
    if not any(key in change.value for key in ("messages", "statuses", "errors")):
        reason = "neither messages nor statuses nor errors"
        yield Unreadable(reason=reason, path=change.path, raw=change.value)
    for found in objects(change.value, "messages", change.path):
        yield found if isinstance(found, Unreadable) else _message(change, *found)
    for found in objects(change.value, "statuses", change.path):
        yield found if isinstance(found, Unreadable) else _status(change, *found)
    for found in objects(change.value, "errors", change.path):
        yield found if isinstance(found, Unreadable) else _fault(change, *found)


def read_echoes(change: Change) -> Iterator[Event]:
    """Yield what was written on the phone (``smb_message_echoes``)."""
    keys = [key for key in ("message_echoes", "messages") if key in change.value]
    if not keys:
        yield Unreadable(reason="echoes without message_echoes", path=change.path, raw=change.value)
    for key in keys:
        for found in objects(change.value, key, change.path):
            yield found if isinstance(found, Unreadable) else _echo(change, *found)


def _message(change: Change, path: str, raw: JSON) -> Event:
    wamid = as_id(raw.get("id"), 1024)
    content = read_content(raw)
    if content.type == "system":
        moved = _identity_change(change, raw)
        if moved is not None:
            return moved
    sender = ids(raw, "from")
    contact = complete(sender, change.value.get("contacts"))
    reason = _obstacle(change, raw, sender, contact) or missing_part(content)
    if wamid is None:
        reason = "a message without an id"
    elif not is_known(content):
        reason = reason or f"a message type that is not known: {content.type}"
    if wamid is None or reason is not None:
        return Unreadable(reason=reason or "", path=path, raw=raw)
    return CustomerMessage(
        number=change.number,
        contact=contact,
        wamid=wamid,
        sent_at=as_time(raw.get("timestamp")),
        content=content,
        raw=raw,
    )


def _obstacle(change: Change, raw: JSON, sender: ContactIds, contact: ContactIds) -> str | None:
    """Say why this is no message that a customer sent to the business alone, or return None."""
    if not aliases(contact):
        return "a message whose sender cannot be told"
    if phones_match(sender.wa_id, change.number.display_phone_number):
        return "a message that the business number itself wrote"
    if raw.get("group_id"):
        return "a message in a group"  # an answer to one member would be out of place
    return None


def _identity_change(change: Change, raw: JSON) -> IdentityChange | None:
    """Return the new ids that a system message announces, or None when it announces something else."""
    system = as_object(raw.get("system"))
    told = ids(system, "entry")
    phone = told.wa_id or phone_digits(as_id(system.get("new_wa_id")) or "")
    current = ContactIds(wa_id=phone, user_id=told.user_id, parent_user_id=told.parent_user_id)
    sender = ids(raw, "from")
    previous = ContactIds(
        wa_id=sender.wa_id,
        user_id=as_id(system.get("previous_user_id")) or sender.user_id,
        parent_user_id=as_id(system.get("previous_parent_user_id")) or sender.parent_user_id,
    )
    if not previous.is_known:
        match = _CHANGED.search(as_text(system.get("body")) or "")
        previous = ids({"from": match.group(1)}, "from") if match else previous
    if not previous.is_known or not set(aliases(current)) - set(aliases(previous)):
        return None
    return IdentityChange(
        number=change.number, previous=previous, current=current, at=as_time(raw.get("timestamp"))
    )


def _echo(change: Change, path: str, raw: JSON) -> Event:
    wamid = as_id(raw.get("id"), 1024)
    contact = complete(ids(raw, "to"), change.value.get("contacts"))
    if wamid is None:
        return Unreadable(reason="an echo without an id", path=path, raw=raw)
    if not aliases(contact):
        return Unreadable(reason="an echo whose customer cannot be told", path=path, raw=raw)
    return PhoneEcho(
        number=change.number,
        contact=contact,
        wamid=wamid,
        sent_at=as_time(raw.get("timestamp")),
        content=read_content(raw),
        automatic=_is_automatic(raw) or _is_automatic(change.value),
        raw=raw,
    )


def _is_automatic(holder: JSON) -> bool:
    """Tell whether the app made a message by itself; where Meta says so is not documented."""
    inside = [value for value in holder.values() if isinstance(value, dict)]
    return any(place.get("message_creation_type") == _AUTOMATIC for place in [holder, *inside])


def _status(change: Change, path: str, raw: JSON) -> Event:
    wamid = as_id(raw.get("id"), 1024)
    status = (as_text(raw.get("status")) or "").strip().lower()
    if wamid is None:
        return Unreadable(reason="a status without the id of its message", path=path, raw=raw)
    if status not in _STATUSES:
        return Unreadable(reason="a status that is not known", path=path, raw=raw)
    errors = raw.get("errors")
    return StatusChange(
        number=change.number,
        recipient=complete(ids(raw, "recipient"), change.value.get("contacts")),
        wamid=wamid,
        status=status,
        at=as_time(raw.get("timestamp")),
        callback_data=as_text(raw.get("biz_opaque_callback_data")),
        errors=[error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else [],
        pricing=raw["pricing"] if isinstance(raw.get("pricing"), dict) else None,
    )


def _fault(change: Change, path: str, raw: JSON) -> Event:
    return AccountFault(
        number=change.number, code=as_int(raw.get("code")), title=as_text(raw.get("title")), raw=raw
    )
