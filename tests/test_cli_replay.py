"""What was set aside can be looked at and read again, and is never doubled by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from channels import credentials
from commands import command
from ledgers import ANA, BEN, DAY, NOW, NUMBER, Books, as_bytes, history, live

from rasa_coexistence import reading
from rasa_coexistence.ledger import inbox, schema
from rasa_coexistence.records import MessageState

OTHER = "111222333444555"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


async def replay(folder: Path, url: str, *words: str, **settings: Any) -> tuple[int, str]:
    """Run the command; the settings can have changed since."""
    block = credentials(url, **{"phone_number_id": NUMBER.phone_number_id, **settings})
    result = await command(folder, block, "replay", *words)
    return result.exit_code, result.output


def of_other_number(*bodies: Any) -> list[bytes]:
    return [as_bytes(body).replace(NUMBER.phone_number_id.encode(), OTHER.encode()) for body in bodies]


async def test_what_came_for_a_number_not_served_is_read_once_it_is(
    books: Books, ledger_url: str, folder: Path
) -> None:
    """Live messages and old chat, each once, however often it is tried, and with the times they had."""
    told = history(ANA, ("wamid.H1", "Antes", NOW - DAY), ("wamid.H2", "Luego", NOW - DAY + 9))
    bodies = of_other_number(live(ANA, ("wamid.A1", "Hola")), told, live(BEN, ("wamid.B1", "Oi")))
    await books.tell(*bodies)
    assert await books.said() == []
    code, said = await replay(folder, ledger_url, "--all")
    assert (code, "0 read, 4 failed again." in said) == (1, True)
    kept = await books.rows(schema.set_aside)
    code, said = await replay(folder, ledger_url, "--all")
    assert [row.id for row in await books.rows(schema.set_aside)] == [row.id for row in kept]
    code, said = await replay(folder, ledger_url, "--all", phone_number_id=OTHER)
    assert (code, "4 read, 0 failed again." in said) == (0, True)
    assert await books.rows(schema.set_aside) == []
    assert sorted(await books.said()) == ["Antes", "Hola", "Luego", "Oi"]
    [hola] = await books.rows(schema.messages, wamid="wamid.A1")
    assert (hola.state, hola.received_at, hola.sent_at) == ("waiting", NOW, NOW)
    books.rules = msgspec.structs.replace(books.rules, phone_number_id=OTHER)
    await books.tell(*bodies)  # Meta delivers it all once more
    assert len(await books.said()) == 4
    [chunk] = await books.rows(schema.chunks)
    assert chunk.chunk_order == 1


async def test_what_a_new_release_can_read_is_read(
    books: Books, ledger_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two fails in our code; the bad one comes in later, the good one is not doubled."""

    def stumble(*_anything: Any) -> None:
        raise ZeroDivisionError

    rare = live(ANA, ("wamid.A1", "raro"))
    with monkeypatch.context() as patched:
        patched.setitem(reading.__dict__, "_file_wholly", stumble)
        await books.tell(rare)
    [row] = await books.rows(schema.set_aside)
    assert "ZeroDivisionError" in row.reason
    await books.tell(live(ANA, ("wamid.A2", "común")))
    code, said = await replay(folder, ledger_url, "--id", str(row.id))
    assert (code, "1 read, 0 failed again." in said) == (0, True)
    assert await books.said() == ["común", "raro"]
    await books.tell(rare)
    assert await books.said() == ["común", "raro"]


async def test_bad_old_messages_stay_with_their_thread(books: Books, ledger_url: str, folder: Path) -> None:
    """The excerpt says whose they are: forgetting finds them, and mended they find their place."""
    body = as_bytes(history(ANA, ("wamid.H1", "Antes", NOW - DAY), ("wamid.H2", "Luego", 1234567890)))
    await books.tell(body.replace(b'"1234567890"', b'"0"'))
    [row] = await books.rows(schema.set_aside)
    assert str(ANA.wa_id) in row.webhook
    assert "Antes" not in row.webhook
    code, said = await replay(folder, ledger_url, "--all")
    assert (code, "0 read, 1 failed again." in said) == (1, True)
    assert "Luego" not in said
    code, said = await replay(folder, ledger_url, "--all", "--show")
    assert "Luego" in said
    mended = row.webhook.replace('"timestamp":"0"', f'"timestamp":"{NOW - DAY + 5:.0f}"')
    await books.database.write(
        lambda connection: connection.execute(schema.set_aside.update().values(webhook=mended)).rowcount
    )
    assert (await replay(folder, ledger_url, "--all"))[0] == 0
    assert await books.said() == ["Antes", "Luego"]


async def test_a_message_with_which_rasa_failed_waits_for_it_again(
    books: Books, ledger_url: str, folder: Path
) -> None:
    """It was read long ago: it goes back into its conversation's queue, not through the reader."""
    await books.tell(live(ANA, ("wamid.A1", "bomba"), ("wamid.A2", "otra")))
    [first, _second] = await books.rows(schema.messages)
    row = schema.messages.c.id == first.id

    def give_up(connection: Any) -> None:
        connection.execute(schema.messages.update().where(row).values(state=MessageState.SET_ASIDE.value))
        inbox.keep_aside(connection, reason="Rasa failed", path="wamid.A1", raw=None, received_at=NOW)

    await books.database.write(give_up)
    assert (await replay(folder, ledger_url, "--all"))[0] == 0
    states = [each.state for each in await books.rows(schema.messages)]
    assert states == ["waiting", "waiting"]
    assert (await books.conversation(ANA)).talk_due_at is not None
    assert await books.rows(schema.set_aside) == []


async def test_bodies_that_are_no_webhook_and_notes_stay(books: Books, ledger_url: str, folder: Path) -> None:
    """Whatever was kept can be listed; what people should only see is not tried."""
    fault = {"metadata": {"phone_number_id": NUMBER.phone_number_id}, "errors": [{"code": 1, "title": "Ay"}]}
    entry = {"id": "1", "changes": [{"field": "messages", "value": fault}]}
    await books.accept(b'{"entry": [7, {"changes": [{"field": "new", "value": {"a": 1}}]}]}')
    await books.tell({"object": "whatsapp_business_account", "entry": [entry]})
    kept = [(row.id, row.reason) for row in await books.rows(schema.set_aside)]
    assert len(kept) == 3
    code, said = await replay(folder, ledger_url)
    assert (code, "3 set aside." in said) == (0, True)
    assert all(reason in said for _, reason in kept)
    assert "there is nothing to read again" in said
    code, said = await replay(folder, ledger_url, "--all")
    assert (code, "0 read, 2 failed again." in said) == (1, True)
    assert [(row.id, row.reason) for row in await books.rows(schema.set_aside)] == kept


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--id", "77"], 1, "Nothing with this id was set aside: 77."),
        (["--id", "1", "--all"], 2, "Choose one of --list, --id and --all."),
        (["--list", "--all"], 2, "Choose one of --list, --id and --all."),
    ],
)
async def test_what_cannot_be_done_is_said(
    books: Books, ledger_url: str, folder: Path, words: list[str], code: int, said: str
) -> None:
    """And the exit code says so to scripts."""
    found, output = await replay(folder, ledger_url, *words)
    assert found == code
    assert said in " ".join(output.replace("│", " ").split())
