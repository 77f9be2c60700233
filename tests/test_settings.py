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
