"""``rasa-coexistence sync``: ask for contacts and history of a number, once, and follow what comes.

The request is the server's to make: it writes its intention down first, and a second process that called Meta
could use up the one try twice.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated

import typer
from msgspec import Struct
from rich.markup import escape

from rasa_coexistence.cli.doctor import DEFAULT_ENDPOINTS, EndpointsFile, show
from rasa_coexistence.cli.following import Follower, Syncs
from rasa_coexistence.cli.ground import (
    DEFAULT_CREDENTIALS,
    CommandFailed,
    CredentialsFile,
    errors,
    run,
    screen,
    settings_of,
)
from rasa_coexistence.cli.output import at_work, read_ledger
from rasa_coexistence.cli.server import LOCAL, NoAnswer, Reply, Server
from rasa_coexistence.settings import Settings

DONE_BY_THE_SERVER = frozenset({"subscription"})  # it subscribes the account before it asks for the history


def sync(
    phone_number_id: Annotated[
        str | None, typer.Argument(help="Meta's id of the number; not needed where there is only one.")
    ] = None,
    credentials: CredentialsFile = DEFAULT_CREDENTIALS,
    endpoints: EndpointsFile = DEFAULT_ENDPOINTS,
    url: Annotated[
        str | None, typer.Option(help=f"Where rasa run listens; without it base_url, else {LOCAL}.")
    ] = None,
    waba_id: Annotated[
        str | None, typer.Option(help="WhatsApp account of the number, if it is not known.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also repeat what Meta refused, never what it may have taken.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Ask although a check fails: what comes may be lost.")
    ] = False,
    minutes: Annotated[
        float | None, typer.Option(help="Follow it no longer; it goes on all the same.", min=0.0)
    ] = None,
) -> None:
    """Let the running server ask Meta for contacts and history, and follow them to their end.

    Meta gives each once for an onboarding, within 24 hours: so what doctor looks at is looked at first.
    Ctrl-C ends only the following. Exit code 0 when all has come.
    """
    until = None if minutes is None else time.monotonic() + minutes * 60
    asked = Asked(number=phone_number_id, waba_id=waba_id, again=again, force=force, until=until)
    run(_sync(asked, credentials, endpoints, url))


class Asked(Struct, frozen=True, kw_only=True):
    """What the command line asks for."""

    number: str | None
    waba_id: str | None
    again: bool
    force: bool
    until: float | None  # by time.monotonic(); None: to the end


async def _sync(asked: Asked, credentials: Path, endpoints: Path, url: str | None) -> int:
    settings = settings_of(credentials)
    if settings.admin_token is None:
        raise CommandFailed(
            "The running server is asked by its API, and that takes an admin_token: set one in "
            "credentials.yml (any long text) and restart rasa run."
        )
    number = asked.number or settings.phone_number_id or await _only_number(settings)
    async with Server(url or settings.base_url or LOCAL, settings.admin_token) as server:
        found = await server.sync_status(number)
        before = Syncs.of(found, wants_history=settings.history.enabled)
        follower = Follower(server, number, wants_history=settings.history.enabled, until=asked.until)
        if not before.lack_asking(again=asked.again):
            screen.print("Contacts and history were asked for before; nothing is asked for again.")
            if before.problems and not asked.again:
                screen.print("What Meta refused can be asked for again with --again.")
            return await _followed(follower)
        if not await _is_fit(credentials, endpoints, number, force=asked.force):
            errors.print("Nothing was asked for. Put it right, or insist with --force.", style="red")
            return 1
        return await _ask(server, follower, number, asked)


async def _ask(server: Server, follower: Follower, number: str, asked: Asked) -> int:
    screen.print(f"Asking for contacts and history of {number} ...")
    try:
        reply = await server.ask_for_syncs(number, waba_id=asked.waba_id, again=asked.again)
    except asyncio.CancelledError:
        errors.print(
            "Interrupted: the server may ask, and asks only once. Look with: rasa-coexistence status"
        )
        raise
    except NoAnswer as error:
        raise NoAnswer(f"{error} Run this again: Meta is asked only once.") from error
    follower.onboarding = _text(reply.body.get("onboarding"))
    if reply.error:
        errors.print(escape(reply.error), style="red")
        if not _is_coming(reply):
            return 1
    return await _followed(follower)


async def _followed(follower: Follower) -> int:
    try:
        return await follower.follow()
    except asyncio.CancelledError:
        errors.print("No longer followed; the sync goes on. Look with: rasa-coexistence status")
        raise


async def _is_fit(credentials: Path, endpoints: Path, number: str, *, force: bool) -> bool:
    """Tell whether what Meta would send could arrive and be kept; show what speaks against it."""
    from rasa_coexistence.doctor.examine import Place, examine
    from rasa_coexistence.doctor.line import Level

    fits = True
    with at_work("Looking whether it would arrive ..."):
        async for line in examine(Place(credentials=credentials, endpoints=endpoints, number=number)):
            if line.level is Level.FAILURE and line.check not in DONE_BY_THE_SERVER:
                show(line)
                fits = False
    return fits or force


async def _only_number(settings: Settings) -> str:
    from rasa_coexistence.ledger import numbers

    async with read_ledger(settings) as database:
        known = await database.read(numbers.all_numbers)
    served = [number.phone_number_id for number in known if not number.is_gone]
    if len(served) == 1:
        return served[0]
    if not served:
        raise CommandFailed("No number is known yet: sign one up at /connect, or set phone_number_id.")
    raise CommandFailed(f"There are several numbers, say which one: {', '.join(served)}.")


def _is_coming(reply: Reply) -> bool:
    """Tell whether the history was taken although something else was not."""
    history = (reply.body.get("sync") or {}).get("history") or {}
    return history.get("status") in ("requested", "syncing")


def _text(value: object) -> str | None:
    return None if value is None else str(value)
