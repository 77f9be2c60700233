"""What a Rasa response becomes on WhatsApp, case by case."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from rasa_coexistence.simulator.limits import check_body
from rasa_coexistence.to_whatsapp import bodies, template_body, text_limits
from rasa_coexistence.to_whatsapp.bubbles import as_json, reply_ids
from rasa_coexistence.to_whatsapp.choices import POINTER
from rasa_coexistence.to_whatsapp.markdown import whatsapp_text
from rasa_coexistence.to_whatsapp.media_kinds import kind_of

CASES = sorted((Path(__file__).parent / "responses").glob("*.json"))
FAMILY = "👨‍👩‍👧‍👦"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_response_becomes_these_bodies(path: Path) -> None:
    """Each file tells in ``why`` what it stands for."""
    case = json.loads(path.read_text())
    bubbles = bodies(case["response"])
    for bubble, expected in zip(bubbles, case["bubbles"], strict=True):
        assert bubble.body == expected["body"]
        assert bubble.text == expected["text"]
        assert bubble.payloads == expected.get("payloads", {})


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_local_cloud_api_takes_every_body(path: Path) -> None:
    """The stand-in for Meta refuses what Meta refuses."""
    for bubble in bodies(json.loads(path.read_text())["response"]):
        check_body(bubble.body)


def test_response_is_left_as_it_was() -> None:
    """Rasa writes the same dict into the tracker."""
    response = {"text": "**a**", "buttons": [{"title": "b", "payload": "/b"}], "custom": {"to": "1"}}
    before = json.dumps(response)
    bodies(response)
    assert json.dumps(response) == before


def texts(response: dict[str, Any]) -> list[str]:
    return [bubble.body["text"]["body"] for bubble in bodies(response)]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a" * 3000 + "\n\n" + "b" * 3000, ["a" * 3000, "b" * 3000]),
        ("a" * 2000 + "\n" + "b" * 2000 + "\n" + "c" * 2000, ["a" * 2000 + "\n" + "b" * 2000, "c" * 2000]),
        ("a " * 2000 + "b" * 200, [("a " * 2000).strip(), "b" * 200]),
        ("a" * 4096 + " b", ["a" * 4096, "b"]),
        ("a" * 5000, ["a" * 4096, "a" * 904]),
        ("Hi " + "b" * 4095, ["Hi", "b" * 4095]),
        ("Hi\n\n" + "b " * 3000, ["Hi\n\n" + ("b " * 2046).strip(), ("b " * 954).strip()]),
        ("😀" * 2049, ["😀" * 2048, "😀"]),
        ("a" * 4095 + "😀", ["a" * 4095, "😀"]),
        ("a" * 4090 + FAMILY, ["a" * 4090, FAMILY]),
        ("a" * 4093 + "🇲🇽", ["a" * 4093, "🇲🇽"]),
        ("a" * 4094 + "👍🏽", ["a" * 4094, "👍🏽"]),
        ("a" * 4095 + "e\u0301", ["a" * 4095, "e\u0301"]),
        ("مرحبا بكم " * 500, [("مرحبا بكم " * 409).strip() + " مرحبا", ("بكم " + "مرحبا بكم " * 90).strip()]),
        ("e" + "\u0301" * 5000, ["e" + "\u0301" * 4095, "\u0301" * 905]),
    ],
    ids=[
        "paragraph",
        "line",
        "word",
        "word that ends at the limit",
        "no gap at all",
        "word too long to stay beside a short one",
        "paragraph too short to stand alone",
        "emoji",
        "emoji across the limit",
        "family across the limit",
        "flag across the limit",
        "skin tone across the limit",
        "accent across the limit",
        "right to left",
        "one character longer than the limit",
    ],
)
def test_long_text_is_split_where_a_reader_would(text: str, pieces: list[str]) -> None:
    """Paragraph, line, word, character: in this order."""
    assert texts({"text": text}) == pieces


def test_seventy_thousand_characters_arrive() -> None:
    """Eighteen messages at least, none lost, and quickly enough to stay on the event loop."""
    text = "¿Qué tal? " * 7000
    begun = time.perf_counter()
    pieces = texts({"text": text})
    assert time.perf_counter() - begun < 2
    assert len(pieces) == 18
    assert " ".join(pieces).split() == text.split()


@pytest.mark.parametrize(
    "text",
    ["[" * 70_000, "*" * 70_000, "**a " * 17_500, "_a_ " * 17_500, "`a``" * 17_500, "```x\n" * 14_000],
    ids=["brackets", "stars", "bold never closed", "italics", "code", "fences never closed"],
)
def test_text_that_looks_like_markdown_takes_no_time(text: str) -> None:
    """A reply made by a custom action may hold anything; the event loop must not stand still over it."""
    begun = time.perf_counter()
    bodies({"text": text})
    assert time.perf_counter() - begun < 8


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        (
            "**fuerte** __fuerte__ *cursiva* _cursiva_ ~~fuera~~",
            "*fuerte* *fuerte* _cursiva_ _cursiva_ ~fuera~",
        ),
        ("***los dos*** y **a __b__ c**", "_*los dos*_ y *a b c*"),
        ("`**tal cual**` y ``a`b``", "`**tal cual**` y ``a`b``"),
        ("## Título **fuerte** ##", "*Título fuerte*"),
        ("#1 en ventas\n#\n# ", "#1 en ventas\n#\n# "),
        ("* uno\n  * dos\n- **tres**\n1. _cuatro_\n> cita", "* uno\n  * dos\n- *tres*\n1. _cuatro_\n> cita"),
        ("[la tienda](https://a.example/x_y_z)", "la tienda (https://a.example/x_y_z)"),
        ("[**la** tienda](https://a.example)", "*la* tienda (https://a.example)"),
        ("[llámanos](tel:+525512345678)", "llámanos (+525512345678)"),
        ("[a@b.example](mailto:a@b.example) <https://a.example>", "a@b.example https://a.example"),
        ("![la tienda](https://a.example/x.png)", "la tienda (https://a.example/x.png)"),
        ("[sí](no) [opcional] (nota)", "[sí](no) [opcional] (nota)"),
        ("**https://a.example/*b*/_c_**", "*https://a.example/*b*/_c_*"),
        ("2*3*4 y a_b_c y **a**b", "2*3*4 y a_b_c y **a**b"),
        (r"\*no\* mi\_archivo", "*no* mi_archivo"),
        ("&amp; <b>x</b>\n---\nTotal\n===", "&amp; <b>x</b>\n---\nTotal\n==="),
        ("```\nsin **cerrar**", "```\nsin *cerrar*"),
        ("**مرحبا** بكم", "*مرحبا* بكم"),
    ],
)
def test_markdown_becomes_whatsapp_formatting(markdown: str, shown: str) -> None:
    """What both know is translated; what only looks like Markdown is left alone."""
    assert whatsapp_text(markdown) == shown


@pytest.mark.parametrize(
    ("link", "mime_type", "hint", "kind"),
    [
        ("https://a.example/x.JPG", None, None, "image"),
        ("https://a.example/x.png?size=3", None, "video", "image"),
        ("https://a.example/x.gif", None, "image", "document"),
        ("https://a.example/x.3gp", None, None, "video"),
        ("https://a.example/x.mov", None, "video", "document"),
        ("https://a.example/x.m4a", None, "file", "audio"),
        ("https://a.example/x.docx", None, None, "document"),
        ("https://a.example/x.xyz", None, None, "document"),
        ("https://a.example/x.axd", None, "image", "image"),
        ("https://a.example/v1.2", None, None, "link"),
        ("https://a.example/page.html", None, "image", "link"),
        ("https://a.example/", None, None, "link"),
        ("https://a.example/x", None, "file", "document"),
        ("https://a.example/x", "IMAGE/JPEG; q=1", None, "image"),
        ("https://a.example/x.jpg", "application/pdf", "image", "document"),
        ("https://www.youtube.com/watch?v=x", None, "video", "link"),
    ],
)
def test_kind_of_a_file(link: str, mime_type: str | None, hint: str | None, kind: str) -> None:
    """The stated type first, then the extension, then what the response calls it."""
    assert kind_of(link, mime_type=mime_type, hint=hint) == kind


def test_long_text_above_buttons_goes_before_them() -> None:
    """Only 1,024 characters fit above buttons; the last paragraphs stay with them, the others go first."""
    text = "\n\n".join(["uno " * 200, "dos " * 200, "tres " * 200, "¿Seguimos?"])
    first, last = bodies({"text": text, "buttons": [{"title": "Sí", "payload": "/yes"}]})
    assert first.body["text"]["body"].split() == ["uno"] * 200 + ["dos"] * 200
    assert last.body["interactive"]["body"]["text"].split() == ["tres"] * 200 + ["¿Seguimos?"]


def test_long_caption_follows_its_image() -> None:
    """A caption has room for 1,024 characters; more of it is said beside the image."""
    image, words = bodies({"image": {"url": "https://a.example/x.jpg", "caption": "a" * 1025}})
    assert image.body == {"type": "image", "image": {"link": "https://a.example/x.jpg"}}
    assert words.text == "a" * 1025


def test_overlong_text_of_a_custom_body_is_split() -> None:
    """The rest of such a body is the author's own; text alone can be split without asking."""
    custom = {"type": "text", "text": {"body": "a" * 5000, "preview_url": True}}
    first, second = bodies({"custom": custom})
    assert first.body == {"type": "text", "text": {"body": "a" * 4096, "preview_url": True}}
    assert second.body == {"type": "text", "text": {"body": "a" * 904, "preview_url": True}}


def test_forty_buttons_are_forty_numbered_lines() -> None:
    """No message of WhatsApp's holds forty choices; every title still reaches the customer."""
    buttons = [{"title": f"Opción {n} " + "muy " * 40, "payload": f"/o{n}"} for n in range(1, 41)]
    bubbles = bodies({"text": "Elige", "buttons": buttons})
    lines = "\n".join(bubble.text for bubble in bubbles).split("\n")
    assert [line for line in lines if "Opción" in line] == [
        f"{n}. {button['title']}".strip() for n, button in enumerate(buttons, 1)
    ]
    assert bubbles[-1].payloads["#40"] == "/o40"


def test_short_id_of_a_payload_never_changes() -> None:
    """A press on a message sent before a restart must still find its payload."""
    response = {"buttons": [{"title": "Sí", "payload": "/a" * 200}]}
    assert bodies(response) == bodies(json.loads(json.dumps(response)))


@pytest.mark.parametrize("payload", ["#7", "id:0123", " /a", "/a\n", "é" * 129])
def test_payload_that_cannot_be_an_id_is_kept_apart(payload: str) -> None:
    """Our own prefixes, what Meta trims, and what may be too long depending on who counts."""
    (bubble,) = bodies({"text": "x", "buttons": [{"title": "a", "payload": payload}]})
    (id_,) = reply_ids(bubble.body)
    assert id_ != payload
    assert bubble.payloads == {id_: payload}


def test_reply_ids_are_found_in_every_kind_of_body() -> None:
    """An id that we never sent is typed text, so those that we sent must be known."""
    rows = [{"id": "/a", "title": "A"}, {"id": "/b", "title": "B", "description": "x"}]
    listed = {
        "type": "list",
        "header": {"type": "image", "image": {"id": "1"}},
        "body": {"text": "x"},
        "action": {"button": "x", "sections": [{"rows": rows}]},
    }
    assert reply_ids({"type": "interactive", "interactive": listed}) == ["/a", "/b"]
    parameters = [{"type": "payload", "payload": "/c"}]
    button = {"type": "button", "sub_type": "quick_reply", "index": "0", "parameters": parameters}
    assert reply_ids({"type": "template", "template": {"name": "x", "components": [button]}}) == ["/c"]
    assert reply_ids({"type": "text", "text": {"body": "x"}}) == []


def test_choices_without_words_get_a_pointer() -> None:
    """Also above a list."""
    (bubble,) = bodies({"quick_replies": [{"title": str(n)} for n in range(5)]})
    assert bubble.body["interactive"]["body"] == {"text": POINTER}


def test_odd_values_become_what_json_and_databases_take() -> None:
    """Custom actions put anything into a response; half a surrogate or a NUL would poison the ledger."""
    nested: dict[str, Any] = {}
    nested["self"] = nested
    made = as_json(
        {
            "a": float("nan"),
            "b": 2**70,
            3: {"z", "y"},
            "c": ("\ud83d\ude00", "\ud83d"),
            "d": b"x",
            "e": "\x00a\r\nb",
        }
    )
    assert made == {
        "a": "nan",
        "b": str(2**70),
        "3": ["y", "z"],
        "c": ["😀", "\ufffd"],
        "d": "b'x'",
        "e": "a\nb",
    }
    assert json.dumps(as_json(nested))
    assert bodies({"text": "\ud83d\x00"})[0].text == "\ufffd"


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("Hola", 4, "Hola"),
        ("Hola amiga", 6, "Hola…"),
        ("a" + FAMILY * 2, 13, "a" + FAMILY + "…"),
        ("😀😀", 3, "😀…"),
    ],
)
def test_shortened_title_keeps_whole_characters(text: str, limit: int, shown: str) -> None:
    """Half an emoji is a box on the customer's screen."""
    assert text_limits.shorten(text, limit) == shown
    assert text_limits.width(shown) <= limit


def test_template_body_with_and_without_variables() -> None:
    """For the 24-hour window; Meta refuses line ends inside a variable."""
    assert template_body("hola", "es_MX") == {
        "type": "template",
        "template": {"name": "hola", "language": {"code": "es_MX"}},
    }
    numbered = template_body("hola", "es", ["Ana\nRuiz"])["template"]["components"]
    assert numbered == [{"type": "body", "parameters": [{"type": "text", "text": "Ana Ruiz"}]}]
    named = template_body("hola", "es", {"nombre": "Ana"})["template"]["components"][0]["parameters"]
    assert named == [{"type": "text", "parameter_name": "nombre", "text": "Ana"}]
    check_body(template_body("hola", "es", ["Ana"]))
