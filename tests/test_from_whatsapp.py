"""Every entry, change and item of a webhook becomes an event, in order, about the right person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from rasa_coexistence.events import (
    AccountChange,
    AccountFault,
    ContactChange,
    ContactIds,
    CustomerMessage,
    IdentityChange,
    NumberRef,
    PhoneEcho,
    StatusChange,
    Unreadable,
)
from rasa_coexistence.from_whatsapp import read_webhook
from rasa_coexistence.identity import make_wamid

PAYLOADS = Path(__file__).parent / "payloads"
NUMBER = NumberRef(phone_number_id="2002", waba_id="1001", display_phone_number="15550783881")
BSUID = "US.13491208655302741918"
SHEENA = ContactIds(wa_id="16505551234", user_id=BSUID, username="sheena", name="Sheena Nelson")
VALUE = "entry[0].changes[0].value"


def payload(case: str) -> bytes:
    return (PAYLOADS / f"{case}.json").read_bytes()


def value_of(case: str) -> dict[str, Any]:
    value: dict[str, Any] = msgspec.json.decode(payload(case))["entry"][0]["changes"][0]["value"]
    return value


def in_envelope(field: Any, value: Any) -> bytes:
    changes = [{"field": field, "value": value}]
    return msgspec.json.encode(
        {"object": "whatsapp_business_account", "entry": [{"id": "1001", "changes": changes}]}
    )


NO_TIMES: list[Any] = ["0", 0, -5, "-1", "", "soon", "NaN", "inf", True, None, [], {"t": 1}, "9" * 400]
SENDERS = {
    "text": SHEENA,
    "text_as_number": SHEENA,
    "sender_with_hidden_phone": ContactIds(
        user_id=BSUID, parent_user_id="US.ENT.118157992128868", username="sheena", name="Sheena Nelson"
    ),
    "sender_only_in_contacts": SHEENA,
    "sender_spelt_in_two_ways": ContactIds(wa_id="527771234567", name="Luz"),
    "sender_among_several_contacts": ContactIds(user_id="US.222", name="Bo"),
    "sender_contradicted_by_contacts": ContactIds(wa_id="16505550000"),
    "sender_by_username_alone": ContactIds(username="Sheena"),
}
NOT_FROM_A_CUSTOMER = {
    "sender_unknown": "a message whose sender cannot be told",
    "sender_is_the_business": "a message that the business number itself wrote",
    "sender_in_a_group": "a message in a group",
}


@pytest.mark.parametrize("case", SENDERS)
def test_a_sender_is_known_by_every_id_that_is_given(case: str) -> None:
    """Phone, BSUID, parent id and username stand in several places; any may be missing."""
    (event,) = read_webhook(payload(case))
    assert isinstance(event, CustomerMessage)
    assert (event.number, event.contact) == (NUMBER, SENDERS[case])
    assert event.raw == value_of(case)["messages"][0]


@pytest.mark.parametrize("case", NOT_FROM_A_CUSTOMER)
def test_a_message_of_nobody_is_set_aside(case: str) -> None:
    """Guessing would show one customer's chat to another, or let the bot talk to itself."""
    raw = value_of(case)["messages"][0]
    reason = NOT_FROM_A_CUSTOMER[case]
    assert read_webhook(payload(case)) == [Unreadable(reason=reason, path=f"{VALUE}.messages[0]", raw=raw)]


@pytest.mark.parametrize("given", ["US.13491208655302741918", "US.ENT.118157992128868"])
def test_a_bsuid_in_place_of_a_phone_is_a_bsuid(given: str) -> None:
    """Its digits must not pass for somebody's phone."""
    message = {"from": given, "id": "wamid.X", "type": "text", "text": {"body": "Hi"}}
    (event,) = read_webhook(in_envelope("messages", {"messages": [message]}))
    assert isinstance(event, CustomerMessage)
    assert event.contact.wa_id is None
    assert given in (event.contact.user_id, event.contact.parent_user_id)


def test_a_batch_is_read_to_its_end_and_in_order() -> None:
    """Several entries, changes and customers come in one POST."""
    events = read_webhook(payload("two_customers_in_two_entries"))
    said = [e.content.text if isinstance(e, CustomerMessage) else e.__class__.__name__ for e in events]
    assert said == ["one", "two", "three", "StatusChange", "four", "five"]


def test_a_bad_item_leaves_its_neighbours_alone() -> None:
    """One broken message of a batch must not cost the others."""
    events = read_webhook(payload("bad_items_between_good_ones"))
    said = [event.content.text for event in events if isinstance(event, CustomerMessage)]
    kept = [event for event in events if isinstance(event, Unreadable)]
    assert said == ["before", "after"]
    assert [event.raw for event in kept][:5] == [None, "text", [], {"type": "text"}, 7]
    assert [event.path for event in kept][4:6] == [f"{VALUE}.messages[5]", f"{VALUE}.statuses[0]"]
    assert len(events) == len(said) + len(kept) == 9


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("1749416383", 1749416383.0),
        (1749416383, 1749416383.0),
        (1749416383.5, 1749416383.5),
        ("1749416383000", 1749416383.0),
        (1749416383123, 1749416383.123),
        ("4102444800", 4102444800.0),
        ("253402300799", 253402300799.0),
        *[(junk, None) for junk in NO_TIMES],
    ],
)
def test_times_are_seconds_or_nothing(given: Any, read: float | None) -> None:
    """A live message goes on without its time; a far future is kept for others to judge."""
    message = {**value_of("text")["messages"][0], "timestamp": given}
    (event,) = read_webhook(in_envelope("messages", {"messages": [message]}))
    assert isinstance(event, CustomerMessage)
    assert event.sent_at == read


def test_statuses_carry_what_reconciles_and_explains() -> None:
    """A failed one has no contacts; only the wamid is always there."""
    (delivered,) = read_webhook(payload("status_delivered"))
    assert delivered == StatusChange(
        number=NUMBER,
        recipient=SHEENA,
        wamid=make_wamid("16505551234", "3EB00000000000000387", from_business=True),
        status="delivered",
        at=1750030073.0,
        callback_data="job-42",
        pricing={"billable": True, "pricing_model": "PMP", "type": "regular", "category": "service"},
    )
    (failed,) = read_webhook(payload("status_failed"))
    assert isinstance(failed, StatusChange)
    assert (failed.status, failed.recipient) == ("failed", ContactIds(wa_id="16505551234"))
    assert [error["code"] for error in failed.errors] == [131049]


def test_a_fault_without_messages_is_the_accounts() -> None:
    """Meta reports rate limits and the like on the field of messages."""
    (event,) = read_webhook(payload("account_fault"))
    raw = value_of("account_fault")["errors"][0]
    assert event == AccountFault(number=NUMBER, code=130429, title="Rate limit hit", raw=raw)


@pytest.mark.parametrize(
    ("case", "contact", "automatic"),
    [
        ("echo", SHEENA, False),
        ("echo_to_hidden_phone", ContactIds(user_id=BSUID, username="sheena"), False),
        ("echo_made_by_the_app", SHEENA, True),
        ("echo_of_unknown_type", SHEENA, False),
    ],
)
def test_an_echo_tells_whose_chat_and_whether_a_person_wrote(
    case: str, contact: ContactIds, automatic: bool
) -> None:
    """A greeting that the app sends by itself is no person stepping in."""
    (event,) = read_webhook(payload(case))
    assert isinstance(event, PhoneEcho)
    assert (event.number, event.contact, event.automatic) == (NUMBER, contact, automatic)
    assert (event.sent_at, event.raw) == (1739321024.0, value_of(case)["message_echoes"][0])


def test_an_echo_to_nobody_is_set_aside() -> None:
    """No conversation can be told from it."""
    (event,) = read_webhook(payload("echo_to_nobody"))
    assert isinstance(event, Unreadable)
    assert event.reason == "an echo whose customer cannot be told"


def test_echoes_under_another_key_never_become_messages() -> None:
    """The field decides: what the phone wrote must not be answered."""
    value = value_of("echo")
    value["messages"] = value.pop("message_echoes")
    (event,) = read_webhook(in_envelope("smb_message_echoes", value))
    assert isinstance(event, PhoneEcho)


def test_the_address_book_is_read_item_by_item() -> None:
    """Names are the owner's, so they stay apart from what customers call themselves."""
    events = read_webhook(payload("address_book"))
    phone = ContactIds(wa_id="16505551234")
    assert events[0] == ContactChange(
        number=NUMBER,
        contact=ContactIds(wa_id="16505551234", user_id=BSUID, username="pablo"),
        removed=False,
        full_name="Pablo Morales",
        first_name="Pablo",
        at=1738346006.0,
    )
    assert events[1] == ContactChange(
        number=NUMBER, contact=phone, removed=True, full_name=None, first_name=None, at=1738346099.0
    )
    assert isinstance(events[2], ContactChange)
    assert events[2].contact == ContactIds(user_id="US.222")
    assert [type(event) for event in events[3:]] == [Unreadable, Unreadable]


IDENTITY_CHANGES = {
    "customer_changed_number": (
        ContactIds(wa_id="16505551234", user_id=BSUID),
        ContactIds(wa_id="16505557777", user_id="US.2"),
    ),
    "customer_changed_user_id": (ContactIds(user_id=BSUID), ContactIds(user_id="US.2")),
    "user_id_update": (
        ContactIds(user_id=BSUID, parent_user_id="US.ENT.1"),
        ContactIds(wa_id="16505551234", user_id="US.2", parent_user_id="US.ENT.2"),
    ),
}


@pytest.mark.parametrize("case", IDENTITY_CHANGES)
def test_changed_ids_keep_the_customer(case: str) -> None:
    """Meta announces them in a system message, in its text alone, or in a field of its own."""
    first, *rest = read_webhook(payload(case))
    previous, current = IDENTITY_CHANGES[case]
    assert first == IdentityChange(number=NUMBER, previous=previous, current=current, at=1749416383.0)
    assert [type(event) for event in rest] == [Unreadable] * len(rest)


def test_a_name_cannot_pretend_to_be_a_changed_number() -> None:
    """The text of a system message begins with what the customer calls themselves."""
    body = "User changed from 16505550001 to changed from 16505551234 to 16505557777"
    message = {"id": "wamid.S", "type": "system", "system": {"body": body, "wa_id": "16505557777"}}
    (event,) = read_webhook(in_envelope("messages", {"messages": [message]}))
    assert isinstance(event, IdentityChange)
    assert event.previous == ContactIds(wa_id="16505551234")


ACCOUNT_CHANGES = {
    "account_removed": AccountChange(
        waba_ids=["1002", "1001"],
        phone_number="15550783881",
        event="PARTNER_REMOVED",
        reason="PRIMARY_INACTIVITY",
        at=1739212624.0,
        raw={},
    ),
    "account_offboarded": AccountChange(
        waba_ids=["1001"], phone_number=None, event="ACCOUNT_OFFBOARDED", reason=None, at=1768477204.0, raw={}
    ),
}
ACCOUNT_CHANGES["account_offboarded_as_a_field"] = ACCOUNT_CHANGES["account_offboarded"]


@pytest.mark.parametrize("case", ACCOUNT_CHANGES)
def test_account_updates_tell_which_account(case: str) -> None:
    """They have no metadata; the WABA may stand in two places, and some call the event a field."""
    (event,) = read_webhook(payload(case))
    assert event == msgspec.structs.replace(ACCOUNT_CHANGES[case], raw=value_of(case))


@pytest.mark.parametrize("case", ["account_without_event", "field_not_known"])
def test_what_we_do_not_know_is_kept_whole(case: str) -> None:
    """Meta adds fields and events; they can be replayed once they are known."""
    (event,) = read_webhook(payload(case))
    assert isinstance(event, Unreadable)
    assert (event.path, event.raw) == (VALUE, value_of(case))
