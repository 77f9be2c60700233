"""Who may speak: each rule has its line."""

from __future__ import annotations

from typing import Any

import pytest

from rasa_coexistence import takeover
from rasa_coexistence.records import Takeover
from rasa_coexistence.takeover import BOT, Echo, Rules

NOW = 1_760_200_000.0
MINUTE = 60.0
TIMER = 30 * MINUTE
RULES = Rules(
    enabled=True,
    resume_after_seconds=TIMER,
    handoff_timeout_seconds=None,
    resume_keyword=" #Bot ",
    hold_keyword="STRASSE",
)


def echo(**facts: Any) -> Echo:
    known: dict[str, Any] = {"wamid": "wamid.E1", "type": "text", "text": "Yo le atiendo", "sent_at": NOW}
    return Echo(**{**known, **facts})


def timed(until: float, **facts: Any) -> Takeover:
    known: dict[str, Any] = {"mode": "timed", "reason": "phone", "wamid": "wamid.E0", "since": NOW - 1}
    return Takeover(**{**known, "until": until, **facts})


def held(until: float | None = None, **facts: Any) -> Takeover:
    return Takeover(**{"mode": "hold", "reason": "api", "since": NOW - 60, "until": until, **facts})


def handed_off(until: float | None = None) -> Takeover:
    return held(until, reason="handoff", wants_person=True, wamid="wamid.Q")


# What is known of an echo, and why it does not take the conversation; None: it does.
ECHOES: dict[str, tuple[dict[str, Any], str | None]] = {
    "a text": ({}, None),
    "an image": ({"type": "image", "text": "[image]"}, None),
    "something nobody has documented": ({"type": "hologram", "text": "[hologram]"}, None),
    "without a time": ({"sent_at": None}, None),
    "a reaction": ({"type": "reaction"}, "not content"),
    "an edit": ({"type": "edit"}, "not content"),
    "a revoke": ({"type": "revoke"}, "not content"),
    "Meta says the app made it": ({"automatic": True}, "made by the app"),
    "the same in one other chat": ({"same_text_chats": 1}, None),
    "the same in two other chats": ({"same_text_chats": 2}, "broadcast"),
    "in the second of the first contact": ({"since_first_contact": 0.0}, "greeting"),
    "two seconds after it": ({"since_first_contact": 2.0}, "greeting"),
    "three seconds after it": ({"since_first_contact": 3.0}, None),
    "before it: the person wrote first": ({"since_first_contact": -1.0}, None),
    "said before the bot got the chat back": (
        {"sent_at": NOW - 10, "handed_back_at": NOW - 5},
        "before hand-back",
    ),
    "said in the second of the hand-back": ({"sent_at": NOW - 1, "handed_back_at": NOW - 0.2}, None),
    "said after it": ({"sent_at": NOW - 3, "handed_back_at": NOW - 5}, None),
    "as old as the timer": ({"sent_at": NOW - TIMER}, "too old"),
    "not quite as old": ({"sent_at": NOW - TIMER + 1}, None),
}


@pytest.mark.parametrize("case", ECHOES)
def test_which_echo_is_a_person_stepping_in(case: str) -> None:
    """Peers take every echo for a person, and their bots fall silent over greetings and reactions."""
    facts, reason = ECHOES[case]
    assert takeover.not_a_person(echo(**facts), RULES, NOW) == reason
    assert (takeover.after_echo(BOT, echo(**facts), RULES, NOW) is None) is (reason is not None)


def test_takeovers_can_be_switched_off() -> None:
    """Some owners only read along."""
    off = Rules(**{**{field: getattr(RULES, field) for field in Rules.__struct_fields__}, "enabled": False})
    assert takeover.not_a_person(echo(), off, NOW) == "switched off"
    assert takeover.after_history(BOT, NOW, None, off, NOW) is None


# Who has the conversation, when the echo was sent, and until when the person has it then; None: no change.
TIMERS: dict[str, tuple[Takeover, float, float | None]] = {
    "free: it begins": (BOT, NOW, NOW + TIMER),
    "it came late: it counts from when it was sent": (BOT, NOW - 600, NOW - 600 + TIMER),
    "within a minute it counts from now": (BOT, NOW - 59, NOW + TIMER),
    "a clock that is ahead gains nothing": (BOT, NOW + 3600, NOW + TIMER),
    "each message extends it": (timed(NOW + 60), NOW, NOW + TIMER),
    "a late one does not shorten it": (timed(NOW + TIMER - 1), NOW - 600, None),
    "one that has ended begins anew": (timed(NOW), NOW, NOW + TIMER),
    "a hold stays": (held(), NOW, None),
    "a hold that lasts longer stays": (held(NOW + 2 * TIMER), NOW, None),
    "a hold that ends sooner does not cut the person short": (held(NOW + 60), NOW, NOW + TIMER),
    "a hold that has ended is none": (held(NOW), NOW, NOW + TIMER),
    "a hand-off has found its person": (handed_off(), NOW, NOW + TIMER),
    "also when it would end by itself later": (handed_off(NOW + 2 * TIMER), NOW, NOW + TIMER),
    "what was said before the hand-off is no answer to it": (handed_off(), NOW - 90, None),
}


@pytest.mark.parametrize("case", TIMERS)
def test_until_when_an_echo_silences_the_bot(case: str) -> None:
    """A timed pause is a deadline that each message extends and no late message shortens."""
    current, sent_at, until = TIMERS[case]
    after = takeover.after_echo(current, echo(sent_at=sent_at), RULES, NOW)
    if until is None:
        assert after is None
    else:
        assert after is not None
        assert (after.mode, after.until, after.reason, after.wamid) == ("timed", until, "phone", "wamid.E1")
        assert not after.wants_person


def test_who_was_asked_for_has_come_though_the_hold_stays() -> None:
    """A failed message asks for a person beside a hold that somebody set: typing is what was asked for."""
    after = takeover.after_echo(held(wants_person=True), echo(), RULES, NOW)
    assert after == held(wants_person=False)


def test_of_two_messages_in_one_moment_the_newer_counts() -> None:
    """If the first proves to be the bot's own, what a person typed must still stand."""
    after = takeover.after_echo(timed(NOW + TIMER), echo(wamid="wamid.E2"), RULES, NOW)
    assert after is not None
    assert after.wamid == "wamid.E2"


# What is typed, and what it orders.
KEYWORDS: list[tuple[str, str | None, str | None]] = [
    ("text", "#bot", "resume"),
    ("text", "\n #BOT\t", "resume"),
    ("text", "#bot bitte", None),
    ("text", "bot", None),
    ("text", "", None),
    ("text", None, None),
    ("text", "straße", "hold"),
    ("text", "Strasse.", None),
    ("image", "#bot", None),
    ("edit", "#bot", None),
]


@pytest.mark.parametrize(("kind", "text", "ordered"), KEYWORDS)
def test_a_keyword_is_the_whole_text_whatever_its_case(
    kind: str, text: str | None, ordered: str | None
) -> None:
    """A keyword inside a sentence is said to the customer; a caption or an edit is no order."""
    assert takeover.command(kind, text, RULES) == ordered


def test_without_keywords_no_text_is_an_order() -> None:
    """An empty text must not match a keyword that nobody chose."""
    none = Rules(
        enabled=True,
        resume_after_seconds=TIMER,
        handoff_timeout_seconds=None,
        resume_keyword=None,
        hold_keyword=None,
    )
    assert takeover.command("text", "", none) is None


@pytest.mark.parametrize("current", [BOT, timed(NOW + 60), held(), handed_off()])
def test_keywords_rule_whoever_has_the_conversation(current: Takeover) -> None:
    """The owner has the last word."""
    resumed = takeover.after_echo(current, echo(text="#bot"), RULES, NOW)
    kept = takeover.after_echo(current, echo(text="strasse"), RULES, NOW)
    assert resumed == BOT
    assert kept == Takeover(mode="hold", since=NOW, reason="hold_keyword", wamid="wamid.E1")


def test_a_keyword_that_comes_late_gives_way_to_what_was_done_since() -> None:
    """Webhooks come in any order: the person typed on, or the bot was given the chat after the keyword."""
    late = echo(text="#bot", sent_at=NOW - 60, last_person_at=NOW - 30)
    assert takeover.after_echo(timed(NOW + TIMER), late, RULES, NOW) is None
    late = echo(text="strasse", sent_at=NOW - 60, handed_back_at=NOW - 30)
    assert takeover.after_echo(BOT, late, RULES, NOW) is None


def test_a_keyword_hands_back_as_of_when_it_was_typed() -> None:
    """What the person typed after it, and comes after it, takes the conversation again."""
    at = takeover.handed_back_at(NOW - 60, NOW)
    assert takeover.not_a_person(echo(sent_at=NOW - 59, handed_back_at=at), RULES, NOW) is None
    assert takeover.not_a_person(echo(sent_at=NOW - 61, handed_back_at=at), RULES, NOW) == "before hand-back"
    assert takeover.handed_back_at(None, NOW) == NOW


# When the business last wrote in the old chat, when the bot got it back, and until when the bot is silent.
HISTORIES: dict[str, tuple[Takeover, float, float | None, float | None]] = {
    "just now": (BOT, NOW - 5, None, NOW - 5 + TIMER),
    "in the future: a wrong clock": (BOT, NOW + 999, None, NOW + TIMER),
    "older than the timer": (BOT, NOW - TIMER, None, None),
    "before the bot got the chat back": (BOT, NOW - 60, NOW - 30, None),
    "a hold stays": (held(), NOW - 5, None, None),
    "before the bot called for somebody": (handed_off(), NOW - 90, None, None),
}


@pytest.mark.parametrize("case", HISTORIES)
def test_fresh_history_is_a_person_stepping_in(case: str) -> None:
    """The bot must not cut in on a talk that goes on while the history arrives."""
    current, newest, handed_back_at, until = HISTORIES[case]
    after = takeover.after_history(current, newest, handed_back_at, RULES, NOW)
    assert (after and after.until) == until


def test_a_bot_that_pauses_itself_asks_for_a_person() -> None:
    """A hand-off waits for as long as it takes, unless the owner gives it a time."""
    patient = takeover.after_hand_off(BOT, RULES, NOW, cause="wamid.Q")
    assert patient == Takeover(mode="hold", since=NOW, reason="handoff", wamid="wamid.Q", wants_person=True)
    hasty = Rules(
        enabled=True,
        resume_after_seconds=TIMER,
        handoff_timeout_seconds=120,
        resume_keyword=None,
        hold_keyword=None,
    )
    brief = takeover.after_hand_off(BOT, hasty, NOW, cause="wamid.Q")
    assert brief is not None
    assert brief.until == NOW + 120


@pytest.mark.parametrize("current", [timed(NOW + 60), held()])
def test_a_bot_cannot_hand_off_what_a_person_has(current: Takeover) -> None:
    """The person is there already."""
    assert takeover.after_hand_off(current, RULES, NOW, cause="wamid.Q") is None


# Of two takeovers of one person who was known as two: which of the conversations' stays.
UNITED: list[tuple[Takeover, Takeover, str]] = [
    (BOT, BOT, "older"),
    (BOT, timed(NOW + 9), "younger"),
    (timed(NOW + 9), BOT, "older"),
    (timed(NOW + 9), timed(NOW + 10), "younger"),
    (timed(NOW + 9), held(), "younger"),
    (held(), timed(NOW + 9), "older"),
    (held(NOW + 5), timed(NOW + 9), "younger"),
    (timed(NOW + 9), held(NOW + 9), "younger"),
    (held(), held(), "older"),
    (held(NOW), timed(NOW + 9), "younger"),
]


@pytest.mark.parametrize(("older", "younger", "stays"), UNITED)
def test_a_person_stays_in_a_conversation_that_is_united_with_another(
    older: Takeover, younger: Takeover, stays: str
) -> None:
    """The customer's other id must not give the chat to the bot."""
    expected = older if stays == "older" else younger
    assert takeover.stronger(older, younger, NOW) is expected


# Who has the conversation, whose bubble it is, and whether it may leave.
BUBBLES: dict[str, tuple[Takeover | None, str, bool]] = {
    "nobody is there": (None, "wamid.Q", True),
    "a person is there": (timed(NOW + 60), "wamid.Q", False),
    "a hold": (held(), "wamid.Q", False),
    "the words of the hand-off itself": (handed_off(), "wamid.Q", True),
    "other words after a hand-off": (handed_off(), "free:1", False),
    "a person's takeover of the same name": (timed(NOW + 60, wamid="wamid.Q"), "wamid.Q", False),
}


@pytest.mark.parametrize("case", BUBBLES)
def test_what_may_leave_while_a_person_has_the_conversation(case: str) -> None:
    """Asked before every bubble, reminders and triggers included."""
    person, cause, may_leave = BUBBLES[case]
    assert takeover.keeps_back(person, cause) is not may_leave


def test_a_takeover_is_in_force_until_its_end() -> None:
    """The moment of its end belongs to the bot."""
    assert takeover.in_force(timed(NOW + 0.001), NOW)
    assert takeover.has_ended(timed(NOW), NOW)
    assert not takeover.has_ended(BOT, NOW)
    assert takeover.in_force(held(), NOW + 10**9)
