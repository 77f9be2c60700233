"""Keep access tokens: closed with Fernet in the ledger, or the one of credentials.yml."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
import structlog
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from rasa_coexistence.errors import ConfigError
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.ledger.prepared import Prepared
from rasa_coexistence.ledger.schema import numbers
from rasa_coexistence.ledger.schema_onboarding import onboardings
from rasa_coexistence.settings import Settings

log = structlog.get_logger(__name__)


class Tokens:
    """Access tokens by business number."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        keys = [Fernet(key) for key in settings.encryption_keys]
        self._newest = keys[0] if keys else None
        self._fernet = MultiFernet(keys) if keys else None

    async def of(self, phone_number_id: str) -> str | None:
        """Return the token that a number sends with, or None when there is none."""
        return await self._database.read(self.within, phone_number_id)

    def within(self, connection: Any, phone_number_id: str) -> str | None:
        """Return the token that a number sends with, asked for in a transaction under way."""
        closed = _STORED.scalar(connection, this=phone_number_id)
        if closed is not None and (opened := self.opened(closed)) is not None:
            return opened
        given = self._settings.phone_number_id
        return self._settings.access_token if given in (None, phone_number_id) else None

    def closed(self, access_token: str) -> str:
        """Return a token as the ledger may keep it; raise ConfigError without an encryption key."""
        if self._fernet is None:
            raise ConfigError(["encryption_key: needed to store the access token of a number that signs up"])
        return self._fernet.encrypt(access_token.encode()).decode()

    def opened(self, closed: str | None) -> str | None:
        """Return a token that the ledger kept, or None if no key of encryption_key opens it."""
        if closed is None or self._fernet is None:
            return None
        try:
            return self._fernet.decrypt(closed.encode()).decode()
        except InvalidToken:
            return None

    async def rotate(self) -> None:
        """Close every kept token with the newest key, so that older ones can leave the settings."""
        if self._fernet is not None:
            await self._database.write(self._rotate_all)

    def _rotate_all(self, connection: Any) -> None:
        for table, key in ((numbers, numbers.c.phone_number_id), (onboardings, onboardings.c.id)):
            statement = sa.select(key, table.c.access_token).where(table.c.access_token.isnot(None))
            for id_, closed in connection.execute(statement).all():
                opened = self.opened(closed)
                if opened is None:
                    log.error(
                        "tokens.cannot_open", remedy="list the key it was stored with in encryption_key too"
                    )
                elif not self._is_newest(closed):
                    connection.execute(
                        table.update().where(key == id_).values(access_token=self.closed(opened))
                    )

    def _is_newest(self, closed: str) -> bool:
        try:
            return self._newest is not None and bool(self._newest.decrypt(closed.encode()))
        except InvalidToken:
            return False


_STORED = Prepared(sa.select(numbers.c.access_token).where(numbers.c.phone_number_id == sa.bindparam("this")))
