"""Keep access tokens: closed with Fernet in the ledger, or the one of credentials.yml."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from rasa_coexistence.errors import ConfigError
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.ledger.schema import numbers
from rasa_coexistence.settings import Settings


class Tokens:
    """Access tokens by business number."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        keys = [Fernet(key) for key in settings.encryption_keys]
        self._fernet = MultiFernet(keys) if keys else None

    async def of(self, phone_number_id: str) -> str | None:
        """Return the token that a number sends with, or None when there is none."""
        closed = await self._database.read(_stored, phone_number_id)
        if closed is not None and self._fernet is not None:
            try:
                return self._fernet.decrypt(closed.encode()).decode()
            except InvalidToken:
                return None  # closed with a key that encryption_key no longer lists
        given = self._settings.phone_number_id
        return self._settings.access_token if given in (None, phone_number_id) else None

    def closed(self, access_token: str) -> str:
        """Return a token as the ledger may keep it; raise ConfigError without an encryption key."""
        if self._fernet is None:
            raise ConfigError(["encryption_key: needed to store the access token of a number that signs up"])
        return self._fernet.encrypt(access_token.encode()).decode()


def _stored(connection: Any, phone_number_id: str) -> str | None:
    statement = sa.select(numbers.c.access_token).where(numbers.c.phone_number_id == phone_number_id)
    found: str | None = connection.execute(statement).scalar()
    return found
