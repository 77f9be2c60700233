"""Turn the bytes of one webhook into events, in order.

    envelope.py   three forms of a body -> changes, one for each field that Meta reports
    live.py       messages, statuses, echoes      history.py   old chat
    account.py    account, address book, changed ids
    content.py    what a message says             people.py    whom it is with, which side wrote it
    scan.py       what the ledger must know before a body is read
    long_history.py   old chat by the megabyte, decoded thread by thread
    loose.py      values of JSON whose types cannot be trusted

To read another field, write a function from Change to events and add it to ``_FIELDS``; for another type of
message, add it to the table at the end of ``content.py`` and a payload to ``tests/payloads``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rasa_coexistence.errors import BadRequest
from rasa_coexistence.events import Event, Unreadable
from rasa_coexistence.from_whatsapp.account import read_account, read_address_book, read_id_updates
from rasa_coexistence.from_whatsapp.envelope import Change, changes
from rasa_coexistence.from_whatsapp.history import read_history
from rasa_coexistence.from_whatsapp.live import read_echoes, read_messages
from rasa_coexistence.from_whatsapp.long_history import decode_long
from rasa_coexistence.from_whatsapp.loose import decode
from rasa_coexistence.from_whatsapp.scan import BIG_BODY, Scan, scan

__all__ = ["BIG_BODY", "Scan", "read_webhook", "reading_webhook", "scan"]

# By field and never by the keys of the value: media of old chat come as ``messages`` under ``history``.
_FIELDS: dict[str, Callable[[Change], Iterator[Event]]] = {
    "messages": read_messages,
    "history": read_history,
    "smb_message_echoes": read_echoes,
    "smb_app_state_sync": read_address_book,
    "account_update": read_account,
    "account_offboarded": read_account,
    "account_reconnected": read_account,
    "user_id_update": read_id_updates,
}


def read_webhook(body: bytes) -> list[Event]:
    """Return every entry, change and item of a body as an event, in Meta's order.

    Nothing in the content raises: what is unknown, or lacks what is essential, becomes Unreadable.
    """
    return list(reading_webhook(body))


def reading_webhook(body: bytes) -> Iterator[Event]:
    """Yield what ``read_webhook`` returns, each event read when it is asked for: a body can be long."""
    try:
        whole = decode_long(body) if len(body) > BIG_BODY else decode(body)
    except BadRequest as error:
        yield Unreadable(reason=str(error), path="", raw=body.decode("utf-8", "replace"))
        return
    if not isinstance(whole, dict):
        yield Unreadable(reason="the body is not a JSON object", path="", raw=whole)
        return
    for change in changes(whole):
        if isinstance(change, Unreadable):
            yield change
        elif change.field in _FIELDS:
            yield from _FIELDS[change.field](change)
        else:
            reason = f"a field that is not known: {change.field[:64]}"
            yield Unreadable(reason=reason, path=change.path, raw=change.value)
