"""No number and no address of anybody leaves the house unless asked for."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasa_coexistence.export.masking import Mask, mask_key, region_of
from rasa_coexistence.identity import make_wamid

MASK = Mask(mask_key(["0123456789abcdef"]))
PLACEHOLDER = re.compile(r"<(?:phone|email)-[a-z]{10}>")
NUMBERS = [
    "5217715268513",
    "+52 1 771 526 8513",
    "+52-1-771-526-8513",
    "(+52) 1 771.526.8513",
    "+52(1)771/526/8513",
    "0052 1 771 526 8513",
    "52 771 526 8513",  # without Mexico's 1
    "\u200e+52 1 771 526 8513",
    "+52\u00a01\u00a0771\u2011526\u20118513",
    "٥٢١٧٧١٥٢٦٨٥١٣",
    "5️⃣2️⃣1️⃣7️⃣7️⃣1️⃣5️⃣2️⃣6️⃣8️⃣5️⃣1️⃣3️⃣",
    "771 526 8513",  # as people write it at home
    "(771) 526-8513",
]


@pytest.mark.parametrize("number", NUMBERS)
def test_one_number_has_one_placeholder_however_it_is_written(number: str) -> None:
    """Else a conversation would seem to be about several people."""
    masked = MASK.text(f"llámeme al {number}, gracias", region="MX")
    expected = MASK.text("llámeme al 5217715268513, gracias", region="MX")
    assert masked.replace("\u200e", "") == expected
    assert PLACEHOLDER.search(masked)


@pytest.mark.parametrize(
    "word",
    [
        "ana@example.com",
        "Ana@Example.com",
        "<ana@example.com>",
        "(ana@example.com).",
        "mailto:ana@example.com",
        "ana@example.com/ben@example.com",
        "ana.perez+shop@mail.example.co.uk",
        "añá@correo.example",
        '"a na"@example.com',
        "a@b@c.de",
        "ana@@example.com",
    ],
)
def test_no_address_is_left(word: str) -> None:
    """In whatever it is wrapped."""
    masked = MASK.text(f"escriba a {word} hoy")
    assert "@" not in masked
    assert masked.startswith("escriba a ")
    assert masked.endswith(" hoy")


def test_one_address_has_one_placeholder() -> None:
    """However it is spelt, and whatever stands around it."""
    found = {
        PLACEHOLDER.findall(MASK.text(text))[0] for text in ("a@b.example", "(A@B.example)", "a@b.example.")
    }
    assert len(found) == 1


@pytest.mark.parametrize(
    "text",
    [
        "el 26/11/2026 a las 10:30",
        "2026-11-26",
        "2026-11-26 10:30",
        "son 1,250.00 pesos",
        "pedido 4711, código 123456",
        "@ana te mandó 3 fotos",
        "5 kg a 20 €",
    ],
)
def test_what_is_no_number_of_anybody_stays(text: str) -> None:
    """A text that is masked to nothing is of no use."""
    assert MASK.text(text) == text


def test_two_numbers_have_two_placeholders() -> None:
    """Also when nothing but a space is between them."""
    masked = MASK.text("5217715268513 5215550000001")
    assert len(set(PLACEHOLDER.findall(masked))) == 2


def test_together_all_look_alike() -> None:
    """Texts that are to be counted must not differ by a number."""
    mask = Mask(mask_key(["x"]), together=True)
    assert mask.text("771 526 8513 o a@b.example") == "<phone> o <email>"


def test_ids_are_masked_and_stay_apart() -> None:
    """A wamid has the customer's number in it, and one message has several wamids."""
    ana, ben = MASK.conversation("5217715268513"), MASK.conversation("5215550000001")
    assert ana != ben
    assert not re.search(r"\d", ana + ben)
    one = make_wamid("5217715268513", "ABCDEF", from_business=False)
    other = make_wamid("MX.12345", "ABCDEF", from_business=False)
    assert MASK.wamid(one) == MASK.wamid(other) != MASK.wamid(one.replace("A", "B"))


def test_placeholders_depend_on_the_secret() -> None:
    """Else whoever tries all numbers finds out whose each is."""
    assert MASK.text("5217715268513") != Mask(mask_key(["other"])).text("5217715268513")


def test_without_a_key_all_stays() -> None:
    """That is what --unmasked asks for."""
    mask = Mask(None)
    assert mask.text("5217715268513 a@b.example") == "5217715268513 a@b.example"
    assert mask.conversation("5217715268513") == "5217715268513"


def test_region_of_a_business_number() -> None:
    """Numbers that are written without a country code are at home there."""
    assert region_of("5215550000000") == "MX"
    assert region_of(None) is None
    assert region_of("x") is None


digits = st.text("0123456789", min_size=7, max_size=15)
between = st.sampled_from(["", " ", "-", ".", " - ", ") ", " (", "\u00a0", "\u2011", "/", "\u200b"])
words = st.text(st.characters(exclude_categories=["Nd", "Cs"]), max_size=8).map(
    lambda word: word.replace("@", "")
)


@st.composite
def written_numbers(draw: st.DrawFn) -> str:
    """Return a phone number as somebody might write it."""
    number = draw(digits)
    return draw(st.sampled_from(["", "+", "00", "(+"])) + "".join(
        digit + (draw(between) if place < len(number) - 1 else "") for place, digit in enumerate(number)
    )


@given(st.lists(st.tuples(words, written_numbers()), min_size=1, max_size=4), words)
def test_no_number_of_any_text_survives(parts: list[tuple[str, str]], end: str) -> None:
    """However it is grouped and whatever stands around it, but for what is a date."""
    text = " ".join(word + " " + number for word, number in parts) + " " + end
    masked = MASK.text(text)
    left = "".join(character for character in masked if character.isdecimal())
    dates = re.findall(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?: \d{1,2})?", masked)
    assert len(left) <= sum(len(date) for date in dates)
    assert MASK.text(masked) == masked


name = st.text(st.characters(categories=["Ll", "Lu", "Nd"]), min_size=1, max_size=12)


@given(
    words,
    name,
    st.lists(name, min_size=2, max_size=3),
    words,
    st.sampled_from(["", "<", "(", "mailto:", '"']),
)
def test_no_address_of_any_text_survives(
    before: str, user: str, domain: list[str], after: str, edge: str
) -> None:
    """Whatever the name, the domain, and what stands around them."""
    address = f"{user}@{'.'.join(domain)}"
    masked = MASK.text(f"{before} {edge}{address} {after}")
    assert address not in masked
    assert "@" not in masked


@given(st.text(max_size=60))
def test_any_text_can_be_masked_twice(text: str) -> None:
    """What is masked holds nothing more to mask."""
    once = MASK.text(text)
    assert MASK.text(once) == once
