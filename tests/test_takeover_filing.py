"""What the phone sent, as it is filed: whose conversation it is, and what is no person stepping in."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from ledgers import ANA, BEN, NOW, NUMBER, Books, as_bytes, echo, live

from rasa_coexistence import reading
from rasa_coexistence.events import Content
from rasa_coexistence.ledger import inbox, message_rows, schema, takeovers
from rasa_coexistence.records import MessageState
from rasa_coexistence.simulator import webhooks
from rasa_coexistence.simulator.state import Number, Person

EVA = Person(wa_id="5215550000003", name="Eva")
CROWD = [Person(wa_id=f"52155512{n:05}") for n in range(40)]


async def modes(books: Books) -> list[str]:
    """Return who has each conversation, the oldest first."""
    return [row.takeover for row in await books.rows(schema.conversations)]


async def test_the_same_text_to_many_is_no_person_in_any_of_the_chats(books: Books) -> None:
    """A broadcast is found out at the third chat; the first two are given back."""
    await books.tell(echo(ANA, "wamid.B1", "Hoy 2x1"), echo(BEN, "wamid.B2", "Hoy 2x1"))
    assert await modes(books) == ["timed", "timed"]
    await books.tell(echo(EVA, "wamid.B3", "Hoy 2x1"))
    assert await modes(books) == ["bot", "bot", "bot"]
    assert {row.by_person for row in await books.rows(schema.messages)} == {False}


async def test_a_broadcast_does_not_give_back_what_a_person_took(books: Books) -> None:
    """Who was typing with a customer before the broadcast goes on."""
    await books.tell(echo(ANA, "wamid.E1", "Ahorita le digo"))
    books.clock.move(5.0)
    for number, person in enumerate((ANA, BEN, EVA)):
        await books.tell(echo(person, f"wamid.B{number}", "Hoy 2x1", at=NOW + 5))
    assert await modes(books) == ["timed", "bot", "bot"]
    assert (await books.conversation(ANA)).takeover_wamid == "wamid.E1"


async def test_the_same_answer_to_several_within_a_minute_is_a_person(books: Books) -> None:
    """Owners say "yes" to many, but not to three in ten seconds."""
    for number, person in enumerate((ANA, BEN, EVA)):
        await books.tell(echo(person, f"wamid.E{number}", "Sí", at=NOW + 8 * number))
        books.clock.move(8.0)
    assert await modes(books) == ["timed", "timed", "timed"]


async def test_a_long_broadcast_costs_each_chat_the_same(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were all before it looked at anew for each, a hundred chats would keep everybody waiting."""
    undone: list[str] = []
    undo = takeovers.undo

    def counted(connection: Any, conversation_id: int, wamid: str, *others: Any, **more: Any) -> None:
        undone.append(wamid)
        undo(connection, conversation_id, wamid, *others, **more)

    monkeypatch.setattr(takeovers, "undo", counted)
    await books.tell(*(echo(person, f"wamid.B{n}", "Hoy 2x1") for n, person in enumerate(CROWD)))
    assert undone == ["wamid.B0", "wamid.B1"]
    assert set(await modes(books)) == {"bot"}


@pytest.mark.parametrize("phone_is_first", [False, True])
async def test_an_answer_within_two_seconds_of_the_first_message_is_the_app_s(
    books: Books, phone_is_first: bool
) -> None:
    """Greeting and away message; the webhooks of both come in either order."""
    told = [live(ANA, ("wamid.A1", "Hola"), at=NOW), echo(ANA, "wamid.E1", "¡Bienvenida!", at=NOW + 1)]
    for each in reversed(told) if phone_is_first else told:
        await books.tell(each)
    assert await modes(books) == ["bot"]
    books.clock.move(20.0)
    await books.tell(echo(ANA, "wamid.E2", "Dígame", at=NOW + 20))
    assert await modes(books) == ["timed"], "the next one is typed"


async def test_a_chat_that_the_shop_begins_is_the_person_s(books: Books) -> None:
    """Also when the customer answers within a second."""
    await books.tell(echo(ANA, "wamid.E1", "Su pedido está listo", at=NOW - 1))
    assert await modes(books) == ["timed"]
    await books.tell(live(ANA, ("wamid.A1", "Voy"), at=NOW))
    assert await modes(books) == ["timed"]


async def test_an_echo_without_phone_is_of_the_customer_who_hides_it(books: Books) -> None:
    """Meta leaves ``to`` out: the BSUID says who it is."""
    hidden = Person(wa_id=ANA.wa_id, user_id="MX.777", hides_phone=True)
    await books.tell(live(Person(user_id="MX.777"), ("wamid.A1", "Hola"), at=NOW - 60))
    body = echo(hidden, "wamid.E1", "Dígame")
    assert "to" not in body.value["message_echoes"][0]
    await books.tell(body)
    assert await modes(books) == ["timed"]


async def test_an_echo_of_a_number_that_is_not_served_is_set_aside(books: Books) -> None:
    """Somebody else's phone silences nobody here."""
    other = Number(phone_number_id="999", display_phone_number="5215559999999", waba_id="1001")
    await books.tell(live(ANA, ("wamid.A1", "Hola"), at=NOW - 60))
    await books.tell(webhooks.echo(other, ANA, webhooks.message("wamid.E1", NOW, "text", {"body": "x"})))
    assert await modes(books) == ["bot"]
    assert len(await books.rows(schema.set_aside)) == 1


async def test_an_echo_to_another_business_is_a_conversation_like_any_other(books: Books) -> None:
    """The shop writes to its supplier: the bot has to stay out of it."""
    supplier = Person(wa_id="5215557777777", user_id="MX.ENT.9", name="Telas del Norte")
    await books.tell(echo(supplier, "wamid.E1", "¿Tienen tela?"))
    assert await modes(books) == ["timed"]


@pytest.mark.parametrize("kind", ["hologram", "unsupported", "sticker", "interactive"])
async def test_a_type_that_nobody_knows_is_a_person_all_the_same(books: Books, kind: str) -> None:
    """Whatever it is, somebody sent it."""
    await books.tell(live(ANA, ("wamid.A1", "Hola"), at=NOW - 60))
    await books.tell(webhooks.echo(NUMBER, ANA, webhooks.message("wamid.E1", NOW, kind, None)))
    assert await modes(books) == ["timed"]


async def test_an_echo_of_our_own_message_is_nobody(books: Books) -> None:
    """Bots of others paused themselves on it a hundred times a day."""
    await books.tell(live(ANA, ("wamid.A1", "Hola"), at=NOW - 60))
    chat = await books.conversation(ANA)
    await books.database.write(
        message_rows.insert,
        phone_number_id=NUMBER.phone_number_id,
        conversation_id=chat.id,
        wamid="wamid.OURS",
        from_business=True,
        source="bot",
        state=MessageState.KEPT,
        content=Content(type="text", text="Abrimos a las 9"),
        raw=None,
        sent_at=NOW - 30,
        received_at=NOW - 30,
    )
    await books.tell(echo(ANA, "wamid.OURS", "Abrimos a las 9"))
    assert await modes(books) == ["bot"]
    assert [row.source for row in await books.rows(schema.messages)] == ["live", "bot"]


async def test_a_thousand_echoes_in_one_webhook_are_filed_once_each_whatever_fails(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes many transactions; one that fails goes on where the last one ended."""
    monkeypatch.setattr(reading, "LIVE_SECONDS", 0.0)
    await books.accept(many_echoes())
    advance, calls = inbox.advance, iter(range(1000))

    def failing(connection: Any, inbox_id: int, position: int) -> None:
        if next(calls) == 3:
            raise sa.exc.OperationalError("UPDATE", {}, Exception("disk is full"))
        advance(connection, inbox_id, position)

    monkeypatch.setattr(inbox, "advance", failing)
    reader, failures = books.reader, 0
    while True:
        try:
            if not await reader.read_live():
                break
        except Exception:
            failures += 1
    assert failures == 1
    assert await books.said() == [f"Le atiendo {n}" for n in range(len(CROWD))]
    assert set(await modes(books)) == {"timed"}


async def test_others_do_not_wait_for_a_thousand_echoes(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is not among them goes ahead; who is keeps the order of arrival."""
    monkeypatch.setattr(reading, "LIVE_SECONDS", 0.0)
    last = CROWD[-1]
    await books.accept(many_echoes(), live(ANA, ("wamid.A1", "Hola")), live(last, ("wamid.L1", "¿Y bien?")))
    reader = books.reader
    await reader.read_live()
    said = await books.said()
    assert "Hola" in said
    assert f"Le atiendo {len(CROWD) - 1}" not in said
    while await reader.read_live():
        pass
    chat = await books.conversation(last)
    assert await books.said(conversation_id=chat.id) == [f"Le atiendo {len(CROWD) - 1}", "¿Y bien?"]


def many_echoes() -> bytes:
    """Return a webhook with something typed to each of the crowd."""
    body = echo(CROWD[0], "", "")
    body.value["message_echoes"] = [
        echo(person, f"wamid.E{n}", f"Le atiendo {n}").value["message_echoes"][0]
        for n, person in enumerate(CROWD)
    ]
    del body.value["contacts"]
    return as_bytes(body)
