"""Tell how each number stands: its state, its syncs, what its owner should mind."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from rasa_coexistence.events import JSON
from rasa_coexistence.ledger import numbers, onboardings, overview, syncs
from rasa_coexistence.ledger.numbers import Number
from rasa_coexistence.ledger.onboardings import Onboarding
from rasa_coexistence.onboarding import alerts
from rasa_coexistence.records import OnboardingState


def standings(connection: Any, *, now: float) -> list[JSON]:
    """Return every number in the shape of ``GET /api/numbers``."""
    return [_standing(connection, number, now) for number in numbers.all_numbers(connection)]


def _standing(connection: Any, number: Number, now: float) -> JSON:
    onboarding = onboardings.load(connection, number.onboarding) if number.onboarding else None
    id_ = number.phone_number_id
    return {
        "phone_number_id": id_,
        "display_phone_number": number.display_phone_number,
        "state": number.state.value,
        "state_reason": number.state_reason,
        "state_until": number.state_until,
        "takeover": msgspec.to_builtins(overview.number_takeover(connection, id_, now=now)),
        "onboarding": None if onboarding is None else _shown(onboarding),
        "warnings": _warnings(number, onboarding, now),
        "sync": syncs.status(connection, id_),
    }


def _shown(onboarding: Onboarding) -> JSON:
    return {
        "id": onboarding.id,
        "state": onboarding.state.value,
        "trouble": onboarding.trouble,
        "deadline_at": onboarding.deadline_at,
    }


def _warnings(number: Number, onboarding: Onboarding | None, now: float) -> list[JSON]:
    """Return what could be lost: a code for pages, a sentence for people, and when."""
    found: list[JSON] = []
    if onboarding is not None and onboarding.state is not OnboardingState.DONE and not number.is_gone:
        left = alerts.hours_left(onboarding, now)
        if left is not None and left > 0:
            message = f"contacts or history are not asked for yet; Meta gives them for {left:.0f} more hours"
            found.append({"code": alerts.SYNC_DEADLINE, "message": message, "at": onboarding.deadline_at})
    for code, message in alerts.concerns_of(number, now).items():
        found.append({"code": code, "message": message, "days": _days(code, number, now)})
    return found


def _days(code: str, number: Number, now: float) -> int:
    """Return for how many days the phone is silent, or in how many the token ends."""
    if code == alerts.PHONE_SILENT:
        return alerts.silent_days(number, now)
    return max(0, math.ceil(((number.token_expires_at or now) - now) / alerts.DAY))
