"""List what an onboarding can wait for or fail of: a sentence and its remedy for each."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from rasa_coexistence.errors import CoexistenceError

_AGAIN = "press Connect again"


class Trouble(Struct, frozen=True):
    """What a code means to people, and which HTTP status carries it."""

    http_status: int
    sentence: str  # names in braces are filled in from the onboarding's details
    goes_on: bool = False  # by itself, until the deadline


class OnboardingRefused(CoexistenceError):
    """An onboarding cannot begin; ``trouble`` is its code in TROUBLES."""

    def __init__(self, trouble: str, **details: Any) -> None:
        self.trouble = trouble
        self.http_status = TROUBLES[trouble].http_status
        super().__init__(sentence(trouble, details))


TROUBLES: dict[str, Trouble] = {
    # what the request lacks
    "signup_is_off": Trouble(
        404, "Embedded Signup is off: set app_id, config_id and encryption_key in credentials.yml"
    ),
    "unknown_number": Trouble(
        404,
        "no number with the phone_number_id {phone_number_id} is known here; set phone_number_id in "
        "credentials.yml, "
        "or sign it up at /connect",
    ),
    "no_token": Trouble(
        409,
        "number {phone_number_id} has no access token that can be used; set access_token in "
        "credentials.yml, list "
        "the key it was stored with in encryption_key, or sign it up at /connect",
    ),
    # the code
    "code_invalid": Trouble(400, f"Meta does not know this code; {_AGAIN}"),
    "code_expired": Trouble(
        400,
        f"the code was more than 30 seconds old when it reached Meta, and they are all it lives; {_AGAIN}",
    ),
    "code_used": Trouble(409, f"this code was used before, and it works once; {_AGAIN}"),
    "code_unclear": Trouble(
        502, f"Meta did not answer while the code was exchanged, and a code works once; {_AGAIN}"
    ),
    "code_lost": Trouble(
        409, f"the server stopped before the code was exchanged, and a code lives 30 seconds; {_AGAIN}"
    ),
    "meta_unreachable": Trouble(
        503, f"Meta could not be reached in the 30 seconds that a code lives: {{said}}; {_AGAIN}"
    ),
    "exchange_refused": Trouble(
        502, "Meta did not exchange the code: {said}; check app_id and app_secret in credentials.yml"
    ),
    # the token
    "token_invalid": Trouble(502, f"Meta says that the new access token is not valid; {_AGAIN}"),
    "token_of_another_app": Trouble(
        409, "the access token belongs to the app {app_id}, not to ours; check app_id and config_id"
    ),
    "scopes_missing": Trouble(
        409,
        "the access token lacks {scopes}; add it to the login configuration (config_id), have the app "
        "granted "
        "Advanced Access for it, and connect again",
    ),
    # the number
    "waba_missing": Trouble(
        409, f"Meta did not say which WhatsApp account was connected; {_AGAIN} and finish the last screen"
    ),
    "waba_not_shared": Trouble(
        409, f"the access token is not for the WhatsApp account {{waba_id}}; {_AGAIN} and choose that account"
    ),
    "no_coexistence_number": Trouble(
        409,
        "no number of this WhatsApp account is used in the WhatsApp Business app; choose 'Connect your "
        "existing "
        "WhatsApp Business app' in Meta's window, and scan the code with that phone",
    ),
    "not_on_the_app": Trouble(
        409,
        "number {phone_number_id} is not used in the WhatsApp Business app (is_on_biz_app is not true); "
        "connect it "
        "from the app's phone",
    ),
    "number_not_in_waba": Trouble(
        409,
        "number {phone_number_id} does not belong to the WhatsApp account {waba_id}; leave it out or "
        "give its own",
    ),
    "several_numbers": Trouble(
        409,
        "this WhatsApp account has several numbers; send the same code again with the phone_number_id of one",
    ),
    "second_number": Trouble(
        409,
        'this bot serves another number already ({others}), and with sender_id: "{{contact}}" a customer '
        "of both "
        'would be one Rasa conversation; set sender_id: "{{phone_number_id}}:{{contact}}" in '
        "credentials.yml first",
    ),
    "superseded": Trouble(409, "a later sign-up of the same number took its place"),
    # on the way
    "waits_for_meta": Trouble(
        202, "Meta cannot be reached or is busy: {said}; it is tried again", goes_on=True
    ),
    "fields_missing": Trouble(
        202,
        "the app does not get {fields}; subscribe it to them (App Dashboard > WhatsApp > Configuration) "
        "before the "
        "deadline. The syncs are not asked for before that: Meta gives them once",
        goes_on=True,
    ),
    "refused": Trouble(502, "Meta refused: {said}; when that is mended, ask again with POST /api/sync"),
    "too_late": Trouble(
        409,
        "more than 24 hours have passed since the sign-up without the syncs being asked for, and Meta "
        "gives them no "
        "more (2593108); disconnect the number in the app (Settings > Account > Business Platform) and "
        "connect "
        "it again",
    ),
}


def sentence(trouble: str, details: dict[str, Any]) -> str:
    """Return what a trouble means, with what it names filled in."""
    return TROUBLES[trouble].sentence.format_map(_Given(details))


class _Given(dict[str, Any]):
    def __missing__(self, name: str) -> str:
        return "?"
