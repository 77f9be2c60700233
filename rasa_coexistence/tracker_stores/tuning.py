"""Keep turns fast in long conversations of Rasa's SQL tracker store; only ``tune_tracker_store`` asks for it.

In every turn Rasa looks for the newest session by reading all rows of the conversation. One index leads
straight to it; and since no database uses an index well for "newer than the session, or there is none", that
question becomes two.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import sqlalchemy as sa
from rasa.core.tracker_store import AwaitableTrackerStore, FailSafeTrackerStore, SQLTrackerStore
from rasa.shared.core.events import SessionStarted

INDEX = "ix_coexistence_events_session"
COLUMNS = ("sender_id", "timestamp", "type_name")
_LOCK = 0x57414349


def sql_store_of(store: Any) -> SQLTrackerStore | None:
    """Return the SQL tracker store within what Rasa wrapped around it, or None when it is of another kind."""
    while isinstance(store, (FailSafeTrackerStore, AwaitableTrackerStore)):
        store = store._tracker_store
    return store if isinstance(store, SQLTrackerStore) else None


def tune(store: SQLTrackerStore) -> bool:
    """Add the index and the better query; return whether both are in place. Blocks while the index is built.

    False: a subclass has a query of its own, or another process is building the index just now.
    """
    if type(store)._event_query is not SQLTrackerStore._event_query:
        return False
    if not has_index(store.engine):
        _create_index(store.engine)
    store._event_query = MethodType(_event_query, store)
    return has_index(store.engine)


def has_index(engine: Any) -> bool:
    """Tell whether the index is there and can be used."""
    if engine.dialect.name == "postgresql":
        statement = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"
        with engine.connect() as connection:
            return bool(connection.execute(sa.text(statement), {"name": INDEX}).scalar())
    inspector = sa.inspect(engine)
    table = SQLTrackerStore.SQLEvent.__tablename__
    return any(index["name"] == INDEX for index in inspector.get_indexes(table))


def _create_index(engine: Any) -> None:
    table = SQLTrackerStore.SQLEvent.__table__
    on = f"{table.name} ({', '.join(COLUMNS)})"
    if engine.dialect.name == "postgresql":
        _create_beside_writers(engine, on)
        return
    # MySQL does not know the words; there several processes can hardly start within the same second.
    if_not_exists = "IF NOT EXISTS " if engine.dialect.name in ("sqlite", "mariadb") else ""
    with engine.begin() as connection:
        connection.execute(sa.text(f"CREATE INDEX {if_not_exists}{INDEX} ON {on}"))


def _create_beside_writers(engine: Any, on: str) -> None:
    """Build the index without keeping Rasa from writing; one process does it, the others go on without."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.execute(sa.text(f"SELECT pg_try_advisory_lock({_LOCK})")).scalar():
            return
        try:
            # One that was interrupted stays, unusable, and would only cost writes.
            connection.execute(sa.text(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}"))
            connection.execute(sa.text(f"CREATE INDEX CONCURRENTLY {INDEX} ON {on}"))
        finally:
            connection.execute(sa.text(f"SELECT pg_advisory_unlock({_LOCK})"))


def _event_query(
    store: SQLTrackerStore, session: Any, sender_id: str, fetch_events_from_all_sessions: bool
) -> Any:
    """Return what ``SQLTrackerStore._event_query`` would, found by the index."""
    event = store.SQLEvent
    query = session.query(event).filter(event.sender_id == sender_id)
    if not fetch_events_from_all_sessions:
        began = (
            session.query(event.timestamp)
            .filter(
                event.sender_id == sender_id,
                event.type_name == SessionStarted.type_name,
                event.timestamp.isnot(None),
            )
            .order_by(event.timestamp.desc())
            .limit(1)
        )
        # The database compares: MySQL hands out a FLOAT less exactly than it keeps it.
        if began.first() is not None:
            query = query.filter(event.timestamp >= began.scalar_subquery())
    return query.order_by(event.id)
