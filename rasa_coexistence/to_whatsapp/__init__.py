"""Turn one Rasa response into Cloud API bodies within Meta's limits, losing nothing that it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import structs

from rasa_coexistence.events import JSON
from rasa_coexistence.to_whatsapp import text_limits
from rasa_coexistence.to_whatsapp.bubbles import Bubble, as_json, as_words, media_bubbles, text_bubbles
from rasa_coexistence.to_whatsapp.choices import LIST_BUTTON, Choice, choice_bubbles, read_choices
from rasa_coexistence.to_whatsapp.custom_bodies import cloud_api_body, custom_bubbles
from rasa_coexistence.to_whatsapp.markdown import whatsapp_text
from rasa_coexistence.to_whatsapp.media_kinds import Media, read_media

__all__ = ["Bubble", "bodies", "template_body"]

_SAID_BY = ("text", "buttons", "quick_replies", "custom", "image", "attachment", "elements")
_ELEMENT_KEYS = ("title", "subtitle", "text", "image_url", "default_action", "buttons")


def bodies(response: Mapping[str, Any]) -> list[Bubble]:
    """Turn what Rasa hands to ``OutputChannel.send_response`` into messages, in the order Rasa would send.

    Any key may be missing, None or of an odd shape. An empty list means that there is nothing to see in it.
    """
    return list(_said(as_json(response)))


def template_body(name: str, language: str, parameters: Sequence[str] | Mapping[str, str] = ()) -> JSON:
    """Build a template message; a mapping of ``parameters`` is for templates whose variables have names."""
    named = parameters.items() if isinstance(parameters, Mapping) else ((None, text) for text in parameters)
    filled = [
        {"type": "text", **({"parameter_name": key} if key else {}), "text": _template_text(text)}
        for key, text in named
    ]
    template: JSON = {"name": name, "language": {"code": language}}
    if filled:
        template["components"] = [{"type": "body", "parameters": filled}]
    return {"type": "template", "template": template}


def _template_text(text: str) -> str:
    """Meta refuses line ends, tabs and runs of spaces inside a variable."""
    return text_limits.shorten(text_limits.one_line(text_limits.clean(text)), text_limits.CAPTION)


def _said(response: JSON) -> Iterator[Bubble]:
    text = whatsapp_text(as_words(response.get("text")))
    choices = read_choices(response.get("quick_replies"), response.get("buttons"))
    if choices:
        yield from choice_bubbles(text, choices, list_button=_list_button(response))
    else:
        yield from text_bubbles(text)
    yield from _custom(response.get("custom"))
    yield from _file(response.get("image"), hint="image")
    if response.get("attachment") != response.get("image"):  # Rasa repeats the image there
        yield from _file(response.get("attachment"), hint=None)
    elements = response.get("elements")
    for element in elements if isinstance(elements, list) else [elements]:
        yield from _element(element)


def _list_button(response: JSON) -> str:
    """Let a response name the button that opens a list: ``metadata: {list_button: ...}`` in the domain."""
    metadata = response.get("metadata")
    label = metadata.get("list_button") if isinstance(metadata, dict) else None
    label = text_limits.one_line(as_words(label))
    return LIST_BUTTON if text_limits.is_blank(label) else label


def _custom(custom: Any) -> Iterator[Bubble]:
    if isinstance(custom, list):
        for item in custom:
            yield from _custom(item)
        return
    body = cloud_api_body(custom)
    if body is not None:
        yield from custom_bubbles(body)
    elif isinstance(custom, dict):
        bubbles = list(_said(custom)) if any(custom.get(key) for key in _SAID_BY) else []
        yield from bubbles or text_bubbles(as_words(custom))
    else:
        yield from text_bubbles(whatsapp_text(as_words(custom)))


def _file(value: Any, *, hint: str | None) -> Iterator[Bubble]:
    if isinstance(value, list):
        for item in value:
            yield from _file(item, hint=hint)
        return
    payload = value.get("payload") if isinstance(value, dict) else None
    if isinstance(payload, dict) and payload.get("template_type"):
        yield from _said(payload)
        return
    media = read_media(value, hint=hint)
    if media is None:
        yield from text_bubbles(as_words(value))
    else:
        caption = media.caption and whatsapp_text(media.caption)
        yield from media_bubbles(structs.replace(media, caption=caption))


def _element(element: Any) -> Iterator[Bubble]:
    """Show a card of a carousel as one message: image above, title and subtitle, buttons below."""
    if not isinstance(element, dict) or not any(element.get(key) for key in _ELEMENT_KEYS):
        yield from text_bubbles(as_words(element))
        return
    choices = read_choices(element.get("buttons"))
    text = _card_text(element, choices)
    image = read_media(element.get("image_url"), hint="image")
    if image is None or image.kind == "link":
        shown = as_words(element.get("image_url")) if image is None else image.link
        text = "\n".join(filter(None, [text, shown]))
        yield from choice_bubbles(text, choices) if choices else text_bubbles(text)
    elif not choices:
        yield from media_bubbles(Media(kind=image.kind, link=image.link, id=image.id, caption=text or None))
    elif image.kind == "image":
        content = {"id": image.id} if image.id else {"link": image.link}
        yield from choice_bubbles(text, choices, header={"type": "image", "image": content})
    else:
        yield from media_bubbles(image)
        yield from choice_bubbles(text, choices)


def _card_text(element: JSON, choices: Sequence[Choice]) -> str:
    title = text_limits.one_line(as_words(element.get("title")))
    action = element.get("default_action")
    url = as_words(action.get("url")) if isinstance(action, dict) else ""
    lines = [
        "" if text_limits.is_blank(title) else whatsapp_text(f"**{title}**"),
        *(whatsapp_text(as_words(element.get(key))) for key in ("subtitle", "text")),
        "" if url in {choice.url for choice in choices} else url,
    ]
    return "\n".join(line for line in lines if not text_limits.is_blank(line))
