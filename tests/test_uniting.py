"""Two conversations prove to be one person's while the bot is at work in them."""

from __future__ import annotations

from typing import Any

import pytest
from channels import credentials
from ledgers import ANA, Books, echo, live

from rasa_coexistence.errors import LedgerUnavailable
from rasa_coexistence.graph.answers import Receipt
from rasa_coexistence.ledger import bubbles, chats, queues, schema
from rasa_coexistence.ledger.bubbles import Draft
from rasa_coexistence.outbox import Outbox
from rasa_coexistence.records import BubbleState, MessageState
from rasa_coexistence.settings import Settings
from rasa_coexistence.simulator.state import Person

BY_PHONE = Person(wa_id=ANA.wa_id)
BY_USER_ID = Person(wa_id=None, user_id="MX.ANA")
BOTH = Person(wa_id=ANA.wa_id, user_id="MX.ANA")


class Meta:
    """Takes every message."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def send_message(self, _number: str, body: Any, *, access_token: str) -> Receipt:
        self.sent.append(body)
        return Receipt(wamid=f"wamid.OUT{len(self.sent)}")

    def is_calling(self, _conversation_id: int) -> bool:
        return False

    async def settled(self, _conversation_id: int) -> None:
        """Be done with everything that is not a message."""


def token_of(_connection: Any, _phone_number_id: str) -> str:
    return "token"


def outbox_of(books: Books, meta: Any, token: Any = token_of) -> Outbox:
    books.clock.move(2.0)  # what came in has used up some of the number's rate
    settings = Settings.from_credentials(credentials("sqlite:///unused.db"))
    return Outbox(books.database, meta, token, meta, settings, clock=books.clock, on_news=lambda: None)


async def say(books: Books, conversation_id: int, cause: str, text: str) -> None:
    """Let the bot say something, as at the end of a turn."""
    draft = Draft(ordinal=0, body={"type": "text", "text": {"body": text}}, text=text)
    await books.database.write(
        bubbles.write, conversation_id, cause, [draft], BubbleState.QUEUED, now=books.clock()
    )


async def test_a_message_whose_turn_is_under_way_is_not_answered_again(books: Books) -> None:
    """It would move to the other conversation, whose tracker has never heard it."""
    await books.tell(live(BY_PHONE, ("wamid.A1", "Hola")))
    await books.tell(live(BY_USER_ID, ("wamid.A2", "¿Cuánto cuesta?")))
    older, younger = await books.rows(schema.conversations)
    leases = {lease.conversation_id: lease for lease in await books.claim(queues.TALK)}
    message = await books.database.read(chats.next_waiting, younger.id)
    await books.tell(live(BOTH, ("wamid.A3", "¿Siguen?")))
    waiting = await books.rows(schema.messages, state="waiting")
    assert [(row.wamid, row.conversation_id) for row in waiting] == [
        ("wamid.A1", older.id),
        ("wamid.A2", younger.id),
        ("wamid.A3", older.id),
    ]
    assert message is not None
    await books.database.write(chats.settle, message.id, MessageState.ANSWERED)
    await books.database.write(queues.release, leases[younger.id], due_at=None)
    assert await books.database.read(chats.next_waiting, younger.id) is None


async def test_what_nobody_is_at_goes_to_the_older_conversation(books: Books) -> None:
    """There the customer will be answered from now on."""
    await books.tell(live(BY_PHONE, ("wamid.A1", "Hola")))
    await books.tell(live(BY_USER_ID, ("wamid.A2", "¿Cuánto cuesta?")))
    await books.tell(live(BOTH, ("wamid.A3", "¿Siguen?")))
    older, _younger = await books.rows(schema.conversations)
    waiting = await books.rows(schema.messages, state="waiting")
    assert {row.conversation_id for row in waiting} == {older.id}


async def test_an_answer_from_before_the_union_does_not_talk_over_a_person(books: Books) -> None:
    """The person on the phone writes in the conversation that goes on; the answer waits in the other."""
    await books.tell(live(BY_PHONE, ("wamid.A1", "Hola")))
    await books.tell(live(BY_USER_ID, ("wamid.A2", "¿Cuánto cuesta?")))
    _older, younger = await books.rows(schema.conversations)
    await books.tell(live(BOTH, ("wamid.A3", "¿Siguen?")))
    books.clock.move(60.0)  # or it would be the app's greeting
    await books.tell(echo(BY_PHONE, "wamid.P1", "Soy Luisa, te atiendo yo", at=books.clock()))
    await say(books, younger.id, "wamid.A2", "Cuesta 100")
    meta = Meta()
    leases = {lease.conversation_id: lease for lease in await books.claim(queues.SEND)}
    await outbox_of(books, meta).empty(leases[younger.id])
    assert meta.sent == []
    [row] = await books.rows(schema.outbox)
    assert row.state == "held_back"


async def test_a_message_is_not_in_doubt_because_the_token_could_not_be_read(books: Books) -> None:
    """Nothing was sent, so it must be sent later and not be given up after a minute."""
    await books.tell(live(ANA, ("wamid.A1", "Hola")))
    conversation = await books.conversation(ANA)
    await say(books, conversation.id, "wamid.A1", "Hola, Ana")
    [lease] = await books.claim(queues.SEND)
    meta = Meta()

    def gone(_connection: Any, _phone_number_id: str) -> str:
        raise LedgerUnavailable("the database is restarting")

    with pytest.raises(LedgerUnavailable):
        await outbox_of(books, meta, gone).empty(lease)
    assert [row.state for row in await books.rows(schema.outbox)] == ["queued"]
    await outbox_of(books, meta).empty(lease)
    assert [body["text"]["body"] for body in meta.sent] == ["Hola, Ana"]
