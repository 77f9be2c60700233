"""A stand-in for Rasa's agent: its real trackers and its real SQL store, and a bot without a model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

from rasa.core.lock_store import InMemoryLockStore
from rasa.core.tracker_store import SQLTrackerStore
from rasa.shared.core.domain import Domain, SessionConfig
from rasa.shared.core.events import (
    ActionExecuted,
    BotUttered,
    ConversationPaused,
    Event,
    SessionStarted,
    UserUttered,
)

Clock = Callable[[], float]
Between = Callable[[], Awaitable[None]]
SESSION_MINUTES = 60.0


async def _nothing() -> None:
    return None


class StandInBot:
    """Says ``bubbles`` texts, which name the message they answer unless ``says`` is another.

    ``between`` runs before each.
    """

    def __init__(self, clock: Clock) -> None:
        self.bubbles = 1
        self.hands_off = False
        self.between: Between = _nothing
        self.says: Callable[[Any, int], str] = lambda heard, number: f"{heard.message_id} {number}"
        self._clock = clock

    async def answer(self, tracker: Any, channel: Any) -> None:
        """Answer the last thing that a customer said."""
        heard = [event for event in tracker.events if isinstance(event, UserUttered)][-1]
        tracker.update(ActionExecuted("action_answer", timestamp=self._clock()))
        if self.hands_off:
            tracker.update(ConversationPaused(timestamp=self._clock()))
        for number in range(self.bubbles):
            await self.between()
            said = BotUttered(self.says(heard, number), timestamp=self._clock())
            tracker.update(said)
            await channel.send_response(tracker.sender_id, said.message())
        tracker.update(ActionExecuted("action_listen", timestamp=self._clock()))


class StandInAgent:
    """What our bridge touches of an agent; a new one on the same store is Rasa after a restart."""

    def __init__(self, url: str, bot: StandInBot, clock: Clock) -> None:
        self.domain = Domain.empty()
        self.domain.session_config = SessionConfig(SESSION_MINUTES, carry_over_slots=True)
        self.tracker_store = SQLTrackerStore(self.domain, host=url)
        self.lock_store = InMemoryLockStore()
        self.processor = _Processor(self, bot, clock)

    def is_ready(self) -> bool:
        """Tell that a model is loaded."""
        return True

    def close(self) -> None:
        """Let go of the database."""
        self.tracker_store.engine.dispose()


class _Processor:
    def __init__(self, agent: StandInAgent, bot: StandInBot, clock: Clock) -> None:
        self.domain = agent.domain
        self.tracker_store = agent.tracker_store
        self.nlg = None
        self.model_metadata = SimpleNamespace(model_id="m", assistant_id="a", training_type=None)
        self._bot = bot
        self._clock = clock

    def _get_action(self, name: str) -> str:
        return name

    async def _run_action(self, action: str, tracker: Any, *_others: Any) -> None:
        now = self._clock()
        events: list[Event] = [
            ActionExecuted(action, timestamp=now),
            SessionStarted(timestamp=now),
            ActionExecuted("action_listen", timestamp=now),
        ]
        for event in events:
            tracker.update(event)

    async def parse_message(self, message: Any, _tracker: Any) -> dict[str, Any]:
        return {"text": message.text, "intent": {"name": "any"}, "entities": []}

    async def _handle_message_with_tracker(self, message: Any, tracker: Any) -> None:
        parsed = message.parse_data
        heard = UserUttered(
            message.text,
            parsed["intent"],
            parsed["entities"],
            parsed,
            timestamp=self._clock(),
            message_id=message.message_id,
            metadata=message.metadata,
            input_channel=message.input_channel,
        )
        tracker.update(heard)

    async def run_action_extract_slots(self, _channel: Any, tracker: Any) -> Any:
        return tracker

    async def _run_prediction_loop(self, channel: Any, tracker: Any) -> None:
        if not tracker.is_paused():
            await self._bot.answer(tracker, channel)

    async def run_anonymization_pipeline(self, _tracker: Any) -> None:
        return None
