"""What leaves, how often, and what the ledger and the customer see of each of Meta's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from shops import ANA, BEN, Shop, open_shop

from rasa_coexistence.graph.codes import RULES
from rasa_coexistence.ledger import schema
from rasa_coexistence.sending import STOPPED_SECONDS

# Meta's codes by what is to be done, as its list of error codes has them.
REFUSED = [
    *(100, 130403, 130472, 130497, 131008, 131009, 131021, 131026, 131048, 131049, 131050, 131051),
    *(131052, 131053, 131062, 131063, 131064, 132000, 132001, 132005, 132007, 132012, 132015, 132016),
    *(132068, 133000, 133005, 133006, 133008, 133009, 133015, 133016, 134011, 1752041, 999_999),
]
OUTAGE = [2, 131016, 133004]
QUOTA = [4, 80007, 131057, 2494100, 132069]
NUMBER_STOPS = [0, 190, 3, 10, 131005, 200, 299, 33, 368, 131031, 131037, 131042]
DISCONNECTED = [131045, 133010]
OTHERS = {1, 130429, 131000, 131047, 131056}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


async def said_while(shop: Shop, code: int, *texts: str, to: str = ANA, count: int | None = 1) -> None:
    """Let the bot say something while Meta answers with a code."""
    shop.simulator.failures.add("messages", "error", code=code, count=count)
    await shop.say(to, *texts)


def test_every_code_has_its_place_here() -> None:
    """A code that is added to the list must be shown to do what it should."""
    shown = {*REFUSED, *OUTAGE, *QUOTA, *NUMBER_STOPS, *DISCONNECTED, *OTHERS}
    sync = {2593107, 2593108, 2593109}
    inbound, quota_of_graph = {131060}, {17, 32, 613}
    assert RULES.keys() - shown == sync | inbound | quota_of_graph


async def test_messages_arrive_once_and_in_order(url: str) -> None:
    """The plain case, followed to its blue ticks."""
    async with open_shop(url) as shop:
        await shop.customer(ANA)
        await shop.say(ANA, "uno", "dos", "tres")
        await shop.until_states("read", "read", "read")
        assert shop.seen_by(ANA) == ["uno", "dos", "tres"]
        assert len(shop.calls) == 3
        assert {row.reason for row in await shop.bubbles()} == {None}


async def test_refused_message_fails_with_its_reason_and_the_next_one_goes(url: str) -> None:
    """No repetition would help; a person sees what the customer did not get."""
    async with open_shop(url, replies={"messages_per_second": 1000}) as shop:
        await shop.customer(ANA)
        shop.simulator.sending.rates.messages_per_second = 1000
        for count, code in enumerate(REFUSED, 1):
            await said_while(shop, code, f"lost {code}")
            await shop.until_states(*["failed"] * count)
        assert [row.code for row in await shop.bubbles()] == REFUSED
        assert all(row.reason for row in await shop.bubbles())
        assert len(shop.calls) == len(REFUSED)
        (chat,) = await shop.rows(schema.conversations)
        assert chat.wants_person
        await shop.say(ANA, "this one arrives")
        await shop.until_tried(len(REFUSED) + 1)
        assert shop.seen_by(ANA) == ["this one arrives"]


async def test_outage_is_waited_out(url: str) -> None:
    """Once Meta works again everything leaves, in order, each once."""
    async with open_shop(url) as shop:
        await shop.customer(ANA)
        for made, code in enumerate(OUTAGE):
            await said_while(shop, code, f"uno {code}", f"dos {code}", count=2)
            await shop.until_tried(4 * made + 1)
            shop.clock.move(2)
            await shop.until_tried(4 * made + 2)
            shop.clock.move(4)
            await shop.until_states(*["read"] * 2 * (made + 1))
        assert shop.seen_by(ANA) == [f"{said} {code}" for code in OUTAGE for said in ("uno", "dos")]
        assert [call.failure for call in shop.calls] == ["error", "error", None, None] * len(OUTAGE)


@pytest.mark.parametrize(("code", "tries"), [(1, 2), (131000, 4)])
async def test_unknown_fault_is_tried_a_few_times_more(url: str, code: int, tries: int) -> None:
    """Then it fails for good and the next message goes."""
    async with open_shop(url) as shop:
        await shop.customer(ANA)
        await said_while(shop, code, "uno", "dos", count=tries)
        for count in range(1, tries + 1):
            await shop.until_tried(count)
            shop.clock.move(30)
        await shop.until_states("failed", "read")
        assert len(shop.calls) == tries + 1
        assert shop.seen_by(ANA) == ["dos"]


async def test_quota_is_given_minutes(url: str) -> None:
    """Asking sooner would only use up more of it."""
    async with open_shop(url) as shop:
        await shop.customer(ANA)
        for made, code in enumerate(QUOTA):
            await said_while(shop, code, f"uno {code}")
            await shop.until_tried(2 * made + 1)
            await shop.passes(58)
            assert len(shop.calls) == 2 * made + 1
            shop.clock.move(40)
            await shop.until_states(*["read"] * (made + 1))
        assert shop.seen_by(ANA) == [f"uno {code}" for code in QUOTA]


async def test_throttled_number_slows_all_its_conversations(url: str) -> None:
    """The rate is the number's: another customer's message would be refused as well."""
    async with open_shop(url) as shop:
        for wa_id in (ANA, BEN):
            await shop.customer(wa_id)
        await said_while(shop, 130429, "uno")
        await shop.until_tried(1)
        began = shop.clock.now()
        await shop.say(BEN, "eins")
        await shop.until_states("read", "read")
        later = [call.at for call in shop.calls[1:]]
        assert len(later) == 2
        assert min(later) - began > 0.8


async def test_throttled_number_backs_off_ever_longer(url: str) -> None:
    """From one second to a minute."""
    async with open_shop(url) as shop:
        await shop.customer(ANA)
        await said_while(shop, 130429, "uno", count=3)
        waits = []
        for count in range(1, 4):
            await shop.until_tried(count)
            (row,) = await shop.bubbles()
            waits.append(row.not_before - row.changed_at)
            shop.clock.move(waits[-1])
        await shop.until_states("read")
        assert all(first <= wait <= first * 1.5 for wait, first in zip(waits, (1, 2, 4), strict=True))


async def test_pair_rate_is_waited_out_and_others_are_not_affected(url: str) -> None:
    """Meta wants 4^n seconds; it is about one customer."""
    async with open_shop(url) as shop:
        for wa_id in (ANA, BEN):
            await shop.customer(wa_id)
        waits = []
        await said_while(shop, 131056, "uno", count=3)
        for count in range(1, 4):
            await shop.until_tried(count)
            row = (await shop.bubbles())[0]
            waits.append(row.not_before - row.changed_at)
            if count < 3:
                shop.clock.move(waits[-1])
        await shop.say(BEN, "eins")
        await shop.until_states("queued", "read")
        shop.clock.move(waits[-1])
        await shop.until_states("read", "read")
        assert all(first <= wait <= first * 1.5 for wait, first in zip(waits, (4, 16, 64), strict=True))


async def test_trouble_of_the_number_stops_the_number(url: str) -> None:
    """Every other message would fail alike; somebody must act, and then all of it leaves."""
    async with open_shop(url) as shop:
        for wa_id in (ANA, BEN):
            await shop.customer(wa_id)
        for made, code in enumerate([*NUMBER_STOPS, *DISCONNECTED]):
            await said_while(shop, code, f"uno {code}")
            await shop.until_tried(3 * made + 1)
            (number,) = await shop.rows(schema.numbers)
            assert number.stopped_until > shop.clock.now() + STOPPED_SECONDS - 5
            assert f"code {code}" in number.state_reason
            await shop.say(BEN, f"eins {code}")
            if made == 0:
                await shop.passes(STOPPED_SECONDS - 20)
            assert len(shop.calls) == 3 * made + 1
            shop.clock.move(STOPPED_SECONDS)
            await shop.until_states(*["read"] * 2 * (made + 1))
            (number,) = await shop.rows(schema.numbers)
            assert (number.stopped_until, number.state_reason) == (None, None)


async def _stopped(shop: Shop) -> Any:
    (number,) = await shop.rows(schema.numbers)
    return number.stopped_until and number.state_reason


async def test_missing_token_stops_the_number_without_a_call(url: str) -> None:
    """There is nothing to try it with."""
    async with open_shop(url, access_token=None) as shop:
        await shop.customer(ANA)
        await shop.say(ANA, "uno")
        await shop.until(lambda: _stopped(shop))
        assert shop.calls == []
        assert await shop.states() == ["queued"]


async def test_stopped_number_gives_up_when_the_window_closes(url: str) -> None:
    """A day later the answer is of no use, and would be refused."""
    async with open_shop(url) as shop:
        await shop.customer(ANA)
        await said_while(shop, 190, "uno", count=None)
        await shop.until(lambda: _stopped(shop))
        await shop.passes(24 * 3600)
        await shop.until_states("undeliverable")
        assert shop.seen_by(ANA) == []


async def test_window_that_meta_finds_closed_is_closed(url: str) -> None:
    """Meta has the last word on it; ours may be a message behind."""
    async with open_shop(url) as shop:
        await shop.customer(ANA)
        await said_while(shop, 131047, "uno")
        await shop.until_states("undeliverable")
        assert len(shop.calls) == 1
        assert "24 hours" in (await shop.bubbles())[0].reason


async def test_template_goes_where_meta_finds_the_window_closed(url: str) -> None:
    """With a template in the settings the customer hears that there is an answer."""
    template = {"name": "we_answer", "language": "es_MX"}
    async with open_shop(url, replies={"closed_window_template": template}) as shop:
        await shop.customer(ANA)
        await said_while(shop, 131047, "uno")
        await shop.until_states("read")
        assert [sent.body["type"] for sent in shop.simulator.sent_to(ANA)] == ["template"]


async def test_message_that_fails_later_is_failed_with_metas_reason(url: str) -> None:
    """Meta takes some messages and refuses them afterwards, by webhook."""
    async with open_shop(url) as shop:
        await shop.customer(ANA, on_whatsapp=False)
        await shop.say(ANA, "uno")
        await shop.until_states("failed")
        (row,) = await shop.bubbles()
        assert row.code == 131026
        assert "not on WhatsApp" in row.reason
        assert len(shop.calls) == 1
