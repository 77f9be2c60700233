"""Write a file whole or not at all, and over no other unless asked to."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from rasa_coexistence.cli.ground import CommandFailed


@contextlib.contextmanager
def new_file(path: Path, *, replace: bool) -> Iterator[IO[bytes]]:
    """Give a file that gets its name when all is written; nobody but its owner can read it.

    Raise CommandFailed when there is one of that name already, or it cannot be written.
    """
    if path.is_dir() or (path.exists() and not replace):
        raise _taken(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror}.") from error
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _name(unfinished, path, replace=replace)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _name(unfinished: Path, path: Path, *, replace: bool) -> None:
    if replace:
        unfinished.replace(path)
        return
    try:
        os.link(unfinished, path)  # which never takes the place of another
    except FileExistsError as error:
        raise _taken(path) from error


def _taken(path: Path) -> CommandFailed:
    if path.is_dir():
        return CommandFailed(f"{path} is a folder: name a file.")
    return CommandFailed(f"There is a file {path} already: name another, or replace it with --force.")
