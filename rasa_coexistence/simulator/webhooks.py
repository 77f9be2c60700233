"""Build the bodies that Meta posts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rasa_coexistence.simulator.state import JSON, Number, Person, Webhook


def encode(body: Any, *, escaped: bool = True) -> bytes:
    """Write a body as Meta does: everything outside ASCII as lower-case \\uXXXX, slashes escaped."""
    text = json.dumps(body, ensure_ascii=escaped, separators=(",", ":"))
    return text.replace("/", "\\/").encode() if escaped else text.encode()


def envelope(webhooks: Sequence[Webhook], *, entries: int = 1, at: float | None = None) -> JSON:
    """Put webhooks into one body, over this many entries, in their order."""
    share = -(-len(webhooks) // entries)
    groups = [webhooks[start : start + share] for start in range(0, len(webhooks), share)]
    return {"object": "whatsapp_business_account", "entry": [_entry(group, at) for group in groups]}


def _entry(webhooks: Sequence[Webhook], at: float | None) -> JSON:
    entry: JSON = {"id": webhooks[0].waba_id}
    if at is not None and any(webhook.phone_number_id is None for webhook in webhooks):
        entry["time"] = int(at)
    entry["changes"] = [{"field": webhook.field, "value": webhook.value} for webhook in webhooks]
    return entry


def inbound(number: Number, messages: Iterable[tuple[Person, JSON]]) -> Webhook:
    """Tell that customers wrote."""
    listed = list(messages)
    people = {person.key: person for person, _ in listed}
    return _of(
        number,
        "messages",
        contacts=[contact(person) for person in people.values()],
        messages=[{**_sender(person), **message} for person, message in listed],
    )


def message(wamid: str, at: float, kind: str, content: Any, **others: Any) -> JSON:
    """Describe one message; ``others`` are context, referral, errors, ..."""
    described: JSON = {"id": wamid, "timestamp": str(int(at)), "type": kind}
    if content is not None:
        described[kind] = content
    return described | {name: value for name, value in others.items() if value is not None}


def echo(number: Number, person: Person, described: JSON) -> Webhook:
    """Tell that somebody wrote, edited or revoked on the business's phone."""
    return _of(
        number,
        "smb_message_echoes",
        contacts=[contact(person)],
        message_echoes=[{**_receiver(number, person), **described}],
    )


def status(
    number: Number,
    person: Person,
    wamid: str,
    name: str,
    at: float,
    *,
    callback_data: str | None = None,
    error: JSON | None = None,
    by_phone: bool = True,
    pricing: JSON | None = None,
    delay_seconds: float = 0.0,
) -> Webhook:
    """Tell how a message of the business fares; ``by_phone`` if it was sent to a phone, not to a BSUID."""
    item: JSON = {"id": wamid, "status": name, "timestamp": str(int(at))}
    if person.wa_id and (by_phone or not person.hides_phone):
        item["recipient_id"] = person.wa_id
    if person.user_id and not (error and by_phone):
        item["recipient_user_id"] = person.user_id
    if callback_data is not None:
        item["biz_opaque_callback_data"] = callback_data
    if pricing is not None:
        item["pricing"] = pricing
    if error is not None:
        return _of(number, "messages", delay_seconds, statuses=[item | {"errors": [error]}])
    people = [contact(person, with_username=name != "sent")]
    return _of(number, "messages", delay_seconds, contacts=people, statuses=[item])


def history_chunk(
    number: Number, *, phase: int, chunk_order: int, progress: int, threads: list[JSON]
) -> Webhook:
    """Tell a piece of old chat."""
    metadata = {"phase": phase, "chunk_order": chunk_order, "progress": progress}
    return _of(number, "history", history=[{"metadata": metadata, "threads": threads}])


def thread(number: Number, person: Person, messages: Iterable[tuple[bool, JSON, str]]) -> JSON:
    """Describe one customer's old chat; each message is (from the business, message, status)."""
    ids = {"wa_id": person.shown_wa_id, "user_id": person.user_id, "parent_user_id": person.parent_user_id}
    described: JSON = {"id": person.shown_wa_id} if person.shown_wa_id else {}
    if person.user_id:
        described["context"] = _given(ids | {"username": person.username})
    described["messages"] = [
        {
            **(_receiver(number, person) if from_business else _sender(person)),
            **item,
            "history_context": {"status": state.upper()},
        }
        for from_business, item, state in messages
    ]
    return described


def history_media(number: Number, person: Person, described: JSON, *, from_business: bool) -> Webhook:
    """Tell what media stands behind a placeholder."""
    ids = _receiver(number, person) if from_business else _sender(person)
    key = "message_echoes" if from_business else "messages"
    parts: JSON = {"contacts": [contact(person)], key: [{**ids, **described}]}
    return _of(number, "history", **parts)


def history_declined(number: Number, error: JSON) -> Webhook:
    """Tell that the owner does not share the chats."""
    return _of(number, "history", history=[{"errors": [error]}])


def state_sync(number: Number, changes: Iterable[tuple[Person, bool, float]]) -> Webhook:
    """Tell changes of the owner's address book; each is (who, removed, when)."""
    return _of(number, "smb_app_state_sync", state_sync=[_contact_change(*change) for change in changes])


def _contact_change(person: Person, removed: bool, at: float) -> JSON:
    names: JSON = {}
    if person.name and not removed:
        names = {"full_name": person.name, "first_name": person.name.split()[0]}
    ids = {"phone_number": person.shown_wa_id, "user_id": person.user_id, "username": person.username}
    return {
        "type": "contact",
        "action": "remove" if removed else "add",
        "metadata": {"timestamp": str(int(at))},
        "contact": names | _given(ids),
    }


def account_update(number: Number, event: str, **details: Any) -> Webhook:
    """Tell that something happened to the account; ``details`` are ban_info, disconnection_info, ..."""
    return Webhook(field="account_update", value={"event": event, **details}, waba_id=number.waba_id)


def user_id_update(number: Number, before: Person, now: Person, at: float) -> Webhook:
    """Tell that a customer has another BSUID."""
    change: JSON = {
        "wa_id": now.shown_wa_id,
        "detail": "The user id was updated.",
        "user_id": {"previous": before.user_id, "current": now.user_id},
        "timestamp": str(int(at)),
    }
    return _of(number, "user_id_update", user_id_update=[_given(change)])


def number_changed(number: Number, before: Person, now: Person, wamid: str, at: float) -> Webhook:
    """Tell by a system message that a customer has another phone number."""
    system = {
        "type": "user_changed_number",
        "body": f"User {before.name or ''} changed from {before.wa_id} to {now.wa_id}",
        "wa_id": now.shown_wa_id,
        "user_id": now.user_id,
        "previous_user_id": before.user_id,
    }
    described = message(wamid, at, "system", _given(system))
    return _of(number, "messages", messages=[{**_sender(before), **described}])


def contact(person: Person, *, with_username: bool = True) -> JSON:
    """Describe a customer as ``contacts[]`` does."""
    profile = _given({"name": person.name, "username": person.username if with_username else None})
    ids = {"wa_id": person.shown_wa_id, "user_id": person.user_id, "parent_user_id": person.parent_user_id}
    return ({"profile": profile} if profile else {}) | _given(ids)


def _of(number: Number, field: str, delay_seconds: float = 0.0, **parts: Any) -> Webhook:
    metadata = {
        "display_phone_number": number.display_phone_number,
        "phone_number_id": number.phone_number_id,
    }
    return Webhook(
        field=field,
        value={"messaging_product": "whatsapp", "metadata": metadata, **parts},
        waba_id=number.waba_id,
        phone_number_id=number.phone_number_id,
        delay_seconds=delay_seconds,
    )


def _sender(person: Person) -> JSON:
    ids = {
        "from": person.shown_wa_id,
        "from_user_id": person.user_id,
        "from_parent_user_id": person.parent_user_id,
    }
    return _given(ids)


def _receiver(number: Number, person: Person) -> JSON:
    ids = {
        "from": number.display_phone_number,
        "to": person.shown_wa_id,
        "to_user_id": person.user_id,
        "to_parent_user_id": person.parent_user_id,
    }
    return _given(ids)


def _given(parts: JSON) -> JSON:
    """Leave out what is not there: Meta omits whole keys."""
    return {name: value for name, value in parts.items() if value is not None}
