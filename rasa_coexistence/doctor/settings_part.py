"""Read ``credentials.yml``, say all that is wrong with it, and keep what can be used of it all the same."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from msgspec import Struct

from rasa_coexistence.credentials_file import block_of
from rasa_coexistence.doctor.line import Line, failure, ok
from rasa_coexistence.errors import CoexistenceError, ConfigError
from rasa_coexistence.settings import Settings

CHECK = "settings"
READ_AGAIN = 3  # what goes with a setting that was left out may have to go, too


class Given(Struct, frozen=True, kw_only=True):
    """What the settings say, as far as it can be used."""

    lines: list[Line]
    settings: Settings | None = None  # a setting of ``unusable`` has its default, or a stand-in
    unusable: frozenset[str] = frozenset()

    def lacks(self, *names: str) -> bool:
        """Tell whether one of these settings cannot be used."""
        return not self.unusable.isdisjoint(names)


def read(credentials: Path) -> Given:
    """Return the settings of our block."""
    try:
        block = block_of(credentials)
    except CoexistenceError as error:
        remedy = "put it right, then run doctor again; until then most cannot be looked at"
        return Given(lines=[failure(CHECK, str(error), remedy)])
    problems = _problems(block)
    if not problems:
        fine = ok(CHECK, f"{credentials} can be used")
        return Given(lines=[fine], settings=Settings.from_credentials(block))
    lines = []
    for problem in problems:
        name, _, remedy = problem.partition(": ")
        lines.append(failure(CHECK, f"{name} cannot be used", remedy))
    settings, unusable = _usable(block)
    return Given(lines=lines, settings=settings, unusable=unusable)


def _problems(block: Any) -> list[str]:
    try:
        Settings.from_credentials(block)
    except ConfigError as error:
        return error.problems
    return []


def _usable(block: Any) -> tuple[Settings | None, frozenset[str]]:
    """Return settings of what is left without the wrong ones, and the names of those."""
    left = dict(block) if isinstance(block, Mapping) else {}
    stand_ins: dict[str, str] = {
        "verify_token": secrets.token_urlsafe(),
        "app_secret": secrets.token_urlsafe(),
        "config_id": "0",
        "encryption_key": Fernet.generate_key().decode(),
    }
    unusable: set[str] = set()
    for _ in range(READ_AGAIN):
        problems = _problems(left)
        if not problems:
            return Settings.from_credentials(left), frozenset(unusable)
        wrong = {_name(problem, left) for problem in problems}
        if "app_id" in wrong:  # of no use without it
            wrong.add("config_id")
            stand_ins.pop("config_id", None)
        unusable |= wrong
        for name in wrong:
            left.pop(name, None)
            if name in stand_ins:
                left[name] = stand_ins[name]
    return None, frozenset(unusable)


def _name(problem: str, given: Mapping[Any, Any]) -> Any:
    """Return the setting at the top that a problem is about, as the block has it."""
    for name in given:
        if problem.startswith(tuple(f"{name}{mark}" for mark in (":", ".", "["))):
            return name
    return problem.partition(":")[0]
