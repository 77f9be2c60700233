"""Old chat: threads, directions, media, refusals; a bad message never disturbs its neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from rasa_coexistence.events import (
    ContactIds,
    Content,
    HistoryChunk,
    HistoryDeclined,
    HistoryMedia,
    HistoryMessage,
    HistoryThread,
    NumberRef,
    Unreadable,
)
from rasa_coexistence.from_whatsapp import read_webhook
from rasa_coexistence.identity import make_wamid

PAYLOADS = Path(__file__).parent / "payloads"
NUMBER = NumberRef(phone_number_id="2002", waba_id="1001", display_phone_number="15550783881")
CUSTOMER, BUSINESS, STRANGER = "16505551234", "15550783881", "16505559999"
BY_BUSINESS = make_wamid(CUSTOMER, "A" * 20, from_business=True)
BY_CUSTOMER = make_wamid(CUSTOMER, "A" * 20, from_business=False)
CHUNK = "entry[0].changes[0].value.history[1]"


def read(case: str) -> list[Any]:
    return list(read_webhook((PAYLOADS / f"{case}.json").read_bytes()))


def read_one(message: dict[str, Any], *, own: str | None, thread: dict[str, Any]) -> Any:
    """Return what becomes of one message of a thread."""
    value = {
        "metadata": {"display_phone_number": own} if own else {},
        "history": [{"metadata": {"phase": 0}, "threads": [{**thread, "messages": [message]}]}],
    }
    (chunk,) = read_webhook(msgspec.json.encode(value))
    assert isinstance(chunk, HistoryChunk)
    (read_thread,) = chunk.threads
    assert len(read_thread.messages) + len(read_thread.unreadable) == 1
    return read_thread.messages[0] if read_thread.messages else read_thread.unreadable[0]


@pytest.mark.parametrize(
    "case",
    [
        "history_seen_in_the_field",
        "history_as_documented",
        "history_wrapped_by_a_provider",
        "history_envelope_wrapped_by_a_provider",
    ],
)
def test_the_same_chat_is_the_same_in_every_form(case: str) -> None:
    """Bare or wrapped, with ``from_me`` or the number's own digits, in upper case or lower."""
    (chunk,) = read(case)
    assert isinstance(chunk, HistoryChunk)
    assert (chunk.phase, chunk.chunk_order, chunk.progress) == (1, 5, 100)
    assert chunk.number.phone_number_id == "845237608662425"
    (thread,) = chunk.threads
    (message,) = thread.messages
    assert thread.contact == ContactIds(wa_id="5217715268513")
    assert msgspec.structs.replace(message, raw={}) == HistoryMessage(
        wamid="wamid.HBg...",
        sent_at=1760104640.0,
        from_business=True,
        status="read",
        content=Content(type="text", text="Hola"),
        raw={},
    )


def test_a_thread_keeps_both_sides_and_every_type() -> None:
    """Texts, placeholders, reactions, and types that nobody documented."""
    chunk, later = read("history_mixed")
    first, hidden = chunk.threads
    assert first.contact == ContactIds(
        wa_id=CUSTOMER,
        user_id="US.13491208655302741918",
        parent_user_id="US.ENT.118157992128868",
        username="sheena",
    )
    assert [(m.from_business, m.status, m.content.text) for m in first.messages] == [
        (True, "read", "Here it is"),
        (True, "played", "[media_placeholder]"),
        (False, "read", "Thanks!"),
        (False, "read", "[reaction]"),
        (True, "sent", "[poll]"),
    ]
    assert hidden.contact == ContactIds(user_id="US.222", username="bo")
    assert [(m.from_business, m.status) for m in hidden.messages] == [(False, "delivered"), (True, "error")]
    assert (later.phase, later.chunk_order, later.progress, later.threads) == (2, 7, 90, [])


def test_bad_items_are_set_aside_where_they_stand() -> None:
    """The rest of the thread, the chunk and the body is read as if they were not there."""
    events = read("history_bad_items")
    chunk = events[3]
    assert isinstance(chunk, HistoryChunk)
    assert [(event.path, event.reason) for event in events if isinstance(event, Unreadable)] == [
        (CHUNK.replace("[1]", "[0]"), "an item of history is not an object"),
        (f"{CHUNK}.threads[0]", "a thread whose customer cannot be told"),
        (f"{CHUNK}.threads[1]", "an item of threads is not an object"),
        (CHUNK.replace("history[1]", "history[2]"), "a chunk without threads"),
        (CHUNK.replace("history[1]", "history[3]"), "a chunk without threads"),
    ]
    (thread,) = chunk.threads
    assert [(m.content.text, m.sent_at) for m in thread.messages] == [
        ("good", 1739230955.0),
        ("also good", 1739230960.0),
        ("far future", 253402300799.0),
    ]
    assert [(item.path.rpartition(".")[2], item.reason) for item in thread.unreadable] == [
        ("messages[1]", "a message without an id"),
        ("messages[2]", "a message whose time is zero or cannot be read"),
        ("messages[3]", "a message whose time is zero or cannot be read"),
        ("messages[4]", "a text message without text"),
        ("messages[5]", "an item of messages is not an object"),
    ]


# from, own digits known, from_me, thread, wamid -> written by the business
DIRECTIONS: list[tuple[dict[str, Any], str | None, dict[str, Any], bool | None]] = [
    ({"from": BUSINESS}, BUSINESS, {"id": CUSTOMER}, True),
    ({"from": "+1 555-078-3881"}, BUSINESS, {"id": CUSTOMER}, True),
    ({"from": CUSTOMER}, BUSINESS, {"id": CUSTOMER}, False),
    ({"from": CUSTOMER, "to": BUSINESS}, BUSINESS, {"id": CUSTOMER}, False),
    ({"from": STRANGER}, BUSINESS, {"id": CUSTOMER}, False),
    ({"from": STRANGER, "id": BY_BUSINESS}, BUSINESS, {"id": CUSTOMER}, True),
    ({"from": STRANGER, "history_context": {"from_me": True}}, BUSINESS, {"id": CUSTOMER}, True),
    # the number's own digits are not known
    ({"from": BUSINESS}, None, {"id": CUSTOMER}, True),
    ({"from": CUSTOMER}, None, {"id": CUSTOMER}, False),
    ({"from": "5217771234567"}, None, {"id": "527771234567"}, False),
    ({"from": CUSTOMER, "history_context": {"from_me": "true"}}, None, {"id": CUSTOMER}, True),
    ({"from": BUSINESS, "history_context": {"from_me": 0}}, None, {"id": CUSTOMER}, False),
    # the customer's phone is hidden
    ({"from_user_id": "US.222"}, BUSINESS, {"context": {"user_id": "US.222"}}, False),
    ({"from": "US.222"}, None, {"context": {"user_id": "US.222"}}, False),
    ({"from": BUSINESS, "to_user_id": "US.222"}, BUSINESS, {"context": {"user_id": "US.222"}}, True),
    ({"from": BUSINESS, "id": BY_BUSINESS}, None, {"context": {"user_id": "US.222"}}, True),
    # nothing but the wamid is left, or not even that
    ({"id": BY_BUSINESS}, BUSINESS, {"id": CUSTOMER}, True),
    ({"id": BY_CUSTOMER}, None, {"id": CUSTOMER}, False),
    ({"to": CUSTOMER}, BUSINESS, {"id": CUSTOMER}, None),
    ({"from": BUSINESS}, None, {"context": {"user_id": "US.222"}}, None),
    ({"from": {}, "history_context": {"from_me": []}}, None, {"id": CUSTOMER}, None),
]


@pytest.mark.parametrize(("given", "own", "thread", "from_business"), DIRECTIONS)
def test_each_witness_tells_who_wrote(
    given: dict[str, Any], own: str | None, thread: dict[str, Any], from_business: bool | None
) -> None:
    """A question put into the mouth of the shop would make the bot answer wrongly for ever."""
    message = {"id": "wamid.X", "timestamp": "1739230955", "type": "text", "text": {"body": "Hi"}, **given}
    found = read_one(message, own=own, thread=thread)
    if from_business is None:
        assert found.reason == "a message of which nothing tells who wrote it"
    else:
        assert found.from_business is from_business


@pytest.mark.parametrize(
    ("thread", "contact"),
    [
        ({"id": 16505551234}, ContactIds(wa_id=CUSTOMER)),
        ({"id": "+1 650 555 1234"}, ContactIds(wa_id=CUSTOMER)),
        ({"id": "US.222"}, ContactIds(user_id="US.222")),
        ({"context": {"wa_id": CUSTOMER}}, ContactIds(wa_id=CUSTOMER)),
        ({"id": "5217771234567", "context": {"wa_id": "527771234567"}}, ContactIds(wa_id="527771234567")),
        ({"id": CUSTOMER, "context": {"wa_id": STRANGER}}, ContactIds(wa_id=CUSTOMER)),
        ({"id": CUSTOMER, "context": "none"}, ContactIds(wa_id=CUSTOMER)),
        ({"context": {"username": "bo"}}, ContactIds(username="bo")),
    ],
)
def test_a_thread_is_of_the_customer_that_it_names(thread: dict[str, Any], contact: ContactIds) -> None:
    """A thread has an id, or a context, or both; a hidden phone leaves only the context."""
    body = {"history": [{"metadata": {"phase": 0}, "threads": [thread]}]}
    (chunk,) = read_webhook(msgspec.json.encode(body))
    assert isinstance(chunk, HistoryChunk)
    assert chunk.threads == [HistoryThread(contact=contact, messages=[])]


@pytest.mark.parametrize(
    "thread",
    [{}, {"id": ""}, {"id": "12345@lid"}, {"id": None, "context": {"wa_id": []}}, {"id": [CUSTOMER]}],
)
def test_a_thread_of_nobody_is_set_aside_whole(thread: dict[str, Any]) -> None:
    """Its messages stay together, to be replayed once it is known whose they are."""
    whole = {**thread, "messages": [{"id": "wamid.X"}]}
    body = {"history": [{"metadata": {"phase": 0}, "threads": [whole]}]}
    aside, chunk = read_webhook(msgspec.json.encode(body))
    assert isinstance(aside, Unreadable)
    assert (aside.path, aside.raw) == ("history[0].threads[0]", whole)
    assert isinstance(chunk, HistoryChunk)
    assert chunk.threads == []


@pytest.mark.parametrize(
    ("given", "read_as"),
    [
        ({"phase": "1", "chunk_order": "12", "progress": "55"}, (1, 12, 55)),
        ({"phase": 1.0, "chunk_order": " 2 ", "progress": 100}, (1, 2, 100)),
        ({"phase": "first", "chunk_order": None, "progress": 101}, (None, None, None)),
        ({"phase": True, "chunk_order": [], "progress": -1}, (None, None, None)),
        ({"phase": 1.5, "chunk_order": 2**31, "progress": "NaN"}, (None, None, None)),
    ],
)
def test_the_place_of_a_chunk_is_read_or_left_open(given: dict[str, Any], read_as: tuple[Any, ...]) -> None:
    """A progress that cannot be must not complete a sync, nor overflow a column."""
    (chunk,) = read_webhook(msgspec.json.encode({"history": [{"metadata": given, "threads": []}]}))
    assert isinstance(chunk, HistoryChunk)
    assert (chunk.phase, chunk.chunk_order, chunk.progress) == read_as


@pytest.mark.parametrize("status", [None, 7, [], "SOMETHING_NEW_AND_VERY_LONG", ""])
def test_a_status_that_is_not_known_is_none(status: Any) -> None:
    """It says nothing about the message, and must fit into its column."""
    message = {"id": "wamid.X", "from": CUSTOMER, "timestamp": 1, "type": "text", "text": {"body": "Hi"}}
    found = read_one({**message, "history_context": {"status": status}}, own=None, thread={"id": CUSTOMER})
    assert found.status is None


@pytest.mark.parametrize("case", ["history_declined", "history_declined_bare"])
def test_a_refusal_is_told_by_its_code(case: str) -> None:
    """An owner who keeps old chat private is no failure."""
    (event,) = read(case)
    assert isinstance(event, HistoryDeclined)
    assert (event.number.phone_number_id, event.code) == ("2002", 2593109)
    assert event.details == "History sharing is turned off by the business"


def test_other_errors_of_a_sync_keep_their_code() -> None:
    """They may stand beside the chunks as well as in them."""
    assert read("history_other_error") == [
        HistoryDeclined(
            number=NUMBER, code=131000, title="Something went wrong", details="Something went wrong"
        )
    ]
    both = {"history": [{"errors": [{"code": "1"}, "x"], "metadata": {"phase": 0}, "threads": []}]}
    kinds = [type(event) for event in read_webhook(msgspec.json.encode(both))]
    assert kinds == [HistoryDeclined, Unreadable, HistoryChunk]


def test_media_of_old_chat_are_no_messages() -> None:
    """They come under ``messages`` too; answering them answered photos of last spring."""
    photo, film = read("history_media")
    customer = ContactIds(wa_id=CUSTOMER, user_id="US.13491208655302741918", username="sheena")
    assert isinstance(photo, HistoryMedia)
    assert isinstance(film, HistoryMedia)
    assert photo.contact == film.contact == customer
    assert photo.message.content.fields["media"]["caption"] == "Front"
    assert (photo.message.from_business, film.message.from_business) == (False, True)
    assert film.message.sent_at == 1738796548.0


def test_media_without_the_id_of_their_placeholder_are_set_aside() -> None:
    """Nothing else tells where they belong."""
    value = {"event": "history", "data": {"messages": [{"from": CUSTOMER, "type": "image", "image": {}}]}}
    (event,) = read_webhook(msgspec.json.encode(value))
    assert isinstance(event, Unreadable)
    assert event.path == "data.messages[0]"
