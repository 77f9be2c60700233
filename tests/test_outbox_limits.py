"""Nothing is sent that Meta must refuse: not too fast, not outside the window, not to nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from ledgers import ANA as ANA_OF_BOOKS
from ledgers import Books, live
from shops import ANA, BEN, Shop, open_shop

from rasa_coexistence.ledger import rates, schema, syncs
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.outbox import SLOT_LASTS_SECONDS
from rasa_coexistence.simulator import webhooks
from rasa_coexistence.simulator.phones import CustomerPhone, deliver
from rasa_coexistence.simulator.state import Person

DAY = 24 * 3600
TEMPLATE = {"name": "we_answer", "language": "es_MX"}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


async def crowd(shop: Shop, size: int) -> list[CustomerPhone]:
    """Let many customers write at once."""
    phones = [shop.simulator.customer(f"52155512{n:05d}") for n in range(size)]
    await deliver(shop.simulator, *(phone.compose("text", {"body": "Hola"}) for phone in phones))

    async def are_known() -> bool:
        return len(await shop.rows(schema.conversations)) >= size

    await shop.until(are_known)
    return phones


def most_in_a_second(times: list[float]) -> int:
    return max(sum(1 for other in times if 0 <= other - at < 1) for at in times)


@pytest.mark.parametrize("servers", [1, 2])
async def test_number_keeps_to_twenty_a_second(ledger_url: str, servers: int) -> None:
    """What comes in counts, and all servers that share the ledger share the rate; nothing is refused."""
    async with open_shop(ledger_url, servers=servers) as shop:
        shop.simulator.sending.behaviour.statuses = ()
        shop.simulator.sending.rates.slack = 15  # a machine that stands still is not held against the sender
        phones = await crowd(shop, 40)
        began = shop.clock.now()
        channels = [service.output_channel() for service in shop.services]
        for count, phone in enumerate(phones):
            assert phone.person.wa_id is not None
            await channels[count % servers].send_response(phone.person.wa_id, {"text": "Hola"})
        await shop.simulator.wait_for_sent(40, timeout_seconds=20)
        took = shop.clock.now() - began
        assert [call.code for call in shop.calls if call.code] == []
        assert len(shop.calls) == 40
        assert most_in_a_second([call.at for call in shop.calls]) <= 22 + 20 * SLOT_LASTS_SECONDS
        assert took < 40 / 20 + 8  # and little time is lost, on a busy machine too


async def test_two_processes_never_take_the_same_slot(ledger_url: str) -> None:
    """Slots are taken from one row by one statement."""
    databases = [Database(ledger_url), Database(ledger_url)]
    for database in databases:
        database.open()
    try:
        await databases[0].write(syncs.add_number, "1", now=1000.0)
        taken = await asyncio.gather(
            *(
                databases[n % 2].write(rates.take_number_slot, "1", now=1000.0, interval=0.05)
                for n in range(40)
            )
        )
        assert sorted(taken) == pytest.approx([1000.0 + 0.05 * n for n in range(40)])
    finally:
        for database in databases:
            await database.close()


@pytest.mark.parametrize(
    ("slot", "count", "after"),
    [(0.0, 1, 1000.05), (1000.2, 2, 1000.3), (0.0, 500, 1001.0), (1003.0, 10, 1003.0)],
)
async def test_what_comes_in_takes_slots_for_a_second(
    tmp_path: Path, slot: float, count: int, after: float
) -> None:
    """Five hundred messages at once must not keep the bot silent for half a minute."""
    database = Database(f"sqlite:///{tmp_path}/ledger.db")
    database.open()
    try:
        await database.write(syncs.add_number, "1", now=1000.0)
        await database.write(
            lambda connection: connection.execute(schema.numbers.update().values(send_slot_at=slot))
        )
        await database.write(rates.count_inbound, "1", count, now=1000.0, interval=0.05)
        found = await database.read(
            lambda connection: connection.execute(sa.select(schema.numbers.c.send_slot_at)).scalar()
        )
        assert found == pytest.approx(after)
    finally:
        await database.close()


async def test_every_message_of_a_webhook_counts_and_a_repeated_one_does_not(books: Books) -> None:
    """Meta's twenty a second are of both directions; what it sends again it counted before."""
    body = live(ANA_OF_BOOKS, ("wamid.1", "uno"), ("wamid.2", "dos"), ("wamid.3", "tres"))
    await books.tell(body)
    await books.tell(body)
    [number] = await books.rows(schema.numbers)
    assert number.send_slot_at == pytest.approx(books.clock() + 3 / 20)


async def test_one_customer_gets_no_flood(url: str) -> None:
    """Forty-five may go at once, borrowed from the future; then one in six seconds. Nothing is refused."""
    async with open_shop(url, replies={"messages_per_second": 1000}) as shop:
        shop.simulator.sending.rates.messages_per_second = 1000
        shop.simulator.sending.behaviour.statuses = ()
        await shop.customer(ANA)
        await shop.say(ANA, *(str(n) for n in range(48)))
        await shop.until_states(*["accepted"] * 45, *["queued"] * 3)
        await asyncio.sleep(0.5)
        for count in (46, 47, 48):
            assert len(shop.calls) == count - 1
            shop.clock.move(6)
            await shop.until_tried(count)
        assert [call.code for call in shop.calls if call.code] == []
        assert shop.seen_by(ANA) == [str(n) for n in range(48)]


async def test_closed_window_is_recorded_and_nothing_is_sent(url: str) -> None:
    """The reason stands beside the message that was not delivered."""
    async with open_shop(url) as shop:
        await shop.customer(ANA)
        shop.clock.move(DAY + 1)
        await shop.say(ANA, "uno", "dos")
        await shop.until_states("undeliverable", "undeliverable")
        assert shop.calls == []
        assert {row.reason for row in await shop.bubbles()} == {"the customer has not written for 24 hours"}


async def test_window_is_open_to_its_last_second(url: str) -> None:
    """A day is a day."""
    async with open_shop(url) as shop:
        await shop.customer(ANA)
        shop.clock.move(DAY - 30)
        await shop.say(ANA, "uno")
        await shop.until_states("read")


async def test_template_opens_a_closed_window_once_for_each_answer(url: str) -> None:
    """It goes in the place of the first bubble; the others are recorded as not delivered."""
    async with open_shop(url, replies={"closed_window_template": TEMPLATE}) as shop:
        await shop.customer(ANA)
        shop.clock.move(DAY + 1)
        await shop.say(ANA, "uno", "dos")
        await shop.until_states("read", "undeliverable")
        shop.clock.move(3600)
        await shop.say(ANA, "tres")
        await shop.until_states("read", "undeliverable", "read")
        bodies = [sent.body for sent in shop.simulator.sent_to(ANA)]
        shown = {"name": "we_answer", "language": {"code": "es_MX"}}
        assert [body["template"] for body in bodies] == [shown, shown]
        assert (await shop.bubbles())[0].text == "uno"


async def test_template_of_the_bots_own_needs_no_window(url: str) -> None:
    """What Meta takes at any time is sent at any time."""
    async with open_shop(url) as shop:
        await shop.customer(ANA)
        shop.clock.move(DAY + 1)
        template = {"type": "template", "template": {"name": "offer", "language": {"code": "es"}}}
        await shop.say(ANA, custom=template)
        await shop.until_states("read")


@pytest.mark.parametrize("kind", ["echo", "history", "status", "reaction", "edit", "revoke"])
async def test_only_a_customers_own_message_opens_the_window(url: str, kind: str) -> None:
    """Echoes, old chat and the like do not, whatever their time."""
    async with open_shop(url, takeover={"enabled": False}) as shop:
        ana = await shop.customer(ANA)
        shop.clock.move(DAY + 1)
        number, at = shop.simulator.number, shop.clock.now()
        text = webhooks.message("wamid.new", at, "text", {"body": "Hola"})
        if kind == "echo":
            await shop.simulator.post(webhooks.echo(number, ana.person, text))
        elif kind == "history":
            await shop.simulator.post(_old_chat(number, ana.person, text))
        elif kind == "status":
            await shop.simulator.post(webhooks.status(number, ana.person, "wamid.x", "read", at))
        elif kind == "reaction":
            await ana.reacts("👍", to="wamid.x")
        elif kind == "edit":
            await ana.edits("wamid.x", "Hola!")
        else:
            await ana.revokes("wamid.x")

        async def is_read() -> bool:
            return not await shop.rows(schema.inbox)

        await shop.until(is_read)
        await shop.say(ANA, "uno")
        await shop.until_states("undeliverable")
        assert shop.calls == []


def _old_chat(number: Any, person: Person, message: Any) -> Any:
    threads = [webhooks.thread(number, person, [(False, message, "read")])]
    return webhooks.history_chunk(number, phase=0, chunk_order=1, progress=100, threads=threads)


async def test_reply_goes_to_the_phone_when_it_is_known(url: str) -> None:
    """With a plus, so that Meta puts no country before it."""
    async with open_shop(url) as shop:
        await shop.customer(ANA)
        await shop.say(ANA, "uno")
        await shop.until_states("read")
        body = shop.calls[0].body or {}
        assert body["to"] == f"+{ANA}"
        assert "recipient" not in body


async def test_reply_goes_to_the_user_id_when_the_phone_is_hidden(url: str) -> None:
    """A user id in ``to`` would be taken and thrown away."""
    async with open_shop(url) as shop:
        await shop.customer(BEN, hides_phone=True)
        (chat,) = await shop.rows(schema.conversations)
        await shop.say(chat.sender_id, "uno")
        await shop.until_states("read")
        body = shop.calls[0].body or {}
        assert body["recipient"] == chat.user_id == chat.sender_id
        assert "to" not in body
        assert len(shop.simulator.sent_to(chat.user_id)) == 1


async def test_customer_known_by_phone_is_still_written_to_when_they_hide_it(url: str) -> None:
    """The phone that was once known goes on to work."""
    async with open_shop(url) as shop:
        ana = await shop.customer(ANA)
        hidden = Person(user_id=ana.person.user_id, wa_id=ANA, hides_phone=True, username="ana")
        await shop.simulator.customer_like(hidden).writes("otra vez")

        async def came() -> bool:
            return len(await shop.rows(schema.messages, source="live")) == 2

        await shop.until(came)
        assert len(await shop.rows(schema.conversations)) == 1
        await shop.say(ANA, "uno")
        await shop.until_states("read")
        assert (shop.calls[0].body or {})["to"] == f"+{ANA}"


async def test_customer_without_a_usable_id_gets_nothing(url: str) -> None:
    """It is recorded, not sent to nobody."""
    async with open_shop(url) as shop:
        await shop.customer(ANA)
        await shop.service.database.write(
            lambda connection: connection.execute(
                schema.conversations.update().values(wa_id=None, user_id=None)
            )
        )
        await shop.say(ANA, "uno")
        await shop.until_states("undeliverable")
        assert shop.calls == []


async def test_customer_known_by_parent_id_alone_is_written_to_by_it(url: str) -> None:
    """Linked portfolios share it."""
    async with open_shop(url) as shop:
        parent = Person(parent_user_id="US.ENT.118157992128868")
        told = live(parent, ("wamid.p", "Hola"), at=shop.clock.now())
        await shop.simulator.post(told)

        async def is_known() -> bool:
            return bool(await shop.rows(schema.conversations))

        await shop.until(is_known)
        await shop.say("US.ENT.118157992128868", "uno")
        await shop.until_tried(1)
        assert (shop.calls[0].body or {})["recipient"] == "US.ENT.118157992128868"
