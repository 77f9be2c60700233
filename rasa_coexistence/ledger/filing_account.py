"""File account news: a number that was offboarded, came back, or was taken away."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from rasa_coexistence.events import AccountChange
from rasa_coexistence.ledger import inbox
from rasa_coexistence.ledger.filing import Place
from rasa_coexistence.ledger.queues import SEND, wake
from rasa_coexistence.ledger.schema import conversations, numbers
from rasa_coexistence.records import NumberState

# What Meta's event makes of a number. PARTNER_REMOVED is final: only a new sign-up brings the number back.
STATE_AFTER = {
    "ACCOUNT_OFFBOARDED": NumberState.OFFBOARDED,
    "ACCOUNT_RECONNECTED": NumberState.CONNECTED,
    "PARTNER_REMOVED": NumberState.REMOVED,
    "PARTNER_APP_UNINSTALLED": NumberState.REMOVED,
    "ACCOUNT_DELETED": NumberState.REMOVED,
    "ACCOUNT_RESTRICTION": NumberState.RESTRICTED,
    "DISABLED_UPDATE": NumberState.BANNED,
}


def file_account_change(place: Place, event: AccountChange) -> None:
    """Change the state of the numbers that an account event is about; keep one that is about none of ours."""
    concerned = _numbers_of(place.connection, event)
    if not concerned:
        inbox.keep_aside(
            place.connection,
            reason=f"{event.event} is about an account that is not known here",
            path="account_update",
            raw=event.raw,
            received_at=place.received_at,
        )
        return
    state = STATE_AFTER.get(event.event)
    if state is None:
        return
    at = event.at or place.received_at
    for number in concerned:
        if (number.state_changed_at or 0.0) > at or _cannot_follow(number.state, state):
            continue  # late news of what is over
        place.connection.execute(
            numbers.update()
            .where(numbers.c.phone_number_id == number.phone_number_id)
            .values(
                state=state.value,
                state_reason=event.reason or event.event,
                state_changed_at=at,
                **({"access_token": None} if state is NumberState.REMOVED else {}),
            )
        )
        if state is NumberState.CONNECTED:
            _wake_all(place, number.phone_number_id)


def _numbers_of(connection: Any, event: AccountChange) -> list[Any]:
    same = [numbers.c.waba_id.in_(event.waba_ids)]
    if event.phone_number:
        same.append(numbers.c.display_phone_number == event.phone_number)
    found = connection.execute(sa.select(numbers).where(sa.or_(*same))).all()
    if event.phone_number and len(found) > 1:
        found = [number for number in found if number.display_phone_number == event.phone_number] or found
    return list(found)


def _cannot_follow(current: str, state: NumberState) -> bool:
    return current == NumberState.REMOVED.value and state is not NumberState.REMOVED


def _wake_all(place: Place, phone_number_id: str) -> None:
    ids = place.connection.execute(
        sa.select(conversations.c.id).where(
            conversations.c.phone_number_id == phone_number_id, conversations.c.send_due_at.isnot(None)
        )
    )
    wake(place.connection, SEND, list(ids.scalars()), at=place.now)
