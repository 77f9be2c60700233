"""Turn the block of ``credentials.yml`` into frozen settings, or say everything that is wrong with it.

A setting is one line here: its name, its type, how its value is read (``settings_values``) and its default.
``credentials.yml.example`` and the README list the same names; tests compare them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, Struct, field
from msgspec.structs import FieldInfo, fields

from rasa_coexistence import settings_values as values
from rasa_coexistence.errors import ConfigError
from rasa_coexistence.settings_values import Secret, Unusable

S = TypeVar("S", bound=Struct)


class History(Struct, frozen=True, kw_only=True):
    """What becomes of the chat from before the bot."""

    enabled: Annotated[bool, values.switch] = True
    quiet_seconds: Annotated[float, values.more_than_zero] = 60.0
    context_messages: Annotated[int, values.count] = 20
    max_messages_per_conversation: Annotated[int | None, values.count_from_one] = None
    publish_events: Annotated[bool, values.switch] = False
    parse: Annotated[bool, values.switch] = False
    tune_tracker_store: Annotated[bool, values.switch] = False


class Takeover(Struct, frozen=True, kw_only=True):
    """How bot and person give way to each other."""

    enabled: Annotated[bool, values.switch] = True
    resume_after_minutes: Annotated[float, values.more_than_zero] = 30.0
    answer_on_resume: Annotated[bool, values.switch] = True
    resume_keyword: Annotated[str | None, values.keyword] = None
    hold_keyword: Annotated[str | None, values.keyword] = None
    handoff_timeout_minutes: Annotated[float | None, values.more_than_zero] = None
    notify_url: Annotated[Secret | None, values.secret_url] = None  # such links often carry a token

    @property
    def resume_after_seconds(self) -> float:
        """How long the bot stays silent after a message typed on the phone."""
        return self.resume_after_minutes * 60

    @property
    def handoff_timeout_seconds(self) -> float | None:
        """How long a hand-off waits for a person, ``None`` for as long as it takes."""
        return None if self.handoff_timeout_minutes is None else self.handoff_timeout_minutes * 60


class Template(Struct, frozen=True, kw_only=True):
    """A message template that Meta has approved."""

    name: Annotated[str, values.text, "the name of an approved template"]
    language: Annotated[str, values.text, "the template's language code, like es_MX"]


class Replies(Struct, frozen=True, kw_only=True):
    """How answers leave."""

    mark_as_read: Annotated[bool, values.switch] = False
    typing_indicator: Annotated[bool, values.switch] = False
    closed_window_template: Template | None = None
    messages_per_second: Annotated[float, values.more_than_zero] = 20.0
    release_after_seconds: Annotated[float | None, values.zero_or_more] = 1.0


class Settings(Struct, frozen=True, kw_only=True):
    """Everything a user can set; secrets do not show when it is printed."""

    verify_token: Annotated[
        Secret, values.secret, "make up a text and give Meta the same one, beside the webhook's URL"
    ]
    app_secret: Annotated[
        tuple[Secret, ...], values.secrets, "copy it from your app's page at Meta, App settings > Basic"
    ]
    access_token: Annotated[
        Secret | None, values.secret, "use a system user's token, or leave the line out if numbers sign up"
    ] = None
    phone_number_id: Annotated[
        str | None, values.meta_id, "copy it from WhatsApp > API Setup, or leave the line out"
    ] = None
    app_id: Annotated[str | None, values.meta_id] = None
    config_id: Annotated[str | None, values.meta_id] = None
    admin_token: Annotated[Secret | None, values.admin_token, "make up a long text that nobody can guess"] = (
        None
    )
    encryption_key: Annotated[tuple[Secret, ...] | None, values.fernet_keys, values.MAKE_A_KEY] = None
    graph_url: Annotated[str, values.url] = "https://graph.facebook.com"
    graph_version: Annotated[str, values.graph_version] = "v26.0"
    database_url: Annotated[Secret, values.database_url] = Secret("sqlite:///coexistence.db")
    sender_id: Annotated[str, values.sender_id] = "{contact}"
    base_url: Annotated[str | None, values.url] = None
    ignore: Annotated[tuple[str, ...], values.phone_numbers] = ()
    history: History = field(default_factory=History)
    takeover: Takeover = field(default_factory=Takeover)
    replies: Replies = field(default_factory=Replies)
    allow_typed_intents: Annotated[bool, values.switch] = False

    @classmethod
    def from_credentials(cls, block: Mapping[str, Any] | None) -> Settings:
        """Read the block of ``credentials.yml``; raise one ConfigError that lists every problem."""
        problems: list[str] = []
        settings = _read_section(cls, {} if block is None else block, "", problems)
        problems += _contradictions(block)
        if problems or settings is None:
            raise ConfigError(problems)
        return settings

    @property
    def app_secrets(self) -> tuple[str, ...]:
        """Every secret that Meta may sign with; more than one while they rotate."""
        return self.app_secret

    @property
    def encryption_keys(self) -> tuple[str, ...]:
        """Every Fernet key that opens stored tokens; the first one closes them."""
        return self.encryption_key or ()

    @property
    def has_embedded_signup(self) -> bool:
        """Whether owners can connect their own number."""
        return self.app_id is not None

    @property
    def tells_numbers_apart(self) -> bool:
        """Whether one customer of two business numbers is two conversations."""
        return "{phone_number_id}" in self.sender_id

    def contact_sender_id(self, phone_number_id: str, contact: str) -> str:
        """Return Rasa's conversation id for a customer of a number."""
        return self.sender_id.format(phone_number_id=phone_number_id, contact=contact)


def _read_section(section: type[S], given: Any, path: str, problems: list[str]) -> S | None:
    known = {info.name: info for info in fields(section)}
    if not isinstance(given, Mapping):
        place = path.rstrip(".") or "rasa_coexistence.CoexistenceInput"
        problems.append(f"{place}: it must hold settings, each as 'name: value' ({', '.join(known)})")
        return None
    problems += [_unknown(str(key), known, path) for key in given if key not in known]
    hints = get_type_hints(section, include_extras=True)
    found = {}
    for name, info in known.items():
        if name in given or info.default is info.default_factory is NODEFAULT:
            try:
                found[name] = _read_value(info, hints[name], given.get(name), f"{path}{name}", problems)
            except Unusable as unusable:
                problems += [f"{path}{name}{where}: {remedy}" for where, remedy in unusable.problems]
    return None if problems else section(**found)


def _read_value(info: FieldInfo, hint: Any, value: Any, key: str, problems: list[str]) -> Any:
    kind, reader, *remedies = (
        (get_args(hint)[0], *hint.__metadata__) if get_origin(hint) is Annotated else (hint, None)
    )
    optional = type(None) in get_args(kind)
    if values.is_blank(value) and reader is not values.keyword:
        value = None
    if reader is None:
        section = get_args(kind)[0] if optional else kind
        if value is None:
            return None if optional else section()
        return _read_section(section, value, f"{key}.", problems)
    if value is None and optional:
        return None
    if value is None:
        required = info.default is info.default_factory is NODEFAULT
        raise Unusable(
            f"it is missing; {remedies[0]}" if required else "it has no value; leave the line out or give one"
        )
    if values.is_placeholder(value):
        remedy = remedies[0] if remedies else "give your own or leave the line out"
        raise Unusable(f"it still has the example's value; {remedy}")
    return reader(value)


def _unknown(key: str, known: Mapping[str, Any], path: str) -> str:
    homes: dict[str, type[Struct]] = {"history": History, "takeover": Takeover, "replies": Replies}
    for home, section in homes.items():
        if f"{home}." != path and key in {info.name for info in fields(section)} - known.keys():
            return f"{path}{key}: unknown setting; it belongs under '{home}:'"
    if path and key in {info.name for info in fields(Settings)}:
        return f"{path}{key}: unknown setting; it belongs directly under 'rasa_coexistence.CoexistenceInput:'"
    close = difflib.get_close_matches(key, list(known), n=1)
    if close:
        return f"{path}{key}: unknown setting; did you mean '{path}{close[0]}'?"
    return f"{path}{key}: unknown setting; remove it (known here: {', '.join(known)})"


def _contradictions(block: Any) -> list[str]:
    """Say which settings, each usable by itself, do not go together."""
    given = block if isinstance(block, Mapping) else {}
    app_id, config_id, key = (
        not values.is_blank(given.get(name)) for name in ("app_id", "config_id", "encryption_key")
    )
    problems = []
    if app_id != config_id:
        absent = "config_id" if app_id else "app_id"
        problems.append(f"{absent}: it is missing; app_id and config_id go together (Embedded Signup)")
    if (app_id or config_id) and not key:
        problems.append(f"encryption_key: it is missing; numbers that sign up need it; {values.MAKE_A_KEY}")
    takeover = given.get("takeover")
    words = (
        [takeover.get(f"{name}_keyword") for name in ("resume", "hold")]
        if isinstance(takeover, Mapping)
        else []
    )
    words = [str(word).strip().casefold() for word in words if word is not None]
    if len(words) == 2 and words[0] and words[0] == words[1]:
        problems.append(
            "takeover.hold_keyword: it equals takeover.resume_keyword; choose two different words"
        )
    return problems
