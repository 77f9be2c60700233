"""``rasa-coexistence replay``: see what was set aside, and read it again."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import track

from rasa_coexistence.cli.ground import (
    DEFAULT_CREDENTIALS,
    CommandFailed,
    CredentialsFile,
    errors,
    open_ledger,
    run,
    screen,
    settings_of,
)
from rasa_coexistence.ledger import aside
from rasa_coexistence.ledger.aside import Item
from rasa_coexistence.ledger.database import Database


def replay(
    id_: Annotated[list[int] | None, typer.Option("--id", help="Read this again; can be repeated.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Read everything again.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Only show what was set aside; the default.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Show what it says, too: texts and numbers.")] = False,
    credentials: CredentialsFile = DEFAULT_CREDENTIALS,
) -> None:
    """Read again what could not be read or acted on, once the reason is gone: a new release, a setting.

    What fails again stays. Nothing is doubled: a message that came meanwhile is known by its id. A customer's
    message is answered by the running server, or at its next start. Exit code 0 when nothing failed again.
    """
    if (list_ and (id_ or all_)) or (id_ and all_):
        raise typer.BadParameter("Choose one of --list, --id and --all.")
    run(_read_again(credentials, id_, show=show) if id_ or all_ else _list(credentials, show=show))


async def _list(credentials: Path, *, show: bool) -> int:
    async with open_ledger(settings_of(credentials)) as database:
        items = await _all(database)
    for item in items:
        at = datetime.fromtimestamp(item.received_at).astimezone().isoformat(" ", "seconds")
        kept = "" if _can_be_read_again(item) else "  (a note: there is nothing to read again)"
        screen.print(escape(f"{item.id:>6}  {at}  {item.reason}  [{item.path}]{kept}"))
        if show:
            screen.print(escape(f"        {item.raw}"))
    screen.print(f"{len(items):,} set aside.")
    return 0


async def _read_again(credentials: Path, ids: list[int] | None, *, show: bool) -> int:
    from rasa_coexistence.reading import Reader
    from rasa_coexistence.service import filing_rules

    settings = settings_of(credentials)
    async with open_ledger(settings) as database:
        known = {item.id: item for item in await _all(database)}
        if ids is not None and (missing := [str(each) for each in ids if each not in known]):
            raise CommandFailed(f"Nothing with this id was set aside: {', '.join(missing)}.")
        chosen = [known[each] for each in ids] if ids is not None else list(known.values())
        wanted = [item for item in chosen if _can_be_read_again(item)] if ids is None else chosen
        reader, failures = Reader(database, filing_rules(settings), time.time), 0
        for item in track(wanted, "reading", console=errors, disable=not errors.is_terminal):
            if not await reader.read_again(item.id):
                failures += 1
                said = f"\n        {item.raw}" if show else ""
                errors.print(escape(f"{item.id:>6}  stays: {item.reason}{said}"))
    screen.print(f"{len(wanted) - failures:,} read, {failures:,} failed again.")
    return 1 if failures else 0


async def _all(database: Database) -> list[Item]:
    found: list[Item] = []
    while some := await database.read(aside.items, after=found[-1].id if found else 0):
        found += some
    return found


def _can_be_read_again(item: Item) -> bool:
    return item.webhook is not None or item.path != "value.errors"  # else Rasa failed with it
