"""Put history into every kind of Rasa tracker store.

Whoever calls holds the conversation's lease and Rasa's lock. To support another kind of store, write a class
with the methods of ``HistoryImporter`` and name it in ``importer_for``; the suite in
``tests/test_tracker_stores.py`` then says what it must keep.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rasa.core.tracker_store import (
    AwaitableTrackerStore,
    DynamoTrackerStore,
    FailSafeTrackerStore,
    InMemoryTrackerStore,
    MongoTrackerStore,
    RedisTrackerStore,
    SQLTrackerStore,
    TrackerStore,
)

from rasa_coexistence.tracker_stores.contract import History, HistoryImporter
from rasa_coexistence.tracker_stores.dynamo import DynamoImporter
from rasa_coexistence.tracker_stores.memory import MemoryImporter
from rasa_coexistence.tracker_stores.mongo import MongoImporter
from rasa_coexistence.tracker_stores.other import OtherImporter
from rasa_coexistence.tracker_stores.redis import RedisImporter
from rasa_coexistence.tracker_stores.sql import SQLImporter

__all__ = ["History", "HistoryImporter", "importer_for"]

_IMPORTERS: list[tuple[type[TrackerStore], type[HistoryImporter]]] = [
    (SQLTrackerStore, SQLImporter),
    (RedisTrackerStore, RedisImporter),
    (MongoTrackerStore, MongoImporter),
    (DynamoTrackerStore, DynamoImporter),
    (InMemoryTrackerStore, MemoryImporter),
]


def importer_for(store: TrackerStore) -> HistoryImporter:
    """Return what puts history into this store, however Rasa has wrapped it."""
    if isinstance(store, FailSafeTrackerStore):  # it would swallow errors
        store = store._tracker_store
    inner = store._tracker_store if isinstance(store, AwaitableTrackerStore) else store
    importer = importer_class_for(type(inner))
    if importer is OtherImporter:
        return OtherImporter(store if store is not inner else AwaitableTrackerStore(inner))
    return importer(inner)


def importer_class_for(kind: type[Any]) -> Callable[[Any], HistoryImporter]:
    """Return the class of what puts history into stores of this class."""
    return next((importer for known, importer in _IMPORTERS if issubclass(kind, known)), OtherImporter)
