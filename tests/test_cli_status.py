"""``status`` tells how everything stands, from the ledger alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from ledgers import ANA, BEN, NUMBER, Books, history, live
from shell import open_desk

from rasa_coexistence.ledger import condition, jobs, numbers, schema, takeovers


async def fill(books: Books) -> None:
    """Let a shop have had a morning."""
    await books.tell(live(ANA, ("wamid.A", "Hola")), live(BEN, ("wamid.B", "Hola")))
    await books.tell(history(ANA, ("wamid.H", "antes", books.clock() - 86400), progress=55))
    await books.accept(live(BEN, ("wamid.C", "¿Hay alguien?")))
    ana, ben = await books.conversation(ANA), await books.conversation(BEN)

    def write(connection: Any) -> None:
        now = books.clock()
        takeovers.hold(connection, ana.id, until=None, reason="cli", now=now)
        takeovers.hold(connection, ben.id, until=now - 1, reason="cli", now=now)
        connection.execute(
            schema.conversations.update().where(schema.conversations.c.id == ben.id).values(wants_person=True)
        )
        for ordinal, state in enumerate(("queued", "sending", "failed", "unknown", "undeliverable", "sent")):
            bubble = {"conversation_id": ana.id, "cause": "x", "ordinal": ordinal, "body": "{}"}
            times = {"created_at": now, "changed_at": now}
            connection.execute(schema.outbox.insert().values(**bubble, **times, state=state))
        for digest, reason in enumerate(("unknown type", "unknown type", "no time")):
            aside = {"path": "a", "raw": "{}", "received_at": now, "digest": str(digest)}
            connection.execute(schema.set_aside.insert().values(reason=reason, **aside))
        jobs.file(connection, "hold", now=now, phone_number_id="1")
        numbers.count_stranger(connection, "4711", now=now)

    await books.database.write(write)


async def test_condition(books: Books) -> None:
    """Every count is right on every database."""
    await fill(books)
    found = await books.database.read(condition.read, now=books.clock())
    assert found.schema_version == schema.SCHEMA_VERSION
    (number,) = found.numbers
    assert (number["phone_number_id"], number["state"]) == (NUMBER.phone_number_id, "connected")
    assert number["sync"]["history"]["progress"] == 55
    assert found.conversations == {
        "count": 2,
        "taken_over": 1,
        "taken_for_a_time": 0,
        "on_hold": 1,
        "want_a_person": 1,
    }
    states = {"waiting": 2, "failed": 1, "unknown": 1, "undeliverable": 1, "unclear": 0, "held_back": 0}
    assert found.outbox == states
    assert (found.inbox["live"], found.inbox["oldest_at"]) == (1, books.clock())
    assert found.set_aside == {"unknown type": 2, "no time": 1}
    assert (found.jobs, found.strangers) == ({"waiting": 1, "failed": 0}, {"4711": 1})


async def test_version_is_read_without_a_trace(ledger_url: str) -> None:
    """To look at an empty database does not make the ledger's tables."""
    from rasa_coexistence.ledger.database import Database

    database = Database(ledger_url)
    assert await database.read(condition.version) == 0
    with pytest.raises(condition.SchemaTooOld, match="is empty; rasa run"):
        await database.read(condition.read, now=time.time())
    await database.close()


async def test_shown_to_people_and_scripts(tmp_path: Path) -> None:
    """The table names what the JSON has, and the sync has the shape of its route."""
    async with open_desk(tmp_path) as desk:
        assert desk.site is not None
        books = Books(desk.site.service.database)
        books.clock.now = time.time()
        await desk.site.service.worker.stop()
        await fill(books)
        result = await desk.shell("status")
        assert result.exit_code == 0, result.output
        for said in (
            NUMBER.phone_number_id,
            "syncing, 55 %",
            "2; a person has 1 (1 on hold), 1 want one",
            "2 waiting",
        ):
            assert said in result.output
        for said in ("1 unknown", "1 undeliverable", "2 x unknown type", "1 live", "strangers", "4711"):
            assert said in result.output
        told = await desk.told("status")
        path = f"/api/sync/status?id={NUMBER.phone_number_id}"
        headers = {"Authorization": f"Bearer {desk.block['admin_token']}"}
        _, shown = await desk.site.call("GET", path, headers=headers)
        assert told["numbers"][0]["sync"] == shown
        assert told["conversations"]["want_a_person"] == 1


async def test_number_that_is_off(tmp_path: Path) -> None:
    """A number whose bot is off, or that Meta stopped, says so with the reason."""
    async with open_desk(tmp_path) as desk:
        assert desk.site is not None
        values: dict[str, Any] = {
            "hold": True,
            "state": "offboarded",
            "state_reason": "the phone was set up anew",
        }
        await desk.site.service.database.write(numbers.change, NUMBER.phone_number_id, **values)
        output = (await desk.shell("status")).output
        assert "offboarded, bot off" in output
        assert "the phone was set up anew" in output


async def test_no_ledger(tmp_path: Path) -> None:
    """Before the first start there is a sentence, and no file."""
    async with open_desk(tmp_path, serves=False) as desk:
        result = await desk.shell("status")
        assert (result.exit_code, "There is no ledger" in result.output) == (1, True)
        assert not (tmp_path / "ledger.db").exists()


async def test_nothing_yet(tmp_path: Path) -> None:
    """A ledger without a number says how to come by one."""
    async with open_desk(tmp_path, phone_number_id=None, access_token=None) as desk:
        result = await desk.shell("status")
        assert (result.exit_code, "No number yet" in result.output) == (0, True)
