"""The command line, as a shop uses it: beside its server, or without one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from rasa.shared.utils.io import write_yaml
from typer.testing import CliRunner, Result

from rasa_coexistence.cli import app
from rasa_coexistence.credentials_file import BLOCK


async def command(folder: Path, block: dict[str, Any], *arguments: str, answer: str | None = None) -> Result:
    """Run a command with these settings; ``answer`` is typed when it asks."""
    credentials = folder / "credentials.yml"
    write_yaml({BLOCK: block}, credentials)
    words = [*arguments, "--credentials", str(credentials)]
    return await asyncio.to_thread(lambda: CliRunner().invoke(app, words, input=answer))
