"""The history that was seen in the field, in every shape, and as Meta documents it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agents import Counter, agent_on, open_counter
from channels import ADMIN_TOKEN, PHONE_NUMBER_ID
from rasa.core.agent import Agent

from rasa_coexistence.events import JSON

CUSTOMER, BUSINESS = "5217715268513", "5217712412825"
SAID_AT = 1760104640.0
SEEN: JSON = {
    "messaging_product": "whatsapp",
    "metadata": {"phone_number_id": PHONE_NUMBER_ID},
    "history": [
        {
            "metadata": {"phase": 1, "chunk_order": 5, "progress": 100},
            "threads": [
                {
                    "id": CUSTOMER,
                    "messages": [
                        {
                            "from": BUSINESS,
                            "id": "wamid.HBg...",
                            "timestamp": "1760104640",
                            "text": {"body": "Hola"},
                            "type": "text",
                            "history_context": {"status": "read", "from_me": True},
                        }
                    ],
                }
            ],
        }
    ],
}
DOCUMENTED: JSON = {
    "messaging_product": "whatsapp",
    "metadata": {"phone_number_id": PHONE_NUMBER_ID, "display_phone_number": BUSINESS},
    "history": [
        {
            "metadata": {"phase": 1, "chunk_order": 5, "progress": 100},
            "threads": [
                {
                    "id": CUSTOMER,
                    "messages": [
                        {
                            "from": BUSINESS,
                            "to": CUSTOMER,
                            "id": "wamid.HBg...",
                            "timestamp": "1760104640",
                            "type": "text",
                            "text": {"body": "Hola"},
                            "history_context": {"status": "READ"},
                        }
                    ],
                }
            ],
        }
    ],
}


def envelope(value: JSON) -> JSON:
    """Wrap a value as Meta does."""
    change = {"field": "history", "value": value}
    return {"object": "whatsapp_business_account", "entry": [{"id": "1001", "changes": [change]}]}


POSTS: dict[str, tuple[str, JSON]] = {
    "envelope": ("/webhook", envelope(SEEN)),
    "envelope on /history": ("/history", envelope(SEEN)),
    "bare": ("/history", SEEN),
    "event": ("/history", {"event": "history", "data": SEEN}),
    "documented": ("/webhook", envelope(DOCUMENTED)),
}


@pytest.fixture
async def counter(loaded: Agent, tmp_path: Path) -> AsyncIterator[Counter]:
    """Run a bot on an empty tracker store."""
    agent = agent_on(loaded, f"sqlite:///{tmp_path}/rasa.db")
    async with open_counter(agent, f"sqlite:///{tmp_path}/ledger.db") as counter:
        yield counter


async def completed(counter: Counter) -> JSON:
    """Wait until the sync is over and return its status."""
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    status: dict[str, Any] = {}

    async def is_completed() -> bool:
        _, answer = await counter.site.call("GET", "/api/sync/status", headers=headers)
        status.update(answer)
        return bool(status["sync_status"] == "completed")

    await counter.until(is_completed)
    return status


@pytest.mark.parametrize("shape", list(POSTS))
async def test_what_was_seen_in_the_field_is_one_event_of_the_business(counter: Counter, shape: str) -> None:
    """No display_phone_number and from_me, or the other way round: the tracker is the same."""
    path, body = POSTS[shape]
    for _ in range(2):
        assert (await counter.site.post(path, body))[0] == 200
    status = await completed(counter)
    assert status["history"]["progress"] == 100
    assert status["history"]["completed_by"] == "progress"
    assert (status["history"]["phase"], status["history"]["chunk_order"]) == (1, 5)
    assert (status["history"]["messages_received"], status["history"]["messages_imported"]) == (1, 1)
    events = await counter.events(CUSTOMER)
    assert [event.get("name") or event["event"] for event in events] == [
        *("action_session_start", "session_started", "action_listen"),
        "bot",
    ]
    bot = events[-1]
    assert (bot["text"], bot["timestamp"]) == ("Hola", SAID_AT)
    facts = bot["metadata"]["whatsapp"]
    facts.pop("contact")
    assert facts == {
        "source": "history",
        "wamid": "wamid.HBg...",
        "type": "text",
        "phone_number_id": PHONE_NUMBER_ID,
        "timestamp": SAID_AT,
        "status": "read",
    }
    assert counter.meta.sent_to() == []
