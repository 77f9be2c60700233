"""Tell from a webhook's objects whom a message is with, and which side wrote it."""

from __future__ import annotations

import re
from typing import Any

from rasa_coexistence.events import JSON, ContactIds
from rasa_coexistence.from_whatsapp.loose import as_flag, as_id, as_object, as_text
from rasa_coexistence.identity import phone_digits, phones_match, wamid_from_business

_BSUID = re.compile(r"[A-Z]{2}\.(?P<parent>ENT\.)?[A-Za-z0-9]+")
_KEYS = {  # whom: phone, BSUID, parent id
    "from": ("from", "from_user_id", "from_parent_user_id"),
    "to": ("to", "to_user_id", "to_parent_user_id"),
    "recipient": ("recipient_id", "recipient_user_id", "recipient_parent_user_id"),
    "entry": ("wa_id", "user_id", "parent_user_id"),
    "address": ("phone_number", "user_id", "parent_user_id"),
}


def ids(holder: JSON, whom: str) -> ContactIds:
    """Return the ids that an object gives ``from``, ``to``, ``recipient``, ... under Meta's keys for it."""
    phone, user_id, parent = (as_id(holder.get(key)) for key in _KEYS[whom])
    digits = phone_digits(phone) if phone else None
    if phone and not digits and (bsuid := _BSUID.fullmatch(phone)):  # seen in place of hidden phones
        if bsuid["parent"]:
            parent = parent or phone
        else:
            user_id = user_id or phone
    return ContactIds(wa_id=digits, user_id=user_id, parent_user_id=parent)


def entry_ids(entry: JSON) -> ContactIds:
    """Return what an item of ``contacts[]``, or the context of a thread, tells about a customer."""
    profile = as_object(entry.get("profile"))
    given = ids(entry, "entry")
    return ContactIds(
        wa_id=given.wa_id,
        user_id=given.user_id,
        parent_user_id=given.parent_user_id,
        username=as_id(profile.get("username")) or as_id(entry.get("username")),
        name=as_text(profile.get("name")) or None,
    )


def complete(given: ContactIds, contacts: Any) -> ContactIds:
    """Add what ``contacts[]`` tells about the customer with these ids."""
    listed = contacts if isinstance(contacts, list) else []
    entries = [entry_ids(entry) for entry in listed if isinstance(entry, dict)]
    for entry in entries:
        if _agree(given, entry):
            return merge(given, entry)
    if len(entries) == 1 and not _differ(given, entries[0]):
        return merge(given, entries[0])
    return given


def merge(given: ContactIds, entry: ContactIds) -> ContactIds:
    """Return all ids of one customer; of two spellings of the phone the ``wa_id`` wins."""
    respelt = given.wa_id is None or phones_match(given.wa_id, entry.wa_id)
    return ContactIds(
        wa_id=entry.wa_id if respelt else given.wa_id,
        user_id=given.user_id or entry.user_id,
        parent_user_id=given.parent_user_id or entry.parent_user_id,
        username=given.username or entry.username,
        name=given.name or entry.name,
    )


def thread_contact(thread: JSON) -> ContactIds:
    """Return whose thread of the history this is."""
    given = ids({"from": thread.get("id")}, "from")
    return merge(given, entry_ids(as_object(thread.get("context"))))


def media_contact(message: JSON, contacts: Any, own: str | None, *, echoed: bool) -> ContactIds:
    """Return whose media this is; the list it stands in may contradict who sent it."""
    sender, recipient = ids(message, "from"), ids(message, "to")
    if phones_match(sender.wa_id, own):
        echoed = True
    elif phones_match(recipient.wa_id, own):
        echoed = False
    return complete(recipient if echoed else sender, contacts)


def from_business(message: JSON, customer: ContactIds, own: str | None) -> bool | None:
    """Tell which side wrote a message of the history; None when nothing in it says so.

    The witnesses, the best first: ``from`` beside the number's own digits, ``from_me`` (some providers send
    it), ``from`` beside the customer's phone, the wamid. That there is a ``to`` proves nothing.
    """
    given = message.get("from")
    sender = phone_digits(given) if isinstance(given, str) else ids(message, "from").wa_id
    if sender and own:
        if phones_match(sender, own):
            return True
        if phones_match(sender, customer.wa_id):
            return False
    elif not sender and ids(message, "from").is_known:
        return False  # only customers have such ids
    from_me = as_flag(as_object(message.get("history_context")).get("from_me"))
    if from_me is not None:
        return from_me
    if sender and not own and customer.wa_id:
        return not phones_match(sender, customer.wa_id)
    byte = wamid_from_business(as_id(message.get("id"), 1024) or "")
    if byte is None and sender and own:
        return False  # Meta: whoever is not the number itself is the customer
    return byte


def _agree(a: ContactIds, b: ContactIds) -> bool:
    """Tell whether an id is the same in both."""
    return phones_match(a.wa_id, b.wa_id) or any(x is not None and x == y for x, y in _pairs(a, b))


def _differ(a: ContactIds, b: ContactIds) -> bool:
    """Tell whether an id that both have is not the same."""
    if a.wa_id and b.wa_id and not phones_match(a.wa_id, b.wa_id):
        return True
    return any(x and y and x != y for x, y in _pairs(a, b))


def _pairs(a: ContactIds, b: ContactIds) -> tuple[tuple[str | None, str | None], ...]:
    return (a.user_id, b.user_id), (a.parent_user_id, b.parent_user_id)
