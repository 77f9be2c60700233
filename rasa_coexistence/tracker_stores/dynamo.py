"""Put history into Rasa's DynamoDB tracker store: one item a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from rasa.core.utils import replace_decimals_with_floats, replace_floats_with_decimals

from rasa_coexistence.events import JSON
from rasa_coexistence.tracker_stores.contract import (
    History,
    HistoryImporter,
    in_thread,
    until_undisturbed,
    with_history,
)

MAX_BYTES = 128 * 1024  # of 400 KB: all that is said from now on has to find room


class DynamoImporter(HistoryImporter):
    """Puts the item back with its new history, only if its events are still the ones we read."""

    default_cap = 100
    cap_reason = (
        "A DynamoDB item holds 400 KB, and Rasa keeps a whole conversation in one: only the newest 100 old "
        "messages of each go there, and no more than 128 KB; the others stay in the ledger. Set "
        "history.max_messages_per_conversation to change the number, or use an SQL tracker store."
    )
    warning = (
        "Rasa's DynamoDB tracker store keeps a conversation, all its sessions, in one item of at most 400 KB "
        "and cannot save a turn beyond that. Old chat takes up to 128 KB of it. Use an SQL tracker store "
        "instead."
    )

    def __init__(self, store: Any) -> None:
        self._client = store.client  # unlike store.db it may be used from any thread
        self._table_name = store.table_name

    async def replace_history(self, histories: Sequence[History], prepared: Any = None) -> None:
        """Bring each conversation to its history, one after the other."""
        await in_thread(self._replace_all, histories)

    async def forget(self, sender_ids: Sequence[str]) -> None:
        """Delete these conversations."""
        await in_thread(self._delete_all, sender_ids)

    async def read_events(self, sender_id: str) -> list[JSON]:
        """Return the events of all sessions that Rasa still has, oldest first."""
        item = await in_thread(self._read, sender_id)
        events: list[JSON] = replace_decimals_with_floats((item or {}).get("events", []))
        return events

    def _replace_all(self, histories: Sequence[History]) -> None:
        for history in histories:
            until_undisturbed(self._try_to_replace, history)

    def _try_to_replace(self, history: History) -> bool:
        item = self._read(history.sender_id)
        stored = (item or {}).get("events", [])
        events = with_history(stored, _with_decimals(history), max_bytes=MAX_BYTES)
        if events == stored:
            return True
        fresh = {"sender_id": history.sender_id, "name": history.sender_id}
        try:
            self._client.put_item(
                TableName=self._table_name,
                Item=_packed({**(item or fresh), "events": events}),
                **(
                    {"ConditionExpression": "attribute_not_exists(sender_id)"}
                    if item is None
                    else _still(stored)
                ),
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def _read(self, sender_id: str) -> JSON | None:
        answer = self._client.get_item(
            TableName=self._table_name, Key=_packed({"sender_id": sender_id}), ConsistentRead=True
        )
        if "Item" not in answer:
            return None
        unpack = TypeDeserializer().deserialize
        return {name: unpack(value) for name, value in answer["Item"].items()}

    def _delete_all(self, sender_ids: Sequence[str]) -> None:
        for sender_id in sender_ids:
            self._client.delete_item(TableName=self._table_name, Key=_packed({"sender_id": sender_id}))


def _with_decimals(history: History) -> History:
    """Return the same history in the numbers that DynamoDB takes."""
    return History(
        sender_id=history.sender_id,
        make_events=lambda first_live_at: replace_floats_with_decimals(history.make_events(first_live_at)),
    )


def _still(stored: list[JSON]) -> JSON:
    return {
        "ConditionExpression": "#events = :stored",
        "ExpressionAttributeNames": {"#events": "events"},
        "ExpressionAttributeValues": _packed({":stored": stored}),
    }


def _packed(values: JSON) -> JSON:
    pack = TypeSerializer().serialize
    return {name: pack(value) for name, value in values.items()}
