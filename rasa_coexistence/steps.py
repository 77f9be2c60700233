"""Cut what a webhook says into steps that are filed, or set aside, one by one."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any, cast

from msgspec import Struct
from msgspec.structs import replace

from rasa_coexistence import events, identity
from rasa_coexistence.errors import BadRequest
from rasa_coexistence.from_whatsapp import again, reading_webhook
from rasa_coexistence.from_whatsapp.loose import decode
from rasa_coexistence.ledger import (
    address_book,
    filing,
    filing_account,
    filing_echo,
    filing_history,
    filing_rest,
)
from rasa_coexistence.ledger.filing import Place
from rasa_coexistence.ledger.filing_threads import OldChat, file_old_chats, old_chat

THREAD_PART = 125  # messages of one step; with more, a body that is half read would lose some
PEOPLE_STEPS = 1000
CONTACTS = 1000  # of the address book, filed together
CONTACTS_WEIGHT = 500  # messages that take about as long

# Each of our words, and who files it; contacts come by the thousand and are filed together.
FILE_EACH: dict[type, Callable[[Place, Any], None]] = {
    events.CustomerMessage: filing.file_customer_message,
    events.PhoneEcho: filing_echo.file_phone_echo,
    events.StatusChange: filing_rest.file_status,
    events.IdentityChange: filing_rest.file_identity_change,
    events.AccountChange: filing_account.file_account_change,
    events.AccountFault: filing_rest.file_fault,
    events.HistoryMedia: filing_history.file_media,
    events.HistoryDeclined: filing_history.file_declined,
}


class Step(Struct, frozen=True, kw_only=True):
    """A part of a body that is filed, or set aside, as one."""

    file: Callable[[Place], object]
    path: str
    raw: Callable[[], Any]  # what to set aside when it cannot be filed
    webhook: Callable[[], Any]  # a body by which that can be read again
    weight: int  # how many messages, or what takes as long
    aliases: frozenset[str] = frozenset()  # whose thread it is
    people: tuple[events.ContactIds, ...] = ()  # whose order it has a place in
    old_chat: OldChat | None = None  # steps with one can be filed together


class Steps:
    """The steps of one body: read bit by bit as they are needed, let go of bit by bit when they are filed.

    To read ten thousand messages in one go, or to free them, would keep everybody else waiting.
    """

    def __init__(self, steps: Iterable[Step]) -> None:
        self._coming = iter(steps)
        self._ready: deque[Step] = deque()
        self._weight = 0  # of what is ready
        self._gone = 0
        self._people: frozenset[str] | None = None

    def people(self) -> frozenset[str] | None:
        """Return the aliases of everybody whom the steps are about; None when they are too many to look."""
        if self._people is None:
            while len(self._ready) <= PEOPLE_STEPS and self._read_one():
                pass
            if len(self._ready) > PEOPLE_STEPS:
                return None
            contacts = (contact for step in self._ready for contact in step.people)
            self._people = frozenset(alias for contact in contacts for alias in identity.aliases(contact))
        return self._people

    def prepare(self, position: int, budget: int) -> None:
        """Read on until nothing has to be read, while the database is locked, to file so much from it on.

        That is one step beyond: it tells that those before are not the end. ``position`` is a committed one.
        """
        self._forget_until(position)
        while self._weight - self._last_weight < budget and self._read_one():
            pass

    def after(self, position: int, budget: int) -> list[Step]:
        """Return steps from a position on, until they weigh as much as the budget; forget those before."""
        self._forget_until(position)
        part: list[Step] = []
        while budget > 0 and (len(part) < len(self._ready) or self._read_one()):
            part.append(self._ready[len(part)])
            budget -= part[-1].weight
        return part

    def has(self, position: int) -> bool:
        """Tell whether the steps from a position on were not let go of."""
        return position >= self._gone

    def end_at(self, position: int) -> bool:
        """Tell whether there are no steps from a position on."""
        return position >= self._gone + len(self._ready) and not self._read_one()

    def _forget_until(self, position: int) -> None:
        while self._gone < position and (self._ready or self._read_one()):
            self._weight -= self._ready.popleft().weight
            self._gone += 1

    @property
    def _last_weight(self) -> int:
        return self._ready[-1].weight if self._ready else 0

    def _read_one(self) -> bool:
        step = next(self._coming, None)
        if step is None:
            return False
        self._ready.append(step)
        self._weight += step.weight
        return True


def steps_of(body: bytes) -> Iterator[Step]:
    """Cut a body into steps, in order; history threads into parts of bounded size."""
    excerpt = _excerpts(body)
    for index, (kind, run) in enumerate(itertools.groupby(reading_webhook(body), key=type)):
        path = f"part {index + 1} of the webhook"
        if kind is events.HistoryChunk:
            for chunk in run:
                yield from _chunk_steps(cast(events.HistoryChunk, chunk), path, excerpt)
        elif kind is events.ContactChange:
            yield from _contact_steps([*run], path)
        elif kind is events.Unreadable:
            yield from (_unreadable_step(cast(events.Unreadable, event), excerpt) for event in run)
        else:
            yield from (_event_step(FILE_EACH[kind], event, path) for event in run)


def unreadable_body(body: bytes, reason: str) -> Step:
    """Return the one step that keeps a whole body aside."""
    text = body.decode("utf-8", "replace")
    return _unreadable_step(events.Unreadable(reason=reason, path="", raw=text), lambda _path: text)


def _excerpts(body: bytes) -> Callable[[str], Any]:
    """Return what makes a webhook of what stands at a path; the body is only read again for that."""

    @lru_cache(maxsize=1)
    def whole() -> Any:
        try:
            return decode(body)
        except BadRequest:
            return body.decode("utf-8", "replace")

    def excerpt(path: str) -> Any:
        read = whole()
        return read if isinstance(read, str) else again.excerpt(read, path)

    return excerpt


def _bound(file: Callable[..., object], *arguments: Any) -> Callable[[Place], object]:
    return lambda place: file(place, *arguments)


def _event_step(file: Callable[[Place, Any], None], event: Any, path: str) -> Step:
    return Step(
        file=_bound(file, event),
        path=path,
        raw=partial(getattr, event, "raw", event),
        webhook=partial(again.webhook_of, event),
        weight=1,
        people=_people_of(event),
    )


def _unreadable_step(event: events.Unreadable, excerpt: Callable[[str], Any]) -> Step:
    return Step(
        file=_bound(filing_rest.file_unreadable, event, excerpt),
        path=event.path,
        raw=partial(getattr, event, "raw"),
        webhook=partial(excerpt, event.path),
        weight=1,
    )


def _people_of(event: Any) -> tuple[events.ContactIds, ...]:
    match event:
        case events.CustomerMessage() | events.PhoneEcho():
            return (event.contact,)
        case events.IdentityChange():
            return (event.previous, event.current)
    return ()


def _contact_steps(changes: Sequence[Any], path: str) -> Iterator[Step]:
    for start in range(0, len(changes), CONTACTS):
        part = changes[start : start + CONTACTS]
        file = _bound(filing_rest.file_contacts, address_book.pages(part))
        webhook = partial(again.webhook_of_contacts, part)
        yield Step(file=file, path=path, raw=partial(list, part), webhook=webhook, weight=CONTACTS_WEIGHT)


def _chunk_steps(chunk: events.HistoryChunk, path: str, excerpt: Callable[[str], Any]) -> Iterator[Step]:
    about = replace(chunk, threads=[])
    for thread in chunk.threads:
        yield from _thread_steps(about, thread, path)
        if thread.unreadable:
            file = _bound(filing_history.set_aside_messages, thread.unreadable, excerpt)
            weight = len(thread.unreadable)
            yield Step(file=file, path=path, raw=dict, webhook=lambda: None, weight=weight)
    if not chunk.goes_on:
        messages = chunk.earlier + sum(len(thread.messages) for thread in chunk.threads)
        file = _bound(filing_history.file_chunk_end, about, messages)
        webhook = partial(again.webhook_of_chunk, about)
        yield Step(file=file, path=path, raw=webhook, webhook=webhook, weight=1)


def _thread_steps(about: events.HistoryChunk, thread: events.HistoryThread, path: str) -> Iterator[Step]:
    aliases = frozenset(identity.aliases(thread.contact))
    for start in range(0, len(thread.messages), THREAD_PART):
        part = thread.messages[start : start + THREAD_PART]
        chat = old_chat(about.number, thread.contact, part)
        webhook = partial(again.webhook_of_chunk, about, thread.contact, part)
        yield Step(
            file=_bound(file_old_chats, [chat]),
            path=path,
            raw=webhook,
            webhook=webhook,
            weight=len(part),
            aliases=aliases,
            old_chat=chat,
        )
