"""Turn the old chat of one conversation into what the tracker store shall have of it."""

from __future__ import annotations

from collections.abc import Sequence

from rasa_coexistence.events import JSON
from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.records import StoredMessage
from rasa_coexistence.to_rasa import NEVER_SAID, history_events
from rasa_coexistence.tracker_stores import History


class Projection:
    """One conversation's history on its way into the tracker store."""

    def __init__(
        self,
        chat: Chat,
        messages: Sequence[StoredMessage],
        *,
        session_expiration_seconds: float,
        max_messages: int | None,
        keeps_events: bool,
    ) -> None:
        self.chat = chat
        self.messages = messages
        self.events: list[JSON] = []  # as they were made last, if they are kept: to hold them all is dear
        self._keeps_events = keeps_events
        self._session_expiration_seconds = session_expiration_seconds
        self._max_messages = max_messages

    @property
    def history(self) -> History:
        """What an importer takes."""
        return History(sender_id=self.chat.sender_id, make_events=self._make_events)

    @property
    def imported(self) -> int:
        """How many messages of history are dealt with, those apart that there is no room for."""
        came = sum(message.source == "history" for message in self.messages)
        if self._max_messages is None:
            return came
        said = sum(not message.revoked and message.type not in NEVER_SAID for message in self.messages)
        return came - max(said - self._max_messages, 0)

    def _make_events(self, first_live_at: float | None) -> list[JSON]:
        events = history_events(
            self.messages,
            contact=self.chat.contact,
            phone_number_id=self.chat.phone_number_id,
            session_expiration_seconds=self._session_expiration_seconds,
            first_live_at=first_live_at,
            max_messages=self._max_messages,
        )
        if self._keeps_events:
            self.events = events
        return events
