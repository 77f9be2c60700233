"""What Prometheus is told is what stands in the ledger."""

from __future__ import annotations

from pathlib import Path

from rasa_coexistence.ledger import inbox
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.metrics import COUNTS, count_rows, exposition


async def test_every_gauge_counts_the_rows_it_names(tmp_path: Path) -> None:
    """An operator alarms on these names; one that stays silent would never be missed."""
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    database.open()
    await database.write(inbox.accept, b"{}", lane="live", thread_aliases=(), received_at=1.0)
    await database.write(inbox.keep_aside, reason="odd", path="entry[0]", raw={}, received_at=1.0)
    told = exposition(await database.read(count_rows)).decode()
    await database.close()
    assert 'coexistence_inbox_bodies{lane="live"} 1.0' in told
    assert 'coexistence_set_aside{reason="odd"} 1.0' in told
    assert all(f"# HELP {count.name} {count.meaning}" in told for count in COUNTS)
