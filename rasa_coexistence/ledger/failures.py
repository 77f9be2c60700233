"""Note what went wrong so that a person sees it: in the console, and at ``notify_url``."""

from __future__ import annotations

from typing import Any

from rasa_coexistence.ledger import chats, notices


def message_failed(connection: Any, row: Any, *, code: int | None, now: float) -> None:
    """Note that something the bot said did not reach the customer; ``row`` is its row of the outbox."""
    chats.ask_for_person(connection, row.conversation_id)
    chat = chats.load(connection, row.conversation_id)
    notices.about_chat(
        connection, notices.SEND_FAILED, chat, about=str(row.id), now=now, text=row.text, code=code
    )


def message_set_aside(connection: Any, row: Any, *, now: float) -> None:
    """Note that the bot could not take a message; ``row`` is its row of the messages."""
    chats.ask_for_person(connection, row.conversation_id)
    chat = chats.load(connection, row.conversation_id)
    notices.about_chat(
        connection, notices.MESSAGE_SET_ASIDE, chat, about=row.wamid, now=now, wamid=row.wamid, text=row.text
    )


def message_hidden(connection: Any, conversation_id: int, wamid: str, *, now: float) -> None:
    """Note that a customer wrote what only the phone shows (131060)."""
    chats.ask_for_person(connection, conversation_id)
    chat = chats.load(connection, conversation_id)
    notices.about_chat(connection, notices.HIDDEN_MESSAGE, chat, about=wamid, now=now, wamid=wamid)


def number_stopped(
    connection: Any, phone_number_id: str, *, code: int | None, reason: str, now: float
) -> None:
    """Note that nothing of a number can be sent until somebody acts."""
    chats.stop_number(connection, phone_number_id, reason)
    notices.about_number(
        connection, notices.NUMBER_STOPPED, phone_number_id, now=now, code=code, reason=reason
    )
