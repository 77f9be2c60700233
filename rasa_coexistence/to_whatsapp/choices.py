"""Offer the buttons of a response: reply buttons, a list, a numbered text, or link buttons.

What a press brings back is the button's id. It is Rasa's payload itself wherever WhatsApp takes that as an
id, else a short name for it that ``Bubble.payloads`` leads back from.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from rasa_coexistence.events import JSON
from rasa_coexistence.to_whatsapp import text_limits
from rasa_coexistence.to_whatsapp.bubbles import Bubble, as_words, text_bubbles
from rasa_coexistence.to_whatsapp.media_kinds import is_web_address

LIST_BUTTON = "Menu"  # opens a list: a word that most languages share
POINTER = "👇"  # WhatsApp wants words above buttons even where the domain has none
NUMBER_ID = "#"  # and a number: leads from the number of a choice in a numbered text to its payload
SHORT_ID = "id:"  # and a digest: stands for a payload that cannot be an id
_LINK_BUTTONS = 3  # more would be a flood of messages: then they are links in the text
_LONGEST_URL = 2000
_RESERVED = re.compile(rf"{SHORT_ID}|{NUMBER_ID}\d")
_LEADS_AWAY = ("web_url", "phone_number")


class Choice(Struct, frozen=True, kw_only=True):
    """One thing that a customer may choose: it answers, leads to an address, or both."""

    title: str
    payload: str | None
    url: str | None = None


class _Option(Struct, frozen=True, kw_only=True):
    id: str
    shown: str  # the title within its limit
    title: str

    @property
    def is_cut(self) -> bool:
        return self.title not in self.shown


def read_choices(*groups: Any) -> list[Choice]:
    """Read ``buttons`` and ``quick_replies`` in all the forms that Rasa's channels take."""
    items = [item for group in groups for item in (group if isinstance(group, list) else [group])]
    choices = (_read_choice(item) for item in items)
    return list(dict.fromkeys(choice for choice in choices if choice is not None))


def choice_bubbles(
    text: str, choices: Sequence[Choice], *, header: JSON | None = None, list_button: str = LIST_BUTTON
) -> list[Bubble]:
    """Say ``text`` and offer ``choices``; ``header`` is an image, in the same message if it fits."""
    links = [choice for choice in choices if choice.url]
    replies = [choice for choice in choices if choice.payload]
    if not replies:
        return _link_bubbles(text, links, header)
    text = _with_lines(text, _links_as_lines(links))
    if len(replies) <= text_limits.BUTTONS:
        return _button_bubbles(text, replies, header)
    if len(replies) <= text_limits.LIST_ROWS:
        return _above(header) + _list_bubbles(text, replies, list_button)
    return _above(header) + _numbered_bubbles(text, replies)


def _read_choice(item: Any) -> Choice | None:
    fields = item if isinstance(item, Mapping) else {"title": item}
    title, payload, url = (as_words(fields.get(key)) for key in ("title", "payload", "url"))
    if fields.get("type") == "phone_number":
        url = url or payload
    named = next((word for word in (title, payload, url) if not text_limits.is_blank(word)), None)
    if named is None:
        return None
    url = text_limits.one_line(url)
    if text_limits.is_blank(payload) and not url:
        payload = text_limits.one_line(named)
    elif url and fields.get("type") in _LEADS_AWAY:
        payload = ""
    answers = None if text_limits.is_blank(payload) else payload
    return Choice(title=text_limits.one_line(named), payload=answers, url=url or None)


def _button_bubbles(text: str, choices: Sequence[Choice], header: JSON | None) -> list[Bubble]:
    options, payloads = _options(choices, text_limits.BUTTON_TITLE, text_limits.BUTTON_ID)
    buttons = [{"type": "reply", "reply": {"id": option.id, "title": option.shown}} for option in options]
    return _interactive(
        {"type": "button", "action": {"buttons": buttons}},
        _with_lines(text, [f"• {option.title}" for option in options if option.is_cut]),
        body_limit=text_limits.BUTTONS_BODY,
        header=header,
        shown=[option.shown for option in options],
        payloads=payloads,
    )


def _list_bubbles(text: str, choices: Sequence[Choice], list_button: str) -> list[Bubble]:
    options, payloads = _options(choices, text_limits.ROW_TITLE, text_limits.ROW_ID)
    label = text_limits.shorten(list_button, text_limits.BUTTON_TITLE)
    overlong = [option for option in options if text_limits.width(option.title) > text_limits.ROW_DESCRIPTION]
    return _interactive(
        {"type": "list", "action": {"button": label, "sections": [{"rows": [_row(one) for one in options]}]}},
        _with_lines(text, [f"• {option.title}" for option in overlong]),
        body_limit=text_limits.LIST_BODY,
        shown=[option.shown for option in options],
        payloads=payloads,
    )


def _row(option: _Option) -> JSON:
    row = {"id": option.id, "title": option.shown}
    if option.is_cut:
        row["description"] = text_limits.shorten(option.title, text_limits.ROW_DESCRIPTION)
    return row


def _numbered_bubbles(text: str, choices: Sequence[Choice]) -> list[Bubble]:
    lines = [f"{number}. {choice.title}" for number, choice in enumerate(choices, 1)]
    payloads = {f"{NUMBER_ID}{number}": choice.payload or "" for number, choice in enumerate(choices, 1)}
    *before, last = text_bubbles(_with_lines(text, lines))
    return [*before, Bubble(body=last.body, text=last.text, payloads=payloads)]


def _link_bubbles(text: str, choices: Sequence[Choice], header: JSON | None) -> list[Bubble]:
    """Make a button of each address that WhatsApp takes; the others, and a crowd, are lines of the text."""
    buttons = [choice for choice in choices if _can_be_button(choice.url or "")]
    if len(buttons) > _LINK_BUTTONS:
        buttons = []
    text = _with_lines(text, _links_as_lines(choice for choice in choices if choice not in buttons))
    if not buttons:
        return _above(header) + text_bubbles(text)
    first, *others = buttons
    return [
        *_link_button(first, text, header),
        *(bubble for choice in others for bubble in _link_button(choice, "", None)),
    ]


def _link_button(choice: Choice, text: str, header: JSON | None) -> list[Bubble]:
    shown = text_limits.shorten(choice.title, text_limits.BUTTON_TITLE)
    needs_words = shown != choice.title or text_limits.is_blank(text)
    parameters = {"display_text": shown, "url": choice.url}
    return _interactive(
        {"type": "cta_url", "action": {"name": "cta_url", "parameters": parameters}},
        _with_lines(text, [choice.title] if needs_words else []),
        body_limit=text_limits.BUTTONS_BODY,
        header=header,
        shown=[f"{shown}: {choice.url}"],
    )


def _interactive(
    interactive: JSON,
    text: str,
    *,
    body_limit: int,
    shown: Iterable[str],
    header: JSON | None = None,
    payloads: dict[str, str] | None = None,
) -> list[Bubble]:
    """Put the last of ``text`` into the interactive message itself, what has no room there before it."""
    before, last = text_limits.split_tail(text, limit=text_limits.TEXT_BODY, tail_limit=body_limit)
    last = last or POINTER
    content = {
        "type": interactive["type"],
        **({"header": header} if header else {}),
        "body": {"text": last},
        "action": interactive["action"],
    }
    said = f"{last}\n" + " ".join(f"[{title}]" for title in shown)
    bubble = Bubble(body={"type": "interactive", "interactive": content}, text=said, payloads=payloads or {})
    return [*(words for piece in before for words in text_bubbles(piece)), bubble]


def _above(header: JSON | None) -> list[Bubble]:
    return [] if header is None else [Bubble(body=header, text="[image]")]


def _links_as_lines(choices: Iterable[Choice]) -> list[str]:
    return [
        choice.url or "" if choice.title == choice.url else f"{choice.title}: {choice.url}"
        for choice in choices
    ]


def _with_lines(text: str, lines: Iterable[str]) -> str:
    return "\n\n".join(part for part in (text, "\n".join(lines)) if not text_limits.is_blank(part))


def _can_be_button(url: str) -> bool:
    return is_web_address(url) and len(url) <= _LONGEST_URL


def _options(
    choices: Iterable[Choice], title_limit: int, id_limit: int
) -> tuple[list[_Option], dict[str, str]]:
    """Give each choice a title and an id of its own; the mapping leads back from ids made for the purpose."""
    options: list[_Option] = []
    payloads: dict[str, str] = {}
    seen: dict[str, int] = {}
    for choice in choices:
        payload = choice.payload or ""
        repeats = seen[payload] = seen.get(payload, -1) + 1
        id_ = payload
        if repeats or not _can_be_id(payload, id_limit):
            id_ = f"{SHORT_ID}{hashlib.sha256(f'{repeats} {payload}'.encode()).hexdigest()[:32]}"
            payloads[id_] = payload
        shown = _unlike(choice.title, [option.shown for option in options], title_limit)
        options.append(_Option(id=id_, shown=shown, title=choice.title))
    return options, payloads


def _can_be_id(payload: str, limit: int) -> bool:
    """Meta refuses ids that are too long or have a space at an end; of line ends in them nothing is known."""
    fits = len(payload.encode()) <= limit  # bytes: nobody counts more
    return fits and payload.isprintable() and payload == payload.strip() and not _RESERVED.match(payload)


def _unlike(title: str, taken: Iterable[str], limit: int) -> str:
    """Shorten a title for show; Meta refuses two that look the same."""
    used = {other.casefold() for other in taken}
    shown, count = text_limits.shorten(title, limit), 1
    while shown.casefold() in used:
        count += 1
        shown = f"{text_limits.shorten(title, limit - len(f' {count}'))} {count}"
    return shown
