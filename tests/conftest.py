"""Databases that tests share: servers live as long as the session, what is in them as long as a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import servers
import sqlalchemy as sa
from ledgers import Books

from rasa_coexistence.ledger.database import Database

pytest_plugins = ["rasa_fixtures"]  # trained bots
# What is in the names of the files that take longest.
LONG = (
    "_story",
    "_page",
    "play",
    "replicas",
    "killed",
    "machine",
    "example_bot",
    "connect",
    "properties",
    "worker",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: the other processes do the short ones meanwhile."""
    items.sort(key=lambda item: not any(word in item.path.name for word in LONG))


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Run a PostgreSQL server; the URL is that of its maintenance database."""
    with servers.running_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def postgres(postgres_url: str) -> Iterator[Any]:
    """Connect to the server as its owner."""
    engine = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE tests")
        yield connection


@pytest.fixture
def postgres_database(postgres: Any, postgres_url: str) -> str:
    """Give the URL of a database that is empty: what a test left there goes, whoever still uses it."""
    postgres.exec_driver_sql(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = 'tests'"
    )
    postgres.exec_driver_sql("ALTER DATABASE tests ALLOW_CONNECTIONS true")
    postgres.exec_driver_sql("ALTER DATABASE tests RESET ALL")
    url = sa.engine.make_url(postgres_url).set(database="tests")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    return str(url.render_as_string(hide_password=False))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[int]:
    """Run a Redis server and give its port."""
    with servers.running_redis() as port:
        yield port


@pytest.fixture
def redis_port(redis_server: int) -> int:
    """Give the port of a Redis server that holds nothing."""
    import redis

    with redis.Redis(port=redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of an empty database, of each kind that a ledger can be in."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    return str(request.getfixturevalue("postgres_database"))


@pytest.fixture
async def books(ledger_url: str) -> AsyncIterator[Books]:
    """Open a ledger of each kind."""
    database = Database(ledger_url)
    database.open()
    yield Books(database)
    await database.close()
