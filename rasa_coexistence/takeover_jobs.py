"""Do what the command line asks about takeovers: silence the bot, or let it speak again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rasa_coexistence.jobs import JobRefused, JobRunner
from rasa_coexistence.ledger import takeovers
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.ledger.jobs import Job

HOLD, RELEASE = "hold", "release"
REASON = "cli"


def register(
    runner: JobRunner, database: Database, *, clock: Callable[[], float], on_news: Callable[[], None]
) -> None:
    """Let the runner do these jobs at once: a hold that waited for a slow turn would come too late."""

    async def do(job: Job) -> str:
        outcome = await database.write(_do, job, now=clock())
        on_news()
        return outcome

    runner.register(HOLD, do)
    runner.register(RELEASE, do)


def _do(connection: Any, job: Job, *, now: float) -> str:
    until = job.arguments.get("until")
    if job.conversation_id is not None:
        if job.kind == HOLD:
            takeovers.hold(connection, job.conversation_id, until=until, reason=REASON, now=now)
        else:
            takeovers.hand_back(connection, job.conversation_id, reason=REASON, now=now)
    elif job.phone_number_id is not None:
        if not _number(connection, job, until, now):
            raise JobRefused(f"no number with the phone_number_id {job.phone_number_id} is known here")
    else:
        raise JobRefused("the job says neither which conversation nor which number it is about")
    return "the bot is silent" if job.kind == HOLD else "the bot speaks again"


def _number(connection: Any, job: Job, until: float | None, now: float) -> bool:
    number = job.phone_number_id or ""
    if job.kind == HOLD:
        return takeovers.hold_number(connection, number, until=until, now=now)
    return takeovers.release_number(connection, number, now=now)
