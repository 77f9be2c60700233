"""What stores that keep a conversation in one piece promise, and stores that Rasa does not bring along."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from chat import ANA, BEN, CHAT, LIVE, NOON, OPENING, events_of, imported, message, said, shape
from rasa.core.tracker_store import (
    AwaitableTrackerStore,
    DynamoTrackerStore,
    FailSafeTrackerStore,
    InMemoryTrackerStore,
    RedisTrackerStore,
)
from rasa.core.utils import replace_floats_with_decimals
from stores import ALL_KINDS, DOMAIN, AppendingStore, PlainStore, Shelf, as_dicts, open_store, turn_events
from structlog.testing import capture_logs

from rasa_coexistence.errors import CoexistenceError, Postponed
from rasa_coexistence.events import JSON
from rasa_coexistence.records import StoredMessage
from rasa_coexistence.tracker_stores import History, dynamo, importer_for, mongo
from rasa_coexistence.tracker_stores.contract import newest_within
from rasa_coexistence.tracker_stores.dynamo import DynamoImporter
from rasa_coexistence.tracker_stores.memory import MemoryImporter
from rasa_coexistence.tracker_stores.mongo import MongoImporter
from rasa_coexistence.tracker_stores.other import OtherImporter
from rasa_coexistence.tracker_stores.redis import RedisImporter
from rasa_coexistence.tracker_stores.sql import SQLImporter

IMPORTERS = {
    "sqlite": SQLImporter,
    "postgresql": SQLImporter,
    "redis": RedisImporter,
    "mongo": MongoImporter,
    "dynamo": DynamoImporter,
    "memory": MemoryImporter,
    "custom": OtherImporter,
}
SLOT = {"event": "slot", "timestamp": LIVE + 5, "name": "size", "value": "L"}


@pytest.fixture
def opened(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Shelf]]:
    """Open stores by name."""
    contexts = []

    def open_one(kind: str) -> Shelf:
        contexts.append(open_store(kind, tmp_path, request.getfixturevalue))
        return contexts[-1].__enter__()

    yield open_one
    for context in contexts:
        context.__exit__(None, None, None)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_each_kind_has_its_importer(opened: Callable[[str], Shelf], kind: str) -> None:
    """Also under the wrappers of Rasa, one of which swallows errors."""
    shelf = opened(kind)
    for store in (shelf.inner, AwaitableTrackerStore(shelf.inner), FailSafeTrackerStore(shelf.inner)):
        assert type(importer_for(store)) is IMPORTERS[kind]


@pytest.mark.parametrize(
    ("kind", "cap", "warned"),
    [
        ("sqlite", None, None),
        ("postgresql", None, None),
        ("redis", 100, None),
        ("mongo", 5000, None),
        ("dynamo", 100, "Use an SQL tracker store"),
        ("memory", None, "endpoints.yml"),
        ("custom", None, "PlainStore"),
    ],
)
def test_limits_are_told_with_their_remedy(
    opened: Callable[[str], Shelf], kind: str, cap: int | None, warned: str | None
) -> None:
    """The owner reads at start what the store cannot do, and what to do about it."""
    importer = opened(kind).importer
    assert importer.default_cap == cap
    assert (importer.cap_reason is None) == (cap is None)
    if importer.cap_reason is not None:
        assert str(cap) in importer.cap_reason
        assert "history.max_messages_per_conversation" in importer.cap_reason
    assert (importer.warning is None) == (warned is None)
    assert warned is None or warned in (importer.warning or "")


def push(shelf: Shelf) -> None:
    """Write one more event, as another process of Rasa would."""
    sender = {"sender_id": ANA}
    if shelf.kind == "redis":
        stored = json.loads(shelf.inner.red.get(f"{shelf.inner.key_prefix}{ANA}") or '{"events": []}')
        stored["events"].append(SLOT)
        shelf.inner.red.set(f"{shelf.inner.key_prefix}{ANA}", json.dumps(stored))
    elif shelf.kind == "mongo":
        shelf.inner.conversations.update_one(sender, {"$push": {"events": dict(SLOT)}}, upsert=True)
    else:
        stored = shelf.inner.db.get_item(Key=sender).get("Item", {"events": [], **sender})
        shelf.inner.db.put_item(
            Item={**stored, "events": [*stored["events"], {**SLOT, "timestamp": int(LIVE + 5)}]}
        )


def disturbed(shelf: Shelf, times: int, messages: list[StoredMessage]) -> History:
    """Return a history while which is made somebody writes, so many times."""
    left = [times]

    def make_events(first_live_at: float | None) -> list[JSON]:
        if left[0] > 0:
            left[0] -= 1
            push(shelf)
        return events_of(*messages)

    return History(sender_id=ANA, make_events=make_events)


@pytest.mark.parametrize("with_live", [False, True])
@pytest.mark.parametrize("kind", ["redis", "mongo", "dynamo"])
async def test_a_write_in_between_is_not_lost(
    opened: Callable[[str], Shelf], kind: str, with_live: bool
) -> None:
    """Rasa's lock can fail, and another process writes without it."""
    shelf = opened(kind)
    live = await shelf.turn(ANA, LIVE, new_session=True) if with_live else []
    await shelf.importer.replace_history([disturbed(shelf, 2, CHAT)])
    events = await shelf.importer.read_events(ANA)
    assert shape(events) == shape(events_of(*CHAT) + live) + ["size"] * 2
    with pytest.raises(Postponed):
        await shelf.importer.replace_history([disturbed(shelf, 99, CHAT[:2]), imported(BEN, CHAT)])
    assert (await shelf.importer.read_events(ANA))[: len(events)] == events


@pytest.mark.parametrize(("record_exp", "expected"), [(None, -1), (3600.0, 3_600_000), (0.5, 500)])
async def test_redis_keeps_the_time_to_live(redis_port: int, record_exp: float | None, expected: int) -> None:
    """An import neither prolongs a conversation's life nor makes it immortal."""
    with (store := RedisTrackerStore(DOMAIN, port=redis_port, record_exp=record_exp, key_prefix="shop")).red:
        importer = importer_for(store)
        await importer.replace_history([imported(ANA, CHAT[:2])])
        key = f"shop:tracker:{ANA}"
        assert expected - 400 <= store.red.pttl(key) <= expected
        store.red.pexpire(key, 100_000)
        await importer.replace_history([imported(ANA, CHAT)])
        assert 90_000 < store.red.pttl(key) <= 100_000
        tracker = await store.retrieve_full_tracker(ANA)
        assert tracker is not None
        assert as_dicts(tracker) == events_of(*CHAT)


async def test_redis_that_is_gone_is_an_error(redis_port: int) -> None:
    """The worker comes back later; nothing is taken for done."""
    with (store := RedisTrackerStore(DOMAIN, port=redis_port)).red:
        store.red.connection_pool.connection_kwargs["port"] = 1
        with pytest.raises(redis.ConnectionError):
            await importer_for(store).replace_history([imported(ANA, CHAT)])


@pytest.mark.parametrize(
    ("kind", "module", "numbers"), [("mongo", mongo, list), ("dynamo", dynamo, replace_floats_with_decimals)]
)
@pytest.mark.parametrize(
    ("first_row", "left"), [(0, "ABCDE"), (5, "CDE"), (8, "CDE"), (9, "DE"), (13, "E"), (14, "")]
)
async def test_what_does_not_fit_is_left_out_oldest_first(
    opened: Callable[[str], Shelf],
    kind: str,
    module: Any,
    numbers: Callable[[list[JSON]], list[JSON]],
    first_row: int,
    left: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A document has a size; beyond it Rasa could not save the next turn."""
    shelf = opened(kind)
    live = await shelf.turn(ANA, LIVE, new_session=True)
    fitting = numbers([*events_of(*CHAT)[first_row:], *live])
    monkeypatch.setattr(module, "MAX_BYTES", sum(len(json.dumps(event, default=str)) for event in fitting))
    await shelf.importer.replace_history([imported(ANA, CHAT)])
    events = await shelf.full(ANA)
    kept = [event["metadata"]["whatsapp"]["wamid"][-1:] for event in said(events[: -len(live)])]
    assert "".join(kept) == left
    assert events[-len(live) :] == live


def test_a_session_that_is_cut_keeps_the_rows_that_open_it() -> None:
    """A tracker has to begin like one."""
    events = events_of(*(message(f"wamid.{letter}", NOON + n) for n, letter in enumerate("ABC")))
    sizes = [len(json.dumps(event)) for event in events]
    for kept in range(4):
        cut = newest_within(events, sum(sizes[len(sizes) - kept :]))
        texts = [f"text of wamid.{letter}" for letter in "ABC"[3 - kept :]]
        assert shape(cut) == ([*OPENING, *texts] if kept else [])
    for size in range(sum(sizes[3:]), sum(sizes) + 1, 50):
        assert newest_within(events, size) == events
    assert newest_within([], 5) == []
    assert newest_within(events, -5) == []


async def test_memory_forgets_history_at_the_second_session_and_gets_it_again() -> None:
    """That is what the warning is about; the ledger still has it all."""
    store = InMemoryTrackerStore(DOMAIN)
    importer = importer_for(store)
    for _ in range(2):
        await importer.replace_history([imported(ANA, CHAT)])
        assert (await importer.read_events(ANA))[: len(events_of(*CHAT))] == events_of(*CHAT)
        tracker = await store.retrieve(ANA)
        assert tracker is not None
        tracker.update_with_events(turn_events(LIVE, new_session=True), DOMAIN, override_timestamp=False)
        await store.save(tracker)


async def test_a_custom_store_that_appends_keeps_its_live_events() -> None:
    """Saving history there a second time would garble the conversation."""
    store = AppendingStore(DOMAIN)
    importer = importer_for(AwaitableTrackerStore(store))
    await importer.replace_history([imported(BEN, CHAT)])
    assert as_dicts(store.retrieve_full_tracker(BEN)) == events_of(*CHAT)
    tracker = store.init_tracker(ANA)
    tracker.update_with_events(turn_events(LIVE, new_session=True), DOMAIN, override_timestamp=False)
    store.save(tracker)
    live = as_dicts(tracker)
    for _ in range(2):
        with capture_logs() as logs:
            await importer.replace_history([imported(ANA, CHAT), imported(BEN, CHAT[:2])])
        assert [entry["event"] for entry in logs] == ["tracker_store.history_left_out"] * 2
        assert as_dicts(store.retrieve_full_tracker(ANA)) == live
        assert as_dicts(store.retrieve_full_tracker(BEN)) == events_of(*CHAT)
    with pytest.raises(CoexistenceError, match="by its own means"):
        await importer.forget([ANA])


async def test_what_a_custom_store_does_is_tried_once_in_a_conversation_of_ours() -> None:
    """Not at a customer's expense, and not for customers whom live events do not bind."""
    store = PlainStore(DOMAIN)
    importer = importer_for(store)
    await importer.replace_history([imported(ANA, CHAT[:1])])
    assert list(store.kept) == [ANA]
    for messages in (CHAT[:2], CHAT):
        await importer.replace_history([imported(ANA, messages)])
        assert as_dicts(store.retrieve_full_tracker(ANA)) == events_of(*messages)
    assert list(store.kept) == [ANA, "rasa-coexistence-probe"]


def test_dynamo_needs_no_table_of_another_kind(opened: Callable[[str], Shelf]) -> None:
    """We use the table that Rasa made."""
    shelf = opened("dynamo")
    assert isinstance(shelf.inner, DynamoTrackerStore)
    assert shelf.inner.client.list_tables()["TableNames"] == ["states"]
