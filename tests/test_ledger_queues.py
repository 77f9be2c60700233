"""Who works on which conversation: one at a time, and never nobody for long."""

from __future__ import annotations

import asyncio

import pytest
from ledgers import ANA, BEN, NOW, Books, live
from msgspec.structs import replace
from sqlalchemy import update

from rasa_coexistence.errors import LeaseLost
from rasa_coexistence.ledger import queues
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.ledger.queues import IMPORT, LEASE_SECONDS, SEND, TALK
from rasa_coexistence.ledger.schema import conversations
from rasa_coexistence.simulator.state import Person


@pytest.fixture
async def busy(books: Books) -> Books:
    """Let Ana write: her conversation is due."""
    await books.tell(live(ANA, ("wamid.A1", "Hola")))
    return books


async def release(books: Books, lease: queues.Lease, due_at: float | None = None) -> None:
    await books.database.write(queues.release, lease, due_at=due_at)


async def wake(books: Books, queue: str, lease: queues.Lease) -> None:
    await books.database.write(queues.wake, queue, [lease.conversation_id], at=books.clock())


async def test_what_is_not_due_is_not_claimed(busy: Books) -> None:
    """A conversation that waits for its takeover to end must not be worked on before."""
    [lease] = await busy.claim(TALK)
    await release(busy, lease, due_at=NOW + 60)
    assert await busy.claim(TALK) == []
    busy.clock.move(60)
    assert len(await busy.claim(TALK)) == 1


async def test_a_conversation_is_claimed_once_however_many_ask(busy: Books, ledger_url: str) -> None:
    """Two replicas that answer the same customer would answer twice."""
    people = [Person(wa_id=f"52155500001{number:02}") for number in range(40)]
    await busy.tell(*(live(person, (f"wamid.{person.wa_id}", "Hola")) for person in people))
    replica = Database(ledger_url)
    replica.open()
    claims = await asyncio.gather(
        *(
            database.write(queues.claim, TALK, owner=f"owner{number}", now=NOW, limit=7)
            for number in range(8)
            for database in (busy.database, replica)
        )
    )
    await replica.close()
    claimed = [lease.conversation_id for leases in claims for lease in leases]
    assert len(claimed) == len(set(claimed)) == 41


async def test_the_lease_of_a_dead_process_runs_out(busy: Books) -> None:
    """What a killed process was doing must be done by somebody, without anybody's help."""
    [dead] = await busy.claim(TALK, owner="dead")
    assert await busy.claim(TALK, owner="heir") == []
    busy.clock.move(LEASE_SECONDS + 0.1)
    [heir] = await busy.claim(TALK, owner="heir")
    assert heir.conversation_id == dead.conversation_id


async def test_who_lost_a_lease_cannot_write(busy: Books) -> None:
    """A process that was suspended and wakes up must not finish what another has taken over."""
    [late] = await busy.claim(TALK, owner="late")
    busy.clock.move(LEASE_SECONDS + 0.1)
    [heir] = await busy.claim(TALK, owner="heir")
    with pytest.raises(LeaseLost):
        await busy.database.write(queues.check, late, now=busy.clock())
    await release(busy, late)
    await busy.database.write(queues.check, heir, now=busy.clock())
    assert await busy.claim(TALK) == []


async def test_a_lease_that_ran_out_does_not_hold_though_nobody_took_it(busy: Books) -> None:
    """Between the check and the end of its transaction somebody else could begin."""
    [lease] = await busy.claim(TALK)
    busy.clock.move(LEASE_SECONDS + 0.1)
    with pytest.raises(LeaseLost):
        await busy.database.write(queues.check, lease, now=busy.clock())


async def test_a_renewed_lease_holds(busy: Books) -> None:
    """A turn may take minutes: an action calls a slow shop system."""
    [lease] = await busy.claim(TALK, owner="slow")
    for _ in range(5):
        busy.clock.move(LEASE_SECONDS - 1)
        await busy.database.write(queues.renew, [lease], now=busy.clock())
    await busy.database.write(queues.check, lease, now=busy.clock())
    assert await busy.claim(TALK) == []


async def test_a_lease_that_ran_out_is_not_renewed(busy: Books) -> None:
    """Somebody may have begun to work on what it guarded, and have finished."""
    [lease] = await busy.claim(TALK, owner="late")
    busy.clock.move(LEASE_SECONDS + 0.1)
    await busy.database.write(queues.renew, [lease], now=busy.clock())
    with pytest.raises(LeaseLost):
        await busy.database.write(queues.check, lease, now=busy.clock())


async def test_a_lease_is_renewed_only_by_who_has_it(busy: Books) -> None:
    """The lease of a dead process, or of a visit that is over, would never run out."""
    [dead] = await busy.claim(TALK, owner="dead")
    busy.clock.move(LEASE_SECONDS - 1)
    other = replace(dead, token="alive:1")
    await busy.database.write(queues.renew, [other], now=busy.clock())
    busy.clock.move(2)
    assert len(await busy.claim(TALK, owner="alive")) == 1


async def test_a_conversation_without_news_rests_after_its_visit(busy: Books) -> None:
    """Idle conversations cost nothing."""
    [lease] = await busy.claim(TALK)
    await release(busy, lease)
    busy.clock.move(10 * LEASE_SECONDS)
    assert await busy.claim(TALK) == []


@pytest.mark.parametrize("queue", [TALK, SEND, IMPORT])
@pytest.mark.parametrize("seconds", [0.0, 1.0, LEASE_SECONDS + 5])
async def test_what_comes_during_a_visit_is_due_after_it(busy: Books, queue: str, seconds: float) -> None:
    """A message that arrives just as a visit ends must not wait for the next one, however long it took."""
    due = {f"{queue}_due_at": NOW}
    statement = update(conversations).values(**due)
    await busy.database.write(lambda connection: connection.execute(statement).rowcount)
    [lease] = await busy.claim(queue, owner="slow")
    for _ in range(int(seconds // (LEASE_SECONDS - 1)) + 1):
        busy.clock.move(min(seconds, LEASE_SECONDS - 1))
        await busy.database.write(queues.renew, [lease], now=busy.clock())
    await wake(busy, queue, lease)
    await release(busy, lease)
    assert len(await busy.claim(queue)) == 1


async def test_what_comes_during_a_visit_is_not_put_off(busy: Books) -> None:
    """A visit that failed is tried again later, but news come first."""
    [lease] = await busy.claim(TALK)
    await wake(busy, TALK, lease)
    await release(busy, lease, due_at=NOW + 3600)
    assert len(await busy.claim(TALK)) == 1


async def test_news_of_a_dead_process_are_not_lost(busy: Books) -> None:
    """Its lease still stands when they come."""
    [lease] = await busy.claim(TALK, owner="dead")
    await wake(busy, TALK, lease)
    busy.clock.move(LEASE_SECONDS + 0.1)
    assert len(await busy.claim(TALK)) == 1


async def test_turns_and_imports_exclude_each_other_and_sending_goes_beside_them(busy: Books) -> None:
    """An import during a turn makes Rasa's SQL store drop or double events; a slow turn may already speak."""
    due = {"import_due_at": NOW, "send_due_at": NOW}
    statement = update(conversations).values(**due)
    await busy.database.write(lambda connection: connection.execute(statement).rowcount)
    [turn] = await busy.claim(TALK)
    assert await busy.claim(IMPORT) == []
    assert len(await busy.claim(SEND)) == 1
    await release(busy, turn)
    [_import] = await busy.claim(IMPORT)
    await wake(busy, TALK, turn)
    assert await busy.claim(TALK) == []


async def test_a_process_that_stops_leaves_its_work_to_others_at_once(busy: Books) -> None:
    """A restart for an update must not cost the customer the length of a lease."""
    await busy.claim(TALK, owner="stopping")
    await busy.claim(SEND, owner="stopping")
    await busy.database.write(queues.release_all, "stopping", now=busy.clock())
    assert len(await busy.claim(TALK)) == 1


async def test_who_waits_longest_comes_first(busy: Books) -> None:
    """A busy number must not starve anybody."""
    busy.clock.move(1)
    await busy.tell(live(BEN, ("wamid.B1", "Hola")))
    first = await busy.claim(TALK, limit=1)
    assert first[0].conversation_id == (await busy.conversation(ANA)).id
