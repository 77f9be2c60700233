"""Decide who may speak in a conversation: the bot, or the person who answers from the phone."""

from __future__ import annotations

from msgspec import Struct

from rasa_coexistence.records import Takeover

BOT = Takeover()
HAND_OFF = "handoff"
PROMPT_SECONDS = 60.0  # an echo this young counts from its arrival: clocks differ, Meta gives whole seconds
NEVER_A_PERSON = frozenset({"reaction", "edit", "revoke"})


class Rules(Struct, frozen=True, kw_only=True):
    """The settings that decide about takeovers."""

    enabled: bool
    resume_after_seconds: float
    handoff_timeout_seconds: float | None
    resume_keyword: str | None
    hold_keyword: str | None


class Echo(Struct, frozen=True, kw_only=True):
    """What is known about a message that was sent from the phone."""

    wamid: str
    type: str
    text: str | None
    sent_at: float | None
    automatic: bool  # Meta says that the app made it
    same_text_chats: int  # other chats that got the same text within seconds
    since_first_contact: float | None  # seconds from the customer's very first message to this one
    handed_back_at: float | None  # when the conversation was last given to the bot


def in_force(takeover: Takeover, now: float) -> bool:
    """Tell whether a person has the conversation."""
    return takeover.mode != "bot" and (takeover.until is None or takeover.until > now)


def has_ended(takeover: Takeover, now: float) -> bool:
    """Tell whether a takeover ran out and the bot has not been told yet."""
    return takeover.mode != "bot" and not in_force(takeover, now)


# Why an echo is no person stepping in, first reason that holds; None at the end of the table: it is one.
_NOT_A_PERSON = (
    ("switched off", lambda echo, rules, now: not rules.enabled),
    ("not content", lambda echo, rules, now: echo.type in NEVER_A_PERSON),
    ("made by the app", lambda echo, rules, now: echo.automatic),
    ("broadcast", lambda echo, rules, now: echo.same_text_chats >= 2),
    (
        "greeting",
        lambda echo, rules, now: echo.since_first_contact is not None and 0 <= echo.since_first_contact <= 2,
    ),
    (
        "before hand-back",
        lambda echo, rules, now: (
            echo.sent_at is not None
            and echo.handed_back_at is not None
            and echo.sent_at < echo.handed_back_at - 1
        ),
    ),
    ("too old", lambda echo, rules, now: _until(echo.sent_at, rules, now) <= now),
)


def not_a_person(echo: Echo, rules: Rules, now: float) -> str | None:
    """Return why an echo does not mean that a person answers, or None when it does."""
    return next((reason for reason, holds in _NOT_A_PERSON if holds(echo, rules, now)), None)


def command(text: str | None, rules: Rules) -> str | None:
    """Return "resume" or "hold" when this text, typed on the phone, is that keyword; else None."""
    typed = (text or "").strip().casefold()
    for name, keyword in (("resume", rules.resume_keyword), ("hold", rules.hold_keyword)):
        if keyword is not None and typed == keyword.strip().casefold():
            return name
    return None


def after_echo(current: Takeover, echo: Echo, rules: Rules, now: float) -> Takeover | None:
    """Return the takeover that an echo leads to, or None when it changes nothing."""
    ordered = command(echo.text, rules)
    if ordered == "resume":
        return BOT
    if ordered == "hold":
        return Takeover(mode="hold", reason="hold_keyword", wamid=echo.wamid)
    if not_a_person(echo, rules, now) is not None:
        return None
    return after_person(current, _until(echo.sent_at, rules, now), reason="phone", wamid=echo.wamid, now=now)


def after_person(
    current: Takeover, until: float, *, reason: str, wamid: str | None, now: float
) -> Takeover | None:
    """Return the takeover after a person's message that lasts ``until``; a hold outranks the timer."""
    if until <= now:
        return None
    if in_force(current, now):
        if current.mode == "hold" and not current.wants_person:
            return None
        if current.mode == "timed" and (current.until or 0) >= until:
            return None
    return Takeover(mode="timed", until=until, reason=reason, wamid=wamid)


def after_hand_off(current: Takeover, rules: Rules, now: float, *, cause: str | None) -> Takeover | None:
    """Return the hold that a bot which paused itself asks for; what it said in that turn still leaves."""
    if in_force(current, now):
        return None
    timeout = rules.handoff_timeout_seconds
    until = None if timeout is None else now + timeout
    return Takeover(mode="hold", until=until, reason=HAND_OFF, wamid=cause, wants_person=True)


def keeps_back(takeover: Takeover | None, cause: str) -> bool:
    """Tell whether a takeover silences a bubble; the turn that hands off may say so."""
    return takeover is not None and not (takeover.reason == HAND_OFF and takeover.wamid == cause)


def hold(*, until: float | None, reason: str) -> Takeover:
    """Return a hold that somebody set by hand."""
    return Takeover(mode="hold", until=until, reason=reason)


def _until(sent_at: float | None, rules: Rules, now: float) -> float:
    """Count from the arrival of what is fresh, and from the sending of what comes late."""
    fresh = sent_at is None or sent_at > now - PROMPT_SECONDS
    return (now if fresh or sent_at is None else sent_at) + rules.resume_after_seconds
