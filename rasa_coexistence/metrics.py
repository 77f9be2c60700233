"""Say how the ledger fares, in Prometheus' words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from msgspec import Struct
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily

from rasa_coexistence.ledger.schema import conversations, inbox, messages, numbers, outbox, set_aside
from rasa_coexistence.ledger.schema_jobs import notices
from rasa_coexistence.ledger.schema_onboarding import strangers

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Count(Struct, frozen=True, kw_only=True):
    """One gauge: how many rows there are by each value of a column, or the sum of ``summed`` over them."""

    name: str
    meaning: str
    table: Any
    label: str
    column: Any
    where: Any = None
    summed: Any = None


COUNTS = (
    Count(
        name="coexistence_inbox_bodies",
        meaning="Webhook bodies that are not read to their end",
        table=inbox,
        label="lane",
        column=inbox.c.lane,
    ),
    Count(
        name="coexistence_messages",
        meaning="Messages in the ledger, by where they came from",
        table=messages,
        label="source",
        column=messages.c.source,
    ),
    Count(
        name="coexistence_messages_waiting",
        meaning="Messages that the tracker does not have yet",
        table=messages,
        label="source",
        column=messages.c.source,
        where=messages.c.state == "waiting",
    ),
    Count(
        name="coexistence_bubbles",
        meaning="Outgoing messages, by how far they are",
        table=outbox,
        label="state",
        column=outbox.c.state,
    ),
    Count(
        name="coexistence_conversations",
        meaning="Conversations, by who has them",
        table=conversations,
        label="takeover",
        column=conversations.c.takeover,
    ),
    Count(
        name="coexistence_conversations_wanting_a_person",
        meaning="Conversations that a person should look at",
        table=conversations,
        label="takeover",
        column=conversations.c.takeover,
        where=conversations.c.wants_person.is_(True),
    ),
    Count(
        name="coexistence_notices",
        meaning="What a person must hear of, of the last seven days, by what it is",
        table=notices,
        label="event",
        column=notices.c.event,
    ),
    Count(
        name="coexistence_numbers",
        meaning="Business numbers, by whether they can send",
        table=numbers,
        label="state",
        column=numbers.c.state,
    ),
    Count(
        name="coexistence_set_aside",
        meaning="Items that could not be read or acted on, by the reason",
        table=set_aside,
        label="reason",
        column=set_aside.c.reason,
    ),
    Count(
        name="coexistence_from_strangers",
        meaning="Items about numbers and accounts that are not served here, by Meta's id of them",
        table=strangers,
        label="id",
        column=strangers.c.id,
        summed=strangers.c["items"],
    ),
)


def count_rows(connection: Any) -> list[tuple[Count, dict[str, int]]]:
    """Return each gauge with its values."""
    return [(count, _values(connection, count)) for count in COUNTS]


def exposition(counted: Iterable[tuple[Count, dict[str, int]]]) -> bytes:
    """Return gauges as Prometheus reads them."""
    registry = CollectorRegistry()
    registry.register(_Counted(counted))
    return generate_latest(registry)


class _Counted:
    def __init__(self, counted: Iterable[tuple[Count, dict[str, int]]]) -> None:
        self._counted = list(counted)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        for count, values in self._counted:
            family = GaugeMetricFamily(count.name, count.meaning, labels=[count.label])
            for value, number in values.items():
                family.add_metric([value], number)
            yield family


def _values(connection: Any, count: Count) -> dict[str, int]:
    counted = sa.func.count() if count.summed is None else sa.func.sum(count.summed)
    statement = sa.select(count.column, counted).select_from(count.table).group_by(count.column)
    if count.where is not None:
        statement = statement.where(count.where)
    return {str(value): int(number) for value, number in connection.execute(statement)}
