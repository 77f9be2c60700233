"""File account news: a number that was offboarded, came back, was restricted, or was taken away."""

from __future__ import annotations

import math
from typing import Any

import sqlalchemy as sa

from rasa_coexistence.account_news import News, news_of
from rasa_coexistence.events import AccountChange
from rasa_coexistence.from_whatsapp.again import webhook_of
from rasa_coexistence.identity import phones_match
from rasa_coexistence.ledger import inbox, notices
from rasa_coexistence.ledger import numbers as number_rows
from rasa_coexistence.ledger.filing import Place
from rasa_coexistence.ledger.numbers import Number
from rasa_coexistence.ledger.schema import numbers
from rasa_coexistence.records import NumberState


def file_account_change(place: Place, event: AccountChange) -> None:
    """Change the state of the numbers that an account event is about; keep one that is about none of ours."""
    concerned = _numbers_of(place.connection, event)
    if not concerned:
        about = (*event.waba_ids, event.phone_number or "")[0]
        number_rows.count_stranger(place.connection, about, now=place.now)
        inbox.keep_aside(
            place.connection,
            reason=f"{event.event} is about an account that is not known here",
            path="account_update",
            raw=event.raw,
            received_at=place.received_at,
            webhook=webhook_of(event),
        )
        return
    news = news_of(event)
    if news is not None:
        for phone_number_id in concerned:
            number = number_rows.lock(place.connection, phone_number_id)
            if number is not None:
                _apply(place, number, news, event.at or place.received_at)


def _apply(place: Place, number: Number, news: News, at: float) -> None:
    """Let a number hear the news, unless they are late: what is known of it is younger."""
    connection, id_ = place.connection, number.phone_number_id
    if at < math.floor(number.state_changed_at or 0.0):  # Meta's times are whole seconds
        return
    if news.asks_meta and (number.is_gone or news.state is not NumberState.CONNECTED):
        number_rows.change(connection, id_, check_due_at=place.now)
    if news.state is None:
        if news.reason is not None:
            number_rows.change(connection, id_, state_reason=news.reason)
            _tell(place, id_, number.state, news.reason)
    elif number.state in news.follows:
        number_rows.set_state(
            connection, id_, news.state, reason=news.reason, at=at, now=place.now, until=news.until
        )
        if news.state is not number.state and news.state is not NumberState.CONNECTED:
            _tell(place, id_, news.state, news.reason)


def _tell(place: Place, phone_number_id: str, state: NumberState, reason: str | None) -> None:
    notices.about_number(
        place.connection,
        notices.NUMBER_STOPPED,
        phone_number_id,
        now=place.now,
        state=state.value,
        reason=reason,
    )


def _numbers_of(connection: Any, event: AccountChange) -> list[str]:
    """Return the numbers that an event is about: all of its WABA, or the one that it names."""
    same = [numbers.c.waba_id.in_(event.waba_ids)]
    if event.phone_number:
        same.append(numbers.c.display_phone_number == event.phone_number)
    columns = (numbers.c.phone_number_id, numbers.c.display_phone_number)
    found = connection.execute(sa.select(*columns).where(sa.or_(*same)).order_by(columns[0])).all()
    return [
        row.phone_number_id
        for row in found
        if not event.phone_number
        or row.display_phone_number is None
        or phones_match(row.display_phone_number, event.phone_number)
    ]
