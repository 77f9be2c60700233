"""At start the log says what the tracker store does to old chat, and what helps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from channels import credentials
from history_stage import SilentAgent
from ledgers import Clock
from stores import open_store
from structlog.testing import capture_logs

from rasa_coexistence.rasa_bridge import RasaBridge
from rasa_coexistence.settings import Settings
from rasa_coexistence.store_check import StoreCheck
from rasa_coexistence.tracker_stores import tuning


async def said(store: Any, **history: Any) -> list[dict[str, Any]]:
    """Return what is logged when a server starts with such a store, and that it is said once."""
    settings = Settings.from_credentials(credentials("sqlite:///unused.db", history=history))
    check = StoreCheck(RasaBridge(lambda: SilentAgent(store, Clock())), settings)
    agent = SilentAgent(store, Clock())
    check = StoreCheck(RasaBridge(lambda: agent), settings)
    with capture_logs() as logs:
        assert await check.step()
        assert not await check.step()
    return [dict(line) for line in logs]


@pytest.mark.parametrize(
    ("kind", "cap", "words"),
    [("redis", 100, "in every turn"), ("mongo", 5000, "16 MiB"), ("dynamo", 100, "400 KB")],
)
async def test_a_default_cap_is_said_with_its_reason(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, cap: int, words: str
) -> None:
    """The owner learns which, why, and where the rest is."""
    with open_store(kind, tmp_path, request.getfixturevalue) as shelf:
        [line] = [line for line in await said(shelf.store) if line["event"] == "tracker_store.cap"]
    assert (line["log_level"], line["max_messages"]) == ("warning", cap)
    for part in (words, "the others stay in the ledger", "history.max_messages_per_conversation", "SQL"):
        assert part in line["reason"]


async def test_a_cap_of_the_owner_s_is_no_warning(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """It was asked for; and it counts for any store."""
    with open_store("redis", tmp_path, request.getfixturevalue) as shelf:
        lines = await said(shelf.store, max_messages_per_conversation=500)
    assert [(line["log_level"], line["max_messages"]) for line in lines] == [("info", 500)]


@pytest.mark.parametrize(("kind", "words"), [("memory", "endpoints.yml"), ("custom", "PlainStore")])
async def test_a_store_that_loses_history_is_warned_about(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, words: str
) -> None:
    """Before the history is asked for, which Meta gives once."""
    with open_store(kind, tmp_path, request.getfixturevalue) as shelf:
        [line] = await said(shelf.store)
    assert (line["event"], line["log_level"]) == ("tracker_store.warning", "warning")
    assert words in line["reason"]


async def test_nothing_is_changed_unasked(tmp_path: Path) -> None:
    """SQL has nothing to say, and gets its index only where the setting asks for it."""
    with open_store("sqlite", tmp_path, pytest.fail) as shelf:
        assert await said(shelf.store) == []
        assert not tuning.has_index(shelf.inner.engine)
        [line] = await said(shelf.store, tune_tracker_store=True)
        assert tuning.has_index(shelf.inner.engine)
    assert line["event"] == "tracker_store.tuned"


async def test_without_history_only_tuning_is_spoken_of(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Caps are of no concern then; a store that cannot be tuned says so."""
    with open_store("redis", tmp_path, request.getfixturevalue) as shelf:
        assert await said(shelf.store, enabled=False) == []
        [line] = await said(shelf.store, enabled=False, tune_tracker_store=True)
    assert line["event"] == "tracker_store.not_tuned"
