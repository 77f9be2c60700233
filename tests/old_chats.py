"""Old chat as Meta tells it, and what stands of it in the tracker."""

from __future__ import annotations

from typing import Any

from history_stage import Stage
from ledgers import ANA, DAY, NOW, NUMBER

from rasa_coexistence.events import JSON
from rasa_coexistence.ledger import schema
from rasa_coexistence.simulator import webhooks
from rasa_coexistence.simulator.state import Person, Webhook

ANA_ID = str(ANA.wa_id)
WHEN = NOW - 3 * DAY
Old = tuple[bool, JSON, str]


def old(
    wamid: str,
    kind: str,
    content: Any,
    *,
    after: float = 0.0,
    by_us: bool = False,
    status: str = "read",
    **others: Any,
) -> Old:
    return by_us, webhooks.message(wamid, WHEN + after, kind, content, **others), status


def text(wamid: str, body: str, *, after: float = 0.0, by_us: bool = False, status: str = "read") -> Old:
    return old(wamid, "text", {"body": body}, after=after, by_us=by_us, status=status)


def chunk(*messages: Old, person: Person = ANA, order: int = 1, progress: int = 50) -> Webhook:
    threads = [webhooks.thread(NUMBER, person, messages)]
    return webhooks.history_chunk(NUMBER, phase=1, chunk_order=order, progress=progress, threads=threads)


async def told(stage: Stage, sender_id: str = ANA_ID) -> list[JSON]:
    """Return what was said, each with its text, side and metadata."""
    events = await stage.events(sender_id)
    return [
        {
            "text": event["text"],
            "by": event["event"],
            "at": event["timestamp"],
            **event["metadata"]["whatsapp"],
        }
        for event in events
        if event["event"] in ("user", "bot")
    ]


async def counted(stage: Stage) -> tuple[int, int]:
    """Return messages received and imported, after a look that received is what the ledger has."""
    history_status = (await stage.status())["history"]
    rows = await stage.database.read(
        lambda connection: connection.execute(schema.messages.select().filter_by(source="history")).all()
    )
    assert history_status["messages_received"] == len(rows)
    return history_status["messages_received"], history_status["messages_imported"]
