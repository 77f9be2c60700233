"""What the simulated Meta refuses, so that nothing passes here that Meta would not take."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasa_coexistence.simulator.limits import check_body
from rasa_coexistence.simulator.refusals import Refusal


def interactive(kind: str, **parts: Any) -> dict[str, Any]:
    return {"type": "interactive", "interactive": {"type": kind, "body": {"text": "b"}, **parts}}


def button(number: int = 1) -> dict[str, Any]:
    return {"type": "reply", "reply": {"id": f"id{number}", "title": f"title {number}"}}


def row(number: int = 1) -> dict[str, Any]:
    return {"id": f"id{number}", "title": f"title {number}"}


def rows(count: int) -> dict[str, Any]:
    sections = [{"title": "s", "rows": [row(number) for number in range(count)]}]
    return interactive("list", action={"button": "More", "sections": sections})


GOOD: dict[str, dict[str, Any]] = {
    "text": {"type": "text", "text": {"body": "x" * 4096}},
    "image": {"type": "image", "image": {"link": "https://a.example/b.jpg", "caption": "x" * 1024}},
    "video": {"type": "video", "video": {"id": "1", "caption": ""}},
    "audio": {"type": "audio", "audio": {"id": "1", "voice": True}},
    "document": {"type": "document", "document": {"id": "1", "filename": "a.pdf", "caption": "c"}},
    "sticker": {"type": "sticker", "sticker": {"id": "1"}},
    "location": {"type": "location", "location": {"latitude": 1.5, "longitude": "-2.5"}},
    "contacts": {
        "type": "contacts",
        "contacts": [{"name": {"formatted_name": "Ana B", "first_name": "Ana"}}],
    },
    "reaction": {"type": "reaction", "reaction": {"message_id": "wamid.A", "emoji": "👍"}},
    "template": {"type": "template", "template": {"name": "hi", "language": {"code": "en_US"}}},
    "buttons": interactive(
        "button",
        header={"type": "text", "text": "x" * 60},
        footer={"text": "x" * 60},
        action={"buttons": [button(1), button(2), button(3)]},
    ),
    "media header": interactive(
        "button",
        header={"type": "image", "image": {"link": "https://a.example/b.jpg"}},
        action={"buttons": [button()]},
    ),
    "list": rows(10),
    "link": interactive(
        "cta_url",
        action={"name": "cta_url", "parameters": {"display_text": "x" * 20, "url": "https://a.example"}},
    ),
    "flow": interactive("flow", action={"name": "flow", "parameters": {"flow_cta": "Open"}}),
    "location request": interactive("location_request_message", action={"name": "send_location"}),
    "phone request": interactive("request_contact_info", action={"name": "request_contact_info"}),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_keeps_the_limits_is_taken(name: str) -> None:
    """A limit that is too narrow would hide what the bot could have said."""
    check_body(GOOD[name])


def changed(name: str, path: str, value: Any) -> dict[str, Any]:
    """Return a good body with the value at a path replaced; None takes it away."""
    body = copy.deepcopy(GOOD[name])
    *parents, last = path.split(".")
    node: Any = body
    for step in parents:
        node = node[int(step)] if step.isdigit() else node[step]
    if value is None:
        del node[last]
    else:
        node[int(last) if last.isdigit() else last] = value
    return body


BUTTONS = "interactive.action.buttons"
ROWS = "interactive.action.sections.0.rows"
BROKEN: list[tuple[str, str, Any, int]] = [
    ("text", "text.body", "x" * 4097, 100),
    ("text", "text.body", "😀" * 2049, 100),
    ("text", "text.body", "", 100),
    ("text", "text.body", 5, 100),
    ("text", "text", None, 131008),
    ("text", "type", "poll", 100),
    ("text", "biz_opaque_callback_data", "x" * 513, 100),
    ("text", "recipient_type", "group", 100),
    ("image", "image.caption", "x" * 1025, 100),
    ("image", "image.id", "1", 100),
    ("image", "image.link", "ftp://a.example", 100),
    ("audio", "audio.caption", "c", 100),
    ("sticker", "sticker.id", None, 100),
    ("location", "location.latitude", None, 131008),
    ("location", "location.latitude", 91, 131009),
    ("contacts", "contacts.0.name.first_name", None, 131009),
    ("contacts", "contacts.0.name.formatted_name", None, 131008),
    ("contacts", "contacts", [], 131009),
    ("reaction", "context", {"message_id": "wamid.A"}, 100),
    ("reaction", "reaction.message_id", None, 131008),
    ("template", "template.language", None, 131008),
    ("template", "template.components", [{"type": "button", "index": 0}], 100),
    ("buttons", "interactive.type", "carousel", 131009),
    ("buttons", "interactive.body.text", "x" * 1025, 131009),
    ("buttons", "interactive.body", None, 131008),
    ("buttons", "interactive.header.text", "x" * 61, 131009),
    ("buttons", "interactive.header", {"type": "audio"}, 131009),
    ("buttons", "interactive.footer.text", "x" * 61, 131009),
    ("buttons", BUTTONS, [], 131009),
    ("buttons", BUTTONS, [button(number) for number in range(4)], 131009),
    ("buttons", f"{BUTTONS}.0.type", "url", 131009),
    ("buttons", f"{BUTTONS}.0.reply.id", "x" * 257, 131009),
    ("buttons", f"{BUTTONS}.0.reply.id", "id2", 131009),
    ("buttons", f"{BUTTONS}.0.reply.title", "x" * 21, 131009),
    ("buttons", f"{BUTTONS}.0.reply.title", "title 2", 131009),
    ("buttons", f"{BUTTONS}.0.reply.title", " ", 131009),
    ("list", "interactive.action.button", "x" * 21, 131009),
    ("list", "interactive.body.text", "x" * 4097, 131009),
    ("list", "interactive.header", {"type": "image", "image": {"id": "1"}}, 131009),
    ("list", ROWS, [row(number) for number in range(11)], 131009),
    ("list", f"{ROWS}.0.id", "x" * 201, 131009),
    ("list", f"{ROWS}.0.id", "id1", 131009),
    ("list", f"{ROWS}.0.title", "x" * 25, 131009),
    ("list", f"{ROWS}.0.description", "x" * 73, 131009),
    ("list", "interactive.action.sections.0.title", "x" * 25, 131009),
    ("list", "interactive.action.sections", [{"rows": [row(1)]}, {"rows": [row(2)]}], 131008),
    ("list", "interactive.action.sections", [{"title": "s", "rows": [row(n)]} for n in range(11)], 131009),
    ("link", "interactive.action.parameters.display_text", "x" * 21, 131009),
    ("link", "interactive.action.parameters.url", "a.example", 131009),
    ("link", "interactive.action.name", "open", 131009),
    ("flow", "interactive.action", None, 131008),
]


@pytest.mark.parametrize(("name", "path", "value", "code"), BROKEN)
def test_what_breaks_a_limit_is_refused(name: str, path: str, value: Any, code: int) -> None:
    """Each limit of Meta has its line here."""
    with pytest.raises(Refusal) as refused:
        check_body(changed(name, path, value))
    assert refused.value.code == code


def test_a_header_with_two_sources_is_refused() -> None:
    """Media in a header follow the rule of media anywhere: one of id and link."""
    header = {"type": "image", "image": {"id": "1", "link": "https://a.example"}}
    with pytest.raises(Refusal):
        check_body(changed("buttons", "interactive.header", header))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["type", "id", "title", "text", "rows", "reply", "name"]), inner)
    ),
    max_leaves=6,
)


def paths(node: Any, before: str = "") -> list[str]:
    """Return every path of a body."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path for key, child in children for path in (f"{before}{key}", *paths(child, f"{before}{key}."))]


@given(data=st.data(), junk=JUNK)
def test_no_body_whatever_makes_it_stumble(data: st.DataObject, junk: Any) -> None:
    """A body of the wrong shape is refused as Meta refuses it, and never an accident of ours."""
    name = data.draw(st.sampled_from(sorted(GOOD)))
    path = data.draw(st.sampled_from(paths(GOOD[name])))
    with suppress(Refusal):
        check_body(changed(name, path, {} if junk is None else junk))
