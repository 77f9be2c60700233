"""How commands speak: to people with colours, to scripts in JSON, and nothing else in between."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import structlog
import typer
from sqlalchemy.util import deprecations

from rasa_coexistence.cli.ground import screen

AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def print_json(value: Any) -> None:
    """Print a value for a script; nothing of it is wrapped or coloured."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


@contextlib.contextmanager
def at_work(text: str, *, quietly: bool = False) -> Iterator[None]:
    """Show that something takes a moment."""
    with contextlib.nullcontext() if quietly else screen.status(text):
        yield


def keep_quiet() -> None:
    """Keep logs and warnings of the libraries out of what a command prints."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        deprecations.SILENCE_UBER_WARNING = True  # SQLAlchemy 1.4 shows it against all filters
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
