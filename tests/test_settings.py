"""Settings are read all together, and whatever is wrong is said all together."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st
from msgspec import NODEFAULT, Struct
from msgspec.structs import asdict, fields
from rasa.shared.exceptions import RasaException
from rasa.shared.utils.io import read_yaml

from rasa_coexistence.errors import ConfigError
from rasa_coexistence.settings import Settings

EXAMPLE = Path(__file__).parents[1] / "credentials.yml.example"
CHANNEL = "rasa_coexistence.CoexistenceInput"
REQUIRED = {"verify_token": "a text", "app_secret": "abc123"}
KEY = Fernet.generate_key().decode()


def load(**more: Any) -> Settings:
    return Settings.from_credentials({**REQUIRED, **more})


def problems_of(block: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Settings.from_credentials(block)
    return caught.value.problems


def nested(key: str, value: Any) -> dict[str, Any]:
    """Turn ``a.b`` and a value into ``{"a": {"b": value}}``."""
    *sections, last = key.split(".")
    block = {last: value}
    for section in reversed(sections):
        block = {section: block}
    return block


def value_at(settings: Any, key: str) -> Any:
    for name in key.split("."):
        settings = getattr(settings, name)
    return settings


def example_block() -> dict[str, Any]:
    block: dict[str, Any] = read_yaml(EXAMPLE.read_text(encoding="utf-8"))[CHANNEL]
    return block


def test_required_keys_alone_give_the_documented_defaults() -> None:
    """A first bot needs two secrets; everything else has a value the README names."""
    settings = load()
    assert (settings.graph_url, settings.graph_version) == ("https://graph.facebook.com", "v26.0")
    assert (settings.database_url, settings.sender_id) == ("sqlite:///coexistence.db", "{contact}")
    assert asdict(settings.history) == {
        "enabled": True,
        "quiet_seconds": 60,
        "context_messages": 20,
        "max_messages_per_conversation": None,
        "publish_events": False,
        "parse": False,
        "tune_tracker_store": False,
    }
    assert asdict(settings.takeover) == {
        "enabled": True,
        "resume_after_minutes": 30,
        "answer_on_resume": True,
        "resume_keyword": None,
        "hold_keyword": None,
        "handoff_timeout_minutes": None,
        "notify_url": None,
    }
    assert asdict(settings.replies) == {
        "mark_as_read": False,
        "typing_indicator": False,
        "closed_window_template": None,
        "messages_per_second": 20,
        "release_after_seconds": 1,
    }
    assert settings.ignore == ()
    assert not settings.allow_typed_intents
    assert settings.admin_token is settings.base_url is settings.access_token is None


ACCEPTED = {
    "id as a YAML number": ("phone_number_id", 845237608662425, "845237608662425"),
    "one secret": ("app_secret", "abc", ("abc",)),
    "two secrets while rotating": ("app_secret", ["new", "old"], ("new", "old")),
    "two secrets in one variable": ("app_secret", "new, old", ("new", "old")),
    "Fernet keys while rotating": ("encryption_key", [KEY, KEY], (KEY, KEY)),
    "line break of a pasted token": ("access_token", " EAAG1\n", "EAAG1"),
    "empty variable for an optional key": ("admin_token", "", None),
    "empty section": ("history", None, load().history),
    "true as text": ("takeover.enabled", "False", False),
    "true": ("history.parse", True, True),
    "number as text": ("replies.messages_per_second", "80", 80.0),
    "fraction of a minute": ("takeover.resume_after_minutes", 0.1, 0.1),
    "fraction as text": ("takeover.resume_after_minutes", "0.1", 0.1),
    "whole number as text": ("history.context_messages", "0", 0),
    "cap": ("history.max_messages_per_conversation", "100", 100),
    "bubbles at once": ("replies.release_after_seconds", 0, 0),
    "bubbles never before the save": ("replies.release_after_seconds", None, None),
    "never, from a variable": ("replies.release_after_seconds", "", None),
    "address with a last slash": ("graph_url", "http://127.0.0.1:5080/", "http://127.0.0.1:5080"),
    "link with a token": ("takeover.notify_url", "https://hook.test/a?t=1", "https://hook.test/a?t=1"),
    "phone numbers as people write them": (
        "ignore",
        ["+52 1 (55) 1234-5678", 4915112345678],
        ("5215512345678", "4915112345678"),
    ),
    "phone numbers in one variable": (
        "ignore",
        "5215512345678,4915112345678",
        ("5215512345678", "4915112345678"),
    ),
    "nobody ignored": ("ignore", [], ()),
    "PostgreSQL": ("database_url", "postgresql://u:p@db/x", "postgresql://u:p@db/x"),
    "PostgreSQL by name of driver": ("database_url", "postgresql+psycopg2:///x", "postgresql+psycopg2:///x"),
    "keyword with spaces around": ("takeover.hold_keyword", " Alto ", "Alto"),
}


@pytest.mark.parametrize(("key", "value", "expected"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_usable_value_is_kept_in_one_form(key: str, value: Any, expected: Any) -> None:
    """Environment variables are always text, YAML guesses types, people paste: all mean the same."""
    assert value_at(load(**nested(key, value)), key) == expected


REFUSED = {
    "verify_token missing": ("verify_token", None, "it is missing"),
    "verify_token of the example": ("verify_token", "...", "example's value"),
    "verify_token of a tutorial": ("verify_token", "your-verify-token", "example's value"),
    "app_secret empty": ("app_secret", "  ", "it is missing"),
    "app_secret empty list": ("app_secret", [], "give at least one"),
    "app_secret half filled in": ("app_secret", ["abc", "..."], "example's value"),
    "app_secret list of numbers with fraction": ("app_secret", ["abc", 1.5], "quotes"),
    "token as a list": ("access_token", ["EAAG"], "must be text"),
    "token as true": ("access_token", True, "must be text"),
    "variable in quotes": ("access_token", "${TOKEN}", "${TOKEN} was not filled in"),
    "phone number for its id": ("phone_number_id", "+52 1 771 724", "Meta's id"),
    "admin_token too short": ("admin_token", "admin", "at least 8"),
    "admin_token no header can carry": ("admin_token", "contraseña larga", "ASCII"),
    "no Fernet key": ("encryption_key", "secret", "Fernet.generate_key"),
    "graph_url without scheme": ("graph_url", "graph.facebook.com", "https://"),
    "graph_url without value": ("graph_url", None, "leave the line out"),
    "graph_url with impossible port": ("graph_url", "http://127.0.0.1:99999", "https://"),
    "graph_url with query": ("graph_url", "https://graph.test?x=1", "without ?"),
    "graph_version": ("graph_version", 26.0, "quotes"),
    "graph_version without v": ("graph_version", "26.0", "like v26.0"),
    "base_url": ("base_url", "ftp://shop.test", "https://"),
    "postgres:// of Heroku": ("database_url", "postgres://u:p@db/x", "postgresql://"),
    "MySQL": ("database_url", "mysql://u:p@db/x", "only sqlite"),
    "driver that is asynchronous": ("database_url", "postgresql+asyncpg://u:p@db/x", "psycopg2"),
    "file name alone": ("database_url", "coexistence.db", "like sqlite:///"),
    "in memory": ("database_url", "sqlite://", "outlive a restart"),
    "in memory, said aloud": ("database_url", "sqlite:///:memory:", "outlive a restart"),
    "PostgreSQL without name": ("database_url", "postgresql://db", "like postgresql://"),
    "sender_id without contact": ("sender_id", "{phone_number_id}", "{contact}"),
    "sender_id with unknown field": ("sender_id", "{contact}-{name}", "only {contact}"),
    "sender_id with a number": ("sender_id", "{contact}{0}", "only {contact}"),
    "sender_id with attribute": ("sender_id", "{contact.__class__}", "only {contact}"),
    "sender_id with format": ("sender_id", "{contact:>20}", "only {contact}"),
    "sender_id with conversion": ("sender_id", "{contact!r}", "only {contact}"),
    "sender_id with open brace": ("sender_id", "{contact}{", "only {contact}"),
    "sender_id with double braces": ("sender_id", "{{x}}{contact}", "only {contact}"),
    "ignore a name": ("ignore", ["mum"], "country code"),
    "ignore without country code": ("ignore", ["0151 1234567"], "country code"),
    "typed intents": ("allow_typed_intents", "maybe", "true or false"),
    "typed intents as a number": ("allow_typed_intents", 1, "true or false"),
    "history as a list": ("history", ["enabled"], "name: value"),
    "quiet_seconds of nothing": ("history.quiet_seconds", 0, "above 0"),
    "quiet_seconds infinite": ("history.quiet_seconds", ".inf", "above 0"),
    "context_messages negative": ("history.context_messages", -1, "0 or more"),
    "context_messages in parts": ("history.context_messages", 1.5, "whole number"),
    "cap of nothing": ("history.max_messages_per_conversation", 0, "1 or more"),
    "resume_after_minutes of nothing": ("takeover.resume_after_minutes", 0, "above 0"),
    "resume_after_minutes negative": ("takeover.resume_after_minutes", -5, "above 0"),
    "resume_after_minutes as true": ("takeover.resume_after_minutes", True, "above 0"),
    "resume_after_minutes with unit": ("takeover.resume_after_minutes", "30m", "above 0"),
    "handoff_timeout_minutes": ("takeover.handoff_timeout_minutes", 0, "above 0"),
    "keyword empty": ("takeover.resume_keyword", "", "it is empty"),
    "keyword of spaces": ("takeover.hold_keyword", "  ", "it is empty"),
    "notify_url": ("takeover.notify_url", "shop.test/notify", "https://"),
    "messages_per_second": ("replies.messages_per_second", 0, "above 0"),
    "release_after_seconds": ("replies.release_after_seconds", -0.1, "0 or more"),
    "template as a name": ("replies.closed_window_template", "promo", "name: value' (name, language)"),
    "mark_as_read": ("replies.mark_as_read", [], "true or false"),
}


@pytest.mark.parametrize(("key", "value", "remedy"), REFUSED.values(), ids=REFUSED.keys())
def test_unusable_value_is_named_with_its_remedy(key: str, value: Any, remedy: str) -> None:
    """A start that fails must tell what to write, not only that something is wrong."""
    (problem,) = problems_of({**REQUIRED, **nested(key, value)})
    assert problem.startswith(key)
    assert remedy in problem


UNKNOWN = {
    "slip of the pen": ({"verify_tokens": "x"}, "verify_tokens", "did you mean 'verify_token'?"),
    "slip in a section": (
        {"takeover": {"resume_minutes": 3}},
        "takeover.resume_minutes",
        "takeover.resume_after_minutes",
    ),
    "setting of a section at the top": ({"quiet_seconds": 3}, "quiet_seconds", "belongs under 'history:'"),
    "setting of another section": ({"replies": {"parse": True}}, "replies.parse", "belongs under 'history:'"),
    "setting of the top in a section": (
        {"history": {"ignore": []}},
        "history.ignore",
        "belongs directly under",
    ),
    "something else": ({"colour": "red"}, "colour", "remove it"),
    "not even text": ({3: "x"}, "3", "remove it"),
}


@pytest.mark.parametrize(("more", "key", "hint"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_unknown_setting_is_refused_with_the_likely_one(more: dict[Any, Any], key: str, hint: str) -> None:
    """A misspelled setting that is silently ignored would be noticed only when it matters."""
    (problem,) = problems_of({**REQUIRED, **more})
    assert problem.startswith(f"{key}: unknown setting")
    assert hint in problem


TOGETHER = {
    "app_id alone": ({"app_id": 1, "encryption_key": KEY}, "config_id"),
    "config_id alone": ({"config_id": 1, "encryption_key": KEY}, "app_id"),
    "sign-up without a key": ({"app_id": 1, "config_id": 2}, "encryption_key"),
    "one keyword for both": (
        {"takeover": {"resume_keyword": "Bot", "hold_keyword": " bot"}},
        "takeover.hold_keyword",
    ),
    "template without language": (
        {"replies": {"closed_window_template": {"name": "x"}}},
        "replies.closed_window_template.language",
    ),
}


@pytest.mark.parametrize(("more", "key"), TOGETHER.values(), ids=TOGETHER.keys())
def test_settings_that_do_not_go_together_are_refused(more: dict[str, Any], key: str) -> None:
    """Each value alone is fine; only together do they make no sense."""
    (problem,) = problems_of({**REQUIRED, **more})
    assert problem.startswith(f"{key}: ")


def test_every_problem_is_listed_at_once() -> None:
    """Nobody wants to start a server eight times to learn of eight mistakes."""
    block = {
        "verify_token": "...",
        "colour": 1,
        "takeover": {"resume_after_minutes": 0},
        "ignore": ["x", "y"],
        "app_id": 1,
    }
    keys = {problem.split(":")[0] for problem in problems_of(block)}
    assert keys == {
        "verify_token",
        "colour",
        "takeover.resume_after_minutes",
        "ignore[0]",
        "ignore[1]",
        "app_secret",
        "config_id",
        "encryption_key",
    }


@pytest.mark.parametrize("block", [None, {}, [], "text", 3])
def test_block_that_is_empty_or_no_block_is_a_config_error(block: Any) -> None:
    """Rasa hands over whatever stands under the channel's name and prints only its own kind of error."""
    with pytest.raises(RasaException):
        Settings.from_credentials(block)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
KEYS = [info.name for info in fields(Settings)]


@given(st.dictionaries(st.sampled_from(KEYS) | st.text(), JSON))
def test_any_block_is_settings_or_a_config_error(block: dict[str, Any]) -> None:
    """Rasa reports other errors as a channel that it cannot find."""
    with contextlib.suppress(ConfigError):
        assert Settings.from_credentials(block).verify_token


def test_secrets_show_neither_in_repr_nor_in_problems() -> None:
    """Settings end up in logs and tracebacks; whoever reads those must not be able to send."""
    secrets = {
        "verify_token": "hush-1",
        "app_secret": ["hush-2", "hush-3"],
        "access_token": "hush-4",
        "admin_token": "hush-5-long",
        "encryption_key": KEY,
        "database_url": "postgresql://u:hush-6@db/x",
        "takeover": {"notify_url": "https://hook.test/hush-7"},
    }
    shown = repr(Settings.from_credentials(secrets))
    assert "hush" not in shown
    assert KEY not in shown
    wrong = {**dict.fromkeys(KEYS, "postgres://hush"), "access_token": ["hush"], "admin_token": "hush"}
    assert "hush" not in "\n".join(problems_of(wrong))


def test_secret_is_usable_as_text() -> None:
    """A mask that gets into a header would lock us out."""
    settings = load(access_token="EAAG1")
    assert f"Bearer {settings.access_token}" == "Bearer EAAG1"
    assert load(app_secret=["a", "b"]).app_secrets == ("a", "b")
    assert load().encryption_keys == ()


def test_durations_are_given_in_seconds_too() -> None:
    """Clocks count seconds; nobody should multiply by 60 twice."""
    takeover = load(takeover={"resume_after_minutes": 0.5, "handoff_timeout_minutes": 2}).takeover
    assert (takeover.resume_after_seconds, takeover.handoff_timeout_seconds) == (30, 120)
    assert load().takeover.handoff_timeout_seconds is None


def test_sender_id_names_the_conversation() -> None:
    """The pattern is the user's; one with the number's id keeps two numbers apart."""
    assert load().contact_sender_id("845", "5217715268513") == "5217715268513"
    assert not load().tells_numbers_apart
    both = load(sender_id="{phone_number_id}:{contact}")
    assert both.contact_sender_id("845", "5217715268513") == "845:5217715268513"
    assert both.tells_numbers_apart


def test_embedded_signup_is_on_when_its_settings_are_there() -> None:
    """Pages for owners make sense only then."""
    assert load(app_id=1, config_id=2, encryption_key=KEY).has_embedded_signup
    assert not load().has_embedded_signup


def test_settings_cannot_be_changed() -> None:
    """Parts of the channel read them at different times and must agree."""
    with pytest.raises(AttributeError):
        load().graph_version = "v1.0"  # type: ignore[misc]


def keys_and_defaults(section: type[Struct]) -> dict[str, Any]:
    """Return what the example must list: each key with its default, sections as groups."""
    found: dict[str, Any] = {}
    for info in fields(section):
        if info.default_factory is not NODEFAULT:
            found[info.name] = keys_and_defaults(info.default_factory)
        else:
            found[info.name] = "..." if info.default is NODEFAULT else info.default
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def test_example_lists_every_setting_with_its_default() -> None:
    """The example file is the reference people copy; it must not drift from the code."""
    to_fill_in = dict.fromkeys(("access_token", "phone_number_id", "admin_token"), "...")
    assert example_block() == {**keys_and_defaults(Settings), **to_fill_in}


def test_unedited_example_is_refused_naming_what_to_fill_in() -> None:
    """Starting with the example's values would fail later, at Meta, with a worse message."""
    problems = problems_of(example_block())
    assert [problem.split(":")[0] for problem in problems] == [
        "verify_token",
        "app_secret",
        "access_token",
        "phone_number_id",
        "admin_token",
    ]
    assert all("example's value" in problem for problem in problems)


def test_filled_in_example_is_accepted() -> None:
    """Filling in the blanks must be all that is left to do."""
    block = {key: "filled-in" if value == "..." else value for key, value in example_block().items()}
    assert Settings.from_credentials(block).phone_number_id == "filled-in"
