"""The server dies at any point of a sign-up: another goes on, and nothing is asked of Meta twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ledgers import Books
from signups import SHOP, Office, Process, office, shop

from rasa_coexistence.graph.client import GraphClient
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.ledger.onboardings import Onboarding
from rasa_coexistence.onboarding.flow import Onboardings
from rasa_coexistence.onboarding.watch import Watch
from rasa_coexistence.records import OnboardingState, StepState
from rasa_coexistence.tokens import Tokens

GRAPH_CALLS = (
    "exchange_code",
    "debug_token",
    "phone_numbers",
    "app_subscriptions",
    "subscribed_apps",
    "subscribe_app",
    "request_sync",
)
WRITES = 19  # transactions of an undisturbed sign-up; a test below keeps this honest
CALLS = 8


class Killed(BaseException):
    """The process is gone: nothing of it goes on, no clean-up runs."""


class Fate:
    """Counts what a process does, and ends it at one point of it."""

    def __init__(self, at: int | None = None, *, after: bool = False) -> None:
        self.count = 0
        self._at = at
        self._after = after

    async def run(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do something, unless this is the point; ``after`` means that it is done, but nobody hears of it."""
        self.count += 1
        if self.count == self._at and not self._after:
            raise Killed
        result = await work()
        if self.count == self._at:
            raise Killed
        return result


class MortalDatabase:
    """A ledger whose writes may be the last that its process makes."""

    def __init__(self, database: Database, fate: Fate) -> None:
        self._database = database
        self._fate = fate
        self.read = database.read

    async def write(self, *args: Any, **kwargs: Any) -> Any:
        """Write, or die."""
        return await self._fate.run(lambda: self._database.write(*args, **kwargs))


class MortalGraph:
    """Meta, as a process sees it that may die at any call."""

    def __init__(self, graph: GraphClient, fate: Fate) -> None:
        self._graph = graph
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._graph, name)
        if name not in GRAPH_CALLS:
            return method
        return lambda *args, **kwargs: self._fate.run(lambda: method(*args, **kwargs))


def mortal(desk: Office, writes: Fate, calls: Fate) -> Process:
    """Start a process that dies as its fates want."""
    clock, settings = desk.meta.clock.now, desk.settings
    database: Any = MortalDatabase(desk.database, writes)
    client = GraphClient(desk.meta.url)
    graph: Any = MortalGraph(client, calls)
    tokens = Tokens(desk.database, settings)
    onboardings = Onboardings(database, graph, tokens, settings, clock=clock)
    watch = Watch(database, graph, tokens, settings, onboardings, clock=clock)
    desk.processes.append(Process(client, tokens, onboardings, watch))
    return desk.processes[-1]


async def sign_up_and_die(tmp_path: Path, writes: Fate, calls: Fate) -> tuple[Office, Onboarding | None, Any]:
    """Sign up in a process that dies on the way, then let others go on; return how it ended."""
    database = Database(f"sqlite:///{tmp_path}/ledger.db")
    database.open()
    async with office(Books(database)) as desk:
        first = mortal(desk, writes, calls)
        code = desk.signs_up(shop())
        id_ = None
        with suppress(Killed):
            id_ = await first.onboardings.sign_up(code, waba_id="1002", phone_number_id=None)
            await first.onboardings.go_on(id_, code)
        await first.onboardings.stop()
        onboarding = None
        if id_ is None:  # nothing was written: the browser's next try is the first
            id_ = (await desk.post(desk.start(), code, "1002")).id
        for _ in range(3):
            desk.meta.clock.move(61)
            await desk.turn(desk.start())
        onboarding = await desk.onboarding(id_)
        await desk.file_webhooks()
        sync = await desk.sync() if onboarding.phone_number_id else None
    await database.close()
    return desk, onboarding, sync


def assert_clear(desk: Office, onboarding: Onboarding | None, sync: Any) -> None:
    """Onboarded, or with a clear state, and no call made twice that must not be."""
    assert onboarding is not None
    counts = Counter(desk.made("oauth", "smb_app_data"))
    assert not [name for name, count in counts.items() if count > 1]
    assert onboarding.state in (OnboardingState.DONE, OnboardingState.FAILED)
    if onboarding.state is OnboardingState.FAILED:
        assert onboarding.trouble in ("code_lost", "code_unclear")  # the owner presses Connect again
        assert desk.made("smb_app_data") == []
        return
    for kind, name in (("contacts", "smb_app_state_sync"), ("history", "history")):
        assert onboarding.made[kind] in (StepState.DONE, StepState.UNKNOWN)
        arrived = sync[kind]["status"] in ("syncing", "completed")
        assert arrived == (counts[f"smb_app_data:{name}"] == 1)
        assert arrived or "will tell" in sync[kind]["error"]


async def test_an_undisturbed_sign_up_has_so_many_points_to_die_at(tmp_path: Path) -> None:
    """Else the tests below would miss some of them."""
    writes, calls = Fate(), Fate()
    desk, onboarding, sync = await sign_up_and_die(tmp_path, writes, calls)
    assert (writes.count, calls.count) == (WRITES, CALLS)
    assert_clear(desk, onboarding, sync)
    assert sync["history"]["status"] == "syncing"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, WRITES + 1))
async def test_killed_at_any_write(tmp_path: Path, at: int, after: bool) -> None:
    """What is not written down was not made, and what is written down is not made twice."""
    assert_clear(*await sign_up_and_die(tmp_path, Fate(at, after=after), Fate()))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, CALLS + 1))
async def test_killed_at_any_call(tmp_path: Path, at: int, after: bool) -> None:
    """Before Meta hears of it, or before we hear of Meta's answer."""
    assert_clear(*await sign_up_and_die(tmp_path, Fate(), Fate(at, after=after)))


async def test_two_servers_go_on_at_once(tmp_path: Path) -> None:
    """Each step is one server's; the other finds it taken."""
    database = Database(f"sqlite:///{tmp_path}/ledger.db")
    database.open()
    async with office(Books(database)) as desk:
        code = desk.signs_up(shop())
        posts = [desk.post(desk.start(), code, "1002") for _ in range(5)]
        ended = await asyncio.gather(*posts)
        assert {one.id for one in ended} == {ended[0].id}
        assert (await desk.onboarding(ended[0].id)).state is OnboardingState.DONE
        asked = await asyncio.gather(*(desk.ask(desk.start(), SHOP) for _ in range(5)))
        assert {one.id for one in asked} == {ended[0].id}
        assert set(Counter(desk.made()).values()) == {1}
    await database.close()
