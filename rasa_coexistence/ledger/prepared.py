"""Run a statement that was built once at the driver's speed: SQLAlchemy takes ten times as long for each."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from operator import attrgetter, methodcaller
from typing import Any

import sqlalchemy as sa

Given = Mapping[str, Any]


class Prepared:
    """A statement of SQLAlchemy's, compiled once for each kind of database and set of values.

    What an UPDATE sets are those of the values that are named as its columns. ``IN`` with a list cannot be
    prepared, since SQLAlchemy writes it anew each time: see ``is_among``, and ``one_of`` for constants. An
    INSERT fills in no defaults.
    """

    def __init__(self, statement: Any) -> None:
        self._statement = statement
        self._compiled: dict[tuple[Any, ...], _Compiled] = {}

    def first(self, connection: Any, **given: Any) -> Any:
        """Return the first row, None when there is none."""
        rows = self._rows(connection, given, lambda cursor: [cursor.fetchone()])
        return None if rows[0] is None else rows[0]

    def one(self, connection: Any, **given: Any) -> Any:
        """Return the first row; raise NoResultFound when there is none."""
        row = self.first(connection, **given)
        if row is None:
            raise sa.exc.NoResultFound("no row was found where one was needed")
        return row

    def scalar(self, connection: Any, **given: Any) -> Any:
        """Return the first column of the first row, None when there is none."""
        row = self.first(connection, **given)
        return None if row is None else row[0]

    def all(self, connection: Any, **given: Any) -> list[Any]:
        """Return all rows."""
        return self._rows(connection, given, lambda cursor: cursor.fetchall())

    def tuples(self, connection: Any, **given: Any) -> list[tuple[Any, ...]]:
        """Return all rows as the driver gives them; SQLite has 0 and 1 for no and yes."""
        compiled = self._for(connection, given)
        values, fetch = compiled.values(given), methodcaller("fetchall")
        return list(at_drivers_speed(connection, compiled.sql, values, fetch))

    def run(self, connection: Any, **given: Any) -> int:
        """Change rows; return how many."""
        compiled = self._for(connection, given)
        return int(at_drivers_speed(connection, compiled.sql, compiled.values(given)))

    def _rows(self, connection: Any, given: Given, fetch: Callable[[Any], list[Any]]) -> list[Any]:
        compiled = self._for(connection, given)
        return compiled.rows(
            *at_drivers_speed(
                connection,
                compiled.sql,
                compiled.values(given),
                lambda cursor: (fetch(cursor), cursor.description),
            )
        )

    def _for(self, connection: Any, given: Given) -> _Compiled:
        key = (connection.dialect.name, *given)
        compiled = self._compiled.get(key)
        if compiled is None:
            compiled = self._compiled[key] = _Compiled(self._statement, connection.dialect, given)
        return compiled


class _Compiled:
    """What one kind of database is told."""

    def __init__(self, statement: Any, dialect: Any, given: Given) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=list(given))
        self.sql = str(compiled)
        if "POSTCOMPILE" in self.sql:
            raise TypeError(f"a list cannot be prepared: {self.sql}")
        self._fixed = {n: v for n, v in compiled.construct_params(dict(given)).items() if n not in given}
        self._order = tuple(compiled.positiontup) if compiled.positional else None
        self._row: Callable[[Sequence[Any]], Any] | None = None
        self._odd = _odd_columns(statement, dialect)

    def values(self, given: Given) -> Any:
        """Return the values as the driver takes them."""
        values = {**self._fixed, **given}
        return values if self._order is None else tuple([values[name] for name in self._order])

    def rows(self, found: Sequence[Any], description: Any) -> list[Any]:
        """Return rows whose columns go by their names."""
        if self._row is None:
            names = [column[0] for column in description]
            row: Any = namedtuple("Row", names, rename=True)  # type: ignore[misc]
            self._row = row._make
        if self._odd:
            found = [row and self._put_right(row) for row in found]
        return [row and self._row(row) for row in found]

    def _put_right(self, row: Sequence[Any]) -> list[Any]:
        values = list(row)
        for place, read in self._odd:
            if values[place] is not None:
                values[place] = read(values[place])
        return values


def at_drivers_speed(
    connection: Any, sql: str, values: Any = (), fetch: Callable[[Any], Any] = attrgetter("rowcount")
) -> Any:
    """Run a statement in the transaction under way; raise what SQLAlchemy would."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(sql, values)
        return fetch(cursor)
    except connection.dialect.dbapi.Error as error:
        raise _as_of_sqlalchemy(connection, cursor, error) from error
    finally:
        cursor.close()


def is_from_standby(error: BaseException | None) -> bool:
    """Tell whether a server takes nothing: after a fail-over it keeps its connections, and answers."""
    return getattr(error, "pgcode", None) == "25006"


@contextmanager
def savepoint(connection: Any) -> Iterator[None]:
    """Undo what is done within if it fails."""
    at_drivers_speed(connection, "SAVEPOINT part")
    try:
        yield
    except BaseException:
        if not connection.invalidated:  # else all is undone, and what went wrong must be told as it is
            at_drivers_speed(connection, "ROLLBACK TO SAVEPOINT part")
            at_drivers_speed(connection, "RELEASE SAVEPOINT part")
        raise
    at_drivers_speed(connection, "RELEASE SAVEPOINT part")


def one_of(column: Any, values: Sequence[Any]) -> Any:
    """Return the condition that a column has one of some values, in a form that can be prepared."""
    return sa.or_(*(column == value for value in values))


_SOME = tuple(f"some{place}" for place in range(64))


def is_among(column: Any) -> Any:
    """Return the condition that a column has one of the values of a page of ``pages``."""
    return column.in_([sa.bindparam(name) for name in _SOME])


def pages(values: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Yield values in pages of always the same size, the last of them repeated: so they can be prepared."""
    for start in range(0, len(values), len(_SOME)):
        page = values[start : start + len(_SOME)]
        yield dict(zip(_SOME, (*page, *repeat(page[-1], len(_SOME) - len(page))), strict=True))


def _odd_columns(statement: Any, dialect: Any) -> list[tuple[int, Callable[[Any], Any]]]:
    """Return the columns that a driver gives otherwise than Python has them, with how to read them."""
    odd: type[Any] = sa.Boolean if dialect.name == "sqlite" else sa.LargeBinary  # 0 and 1; memoryview
    read: Callable[[Any], Any] = bool if odd is sa.Boolean else bytes
    columns = getattr(statement, "selected_columns", ())
    return [(place, read) for place, column in enumerate(columns) if isinstance(column.type, odd)]


def _as_of_sqlalchemy(connection: Any, cursor: Any, error: Exception) -> Exception:
    dialect = connection.dialect
    is_standby = is_from_standby(error)
    is_gone = is_standby or dialect.is_disconnect(error, connection.connection, cursor)
    if is_gone:
        connection.invalidate(error)
    if is_gone:
        connection.engine.dispose()  # the other connections lead there as well, and seem fine
    raised: Exception = sa.exc.DBAPIError.instance(
        None,
        None,
        error,
        dialect.dbapi.Error,
        hide_parameters=True,
        connection_invalidated=is_gone,
        dialect=dialect,
    )
    return raised
