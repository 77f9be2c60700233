"""Make a webhook of one thing that Meta told, so that it can be read again by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from rasa_coexistence import events
from rasa_coexistence.events import JSON, ContactIds, NumberRef

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_STAYS = "contacts"  # the list beside the messages that tells whom they are with


def excerpt(whole: Any, path: str) -> Any:
    """Return a body with nothing in it but what stands at a path, and what it takes to understand that.

    ``path`` is like ``entry[0].changes[2].value.messages[1]``. Of the lists on the way only the item on the
    way stays, and lists beside the way do not.
    """
    steps = [int(index) if index else key for key, index in _STEP.findall(path)]
    return _only(whole, steps)


def _only(value: Any, steps: Sequence[str | int]) -> Any:
    if not steps:
        return value
    step, *rest = steps
    if isinstance(value, list) and isinstance(step, int):
        return [_only(value[step], rest)]
    kept = {key: other for key, other in value.items() if not isinstance(other, list) or key == _STAYS}
    return kept | {str(step): _only(value[step], rest)}


def webhook_of(event: Any) -> JSON | None:
    """Return a body that is read as this very event, or None for one that would only be set aside again."""
    make = _MAKERS.get(type(event))
    return None if make is None else make(event)


def webhook_of_contacts(changes: Sequence[events.ContactChange]) -> JSON:
    """Return a body that is read as these changes of one number's address book."""
    return _envelope(
        changes[0].number, "smb_app_state_sync", state_sync=[_contact_item(each) for each in changes]
    )


def webhook_of_chunk(
    chunk: events.HistoryChunk, contact: ContactIds | None = None, messages: Any = ()
) -> JSON:
    """Return the bare form of a body with a part of one thread, or with none."""
    place = {"phase": chunk.phase, "chunk_order": chunk.chunk_order, "progress": chunk.progress}
    threads = []
    if contact is not None:
        who = {"wa_id": contact.wa_id, "user_id": contact.user_id, "username": contact.username}
        told = [message.raw for message in messages]
        threads = [{"id": contact.wa_id, "context": _known(who), "messages": told}]
    return _value(chunk.number, history=[{"metadata": place, "threads": threads}])


def _message(event: events.CustomerMessage) -> JSON:
    return _envelope(event.number, "messages", contacts=[_listed(event.contact)], messages=[event.raw])


def _echo(event: events.PhoneEcho) -> JSON:
    by_itself = {"message_creation_type": "created_by_1p_bot"} if event.automatic else {}
    return _envelope(
        event.number,
        "smb_message_echoes",
        contacts=[_listed(event.contact)],
        message_echoes=[event.raw],
        **by_itself,
    )


def _media(event: events.HistoryMedia) -> JSON:
    key = "message_echoes" if event.message.from_business else "messages"
    return _envelope(event.number, "history", contacts=[_listed(event.contact)], **{key: [event.message.raw]})


def _declined(event: events.HistoryDeclined) -> JSON:
    error = {"code": event.code, "title": event.title, "error_data": _known({"details": event.details})}
    return _envelope(event.number, "history", errors=[_known(error)])


def _status(event: events.StatusChange) -> JSON:
    told = {
        "id": event.wamid,
        "status": event.status,
        "timestamp": event.at,
        "biz_opaque_callback_data": event.callback_data,
        "errors": event.errors or None,
        "pricing": event.pricing,
    }
    about = _ids(event.recipient, "recipient_id", "recipient_user_id", "recipient_parent_user_id")
    return _envelope(
        event.number, "messages", contacts=[_listed(event.recipient)], statuses=[_known(told) | about]
    )


def _changed_ids(event: events.IdentityChange) -> JSON:
    before = _ids(event.previous, "from", "from_user_id", "from_parent_user_id")
    system = _ids(event.current, "wa_id", "user_id", "parent_user_id") | {"type": "user_changed_number"}
    told = {"type": "system", "timestamp": event.at, "system": system}
    return _envelope(event.number, "messages", messages=[_known(told) | before])


def _account(event: events.AccountChange) -> JSON:
    number = NumberRef(waba_id=event.waba_ids[-1] if event.waba_ids else None)
    body = _envelope(number, "account_update", **(event.raw | {"event": event.event}))
    body["entry"][0]["time"] = event.at
    return body


def _contact_item(event: events.ContactChange) -> JSON:
    who = _ids(event.contact, "phone_number", "user_id", "parent_user_id")
    names = {
        "full_name": event.full_name,
        "first_name": event.first_name,
        "username": event.contact.username,
    }
    return {
        "type": "contact",
        "action": "remove" if event.removed else "add",
        "contact": who | _known(names),
        "metadata": {"timestamp": event.at},
    }


_MAKERS: dict[type, Callable[[Any], JSON]] = {
    events.CustomerMessage: _message,
    events.PhoneEcho: _echo,
    events.HistoryMedia: _media,
    events.HistoryDeclined: _declined,
    events.StatusChange: _status,
    events.IdentityChange: _changed_ids,
    events.AccountChange: _account,
}


def _envelope(number: NumberRef, field: str, **value: Any) -> JSON:
    change = {"field": field, "value": _value(number, **value)}
    entry = _known({"id": number.waba_id}) | {"changes": [change]}
    return {"object": "whatsapp_business_account", "entry": [entry]}


def _value(number: NumberRef, **value: Any) -> JSON:
    about = {
        "phone_number_id": number.phone_number_id,
        "display_phone_number": number.display_phone_number,
    }
    return {"messaging_product": "whatsapp", "metadata": _known(about)} | value


def _listed(contact: ContactIds) -> JSON:
    profile = _known({"name": contact.name, "username": contact.username})
    return _ids(contact, "wa_id", "user_id", "parent_user_id") | ({"profile": profile} if profile else {})


def _ids(contact: ContactIds, phone: str, user_id: str, parent_user_id: str) -> JSON:
    return _known({phone: contact.wa_id, user_id: contact.user_id, parent_user_id: contact.parent_user_id})


def _known(values: JSON) -> JSON:
    return {key: value for key, value in values.items() if value is not None}
