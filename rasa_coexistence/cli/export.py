"""``rasa-coexistence export``: what was said, for people, for tests of the bot, for its training."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rasa_coexistence.cli import whom
from rasa_coexistence.cli.files import new_file
from rasa_coexistence.cli.ground import (
    DEFAULT_CREDENTIALS,
    CommandFailed,
    CredentialsFile,
    errors,
    open_ledger,
    run,
    settings_of,
)
from rasa_coexistence.export.exporting import Format, Wanted, pieces
from rasa_coexistence.export.masking import mask_key
from rasa_coexistence.ledger import transcripts
from rasa_coexistence.ledger.transcripts import Selection

TELL_EVERY = 500  # messages


def export(
    format_: Annotated[
        Format,
        typer.Option(
            "--format",
            help="jsonl: one message a line. stories: Rasa test stories. nlu: what customers typed.",
        ),
    ] = Format.JSON_LINES,
    out: Annotated[Path | None, typer.Option(help="The file to write; without it, standard output.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if there is one.")] = False,
    conversation: Annotated[
        str | None, typer.Option(help="Only of this customer: Rasa's conversation id, a phone or a BSUID.")
    ] = None,
    phone_number_id: Annotated[str | None, typer.Option(help="Only of this business number.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only from this moment on: 2026-01-31 or 2026-01-31T18:00+01:00.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only before this moment; without a zone, UTC.")] = None,
    history_only: Annotated[
        bool, typer.Option("--history-only", help="Only chat from before the bot.")
    ] = False,
    unmasked: Annotated[
        bool, typer.Option("--unmasked", help="Leave phone numbers, e-mail addresses and ids as they are.")
    ] = False,
    session_minutes: Annotated[
        float, typer.Option(help="Stories: silence after which a new one begins.", min=0.0)
    ] = 60.0,
    at_least: Annotated[int, typer.Option(help="NLU: only what was said so often.", min=1)] = 1,
    limit: Annotated[int | None, typer.Option(help="NLU: only so many, the most frequent.", min=1)] = None,
    credentials: CredentialsFile = DEFAULT_CREDENTIALS,
) -> None:
    """Write what was said, from the ledger: old chat and live messages.

    Phone numbers, e-mail addresses and ids are masked, each by the same placeholder everywhere. Names that
    people write are not found: read an export before you give it away.
    """

    async def command() -> int:
        settings = settings_of(credentials)
        async with open_ledger(settings) as database:
            ids = None
            if conversation is not None:
                chats = await database.read(whom.find, conversation, phone_number_id=phone_number_id)
                ids = [chat.id for chat in chats]
                if not ids:
                    raise CommandFailed(f"There is no conversation {conversation}.")
            wanted = Wanted(
                format=format_,
                selection=Selection(
                    conversation_ids=ids,
                    phone_number_id=phone_number_id,
                    since=_moment(since, "--since"),
                    until=_moment(until, "--until"),
                    history_only=history_only,
                ),
                mask_key=None if unmasked else mask_key(settings.app_secrets),
                session_seconds=session_minutes * 60,
                at_least=at_least,
                limit=limit,
            )
            with _opened(out, force=force) as file:
                stop = threading.Event()
                try:
                    count = await database.read(_write, wanted, file, stop)
                finally:
                    stop.set()  # the thread would go on to the end
        errors.print(f"{count:,} messages exported{'' if out is None else f' to {out}'}.")
        return 0

    run(command())


def _write(connection: Any, wanted: Wanted, file: IO[bytes], stop: threading.Event) -> int:
    """Write an export, in one look at the ledger; return how many messages were read."""
    with _progress(transcripts.count(connection, wanted.selection)) as told:
        read = 0

        def on_message() -> None:
            nonlocal read
            read += 1
            if stop.is_set():
                raise CommandFailed("The export was interrupted.")
            if read % TELL_EVERY == 0:
                told(read)

        for piece in pieces(connection, wanted, on_message):
            file.write(piece)
        told(read)
    return read


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal; yield what to tell it."""
    columns = (TextColumn("exporting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, disable=not errors.is_terminal, transient=True) as progress:
        task = progress.add_task("export", total=total)
        yield lambda read: progress.update(task, completed=read)


@contextmanager
def _opened(out: Path | None, *, force: bool) -> Iterator[IO[bytes]]:
    if out is not None:
        with new_file(out, replace=force) as file:
            yield file
        return
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left goes nowhere, silently
        raise CommandFailed("Nobody reads the output any more: it was not written to its end.") from error


def _moment(given: str | None, option: str) -> float | None:
    if given is None:
        return None
    try:
        moment = datetime.fromisoformat(given.strip().replace("Z", "+00:00"))
    except ValueError as error:
        raise CommandFailed(f"{option} must be a date like 2026-01-31, or 2026-01-31T18:00+01:00.") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
