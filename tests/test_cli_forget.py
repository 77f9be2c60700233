"""A customer is forgotten from the command line, by the server that runs beside it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from agents import Counter, agent_on, open_counter
from channels import credentials
from commands import command
from ledgers import ANA, BEN, NUMBER, Books, as_bytes, history, live
from rasa.core.agent import Agent

from rasa_coexistence.ledger import schema, schema_jobs
from rasa_coexistence.simulator import webhooks
from rasa_coexistence.simulator.state import Number

ANA_ID, BEN_ID = str(ANA.wa_id), str(BEN.wa_id)


@pytest.fixture
def agent(answering: Agent, tmp_path: Path) -> Agent:
    return agent_on(answering, f"sqlite:///{tmp_path}/rasa.db")


async def forget(folder: Path, *words: str, answer: str | None = None) -> tuple[int, str]:
    """Run the command on the ledger of the folder."""
    block = credentials(f"sqlite:///{folder}/ledger.db")
    result = await command(folder, block, "forget", *words, answer=answer)
    return result.exit_code, result.output


async def filed(counter: Counter, **where: Any) -> None:
    """Wait until there is such a message."""

    async def is_there() -> bool:
        return bool(await counter.rows(schema.messages, **where))

    await counter.until(is_there)


async def test_a_customer_is_forgotten_everywhere(agent: Agent, tmp_path: Path) -> None:
    """Ledger, tracker, address book, links to media; the other customer is as before."""
    url, base = f"sqlite:///{tmp_path}/ledger.db", "http://shop.example"
    async with open_counter(agent, url, base_url=base) as counter:
        ana, ben = counter.meta.customer(ANA_ID), counter.meta.customer(BEN_ID)
        await ben.writes("hello")
        await counter.meta.owner().saves(ana.person, ben.person)
        await ana.writes("hello")
        await counter.answered(1, to=ANA_ID)
        await ana.sends("image", counter.meta.media.receive("image/jpeg", b"a face"))
        link = await media_link(counter)
        assert (await counter.site.call("GET", link))[0] == 200
        code, said = await forget(tmp_path, "521 771 526 8513", answer="n\n")
        assert (code, "Nothing was deleted." in said) == (1, True)
        assert f"Conversation {ANA_ID}" in said
        assert "1 entries in the owner's address book" in said
        assert len(await counter.rows(schema.conversations)) == 2
        code, said = await forget(tmp_path, "521 771 526 8513", answer="y\n")
        assert (code, said.strip().endswith("Forgotten.")) == (0, True)
        assert [row.sender_id for row in await counter.rows(schema.conversations)] == [BEN_ID]
        assert await counter.events(ANA_ID) == []
        assert await counter.events(BEN_ID) != []
        entries = {row.alias for row in await counter.rows(schema.contacts)}
        assert entries == {"phone:525550000001", f"user:{ben.person.user_id}"}
        assert (await counter.site.call("GET", link))[0] == 404
        code, said = await forget(tmp_path, ANA_ID, "--yes")
        assert (code, f"Nothing is known of {ANA_ID}." in said) == (1, True)
        before = len(counter.meta.sent_to(ANA_ID))
        await ana.writes("hello")  # a stranger like any other
        await counter.answered(before + 1, to=ANA_ID)


async def media_link(counter: Counter) -> str:
    """Return the path of the link that custom actions get, below the channel's."""

    async def links() -> list[str]:
        told = [
            event["metadata"]["whatsapp"].get("media", {}) for event in await counter.events(ANA_ID, "user")
        ]
        return [media["url"] for media in told if "url" in media]

    await counter.until(links)
    parts = urlsplit((await links())[0])
    return f"{parts.path.removeprefix('/webhooks/whatsapp')}?{parts.query}"


async def test_without_a_server_it_is_done_at_its_next_start(agent: Agent, tmp_path: Path) -> None:
    """The exit code does not say that it is done before it is; asking twice asks once."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    async with open_counter(agent, url) as counter:
        await counter.meta.customer(ANA_ID).writes("hello")
        await counter.answered(1)
    for _ in range(2):
        code, said = await forget(tmp_path, ANA_ID, "--yes", "--wait", "0.3")
        assert (code, "No server began with it" in said) == (1, True)
        assert "Forgotten." not in said
    async with open_counter(agent, url) as counter:
        assert len(await counter.rows(schema_jobs.jobs)) == 1

        async def is_gone() -> bool:
            return not await counter.rows(schema.conversations) and not await counter.events(ANA_ID)

        await counter.until(is_gone)


async def test_somebody_who_only_stands_in_an_address_book(
    books: Books, ledger_url: str, tmp_path: Path
) -> None:
    """Or in what was set aside: no conversation, no server needed, with every number of the business."""
    second = Number(phone_number_id="845237608662426", display_phone_number="5215550000009", waba_id="1001")
    strange = webhooks.message("wamid.S", books.clock(), "hologram", {"body": "secreto"})
    for number in (NUMBER, second):
        await books.database.write(add_number, number.phone_number_id)
        await books.tell(webhooks.state_sync(number, [(ANA, False, 1.0), (BEN, False, 1.0)]))
    await books.tell(webhooks.inbound(second, [(ANA, strange)]))
    assert len(await books.rows(schema.set_aside)) == 1
    result = await command(tmp_path, credentials(ledger_url), "forget", "+52 1 771 526 8513", "--yes")
    assert (result.exit_code, "2 entries in the owner's address book" in result.output) == (0, True)
    assert {row.alias for row in await books.rows(schema.contacts)} == {"phone:525550000001"}
    assert await books.rows(schema.set_aside) == []


def add_number(connection: Any, phone_number_id: str) -> None:
    """Serve a number."""
    values = {"phone_number_id": phone_number_id, "created_at": 1.0}
    connection.execute(schema.numbers.insert().values(**values))


@pytest.mark.parametrize("waiting", ["old chat", "live", "live, in a long body"])
async def test_what_is_not_read_yet_is_not_called_forgotten(
    books: Books, ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waiting: str
) -> None:
    """A message that waits to be read would bring the customer back."""
    monkeypatch.setattr(import_module("rasa_coexistence.cli.forget"), "UNREAD_SECONDS", 0.3)
    await books.tell(
        webhooks.state_sync(
            Number(phone_number_id="845237608662425", display_phone_number="1", waba_id="1"),
            [(ANA, False, 1.0)],
        )
    )
    said = "¿Y esto? " * (10_000 if "long" in waiting else 1)
    old, new = history(ANA, ("wamid.H1", said, books.clock() - 99)), live(ANA, ("wamid.L1", said))
    await books.accept(as_bytes(old if waiting == "old chat" else new))
    result = await command(tmp_path, credentials(ledger_url), "forget", ANA_ID, "--yes")
    assert (result.exit_code, "Not all is deleted yet" in result.output) == (1, True)
    await books.read()
    await books.tell(live(BEN, ("wamid.B", "Oi")))
    assert len(await books.said()) == 2
