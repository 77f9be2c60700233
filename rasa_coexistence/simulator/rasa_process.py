"""Run ``rasa`` as a child, and never leave it behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar

T = TypeVar("T")

STOP_SECONDS = 10.0
LINES = 30  # of the log, when something went wrong
ENVIRONMENT = {
    "RASA_TELEMETRY_ENABLED": "false",
    "SQLALCHEMY_SILENCE_UBER_WARNING": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "PYTHONUNBUFFERED": "1",
    "PYTHONWARNINGS": "ignore",
}


class RasaDied(Exception):
    """Rasa ended by itself; the message is the end of its log."""


class RasaProcess:
    """One ``rasa`` command in a folder, writing to a log."""

    def __init__(self, arguments: Sequence[str], *, folder: Path, log: Path) -> None:
        self._arguments, self._folder, self.log = arguments, folder, log
        self._process: asyncio.subprocess.Process | None = None
        self._file: IO[bytes] | None = None

    async def __aenter__(self) -> RasaProcess:
        self._file = self.log.open("ab")
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "rasa", *self._arguments),
            cwd=self._folder,
            env=os.environ | ENVIRONMENT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self._file,
            stderr=self._file,
            start_new_session=True,  # Ctrl-C is ours: we end it when we are done
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._process is not None and self._process.returncode is None:
            self._signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
            except asyncio.TimeoutError:
                self._signal(signal.SIGKILL)
                await self._process.wait()
        if self._file is not None:
            self._file.close()

    @property
    def pid(self) -> int:
        """The process id."""
        if self._process is None:
            raise RuntimeError("not started")
        return self._process.pid

    async def kill(self) -> None:
        """End it as a power cut would."""
        self._signal(signal.SIGKILL)
        await self.wait()

    async def wait(self) -> int:
        """Wait until it ends; returns its exit code."""
        if self._process is None:
            raise RuntimeError("not started")
        return await self._process.wait()

    async def wait_until(self, is_ready: Callable[[], Awaitable[bool]], *, seconds: float) -> None:
        """Ask twice a second whether it is ready; raises RasaDied if it ends or takes too long."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not await is_ready():
            if self._process is None or self._process.returncode is not None or loop.time() > end:
                raise RasaDied(self.last_lines())
            await asyncio.sleep(0.5)

    async def while_it_runs(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what the work returns; raises RasaDied if Rasa ends first."""
        working, ended = asyncio.ensure_future(work), asyncio.ensure_future(self.wait())
        try:
            await asyncio.wait((working, ended), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise RasaDied(self.last_lines())
            return working.result()
        finally:
            working.cancel()
            ended.cancel()
            await asyncio.gather(working, ended, return_exceptions=True)

    def last_lines(self) -> str:
        """Return the end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LINES:])

    def _signal(self, number: int) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
