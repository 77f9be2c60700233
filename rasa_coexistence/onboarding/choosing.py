"""Choose the business number that a sign-up is about."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from rasa_coexistence.graph.answers import PhoneNumber
from rasa_coexistence.identity import phone_digits
from rasa_coexistence.onboarding.outcome import Outcome, ended
from rasa_coexistence.records import StepState


class Listed(Struct, frozen=True):
    """A number, and the WABA that lists it."""

    waba_id: str
    number: PhoneNumber


def choose(listed: Sequence[Listed], wanted: str | None, waba_ids: Sequence[str]) -> Listed | Outcome:
    """Return the number to go on with, or the outcome that says why there is none.

    ``is_on_biz_app`` decides, not which button the owner pressed; where Meta does not tell it, nothing speaks
    against a number that was asked for by its id.
    """
    if wanted is not None:
        found = next((one for one in listed if one.number.id == wanted), None)
        if found is None:
            return ended("number_not_in_waba", phone_number_id=wanted, waba_id=", ".join(waba_ids))
        if found.number.is_on_biz_app is False:
            return ended("not_on_the_app", phone_number_id=wanted)
        return found
    usable = [one for one in listed if one.number.is_on_biz_app] or [
        one for one in listed if one.number.is_on_biz_app is None
    ]
    if not usable:
        return ended("no_coexistence_number")
    if len(usable) > 1:
        numbers = [shown(one.number) for one in usable]
        return Outcome(
            state=StepState.NOT_MADE,
            said="several numbers",
            trouble="several_numbers",
            details={"numbers": numbers},
            chooses=True,
        )
    return usable[0]


def shown(number: PhoneNumber) -> dict[str, str | None]:
    """Return what a person needs to tell a number from others."""
    return {
        "phone_number_id": number.id,
        "display_phone_number": number.display_phone_number,
        "verified_name": number.verified_name,
    }


def digits_of(number: PhoneNumber) -> str | None:
    """Return a number as webhooks write it."""
    return phone_digits(number.display_phone_number) if number.display_phone_number else None
