"""Which question the bot owes an answer when the person on the phone is gone."""

from __future__ import annotations

from ledgers import ANA, NOW, NUMBER, Books, live

from rasa_coexistence.ledger import chats
from rasa_coexistence.records import MessageState
from rasa_coexistence.simulator import webhooks


async def test_a_question_that_was_taken_back_is_not_answered(books: Books) -> None:
    """The customer deleted it for everybody; the one before it is open still."""
    await books.tell(live(ANA, ("wamid.A1", "¿Abren hoy?"), ("wamid.A2", "Mi clave es 1234")))
    conversation = await books.conversation(ANA)
    for _ in range(2):
        message = await books.database.read(chats.next_waiting, conversation.id)
        assert message is not None
        await books.database.write(chats.settle, message.id, MessageState.LOGGED)
    revoke = webhooks.message("wamid.A3", NOW, "revoke", {"original_message_id": "wamid.A2"})
    await books.tell(webhooks.inbound(NUMBER, [(ANA, revoke)]))
    question = await books.database.read(chats.unanswered, conversation.id)
    assert question is not None
    assert question.text == "¿Abren hoy?"
