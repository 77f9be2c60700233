"""``rasa-coexistence status``: how numbers, syncs, chats and queues stand, from the ledger alone."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rasa_coexistence.cli.ground import (
    DEFAULT_CREDENTIALS,
    CredentialsFile,
    run,
    screen,
    settings_of,
)
from rasa_coexistence.cli.output import AsJSON, print_json, read_ledger

if TYPE_CHECKING:
    from rasa_coexistence.ledger.condition import Condition

MOST_REASONS = 10
TABLE_WIDTH = 160


def status(credentials: CredentialsFile = DEFAULT_CREDENTIALS, as_json: AsJSON = False) -> None:
    """Tell how numbers, syncs, chats and queues stand.

    Reads the ledger alone: Rasa may be running or not, and Meta is not asked.
    """
    run(_status(credentials, as_json=as_json))


async def _status(credentials: Path, *, as_json: bool) -> None:
    from rasa_coexistence.ledger import condition

    async with read_ledger(settings_of(credentials)) as database:
        found = await database.read(condition.read, now=time.time())
    if as_json:
        print_json(found)
        return
    _numbers(found)
    for name, said in _lines(found).items():
        screen.print(f"[bold]{name:<14}[/bold] {escape(said)}")
    for reason, count in list(found.set_aside.items())[:MOST_REASONS]:
        screen.print(f"{'':<14} {count} x {escape(reason)}")


def _numbers(found: Condition) -> None:
    if not found.numbers:
        screen.print("No number yet: sign one up at /connect, or set phone_number_id.")
        return
    table = Table("number", "phone", "state", "history", "messages", "chats", "contacts", box=None)
    for number in found.numbers:
        sync = number["sync"]
        history, contacts = sync["history"], sync["contacts"]
        table.add_row(
            number["phone_number_id"],
            f"+{number['display_phone_number']}" if number["display_phone_number"] else "",
            escape(_state(number)),
            escape(_progress(history)),
            f"{history['messages_imported']} of {history['messages_received']}",
            str(history["conversations"]),
            f"{contacts['status']} ({contacts['received']})",
        )
    Console(width=TABLE_WIDTH).print(table)  # a narrow terminal may break lines, but must not cut numbers
    for number in found.numbers:
        for said in filter(None, (number["state_reason"], *_sync_errors(number["sync"]))):
            screen.print(f"  {number['phone_number_id']}: {escape(said)}", style="yellow")
    screen.print()


def _sync_errors(sync: dict[str, Any]) -> list[str | None]:
    return [sync["history"]["error"], sync["history"]["import_error"], sync["contacts"]["error"]]


def _state(number: dict[str, Any]) -> str:
    until = f" until {_moment(number['held_until'])}" if number["held_until"] else ""
    return f"{number['state']}, bot off{until}" if number["held"] else str(number["state"])


def _progress(history: dict[str, Any]) -> str:
    if history["status"] == "syncing":
        return f"syncing, {history['progress']} %"
    return str(history["status"])


def _lines(found: Condition) -> dict[str, str]:
    chats, inbox, out = found.conversations, found.inbox, found.outbox
    waiting = f", the oldest since {_moment(inbox['oldest_at'])}" if inbox["oldest_at"] else ""
    return {
        "conversations": f"{chats['count']}; a person has {chats['taken_over']} "
        f"({chats['on_hold']} on hold), {chats['want_a_person']} want one",
        "outbox": ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in out.items()),
        "inbox": f"{inbox['live']} live and {inbox['history']} history webhooks to read{waiting}; "
        f"{inbox['messages_waiting']} messages to answer or log",
        "jobs": f"{found.jobs['waiting']} waiting, {found.jobs['failed']} failed",
        "notices": f"{found.notices['waiting']} waiting, {found.notices['failed']} failed",
        "set aside": str(found.set_aside_count),
    } | ({"strangers": ", ".join(found.strangers)} if found.strangers else {})


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M")
