"""How commands speak: to people with colours, to scripts in JSON, and nothing else in between."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import msgspec
import structlog
import typer
from sqlalchemy.util import deprecations

from rasa_coexistence.cli.ground import check_file, screen
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.settings import Settings

AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def print_json(value: Any) -> None:
    """Print a value for a script; nothing of it is wrapped or coloured."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


@contextlib.contextmanager
def at_work(text: str, *, quietly: bool = False) -> Iterator[None]:
    """Show that something takes a moment."""
    with contextlib.nullcontext() if quietly else screen.status(text):
        yield


@contextlib.asynccontextmanager
async def read_ledger(settings: Settings) -> AsyncIterator[Database]:
    """Open the ledger for reading: unlike ``open_ledger`` it does not bring the tables up to date.

    Raise CommandFailed where there is none yet.
    """
    check_file(settings.database_url)
    database = Database(settings.database_url)
    try:
        yield database
    finally:
        await database.close()


def keep_quiet() -> None:
    """Keep logs and warnings of the libraries out of what a command prints."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        deprecations.SILENCE_UBER_WARNING = True  # SQLAlchemy 1.4 shows it against all filters
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
