"""List Meta's error codes: what each means for the call, and what helps."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct


class Verdict(Enum):
    """What may be done after an error."""

    RETRY = "retry"  # passing: try again, ever more slowly
    RETRY_ONCE = "retry_once"
    RETRY_THRICE = "retry_thrice"
    WAIT_QUOTA = "wait_quota"  # passing, but only after minutes
    THROTTLED = "throttled"  # the number sends too fast: all its conversations slow down
    PAIR_RATE = "pair_rate"  # too many messages to this customer; others are not affected
    STOP = "stop"  # this message fails, the next may not
    STOP_NUMBER = "stop_number"  # nothing of this number will work until a person has looked at it
    CLOSED_WINDOW = "closed_window"  # only a template may be sent
    DISCONNECTED = "disconnected"  # the number left the Cloud API: ask for is_on_biz_app; never register it
    UNCLEAR = "unclear"  # it may have been carried out: wait for a webhook, do not repeat
    NOT_SENT = "not_sent"  # proof that nothing left: repeat at will


class Rule(Struct, frozen=True):
    """What one code means."""

    verdict: Verdict
    remedy: str
    wants_person: bool = False


def is_permission(code: int) -> bool:
    """Tell whether a code is one of Graph's many permission errors."""
    return 200 <= code <= 299


def _number(remedy: str) -> Rule:
    return Rule(Verdict.STOP_NUMBER, remedy, wants_person=True)


def _stop(remedy: str) -> Rule:
    return Rule(Verdict.STOP, remedy)


_DEAD_TOKEN = _number(
    "the access token is invalid or has expired; sign the number up again or renew access_token"
)
_PERMISSION = _number("the access token lacks a permission or it was withdrawn; sign the number up again")
_LOCKED = _number("Meta restricted or locked the account; see WhatsApp Manager for how to appeal")
_DISCONNECTED = Rule(
    Verdict.DISCONNECTED,
    "the number is no longer connected; open the WhatsApp Business app, or sign the number up again",
    wants_person=True,
)
_OUTAGE = Rule(Verdict.RETRY, "Meta is out of order for now; it is tried again")
_QUOTA = Rule(Verdict.WAIT_QUOTA, "the hourly quota of calls is used up; it is tried again in minutes")
_MAINTENANCE = Rule(Verdict.WAIT_QUOTA, "Meta is working on the number; it is tried again in minutes")
_PARAMETER = _stop(
    "Meta does not take the message as it is; see details and compare it with the Cloud API reference"
)
_TEMPLATE = _stop(
    "the template does not fit its parameters or was not approved; compare it in WhatsApp Manager"
)
_PAUSED_TEMPLATE = _stop("the template is paused or disabled for its quality; use another one")
_REGISTRATION = _stop(
    "this belongs to registering a number, which a coexistence number must never go through"
)
_MARKETING = _stop("Meta does not deliver this marketing message to this customer; do not repeat it")
_MEDIA = _stop("the file could not be fetched or has another type than it says; check its address and format")

RULES: dict[int, Rule] = {
    0: _DEAD_TOKEN,
    1: Rule(Verdict.RETRY_ONCE, "Meta did not understand the call or failed; it is tried once more"),
    2: _OUTAGE,
    3: _PERMISSION,
    4: _QUOTA,
    10: _PERMISSION,
    17: _QUOTA,
    32: _QUOTA,
    33: _number(
        "Meta knows no such number or hides it from this token; check phone_number_id and access_token"
    ),
    100: _PARAMETER,
    190: _DEAD_TOKEN,
    200: _PERMISSION,
    368: _LOCKED,
    613: _QUOTA,
    80007: _QUOTA,
    130403: _stop("the business has blocked this customer; unblock them on the phone to write to them"),
    130429: Rule(Verdict.THROTTLED, "the number sends faster than Meta allows; lower messages_per_second"),
    130472: _MARKETING,
    130497: _stop("Meta does not let this business write to the customer's country"),
    131000: Rule(Verdict.RETRY_THRICE, "Meta failed for an unknown reason; it is tried three times more"),
    131005: _PERMISSION,
    131008: _PARAMETER,
    131009: _PARAMETER,
    131016: _OUTAGE,
    131021: _stop("a number cannot write to itself"),
    131026: _stop("the customer cannot be reached: no WhatsApp, an old version, or terms not accepted"),
    131031: _LOCKED,
    131037: _number("the number's display name is not approved; have it approved in WhatsApp Manager"),
    131042: _number("payment for the account is not in order; add a payment method in WhatsApp Manager"),
    131045: _DISCONNECTED,
    131047: Rule(
        Verdict.CLOSED_WINDOW, "the customer has not written for 24 hours; set closed_window_template"
    ),
    131048: Rule(
        Verdict.STOP,
        "Meta limits the number for its quality; see WhatsApp Manager and send less for some hours",
        wants_person=True,
    ),
    131049: _MARKETING,
    131050: _MARKETING,
    131051: _stop("WhatsApp has no such type of message"),
    131052: _MEDIA,
    131053: _MEDIA,
    131056: Rule(
        Verdict.PAIR_RATE, "too many messages to this customer at once; it is tried again more slowly"
    ),
    131057: _MAINTENANCE,
    131060: _stop("the message can only be read in the WhatsApp Business app"),
    131062: _stop("this kind of message needs the customer's phone number, which is hidden"),
    131063: _stop("marketing messages are switched off for the Cloud API; see WhatsApp Manager"),
    131064: _stop("the account may not send this category of template for now; see WhatsApp Manager"),
    132000: _TEMPLATE,
    132001: _TEMPLATE,
    132005: _TEMPLATE,
    132007: _TEMPLATE,
    132012: _TEMPLATE,
    132015: _PAUSED_TEMPLATE,
    132016: _PAUSED_TEMPLATE,
    132068: _stop("the Flow is blocked; see WhatsApp Manager"),
    132069: Rule(Verdict.WAIT_QUOTA, "the Flow is throttled; it is tried again in minutes"),
    133000: _REGISTRATION,
    133004: _OUTAGE,
    133005: _REGISTRATION,
    133006: _REGISTRATION,
    133008: _REGISTRATION,
    133009: _REGISTRATION,
    133010: _DISCONNECTED,
    133015: _REGISTRATION,
    133016: _REGISTRATION,
    134011: _stop("the terms of WhatsApp Payments are not accepted; see WhatsApp Manager"),
    1752041: _stop("another partner has already asked for this onboarding"),
    2494100: _MAINTENANCE,
    2593107: _stop(
        "Meta gives this sync once for each onboarding and has done so; only signing up anew repeats it"
    ),
    2593108: _stop(
        "the sync must be asked for within 24 hours of the onboarding; only signing up anew repeats it"
    ),
    2593109: _stop("the owner chose not to share the chat history; the bot goes on without it"),
}
