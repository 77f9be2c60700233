"""Find the conversations that somebody on the command line means."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from rasa_coexistence.events import ContactIds
from rasa_coexistence.identity import aliases as aliases_of
from rasa_coexistence.ledger import chats
from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.ledger.schema import aliases


def known_as(given: str) -> list[str]:
    """Return the aliases under which somebody can be known who is named by a phone, a BSUID or a username."""
    found = (
        ContactIds(wa_id=given),
        ContactIds(user_id=given),
        ContactIds(parent_user_id=given),
        ContactIds(username=given),
    )
    return [alias for contact in found for alias in aliases_of(contact)]


def find(connection: Any, given: str, *, phone_number_id: str | None = None) -> list[Chat]:
    """Return the conversations of the customer with this Rasa id, phone, BSUID or username.

    There is one with each business number to which the customer wrote.
    """
    given = given.strip()
    if not given or "\x00" in given:
        return []
    exact = chats.by_sender_id(connection, given[:255])
    found = [] if exact is None else [exact]
    if not found:
        statement = sa.select(aliases.c.conversation_id).where(aliases.c.alias.in_(known_as(given)))
        ids = connection.execute(statement.distinct()).scalars().all()
        roots = {chat.merged_into or chat.id for chat in chats.load_many(connection, sorted(ids))}
        found = chats.load_many(connection, sorted(roots))
    return [chat for chat in found if phone_number_id in (None, chat.phone_number_id)]
