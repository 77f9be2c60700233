"""Bodies of thousands of messages are read, filed and forgotten bit by bit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasa_coexistence.events import HistoryChunk
from rasa_coexistence.from_whatsapp import reading_webhook
from rasa_coexistence.from_whatsapp.history import AT_ONCE
from rasa_coexistence.steps import Step, Steps, steps_of

OWN = "15550783881"


def body_of(*threads: int) -> bytes:
    """Return a chunk with threads of so many messages."""
    chunk = {
        "metadata": {"phase": 1, "chunk_order": 7, "progress": 30},
        "threads": [
            {"id": f"1650555{thread:04}", "messages": [message(thread, number) for number in range(count)]}
            for thread, count in enumerate(threads)
        ],
    }
    value = {"metadata": {"phone_number_id": "2002", "display_phone_number": OWN}, "history": [chunk]}
    return msgspec.json.encode(value)


def message(thread: int, number: int) -> dict[str, Any]:
    what = {"type": "text", "text": {"body": f"{thread}.{number}"}}
    return {"from": OWN, "id": f"wamid.{thread}.{number}", "timestamp": str(1739230955 + number)} | what


@pytest.mark.parametrize(
    "threads",
    [(), (0,), (AT_ONCE,), (AT_ONCE + 1,), (3 * AT_ONCE,), (1, AT_ONCE, 1), (300, 300, 0, 300), (1300, 2)],
)
def test_a_long_chunk_comes_in_parts_that_are_the_whole(threads: tuple[int, ...]) -> None:
    """Whoever files it must know when it is complete, and how many messages it had."""
    parts = [part for part in reading_webhook(body_of(*threads)) if isinstance(part, HistoryChunk)]
    sizes = [sum(len(thread.messages) for thread in part.threads) for part in parts]
    assert [part.goes_on for part in parts] == [True] * (len(parts) - 1) + [False]
    assert [part.earlier for part in parts] == [sum(sizes[:place]) for place in range(len(parts))]
    assert all(size < 2 * AT_ONCE for size in sizes)
    read = [old.wamid for part in parts for thread in part.threads for old in thread.messages]
    assert read == [f"wamid.{at}.{number}" for at, count in enumerate(threads) for number in range(count)]
    assert len({(part.phase, part.chunk_order, part.progress) for part in parts}) == 1


def test_what_is_not_asked_for_is_not_read() -> None:
    """A customer who writes meanwhile waits for one slice, not for the whole body."""
    taken: list[Step] = []

    def counting() -> Iterator[Step]:
        for step in steps_of(body_of(*[100] * 50)):
            taken.append(step)
            yield step

    steps = Steps(counting())
    steps.prepare(0, 250)
    assert len(taken) == 4, "three, and one that tells that they are not the end"
    assert len(steps.after(0, 250)) == 3
    assert not steps.end_at(3)


def a_step(weight: int) -> Step:
    return Step(file=str, path="", raw=dict, webhook=dict, weight=weight)


@given(
    st.lists(st.integers(1, 9)),
    st.lists(st.integers(1, 20), min_size=1),
    st.lists(st.booleans()),
    st.integers(0, 40),
)
def test_what_is_prepared_is_not_read_while_the_database_is_locked(
    weights: list[int], budgets: list[int], failures: list[bool], begin: int
) -> None:
    """However long the steps are beside a budget, which shrinks, and wherever an earlier process ended."""
    read: list[Step] = []

    def reading() -> Iterator[Step]:
        for weight in weights:
            read.append(a_step(weight))
            yield read[-1]

    steps, position, ended = Steps(reading()), min(begin, len(weights)), False
    for budget in itertools.cycle(budgets):
        if ended:
            break
        steps.prepare(position, budget)
        before = len(read)
        end = position + len(steps.after(position, budget))
        ended = steps.end_at(end)
        assert len(read) == before
        if failures and failures.pop():
            ended = False
        else:
            position = end
    assert position == len(weights)


@given(st.lists(st.integers(1, 9)), st.integers(1, 20), st.integers(0, 40), st.lists(st.booleans()))
def test_steps_come_once_and_in_order(
    weights: list[int], budget: int, prepared: int, failures: list[bool]
) -> None:
    """Also when a transaction is repeated, or another replica has filed some meanwhile."""
    all_steps = [a_step(weight) for weight in weights]
    steps, position = Steps(all_steps), 0
    while not steps.end_at(position):
        steps.prepare(position, prepared)
        part = steps.after(position, budget)
        assert part == all_steps[position : position + len(part)]
        assert sum(step.weight for step in part[:-1]) < budget
        if not (failures and failures.pop()):
            position += len(part)
    assert position == len(all_steps)
