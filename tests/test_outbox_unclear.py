"""When Meta does not answer, nothing is sent twice and nothing is passed over in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from shops import ANA, BEN, Shop, open_shop

from rasa_coexistence.ledger import schema
from rasa_coexistence.sending import UNCLEAR_SECONDS
from rasa_coexistence.simulator import webhooks

SHORT_SECONDS = 0.3  # how long a call to Meta may take here


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


async def tell_status(shop: Shop, wamid: str, status: str, **others: Any) -> None:
    person = shop.simulator.customer(ANA).person
    at = shop.clock.now()
    told = webhooks.status(shop.simulator.number, person, wamid, status, at, **others)
    await shop.simulator.post(told)


async def settled(shop: Shop) -> None:
    """Wait until every webhook that was accepted is read."""

    async def is_empty() -> bool:
        return not await shop.rows(schema.inbox)

    await shop.until(is_empty)


@pytest.mark.parametrize(
    ("failure", "arrives"),
    [
        ({"kind": "timeout_before"}, False),
        ({"kind": "refuse"}, False),
        ({"kind": "http", "http_status": 500}, False),
        ({"kind": "http", "http_status": 502}, False),
        ({"kind": "http", "http_status": 408}, False),
        ({"kind": "timeout_after"}, True),
        ({"kind": "close_after"}, True),
        ({"kind": "garbage"}, True),
    ],
    ids=lambda value: "-".join(str(part) for part in value.values()) if isinstance(value, dict) else "",
)
async def test_try_without_answer_and_status_is_unknown_after_a_minute(
    url: str, failure: dict[str, Any], arrives: bool
) -> None:
    """It may have arrived, so it is not sent again; the next message waits for the minute, then goes."""
    async with open_shop(url, graph_seconds=SHORT_SECONDS) as shop:
        shop.simulator.sending.behaviour.statuses = ()
        await shop.customer(ANA)
        shop.simulator.failures.add("messages", **failure)
        await shop.say(ANA, "uno", "dos")
        await shop.until_states("unclear", "queued")
        await shop.passes(UNCLEAR_SECONDS - 2)
        assert await shop.states() == ["unclear", "queued"]
        shop.clock.move(2)
        await shop.until_states("unknown", "accepted")
        assert len(shop.calls) == 2
        assert shop.seen_by(ANA) == (["uno", "dos"] if arrives else ["dos"])
        assert (await shop.bubbles())[0].reason == "no answer and no status"


@pytest.mark.parametrize("kind", ["timeout_after", "close_after", "garbage"])
async def test_status_proves_that_an_unanswered_try_arrived(url: str, kind: str) -> None:
    """Meta gives our callback data back with it; then the next message need not wait for the minute."""
    async with open_shop(url, graph_seconds=SHORT_SECONDS) as shop:
        shop.simulator.sending.behaviour.status_seconds = 0.5
        await shop.customer(ANA)
        shop.simulator.failures.add("messages", kind)
        await shop.say(ANA, "uno", "dos")
        await shop.until_states("read", "read")
        assert shop.seen_by(ANA) == ["uno", "dos"]
        assert len(shop.calls) == 2
        first, second = await shop.bubbles()
        assert first.wamid == shop.simulator.sent_to(ANA)[0].wamid
        known = {row.wamid for row in await shop.rows(schema.messages, source="bot")}
        assert known == {first.wamid, second.wamid}  # also for quotes, echoes and history


async def test_status_that_comes_after_the_minute_still_counts(url: str) -> None:
    """Better late than unknown."""
    async with open_shop(url, graph_seconds=SHORT_SECONDS) as shop:
        shop.simulator.sending.behaviour.statuses = ()
        await shop.customer(ANA)
        shop.simulator.failures.add("messages", "timeout_after")
        await shop.say(ANA, "uno")
        await shop.until_states("unclear")
        shop.clock.move(UNCLEAR_SECONDS + 1)
        await shop.until_states("unknown")
        sent = shop.simulator.sent_to(ANA)[0]
        callback = sent.body["biz_opaque_callback_data"]
        await tell_status(shop, sent.wamid, "delivered", callback_data=callback)
        await shop.until_states("delivered")


async def test_answer_later_than_a_status_changes_nothing(url: str) -> None:
    """Webhooks overtake answers."""
    async with open_shop(url) as shop:
        shop.simulator.sending.behaviour.statuses_before_answer = True
        await shop.customer(ANA)
        await shop.say(ANA, "uno", "dos")
        await shop.until_states("read", "read")
        assert shop.seen_by(ANA) == ["uno", "dos"]
        assert len(shop.calls) == 2


async def test_refused_connection_proves_that_nothing_left(url: str) -> None:
    """So the same message is tried again until there is somebody to take it, and arrives once."""
    async with open_shop(url) as shop:
        await shop.customer(ANA)
        await shop.simulator.server.close_port()
        await shop.say(ANA, "uno", "dos")

        async def was_tried() -> bool:
            first = (await shop.bubbles())[0]
            return bool(first.attempts >= 2 and first.state == "queued")

        await shop.until(was_tried)
        await shop.simulator.server.open_port()
        shop.clock.move(8)
        await shop.until_states("read", "read")
        assert shop.seen_by(ANA) == ["uno", "dos"]
        assert len(shop.calls) == 2


async def test_page_that_is_no_answer_of_metas_fails(url: str) -> None:
    """A proxy's 404 will not get better by asking again."""
    async with open_shop(url) as shop:
        await shop.customer(ANA)
        shop.simulator.failures.add("messages", "http", http_status=404)
        await shop.say(ANA, "uno")
        await shop.until_states("failed")
        assert "check graph_url" in (await shop.bubbles())[0].reason


async def test_doubt_in_one_conversation_holds_up_no_other(url: str) -> None:
    """Conversations never wait for each other."""
    async with open_shop(url, graph_seconds=SHORT_SECONDS) as shop:
        for wa_id in (ANA, BEN):
            await shop.customer(wa_id)
        shop.simulator.failures.add("messages", "timeout_before")
        await shop.say(ANA, "uno")
        await shop.until_tried(1)
        await shop.say(BEN, "eins")
        await shop.until_states("unclear", "read")


async def test_server_that_dies_while_it_sends_leaves_one_message_in_doubt(url: str) -> None:
    """After the restart the status tells; without one the minute does. Nothing is sent again."""
    async with open_shop(url) as shop:
        await shop.customer(ANA)
        shop.simulator.failures.add("messages", "timeout_after")
        await shop.say(ANA, "uno", "dos")

        async def was_taken() -> bool:
            return bool(shop.simulator.sent_to(ANA))

        await shop.until(was_taken)
        for task in list(shop.service.worker._tasks):
            task.cancel()  # as kill -9 does: nothing is written any more
        assert (await shop.states())[1] == "queued"
        async with open_shop(url) as after:
            after.clock.move(11)  # the dead server's lease
            callback = shop.simulator.sent_to(ANA)[0].body["biz_opaque_callback_data"]
            sent = shop.simulator.sent_to(ANA)[0]
            await tell_status(after, sent.wamid, "read", callback_data=callback)

            async def went_on() -> bool:
                return len(after.calls) == 1

            await after.until(went_on)
            assert after.calls[0].body is not None
            assert after.calls[0].body["text"] == {"body": "dos"}


@pytest.mark.parametrize(
    ("told", "state"),
    [
        (["read", "delivered", "sent"], "read"),
        (["delivered", "failed"], "delivered"),
        (["read", "failed"], "read"),
        (["sent", "failed", "sent"], "failed"),
        (["sent", "failed", "delivered"], "delivered"),
        (["played", "read", "played"], "played"),
        (["sent", "sent"], "sent"),
    ],
)
async def test_status_never_goes_back(url: str, told: list[str], state: str) -> None:
    """Meta promises no order; what was delivered cannot have failed."""
    async with open_shop(url) as shop:
        shop.simulator.sending.behaviour.statuses = ()
        await shop.customer(ANA)
        await shop.say(ANA, "uno")
        await shop.until_states("accepted")
        for status in told:
            await tell_status(shop, shop.simulator.sent_to(ANA)[0].wamid, status)
        await settled(shop)
        assert await shop.states() == [state]


async def test_statuses_of_others_messages_are_no_news(url: str) -> None:
    """Another partner can send from the same number, and another of our servers had the same row numbers."""
    async with open_shop(url) as shop:
        shop.simulator.sending.behaviour.statuses = ()
        await shop.customer(ANA)
        await shop.say(ANA, "uno")
        await shop.until_states("accepted")
        await tell_status(shop, "wamid.foreign", "read")
        await tell_status(shop, "wamid.other", "read", callback_data="rasa-coexistence:1:0123456789ab")
        await tell_status(shop, "wamid.odd", "read", callback_data="rasa-coexistence:x:y:z")
        await settled(shop)
        assert await shop.states() == ["accepted"]


async def test_reason_of_a_failure_can_be_read(url: str) -> None:
    """It stands in the ledger in Meta's own words."""
    async with open_shop(url) as shop:
        shop.simulator.sending.behaviour.statuses = ()
        await shop.customer(ANA)
        await shop.say(ANA, "uno")
        await shop.until_states("accepted")
        error = {"code": 131049, "title": "Not delivered", "error_data": {"details": "Healthy ecosystem"}}
        await tell_status(shop, shop.simulator.sent_to(ANA)[0].wamid, "failed", error=error)
        await shop.until_states("failed")
        (row,) = await shop.bubbles()
        assert (row.code, row.reason) == (131049, "Not delivered: Healthy ecosystem")
        (chat,) = await shop.rows(schema.conversations)
        assert chat.wants_person
