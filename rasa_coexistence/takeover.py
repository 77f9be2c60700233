"""Decide who may speak in a conversation: the bot, or the person who answers from the phone."""

from __future__ import annotations

import math

from msgspec import Struct
from msgspec.structs import replace

from rasa_coexistence import settings
from rasa_coexistence.records import Takeover

BOT = Takeover()
HAND_OFF = "handoff"
PROMPT_SECONDS = 60.0  # an echo this young counts from its arrival: clocks differ, Meta gives whole seconds
META_SECOND = 1.0  # Meta's times are cut to whole seconds
BROADCAST_CHATS = 2  # as many others with the same text make it a broadcast
GREETING_SECONDS = 2.0  # nobody answers a first message so soon
NEVER_A_PERSON = frozenset({"reaction", "edit", "revoke"})
NOBODY = frozenset({"not content", "made by the app", "broadcast", "greeting"})  # what no person typed


class Rules(Struct, frozen=True, kw_only=True):
    """The settings that decide about takeovers."""

    enabled: bool
    resume_after_seconds: float
    handoff_timeout_seconds: float | None
    resume_keyword: str | None
    hold_keyword: str | None


def rules_of(given: settings.Takeover) -> Rules:
    """Return what the settings say about takeovers."""
    return Rules(
        enabled=given.enabled,
        resume_after_seconds=given.resume_after_seconds,
        handoff_timeout_seconds=given.handoff_timeout_seconds,
        resume_keyword=given.resume_keyword,
        hold_keyword=given.hold_keyword,
    )


class Echo(Struct, frozen=True, kw_only=True):
    """What is known about a message that was sent from the phone."""

    wamid: str
    type: str
    text: str | None
    sent_at: float | None
    automatic: bool = False  # Meta says that the app made it
    same_text_chats: int = 0  # other chats that got the same within seconds
    since_first_contact: float | None = None  # seconds from the customer's very first message to this one
    handed_back_at: float | None = None  # when the conversation was last given to the bot
    last_person_at: float | None = None  # when a person last wrote, this message apart


def in_force(takeover: Takeover, now: float) -> bool:
    """Tell whether a person has the conversation."""
    return takeover.mode != "bot" and (takeover.until is None or takeover.until > now)


def stronger(one: Takeover, other: Takeover, now: float) -> Takeover:
    """Return which of two counts when they meet: the one that keeps the bot silent longer."""
    held = [takeover for takeover in (one, other) if in_force(takeover, now)]
    return max(held, key=lambda takeover: (_end(takeover), takeover.mode == "hold"), default=one)


def _end(takeover: Takeover) -> float:
    return math.inf if takeover.until is None else takeover.until


def has_ended(takeover: Takeover, now: float) -> bool:
    """Tell whether a takeover ran out and the bot has not been told yet."""
    return takeover.mode != "bot" and not in_force(takeover, now)


# Why an echo is no person stepping in, first reason that holds; None at the end of the table: it is one.
_NOT_A_PERSON = (
    ("not content", lambda echo, rules, now: echo.type in NEVER_A_PERSON),
    ("made by the app", lambda echo, rules, now: echo.automatic),
    ("broadcast", lambda echo, rules, now: echo.same_text_chats >= BROADCAST_CHATS),
    ("greeting", lambda echo, rules, now: is_greeting(echo.since_first_contact)),
    ("switched off", lambda echo, rules, now: not rules.enabled),
    ("before hand-back", lambda echo, rules, now: is_before(echo.sent_at, echo.handed_back_at)),
    ("too old", lambda echo, rules, now: lasts_until(echo.sent_at, rules, now) <= now),
)


def not_a_person(echo: Echo, rules: Rules, now: float) -> str | None:
    """Return why an echo does not take the conversation, or None when it does."""
    return next((reason for reason, holds in _NOT_A_PERSON if holds(echo, rules, now)), None)


def is_greeting(since_first_contact: float | None) -> bool:
    """Tell whether a message came so soon after the customer's very first that the app must have made it."""
    return since_first_contact is not None and 0 <= since_first_contact <= GREETING_SECONDS


def command(echo_type: str, text: str | None, rules: Rules) -> str | None:
    """Return "resume" or "hold" when a text typed on the phone is that keyword and nothing else, or None."""
    if echo_type != "text":
        return None  # a caption is said to the customer, an edit was said before
    typed = (text or "").strip().casefold()
    for name, keyword in (("resume", rules.resume_keyword), ("hold", rules.hold_keyword)):
        if keyword is not None and typed == keyword.strip().casefold():
            return name
    return None


def after_echo(current: Takeover, echo: Echo, rules: Rules, now: float) -> Takeover | None:
    """Return the takeover that an echo leads to, or None when it changes nothing."""
    ordered = command(echo.type, echo.text, rules)
    if ordered is not None:
        return _after_command(current, ordered, echo, now)
    if not_a_person(echo, rules, now) is not None:
        return None
    until = lasts_until(echo.sent_at, rules, now)
    return after_person(current, until, said_at=echo.sent_at, reason="phone", wamid=echo.wamid, now=now)


def after_history(
    current: Takeover, newest: float, handed_back_at: float | None, rules: Rules, now: float
) -> Takeover | None:
    """Return the takeover that old chat leads to whose last business message is of ``newest``."""
    said_at = min(newest, now)
    until = said_at + rules.resume_after_seconds
    if not rules.enabled or is_before(said_at, handed_back_at):
        return None
    return after_person(current, until, said_at=said_at, reason="history", wamid=None, now=now)


def after_person(
    current: Takeover,
    until: float,
    *,
    said_at: float | None = None,
    reason: str,
    wamid: str | None,
    now: float,
) -> Takeover | None:
    """Return the takeover after a person's message that lasts ``until``, or None when it changes nothing.

    It extends a timed takeover, never shortens one, and leaves a hold alone that lasts longer. The hold of a
    hand-off becomes a timed one, unless the message was said before the bot called for somebody.
    """
    if until <= now:
        return None
    if not in_force(current, now):
        return Takeover(mode="timed", until=until, since=now, reason=reason, wamid=wamid)
    if current.reason == HAND_OFF and is_before(said_at, current.since):
        return None
    if current.reason != HAND_OFF and _outlasts(current, until):
        return replace(current, wants_person=False) if current.wants_person else None
    return Takeover(mode="timed", until=until, since=current.since, reason=reason, wamid=wamid)


def after_hand_off(current: Takeover, rules: Rules, now: float, *, cause: str | None) -> Takeover | None:
    """Return the hold that a bot which paused itself asks for; what it said in that turn still leaves."""
    if in_force(current, now):
        return None
    timeout = rules.handoff_timeout_seconds
    until = None if timeout is None else now + timeout
    return Takeover(mode="hold", until=until, since=now, reason=HAND_OFF, wamid=cause, wants_person=True)


def keeps_back(takeover: Takeover | None, cause: str) -> bool:
    """Tell whether a takeover silences a bubble; the turn that hands off may say so."""
    return takeover is not None and not (takeover.reason == HAND_OFF and takeover.wamid == cause)


def hold(*, until: float | None, reason: str, now: float, wamid: str | None = None) -> Takeover:
    """Return a hold that somebody set by hand."""
    return Takeover(mode="hold", until=until, since=now, reason=reason, wamid=wamid)


def lasts_until(sent_at: float | None, rules: Rules, now: float) -> float:
    """Count from the arrival of what is fresh, and from the sending of what comes late."""
    fresh = sent_at is None or sent_at > now - PROMPT_SECONDS
    return (now if fresh or sent_at is None else sent_at) + rules.resume_after_seconds


def handed_back_at(sent_at: float | None, now: float) -> float:
    """Return when a keyword handed back: at the end of the second that Meta says."""
    return now if sent_at is None else min(now, sent_at + META_SECOND)


def is_before(said_at: float | None, moment: float | None) -> bool:
    """Tell whether something was said before a moment, as far as whole seconds can tell."""
    return said_at is not None and moment is not None and said_at < moment - META_SECOND


def _after_command(current: Takeover, ordered: str, echo: Echo, now: float) -> Takeover | None:
    if ordered == "hold":
        late = is_before(echo.sent_at, echo.handed_back_at)
        return None if late else hold(until=None, reason="hold_keyword", now=now, wamid=echo.wamid)
    if echo.sent_at is not None and echo.last_person_at is not None and echo.sent_at < echo.last_person_at:
        return None  # it comes late: the person went on writing after it
    return BOT


def _outlasts(current: Takeover, until: float | None) -> bool:
    """Tell whether a takeover goes on after ``until``; of two timed ones with one end the newer counts."""
    if current.until is None or until is None:
        return current.until is None
    return current.until > until or (current.mode == "hold" and current.until == until)
