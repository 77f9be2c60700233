"""Kill -9 at any moment of an import: the next process goes on, and the tracker is what it would have been."""

from __future__ import annotations

import asyncio
import random
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
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
from rasa_coexistence.to_rasa import is_history

PATIENCE_SECONDS = 180.0
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

    def parts(self, sender_id: str) -> list[set[str]]:
        """Return the wamids of one customer, those of each chunk together."""
        return [
            {message.wamid for message in thread.messages}
            for chunk in self.chunks
            for thread in chunk.threads
            if thread.person.wa_id == sender_id
        ]


def old_chats(folder: Path, *, chats: int, messages_each: int) -> OldChats:
    """Make up old chats and write their webhooks into files."""
    made = list(made_up(NUMBER, chats=chats, messages_each=messages_each, now=NOW))
    chunks = cut(made, now=NOW, messages_per_chunk=chats * messages_each // 16)
    known = OldChats(chats=made, chunks=shaken(chunks, repeats=3), folder=folder)
    for number, chunk in enumerate(known.chunks):
        (folder / f"{number}.json").write_bytes(as_bytes(chunk.webhook(NUMBER)))
    return known


@dataclass(kw_only=True)
class Import:
    """One import, by as many processes as it takes."""

    nursery: asyncio.subprocess.Process
    old: OldChats
    ledger_url: str
    tracker_url: str
    accepted: set[int] = field(default_factory=set)  # what Meta got a 200 for
    lives: int = 0
    statements: int = 0  # of an undisturbed life

    async def live(self, dies_after: int | None = None, dies_seconds_later: float = 0.0) -> bool:
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
        return await asyncio.wait_for(self._end(), PATIENCE_SECONDS) == -9

    async def _end(self) -> int:
        assert self.nursery.stdout is not None
        async for line in self.nursery.stdout:
            said, number = line.split()
            if said == b"accepted":
                self.accepted.add(int(number))
            elif said == b"statements":
                self.statements = int(number)
            else:
                assert int(number) in (0, -9)
                return int(number)
        raise AssertionError("the nursery is gone")

    def tracker(self) -> list[Row]:
        """Return all that Rasa has, in its order."""
        statement = "SELECT sender_id, type_name, timestamp, intent_name, action_name, data FROM events"
        return _rows(self.tracker_url, f"{statement} ORDER BY sender_id, id")

    def assert_no_mix(self) -> None:
        """Each conversation has all of a chunk or nothing of it, and what was said live before."""
        events: dict[str, list[Any]] = {}
        for sender_id, *_, data in self.tracker():
            events.setdefault(sender_id, []).append(msgspec.json.decode(data))
        for sender_id, of_one in events.items():
            past = [is_history(event) for event in of_one]
            assert past == sorted(past, reverse=True)
            said = [event["metadata"]["whatsapp"].get("wamid") for event in of_one if is_history(event)]
            seen = {wamid for wamid in said if wamid}
            assert len(seen) == sum(1 for wamid in said if wamid), "each message once"
            assert all(part <= seen or not part & seen for part in self.old.parts(sender_id))
            times = [event["timestamp"] for event in of_one]
            assert times == sorted(times)

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


@asynccontextmanager
async def running_nursery() -> AsyncIterator[asyncio.subprocess.Process]:
    """Load Rasa once for all processes."""
    script = Path(__file__).parent / "importing_process.py"
    command = [sys.executable, "-W", "ignore", str(script)]
    pipe = asyncio.subprocess.PIPE
    nursery = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    try:
        yield nursery
    finally:
        assert nursery.stdin is not None
        nursery.stdin.close()
        await nursery.wait()


async def kill_again_and_again(old: OldChats, new_places: Places, *, kills: int, seed: int) -> None:
    """Import undisturbed; then kill process after process, each import until it is done, and compare."""
    dice = random.Random(seed)

    async def begin() -> Import:
        ledger_url, tracker_url = new_places()
        await speak_before(tracker_url, old)
        return Import(nursery=nursery, old=old, ledger_url=ledger_url, tracker_url=tracker_url)

    async with running_nursery() as nursery:
        undisturbed = await begin()
        assert not await undisturbed.live()
        undisturbed.assert_nothing_is_left()
        expected, made = undisturbed.tracker(), 0
        assert sum(row[1] in ("user", "bot") for row in expected) == old.messages + 2 * LIVE_BEFORE
        while made < kills:
            one = await begin()
            # All of an import lies within the reach of the dice; those that come later are near its end.
            while await one.live(dice.randint(1, undisturbed.statements // 6), dice.uniform(0, 0.01)):
                made += 1
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


async def test_killed_at_thirty_points_of_an_import(tmp_path: Path) -> None:
    """20,000 messages: no message is lost, doubled or out of place, and no conversation is half imported."""
    number = iter(range(100))

    def new_places() -> tuple[str, str]:
        folder = tmp_path / str(next(number))
        folder.mkdir()
        return f"sqlite:///{folder}/ledger.db", f"sqlite:///{folder}/rasa.db"

    old = old_chats(tmp_path, chats=200, messages_each=100)
    await kill_again_and_again(old, new_places, kills=30, seed=1)


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


async def test_killed_on_postgresql(tmp_path: Path, new_databases: Places) -> None:
    """There the transaction of the dead ends when the server notices, and several write at once."""
    old = old_chats(tmp_path, chats=40, messages_each=100)
    await kill_again_and_again(old, new_databases, kills=10, seed=2)
