"""Read what happens around the messages: the account, the owner's address book, changed ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rasa_coexistence.events import (
    JSON,
    AccountChange,
    ContactChange,
    ContactIds,
    Event,
    IdentityChange,
    Unreadable,
)
from rasa_coexistence.from_whatsapp.envelope import Change
from rasa_coexistence.from_whatsapp.loose import as_id, as_object, as_text, as_time, objects
from rasa_coexistence.from_whatsapp.people import ids
from rasa_coexistence.identity import aliases, phone_digits

_NAMED_BY_FIELD = ("account_offboarded", "account_reconnected")  # some describe these events as fields


def read_account(change: Change) -> Iterator[Event]:
    """Yield what happened to the account (``account_update``)."""
    value = change.value
    event = (as_text(value.get("event")) or "").strip()
    if not event and change.field in _NAMED_BY_FIELD:
        event = change.field
    if not event:
        yield Unreadable(reason="an account update without an event", path=change.path, raw=value)
        return
    about = as_id(as_object(value.get("waba_info")).get("waba_id"), 64)
    waba_ids = [waba_id for waba_id in (about, change.number.waba_id) if waba_id]
    yield AccountChange(
        waba_ids=list(dict.fromkeys(waba_ids)),
        phone_number=phone_digits(as_id(value.get("phone_number")) or ""),
        event=event.upper(),
        reason=as_text(as_object(value.get("disconnection_info")).get("reason")),
        at=as_time(change.time) or as_time(value.get("timestamp")),
        raw=value,
    )


def read_address_book(change: Change) -> Iterator[Event]:
    """Yield changes of the owner's address book (``smb_app_state_sync``)."""
    if "state_sync" not in change.value:
        yield Unreadable(reason="contacts without state_sync", path=change.path, raw=change.value)
    for found in objects(change.value, "state_sync", change.path):
        yield found if isinstance(found, Unreadable) else _contact_change(change, *found)


def read_id_updates(change: Change) -> Iterator[Event]:
    """Yield BSUIDs that changed (``user_id_update``)."""
    if "user_id_update" not in change.value:
        yield Unreadable(reason="changed ids without user_id_update", path=change.path, raw=change.value)
    for found in objects(change.value, "user_id_update", change.path):
        yield found if isinstance(found, Unreadable) else _id_update(change, *found)


def _contact_change(change: Change, path: str, raw: JSON) -> Event:
    given = as_object(raw.get("contact"))
    action = (as_text(raw.get("action")) or "").lower()
    known = ids(given, "address")
    contact = ContactIds(
        wa_id=known.wa_id,
        user_id=known.user_id,
        parent_user_id=known.parent_user_id,
        username=as_id(given.get("username")),
    )
    reason = None
    if raw.get("type", "contact") != "contact" or action not in ("add", "remove"):
        reason = "a change of the address book that is not known"
    elif not (contact.wa_id or aliases(contact)):
        reason = "a contact without any id"
    if reason:
        return Unreadable(reason=reason, path=path, raw=raw)
    return ContactChange(
        number=change.number,
        contact=contact,
        removed=action == "remove",
        full_name=as_text(given.get("full_name")) or None,
        first_name=as_text(given.get("first_name")) or None,
        at=as_time(as_object(raw.get("metadata")).get("timestamp")),
    )


def _id_update(change: Change, path: str, raw: JSON) -> Event:
    before, after = _before_and_after(raw, "user_id")
    parent_before, parent_after = _before_and_after(raw, "parent_user_id")
    previous = ContactIds(user_id=before, parent_user_id=parent_before)
    current = ContactIds(wa_id=ids(raw, "entry").wa_id, user_id=after, parent_user_id=parent_after)
    if not previous.is_known or not current.is_known:
        return Unreadable(reason="a changed id without the old or the new one", path=path, raw=raw)
    return IdentityChange(
        number=change.number, previous=previous, current=current, at=as_time(raw.get("timestamp"))
    )


def _before_and_after(raw: JSON, key: str) -> tuple[str | None, str | None]:
    """Return the old and the new id; here Meta gives an object where an id stands elsewhere."""
    given: Any = raw.get(key)
    if isinstance(given, dict):
        return as_id(given.get("previous")), as_id(given.get("current"))
    return as_id(raw.get(f"previous_{key}")), as_id(given)
