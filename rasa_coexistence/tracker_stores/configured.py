"""Say what the tracker store that ``endpoints.yml`` names does to old chat, without starting Rasa."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from msgspec import Struct
from rasa.core.tracker_store import SQLTrackerStore, create_engine_kwargs
from rasa.shared.utils.common import class_from_module_path

from rasa_coexistence.errors import CoexistenceError
from rasa_coexistence.tracker_stores import importer_class_for, other
from rasa_coexistence.tracker_stores.contract import HistoryImporter
from rasa_coexistence.tracker_stores.dynamo import DynamoImporter
from rasa_coexistence.tracker_stores.memory import MemoryImporter
from rasa_coexistence.tracker_stores.mongo import MongoImporter
from rasa_coexistence.tracker_stores.redis import RedisImporter
from rasa_coexistence.tracker_stores.sql import SQLImporter
from rasa_coexistence.tracker_stores.tuning import has_index

CONNECT_SECONDS = 3
_KINDS: dict[str, tuple[str, type[HistoryImporter]]] = {  # Rasa's words in lower case, as it compares them
    "sql": ("SQL", SQLImporter),
    "redis": ("Redis", RedisImporter),
    "mongod": ("MongoDB", MongoImporter),
    "dynamo": ("DynamoDB", DynamoImporter),
}
_WITH_TIMEOUT = frozenset({"postgresql", "mysql", "mariadb"})


class UnknownStore(CoexistenceError):
    """Rasa would not find the tracker store that is named, and keep trackers in memory instead."""


class Configured(Struct, frozen=True, kw_only=True):
    """A kind of tracker store."""

    name: str
    is_sql: bool
    warning: str | None  # where it loses history
    cap: int | None  # messages of history that it holds of a chat, where that is bounded
    cap_reason: str | None


def configured(endpoint: Mapping[str, Any] | None) -> Configured:
    """Return which kind ``tracker_store`` of endpoints.yml is; raise UnknownStore."""
    named = _named(endpoint)
    if named is None:
        return _described("in memory", MemoryImporter)
    if named.lower() in _KINDS:
        return _described(*_KINDS[named.lower()])
    own = _own_class(named)
    importer: Any = importer_class_for(own)
    if importer is other.OtherImporter:
        return Configured(
            name=own.__name__,
            is_sql=False,
            warning=other.warning_about(own.__name__),
            cap=None,
            cap_reason=None,
        )
    return _described(own.__name__, importer)


def is_tuned(endpoint: Mapping[str, Any]) -> bool | None:
    """Tell whether an SQL tracker store has our index; None before Rasa has made its table.

    Raise what SQLAlchemy and its drivers raise when the database cannot be reached.
    """
    names = ("dialect", "port", "db", "username", "password", "login_db", "query")
    given = {name: endpoint[name] for name in names if name in endpoint}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sa.exc.SADeprecationWarning)  # Rasa builds the address the old way
        url = sa.engine.make_url(SQLTrackerStore.get_db_url(host=endpoint.get("url"), **given))
    backend = url.get_backend_name()
    if backend == "sqlite" and not Path(url.database or "").is_file():
        return None  # to connect would make an empty one
    options = create_engine_kwargs(url)
    if backend in _WITH_TIMEOUT:
        options.setdefault("connect_args", {})["connect_timeout"] = CONNECT_SECONDS
    engine = sa.create_engine(url, **options)
    try:
        if not sa.inspect(engine).has_table(SQLTrackerStore.SQLEvent.__tablename__):
            return None
        return has_index(engine)
    finally:
        engine.dispose()


def _named(endpoint: Mapping[str, Any] | None) -> str | None:
    given = endpoint or {}
    named = given.get("store_type", given.get("type"))
    return None if named is None else str(named)


def _described(name: str, importer: type[HistoryImporter]) -> Configured:
    return Configured(
        name=name,
        is_sql=importer is SQLImporter,
        warning=importer.warning,
        cap=importer.default_cap,
        cap_reason=importer.cap_reason,
    )


def _own_class(named: str) -> type[Any]:
    here = str(Path.cwd())
    sys.path.insert(0, here)  # as Rasa does
    try:
        found: type[Any] = class_from_module_path(named)
    except Exception as error:  # to import it runs the shop's own code
        raise UnknownStore(
            f"Rasa knows no tracker store of the type {named!r} ({type(error).__name__}), and would "
            "silently keep trackers in memory; write SQL, redis, mongod or dynamo, or the path of a class "
            "that can be imported from this folder"
        ) from error
    finally:
        sys.path.remove(here)
    return found
