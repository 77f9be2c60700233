"""Whatever comes in whatever pieces: every message once, in its place, and live events as they were."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from history_stage import Stage, open_stage
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ledgers import DAY, NOW, echo, live
from old_chats import Old, chunk, text
from stores import ALL_KINDS, Shelf, open_store

from rasa_coexistence.events import JSON
from rasa_coexistence.identity import make_wamid
from rasa_coexistence.ledger import schema
from rasa_coexistence.simulator.state import Person, Webhook
from rasa_coexistence.to_rasa import is_history

SESSION_SECONDS = 3600.0  # of the stage's domain
MOST = 14  # messages of one old chat
LONGEST = 3 * 3600  # that the first phase of the history overlaps with live traffic
_customers = itertools.count(1)
_wamids = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Said:
    """One message of the old chat, and how else it comes."""

    age: int  # seconds before the first webhook; below zero: it was said while we were there already
    by_us: bool
    scoped: bool  # told live under another wamid of the same message
    also_live: bool


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A chat and what happens, in order."""

    said: list[Said]
    happens: list[tuple[str, int]]  # chunk: dice; live, echo, repeat: which; pass: minutes


ages = st.one_of(
    st.integers(-LONGEST, 40),
    st.integers(-60, 40),
    st.integers(0, 9 * 3600),
    st.integers(0, int(170 * DAY)),
)
messages = st.builds(Said, age=ages, by_us=st.booleans(), scoped=st.booleans(), also_live=st.booleans())
happenings = st.tuples(
    st.sampled_from(["chunk", "chunk", "chunk", "accept", "live", "echo", "overlap", "overlap", "pass"]),
    st.integers(0, 2**16),
)
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # others use this machine
plans = st.builds(
    Plan,
    said=st.lists(messages, max_size=MOST),
    happens=st.lists(happenings, max_size=9),
)


@dataclass(kw_only=True)
class Story:
    """One customer's chat as it comes in, and what we know must be."""

    stage: Stage
    shelf: Shelf
    person: Person
    said: list[tuple[Old, Said]]
    told: set[int] = field(default_factory=set)  # of the old chat, by chunks
    heard: list[str] = field(default_factory=list)  # texts that came live or as echoes, in order
    elsewhere: set[int] = field(default_factory=set)  # of the old chat, that came live or as echoes as well
    known: set[int] = field(default_factory=set)  # of what was told, what was read
    first_live_at: float | None = None  # when the customer wrote the first of their live messages
    unread: bool = False  # a chunk was accepted and not looked at

    @property
    def sender_id(self) -> str:
        return str(self.person.wa_id)

    async def happen(self, what: str, number: int) -> None:
        """Let something happen, and look at the tracker before and after it."""
        before = await self.stage.events(self.sender_id)
        if what == "pass":
            self.stage.clock.move(number % 150 * 60.0 + 1.0)
        else:
            self.stage.clock.move(1.0)
            await self._do(what, random.Random(number))
        await self._check(before, what)

    async def finish(self) -> None:
        """Tell all chunks again, at once and in pieces, and let everything settle."""
        self.stage.clock.now = max(self.stage.clock.now, NOW + LONGEST + 1)
        before = await self.stage.events(self.sender_id)
        everything = list(range(len(self.said)))
        random.Random(1).shuffle(everything)
        for part in (everything, everything[::2], everything[1::2]):
            self.told |= set(part)
            await self.stage.accept(self._chunk(part))
        await self._settle()
        await self._check(before, "chunk")

    async def _do(self, what: str, dice: random.Random) -> None:
        if what in ("chunk", "accept"):
            there = self._said_by_now()
            part = dice.sample(there, dice.randint(0, len(there)))
            self.told |= set(part)
            await self.stage.accept(self._chunk([*part, *dice.choices(part, k=2 if part else 0)]))
            self.unread = what == "accept"
            if what == "chunk":
                await self._settle()
        else:
            body = self._overlap(dice) if what == "overlap" else self._fresh(what)
            if body is not None:
                await self.stage.accept(body)
                await self._settle()

    async def _settle(self) -> None:
        await self.stage.settle()
        self.unread = False
        self.known = set(self.told)

    def _said_by_now(self) -> list[int]:
        return [place for place, (_, said) in enumerate(self.said) if NOW - said.age <= self.stage.clock()]

    def _chunk(self, part: list[int]) -> Webhook:
        return chunk(*(self.said[place][0] for place in part), person=self.person)

    def _fresh(self, what: str) -> Webhook:
        wamid, words = f"wamid.live.{next(_wamids)}", f"{what} {next(_wamids)}"
        self.heard.append(words)
        if what == "live" and self.first_live_at is None:
            self.first_live_at = self.stage.clock()
        return (_written if what == "live" else _typed)(self.person, wamid, words, self.stage.clock())

    def _overlap(self, dice: random.Random) -> Webhook | None:
        """Tell a message of the old chat live as well, once."""
        places = [
            place
            for place in self._said_by_now()
            if self.said[place][1].also_live and self.said[place][1].age < 40 and place not in self.elsewhere
        ]
        if not places:
            return None
        place = dice.choice(places)
        (by_us, described, _status), said = self.said[place]
        if self._joins_live_chat(place):
            self.elsewhere.add(place)
            self.heard.append(described["text"]["body"])
        if not by_us and self.first_live_at is None:
            self.first_live_at = NOW - said.age
        wamid = _other_wamid(described["id"], self.sender_id, by_us) if said.scoped else described["id"]
        tell = _typed if by_us else _written
        return tell(self.person, wamid, described["text"]["body"], NOW - said.age)

    def _joins_live_chat(self, place: int) -> bool:
        """What the phone sent before the customer wrote live stays old chat, if it was that first."""
        (by_us, _described, _status), said = self.said[place]
        began = self.first_live_at
        return not by_us or place not in self.known or (began is not None and NOW - said.age >= began)

    async def _check(self, before: list[JSON], what: str) -> None:
        events = await self.stage.events(self.sender_id)
        past = [event for event in events if is_history(event)]
        now = events[len(past) :]
        was = [event for event in before if not is_history(event)]
        assert events == past + now, "history stands before all that is live"
        if self.shelf.keeps_sessions or what in ("chunk", "accept", "pass"):
            assert now[: len(was)] == was, "live events stay as they were"
        assert _times(events) == sorted(_times(events))
        wamids = [event["metadata"]["whatsapp"]["wamid"] for event in _said(events)]
        assert len(wamids) == len(set(wamids))
        if self.shelf.keeps_sessions:
            assert [event["text"] for event in _said(now)] == self.heard
            if not self.unread:
                self._check_past(past, first_live_at=min(_times(now), default=None))
                self._check_sessions(was, now, past)
                await self._check_counters()

    def _check_past(self, past: list[JSON], *, first_live_at: float | None) -> None:
        """Everything that was told is there once, in order, each session opened where it begins."""
        told = [self.said[place] for place in self.told - self.elsewhere]
        told.sort(key=lambda one: (-one[1].age, one[1].by_us, one[0][1]["id"]))
        expected: list[tuple[str, str, float]] = []
        previous = -1e12
        for (by_us, described, _status), said in told:
            at = NOW - said.age
            if at - previous > SESSION_SECONDS:
                expected += [("action", "action_session_start", at), ("session_started", "", at)]
                expected += [("action", "action_listen", at)]
            previous = at
            expected.append(("bot" if by_us else "user", described["text"]["body"], at))
        found = [(event["event"], event.get("text") or event.get("name") or "") for event in past]
        assert found == [(kind, words) for kind, words, _ in expected]
        for event, (_, _, at) in zip(past, expected, strict=True):
            limit = at if first_live_at is None else min(at, first_live_at)
            assert limit - 0.001 <= event["timestamp"] <= limit
            assert first_live_at is None or event["timestamp"] < first_live_at

    def _check_sessions(self, was: list[JSON], now: list[JSON], past: list[JSON]) -> None:
        """A customer who writes after an hour of silence of both sides begins a session."""
        fresh = now[len(was) :]
        if not any(event["event"] == "user" for event in fresh):
            return
        newest = max(_times([*past, *was]), default=None)
        silent = newest is None or self.stage.clock() - newest > SESSION_SECONDS
        assert [event.get("name") for event in fresh].count("action_session_start") == int(silent)

    async def _check_counters(self) -> None:
        row = schema.conversations.select().filter_by(wa_id=self.person.wa_id)
        found = await self.stage.database.read(lambda connection: connection.execute(row).first())
        expected = len(self.told - self.elsewhere)
        if found is None:
            assert expected == 0
        else:
            assert (found.history_received, found.history_imported) == (expected, expected)


def _written(person: Person, wamid: str, words: str, at: float) -> Webhook:
    return live(person, (wamid, words), at=at)


def _typed(person: Person, wamid: str, words: str, at: float) -> Webhook:
    return echo(person, wamid, words, at=at)


def _times(events: list[JSON]) -> list[float]:
    return [event["timestamp"] for event in events]


def _said(events: list[JSON]) -> list[JSON]:
    return [event for event in events if event["event"] in ("user", "bot")]


def _other_wamid(wamid: str, sender_id: str, by_us: bool) -> str:
    """Return the wamid under which the other side, or whoever knows the customer's BSUID, has a message."""
    inner = INNER[wamid]
    return make_wamid(sender_id if by_us else "MX.13491208655302741918", inner, from_business=by_us)


INNER: dict[str, str] = {}


def begin(stage: Stage, shelf: Shelf, plan: Plan) -> Story:
    """Make up a customer that no other story has."""
    number = next(_customers)
    person = Person(wa_id=f"52155{number:08}", name="Ana")
    said = []
    for each in plan.said:
        inner = f"3EB0{next(_wamids):016X}"
        scope = "5215550000000" if each.by_us else str(person.wa_id)
        wamid = make_wamid(scope, inner, from_business=each.by_us)
        INNER[wamid] = inner
        at = NOW - each.age
        by_us, described, status = text(wamid, f"old {inner[-4:]}", by_us=each.by_us)
        said.append(((by_us, {**described, "timestamp": str(int(at))}, status), each))
    stage.clock.now = NOW
    return Story(stage=stage, shelf=shelf, person=person, said=said)


@pytest.fixture(scope="module", params=ALL_KINDS)
def shelf(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """Give a store of each kind for all stories: each has a customer of its own."""
    needs = {"postgresql": "postgres_url", "redis": "redis_server"}

    def server(_name: str) -> Any:
        return request.getfixturevalue(needs[request.param])

    with open_store(request.param, tmp_path_factory.mktemp("store"), server) as opened:
        yield opened


@pytest.fixture(scope="module")
def stage(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Give all that stands before it, on one ledger."""
    folder = tmp_path_factory.mktemp("ledger")
    loop = asyncio.new_event_loop()
    opening: Any = open_stage(shelf.store, f"sqlite:///{folder}/ledger.db")
    stage = loop.run_until_complete(opening.__aenter__())
    yield stage
    loop.run_until_complete(opening.__aexit__(None, None, None))
    loop.close()


@settings(unhurried, max_examples=10)
@given(plans)
async def test_chunks_live_messages_and_echoes_in_any_order(stage: Stage, shelf: Shelf, plan: Plan) -> None:
    """The model: old chat sorted and cut into sessions, then what came live, as it came."""
    await tell(begin(stage, shelf, plan), plan)


SCOPED = [Said(age=age, by_us=by_us, scoped=True, also_live=True) for age, by_us in ((5, False), (3, True))]


@example(Plan(said=SCOPED, happens=[("live", 0), ("overlap", 1), ("overlap", 2)]))
@example(Plan(said=SCOPED, happens=[("chunk", 6), ("live", 0), ("overlap", 1), ("overlap", 2)]))
@pytest.mark.parametrize("shelf", ["sqlite"], indirect=True)
@settings(unhurried, max_examples=40)
@given(plans)
async def test_many_more_stories(stage: Stage, shelf: Shelf, plan: Plan) -> None:
    """The same, longer, where it is fast."""
    await tell(begin(stage, shelf, plan), plan)


async def tell(story: Story, plan: Plan) -> None:
    """Let everything happen, one after the other."""
    for what, number in plan.happens:
        await story.happen(what, number)
    await story.finish()
