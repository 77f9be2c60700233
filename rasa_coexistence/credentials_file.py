"""Find our block in Rasa's ``credentials.yml``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rasa.shared.exceptions import RasaException

from rasa_coexistence.errors import CoexistenceError

BLOCK = "rasa_coexistence.CoexistenceInput"


class NoBlock(CoexistenceError):
    """The file or our block is not there, or YAML cannot read it; the text says which, and the remedy."""


def block_of(credentials: Path) -> Any:
    """Return our block as YAML has it, its ``${VARIABLES}`` filled in; raise NoBlock."""
    from rasa.shared.utils.io import read_config_file  # takes a while

    if not credentials.is_file():
        raise NoBlock(
            f"There is no {credentials}: run this in your bot's folder, or name the file with --credentials."
        )
    try:
        blocks = read_config_file(credentials)
    except (RasaException, UnicodeDecodeError) as error:
        raise NoBlock(f"{credentials} cannot be read: {without_quotes(str(error))}") from error
    if BLOCK not in blocks:
        raise NoBlock(f"{credentials} has no block {BLOCK}: copy it from credentials.yml.example.")
    return blocks[BLOCK]


def without_quotes(said: str) -> str:
    """Return what YAML says of a file, less the lines of the file: they may hold secrets."""
    kept = (line.strip() for line in said.splitlines() if not line.startswith("    "))
    return " ".join(line for line in kept if line and "yamlchecker" not in line)
