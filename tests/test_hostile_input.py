"""What a sender can put into a webhook to stop or to mislead us, after it has passed the signature."""

from __future__ import annotations

import json
import random
import traceback
from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy as sa
from ledgers import ANA, BEN, NOW, NUMBER, Books, as_bytes, echo, history, live

from rasa_coexistence.errors import BadRequest, LedgerUnavailable
from rasa_coexistence.ledger import schema
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.simulator import webhooks
from rasa_coexistence.simulator.state import Person

_SURE = random.Random(7)
INCOMPRESSIBLE = "".join(chr(_SURE.randrange(0x20000, 0x2A000)) for _ in range(1000))  # 4 bytes each


async def test_a_null_in_the_id_of_a_thread_does_not_keep_a_webhook_out(books: Books) -> None:
    """PostgreSQL refuses NUL: Meta would get an error for the same webhook for seven days."""
    stranger = Person(wa_id=None, user_id="MX.NULL")
    body = as_bytes(history(stranger, ("wamid.H1", "Antes", NOW - 5.0)))
    await books.tell(body.replace(b"MX.NULL", b"MX.\\u0000"))
    assert await books.said() == ["Antes"]
    assert await books.rows(schema.inbox_threads) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda wamid: live(ANA, (wamid, "Hola")),
        lambda wamid: echo(ANA, wamid, "Hola"),
        lambda wamid: history(ANA, (wamid, "Hola", NOW - 5.0)),
    ],
)
async def test_an_id_too_long_for_an_index_stops_nothing(books: Books, make: Any) -> None:
    """PostgreSQL takes 2704 bytes into an index and reports more as if the whole database were in trouble."""
    odd = f"wamid.{INCOMPRESSIBLE}"
    await books.tell(make(odd))
    await books.tell(live(BEN, ("wamid.B1", "Aquí estoy")))
    assert "Aquí estoy" in await books.said()
    assert await books.rows(schema.inbox) == []


async def test_what_the_database_cannot_take_stops_nothing(
    books: Books, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Should an id slip through all the same, the lane goes on, and no log tells what was in it."""
    monkeypatch.setattr("rasa_coexistence.from_whatsapp.live.as_id", lambda value, longest=150: value)
    await books.tell(live(ANA, (f"wamid.{INCOMPRESSIBLE}", "Hola")), live(BEN, ("wamid.B1", "Aquí estoy")))
    assert "Aquí estoy" in await books.said()
    assert await books.rows(schema.inbox) == []
    assert INCOMPRESSIBLE[:5] not in "".join(capfd.readouterr())


async def test_an_error_of_the_database_does_not_repeat_what_was_to_be_stored(books: Books) -> None:
    """Tracebacks end up in logs, also those of errors that nobody thought of."""

    def break_(connection: Any) -> None:
        connection.execute(schema.set_aside.insert().values(reason=INCOMPRESSIBLE, path={"not": "a text"}))

    with pytest.raises((sa.exc.SQLAlchemyError, LedgerUnavailable)) as failed:
        await books.database.write(break_)
    assert INCOMPRESSIBLE[:5] not in "".join(traceback.format_exception(None, failed.value, None))


async def test_who_gets_a_503_is_not_told_where_the_database_is() -> None:
    """Everybody can call the routes; hosts and users are nobody's business."""
    with pytest.raises(LedgerUnavailable) as failed:
        Database("postgresql://shopkeeper@127.0.0.1:9/orders").open()
    assert not any(word in str(failed.value) for word in ("127.0.0.1", "shopkeeper", "orders"))


@pytest.mark.parametrize("key", ["edit", "revoke", "reaction", "context"])
async def test_a_target_too_long_for_an_index_stops_nothing(books: Books, key: str) -> None:
    """What a message is about is an id as well, and is looked up by an index."""
    about = {
        "edit": {"original_message_id": INCOMPRESSIBLE, "message": {"type": "text", "text": {"body": "Hoy"}}},
        "revoke": {"original_message_id": INCOMPRESSIBLE},
        "reaction": {"message_id": INCOMPRESSIBLE, "emoji": "👍"},
        "context": {"id": INCOMPRESSIBLE},
    }[key]
    item = webhooks.message("wamid.A1", NOW, "text" if key == "context" else key, {"body": "Hola"})
    await books.tell(webhooks.inbound(NUMBER, [(ANA, {**item, key: about})]))
    await books.tell(live(BEN, ("wamid.B1", "Aquí estoy")))
    assert "Aquí estoy" in await books.said()
    assert await books.rows(schema.inbox) == []


@pytest.mark.parametrize("code", ["131047", "many", 2**70, {"is": 1}, None, 1.5])
async def test_a_failed_status_counts_whatever_its_code_looks_like(books: Books, code: Any) -> None:
    """Somebody has to see that a message did not arrive, also when Meta writes the code another way."""
    await books.tell(live(ANA, ("wamid.A1", "Hola")))
    conversation = await books.conversation(ANA)
    await books.database.write(_sent, conversation.id)
    status = {
        "id": "wamid.OURS",
        "status": "failed",
        "timestamp": str(int(NOW)),
        "recipient_id": ANA.wa_id,
        "errors": [{"code": code, "title": "No", "error_data": "odd"}],
    }
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"phone_number_id": NUMBER.phone_number_id},
        "statuses": [status],
    }
    body = {"entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]}
    await books.tell(json.dumps(body).encode())
    [row] = await books.rows(schema.outbox)
    assert row.state == "failed"
    assert await books.rows(schema.set_aside) == []


def _sent(connection: Any, conversation_id: int) -> None:
    values = {
        "conversation_id": conversation_id,
        "cause": "wamid.A1",
        "ordinal": 0,
        "body": "{}",
        "text": "Hola",
        "state": "sent",
        "wamid": "wamid.OURS",
        "created_at": NOW,
        "changed_at": NOW,
    }
    connection.execute(schema.outbox.insert().values(**values))


@pytest.mark.parametrize(
    "change", ['{"field":"news","value":{"a":%s}}', '{"field":"messages","value":{"messages":[%s]}}']
)
async def test_nesting_that_is_only_just_too_deep_stops_nothing(books: Books, change: str) -> None:
    """How deep Python can look depends on where it stands: what a route took a reader may not."""
    for depth in range(900, 990):
        nested = change % ("[" * depth + "]" * depth)
        with suppress(BadRequest):
            await books.accept(
                f'{{"object":"whatsapp_business_account","entry":[{{"changes":[{nested}]}}]}}'.encode()
            )
    await books.accept(live(BEN, ("wamid.B1", "Aquí estoy")))
    await books.read()
    assert await books.said() == ["Aquí estoy"]
    assert await books.rows(schema.inbox) == []
