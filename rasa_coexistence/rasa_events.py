"""Tell Rasa's events apart: what to leave out when the bot shall go on from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rasa.shared.core.constants import IS_EXTERNAL
from rasa.shared.core.events import Event, SessionStarted, SlotSet, UserUttered


def is_heard(event: Event) -> bool:
    """Tell whether a customer said something; reminders and external triggers look almost the same."""
    return isinstance(event, UserUttered) and not (event.metadata or {}).get(IS_EXTERNAL)


def without_missed_triggers(events: Sequence[Event]) -> Iterable[Event]:
    """Leave out what came from outside after the last thing that a customer said.

    While a person had the conversation Rasa noted it and did nothing; later it would answer that instead.
    """
    last = max((index for index, event in enumerate(events) if is_heard(event)), default=-1)
    for index, event in enumerate(events):
        if index <= last or not isinstance(event, UserUttered):
            yield event


def without_repeated_slots(events: Sequence[Event]) -> Iterable[Event]:
    """Keep of each slot only what was set last."""
    last = {event.key: event for event in events if isinstance(event, SlotSet)}
    return (event for event in events if not isinstance(event, SlotSet) or last[event.key] is event)


def keep_in_session(events: Iterable[Event], *, after: int) -> None:
    """Let no event after so many be older than the session that it is in.

    Rasa loads a session as what is not older than its beginning. A clock that was put back, or the one of
    another server that is slow, would make it lose this message now and mistake later ones.
    """
    began_at = 0.0
    for place, event in enumerate(events):
        if place >= after:
            event.timestamp = max(event.timestamp, began_at)
        if isinstance(event, SessionStarted):
            began_at = max(began_at, event.timestamp)
