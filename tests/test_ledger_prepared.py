"""Prepared statements say and raise what SQLAlchemy would, only sooner."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from ledgers import ANA, Books, live

from rasa_coexistence.ledger import dialects
from rasa_coexistence.ledger.prepared import (
    Prepared,
    at_drivers_speed,
    is_among,
    one_of,
    pages,
    savepoint,
)
from rasa_coexistence.ledger.schema import aliases, inbox, messages, numbers

WAMID = messages.c.wamid == sa.bindparam("of")


async def test_rows_are_what_sqlalchemy_gives(books: Books) -> None:
    """Booleans are no numbers and bytes no memory views, whatever the driver gives."""
    await books.tell(live(ANA, ("wamid.1", "Hola")))
    await books.accept(live(ANA, ("wamid.2", "¿Abren hoy?")))

    def compare(connection: Any) -> None:
        for statement in (sa.select(messages), sa.select(inbox), sa.select(numbers)):
            theirs = connection.execute(statement).all()
            ours = Prepared(statement).all(connection)
            assert [row._asdict() for row in ours] == [dict(row._mapping) for row in theirs]
            assert [[type(value) for value in row] for row in ours] == [
                [type(value) for value in row] for row in theirs
            ]

    await books.database.read(compare)


async def test_values_are_set_by_the_names_of_columns(books: Books) -> None:
    """The same statement may set one column now and two the next time."""
    await books.tell(live(ANA, ("wamid.1", "Hola"), ("wamid.2", "Hola")))
    change = Prepared(messages.update().where(WAMID))

    def write(connection: Any) -> list[int]:
        return [
            change.run(connection, of="wamid.1", text="1"),
            change.run(connection, of="wamid.2", text="2", revoked=True),
            change.run(connection, of="wamid.3", text="3"),
        ]

    assert await books.database.write(write) == [1, 1, 0]
    assert [(row.text, row.revoked) for row in await books.rows(messages)] == [("1", False), ("2", True)]


async def test_nothing_found_is_none_or_an_error(books: Books) -> None:
    """A row that must be there is not made up."""
    found = Prepared(sa.select(messages.c.id).where(WAMID))

    def read(connection: Any) -> None:
        assert found.first(connection, of="wamid.1") is None
        assert found.scalar(connection, of="wamid.1") is None
        assert found.all(connection, of="wamid.1") == []
        with pytest.raises(sa.exc.NoResultFound):
            found.one(connection, of="wamid.1")

    await books.database.read(read)


async def test_one_of_several_values(books: Books) -> None:
    """Lists are written out once, as conditions."""
    await books.tell(live(ANA, *((f"wamid.{text}", text) for text in "abc")))
    some = Prepared(sa.select(messages.c.text).where(one_of(messages.c.text, ["a", "c"])))
    assert [row.text for row in await books.database.read(some.all)] == ["a", "c"]
    listed = Prepared(sa.select(messages.c.text).where(messages.c.text.in_(["a", "c"])))
    with pytest.raises(TypeError, match="a list cannot be prepared"):
        await books.database.read(listed.all)


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
async def test_many_values_go_page_by_page(books: Books, count: int) -> None:
    """A page has always the same number of values, so that it is one statement."""
    await books.tell(live(ANA, *((f"wamid.{number}", str(number)) for number in range(count))))
    some = Prepared(sa.select(messages.c.text).where(is_among(messages.c.wamid)))
    wanted = [f"wamid.{number}" for number in range(0, count, 2)]

    def read(connection: Any) -> list[str]:
        return [text for page in pages(wanted) for (text,) in some.tuples(connection, **page)]

    assert sorted(await books.database.read(read)) == sorted(str(number) for number in range(0, count, 2))


async def test_rows_go_in_few_statements(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a round trip to a server, and in SQLite one more wait for Python's lock."""
    statements: list[str] = []

    def counting(connection: Any, sql: str, *values: Any) -> Any:
        statements.append(sql)
        return at_drivers_speed(connection, sql, *values)

    monkeypatch.setattr(dialects, "at_drivers_speed", counting)
    columns = ("phone_number_id", "alias", "conversation_id")

    def write(connection: Any, count: int) -> int:
        rows = [("1", f"phone:{count}{number}", number) for number in range(count)]
        return dialects.bulk_insert(connection, aliases, columns, rows)

    for count, most in ((15, 1), (50, 1), (999, 6)):
        statements.clear()
        assert await books.database.write(write, count) == count
        assert len([sql for sql in statements if sql.startswith("INSERT")]) <= most
    assert len(await books.rows(aliases)) == 15 + 50 + 999


@pytest.mark.parametrize("count", [0, 1, 700])
async def test_each_row_gets_its_own_number(books: Books, count: int) -> None:
    """However many they are, and no other row is touched."""
    await books.tell(live(ANA, *((f"wamid.{number}", "Hola") for number in range(count + 1))))
    numbers_of = {row.id: row.id + 5 for row in (await books.rows(messages))[:count]}
    await books.database.write(dialects.update_each, messages, numbers_of, "sent_at = {} + 0.5, status = 'x'")
    found = {row.id: row.sent_at for row in await books.rows(messages) if row.status == "x"}
    assert found == {id_: number + 0.5 for id_, number in numbers_of.items()}


async def test_what_the_database_refuses_is_raised_as_sqlalchemy_raises_it(books: Books) -> None:
    """Whoever decides by the kind of error must not see the driver's own."""
    again = Prepared(aliases.insert().values(phone_number_id="1", alias="phone:1", conversation_id=1))
    broken = Prepared(sa.select(messages.c.id).where(sa.text("no_such_column = 1")))
    await books.database.write(again.run)
    with pytest.raises(sa.exc.IntegrityError):
        await books.database.write(again.run)

    def read(connection: Any) -> None:
        with pytest.raises(sa.exc.DBAPIError):
            broken.all(connection)

    await books.database.read(read)


async def test_a_part_that_fails_is_undone_and_the_rest_stays(books: Books) -> None:
    """What one item of a webhook wrote goes with it, its neighbours stay."""
    insert = Prepared(aliases.insert().values(phone_number_id="1", conversation_id=1))

    def write_badly(connection: Any, alias: str) -> None:
        with savepoint(connection):
            insert.run(connection, alias=alias)
            insert.run(connection, alias="2")

    def write(connection: Any) -> None:
        insert.run(connection, alias="1")
        with savepoint(connection):
            insert.run(connection, alias="2")
        for alias in "34":
            with pytest.raises(sa.exc.IntegrityError):
                write_badly(connection, alias)
        insert.run(connection, alias="5")

    await books.database.write(write)
    assert [row.alias for row in await books.rows(aliases)] == ["1", "2", "5"]
