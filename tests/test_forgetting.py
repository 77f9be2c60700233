"""To forget somebody leaves nothing of them, in no table and in no file, and all of everybody else."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from history_stage import Stage, open_stage
from ledgers import ANA, BEN, DAY, NOW, NUMBER, as_bytes, echo, history, live
from stores import open_store

from rasa_coexistence.identity import make_wamid
from rasa_coexistence.ledger import bubbles, forgetting, inbox, jobs, notices, schema, schema_history
from rasa_coexistence.ledger.bubbles import Draft
from rasa_coexistence.ledger.columns import metadata
from rasa_coexistence.ledger.forgetting import Customer
from rasa_coexistence.records import BubbleState
from rasa_coexistence.simulator import webhooks
from rasa_coexistence.simulator.phones import edit
from rasa_coexistence.simulator.state import Person

SCOPED = make_wamid(str(ANA.wa_id), "CHAT", from_business=False)
SECRET = re.compile(f"secreto|Ana|7715268513|{re.escape(SCOPED)}")


@pytest.fixture
async def stage(ledger_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """Run on each kind of ledger, before Rasa's SQL store in a file that overwrites nothing by itself."""
    with open_store("sqlite", tmp_path, lambda name: None) as shelf:
        engine = shelf.inner.engine
        sa.event.listen(
            engine, "connect", lambda connection, _: connection.execute("PRAGMA secure_delete = OFF")
        )
        engine.dispose()
        async with open_stage(shelf.store, ledger_url, history={"parse": True}) as opened:
            yield opened


async def live_through_everything(stage: Stage, person: Person, word: str) -> int:
    """Let somebody leave a trace in every table that takes one; return their conversation."""
    wamid = f"wamid.{person.name}"
    old = [(f"{wamid}.H{n}", f"{word} viejo {n}", NOW - 9 * DAY + n) for n in range(60)]
    await stage.tell(history(person, *old))
    while await stage.parse.step():
        pass
    await stage.tell(live(person, *((f"{wamid}.L{n}", f"{word} vivo {n}") for n in range(20))))
    stage.clock.move(60)
    await stage.tell(echo(person, f"{wamid}.E", f"{word} eco", at=stage.clock()))
    change = edit(f"{wamid}.L1", f"{word} mejor")
    edited = webhooks.message(f"{wamid}.X", stage.clock(), "edit", change)
    await stage.tell(webhooks.inbound(NUMBER, [(person, edited)]))
    await stage.tell(webhooks.state_sync(NUMBER, [(person, False, stage.clock())]))
    strange = webhooks.message(f"{wamid}.S", stage.clock(), "hologram", {"body": word})
    await stage.tell(webhooks.inbound(NUMBER, [(person, strange)]))
    scoped = make_wamid(str(person.wa_id), "CHAT", from_business=False)
    bad = as_bytes(history(person, (scoped, word, 1234567890)))
    await stage.tell(bad.replace(b'"1234567890"', b'"0"'))
    chat = await stage.database.read(lambda connection: _chat_of(connection, person))
    await stage.database.write(_leave_traces, chat, word, wamid, stage.clock())
    return int(chat.id)


def _chat_of(connection: Any, person: Person) -> Any:
    from rasa_coexistence.ledger import chats

    return chats.by_sender_id(connection, str(person.wa_id))


def _leave_traces(connection: Any, chat: Any, word: str, wamid: str, now: float) -> None:
    draft = Draft(ordinal=7, body={"type": "text", "text": {"body": word}}, text=word)
    bubbles.write(connection, chat.id, f"{wamid}.L1", [draft], BubbleState.FAILED, now=now)
    payload = {"conversation_id": chat.id, "button_id": "b", "payload": word, "created_at": now}
    connection.execute(schema.payloads.insert().values(**payload))
    notices.about_chat(connection, notices.HAND_OFF, chat, about=word, now=now)
    first = connection.execute(
        sa.select(schema.messages.c.id).where(schema.messages.c.conversation_id == chat.id).limit(1)
    ).scalar()
    connection.execute(schema_history.published.insert().values(message_id=first, digest="x"))
    jobs.file(connection, "other", now=now, conversation_id=chat.id, arguments={"said": word})
    inbox.keep_aside(
        connection, reason="Rasa failed", path=f"{wamid}.L1", raw={"from": chat.wa_id}, received_at=now
    )


async def tables(stage: Stage) -> dict[str, list[str]]:
    """Return every row of every table as text."""

    def read(connection: Any) -> dict[str, list[str]]:
        return {
            table.name: [repr(tuple(row)) for row in connection.execute(sa.select(table))]
            for table in metadata.sorted_tables
        }

    return await stage.database.read(read)


async def test_nothing_of_a_customer_is_left_and_all_of_another(stage: Stage, tmp_path: Path) -> None:
    """In the ledger, in Rasa's store, and, where these are files, in what can be read of the files."""
    await live_through_everything(stage, BEN, "confidencia")
    before, said_before = await tables(stage), await stage.said(str(BEN.wa_id))
    ana = await live_through_everything(stage, ANA, "secreto")
    filled = {name for name, rows in (await tables(stage)).items() if any(map(SECRET.search, rows))}
    assert filled >= {
        "coexistence_aliases",
        "coexistence_contacts",
        "coexistence_conversations",
        "coexistence_jobs",
        "coexistence_messages",
        "coexistence_notices",
        "coexistence_outbox",
        "coexistence_parses",
        "coexistence_payloads",
        "coexistence_set_aside",
    }
    assert (await stage.forget(ana)).startswith("done: forgot ")
    after = await tables(stage)
    assert {name: [row for row in rows if SECRET.search(row)] for name, rows in after.items()} == {
        name: [] for name in after
    }
    kept = "aliases contacts messages outbox payloads notices set_aside parses published"
    for name in kept.split():
        assert after[f"coexistence_{name}"] == before[f"coexistence_{name}"], name
    assert await stage.events(str(ANA.wa_id)) == []
    assert await stage.said(str(BEN.wa_id)) == said_before
    assert len(said_before) > 80
    check_files(tmp_path)


def check_files(folder: Path) -> None:
    """Look at every byte."""
    for file in folder.iterdir():
        content = file.read_bytes()
        assert not re.search(rb"secreto|5217715268513", content), file.name
        assert file.suffix != ".db" or b"confidencia" in content


def test_nothing_is_deleted_that_only_looks_like_them() -> None:
    """A username can be a word that anybody writes; a BSUID can be the beginning of another."""
    eva = Customer(
        phone_number_id="1",
        conversation_ids=[],
        sender_ids=[],
        aliases=["user:MX.998877", f"parent:MX.{'9' * 47}", "username:ana", "phone:525512345678"],
    )
    scoped = make_wamid("MX.998877", "ABC", from_business=False)
    theirs = [
        '{"from_user_id":"MX.998877"}',
        '{"username":"@Ana"}',
        f'{{"id":"{make_wamid("MX." + "9" * 47, "ABC", from_business=False)}"}}',  # whose length is a letter
        f'{{"id":"{scoped}"}}',
        '{"from":"5215512345678"}',
        f'{{"id":"{make_wamid("525512345678", "ABC", from_business=True)}"}}',
    ]
    others = [
        '{"text":{"body":"mañana banana ana"}}',
        '{"from_user_id":"MX.9988771"}',
        '{"from":"5215512345679"}',
    ]
    for text in theirs:
        assert forgetting.names(text, eva), text
    for text in others:
        assert not forgetting.names(text, eva), text
