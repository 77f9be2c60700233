"""``rasa-coexistence forget``: delete a customer everywhere, by the server that serves them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from msgspec import Struct
from rich.markup import escape

from rasa_coexistence.cli import whom
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
from rasa_coexistence.errors import Postponed
from rasa_coexistence.ledger import forgetting, jobs, people, queues
from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.ledger.jobs import FORGET
from rasa_coexistence.ledger.schema import messages
from rasa_coexistence.sqlite_wiping import wipe

LOOK_SECONDS = 0.2
UNREAD_SECONDS = 5.0  # how long to wait for what a server is about to read


class Found(Struct, frozen=True, kw_only=True):
    """What there is of a customer."""

    chats: list[Chat]
    messages: int
    person: forgetting.Customer  # by every id they have
    in_address_books: int
    aside: int

    @property
    def is_nothing(self) -> bool:
        """Whether nobody was found."""
        return not (self.chats or self.in_address_books or self.aside)


def forget(
    customer: Annotated[
        str, typer.Argument(help="Rasa's conversation id, a phone in any spelling, a BSUID or a username.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for a server to begin with it.", min=0.0)
    ] = 20.0,
    credentials: CredentialsFile = DEFAULT_CREDENTIALS,
) -> None:
    """Delete a customer: messages, Rasa's tracker, contact, links to their media. It cannot be undone.

    The running server does it, since nobody else may write in a conversation. Exit code 0 when it is done.
    What was sent to other systems before (event broker, logs of actions, backups) is not reached.
    """

    async def command() -> int:
        async with open_ledger(settings_of(credentials)) as database:
            found = await database.read(_find, customer)
            if found.is_nothing:
                raise CommandFailed(f"Nothing is known of {customer}.")
            _show(found)
            if not yes and not typer.confirm("Delete all of this for good?"):
                raise CommandFailed("Nothing was deleted.")
            ids = await database.write(_file, found.chats, now=time.time())
            told = await _wait(database, ids, seconds=wait)
            await _delete_traces(database, found.person)
        for line in told:
            screen.print(escape(line))
        screen.print("Forgotten.")
        return 0

    run(command())


def _find(connection: Any, given: str) -> Found:
    chats = whom.find(connection, given)
    customers = [forgetting.customer_of(connection, chat.id) for chat in chats]
    ids = [id_ for each in customers if each is not None for id_ in each.conversation_ids]
    known_as = [alias for chat in chats for alias in people.aliases_of(connection, chat.id)]
    person = forgetting.somebody(sorted({*known_as, *(whom.known_as(given) if not chats else [])}))
    counted = sa.select(sa.func.count()).where(messages.c.conversation_id.in_(ids))
    in_address_books, aside = forgetting.traces(connection, person)
    return Found(
        chats=chats,
        messages=int(connection.execute(counted).scalar() or 0),
        person=person,
        in_address_books=in_address_books,
        aside=len(aside),
    )


def _show(found: Found) -> None:
    for chat in found.chats:
        names = ", ".join(dict.fromkeys(value for value in chat.contact.values() if value))
        screen.print(escape(f"Conversation {chat.sender_id} ({names}) with number {chat.phone_number_id}"))
    screen.print(
        f"{found.messages:,} messages, {found.in_address_books:,} entries in the owner's address book, "
        f"{found.aside:,} items set aside"
    )


def _file(connection: Any, chats: Sequence[Chat], *, now: float) -> list[int]:
    """Ask for each conversation to be forgotten, once."""
    filed = []
    for chat in chats:
        waiting = jobs.of_conversation(connection, chat.id, [FORGET])
        if waiting:
            queues.wake(connection, queues.TALK, [chat.id], at=now)
        filed.append(
            waiting[0].id if waiting else jobs.file(connection, FORGET, now=now, conversation_id=chat.id)
        )
    return filed


async def _wait(database: Database, job_ids: Sequence[int], *, seconds: float) -> list[str]:
    """Wait until the jobs are done and return what became of them; raise CommandFailed."""
    end = time.monotonic() + seconds
    told = []
    with errors.status("waiting for the server") as shown:
        for job_id in job_ids:
            while (job := await database.read(jobs.get, job_id)).state == jobs.WAITING:
                if job.attempts == 0 and time.monotonic() > end:
                    raise CommandFailed(
                        "No server began with it: is rasa run running, and with this ledger? The request is "
                        "kept and will be carried out at its next start. Run this again to see it done."
                    )
                if job.attempts:
                    shown.update("the server deletes, as soon as nobody writes to the customer any more")
                await asyncio.sleep(LOOK_SECONDS)
            if job.state == jobs.FAILED:
                raise CommandFailed(f"It was not done: {job.outcome}")
            told.append(job.outcome or "")
    return told


async def _delete_traces(database: Database, person: forgetting.Customer) -> None:
    """Delete what stands of a customer outside of their conversations, with every business number."""
    end = time.monotonic() + UNREAD_SECONDS
    while True:
        try:
            await database.write(forgetting.delete_traces, person)
            break
        except Postponed as error:
            if time.monotonic() > end:
                raise CommandFailed(
                    f"Not all is deleted yet: {error.reason}. Run this again later."
                ) from error
            await asyncio.sleep(LOOK_SECONDS)
    await asyncio.to_thread(wipe, database.engine)
