"""``rasa-coexistence takeover``: see who has which conversation, keep the bot out, let it speak again.

A hold is written into the ledger at once, not asked of the server: it must count also while no server runs,
or one is slow. The ledger is what decides whether a bubble may leave; Rasa's tracker, in which nobody but
the server may write, hears of it from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import Struct
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rasa_coexistence.cli import whom
from rasa_coexistence.cli.ground import (
    DEFAULT_CREDENTIALS,
    CommandFailed,
    CredentialsFile,
    open_ledger,
    run,
    screen,
    settings_of,
)
from rasa_coexistence.ledger import dialects, overview, takeovers
from rasa_coexistence.ledger import numbers as ledger_numbers
from rasa_coexistence.ledger.chats import NUMBER_HOLD
from rasa_coexistence.ledger.overview import MOST_SHOWN, ShownConversation, ShownTakeover

REASON = "cli"
WIDE = 1000  # columns: a terminal folds long lines, a pipe gets them whole
YEAR_MINUTES = 366 * 24 * 60.0

takeover = typer.Typer(help="Who has which conversation: a person or the bot.", no_args_is_help=True)

Customer = Annotated[
    str | None, typer.Argument(help="Rasa's conversation id, a phone in any spelling, a BSUID or a username.")
]
Number = Annotated[str | None, typer.Option("--number", help="A whole number, by its phone_number_id.")]
All = Annotated[bool, typer.Option("--all", help="All numbers: the bot is off, or on again, everywhere.")]


class Line(Struct, frozen=True, kw_only=True):
    """Who has a conversation, or a number."""

    what: str
    who: str
    takeover: ShownTakeover
    wants_person: bool = False


@takeover.command("list")
def list_(
    wanted: Annotated[
        bool, typer.Option("--wants-person", help="Only those in which the bot asked for somebody.")
    ] = False,
    credentials: CredentialsFile = DEFAULT_CREDENTIALS,
) -> None:
    """Show the conversations and numbers that a person has, and where the bot asks for one."""

    async def command() -> int:
        async with open_ledger(settings_of(credentials)) as database:
            lines = await database.read(_lines, only_wanted=wanted, now=time.time())
        if not lines:
            screen.print("The bot has all conversations.")
            return 0
        table = Table("conversation", "customer", "who", "until", "since", "why", "wants a person", box=None)
        for line in lines:
            shown = line.takeover
            table.add_row(
                *map(escape, (line.what, line.who, "the bot" if shown.mode == "bot" else "a person")),
                "" if shown.mode == "bot" else _time(shown.until, "handed back"),
                _time(shown.since, ""),
                escape(shown.reason or ""),
                "yes" if line.wants_person else "",
            )
        Console(highlight=False, width=WIDE).print(table)
        return 0

    run(command())


@takeover.command()
def hold(
    conversation: Customer = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Until then; without it, until it is released.", min=0.0, max=YEAR_MINUTES),
    ] = None,
    number: Number = None,
    all_: All = False,
    credentials: CredentialsFile = DEFAULT_CREDENTIALS,
) -> None:
    """Keep the bot out of a conversation, or off a whole number. It counts at once, server or not."""
    now = time.time()
    until = None if minutes is None else now + minutes * 60
    _change(
        (conversation, number, all_),
        credentials,
        lambda connection, chat_id: takeovers.hold(connection, chat_id, until=until, reason=REASON, now=now),
        lambda connection, number_id: takeovers.hold_number(connection, number_id, until=until, now=now),
        f"the bot is silent until {_time(until, 'it is released')}",
    )


@takeover.command()
def release(
    conversation: Customer = None,
    number: Number = None,
    all_: All = False,
    credentials: CredentialsFile = DEFAULT_CREDENTIALS,
) -> None:
    """Give a conversation, or a whole number, back to the bot; it answers what the customer asked last.

    Conversations that a person has for themselves are not given back with their number.
    """
    now = time.time()
    _change(
        (conversation, number, all_),
        credentials,
        lambda connection, chat_id: takeovers.hand_back(connection, chat_id, reason=REASON, now=now),
        lambda connection, number_id: takeovers.release_number(connection, number_id, now=now),
        "the bot speaks again",
    )


def _change(
    which: tuple[str | None, str | None, bool],
    credentials: Path,
    of_chat: Callable[[Any, int], object],
    of_number: Callable[[Any, str], object],
    outcome: str,
) -> None:
    conversation, number, all_ = which
    if [conversation is not None, number is not None, all_].count(True) != 1:
        raise typer.BadParameter("Name a conversation, or --number, or --all.")

    async def command() -> int:
        async with open_ledger(settings_of(credentials)) as database:
            changed = await database.write(_apply, which, of_chat, of_number)
        for each in changed:
            screen.print(escape(f"{each}: {outcome}"))
        return 0

    run(command())


def _apply(
    connection: Any,
    which: tuple[str | None, str | None, bool],
    of_chat: Callable[[Any, int], object],
    of_number: Callable[[Any, str], object],
) -> list[str]:
    """Change all that is meant in one transaction; return what that was."""
    conversation, number, _ = which
    dialects.serialize(connection, dialects.MANY)
    if conversation is not None:
        chats = whom.find(connection, conversation)
        if not chats:
            raise CommandFailed(f"There is no conversation {conversation}.")
        for chat in sorted(chats, key=lambda chat: chat.id):
            of_chat(connection, chat.id)
        return [chat.sender_id for chat in chats]
    known = [each.phone_number_id for each in ledger_numbers.all_numbers(connection)]
    if number is not None and number not in known:
        raise CommandFailed(f"No number with the phone_number_id {number} is known here.")
    numbers = [number] if number is not None else sorted(known)
    if not numbers:
        raise CommandFailed("No number is known yet.")
    for each in numbers:
        of_number(connection, each)
    return [f"number {each}" for each in numbers]


def _lines(connection: Any, *, only_wanted: bool, now: float) -> list[Line]:
    """Return who has what; conversations that are only held with their number are not named each."""
    if only_wanted:
        return [_line(shown) for shown in _all(connection, now, wants_person=True)]
    shown = [*_all(connection, now, wants_person=True), *_all(connection, now, taken=True)]
    own = [each for each in shown if each.wants_person or each.takeover.reason != NUMBER_HOLD]
    return [*_number_lines(connection, now), *{each.id: _line(each) for each in own}.values()]


def _all(
    connection: Any, now: float, *, taken: bool = False, wants_person: bool = False
) -> Iterator[ShownConversation]:
    before: str | None = None
    while True:
        page = overview.list_conversations(
            connection, now=now, limit=MOST_SHOWN, before=before, taken=taken, wants_person=wants_person
        )
        yield from page.items
        if (before := page.next) is None:
            return


def _line(shown: ShownConversation) -> Line:
    names = [shown.contact.get(key) for key in ("name", "username", "wa_id", "user_id")]
    who = next((name for name in names if name), "")
    return Line(what=shown.id, who=who, takeover=shown.takeover, wants_person=shown.wants_person)


def _number_lines(connection: Any, now: float) -> Iterator[Line]:
    for number in ledger_numbers.all_numbers(connection):
        shown = overview.number_takeover(connection, number.phone_number_id, now=now)
        if shown is not None and shown.mode != "bot":
            who = f"all customers of {number.display_phone_number or 'it'}"
            yield Line(what=f"number {number.phone_number_id}", who=who, takeover=shown)


def _time(moment: float | None, without: str) -> str:
    if moment is None:
        return without
    return datetime.fromtimestamp(moment).astimezone().isoformat(" ", "minutes")
