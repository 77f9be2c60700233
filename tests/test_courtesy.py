"""Old chat leaves room for who writes now, and comes in all the same."""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import nullcontext

import pytest

from rasa_coexistence import courtesy as courtesy_module
from rasa_coexistence.courtesy import (
    APART_SECONDS,
    CALM_SECONDS,
    GRACE_SECONDS,
    LONGEST_REST_SECONDS,
    LONGEST_WAIT_SECONDS,
    PATIENCE_SECONDS,
    REST,
    Courtesy,
)

Span = tuple[float, float]
_let_others_run = asyncio.sleep


class FakeClock:
    """A monotonic clock that only sleep moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    async def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self.now += max(seconds, 0.0)
        await _let_others_run(0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Give the clock of the test."""
    clock = FakeClock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(asyncio, "sleep", clock.sleep)
    return clock


async def long_ones(courtesy: Courtesy, count: int) -> list[Span]:
    """Do so many long things that come at the same moment; return from when to when each was done."""
    began, spans = time.monotonic(), list[Span]()

    async def one() -> None:
        async with courtesy.big():
            start = time.monotonic() - began
            await asyncio.sleep(0.002)
            spans.append((start, time.monotonic() - began))

    await asyncio.gather(*(one() for _ in range(count)))
    return spans


@pytest.mark.parametrize("somebody_writes", [False, True])
async def test_long_ones_go_one_by_one(somebody_writes: bool) -> None:
    """Side by side they would fill both cores, and with nobody there they need not wait."""
    courtesy = Courtesy()
    with courtesy.answering() if somebody_writes else nullcontext():
        spans = await long_ones(courtesy, 12)
    assert all(after >= end for (_, end), (after, _) in itertools.pairwise(spans))
    if not somebody_writes:
        assert spans[-1][1] < 11 * APART_SECONDS / 2, "nobody is there to wait for"


async def test_while_somebody_writes_long_ones_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a burst of them keeps waiting is one customer, not all."""
    monkeypatch.setattr(courtesy_module, "LONGEST_WAIT_SECONDS", 60.0)
    courtesy = Courtesy()
    with courtesy.answering():
        pass
    (_, first_end), (second, second_end), (third, _) = await long_ones(courtesy, 3)
    assert min(second - first_end, third - second_end) >= APART_SECONDS - 0.001


async def test_however_many_come_none_waits_for_room_for_long(clock: FakeClock) -> None:
    """Meta waits for each 200, and a bot that is never quiet must not keep it waiting."""
    courtesy = Courtesy()
    with courtesy.answering():
        spans = await long_ones(courtesy, 60)
    assert len(spans) == 60
    late = [(start, end) for start, end in spans if start >= LONGEST_WAIT_SECONDS]
    assert len(late) > 50
    assert late[0][0] < LONGEST_WAIT_SECONDS + 0.01
    assert late[-1][1] - late[0][0] == pytest.approx(sum(end - start for start, end in late))


@pytest.mark.parametrize(("took", "rest"), [(0.0, 0.0), (0.02, REST * 0.02), (1.0, LONGEST_REST_SECONDS)])
async def test_while_somebody_writes_old_chat_rests(clock: FakeClock, took: float, rest: float) -> None:
    """It stands in the way for a part of the time only, and yet it comes in."""
    courtesy = Courtesy()

    async def work_and_pause() -> float:
        clock.now += took
        began = clock.now
        await courtesy.pause()
        return clock.now - began

    assert await work_and_pause() == 0, "nobody has written"
    with courtesy.answering():
        pass
    assert await work_and_pause() == pytest.approx(max(GRACE_SECONDS - took, rest), abs=0.01)
    assert await work_and_pause() == pytest.approx(rest)
    with courtesy.answering():
        assert await work_and_pause() == pytest.approx(rest + PATIENCE_SECONDS, abs=0.01), "never quiet"


async def test_a_bot_that_is_never_quiet_gets_its_history(clock: FakeClock) -> None:
    """Whoever waited for quiet in vain does not wait for it at each of many short stages."""
    courtesy, stages = Courtesy(), 0
    with courtesy.answering():
        end = clock.now + 10.0
        while clock.now < end:
            await courtesy.pause()
            clock.now += 0.005
            stages += 1
    assert 100 < stages < 300, "with patience before each there would be 38, with rests alone 667"


async def test_pieces_are_small_until_nobody_has_written_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause between two messages is no end of the conversation."""
    courtesy = Courtesy()
    assert courtesy.piece(3200) == 3200
    with courtesy.answering():
        assert courtesy.piece(3200) == 100
        assert courtesy.piece(3) == 1
    assert courtesy.piece(3200) == 100
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + CALM_SECONDS + 1)
    assert courtesy.piece(3200) == 3200
