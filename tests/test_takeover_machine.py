"""Whatever customer, person, bot, clock and power do, in whatever order: the bot never cuts in."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from rasa.shared.core.events import BotUttered
from takeover_stage import HOLD, RESUME, TIMER, Crash, Stage

from rasa_coexistence.ledger import queues, schema
from rasa_coexistence.ledger.queues import LEASE_SECONDS

T = TypeVar("T")
FOREVER = float("inf")
UNCLEAR_SECONDS = 61.0
FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None  # thousands of commits: a disk would be slow


class Model:
    """Who has the conversation, said again in a few lines."""

    def __init__(self) -> None:
        self.until = 0.0  # the person has it till then
        self.number_until = 0.0
        self.handed_back_at = 0.0
        self.last_typed_at = 0.0
        self.last_words = ""  # wamid: what the bot said when it handed off still leaves
        self.handed_off_at = 0.0

    def bot_may_speak(self, now: float) -> bool:
        """Tell whether nobody keeps the bot silent."""
        return now >= self.until and now >= self.number_until

    def typed(self, sent_at: float, now: float) -> None:
        """Note a message that a person typed."""
        self._end_what_is_over(now)
        self.last_typed_at = max(self.last_typed_at, sent_at)
        until = (now if sent_at > now - 60 else sent_at) + TIMER
        if sent_at < self.handed_back_at - 1 or until <= now:
            return
        if self.last_words and sent_at < self.handed_off_at - 1:
            return  # no answer to the bot's call
        if until > self.until or self.last_words:
            self.until, self.last_words = until, ""

    def hold(self, until: float) -> None:
        """Note a hold."""
        self.until, self.last_words = until, ""

    def hand_off(self, wamid: str, now: float) -> None:
        """Note that the bot asked for somebody, answering a message."""
        self.until, self.last_words, self.handed_off_at = FOREVER, wamid, now

    def hand_back(self, at: float) -> None:
        """Note that the bot has it."""
        self.until, self.last_words, self.handed_back_at = 0.0, "", at

    def _end_what_is_over(self, now: float) -> None:
        if 0 < self.until <= now:
            self.hand_back(self.until)


@settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
class TakeoverMachine(RuleBasedStateMachine):
    """One conversation."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self._folder = Path(tempfile.mkdtemp(prefix="takeover-", dir=FAST))
        self.stage = self.run(self._open())
        self.model = Model()
        self.asked: list[str] = []  # wamids of the customer
        self.typed: list[str] = []  # wamids that a person typed
        self.arrived: list[str] = []  # of what Rasa is to see, in order
        self.reminders = 0
        self.stage.meta.before = self._check_that_it_may_leave

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something to its end."""
        return self._loop.run_until_complete(work)

    async def _open(self) -> Stage:
        return Stage(self._folder)

    def teardown(self) -> None:
        """Let everything come to its end, and look at what that is."""
        try:
            if self.asked:
                self._let_it_end()
                self._check_the_end()
        finally:
            self.run(self.stage.close())
            self._loop.close()
            shutil.rmtree(self._folder)

    @property
    def now(self) -> float:
        """The time on everybody's clock."""
        return self.stage.clock.now

    @initialize()
    def meet(self) -> None:
        """A customer whom nobody greets any more."""
        self.customer_writes()
        self.work()
        self.tick(10)

    @rule()
    def customer_writes(self) -> None:
        """The customer asks something."""
        wamid = self.run(self.stage.customer_writes())
        self.asked.append(wamid)
        self.arrived.append(wamid)

    @rule(age=st.sampled_from([0.0, 5.0, 90.0, TIMER + 1]))
    def person_types(self, age: float) -> None:
        """A person answers on the phone; the webhook may be late."""
        wamid = self.run(self._type(age))
        note(f"{wamid} of {age} s ago")

    async def _type(self, age: float) -> str:
        wamid = await self.stage.phone_sends(age=age)
        self.model.typed(float(int(self.now - age)), self.now)
        self.typed.append(wamid)
        self.arrived.append(wamid)
        return wamid

    @rule(kind=st.sampled_from(["reaction", "revoke", "greeting"]))
    def phone_sends_something_else(self, kind: str) -> None:
        """Not a person stepping in, but Rasa shall see it."""
        target = {"message_id": self.asked[0], "emoji": "👍"}
        if kind == "greeting":
            sent = self.stage.phone_sends(message_creation_type="created_by_1p_bot")
        elif kind == "reaction":
            sent = self.stage.phone_sends("reaction", target)
        else:
            sent = self.stage.phone_sends("revoke", {"original_message_id": "wamid.never.seen"})
        self.arrived.append(self.run(sent))

    @rule(word=st.sampled_from([RESUME, HOLD, f" {RESUME.upper()}\n"]))
    def person_types_a_keyword(self, word: str) -> None:
        """The owner orders."""
        self.run(self.stage.phone_sends(content={"body": word}))
        sent_at = float(int(self.now))
        if word == HOLD:
            if sent_at >= self.model.handed_back_at - 1:
                self.model.hold(FOREVER)
        elif sent_at >= self.model.last_typed_at:
            self.model.hand_back(min(self.now, sent_at + 1))

    @rule(seconds=st.sampled_from([None, 30.0, 300.0]))
    def somebody_holds(self, seconds: float | None) -> None:
        """The API keeps the bot silent."""
        self.model.hold(FOREVER if seconds is None else self.now + seconds)
        self.run(self.stage.hold(seconds))

    @rule()
    def somebody_hands_back(self) -> None:
        """The API gives the chat to the bot."""
        self.run(self.stage.hand_back())
        self.model.hand_back(self.now)

    @rule()
    def a_reminder_is_due(self) -> None:
        """The bot speaks outside a turn, whoever has the conversation."""
        self.reminders += 1
        self.run(self.stage.remind(f"{self.asked[-1]} reminder {self.reminders}"))

    @rule(seconds=st.sampled_from([None, 60.0]), an_answer_waits=st.booleans())
    def the_number_is_held(self, seconds: float | None, an_answer_waits: bool) -> None:
        """Bot off now, everywhere, also for what is ready to leave."""
        if an_answer_waits:
            self.customer_writes()
            self.talk_only()
        self.model.number_until = FOREVER if seconds is None else self.now + seconds
        self.run(self.stage.hold_number(seconds))

    @rule()
    def the_number_is_released(self) -> None:
        """Bot on again."""
        self.run(self.stage.release_number())
        self.model.number_until = 0.0

    @rule(seconds=st.sampled_from([1.0, 29.0, TIMER, 3700.0]))
    def tick(self, seconds: float) -> None:
        """Time passes, sometimes more than a session lasts."""
        self.stage.clock.now += seconds

    @rule(which=st.floats(0, 0.999))
    def redelivery(self, which: float) -> None:
        """Meta posts something again."""
        posted = self.stage.posted
        self.run(self.stage.post(posted[int(which * len(posted))]))

    @rule(bubbles=st.integers(0, 3))
    def work(self, bubbles: int = 1) -> None:
        """The bot does all that it can do now."""
        self.stage.bot.bubbles = bubbles
        self.run(self.stage.settle())

    @rule()
    def talk_only(self) -> None:
        """Turns are run, nothing is sent yet."""
        self.run(self.stage.work(queues.TALK))

    @precondition(lambda self: self.asked)
    @rule(bubbles=st.integers(1, 3), at=st.integers(0, 2), age=st.sampled_from([0.0, 90.0]))
    def person_types_while_the_bot_answers(self, bubbles: int, at: int, age: float) -> None:
        """Between any two bubbles of a turn."""
        self.customer_writes()
        steps = iter(range(bubbles))

        async def between() -> None:
            if next(steps, None) == at:
                await self._type(age)

        self.stage.bot.between = between
        self._work_with_bubbles(bubbles)

    @rule(bubbles=st.integers(1, 3))
    def person_types_while_a_bubble_leaves(self, bubbles: int) -> None:
        """During the call of Meta's API."""
        self.customer_writes()

        async def meanwhile(_wamid: str, _text: str) -> None:
            self.stage.meta.meanwhile = None
            await self._type(0.0)

        self.stage.meta.meanwhile = meanwhile
        self._work_with_bubbles(bubbles)

    @rule(bubbles=st.integers(1, 3))
    def our_own_message_comes_back_before_the_answer_to_our_call(self, bubbles: int) -> None:
        """An echo of ours that nobody can know yet."""
        self.customer_writes()

        async def meanwhile(wamid: str, text: str) -> None:
            await self.stage.phone_sends(content={"body": text}, wamid=wamid)
            await self.stage.work(queues.TALK)

        self.stage.meta.meanwhile = meanwhile
        self._work_with_bubbles(bubbles)

    @rule()
    def the_bot_hands_off(self) -> None:
        """A custom action pauses the conversation."""
        free = self.model.bot_may_speak(self.now)
        if not free:
            return
        self.run(self.stage.settle())  # what is owed first
        self.stage.bot.hands_off = True
        self.customer_writes()
        self._work_with_bubbles(1)
        [conversation] = self.run(self.stage.rows(schema.conversations))
        if conversation.takeover_reason == "handoff":  # else the turn waits for something
            self.model.hand_off(self.asked[-1], self.now)

    @precondition(lambda self: self.asked)
    @rule(when=st.sampled_from(["before the save", "after the save", "while sending", "in the turn"]))
    def power_cut(self, when: str) -> None:
        """The process dies in the middle, and comes back."""
        self.customer_writes()
        store, meta, bot = self.stage.agent.tracker_store, self.stage.meta, self.stage.bot
        save = store.save

        async def cut_save(tracker: Any) -> None:
            if when == "after the save":
                await save(tracker)
            raise Crash

        async def cut(*_args: Any) -> None:
            raise Crash

        if when == "while sending":
            meta.meanwhile = cut
        elif when == "in the turn":
            bot.between = cut
        else:
            store.save = cut_save
        try:
            self.run(self.stage.settle())
        except Crash:
            note("died")
        self.run(self.stage.close())
        self._calm()
        self.stage.clock.now += LEASE_SECONDS + 1
        self.stage.restart()

    def _work_with_bubbles(self, bubbles: int) -> None:
        try:
            self.work(bubbles)
        finally:
            self._calm()

    def _calm(self) -> None:
        self.stage.meta.meanwhile = None
        self.stage.bot.hands_off = False
        self.stage.bot.between = partial(asyncio.sleep, 0)

    @invariant()
    def nothing_leaves_twice(self) -> None:
        """Invariants 2 and 3: one answer to a message."""
        texts = [text for _wamid, text in self.stage.meta.left]
        assert len(texts) == len(set(texts))

    @invariant()
    def only_customers_make_the_bot_speak(self) -> None:
        """Invariant 6: each bubble answers a live message."""
        assert {text.split()[0] for _wamid, text in self.stage.meta.left} <= set(self.asked)

    def _check_that_it_may_leave(self, text: str) -> None:
        """Invariant 5, asked as each bubble leaves."""
        note(f"leaves: {text}")
        last_words = text.split()[0] == self.model.last_words
        assert last_words or self.model.bot_may_speak(self.now), "the bot cut in"

    def _let_it_end(self) -> None:
        self._calm()
        self.somebody_hands_back()
        self.the_number_is_released()
        for _ in range(4):  # leases, doubts and unclear answers run out
            self.work()
            self.tick(UNCLEAR_SECONDS)
        self.work()

    def _check_the_end(self) -> None:
        [conversation] = self.run(self.stage.rows(schema.conversations))
        assert not conversation.tracker_paused
        messages = self.run(self.stage.rows(schema.messages))
        states = {row.wamid: row.state for row in messages}
        assert "waiting" not in states.values()
        assert {row.state for row in self.run(self.stage.rows(schema.outbox))} <= {
            "accepted",
            "unknown",
            "held_back",
            "discarded",
        }
        chat = [wamid for _who, wamid in self.run(self.stage.chat())]
        assert chat == self.arrived, "once each, in the order of arrival"
        self._check_that_the_last_question_is_answered(messages)
        tracker = self.run(self.stage.tracker())
        assert not tracker.is_paused()
        self._check_the_marks(tracker)

    def _check_that_the_last_question_is_answered(self, messages: list[Any]) -> None:
        rows = {row.wamid: row for row in messages}
        last = rows[self.asked[-1]]
        by_person = any(
            rows[wamid].sent_at > last.sent_at
            or (rows[wamid].sent_at == last.sent_at and rows[wamid].id > last.id)
            for wamid in self.typed
        )
        assert last.state == "answered" or by_person

    def _check_the_marks(self, tracker: Any) -> None:
        """Every bubble that never left is marked, on its event or in a pause or resume after it."""
        rows = [row for row in self.run(self.stage.rows(schema.outbox)) if row.state == "held_back"]
        marked = [
            event.text
            for event in tracker.events
            if isinstance(event, BotUttered) and "held_back" in (event.metadata.get("whatsapp") or {})
        ]
        for event in tracker.events:
            facts = (event.metadata.get("whatsapp") or {}).get("held_back")
            marked += [told["text"] for told in facts] if isinstance(facts, list) else []
        assert {row.text for row in rows} <= set(marked)


TestTakeover = TakeoverMachine.TestCase
