"""What holds for any response whatever: limits kept, nothing lost, every press leads back."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from rasa_coexistence.simulator.limits import check_body
from rasa_coexistence.to_whatsapp import bodies
from rasa_coexistence.to_whatsapp.bubbles import Bubble, as_json, reply_ids
from rasa_coexistence.to_whatsapp.text_limits import clean, is_blank, split, width

FRAGMENTS = [
    "hola ",
    "¿Qué tal?\n\n",
    "**fuerte** ",
    "*cursiva* ",
    "__x__ _y_ ~~z~~ ",
    "2 * 3 * 4 ",
    "snake_case_name ",
    "`código` ",
    "```\na = b * c\n```\n",
    "# Título\n",
    "- uno\n- dos\n",
    "\nhttps://shop.example/*a*/_b_?c=1 ",
    "[aquí](https://shop.example/x_y) ",
    "مرحبا بكم ",
    "שלום ",
    "👨‍👩‍👧‍👦",
    "🇪🇸🇲🇽",
    "👍🏽",
    "e\u0301",
    "\u200b",
    " \t",
    "\r\n",
    "palabra" * 50,
    "粗体字",
    "\ud83d",
    "\x00",
    "[",
    "]",
    "(",
    "**",
    "_",
    "\\",
]
words = st.one_of(st.text(max_size=40), st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join))
long_words = st.tuples(words, st.sampled_from([1, 1, 1, 40])).map(lambda pair: pair[0] * pair[1])
huge_words = st.tuples(words, st.sampled_from([1, 1, 1, 400])).map(lambda pair: pair[0] * pair[1])
payloads = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["/greet", '/inform{"a":"b"}', "#3", "id:abc", " /x", "/y\n"]),
    st.text(min_size=1, max_size=8).map(lambda text: text * 60),
)
replies = st.fixed_dictionaries({"title": long_words, "payload": payloads})
links = st.fixed_dictionaries(
    {
        "title": words,
        "type": st.just("web_url"),
        "url": st.sampled_from(
            ["https://shop.example/a", "https://shop.example/b?c=d", "mailto:a@b", "shop"]
        ),
    }
)
odd = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), words, st.binary(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
addresses = st.sampled_from(
    ["https://a.example/x.jpg", "https://a.example/x.pdf", "https://a.example/x", "a/b.png", "12345678", ""]
)
files = st.one_of(
    addresses,
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["image", "video", "audio", "file", "odd"]),
            "payload": st.fixed_dictionaries({"src": addresses, "title": long_words}),
        }
    ),
)
elements = st.fixed_dictionaries(
    {
        "title": words,
        "subtitle": long_words,
        "image_url": addresses,
        "buttons": st.lists(st.one_of(replies, links), max_size=5),
    }
)
said = st.fixed_dictionaries(
    {},
    optional={
        "text": huge_words,
        "buttons": st.lists(st.one_of(replies, links), max_size=14),
        "quick_replies": st.lists(replies, max_size=4),
        "image": files,
        "attachment": files,
        "elements": st.lists(elements, max_size=3),
        "custom": st.one_of(st.fixed_dictionaries({"text": long_words}), st.lists(words, max_size=2)),
    },
)
oddly_said = st.dictionaries(
    st.sampled_from(
        ["text", "buttons", "quick_replies", "image", "attachment", "elements", "custom", "metadata", "x"]
    ),
    st.one_of(odd, st.lists(replies, max_size=2), files),
    max_size=6,
)

# path -> longest, in UTF-16 units; what WhatsApp refuses beyond.
LONGEST = {
    "text.body": 4096,
    "image.caption": 1024,
    "video.caption": 1024,
    "document.caption": 1024,
    "interactive.footer.text": 60,
    "interactive.action.buttons.reply.id": 256,
    "interactive.action.buttons.reply.title": 20,
    "interactive.action.button": 20,
    "interactive.action.sections.rows.id": 200,
    "interactive.action.sections.rows.title": 24,
    "interactive.action.sections.rows.description": 72,
    "interactive.action.parameters.display_text": 20,
}
BODY = {"button": 1024, "cta_url": 1024, "list": 4096}
MARKUP = re.compile(r"[\u115f\u1160\u3164\uffa0]")  # letters to Unicode, invisible to people


def strings_in(value: Any, path: str = "") -> list[tuple[str, str]]:
    """Every string of a body with the path to it."""
    if isinstance(value, str):
        return [(path, value)]
    if isinstance(value, list):
        return [pair for item in value for pair in strings_in(item, path)]
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in strings_in(item, f"{path}.{key}".lstrip("."))]
    return []


def assert_within_limits(body: dict[str, Any]) -> None:
    """Check a body against the limits, written down a second time and in another way than the code's own."""
    for path, value in strings_in(body):
        assert len(value.encode("utf-16-le")) // 2 <= LONGEST.get(path, 1_000_000), path
        assert value.strip() == value, path
        assert value, path
    interactive = body.get("interactive")
    if interactive is None:
        return
    kind = interactive["type"]
    assert 0 < len(interactive["body"]["text"].encode("utf-16-le")) // 2 <= BODY[kind]
    if kind == "button":
        options = [button["reply"] for button in interactive["action"]["buttons"]]
        assert 1 <= len(options) <= 3
    elif kind == "list":
        (section,) = interactive["action"]["sections"]
        options = section["rows"]
        assert 1 <= len(options) <= 10
        assert "header" not in interactive
    else:
        return
    assert len({option["id"] for option in options}) == len(options)
    assert len({option["title"].casefold() for option in options}) == len(options)


def visible(text: str) -> str:
    """Keep what a reader reads; white space, markup and punctuation may change."""
    kept = (
        character for character in MARKUP.sub("", clean(text)) if unicodedata.category(character)[0] in "LN"
    )
    return "".join(kept)


def shown(bubbles: list[Bubble]) -> str:
    """All that a customer sees, in order."""
    hidden = re.compile(r"(^|\.)(id|link|url|type|name)$")
    parts = (
        value for bubble in bubbles for path, value in strings_in(bubble.body) if not hidden.search(path)
    )
    return visible("".join(parts))


@settings(max_examples=150, deadline=None)
@given(said)
def test_every_body_is_within_the_limits(response: dict[str, Any]) -> None:
    """Whatever a domain says, Meta has no reason to refuse it; nor has the local Cloud API, its stand-in."""
    for bubble in bodies(response):
        assert_within_limits(bubble.body)
        check_body(bubble.body)
        assert not is_blank(bubble.text)


@settings(max_examples=150, deadline=None)
@given(st.one_of(oddly_said, st.dictionaries(st.text(max_size=5), odd, max_size=4)))
def test_odd_responses_neither_fail_nor_break_the_limits(response: dict[str, Any]) -> None:
    """A custom action's mistake must not cost the customer the rest of the answer."""
    bubbles = bodies(response)
    json.dumps([bubble.body for bubble in bubbles], allow_nan=False).encode()
    for bubble in bubbles:
        if bubble.body["type"] in ("text", "interactive") and not isinstance(response.get("custom"), dict):
            assert_within_limits(bubble.body)


@settings(max_examples=150, deadline=None)
@given(said)
def test_nothing_said_is_lost(response: dict[str, Any]) -> None:
    """Text, titles, subtitles and captions all reach the customer, whatever form they take."""
    seen = shown(bodies(response))
    choices = [*response.get("buttons", []), *response.get("quick_replies", [])]
    parts = [response.get("text", ""), *(choice["title"] for choice in choices)]
    for element in response.get("elements", []):
        parts += [element["title"], element["subtitle"], *(choice["title"] for choice in element["buttons"])]
    for key in ("image", "attachment"):
        file = response.get(key)
        if isinstance(file, dict) and file != response.get("image", file):
            parts.append(file["payload"]["title"])
    custom = response.get("custom", [])
    parts += [custom["text"]] if isinstance(custom, dict) else custom
    for part in parts:
        assert visible(part) in seen


@settings(max_examples=150, deadline=None)
@given(st.lists(replies, max_size=13), words)
def test_every_press_leads_back_to_its_payload(buttons: list[dict[str, str]], text: str) -> None:
    """In order, so that no press returns the payload of another button."""
    expected: list[str] = []
    seen = set()
    for button in buttons:
        title, payload = " ".join(clean(button["title"]).split()), clean(button["payload"])
        fallback = " ".join(payload.split()) if is_blank(title) else title
        if is_blank(fallback):
            continue
        answer = fallback if is_blank(payload) else payload
        if (fallback, answer) not in seen:
            seen.add((fallback, answer))
            expected.append(answer)
    bubbles = bodies({"text": text, "buttons": buttons})
    ids = [id_ for bubble in bubbles for id_ in reply_ids(bubble.body)]
    leads = {key: payload for bubble in bubbles for key, payload in bubble.payloads.items()}
    if len(expected) > 10:
        ids = [f"#{number}" for number in range(1, len(expected) + 1)]
    assert [leads.get(id_, id_) for id_ in ids] == expected


@settings(max_examples=150, deadline=None)
@given(long_words, st.integers(min_value=12, max_value=60))
def test_split_never_cuts_a_character(text: str, limit: int) -> None:
    """Emoji sequences, flags, accents and surrogates stay whole at any limit that holds them."""
    text = clean(text)
    characters = [one for one in regex.findall(r"\X", text) if not is_blank(one)]
    pieces = split(text, limit)
    assert all(0 < width(piece) <= limit for piece in pieces)
    if all(width(character) <= limit for character in characters):
        assert [
            one for piece in pieces for one in regex.findall(r"\X", piece) if not is_blank(one)
        ] == characters


@settings(max_examples=200, deadline=None)
@given(odd)
def test_any_value_becomes_json_that_stays_the_same(value: Any) -> None:
    """What is stored in the ledger must come back as it was."""
    made = as_json(value)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert as_json(made) == made
