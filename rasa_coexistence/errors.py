"""The errors this package raises.

CoexistenceError
├── ConfigError            settings cannot be used; also a RasaException, so that Rasa prints it
├── BadSignature           a webhook was not signed by Meta with one of our secrets
├── BadRequest             a body is not what its route takes
├── LedgerError            the ledger cannot do its work
│   ├── LedgerUnavailable  the database is gone, full or locked: try again later
│   ├── SchemaTooNew       a newer version of this package wrote the database
│   └── LeaseLost          somebody else works on this conversation now
├── Postponed              not now: do this work again later
└── GraphError             Meta's Graph API did not do what was asked
"""

from __future__ import annotations

from rasa.shared.exceptions import RasaException


class CoexistenceError(Exception):
    """Anything this package raises on purpose."""


class ConfigError(CoexistenceError, RasaException):
    """The settings cannot be used; ``problems`` lists every reason, each with its remedy."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = list(problems)
        listed = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"rasa_coexistence.CoexistenceInput cannot start:\n{listed}")


class BadSignature(CoexistenceError):
    """The body was not signed by Meta with one of our app secrets."""


class BadRequest(CoexistenceError):
    """The body of a request is not what its route takes."""


class LedgerError(CoexistenceError):
    """The ledger cannot do what was asked of it."""


class LedgerUnavailable(LedgerError):
    """The database is gone, full or locked; the same call may succeed later."""


class SchemaTooNew(LedgerError):
    """The database was written by a newer version of this package."""

    def __init__(self, found: int, known: int) -> None:
        super().__init__(
            f"The ledger has schema version {found}, this rasa-coexistence knows {known}: install the newer "
            "release again, or point database_url to another database."
        )


class LeaseLost(LedgerError):
    """Somebody else works on this conversation now; what we hold of it is stale."""


class Postponed(CoexistenceError):
    """The work cannot be done now; ``retry_in_seconds`` says when to try again."""

    def __init__(self, reason: str, *, retry_in_seconds: float = 2.0) -> None:
        self.reason = reason
        self.retry_in_seconds = retry_in_seconds
        super().__init__(reason)
