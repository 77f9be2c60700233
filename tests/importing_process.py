"""A process that takes webhooks of old chat, imports them, and may be dead at any moment.

Run as a script it is a nursery: it loads Rasa once, and each line of its standard input is a life, lived in
a fork. A life tells on standard output what Meta would know of it, ``accepted <number of the body>``; in the
end the nursery tells ``ended <how>``.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import sqlalchemy as sa
from rasa.core.lock_store import InMemoryLockStore
from rasa.core.tracker_store import SQLTrackerStore
from rasa.shared.core.domain import Domain

from rasa_coexistence.ledger import syncs
from rasa_coexistence.service import Service
from rasa_coexistence.settings import Settings

DOMAIN = Domain.from_dict({"session_config": {"session_expiration_time": 24 * 60}})
PATIENCE_SECONDS = 120.0
_ANSWERS = os.dup(1)


class Life(msgspec.Struct, kw_only=True):
    """What one process has to do, and when it dies."""

    credentials: dict[str, Any]
    tracker_url: str
    bodies: list[tuple[int, str]]  # number and file of what Meta posts
    phone_number_id: str
    messages: int  # when so many are imported it is done
    later: float  # seconds by which its clock is ahead: the leases of the dead have run out
    dies_after: int | None = None  # statements to a database
    dies_seconds_later: float = 0.0


def main() -> None:
    """Bring up one child after the other."""
    for line in sys.stdin:
        life = msgspec.json.decode(line, type=Life)
        child = os.fork()
        if not child:
            os._exit(_live(life))
        _say(f"ended {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")


def _live(life: Life) -> int:
    statements = itertools.count(1)

    def count(*_args: Any) -> None:
        if next(statements) == life.dies_after:
            threading.Thread(target=_die, args=[life.dies_seconds_later]).start()

    sa.event.listen(sa.engine.Engine, "before_cursor_execute", count)
    bodies = [(number, Path(path).read_bytes()) for number, path in life.bodies]
    asyncio.run(_take_and_import(life, bodies))
    _say(f"statements {next(statements)}")
    return 0


def _die(seconds: float) -> None:
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


async def _take_and_import(life: Life, bodies: list[tuple[int, bytes]]) -> None:
    agent = SimpleNamespace(
        tracker_store=SQLTrackerStore(DOMAIN, host=life.tracker_url),
        lock_store=InMemoryLockStore(),
        processor=SimpleNamespace(domain=DOMAIN),
        is_ready=lambda: True,
    )
    settings = Settings.from_credentials(life.credentials)
    service = Service(settings, lambda: agent, lambda: time.time() + life.later)
    await service.start()
    for number, body in bodies:
        await service.accept(body)
        _say(f"accepted {number}")
    end = time.monotonic() + PATIENCE_SECONDS
    while not await _is_done(service, life):
        if time.monotonic() > end:
            raise TimeoutError
        await asyncio.sleep(0.02)
    await service.stop()


async def _is_done(service: Service, life: Life) -> bool:
    status = await service.database.read(syncs.status, life.phone_number_id)
    if status is None or status["sync_status"] != "completed":
        return False
    return bool(status["history"]["messages_imported"] == life.messages)


def _say(line: str) -> None:
    os.write(_ANSWERS, f"{line}\n".encode())


if __name__ == "__main__":
    os.dup2(2, 1)  # the log goes there
    main()
