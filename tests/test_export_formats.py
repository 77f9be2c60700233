"""What is exported can be read again, by Rasa's own readers where it is meant for Rasa."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from chat import HOUR, NOON, NUMBER, message
from hypothesis import given
from hypothesis import strategies as st
from rasa.shared.core.events import ActionExecuted, UserUttered
from rasa.shared.core.training_data.story_reader.yaml_story_reader import YAMLStoryReader
from rasa.shared.nlu.training_data.formats.rasa_yaml import RasaYAMLReader

from rasa_coexistence.events import JSON, Content
from rasa_coexistence.export import candidates, json_lines, stories
from rasa_coexistence.export.masking import Mask, mask_key
from rasa_coexistence.export.training_text import plain_line
from rasa_coexistence.ledger.transcripts import Talk
from rasa_coexistence.records import StoredMessage

TALK = Talk(
    id=1,
    sender_id="5217715268513",
    phone_number_id=NUMBER,
    display_phone_number="5215550000000",
    name="Ana",
)
OPEN, MASKED = Mask(None), Mask(mask_key(["secret"]))
TRICKY = [
    "[dos](cantidad) tacos",
    'un [taco]{"entity": "food"}',
    "[a][b](c)",
    '/greet{"name": "x"}',
    "  / restart",
    "//",
    "a\nb\n\n- c",
    "- intent: x\n  examples: |\n    - y",
    'di "hola" \\ y \\u0041 \\x41 \\n',
    "# nada",
    "{{x}} ${HOME} %TAG !env_var &a *b |",
    "tab\there\x85\u2028\u2029there",
    "\ufeff\x00\x07\x1b[31m",
    "familia 👨\u200d👩\u200d👧 \U0001f600",
    "'sólo' ¿qué?: sí",
    "null",
    "12",
    "yes",
]


def told(*messages: StoredMessage, mask: Mask = OPEN) -> list[JSON]:
    """Return JSON lines, read again."""
    return [msgspec.json.decode(json_lines.line(TALK, each, mask)) for each in messages]


def story_text(*messages: StoredMessage, mask: Mask = OPEN) -> str:
    """Return the file of stories."""
    pieces = list(stories.stories(TALK, messages, mask, session_seconds=HOUR))
    return stories.HEAD + ("".join(pieces) or stories.NOTHING)


def read_stories(text: str) -> list[list[Any]]:
    """Return the events of each story, as Rasa reads them."""
    steps = YAMLStoryReader().read_from_string(text)
    return [[event for event in step.events if event is not None] for step in steps]


def said_in(story: list[Any]) -> list[tuple[str, str | None]]:
    """Return who says what."""
    said = []
    for event in story:
        if isinstance(event, UserUttered):
            assert event.entities == []
            said.append(("user", event.text))
        elif isinstance(event, ActionExecuted):
            said.append(("bot", event.action_text))
    return said


def nlu_text(*messages: StoredMessage, mask: Mask = OPEN, **which: Any) -> str:
    """Return the file of candidates."""
    with candidates.Candidates() as counted:
        for each in messages:
            counted.add(TALK, each, mask)
        return candidates.HEAD + ("".join(counted.examples(**which)) or candidates.NOTHING)


def read_nlu(text: str) -> list[str]:
    """Return the examples, as Rasa reads them."""
    data = RasaYAMLReader().reads(text)
    assert data.entity_examples == []
    assert {each.get("intent") for each in data.training_examples} <= {candidates.INTENT}
    return [each.get("text") for each in data.training_examples]


@pytest.fixture(autouse=True)
def _no_complaints(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Rasa's readers say in the log, or in a warning, what they do not like."""
    yield
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_line_says_all_that_is_known() -> None:
    """Text, who, when, from where, how it fared, what it quotes, what it was before."""
    content = Content(
        type="image",
        text="el menú",
        fields={"media": {"id": "55", "mime_type": "image/jpeg", "sha256": "x", "url": "https://meta"}},
        context={"id": "wamid.Q"},
    )
    edited = message("wamid.A", text="el menú", type="image", content=content, edited_text="el menu")
    assert told(edited) == [
        {
            "conversation": "5217715268513",
            "phone_number_id": NUMBER,
            "name": "Ana",
            "role": "customer",
            "source": "history",
            "type": "image",
            "text": "el menú",
            "timestamp": NOON,
            "time": "2025-10-10T13:57:20+00:00",
            "wamid": "wamid.A",
            "status": "read",
            "quoted": "wamid.Q",
            "edited_from": "el menu",
            "media": {"id": "55", "mime_type": "image/jpeg", "sha256": "x"},
        }
    ]


def test_a_masked_line_names_nobody_and_opens_nothing() -> None:
    """No name, no place, no address book, no id of a file at Meta."""
    fields = {
        "media": {"id": "55", "mime_type": "image/jpeg", "filename": "de 771 526 8513.jpg"},
        "location": {"latitude": 19.4326077},
        "contacts": [{"name": "Eva"}],
    }
    content = Content(type="image", text="soy 771 526 8513", fields=fields)
    (line,) = told(message("wamid.A", text=content.text, type="image", content=content), mask=MASKED)
    number = MASKED.text("7715268513", region="MX")
    assert line["text"] == f"soy {number}"
    assert line["media"] == {"mime_type": "image/jpeg", "filename": f"de {number}.jpg"}
    assert line["conversation"] == MASKED.conversation(TALK.sender_id)
    assert line.keys().isdisjoint({"name", "location", "contacts"})


def test_what_was_taken_back_is_not_told() -> None:
    """That there was a message, yes; what it said, no."""
    content = Content(type="image", text="ay", fields={"media": {"id": "5"}})
    (line,) = told(message("wamid.A", revoked=True, text="ay", edited_text="huy", content=content))
    assert line["text"] is None
    assert line["revoked"] is True
    assert not {"media", "edited_from"} & line.keys()


def test_reactions_name_what_they_are_about() -> None:
    """By the same word as the line of that message, masked too."""
    content = Content(type="reaction", target="wamid.A", emoji="👍")
    reaction = message("wamid.R", type="reaction", text=None, content=content)
    for mask in (OPEN, MASKED):
        (line,), (target,) = told(reaction, mask=mask), told(message("wamid.A"), mask=mask)
        assert (line["emoji"], line["target"]) == ("👍", target["wamid"])


def test_sessions_are_stories() -> None:
    """A silence of an hour ends one; what only the business said is none."""
    chat = [
        message("wamid.A", NOON, text="hola"),
        message("wamid.B", NOON + 60, from_business=True, text="buenas\n¿qué tal?"),
        message("wamid.C", NOON + 5 * HOUR, from_business=True, text="oferta"),
        message("wamid.D", NOON + 9 * HOUR, from_business=True, text="¿sigue ahí?"),
        message("wamid.E", NOON + 9 * HOUR + 60, text="sí"),
        message("wamid.F", NOON + 9 * HOUR + 61, type="reaction", text=None),
        message("wamid.G", NOON + 9 * HOUR + 62, text="borrado", revoked=True),
    ]
    text = story_text(*chat)
    first, second = read_stories(text)
    assert said_in(first) == [("user", "hola"), ("bot", "buenas\n¿qué tal?")]
    assert said_in(second) == [("bot", "¿sigue ahí?"), ("user", "sí")]
    assert '"5217715268513, session 1, 2025-10-10"' in text
    assert '"5217715268513, session 3, 2025-10-10"' in text


def test_stories_carry_the_intents_that_nlu_found() -> None:
    """And those of the buttons that were pressed, with what the button said."""
    button = Content(type="interactive", text='/order{"n": 2}', typed=False, label="Pedir dos")
    chat = [
        message("wamid.A", parse={"intent": {"name": "faq/hours"}, "entities": []}, text="¿abren?"),
        message("wamid.B", NOON + 1, text=button.text, content=button),
        message("wamid.C", NOON + 2, text="[image]", type="image"),
    ]
    (story,) = read_stories(story_text(*chat))
    assert [(event.text, event.intent.get("name")) for event in story] == [
        ("¿abren?", "faq"),
        ("Pedir dos", "order"),
        ("[image]", None),
    ]


def test_candidates_come_by_frequency() -> None:
    """What customers typed, once each, with how often; nothing of the business, no placeholders."""
    typed_not = Content(type="image", text="[image]", typed=False)
    chat = [
        *(message(f"wamid.A{n}", text="¿Abren hoy?") for n in range(3)),
        *(message(f"wamid.B{n}", text=f"mi cel es 771 526 85{n}3") for n in range(2)),
        message("wamid.C", text="gracias", parse={"intent": {"name": "thank"}, "entities": []}),
        message("wamid.D", text="de nada", from_business=True),
        message("wamid.E", text="[image]", type="image", content=typed_not),
        message("wamid.F", text="perdón", revoked=True),
    ]
    mask = Mask(mask_key(["secret"]), together=True)
    assert read_nlu(nlu_text(*chat, mask=mask)) == ["¿Abren hoy?", "mi cel es <phone>", "gracias"]
    assert read_nlu(nlu_text(*chat, mask=mask, at_least=2)) == ["¿Abren hoy?", "mi cel es <phone>"]
    assert read_nlu(nlu_text(*chat, mask=mask, limit=1)) == ["¿Abren hoy?"]
    text = nlu_text(*chat, mask=mask)
    assert "times: 3" in text
    assert 'intent: "thank"' in text


@pytest.mark.parametrize("make", [story_text, nlu_text])
def test_nothing_said_is_an_empty_file_that_rasa_reads(make: Callable[[], str]) -> None:
    """A shop without chat has no stories, and that is no error."""
    assert read_stories(make()) == []
    assert read_nlu(make()) == []


@pytest.mark.parametrize("text", TRICKY)
def test_nothing_typed_is_markup(text: str) -> None:
    """Neither YAML nor an entity nor an intent."""
    check_text(text)


@given(st.one_of(st.text(max_size=40), st.text("[](){}/:\\\"'-#|\nu0041xá \t@", max_size=30)))
def test_any_text_comes_back_as_it_was_said(text: str) -> None:
    """As one line, without leading slashes, ``](`` apart: that is all that changes."""
    check_text(text)


def check_text(text: str) -> None:
    """Say a text as customer and as business in each format, and read it again."""
    line = plain_line(text)
    both = [message("wamid.A", text=text), message("wamid.B", NOON + 1, from_business=True, text=text)]
    assert [each["text"] for each in told(*both)] == [text] * 2
    assert read_nlu(nlu_text(*both)) == [line][: bool(line)]
    read = read_stories(story_text(*both))
    assert [said_in(story)[0] for story in read] == [("user", line)][: bool(line)]
    for story in read:
        bots = "".join(said or "" for who, said in said_in(story) if who == "bot")
        assert list(filter(str.isalnum, bots)) == list(filter(str.isalnum, text))
    assert plain_line(line) == line
    assert "\n" not in line
    assert not line.startswith("/")
