"""Each setting's value is read into one form, or refused with what to write instead."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.fernet import Fernet

from rasa_coexistence.errors import ConfigError
from rasa_coexistence.settings import Settings

REQUIRED = {"verify_token": "a text", "app_secret": "abc123"}
KEY = Fernet.generate_key().decode()


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


ACCEPTED = {
    "id as a YAML number": ("phone_number_id", 845237608662425, "845237608662425"),
    "one secret": ("app_secret", "abc", ("abc",)),
    "two secrets while rotating": ("app_secret", ["new", "old"], ("new", "old")),
    "two secrets in one variable": ("app_secret", "new, old", ("new", "old")),
    "Fernet keys while rotating": ("encryption_key", [KEY, KEY], (KEY, KEY)),
    "line break of a pasted token": ("access_token", " EAAG1\n", "EAAG1"),
    "empty variable for an optional key": ("admin_token", "", None),
    "empty section": ("history", None, Settings.from_credentials(REQUIRED).history),
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
    assert value_at(Settings.from_credentials({**REQUIRED, **nested(key, value)}), key) == expected


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
    with pytest.raises(ConfigError) as caught:
        Settings.from_credentials({**REQUIRED, **nested(key, value)})
    (problem,) = caught.value.problems
    assert problem.startswith(key)
    assert remedy in problem
