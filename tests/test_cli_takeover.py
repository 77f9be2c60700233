"""Who has a conversation, from the command line: with a server beside it, or without one."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from agents import Counter, agent_on, open_counter
from channels import PHONE_NUMBER_ID, credentials
from commands import command
from ledgers import ANA, BEN, Books, echo, live
from rasa.core.agent import Agent

from rasa_coexistence.ledger import chats, schema

ANA_ID, BEN_ID = str(ANA.wa_id), str(BEN.wa_id)
SILENCE_SECONDS = 0.8  # longer than reading and a turn take


@pytest.fixture
def agent(answering: Agent, tmp_path: Path) -> Agent:
    return agent_on(answering, f"sqlite:///{tmp_path}/rasa.db")


async def takeover(folder: Path, *words: str) -> tuple[int, str]:
    """Run the command on the ledger of the folder."""
    block = credentials(f"sqlite:///{folder}/ledger.db")
    result = await command(folder, block, "takeover", *words)
    return result.exit_code, result.output


async def heard(counter: Counter, wamid: str) -> str:
    """Wait until a message is in the tracker and return what the ledger says of it."""

    async def is_heard() -> bool:
        return bool([1 for row in await counter.rows(schema.messages, wamid=wamid) if row.state != "waiting"])

    await counter.until(is_heard)
    return str((await counter.rows(schema.messages, wamid=wamid))[0].state)


async def test_a_hold_silences_and_a_release_answers(agent: Agent, tmp_path: Path) -> None:
    """The customer is heard meanwhile, and answered when the bot has the chat again."""
    async with open_counter(agent, f"sqlite:///{tmp_path}/ledger.db") as counter:
        ana = counter.meta.customer(ANA_ID)
        await ana.writes("hello")
        await counter.answered(1)
        code, said = await takeover(tmp_path, "hold", "+52 1 771 526 8513")
        assert (code, f"{ANA_ID}: the bot is silent until it is released" in said) == (0, True)
        assert await heard(counter, await ana.writes("hello again")) == "logged"
        await asyncio.sleep(SILENCE_SECONDS)
        assert len(counter.meta.sent_to(ANA_ID)) == 1
        pauses = await counter.events(ANA_ID, "pause")
        assert [event["metadata"]["whatsapp"]["reason"] for event in pauses] == ["cli"]
        code, said = await takeover(tmp_path, "release", ANA_ID)
        assert (code, f"{ANA_ID}: the bot speaks again" in said) == (0, True)
        await counter.answered(2)
        assert (await takeover(tmp_path, "list"))[1].strip().endswith("The bot has all conversations.")


async def test_a_hold_counts_although_no_server_ran(agent: Agent, tmp_path: Path) -> None:
    """It is in the ledger before the first message after the start; so is that of a whole number."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    async with open_counter(agent, url) as counter:
        await counter.meta.customer(ANA_ID).writes("hello")
        await counter.answered(1)
    assert (await takeover(tmp_path, "hold", ANA_ID))[0] == 0
    async with open_counter(agent, url) as counter:
        ana, ben = counter.meta.customer(ANA_ID), counter.meta.customer(BEN_ID)
        assert await heard(counter, await ana.writes("anybody?")) == "logged"
        assert await heard(counter, await ben.writes("hello")) == "answered"
        await counter.answered(1, to=BEN_ID)
        assert counter.meta.sent_to(ANA_ID) == []
    assert (await takeover(tmp_path, "release", ANA_ID))[0] == 0
    code, said = await takeover(tmp_path, "hold", "--all")
    assert (code, f"number {PHONE_NUMBER_ID}: the bot is silent" in said) == (0, True)
    async with open_counter(agent, url) as counter:
        ben = counter.meta.customer(BEN_ID)
        assert await heard(counter, await ben.writes("bot off?")) == "logged"
        await asyncio.sleep(SILENCE_SECONDS)
        assert counter.meta.sent_to(BEN_ID) == counter.meta.sent_to(ANA_ID) == []
        code, said = await takeover(tmp_path, "release", "--number", PHONE_NUMBER_ID)
        assert (code, f"number {PHONE_NUMBER_ID}: the bot speaks again" in said) == (0, True)
        await counter.answered(1, to=BEN_ID)


async def test_a_hold_ends_by_itself_after_its_minutes(agent: Agent, tmp_path: Path) -> None:
    """Whoever goes to lunch need not think of it."""
    async with open_counter(agent, f"sqlite:///{tmp_path}/ledger.db") as counter:
        ana = counter.meta.customer(ANA_ID)
        await ana.writes("hello")
        await counter.answered(1)
        assert (await takeover(tmp_path, "hold", ANA_ID, "--minutes", "0.05"))[0] == 0
        assert await heard(counter, await ana.writes("hello again")) == "logged"
        await counter.answered(2)


async def listed(books: Books, folder: Path, url: str, *words: str) -> list[list[str]]:
    """Return the cells of the list."""
    result = await command(folder, credentials(url), "takeover", "list", *words)
    assert result.exit_code == 0
    lines = [line for line in result.stdout.splitlines() if "takeover.changed" not in line]
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines if line.strip()]


async def test_the_list_says_who_has_what_until_when_and_why(
    books: Books, ledger_url: str, tmp_path: Path
) -> None:
    """On each kind of ledger: a phone, a hold, a bot that asks for somebody, a whole number."""
    books.clock.now = time.time()
    people = [ANA, BEN, *(type(ANA)(wa_id=f"52155511111{n:02}", name=f"P{n}") for n in range(3))]
    for n, person in enumerate(people):
        await books.tell(live(person, (f"wamid.{n}", "Hola"), at=books.clock() - 600))
    await books.tell(echo(ANA, "wamid.E", "Le atiendo", at=books.clock()))
    block = credentials(ledger_url)
    assert (await command(tmp_path, block, "takeover", "hold", BEN_ID, "--minutes", "60")).exit_code == 0
    asks = (await books.conversation(people[2])).id
    await books.database.write(chats.ask_for_person, asks)
    rows = await listed(books, tmp_path, ledger_url)
    cells = {row[0]: row for row in rows}
    assert cells[ANA_ID][1:3] == ["Ana", "a person"]
    assert "phone" in cells[ANA_ID]
    assert cells[BEN_ID][1:3] == ["Ben", "a person"]
    assert "cli" in cells[BEN_ID]
    until = time.strftime("%Y-%m-%d %H:%M", time.localtime(books.clock() + 3600))
    assert cells[BEN_ID][3][:13] == until[:13] or time.localtime().tm_min > 58
    assert cells["5215551111100"][2] == "the bot"
    assert cells["5215551111100"][-1] == "yes"
    assert "5215551111101" not in cells
    only = await listed(books, tmp_path, ledger_url, "--wants-person")
    assert [row[0] for row in only][1:] == ["5215551111100"]
    assert (await command(tmp_path, block, "takeover", "hold", "--all")).exit_code == 0
    rows = await listed(books, tmp_path, ledger_url)
    assert rows[1][0] == f"number {PHONE_NUMBER_ID}"
    assert "5215551111101" not in {row[0] for row in rows}  # with its number, not by itself


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["hold"], 2, "Name a conversation, or --number, or --all."),
        (["release", ANA_ID, "--all"], 2, "Name a conversation, or --number, or --all."),
        (["hold", "5215559999999"], 1, "There is no conversation 5215559999999."),
        (["hold", "--number", "12"], 1, "No number with the phone_number_id 12 is known here."),
        (["hold", ANA_ID, "--minutes", "-1"], 2, "-1"),
    ],
)
async def test_what_cannot_be_done_is_said(
    books: Books, ledger_url: str, tmp_path: Path, words: list[str], code: int, said: str
) -> None:
    """And the exit code says so to scripts."""
    await books.tell(live(ANA, ("wamid.1", "Hola")))
    result = await command(tmp_path, credentials(ledger_url), "takeover", *words)
    assert result.exit_code == code
    assert said in " ".join(result.output.replace("│", " ").split())
    rows: list[Any] = await books.rows(schema.conversations, takeover="bot")
    assert len(rows) == 1


async def test_without_a_ledger_nothing_is_made(tmp_path: Path) -> None:
    """A typing error in the folder must not look like a shop without takeovers."""
    code, said = await takeover(tmp_path, "list")
    assert (code, "There is no ledger at" in said) == (1, True)
    assert not (tmp_path / "ledger.db").exists()
