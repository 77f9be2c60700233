"""What every command stands on: the settings of ``credentials.yml``, the ledger, and one way to fail."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from rasa_coexistence.credentials_file import block_of
from rasa_coexistence.errors import CoexistenceError
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.ledger.files import missing_file
from rasa_coexistence.settings import Settings

CredentialsFile = Annotated[
    Path, typer.Option("--credentials", help="Rasa's credentials.yml, with our block in it.")
]
DEFAULT_CREDENTIALS = Path("credentials.yml")

screen = Console(highlight=False, soft_wrap=True)
errors = Console(highlight=False, soft_wrap=True, stderr=True)


class CommandFailed(CoexistenceError):
    """A command cannot do what was asked; the text says why, and the remedy."""


def run(command: Coroutine[Any, Any, int | None]) -> NoReturn:
    """Run a command; its exit code is 0 only when all went well, and no failure is a traceback."""
    try:
        code = asyncio.run(_interruptible(command)) or 0
    except CoexistenceError as error:
        errors.print(str(error), style="red", markup=False)
        code = 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        code = 130
    raise typer.Exit(code)


async def _interruptible(command: Coroutine[Any, Any, int | None]) -> int | None:
    """Let Ctrl-C cancel a command where it waits: it can say what goes on without it."""
    task = asyncio.current_task()
    if task is not None:
        # Not everywhere: Windows has no such handlers, and only the main thread may set them.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
    return await command


def settings_of(credentials: Path) -> Settings:
    """Return the settings of our block; raise NoBlock or ConfigError."""
    return Settings.from_credentials(block_of(credentials))


@contextlib.asynccontextmanager
async def open_ledger(settings: Settings) -> AsyncIterator[Database]:
    """Open the ledger that the server uses; raise CommandFailed where there is none yet."""
    check_file(settings.database_url)
    database = Database(settings.database_url)
    await asyncio.to_thread(database.open)
    try:
        yield database
    finally:
        await database.close()


def check_file(url: str) -> None:
    """Raise CommandFailed where the ledger is a file that is not there yet."""
    if (path := missing_file(url)) is not None:
        raise CommandFailed(
            f"There is no ledger at {path}: it is made when rasa run starts. A path in database_url counts "
            "from the folder in which rasa run, and this command, are started."
        )
