"""Take a number that was found into the bot's care."""

from __future__ import annotations

from typing import Any

from rasa_coexistence.errors import ConfigError
from rasa_coexistence.graph.answers import PhoneNumber
from rasa_coexistence.ledger import numbers, onboardings, syncs
from rasa_coexistence.ledger.onboardings import Onboarding
from rasa_coexistence.onboarding import plan
from rasa_coexistence.onboarding.choosing import digits_of
from rasa_coexistence.records import NumberState, OnboardingState, StepState
from rasa_coexistence.settings import Settings

INHERITED = "asked for in an earlier onboarding that still counts: Meta gives it once"


def check_in(connection: Any, settings: Settings, *, now: float) -> None:
    """Know the number of the settings; raise ConfigError if it cannot stand beside those of the ledger."""
    if (mixed := mixed_up(connection, settings)) is not None:
        raise ConfigError([mixed])
    if settings.phone_number_id is not None:
        syncs.add_number(connection, settings.phone_number_id, now=now)


def mixed_up(connection: Any, settings: Settings) -> str | None:
    """Return what is wrong where several numbers would share Rasa conversations."""
    number = settings.phone_number_id
    served = numbers.others(connection, number or "")
    if len(served) + (number is not None) <= 1 or settings.tells_numbers_apart:
        return None
    listed = ", ".join(sorted({*served, *([number] if number else [])}))
    return (
        f"sender_id: it is {settings.sender_id!r}, but the ledger has several numbers ({listed}), whose "
        'customers would share Rasa conversations; set "{phone_number_id}:{contact}", or use another '
        "database_url"
    )


def adopt(
    connection: Any,
    onboarding: Onboarding,
    found: PhoneNumber,
    waba_id: str | None,
    *,
    tells_numbers_apart: bool,
    now: float,
) -> list[str]:
    """Let a number belong to an onboarding; return the other numbers if it cannot stand beside them."""
    rivals = numbers.others(connection, found.id)
    if rivals and not tells_numbers_apart:
        return rivals
    number = numbers.serve(connection, found.id, now=now)
    if number.onboarding != onboarding.id:
        _take_over_from(connection, number, onboarding, now=now)
    values: dict[str, Any] = {"onboarding": onboarding.id, "waba_id": waba_id or number.waba_id}
    if (digits := digits_of(found)) is not None:
        values["display_phone_number"] = digits
    if onboarding.is_signup:
        values |= {
            "access_token": onboarding.access_token,
            "token_expires_at": onboarding.token_expires_at,
            "onboarded_at": onboarding.began_at,
            "last_phone_activity_at": now,  # the owner has it in hand
            "warned_at": None,
        }
    numbers.change(connection, found.id, **values, check_due_at=now + syncs.CHECK_SECONDS)
    if onboarding.is_signup or number.is_gone:
        numbers.set_state(connection, found.id, NumberState.CONNECTED, reason=None, at=now, now=now)
    onboardings.change(
        connection, onboarding.id, phone_number_id=found.id, waba_id=waba_id or onboarding.waba_id
    )
    return []


def _take_over_from(connection: Any, number: numbers.Number, onboarding: Onboarding, *, now: float) -> None:
    """Begin the syncs anew, or leave out those that an earlier onboarding used up and nothing undid."""
    before = None if number.onboarding is None else onboardings.load(connection, number.onboarding)
    if before is None or number.is_gone:
        if onboarding.is_signup or number.is_gone:
            numbers.reset_syncs(connection, number.phone_number_id)
        return
    for sync in plan.SYNCS:
        if before.made.get(sync) not in (None, StepState.NOT_MADE, StepState.REFUSED):
            onboardings.end(connection, onboarding.id, sync, StepState.SKIPPED, INHERITED, now=now)
    if before.state in (OnboardingState.RUNNING, OnboardingState.CHOOSING):
        onboardings.settle(connection, before.id, OnboardingState.FAILED, trouble="superseded", now=now)
