"""The command line, as a shop's developer uses it, before the simulated Meta and a running channel."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from channels import Site, credentials, running_channel
from cloud_api import running_simulator
from rasa.shared.utils.io import write_yaml
from stand_in_rasa import StandInAgent, StandInBot
from typer.testing import CliRunner, Result

from rasa_coexistence.cli import app
from rasa_coexistence.credentials_file import BLOCK
from rasa_coexistence.doctor.examine import Place, examine
from rasa_coexistence.doctor.line import Level, Line
from rasa_coexistence.simulator import Simulator

NUMBER = "845237608662425"


@dataclass
class Desk:
    """A folder with the files of a bot, and what is around it."""

    folder: Path
    block: dict[str, Any]  # of credentials.yml, as the command line reads it
    endpoints: dict[str, Any]
    meta: Simulator
    site: Site | None = None

    @property
    def webhook_url(self) -> str:
        """Where the channel takes webhooks."""
        assert self.site is not None
        return f"{self.site.url}/webhook"

    def write(self) -> None:
        """Write the files as they stand."""
        write_yaml({BLOCK: self.block}, self.folder / "credentials.yml")
        write_yaml(self.endpoints, self.folder / "endpoints.yml")

    async def examine(self, **others: Any) -> list[Line]:
        """Let the doctor look."""
        self.write()
        names = {name: self.folder / f"{name}.yml" for name in ("credentials", "endpoints")}
        return [line async for line in examine(Place(**{**names, **others}))]

    async def shell(self, *arguments: str) -> Result:
        """Run a command in the folder."""
        self.write()
        files = ["--credentials", str(self.folder / "credentials.yml")]
        if arguments[0] in ("doctor", "sync"):
            files += ["--endpoints", str(self.folder / "endpoints.yml")]
        return await asyncio.to_thread(lambda: CliRunner().invoke(app, [*arguments, *files]))

    async def told(self, *arguments: str) -> Any:
        """Return the JSON of a command; the channel's log, in the same process, is not part of it."""
        output = (await self.shell(*arguments, "--json")).output
        return json.JSONDecoder().raw_decode(output, output.index("{\n"))[0]


def worse(lines: Sequence[Line]) -> dict[str, str]:
    """Return what is not well, by its check."""
    return {line.check: line.level.value for line in lines if line.level is not Level.OK}


def the(lines: Sequence[Line], check: str) -> Line:
    """Return the worst line of a check."""
    of_check = [line for line in lines if line.check == check]
    assert of_check, f"nothing about {check} in {lines}"
    return max(of_check, key=lambda line: list(Level).index(line.level))


@asynccontextmanager
async def open_desk(folder: Path, *, serves: bool = True, **changes: Any) -> AsyncIterator[Desk]:
    """Set everything up as it should be; ``changes`` are of credentials.yml."""
    async with running_simulator() as meta:
        block = credentials(f"sqlite:///{folder}/ledger.db", graph_url=meta.url, **changes)
        block.setdefault("history", {"tune_tracker_store": True})
        endpoints = {"tracker_store": {"type": "SQL", "db": str(folder / "rasa.db")}}
        desk = Desk(folder, block, endpoints, meta)
        if not serves:
            yield desk
            return
        agent = StandInAgent(f"sqlite:///{folder}/rasa.db", StandInBot(time.time), time.time)
        try:
            async with running_channel(block, agent) as site:
                desk.site = site
                meta.accounts.webhook_url = desk.webhook_url
                yield desk
        finally:
            agent.close()
