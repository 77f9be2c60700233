"""Kill -9 at any moment of an import: the next process goes on, and the tracker is as if nothing had been."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from channels import credentials
from importing_process import Life
from ledgers import NOW, NUMBER, as_bytes
from stores import sql_store, turn_events

from rasa_coexistence.ledger import schema
from rasa_coexistence.ledger.queues import LEASE_SECONDS
from rasa_coexistence.simulator.chats import Chat, Chunk, cut, made_up, shaken

WAMID = re.compile(r'"source":\s*"history",\s*"wamid":\s*"([^"]+)"')
Row = tuple[Any, ...]
Places = Callable[[], tuple[str, str]]  # gives the URLs of a new ledger and a new tracker store


@dataclass(frozen=True, kw_only=True)
class OldChats:
    """A history as Meta delivers it: shuffled, some of it twice."""

    chats: list[Chat]
    chunks: list[Chunk]
    folder: Path

    @property
    def messages(self) -> int:
        return sum(len(chat.messages) for chat in self.chats)

    @property
    def bodies(self) -> dict[int, str]:
        return {number: str(self.folder / f"{number}.json") for number in range(len(self.chunks))}

    @cached_property
    def parts(self) -> dict[str, list[set[str]]]:
        """The wamids of each customer, those of one chunk together."""
        parts: dict[str, list[set[str]]] = {}
        for thread in (thread for chunk in self.chunks for thread in chunk.threads):
            wamids = {message.wamid for message in thread.messages}
            parts.setdefault(str(thread.person.wa_id), []).append(wamids)
        return parts


def old_chats(folder: Path, *, chats: int, messages_each: int) -> OldChats:
    """Make up old chats and write their webhooks into files."""
    made = list(made_up(NUMBER, chats=chats, messages_each=messages_each, now=NOW, days=40))
    chunks = cut(made, now=NOW, messages_per_chunk=chats * messages_each // 16)
    known = OldChats(chats=made, chunks=shaken(chunks, repeats=3), folder=folder)
    for number, chunk in enumerate(known.chunks):
        (folder / f"{number}.json").write_bytes(as_bytes(chunk.webhook(NUMBER)))
    return known


@dataclass(kw_only=True)
class Import:
    """One import, by as many processes as it takes."""

    nursery: subprocess.Popen[bytes]
    old: OldChats
    ledger_url: str
    tracker_url: str
    accepted: set[int] = field(default_factory=set)  # what Meta got a 200 for
    lives: int = 0
    statements: int = 0  # of an undisturbed life

    def live(self, dies_after: int | None = None, dies_seconds_later: float = 0.0) -> bool:
        """Let a process work, with all that Meta has not got a 200 for; return whether it was killed."""
        self.lives += 1
        missing = [(n, body) for n, body in self.old.bodies.items() if n not in self.accepted]
        life = Life(
            credentials=credentials(self.ledger_url, phone_number_id=NUMBER.phone_number_id),
            tracker_url=self.tracker_url,
            bodies=missing,
            phone_number_id=NUMBER.phone_number_id,
            messages=self.old.messages,
            later=self.lives * (LEASE_SECONDS + 1.0),
            dies_after=dies_after,
            dies_seconds_later=dies_seconds_later,
        )
        assert self.nursery.stdin is not None
        self.nursery.stdin.write(msgspec.json.encode(life) + b"\n")
        self.nursery.stdin.flush()
        end = self._end()
        assert end in (0, -signal.SIGKILL)
        return end == -signal.SIGKILL

    def _end(self) -> int:
        """Hear what a life tells of itself, until it ends."""
        assert self.nursery.stdout is not None
        for line in self.nursery.stdout:
            said, number = line.split()
            if said == b"accepted":
                self.accepted.add(int(number))
            elif said == b"statements":
                self.statements = int(number)
            else:
                return int(number)
        raise AssertionError("the nursery is gone")

    def tracker(self) -> list[Row]:
        """Return all that Rasa has, in its order."""
        statement = "SELECT sender_id, type_name, timestamp, intent_name, action_name, data FROM events"
        return _rows(self.tracker_url, f"{statement} ORDER BY sender_id, id")

    def assert_no_mix(self) -> None:
        """Each conversation has all of a chunk or nothing of it, and what was said live before."""
        said: dict[str, list[tuple[bool, str | None, float]]] = {}
        statement = (
            "SELECT sender_id, timestamp, data FROM events WHERE type_name IN ('user', 'bot') ORDER BY id"
        )
        for sender_id, at, data in _rows(self.tracker_url, statement):
            wamid = WAMID.search(data)
            said.setdefault(sender_id, []).append((wamid is None, wamid and wamid.group(1), at))
        for sender_id, of_one in said.items():
            assert [(is_live, at) for is_live, _, at in of_one] == sorted(
                (is_live, at) for is_live, _, at in of_one
            )
            seen = {wamid for _, wamid, _ in of_one if wamid}
            assert len(seen) == sum(not is_live for is_live, _, _ in of_one), "each message once"
            assert all(part <= seen or not part & seen for part in self.old.parts[sender_id])

    def assert_nothing_is_left(self) -> None:
        """All was counted, and nothing waits or was set aside."""
        counted = _rows(
            self.ledger_url,
            f"SELECT sum(history_received), sum(history_imported) FROM {schema.conversations.name}",
        )
        assert counted == [(self.old.messages, self.old.messages)]
        for table in (schema.inbox, schema.set_aside):
            assert _rows(self.ledger_url, f"SELECT count(*) FROM {table.name}") == [(0,)]


def _rows(url: str, statement: str) -> list[Row]:
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(statement)]


@pytest.fixture(scope="module")
def nursery() -> Iterator[subprocess.Popen[bytes]]:
    """Load Rasa once for all processes."""
    script = Path(__file__).parent / "importing_process.py"
    command = [sys.executable, "-W", "ignore", str(script)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as nursery:
        yield nursery


async def kill_again_and_again(
    nursery: subprocess.Popen[bytes], old: OldChats, new_places: Places, *, kills: int, seed: int
) -> None:
    """Import undisturbed; then kill process after process, each import until it is done, and compare."""
    dice = random.Random(seed)

    async def begin() -> Import:
        ledger_url, tracker_url = new_places()
        await speak_before(tracker_url, old)
        return Import(nursery=nursery, old=old, ledger_url=ledger_url, tracker_url=tracker_url)

    undisturbed = await begin()
    assert not undisturbed.live()
    undisturbed.assert_nothing_is_left()
    expected, made = undisturbed.tracker(), 0
    assert sum(row[1] in ("user", "bot") for row in expected) == old.messages + 2 * LIVE_BEFORE
    while made < kills:
        one = await begin()
        # Some processes die in each import before one gets to its end; to start takes a hundred statements.
        while one.live(dice.randint(1, undisturbed.statements // 4), dice.uniform(0, 0.01)):
            made += 1
            assert one.lives < 300, "no process gets to the end any more"
            one.assert_no_mix()
        one.assert_nothing_is_left()
        assert one.tracker() == expected


LIVE_BEFORE = 10


async def speak_before(tracker_url: str, old: OldChats) -> None:
    """Let some customers have spoken with the bot before, by another channel."""
    store = sql_store(tracker_url)
    for chat in old.chats[:LIVE_BEFORE]:
        tracker = await store.get_or_create_tracker(str(chat.person.wa_id), append_action_listen=False)
        for event in turn_events(NOW, new_session=True):
            tracker.update(event)
        await store.save(tracker)
    store.engine.dispose()


async def test_killed_at_thirty_points_of_an_import(nursery: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """20,000 messages: no message is lost, doubled or out of place, and no conversation is half imported."""
    number = iter(range(100))

    def new_places() -> tuple[str, str]:
        folder = tmp_path / str(next(number))
        folder.mkdir()
        return f"sqlite:///{folder}/ledger.db", f"sqlite:///{folder}/rasa.db"

    old = old_chats(tmp_path, chats=200, messages_each=100)
    await kill_again_and_again(nursery, old, new_places, kills=30, seed=1)


@pytest.fixture
def new_databases(postgres_url: str) -> Iterator[Places]:
    """Give a new database each time, for ledger and tracker store both."""
    maintenance = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    names: list[str] = []

    def new() -> tuple[str, str]:
        names.append(f"test_{uuid.uuid4().hex}")
        with maintenance.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {names[-1]}")
        url = sa.engine.make_url(postgres_url).set(database=names[-1])
        return (url.render_as_string(hide_password=False),) * 2

    yield new
    with maintenance.connect() as connection:
        for name in names:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


async def test_killed_on_postgresql(
    nursery: subprocess.Popen[bytes], tmp_path: Path, new_databases: Places
) -> None:
    """There the transaction of the dead ends when the server notices, and several write at once."""
    old = old_chats(tmp_path, chats=40, messages_each=100)
    await kill_again_and_again(nursery, old, new_databases, kills=10, seed=2)
