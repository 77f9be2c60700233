"""Transactions on a real database: durable, shared, refused when it is gone or full, and never half done."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from ledgers import ANA, Books, accept, accept_at_once, as_bytes, live

from rasa_coexistence.errors import LedgerUnavailable, SchemaTooNew
from rasa_coexistence.ledger import database as database_module
from rasa_coexistence.ledger import schema
from rasa_coexistence.ledger.database import Database, Urgency
from rasa_coexistence.ledger.prepared import at_drivers_speed, savepoint

BODY = as_bytes(live(ANA, ("wamid.A1", "Hola")))


@pytest.fixture
def impatient(books: Books) -> Database:
    """Give a ledger that waits for another's lock a moment only."""
    if books.database.is_sqlite:
        sa.event.listen(books.database.engine, "checkout", _be_impatient)
    return books.database


def _be_impatient(connection: Any, *_others: Any) -> None:
    connection.execute("PRAGMA busy_timeout=20")


@contextmanager
def counted_commits(database: Database) -> Iterator[list[int]]:
    """Count the transactions that were committed."""
    commits: list[int] = []

    def note(_connection: Any) -> None:
        commits.append(1)

    sa.event.listen(database.engine, "commit", note)
    yield commits
    sa.event.remove(database.engine, "commit", note)


@contextmanager
def busy_writers(database: Database) -> Iterator[None]:
    """Keep all writer threads busy, so that what comes meanwhile waits."""
    go_on = threading.Event()

    def wait(_connection: Any) -> None:
        go_on.wait(10)

    waiting = [asyncio.ensure_future(database.write(wait, shares_commit=False)) for _ in database._writers]
    try:
        yield
    finally:
        go_on.set()
        asyncio.get_running_loop().create_task(_ended(waiting))


async def _ended(waiting: Sequence[asyncio.Future[None]]) -> None:
    await asyncio.gather(*waiting)


async def count(database: Database, table: Any = schema.inbox) -> int:
    statement = sa.select(sa.func.count()).select_from(table)
    return await database.read(lambda connection: int(connection.execute(statement).scalar()))


async def test_webhooks_that_come_together_share_one_commit(books: Books) -> None:
    """A commit waits for the disk; one for each webhook would bound them all to a few hundred a second."""
    database = books.database
    with counted_commits(database) as commits:
        with busy_writers(database):
            await asyncio.sleep(0.05)  # each writer has taken its job
            storing = asyncio.ensure_future(accept_at_once(database, [BODY] * 40))
            await asyncio.sleep(0.05)
        ids = await storing
    assert len(set(ids)) == 40
    assert await count(database) == 40
    assert len(commits) - len(database._writers) < 10


async def test_one_that_fails_takes_nobody_along(books: Books) -> None:
    """Strangers share a commit, not each other's faults."""

    def break_after_writing(connection: Any) -> None:
        connection.execute(schema.inbox.insert().values(lane="live", body=b"bad", received_at=0.0))
        raise ValueError("broken")

    with busy_writers(books.database):
        await asyncio.sleep(0.05)
        work = [
            asyncio.ensure_future(accept(books.database, BODY)),
            asyncio.ensure_future(
                books.database.write(break_after_writing, urgency=Urgency.ACCEPT, shares_commit=True)
            ),
            asyncio.ensure_future(accept(books.database, BODY)),
        ]
        await asyncio.sleep(0.05)
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [int, ValueError, int]
    assert [row.body for row in await books.rows(schema.inbox)] == [BODY, BODY]


async def test_meta_is_served_before_customers_and_customers_before_history(books: Books) -> None:
    """Meta wants its 200 in seconds also while months of chat come in."""
    served: list[str] = []
    with busy_writers(books.database):
        await asyncio.sleep(0.05)
        waiting = [
            asyncio.ensure_future(
                books.database.write(lambda _c, name=name: served.append(name), urgency=urgency)
            )
            for name, urgency in [
                ("history", Urgency.BULK),
                ("customer", Urgency.LIVE),
                ("echo", Urgency.READ),
                ("webhook", Urgency.ACCEPT),
            ]
        ]
        await asyncio.sleep(0.05)
    await asyncio.gather(*waiting)
    if books.database.is_sqlite:  # PostgreSQL's writers serve them side by side
        assert served == ["webhook", "echo", "customer", "history"]
    assert len(served) == 4


async def test_a_transaction_is_done_wholly_or_not_at_all(books: Books) -> None:
    """A step that fails must be as if it had never begun."""

    def write_and_fail(connection: Any) -> None:
        connection.execute(schema.inbox.insert().values(lane="live", body=b"x", received_at=0.0))
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await books.database.write(write_and_fail)
    assert await count(books.database) == 0


async def test_readers_do_not_wait_for_writers(books: Books) -> None:
    """A long import must not keep anybody from looking."""
    with busy_writers(books.database):
        await asyncio.sleep(0.05)
        assert await asyncio.wait_for(count(books.database), 2) == 0


async def test_whoever_no_longer_waits_does_not_disturb(books: Books) -> None:
    """A request that is cancelled leaves a transaction without anybody to tell."""
    with busy_writers(books.database):
        await asyncio.sleep(0.05)
        given_up = asyncio.ensure_future(accept(books.database, BODY))
        await asyncio.sleep(0.05)
        given_up.cancel()
    await accept(books.database, BODY)
    assert await count(books.database) in (1, 2)


async def test_a_closed_ledger_says_so(ledger_url: str) -> None:
    """A webhook that comes while the server goes down must be sent again."""
    database = Database(ledger_url)
    database.open()
    await accept(database, BODY)
    await database.close()
    with pytest.raises(LedgerUnavailable):
        await accept(database, BODY)


async def test_what_waits_is_still_written_when_the_ledger_closes(ledger_url: str) -> None:
    """The requests under way get their 200, and it is true."""
    database = Database(ledger_url)
    database.open()
    with busy_writers(database):
        await asyncio.sleep(0.05)
        storing = asyncio.ensure_future(accept_at_once(database, [BODY] * 5))
        await asyncio.sleep(0.05)
        closing = asyncio.ensure_future(database.close())
        await asyncio.sleep(0.05)
    assert len(await storing) == 5
    await closing


async def test_transactions_that_get_in_each_other_s_way_are_repeated(
    postgres_database: str,
) -> None:
    """An echo of our own message, filed while we note that it was sent, is no failure of either."""
    database = Database(postgres_database)
    database.open()
    both = threading.Barrier(2)
    runs: list[str] = []

    def add_numbers(connection: Any, *names: str) -> int:
        runs.append(names[0])
        known = set(connection.execute(sa.select(schema.numbers.c.phone_number_id)).scalars())
        for name in names:
            if name not in known:
                connection.execute(schema.numbers.insert().values(phone_number_id=name, created_at=0.0))
            if len(runs) <= 2:
                with suppress(threading.BrokenBarrierError):
                    both.wait(2)
        return len(known)

    found = await asyncio.gather(
        database.write(add_numbers, "1", "2"),  # they lock each other out,
        database.write(add_numbers, "2", "1"),
    )
    assert sorted(found) == [0, 2]  # and one of them sees what the other wrote
    assert len(runs) > 2
    await database.close()


async def test_commits_are_on_disk(books: Books) -> None:
    """A 200 must survive a power cut, not only a crash of ours."""

    def ask(connection: Any) -> list[str]:
        names = (
            ("PRAGMA journal_mode", "PRAGMA synchronous")
            if books.database.is_sqlite
            else ("SHOW synchronous_commit",)
        )
        return [str(connection.exec_driver_sql(name).scalar()) for name in names]

    wanted = ["wal", "2"] if books.database.is_sqlite else ["on"]
    assert await books.database.write(ask) == wanted


async def test_a_database_that_is_gone_for_a_while_comes_back_by_itself(
    impatient: Database, ledger_url: str
) -> None:
    """An hour of maintenance must not need a restart of Rasa."""
    assert await accept(impatient, BODY)
    with gone(impatient, ledger_url):
        for _ in range(2):
            with pytest.raises(LedgerUnavailable):
                await accept(impatient, BODY)
            if not impatient.is_sqlite:  # SQLite's readers do not mind a writer that holds the lock
                with pytest.raises(LedgerUnavailable):
                    await count(impatient)
    assert await accept(impatient, BODY)
    assert await count(impatient) == 2


@contextmanager
def gone(database: Database, url: str) -> Iterator[None]:
    """Keep everybody out of a database."""
    if database.is_sqlite:
        blocker = sa.create_engine(url, poolclass=sa.pool.NullPool)
        with blocker.connect() as connection:
            connection.exec_driver_sql("BEGIN EXCLUSIVE")
            yield
        return
    parts = sa.engine.make_url(url)
    maintenance = sa.create_engine(
        parts.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool
    )
    with maintenance.connect() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {parts.database} ALLOW_CONNECTIONS false")
        connection.exec_driver_sql(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{parts.database}'"
        )
        yield
        connection.exec_driver_sql(f"ALTER DATABASE {parts.database} ALLOW_CONNECTIONS true")


async def test_a_fail_over_that_leaves_the_old_server_as_a_standby_needs_no_restart(
    postgres_database: str,
) -> None:
    """It keeps its connections, answers whether it is there, and takes nothing any more."""
    database = Database(postgres_database)
    database.open()
    name = sa.engine.make_url(postgres_database).database
    maintenance = sa.create_engine(
        sa.engine.make_url(postgres_database).set(database="postgres"),
        isolation_level="AUTOCOMMIT",
        poolclass=sa.pool.NullPool,
    )
    with maintenance.connect() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        database.engine.dispose()  # from now on all are connected to the standby
        with pytest.raises(LedgerUnavailable):
            await accept(database, BODY)
        connection.exec_driver_sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert await accept(database, BODY)
    await database.close()


async def test_a_server_that_dies_within_a_savepoint_is_told_as_gone(
    postgres_database: str,
) -> None:
    """To undo the part as well must not hide why."""
    database = Database(postgres_database)
    database.open()
    maintenance = sa.create_engine(
        postgres_database, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool
    )

    def die(connection: Any) -> None:
        with savepoint(connection):
            pid = at_drivers_speed(connection, "SELECT pg_backend_pid()", fetch=lambda c: c.fetchone()[0])
            with maintenance.connect() as other:
                other.exec_driver_sql(f"SELECT pg_terminate_backend({pid})")
            at_drivers_speed(connection, "SELECT 1")

    with pytest.raises(LedgerUnavailable):
        await database.write(die)
    assert await accept(database, BODY)
    await database.close()


async def test_a_replica_that_stands_still_does_not_keep_the_others_from_the_ledger_for_ever(
    postgres_database: str,
) -> None:
    """Nor does a server wait for hours for one whose machine died."""
    database = Database(postgres_database)
    with database.engine.connect() as connection:
        connection.rollback()
        shown = connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar()
        told = connection.connection.get_dsn_parameters()
    database.engine.dispose()
    assert (shown, told["tcp_user_timeout"], told["keepalives_idle"]) == ("15s", "20000", "10")


async def test_what_the_database_cannot_follow_does_not_fill_the_memory(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meta sends again what got a 503; what the bot does itself has to go on."""
    monkeypatch.setattr(database_module, "MOST_WAITING", 3)
    with busy_writers(books.database):
        await asyncio.sleep(0.2)
        waiting = [asyncio.ensure_future(accept(books.database, BODY)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(LedgerUnavailable, match="too much waits"):
            await accept(books.database, BODY)
        waiting.append(asyncio.ensure_future(books.database.write(lambda _connection: 1)))
    assert all(await asyncio.gather(*waiting))


async def test_nothing_is_acknowledged_when_the_disk_is_full(tmp_path: Path) -> None:
    """A 200 for what is not on disk is a message lost."""
    with tiny_disk(tmp_path) as make_room:
        database = Database(f"sqlite:///{tmp_path}/ledger.db")
        database.open()
        padded = BODY[:-1] + b" " * 40_000 + b"}"
        stored = await accepted_until_refused(database, padded)
        with pytest.raises(LedgerUnavailable):
            await accept(database, padded)
        assert await count(database) == stored > 0
        make_room()
        assert await accept(database, padded)
        assert await count(database) == stored + 1
        await database.close()


async def accepted_until_refused(database: Database, body: bytes) -> int:
    """Store a body again and again; return how often it went well before the first refusal."""
    stored = 0
    with suppress(LedgerUnavailable):
        while stored < 1000:
            await accept(database, body)
            stored += 1
    return stored


@contextmanager
def tiny_disk(folder: Path) -> Iterator[Callable[[], None]]:
    """Make a folder a disk of four megabytes; where none can be mounted, SQLite's own limit stands in."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode == 0:
        ballast = folder / "ballast"
        ballast.write_bytes(bytes(2_000_000))
        try:
            yield ballast.unlink
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        return
    pages = [400]

    def limit(connection: Any, *_others: Any) -> None:
        connection.execute(f"PRAGMA max_page_count={pages[-1]}")

    sa.event.listen(sa.pool.Pool, "checkout", limit)
    try:
        yield lambda: pages.append(4000)
    finally:
        sa.event.remove(sa.pool.Pool, "checkout", limit)


async def test_opening_again_keeps_what_is_there(books: Books, ledger_url: str) -> None:
    """Each start of Rasa opens the ledger of the last one."""
    await accept(books.database, BODY)
    again = Database(ledger_url)
    again.open()
    assert await count(again) == 1
    await again.close()


async def test_replicas_that_start_together_make_the_tables_once(ledger_url: str) -> None:
    """Several servers of one deployment start in the same second."""
    replicas = [Database(ledger_url) for _ in range(4)]
    await asyncio.gather(*(asyncio.to_thread(replica.open) for replica in replicas))
    for replica in replicas:
        assert await count(replica, schema.schema_version) == 1
        await replica.close()


async def test_a_new_file_that_another_server_writes_to_is_waited_for(tmp_path: Path) -> None:
    """SQLite does not wait by itself when the journal mode of a locked file is to change."""
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    database = Database(f"sqlite:///{tmp_path}/ledger.db")
    opening = asyncio.ensure_future(asyncio.to_thread(database.open))
    await asyncio.sleep(0.2)
    assert not opening.done()
    other.execute("COMMIT")
    other.close()
    await opening
    await database.close()


async def test_an_older_ledger_is_upgraded_step_by_step(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever installs a newer release keeps what they have."""
    database = Database(ledger_url)
    database.open()
    await accept(database, BODY)
    await database.close()

    def add_column(connection: Any) -> None:
        connection.exec_driver_sql("ALTER TABLE coexistence_inbox ADD COLUMN note INTEGER")

    monkeypatch.setattr(schema, "UPGRADES", [*schema.UPGRADES, add_column])
    monkeypatch.setattr(schema, "SCHEMA_VERSION", len(schema.UPGRADES))
    for _ in range(2):  # the second time there is nothing left to do
        newer = Database(ledger_url)
        newer.open()
        assert await count(newer) == 1
        await newer.close()


async def test_a_ledger_of_a_newer_release_is_refused_with_a_sentence(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old release that writes into tables it does not know would ruin them."""
    monkeypatch.setattr(schema, "UPGRADES", [*schema.UPGRADES, lambda connection: None])
    monkeypatch.setattr(schema, "SCHEMA_VERSION", len(schema.UPGRADES))
    newer = Database(ledger_url)
    newer.open()
    await newer.close()
    monkeypatch.undo()
    with pytest.raises(SchemaTooNew, match=r"has schema version \d+, .* install the newer release"):
        Database(ledger_url).open()


async def test_a_database_that_cannot_be_reached_is_told_apart_from_a_wrong_one(tmp_path: Path) -> None:
    """The server goes on trying while the database starts, and ends when it never can."""
    for url in (f"sqlite:///{tmp_path}/missing/ledger.db", "postgresql://nobody@127.0.0.1:9/none"):
        with pytest.raises(LedgerUnavailable):
            Database(url).open()
