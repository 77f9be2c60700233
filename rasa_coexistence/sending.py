"""Decide whether the next outgoing message may leave now."""

from __future__ import annotations

from msgspec import Struct

from rasa_coexistence.records import NumberState, Takeover

WINDOW_SECONDS = 24 * 3600.0
PAIR_SECONDS = 6.0  # one message to the same customer in six seconds,
PAIR_BURST = 45  # of which so many may be borrowed from the future
UNCLEAR_SECONDS = 60.0  # how long a status may take to prove that an unanswered try arrived
STOPPED_SECONDS = 300.0  # how often a number that cannot send is looked at again


COMES_BACK = frozenset({NumberState.OFFBOARDED.value, NumberState.BLOCKED.value})  # by itself
ANSWERS = frozenset({NumberState.CONNECTED.value, NumberState.RESTRICTED.value})


class Situation(Struct, frozen=True, kw_only=True):
    """All that decides about one outgoing message."""

    person: Takeover | None  # the takeover in force
    number_state: str
    last_customer_at: float | None
    is_template: bool
    not_before: float
    stopped_until: float | None  # of the whole number
    pair_slot_at: float


class Go(Struct, frozen=True):
    """Send it."""


class Wait(Struct, frozen=True):
    """Look at it again later."""

    until: float


class HoldBack(Struct, frozen=True):
    """A person has the conversation."""

    person: Takeover


class ClosedWindow(Struct, frozen=True):
    """WhatsApp takes only templates: the customer has not written for 24 hours."""


class NumberGone(Struct, frozen=True):
    """The business number cannot send until somebody does something about it."""

    state: str


def decide(situation: Situation, now: float) -> Go | Wait | HoldBack | ClosedWindow | NumberGone:
    """Return what is to be done with the next outgoing message of a conversation."""
    if situation.person is not None:
        return HoldBack(situation.person)
    if situation.number_state in COMES_BACK:
        return Wait(now + STOPPED_SECONDS)
    may_begin = situation.number_state == NumberState.CONNECTED.value
    if not may_begin and (situation.is_template or situation.number_state not in ANSWERS):
        return NumberGone(situation.number_state)
    if not situation.is_template and not window_is_open(situation.last_customer_at, now):
        return ClosedWindow()
    until = max(
        situation.not_before,
        situation.stopped_until or 0.0,
        situation.pair_slot_at - (PAIR_BURST - 1) * PAIR_SECONDS,
    )
    return Go() if until <= now else Wait(until)


def window_is_open(last_customer_at: float | None, now: float) -> bool:
    """Tell whether WhatsApp takes free-form messages: only a customer's live message opens the window."""
    return last_customer_at is not None and now < last_customer_at + WINDOW_SECONDS
