"""One suite on every tracker store: history goes before live events, which stay as they are."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mongomock
import pytest
import redis
from chat import ANA, BEN, CHAT, HOUR, LIVE, NOON, events_of, imported, message
from rasa.shared.core.trackers import DialogueStateTracker
from stores import ALL_KINDS, PlainStore, Shelf, history, open_store

from rasa_coexistence.events import JSON
from rasa_coexistence.records import StoredMessage
from rasa_coexistence.to_rasa import is_history
from rasa_coexistence.tracker_stores import History, sql_dialects


@pytest.fixture(params=ALL_KINDS)
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    """Give an empty store of each kind."""
    with open_store(request.param, tmp_path, request.getfixturevalue) as opened:
        yield opened


async def test_history_is_read_as_if_rasa_had_saved_it(shelf: Shelf) -> None:
    """Rasa's own reading decides: all sessions, and the last one alone."""
    events = events_of(*CHAT)
    await shelf.importer.replace_history([imported(ANA, CHAT)])
    await shelf.store.save(DialogueStateTracker.from_dict(BEN, events, []))
    assert await shelf.full(ANA) == await shelf.full(BEN) == events
    assert await shelf.last_session(ANA) == await shelf.last_session(BEN)
    assert (await shelf.last_session(ANA))[-1]["message_id"] == "wamid.E"
    assert len(await shelf.last_session(ANA)) == {"mongo": 3, "dynamo": len(events)}.get(shelf.kind, 4)
    assert await shelf.importer.read_events(ANA) == events


async def test_history_goes_before_live_events(shelf: Shelf) -> None:
    """A customer may write before the first chunk comes."""
    live = await shelf.turn(ANA, LIVE, new_session=True)
    seen = await shelf.last_session(ANA)
    stored = await shelf.importer.read_events(ANA)
    await shelf.importer.replace_history([imported(ANA, CHAT)])
    assert await shelf.full(ANA) == events_of(*CHAT) + live
    assert (await shelf.importer.read_events(ANA))[-len(live) :] == stored
    assert await shelf.last_session(ANA) == (seen if shelf.splits_sessions else events_of(*CHAT) + live)
    tracker = await shelf.store.retrieve(ANA)
    assert tracker is not None
    assert tracker.get_slot("size") == "M"


async def test_the_same_history_again_changes_nothing(shelf: Shelf) -> None:
    """Meta repeats chunks, and work is repeated after a crash."""
    await shelf.importer.replace_history([imported(ANA, CHAT)])
    live = await shelf.turn(ANA, LIVE, new_session=True)
    before = await shelf.full(ANA)
    for _ in range(2):
        await shelf.importer.replace_history([imported(ANA, CHAT)])
        if shelf.keeps_sessions:
            assert await shelf.full(ANA) == before
        assert await shelf.full(ANA) == events_of(*CHAT) + live


@pytest.mark.parametrize("seed", range(4))
async def test_chunks_in_any_order_with_live_turns_between(shelf: Shelf, seed: int) -> None:
    """What came when is forgotten in the end."""
    dice, known, live = random.Random(seed), list[StoredMessage](), list[JSON]()
    await shelf.turn(BEN, LIVE, new_session=True)
    for number, part in enumerate(dice.sample(CHAT, len(CHAT))):
        known.append(part)
        await shelf.importer.replace_history([imported(ANA, known)])
        assert await shelf.full(ANA) == events_of(*known) + live
        if shelf.keeps_sessions and dice.random() < 0.7:
            live += await shelf.turn(ANA, LIVE + number, new_session=not live, text=f"live {number}")
            assert await shelf.full(ANA) == events_of(*known) + live
    assert len(await shelf.full(BEN)) == 8


async def test_live_turns_after_the_import(shelf: Shelf) -> None:
    """Rasa's own save must lose and double nothing; where it does, the owner has been warned."""
    await shelf.importer.replace_history([imported(ANA, CHAT)])
    live = await shelf.turn(ANA, LIVE, new_session=True)
    live += await shelf.turn(ANA, LIVE + 9, new_session=False, text="again")
    full = await shelf.full(ANA)
    if shelf.keeps_sessions:
        assert full == events_of(*CHAT) + live
    else:
        assert full == live
        assert shelf.importer.warning is not None


async def test_a_live_turn_in_the_open_session(shelf: Shelf) -> None:
    """History that is younger than the session's end leaves it open."""
    await shelf.importer.replace_history([imported(ANA, CHAT)])
    live = await shelf.turn(ANA, NOON + 30.5 * HOUR, new_session=False)
    session = await shelf.last_session(ANA)
    assert [event["event"] for event in session[-6:-4]] == ["user", "user"]
    assert session[-len(live) :] == live
    if shelf.keeps_sessions:
        assert await shelf.full(ANA) == events_of(*CHAT) + live


@pytest.mark.parametrize("sent_at", [LIVE, LIVE + 5, LIVE + 1e9])
async def test_history_younger_than_live_events_hides_none(shelf: Shelf, sent_at: float) -> None:
    """Phase 0 overlaps live traffic, and clocks are wrong."""
    live = await shelf.turn(ANA, LIVE, new_session=True)
    await shelf.importer.replace_history([imported(ANA, [*CHAT, message("wamid.F", sent_at)])])
    full = await shelf.full(ANA)
    assert full[-len(live) :] == live
    assert [event.get("message_id") for event in full if event["event"] == "user"][-2] == "wamid.F"
    assert full[-len(live) - 1]["timestamp"] < LIVE
    assert (await shelf.last_session(ANA))[-5:] == live[-5:]
    assert await shelf.importer.first_live_at(ANA) == LIVE
    if shelf.keeps_sessions:
        live += await shelf.turn(ANA, LIVE + 1, new_session=False)
        assert (await shelf.full(ANA))[-len(live) :] == live


async def test_a_future_message_in_an_empty_conversation_hides_no_turn(shelf: Shelf) -> None:
    """A row from the future made the bot forget every turn."""
    future = message("wamid.F", LIVE * 3, received_at=LIVE - 1)
    await shelf.importer.replace_history([imported(ANA, [*CHAT, future])])
    live = await shelf.turn(ANA, LIVE, new_session=True)
    live += await shelf.turn(ANA, LIVE + 1, new_session=False, text="second")
    assert (await shelf.last_session(ANA))[-5:] == live[-5:]
    heard = [event["text"] for event in await shelf.last_session(ANA) if event["event"] == "user"]
    assert heard[-2:] == ["Hi", "second"]
    assert len(heard) == (2 if shelf.splits_sessions else 6)


async def test_events_of_other_channels_stay(shelf: Shelf) -> None:
    """A conversation may be older than this channel, without any session."""
    old = {"event": "user", "timestamp": NOON + HOUR, "text": "by web", "parse_data": {}, "metadata": {}}
    tracker = DialogueStateTracker.from_dict(ANA, [old], [])
    await shelf.store.save(tracker)
    await shelf.importer.replace_history([imported(ANA, CHAT)])
    full = await shelf.full(ANA)
    assert full[-1]["text"] == "by web"
    assert [is_history(event) for event in full] == [True] * (len(full) - 1) + [False]
    assert all(event["timestamp"] < NOON + HOUR for event in full[:-1])


async def test_history_that_shrinks(shelf: Shelf) -> None:
    """A message may be revoked, or the cap lowered."""
    live = await shelf.turn(ANA, LIVE, new_session=True)
    for messages in (CHAT, CHAT[:3], CHAT[1:3], []):
        await shelf.importer.replace_history([imported(ANA, messages)])
        assert await shelf.full(ANA) == events_of(*messages) + live


async def test_many_conversations_in_one_call(shelf: Shelf) -> None:
    """Some new, some with live events, one twice: the last word counts."""
    senders = [f"52155500{number:05}" for number in range(30)]
    live = {sender: await shelf.turn(sender, LIVE, new_session=True) for sender in senders[::3]}
    await shelf.importer.replace_history(
        [history(ANA, []), *(imported(sender, CHAT) for sender in senders), imported(senders[1], CHAT[:2])]
    )
    for sender in senders:
        expected = events_of(*(CHAT if sender != senders[1] else CHAT[:2])) + live.get(sender, [])
        assert await shelf.full(sender) == expected
    assert await shelf.full(ANA) == []


class _Kept(dict[str, Any]):
    """What a store in memory holds, so that writing to it can be made to fail."""


def _write_of(shelf: Shelf) -> tuple[Any, str]:
    """Return what puts a conversation, or all of a call, into a store: its holder and its name."""
    if shelf.kind == "memory":
        shelf.inner.store = _Kept(shelf.inner.store)
    places: dict[str, tuple[Any, str]] = {
        "sqlite": (sql_dialects, "bulk_insert"),
        "postgresql": (sql_dialects, "bulk_insert"),
        "redis": (redis.client.Pipeline, "execute"),
        "mongo": (mongomock.Collection, "update_one"),
        "dynamo": (getattr(shelf.importer, "_client", None), "put_item"),
        "memory": (_Kept, "__setitem__"),
        "custom": (PlainStore, "save"),
    }
    return places[shelf.kind]


@pytest.mark.parametrize("died", ["before", "after"])
@pytest.mark.parametrize("writes", [1, 2])
async def test_an_import_that_dies_in_the_middle_leaves_the_old_or_the_new(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, died: str, writes: int
) -> None:
    """Each conversation has the one history or the other, and its live events; then it is done again."""
    senders = [ANA, BEN, "5215550000002"]
    live = {sender: await shelf.turn(sender, LIVE, new_session=True) for sender in senders[:2]}
    await shelf.importer.replace_history([imported(sender, CHAT[2:4]) for sender in senders])
    holder, name = _write_of(shelf)
    write, left = getattr(holder, name), [writes]

    def dying(*args: Any, **others: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and died == "before":
            raise KeyError("power is gone")
        answer = write(*args, **others)
        if left[0] == 0:
            raise KeyError("power is gone")
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(holder, name, dying)
        is_one_write = shelf.kind in ("sqlite", "postgresql") and writes == 2
        with contextlib.nullcontext() if is_one_write else pytest.raises(KeyError):
            await shelf.importer.replace_history([imported(sender, CHAT) for sender in senders])
    found = [await shelf.full(sender) for sender in senders]
    for sender, events in zip(senders, found, strict=True):
        told = live.get(sender, [])
        assert events in (events_of(*CHAT[2:4]) + told, events_of(*CHAT) + told)
    await shelf.importer.replace_history([imported(sender, CHAT) for sender in senders])
    for sender in senders:
        assert await shelf.full(sender) == events_of(*CHAT) + live.get(sender, [])


async def test_forget_leaves_nothing_of_one_and_all_of_others(shelf: Shelf) -> None:
    """A customer may ask for it, and the law with them."""
    for sender in (ANA, BEN):
        await shelf.importer.replace_history([imported(sender, CHAT)])
    await shelf.turn(ANA, LIVE, new_session=True)
    await shelf.importer.forget([ANA, "never heard of"])
    await shelf.importer.forget([])
    assert await shelf.full(ANA) == []
    assert await shelf.importer.read_events(ANA) == []
    assert await shelf.importer.first_live_at(ANA) is None
    assert await shelf.full(BEN) == events_of(*CHAT)


async def test_no_session_counts_as_live_before_there_is_one(shelf: Shelf) -> None:
    """The first live event bounds the history; history itself does not."""
    assert await shelf.importer.first_live_at(ANA) is None
    await shelf.importer.replace_history([imported(ANA, CHAT)])
    assert await shelf.importer.first_live_at(ANA) is None
    asked: list[Any] = []
    await shelf.turn(ANA, LIVE, new_session=True)

    def make_events(first_live_at: float | None) -> list[JSON]:
        asked.append(first_live_at)
        return events_of(*CHAT)

    await shelf.importer.replace_history([History(sender_id=ANA, make_events=make_events)])
    assert set(asked) == {LIVE}


@pytest.mark.parametrize("has_history", [False, True])
async def test_what_is_said_after_the_preparation_counts(shelf: Shelf, has_history: bool) -> None:
    """Somebody may write before the change, since it needs no lock: also when there was nothing to change."""
    if has_history:
        await shelf.importer.replace_history([imported(ANA, CHAT)])
    asked: list[Any] = []

    def make_events(first_live_at: float | None) -> list[JSON]:
        asked.append(first_live_at)
        return events_of(*CHAT)

    histories = [History(sender_id=ANA, make_events=make_events)]
    prepared = await shelf.importer.prepare(histories)
    live = await shelf.turn(ANA, LIVE, new_session=True)
    await shelf.importer.replace_history(histories, prepared)
    assert await shelf.importer.read_events(ANA) == events_of(*CHAT) + live
    assert asked[-1] == LIVE
