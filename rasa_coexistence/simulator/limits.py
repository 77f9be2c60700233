"""Refuse a message body that breaks one of Meta's limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rasa_coexistence.simulator.refusals import Refusal
from rasa_coexistence.simulator.state import JSON

MISSING = object()
ANY = 65_536  # Meta names no limit
MEDIA = ("image", "video", "audio", "document", "sticker")
TYPES = (*MEDIA, "text", "location", "contacts", "reaction", "interactive", "template")


@dataclass(frozen=True, slots=True)
class Text:
    """How long a text may be; ``[]`` in the path means every item."""

    path: str
    longest: int
    needed: bool = True  # in the object that should hold it, if that object is there
    empty: bool = False  # may be empty
    code: int = 131009


@dataclass(frozen=True, slots=True)
class Count:
    """How many items a list may have, over all places the path leads to."""

    path: str
    fewest: int
    most: int


@dataclass(frozen=True, slots=True)
class Distinct:
    """Values that must differ from each other."""

    path: str


BODY_1024 = Text("interactive.body.text", 1024)
HEADER = Text("interactive.header.text", 60)
FOOTER = Text("interactive.footer.text", 60)
CAPTION = {kind: Text(f"{kind}.caption", 1024, needed=False, empty=True, code=100) for kind in MEDIA}
BUTTON = "interactive.action.buttons[].reply"
SECTION = "interactive.action.sections[]"
ROW = f"{SECTION}.rows[]"
LINK = "interactive.action.parameters"

# What every body must keep, then what each type must; interactive ones are named with their own type.
COMMON = (Text("biz_opaque_callback_data", 512, needed=False, code=100),)
RULES: dict[str, tuple[Text | Count | Distinct, ...]] = {
    "text": (Text("text.body", 4096, code=100),),
    "image": (CAPTION["image"],),
    "video": (CAPTION["video"],),
    "document": (CAPTION["document"],),
    "contacts": (Count("contacts[]", 1, ANY), Text("contacts[].name.formatted_name", ANY)),
    "reaction": (Text("reaction.message_id", ANY), Text("reaction.emoji", ANY, empty=True)),
    "template": (Text("template.name", ANY), Text("template.language.code", ANY)),
    "interactive:button": (
        BODY_1024,
        FOOTER,
        Count("interactive.action.buttons[]", 1, 3),
        Text(f"{BUTTON}.id", 256),
        Text(f"{BUTTON}.title", 20),
        Distinct(f"{BUTTON}.id"),
        Distinct(f"{BUTTON}.title"),
    ),
    "interactive:list": (
        Text("interactive.body.text", 4096),
        FOOTER,
        Text("interactive.action.button", 20),
        Count(SECTION, 1, 10),
        Count(ROW, 1, 10),
        Text(f"{SECTION}.title", 24, needed=False),
        Text(f"{ROW}.id", 200),
        Text(f"{ROW}.title", 24),
        Text(f"{ROW}.description", 72, needed=False, empty=True),
        Distinct(f"{ROW}.id"),
    ),
    "interactive:cta_url": (
        BODY_1024,
        FOOTER,
        Text(f"{LINK}.display_text", 20),
        Text(f"{LINK}.url", ANY),
    ),
    "interactive:flow": (BODY_1024, FOOTER, Text(f"{LINK}.flow_cta", ANY)),
    "interactive:location_request_message": (BODY_1024,),
    "interactive:request_contact_info": (BODY_1024,),
}
ACTION_NAMES = {
    "cta_url": "cta_url",
    "flow": "flow",
    "location_request_message": "send_location",
    "request_contact_info": "request_contact_info",
}


def check_body(body: JSON) -> None:
    """Raise the Refusal that Meta would answer this message with, if it would."""
    kind = body.get("type", "text")
    if kind not in TYPES:
        raise Refusal(
            100, f"Param type must be one of {{{', '.join(sorted(TYPES)).upper()}}} - got {kind!r}."
        )
    content = body.get(kind)
    if not isinstance(content, list if kind == "contacts" else dict):
        raise Refusal(131008, f"Required parameter is missing: {kind}")
    if body.get("recipient_type", "individual") != "individual":
        raise Refusal(100, "Param recipient_type must be individual")
    rules = RULES.get(_rule_name(kind, content), ())
    for rule in (*COMMON, *rules):
        _keep(rule, body)
    special = _SPECIAL.get(kind)
    if special is not None:
        special(body)


def width(text: str) -> int:
    """Count UTF-16 units, the stricter of the two ways in which Meta may count."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _rule_name(kind: str, content: Any) -> str:
    if kind != "interactive":
        return kind
    name = f"interactive:{content.get('type')}"
    if name not in RULES:
        raise Refusal(131009, f"interactive.type {content.get('type')!r} is not known")
    return name


def _keep(rule: Text | Count | Distinct, body: JSON) -> None:
    match rule:
        case Text():
            for where, value in values_at(body, rule.path):
                _keep_text(rule, where, value)
        case Count():
            found = sum(value is not MISSING for _, value in values_at(body, rule.path))
            if not rule.fewest <= found <= rule.most:
                raise Refusal(131009, f"{rule.path}: {found} items; allowed are {rule.fewest} to {rule.most}")
        case Distinct():
            found_values = [value for _, value in values_at(body, rule.path)]
            if len(set(found_values)) < len(found_values):
                raise Refusal(131009, f"{rule.path}: the values must be unique")


def _keep_text(rule: Text, where: str, value: Any) -> None:
    if value is MISSING:
        if rule.needed:
            raise Refusal(131008, f"Required parameter is missing: {where}")
        return
    if not isinstance(value, str):
        raise Refusal(100, f"Param {where} must be a string")
    if not value.strip() and not rule.empty:
        raise Refusal(rule.code, f"Param {where} must not be empty")
    if width(value) > rule.longest:
        raise Refusal(rule.code, f"Param {where} must be at most {rule.longest} characters long.")


def values_at(node: Any, path: str, where: str = "") -> Iterator[tuple[str, Any]]:
    """Give every (place, value) a path leads to; a value that its object lacks is MISSING.

    Where the object itself is missing and is optional (header, footer), there is nothing to give.
    """
    step, _, rest = path.partition(".")
    name = step.removesuffix("[]")
    child = node.get(name, MISSING) if isinstance(node, dict) else MISSING
    here = f"{where}.{name}" if where else name
    children = [(here, child)]
    if step.endswith("[]"):
        children = [(f"{here}[{i}]", item) for i, item in enumerate(child)] if isinstance(child, list) else []
    for place, value in children:
        if not rest:
            yield place, value
        elif value is not MISSING or name not in ("header", "footer"):
            yield from values_at(value, rest, place)


def _media(body: JSON) -> None:
    kind = body["type"]
    content = body[kind]
    if ("id" in content) == ("link" in content):
        raise Refusal(100, f"Param {kind} must have exactly one of id and link")
    if kind in ("audio", "sticker") and "caption" in content:
        raise Refusal(100, f"Param {kind}['caption'] is not allowed")
    if "link" in content and not _is_web_address(content["link"]):
        raise Refusal(100, f"Param {kind}['link'] is not a valid URI.")


def _location(body: JSON) -> None:
    for name, most in (("latitude", 90), ("longitude", 180)):
        value = body["location"].get(name)
        try:
            inside = abs(float(value)) <= most
        except (TypeError, ValueError):
            raise Refusal(131008, f"Required parameter is missing: location.{name}") from None
        if not inside:
            raise Refusal(131009, f"location.{name} is outside -{most} to {most}")


def _contacts(body: JSON) -> None:
    more = ("first_name", "last_name", "middle_name", "suffix", "prefix")
    for contact in body["contacts"]:
        if not any(contact["name"].get(part) for part in more):
            raise Refusal(131009, "contacts[].name needs formatted_name and one more part of the name")


def _reaction(body: JSON) -> None:
    if "context" in body:
        raise Refusal(100, "Param context is not allowed with a reaction")


def _interactive(body: JSON) -> None:
    interactive = body["interactive"]
    kind, action = interactive["type"], interactive.get("action")
    if not isinstance(action, dict):
        raise Refusal(131008, "Required parameter is missing: interactive.action")
    if kind in ACTION_NAMES and action.get("name") != ACTION_NAMES[kind]:
        raise Refusal(131009, f"interactive.action.name must be {ACTION_NAMES[kind]}")
    if kind == "cta_url" and not _is_web_address(action["parameters"]["url"]):
        raise Refusal(131009, "interactive.action.parameters.url is not a valid URI.")
    if kind == "button" and any(button.get("type") != "reply" for button in action["buttons"]):
        raise Refusal(131009, "interactive.action.buttons[].type must be reply")
    sections = list(values_at(action, "sections[].title"))
    if kind == "list" and len(sections) > 1 and any(title is MISSING for _, title in sections):
        raise Refusal(131008, "interactive.action.sections[].title is required with more than one section")
    if "header" in interactive:
        _header(interactive["header"], texts_only=kind == "list")


def _header(header: Any, *, texts_only: bool) -> None:
    allowed = ("text",) if texts_only else ("text", "image", "video", "document")
    if not isinstance(header, dict) or header.get("type") not in allowed:
        raise Refusal(131009, f"interactive.header.type must be one of {', '.join(allowed)}")
    kind = str(header["type"])
    if kind == "text":
        _keep(HEADER, {"interactive": {"header": header}})
    elif not isinstance(header.get(kind), dict):
        raise Refusal(131008, f"Required parameter is missing: interactive.header.{kind}")
    else:
        _media({"type": kind, kind: header[kind]})


def _template(body: JSON) -> None:
    components = body["template"].get("components", [])
    if not isinstance(components, list) or not all(isinstance(part, dict) for part in components):
        raise Refusal(100, "Param template['components'] must be an array of objects")
    for part in components:
        if part.get("type") == "button" and not isinstance(part.get("index"), str):
            raise Refusal(100, "Param template['components'][].index must be a string")


def _is_web_address(link: Any) -> bool:
    return isinstance(link, str) and link.startswith(("http://", "https://")) and " " not in link


_SPECIAL: dict[str, Callable[[JSON], None]] = {
    **dict.fromkeys(MEDIA, _media),
    "location": _location,
    "contacts": _contacts,
    "reaction": _reaction,
    "interactive": _interactive,
    "template": _template,
}
