"""Play the story before a running bot, and show it in lines a person understands."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from rasa_coexistence.simulator import webhooks
from rasa_coexistence.simulator.bot import Bot
from rasa_coexistence.simulator.chats import Chat, Chunk, cut, shaken
from rasa_coexistence.simulator.screen import Screen
from rasa_coexistence.simulator.simulator import Simulator
from rasa_coexistence.simulator.story import Scene, Story

REPEATED = 6


class CannotPlay(Exception):
    """The bot is not there, or does not know us; the message says what to do."""


@dataclass(kw_only=True)
class Outcome:
    """What came of the story."""

    asked: int = 0
    answered: int = 0
    old_messages: int = 0
    in_trackers: int | None = None  # None: the bot does not tell
    knew: list[tuple[str, int, int, int]] = field(
        default_factory=list
    )  # name, knew then, had arrived, in all

    @property
    def is_good(self) -> bool:
        """Whether every question was answered and every old message is known."""
        complete = self.in_trackers in (None, self.old_messages)
        return self.answered == self.asked and complete


@dataclass(frozen=True, slots=True, kw_only=True)
class Tempo:
    """How long the performance takes, in seconds."""

    pace: float = 0.9  # between two pieces of history
    patience: float = 30.0  # longest wait for an answer
    quiet: float = 0.8  # no further bubble for so long: the answer is complete
    sync: float = 90.0  # longest wait for the end of the sync


class Play:
    """One performance."""

    def __init__(
        self, simulator: Simulator, bot: Bot, story: Story, screen: Screen, tempo: Tempo | None = None
    ) -> None:
        self._simulator, self._bot, self._story = simulator, bot, story
        self._screen, self._tempo = screen, tempo or Tempo()
        self._outcome = Outcome(old_messages=story.messages)
        self._arrived: set[str] = set()  # wamids of old messages that were posted
        self._sync_is_over = asyncio.Event()

    async def run(self) -> Outcome:
        """Shake hands, sync with customers writing in between, let customers write, count."""
        await self._shake_hands()
        watching = asyncio.ensure_future(self._watch_sync())
        try:
            await self._sync()
            await self._wait_for_sync()
        finally:
            self._sync_is_over.set()
            await watching
        self._screen.heading("Now customers write")
        for together in _groups([scene for scene in self._story.scenes if scene.after >= 1]):
            await asyncio.gather(*(self._play(scene) for scene in together))
            await asyncio.sleep(self._tempo.pace)
        await self._count()
        self._screen.summary(self._outcome)
        return self._outcome

    async def _shake_hands(self) -> None:
        setup = self._simulator.setup
        url = str(setup.webhook_url)
        if not await self._simulator.deliveries.verify(url, setup.verify_token):
            raise CannotPlay(
                f"{url} did not answer Meta's challenge. Is `rasa run` up, with this verify_token "
                "in credentials.yml?"
            )
        self._screen.say("Meta and the bot have shaken hands.")

    async def _sync(self) -> None:
        """Send the old chats in pieces, shuffled and partly repeated, with live questions in between."""
        simulator, now = self._simulator, self._simulator.clock.now()
        chunks = shaken(cut(self._story.chats, now=now, messages_per_chunk=75), repeats=REPEATED, seed=5)
        people = [chat.person for chat in self._story.chats]
        simulator.address_books[simulator.number.phone_number_id] = people
        asked = await self._bot.ask_for_sync() and "history" in simulator.number.syncs
        self._screen.announce_sync(self._story, chunks, repeated=REPEATED, asked=asked)
        if not asked:
            await simulator.post(webhooks.state_sync(simulator.number, [(one, False, now) for one in people]))
        waiting = [scene for scene in self._story.scenes if scene.after < 1]
        for chunk in chunks:
            await self._send(chunk)
            for scene in [scene for scene in waiting if self._has_come_up(scene)]:
                waiting.remove(scene)
                await self._play(scene)  # no new pieces meanwhile: what the bot knows is counted
            await asyncio.sleep(self._tempo.pace)

    async def _send(self, chunk: Chunk) -> None:
        delivery = await self._simulator.post(chunk.webhook(self._simulator.number))
        self._arrived.update(message.wamid for chat in chunk.threads for message in chat.messages)
        if not delivery.is_acknowledged:
            self._screen.problem(f"the bot answered {delivery.attempts[-1:]} to a piece; Meta tries again")

    async def _watch_sync(self) -> None:
        """Show how far the bot says it is, until the sync is over."""
        while not self._sync_is_over.is_set():
            self._screen.show_sync(await self._bot.sync())
            try:
                await asyncio.wait_for(self._sync_is_over.wait(), 1.0)
            except asyncio.TimeoutError:
                continue

    async def _wait_for_sync(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._tempo.sync
        while status := await self._bot.sync():
            if status["sync_status"] == "completed" or loop.time() > end:
                self._screen.show_sync(status, last=True)
                return
            await asyncio.sleep(0.3)
        self._screen.say("The bot does not tell how far the sync is (give --admin-token to see it).")

    async def _play(self, scene: Scene) -> None:
        """Let a customer write, and show what comes back."""
        chat = self._story.chat(scene.who)
        customer, wa_id = self._simulator.customer_like(chat.person), str(chat.person.wa_id)
        before, begun = len(self._simulator.sent_to(wa_id)), self._simulator.clock.now()
        if scene.remark:
            self._screen.remark(scene.remark)
        self._screen.question(scene.who, scene.says)
        self._outcome.asked += 1
        await customer.writes(scene.says)
        if scene.copies > 1:
            await self._simulator.deliveries.redeliver(copies=scene.copies - 1)
        if not await self._show_answers(scene.who, wa_id, before, begun):
            self._screen.problem(f"no answer to {scene.who} within {self._tempo.patience:.0f} s")
            return
        self._outcome.answered += 1
        knew = await self._bot.known_messages(wa_id)
        if knew is not None and scene.after < 1:
            arrived, in_all = self._arrived_of(chat), len(chat.messages)
            self._outcome.knew.append((scene.who, knew, arrived, in_all))
            self._screen.remark(
                f"{scene.who} wrote in the middle of the sync: the bot knew {knew} earlier messages"
            )

    def _has_come_up(self, scene: Scene) -> bool:
        chat = self._story.chat(scene.who)
        return self._arrived_of(chat) >= scene.after * len(chat.messages)

    def _arrived_of(self, chat: Chat) -> int:
        return sum(message.wamid in self._arrived for message in chat.messages)

    async def _show_answers(self, name: str, wa_id: str, before: int, begun: float) -> int:
        """Show what the bot sends until it is quiet; returns how many messages."""
        seen, patience = before, self._tempo.patience
        while True:
            try:
                found = await self._simulator.wait_for_sent(seen + 1, to=wa_id, timeout_seconds=patience)
            except TimeoutError:
                return seen - before
            for sent in found[seen:]:
                self._screen.answer(name, sent.text, sent.at, sent.at - begun)
            seen, patience = len(found), self._tempo.quiet

    async def _count(self) -> None:
        """Ask Rasa how many old messages stand in its trackers."""
        counts = [await self._bot.known_messages(str(chat.person.wa_id)) for chat in self._story.chats]
        known = [count for count in counts if count is not None]
        if len(known) == len(counts):
            self._outcome.in_trackers = sum(known)


def _groups(scenes: Sequence[Scene]) -> list[list[Scene]]:
    """Put together what is written at the same moment."""
    groups: list[list[Scene]] = []
    for together, some in groupby(scenes, key=lambda scene: scene.together):
        if together and groups:
            groups[-1].extend(some)
        else:
            groups.extend([scene] for scene in some)
    return groups
