"""Who is the same person, and which messages are the same message."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rasa_coexistence.events import ContactIds
from rasa_coexistence.identity import (
    aliases,
    canonical_phone,
    identifies,
    inner_id,
    make_wamid,
    phone_digits,
    phones_match,
    wamid_from_business,
)

FROM_CUSTOMER = "wamid.HBgLMTY1MDU1NTEyMzQVAgASGBQzRUIwMDAwMDAwMDAwMDAwMDAwMQA="
LONGEST_BSUID = "US." + "7" * 128

SAME_PHONE = [
    # Mexico: the 1 that mobiles had after the country code, and the old ways to dial one
    ("527715268513", ["5217715268513", "+52 1 771 526 8513", "+52 771 526 8513", "520447715268513"]),
    # Brazil: the ninth digit that mobiles got
    ("5531987654321", ["553187654321", "+55 31 8765-4321", "+55 (31) 98765-4321"]),
    # Argentina: the 9 of calls from abroad, the 15 of calls within, area codes of 2, 3 and 4 digits
    ("541123456789", ["5491123456789", "+54 9 11 2345-6789", "+54 11 15 2345 6789"]),
    ("542215123456", ["5492215123456", "+54 221 15 512-3456"]),
    ("543442412345", ["5493442412345", "+54 3442 15 41-2345"]),
    # everywhere: ways to write
    ("16505551234", ["+1 650-555-1234", "(1) 650.555.1234", "0016505551234", "\u202a+1 650 555 1234\u202c"]),
    ("442079460958", ["+44 (0)20 7946 0958"]),
    ("16505551234", ["\uff11\uff16\uff15\uff10\uff15\uff15\uff15\uff11\uff12\uff13\uff14"]),
]
DIFFERENT_PHONES = [
    ("553132654321", "5531932654321"),  # Brazilian landlines have no ninth digit to lose
    ("5511912345678", "551112345678"),
    ("527715268513", "527715268514"),
    ("5215512345678", "15215512345678"),
    ("541123456789", "541123456780"),
    ("16505551234", "6505551234"),
]


@pytest.mark.parametrize(("canonical", "spellings"), SAME_PHONE)
def test_every_spelling_of_a_phone_is_one_phone(canonical: str, spellings: list[str]) -> None:
    """The same customer comes with and without the digits that three countries changed."""
    for spelling in [canonical, *spellings]:
        assert canonical_phone(spelling) == canonical
        assert phones_match(spelling, canonical)


@pytest.mark.parametrize(("one", "other"), DIFFERENT_PHONES)
def test_two_phones_are_never_taken_for_one(one: str, other: str) -> None:
    """Sending one customer's chat to another is worse than not recognising somebody."""
    assert not phones_match(one, other)


@pytest.mark.parametrize(
    "number", ["", "+", "US.13491208655302741918", "1203630@g.us", "sheena", "1" * 21, "12345@", "\x00"]
)
def test_what_is_no_phone_number_gives_none(number: str) -> None:
    """The digits of a BSUID or a group must not pass for somebody's phone."""
    assert phone_digits(number) is None
    assert canonical_phone(number) is None
    assert not phones_match(number, number)


def test_an_unknown_number_is_kept_as_it_is() -> None:
    """New ranges and countries appear; none is refused."""
    for number in ("7", "99912345", "52177152685", "541512", "54111512345", "12345678901234567890"):
        assert canonical_phone(number) == number


@pytest.mark.parametrize("missing", [None, ""])
def test_a_missing_phone_matches_nothing(missing: str | None) -> None:
    """Two hidden phones are not one person."""
    assert not phones_match(missing, missing)
    assert not phones_match(missing, "16505551234")


@settings(deadline=None)
@given(st.text(max_size=40) | st.text("+0123456789 ()-", max_size=24))
def test_one_canonical_form_is_its_own(number: str) -> None:
    """A key that changed when computed again would lose the conversation."""
    canonical = canonical_phone(number)
    assert canonical is None or canonical_phone(canonical) == canonical


def test_aliases_are_in_order_of_trust_and_in_one_form() -> None:
    """The ledger finds a conversation by any of them, whichever spelling a webhook brings."""
    contact = ContactIds(
        wa_id="5217715268513", user_id="MX.1", parent_user_id="MX.ENT.2", username="@Sheena", name="Sheena"
    )
    assert aliases(contact) == ("phone:527715268513", "user:MX.1", "parent:MX.ENT.2", "username:sheena")
    assert aliases(ContactIds(name="Sheena")) == ()
    assert aliases(ContactIds(wa_id="", user_id="", username=" @ ")) == ()


def test_only_a_username_does_not_prove_who_it_is() -> None:
    """It can be given up and taken by somebody else."""
    contact = ContactIds(wa_id="1650", user_id="MX.1", parent_user_id="MX.ENT.2", username="sheena")
    assert [identifies(alias) for alias in aliases(contact)] == [True, True, True, False]


def test_aliases_fit_into_the_ledger() -> None:
    """The longest real id fits; what is longer than any is no id."""
    assert aliases(ContactIds(user_id=LONGEST_BSUID)) == (f"user:{LONGEST_BSUID}",)
    assert aliases(ContactIds(user_id="x" * 500, username="y" * 500, wa_id="1" * 500)) == ()


def test_a_wamid_tells_its_inner_id_and_direction() -> None:
    """What is the same message is told by these when two wamids differ."""
    assert inner_id(FROM_CUSTOMER) == "3EB00000000000000001"
    assert wamid_from_business(FROM_CUSTOMER) is False
    assert make_wamid("16505551234", "3EB00000000000000001", from_business=False) == FROM_CUSTOMER


@pytest.mark.parametrize("chat", ["16505551234", "US.13491208655302741918", LONGEST_BSUID])
@pytest.mark.parametrize("inner", ["3EB0A1B2C3D4E5F6A7", "3EB0A1B2C3D4E5F6A7B8", "A" * 32])
@pytest.mark.parametrize("from_business", [True, False])
def test_the_inner_id_does_not_depend_on_the_chat(chat: str, inner: str, from_business: bool) -> None:
    """One message has a wamid for the phone and another for the BSUID."""
    wamid = make_wamid(chat, inner, from_business=from_business)
    assert inner_id(wamid) == inner
    assert wamid_from_business(wamid) is from_business


def test_padding_and_alphabet_of_a_wamid_do_not_matter() -> None:
    """Providers strip the padding, or use the alphabet for URLs."""
    wamid = make_wamid("1650555123", "3EB0A1B2C3D4E5F6A7", from_business=True)
    assert wamid.endswith("=")
    assert inner_id(wamid.rstrip("=")) == "3EB0A1B2C3D4E5F6A7"
    assert inner_id(wamid.replace("+", "-").replace("/", "_")) == "3EB0A1B2C3D4E5F6A7"


@pytest.mark.parametrize(
    "wamid",
    [
        "",
        "wamid.",
        "wamid.HBg...",
        "wamid.é",
        "wamid.AAAA",
        "wamid." + base64.b64encode(b"\x1c\x18").decode(),
        "wamid." + base64.b64encode(b"\x1c\x18\xff\xff\xff\xff\xff").decode(),
        "wamid." + base64.b64encode(b"\x1c\x18\x011\x15\x02\x00\x13\x18\x011\x00").decode(),
        "wamid." + base64.b64encode(b"\x1c\x18\x011\x15\x02\x00\x11\x18\x00\x00").decode(),
        "wamid." + base64.b64encode(b"\x1c\x18\x011\x15\x02\x00\x11\x18\x02\xff\xff\x00").decode(),
        make_wamid("1650", "A" * 65, from_business=True),
        "gBEGVzVQ",
    ],
)
def test_what_cannot_be_decoded_says_nothing(wamid: str) -> None:
    """The anatomy is not documented: it may change any day."""
    assert inner_id(wamid) is None
    assert wamid_from_business(wamid) is None


@settings(deadline=None)
@given(
    st.text(max_size=80)
    | st.binary(max_size=60).map(lambda raw: base64.b64encode(b"\x1c\x18" + raw).decode())
)
def test_no_wamid_raises(wamid: str) -> None:
    """Whatever stands there, reading goes on."""
    assert (inner_id(wamid) is None) == (wamid_from_business(wamid) is None)
