"""Warn before something is lost: a deadline, a number whose phone is silent, a token near its end."""

from __future__ import annotations

from typing import Any

import structlog

from rasa_coexistence import sync_troubles
from rasa_coexistence.ledger import notices, numbers, onboardings, syncs
from rasa_coexistence.ledger.numbers import Number
from rasa_coexistence.ledger.onboardings import Onboarding
from rasa_coexistence.onboarding import plan
from rasa_coexistence.onboarding.syncing import note_too_late
from rasa_coexistence.onboarding.troubles import sentence
from rasa_coexistence.records import NumberState, OnboardingState, StepState

log = structlog.get_logger(__name__)

DAY = 86_400.0
SILENT_DAYS = 10  # Meta cuts the link after about 14 days without the app
TOKEN_DAYS = 7
WARN_HOURS = (12, 6, 3, 1)  # before the deadline of the syncs

SYNC_DEADLINE, PHONE_SILENT, TOKEN_ENDS = notices.SYNC_DEADLINE, "phone_silent", "token_ends"


def give(connection: Any, *, now: float) -> None:
    """Give every warning that is due, once."""
    for onboarding in onboardings.unfinished(connection):
        _mind_deadline(connection, onboarding, now)
    for phone_number_id in syncs.give_up_unknown(
        connection, asked_before=now - DAY, error=sync_troubles.never_came()
    ):
        log.warning("sync.never_came", phone_number_id=phone_number_id)
    for number in numbers.all_numbers(connection):
        if number.state_until is not None and number.state_until <= now:
            numbers.set_state(
                connection, number.phone_number_id, NumberState.CONNECTED, reason=None, at=now, now=now
            )
        concerns = concerns_of(number, now)
        if concerns and numbers.claim_warning(
            connection, number.phone_number_id, now=now, not_since=now - DAY
        ):
            for event, text in concerns.items():
                log.warning(f"number.{event}", phone_number_id=number.phone_number_id, reason=text)
                notices.about_number(connection, event, number.phone_number_id, now=now, reason=text)


def concerns_of(number: Number, now: float) -> dict[str, str]:
    """Return what a number's owner should mind, as notice and sentence."""
    concerns: dict[str, str] = {}
    if number.is_gone:
        return concerns
    silent = silent_days(number, now)
    if silent >= SILENT_DAYS:
        concerns[PHONE_SILENT] = (
            f"no sign of the WhatsApp Business app for {silent} days: open it on the phone, for after "
            f"about 14 days "
            "Meta disconnects the number"
        )
    if number.token_expires_at is not None and number.access_token is not None:
        days = (number.token_expires_at - now) / DAY
        if days <= TOKEN_DAYS:
            ends = f"ends in {max(days, 0):.0f} days" if days > 0 else "has ended"
            concerns[TOKEN_ENDS] = f"the access token {ends}: connect the number again at /connect"
    return concerns


def silent_days(number: Number, now: float) -> int:
    """Return for how many days nothing was heard of the phone app."""
    heard = max(
        filter(None, (number.last_phone_activity_at, number.onboarded_at, number.created_at)), default=now
    )
    return int((now - heard) // DAY)


def hours_left(onboarding: Onboarding, now: float) -> float | None:
    """Return the hours in which a sync can still be asked for, None when nothing is missing."""
    missing = [sync for sync in plan.SYNCS if onboarding.made.get(sync) in (None, StepState.NOT_MADE)]
    if onboarding.deadline_at is None or not missing:
        return None
    return (onboarding.deadline_at - now) / 3600


def _mind_deadline(connection: Any, onboarding: Onboarding, now: float) -> None:
    left = hours_left(onboarding, now)
    if left is None:
        return
    if left <= 0:
        _end(connection, onboarding, now)
        return
    passed = [hours for hours in WARN_HOURS if left <= hours]
    if passed and (onboarding.warned_hours is None or min(passed) < onboarding.warned_hours):
        onboardings.change(connection, onboarding.id, warned_hours=min(passed))
        reason = sentence(onboarding.trouble, onboarding.details) if onboarding.trouble else None
        log.warning(
            "onboarding.deadline_near",
            phone_number_id=onboarding.phone_number_id,
            hours_left=round(left, 1),
            reason=reason,
        )
        if onboarding.phone_number_id is not None:
            notices.about_number(
                connection,
                SYNC_DEADLINE,
                onboarding.phone_number_id,
                now=now,
                hours_left=min(passed),
                reason=reason,
            )


def _end(connection: Any, onboarding: Onboarding, now: float) -> None:
    """Let an onboarding fail whose syncs Meta would not give any more."""
    if onboarding.trouble == "too_late" or (onboarding.lease_until or 0.0) > now:
        return  # said already, or about to be found out by who goes on with it
    log.error("onboarding.deadline_passed", phone_number_id=onboarding.phone_number_id)
    onboardings.settle(connection, onboarding.id, OnboardingState.FAILED, trouble="too_late", now=now)
    if onboarding.phone_number_id is not None:
        note_too_late(connection, onboarding.phone_number_id, now=now)
