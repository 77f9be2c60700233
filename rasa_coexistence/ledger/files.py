"""Where a ledger that is a file lies."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa


def missing_file(database_url: str) -> Path | None:
    """Return the SQLite file that is not there yet; to connect would make it."""
    parts = sa.engine.make_url(database_url)
    if parts.get_backend_name() != "sqlite" or not parts.database or Path(parts.database).exists():
        return None
    return Path(parts.database).absolute()
