"""Write on the two phones: the customer's and the owner's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rasa_coexistence.simulator import webhooks
from rasa_coexistence.simulator.refusals import Refusal
from rasa_coexistence.simulator.samples import sample
from rasa_coexistence.simulator.state import JSON, Number, Person

if TYPE_CHECKING:
    from rasa_coexistence.simulator.simulator import Simulator

Item = tuple[Person, JSON]


def reaction(target: str, emoji: str | None) -> JSON:
    """Describe a reaction; without emoji it is taken back."""
    return {"message_id": target} | ({"emoji": emoji} if emoji else {})


def edit(target: str, text: str) -> JSON:
    """Describe a text that was changed."""
    changed = {"context": {"id": "M0"}, "type": "text", "text": {"body": text}}
    return {"original_message_id": target, "message": changed}


class CustomerPhone:
    """A customer with WhatsApp; every verb returns the new message's wamid once it was posted."""

    def __init__(self, simulator: Simulator, person: Person) -> None:
        self.person = simulator.sending.introduce(person)
        self._simulator = simulator

    def compose(
        self,
        kind: str = "text",
        content: Any = None,
        *,
        number: Number | None = None,
        at: float | None = None,
        wamid: str | None = None,
        **others: Any,
    ) -> Item:
        """Write a message without posting it; several may go into one webhook (``deliver``)."""
        number = number or self._simulator.number
        kind, usual = sample(kind)
        at = self._simulator.clock.now() if at is None else at
        sending = self._simulator.sending
        chat = self.person.shown_wa_id or self.person.key
        wamid = wamid or sending.new_wamid(chat, kind, from_business=False, at=at)
        if kind == "unsupported":
            others.setdefault("errors", [Refusal(131051).item()])
        sending.rates.customer_wrote(number.phone_number_id, self.person.key, at)
        content = usual if content is None else content
        return self.person, webhooks.message(wamid, at, kind, content, **others)

    async def sends(self, kind: str, content: Any = None, **others: Any) -> str:
        """Send a message of any type; ``others`` as for ``compose``."""
        number = others.get("number") or self._simulator.number
        item = self.compose(kind, content, **others)
        await self._simulator.post(webhooks.inbound(number, [item]))
        return str(item[1]["id"])

    async def writes(self, text: str, **others: Any) -> str:
        """Send a text."""
        return await self.sends("text", {"body": text}, **others)

    async def presses(self, button_id: str, title: str, *, of: str | None = None, **others: Any) -> str:
        """Press a button of the message ``of``."""
        content = {"type": "button_reply", "button_reply": {"id": button_id, "title": title}}
        return await self.sends("interactive", content, context=self._quote(of), **others)

    async def chooses(self, row_id: str, title: str, *, of: str | None = None, **others: Any) -> str:
        """Choose a row of a list."""
        content = {"type": "list_reply", "list_reply": {"id": row_id, "title": title}}
        return await self.sends("interactive", content, context=self._quote(of), **others)

    async def reacts(self, emoji: str | None, *, to: str, **others: Any) -> str:
        """React to a message, or take the reaction back."""
        return await self.sends("reaction", reaction(to, emoji), **others)

    async def edits(self, target: str, text: str, **others: Any) -> str:
        """Change the text of an earlier message."""
        return await self.sends("edit", edit(target, text), **others)

    async def revokes(self, target: str, **others: Any) -> str:
        """Delete an earlier message for everyone."""
        return await self.sends("revoke", {"original_message_id": target}, **others)

    async def sends_something_hidden(self, **others: Any) -> str:
        """Send what Meta does not show to coexistence apps (131060)."""
        return await self.sends("unsupported", errors=[Refusal(131060).item()], **others)

    def _quote(self, wamid: str | None) -> JSON | None:
        return {"from": self._simulator.number.display_phone_number, "id": wamid} if wamid else None


async def deliver(simulator: Simulator, *items: Item, number: Number | None = None, entries: int = 1) -> None:
    """Post composed messages in one body, over this many entries."""
    number = number or simulator.number
    share = -(-len(items) // entries)
    groups = [items[start : start + share] for start in range(0, len(items), share)]
    await simulator.post(*(webhooks.inbound(number, group) for group in groups), entries=entries)


class OwnerPhone:
    """The business's own phone; every verb returns the new message's wamid once it was posted."""

    def __init__(self, simulator: Simulator, number: Number) -> None:
        self.number = number
        self._simulator = simulator

    async def sends(
        self,
        to: CustomerPhone | Person | str,
        kind: str,
        content: Any = None,
        *,
        at: float | None = None,
        wamid: str | None = None,
        **others: Any,
    ) -> str:
        """Send a message of any type."""
        person = self._person(to)
        kind, usual = sample(kind)
        at = self._simulator.clock.now() if at is None else at
        chat = person.shown_wa_id or person.key
        wamid = wamid or self._simulator.sending.new_wamid(chat, kind, from_business=True, at=at)
        described = webhooks.message(wamid, at, kind, usual if content is None else content, **others)
        self._simulator.sending.rates.count(self.number.phone_number_id, at)
        await self._simulator.post(webhooks.echo(self.number, person, described))
        return wamid

    async def writes(self, to: CustomerPhone | Person | str, text: str, **others: Any) -> str:
        """Type a text."""
        return await self.sends(to, "text", {"body": text}, **others)

    async def greets_by_itself(self, to: CustomerPhone | Person | str, text: str, **others: Any) -> str:
        """Let the app send its automatic greeting."""
        return await self.writes(to, text, message_creation_type="created_by_1p_bot", **others)

    async def reacts(
        self, to: CustomerPhone | Person | str, emoji: str | None, *, target: str, **others: Any
    ) -> str:
        """React to a message."""
        return await self.sends(to, "reaction", reaction(target, emoji), **others)

    async def edits(self, to: CustomerPhone | Person | str, target: str, text: str, **others: Any) -> str:
        """Change the text of an earlier message."""
        return await self.sends(to, "edit", edit(target, text), **others)

    async def revokes(self, to: CustomerPhone | Person | str, target: str, **others: Any) -> str:
        """Delete an earlier message for everyone."""
        return await self.sends(to, "revoke", {"original_message_id": target}, **others)

    async def saves(self, *people: Person, at: float | None = None) -> None:
        """Put people into the address book, or change their names."""
        await self._change_contacts(people, removed=False, at=at)

    async def forgets(self, *people: Person, at: float | None = None) -> None:
        """Remove people from the address book."""
        await self._change_contacts(people, removed=True, at=at)

    async def _change_contacts(self, people: tuple[Person, ...], *, removed: bool, at: float | None) -> None:
        at = self._simulator.clock.now() if at is None else at
        changes = [(person, removed, at) for person in people]
        await self._simulator.post(webhooks.state_sync(self.number, changes))

    def _person(self, to: CustomerPhone | Person | str) -> Person:
        if isinstance(to, CustomerPhone):
            return to.person
        return self._simulator.sending.person(to) if isinstance(to, str) else to
