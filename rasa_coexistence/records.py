"""The ledger's rows as frozen values, and the states that they can be in."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from rasa_coexistence.events import JSON, Content


class MessageState(str, Enum):
    """What is still to be done about a message."""

    WAITING = "waiting"  # in the queue of its conversation: not in the tracker yet
    ANSWERED = "answered"  # a turn of Rasa took it
    LOGGED = "logged"  # in the tracker, the bot silent
    SET_ASIDE = "set_aside"  # Rasa failed with it whenever it was tried
    KEPT = "kept"  # recorded only: history, reactions, our own sends


class BubbleState(str, Enum):
    """How far an outgoing message is."""

    HELD = "held"  # made by a turn whose tracker is not saved yet
    QUEUED = "queued"  # may leave
    SENDING = "sending"  # handed to Meta, no answer yet
    ACCEPTED = "accepted"  # Meta took it
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    PLAYED = "played"
    FAILED = "failed"  # Meta refused it, at once or later
    UNCLEAR = "unclear"  # no answer: waiting for a status that carries our callback data
    UNKNOWN = "unknown"  # none came: it may or may not have arrived, and is not sent again
    HELD_BACK = "held_back"  # a person has the conversation
    UNDELIVERABLE = "undeliverable"  # WhatsApp forbids it: the 24-hour window is closed
    DISCARDED = "discarded"  # of a turn that was run again


class SyncState(str, Enum):
    """How far a number's history or contacts are."""

    NOT_STARTED = "not_started"
    REQUESTED = "requested"
    UNKNOWN = "unknown"  # asked, no clear answer: webhooks will tell
    SYNCING = "syncing"
    COMPLETED = "completed"
    DECLINED = "declined"
    FAILED = "failed"


class NumberState(str, Enum):
    """Whether a business number can send."""

    CONNECTED = "connected"
    OFFBOARDED = "offboarded"  # comes back by itself: nothing is sent until then
    RESTRICTED = "restricted"  # Meta limits what it may begin; answers still go
    BLOCKED = "blocked"  # restricted so far that answers wait, too
    BANNED = "banned"
    REMOVED = "removed"  # only a new sign-up brings it back
    DELETED = "deleted"  # likewise


class OnboardingState(str, Enum):
    """How far the onboarding of a number is."""

    RUNNING = "running"  # goes on by itself, perhaps after a wait
    CHOOSING = "choosing"  # the account has several numbers: a person says which
    DONE = "done"
    FAILED = "failed"  # begin anew


class StepState(str, Enum):
    """What became of one step of an onboarding."""

    BEGUN = "begun"  # written down; found so after a crash, nobody knows whether it was made
    DONE = "done"
    NOT_MADE = "not_made"  # proof that nothing was done: it may be made again
    REFUSED = "refused"  # Meta said no; made again only if a person asks for it
    FINAL = "final"  # Meta said no for good
    UNKNOWN = "unknown"  # no clear answer; webhooks will tell
    SKIPPED = "skipped"  # not needed, or made in an earlier onboarding that still counts


class Takeover(Struct, frozen=True, kw_only=True):
    """Who has a conversation."""

    mode: str = "bot"  # bot | timed | hold
    until: float | None = None  # end of a timed one, or of a hold that was given one
    since: float | None = None
    reason: str | None = None  # phone, history, api, console, cli, hold_keyword, handoff, number
    wamid: str | None = None  # of the echo that caused it, or cause of the turn that handed off
    wants_person: bool = False  # the bot asked for somebody


class StoredMessage(Struct, frozen=True, kw_only=True, gc=False):  # as events.HistoryMessage
    """A message as the ledger has it."""

    id: int
    wamid: str
    from_business: bool
    source: str  # live | phone | history | bot
    type: str
    text: str | None
    sent_at: float | None  # Meta's time; None when it could not be read
    received_at: float
    status: str | None = None
    content: Content | None = None  # None: plain text, all said in ``text``
    edited_text: str | None = None  # the text before an edit
    revoked: bool = False
    parse: JSON | None = None  # what NLU made of ``text``, where old messages are parsed
