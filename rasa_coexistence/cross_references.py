"""Find the old messages that reactions and quotes are about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rasa_coexistence.events import JSON
from rasa_coexistence.identity import inner_id
from rasa_coexistence.records import StoredMessage


class Targets:
    """Messages by the wamids that others call them by: exactly, else by the inner id if only one has it."""

    def __init__(self, messages: Iterable[StoredMessage]) -> None:
        self._by_wamid = {message.wamid: message for message in messages}
        self._by_inner_id: dict[str, StoredMessage | None] | None = None  # made when it is needed

    def find(self, wamid: str) -> StoredMessage | None:
        """Return the message that a wamid means, or None when it is not here."""
        exact = self._by_wamid.get(wamid)
        inner = None if exact is not None else inner_id(wamid)
        return exact if inner is None else self._inner().get(inner)

    def _inner(self) -> dict[str, StoredMessage | None]:
        if self._by_inner_id is None:
            self._by_inner_id = {}
            for message in self._by_wamid.values():
                inner = inner_id(message.wamid)
                if inner is not None:
                    self._by_inner_id[inner] = None if inner in self._by_inner_id else message
        return self._by_inner_id


def reactions(given: Sequence[StoredMessage], targets: Targets) -> dict[str, list[JSON]]:
    """Return what stands under each message in the end: one reaction a side, the newest, unless removed.

    ``given`` are the reactions, oldest first.
    """
    newest: dict[tuple[str, str], str | None] = {}
    for reaction in given:
        content = reaction.content
        target = None if content is None or content.target is None else targets.find(content.target)
        if content is not None and target is not None:
            side = "business" if reaction.from_business else "customer"
            newest[target.wamid, side] = content.emoji
    standing: dict[str, list[JSON]] = {}
    for (wamid, side), emoji in sorted(newest.items(), key=lambda item: item[0]):
        if emoji:
            standing.setdefault(wamid, []).append({"emoji": emoji, "from": side})
    return standing


def with_quoted_text(context: JSON, targets: Targets) -> JSON:
    """Return what a message quotes, with the text and the side of it where the quoted message is here."""
    wamid = context.get("id")
    quoted = targets.find(wamid) if isinstance(wamid, str) else None
    if quoted is None or quoted.text is None:
        return context
    return {**context, "text": quoted.text, "role": "business" if quoted.from_business else "customer"}
