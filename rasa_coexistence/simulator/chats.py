"""Make up old chats, and cut them into the pieces that Meta sends."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rasa_coexistence.identity import make_wamid
from rasa_coexistence.simulator import webhooks
from rasa_coexistence.simulator.refusals import Refusal
from rasa_coexistence.simulator.state import JSON, Number, Person, Webhook, person

DAY = 86_400
PHASES = (1, 90, 180)  # days before the onboarding at which each phase ends
WORDS = ("hola", "gracias", "mochila", "en", "azul", "cuánto", "cuesta", "el", "envío", "mañana", "👍")


@dataclass(frozen=True, slots=True, kw_only=True)
class OldMessage:
    """One message of an old chat."""

    wamid: str
    from_business: bool
    at: float
    text: str = ""
    kind: str = "text"
    content: JSON | None = None  # instead of the text
    status: str = "read"

    def described(self) -> JSON:
        """Return it as Meta writes it."""
        content = {"body": self.text} if self.kind == "text" and self.content is None else self.content
        return webhooks.message(self.wamid, self.at, self.kind, content)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """What one customer and the business wrote, oldest first."""

    person: Person
    messages: tuple[OldMessage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of the history as one webhook carries it."""

    phase: int
    chunk_order: int
    progress: int
    threads: tuple[Chat, ...]

    def webhook(self, number: Number) -> Webhook:
        """Return it as Meta tells it, newest message first."""
        threads = [
            webhooks.thread(
                number,
                chat.person,
                ((one.from_business, one.described(), one.status) for one in reversed(chat.messages)),
            )
            for chat in self.threads
        ]
        return webhooks.history_chunk(
            number, phase=self.phase, chunk_order=self.chunk_order, progress=self.progress, threads=threads
        )


def old_message(
    chat: Person, business_phone: str, inner: str, at: float, text: str, *, from_business: bool
) -> OldMessage:
    """Return one old text; what the business wrote is scoped to its own number, as seen in the field."""
    scope = business_phone if from_business else chat.wa_id or chat.key
    wamid = make_wamid(scope, inner, from_business=from_business)
    return OldMessage(wamid=wamid, from_business=from_business, at=at, text=text)


def made_up(
    number: Number, *, chats: int, messages_each: int, now: float, days: float = 180, seed: int = 1
) -> Iterator[Chat]:
    """Make up chats of customers and the business; the same seed gives the same."""
    dice = random.Random(seed)
    for index in range(chats):
        somebody = person(f"52155{10_000_000 + index}", f"Customer {index + 1}")
        ages = sorted((dice.uniform(0.1, days) for _ in range(messages_each)), reverse=True)
        yield Chat(
            person=somebody,
            messages=tuple(
                old_message(
                    somebody,
                    number.display_phone_number,
                    f"{seed:04X}{index:08X}{position:08X}",
                    float(int(now - age * DAY)),
                    " ".join(dice.choices(WORDS, k=dice.randint(1, 9))),
                    from_business=dice.random() < 0.5,
                )
                for position, age in enumerate(ages)
            ),
        )


def cut(chats: Iterable[Chat], *, now: float, messages_per_chunk: int = 100) -> list[Chunk]:
    """Cut chats into chunks by Meta's three phases, newest phase first; the last one has progress 100."""
    by_phase: dict[int, list[tuple[Person, OldMessage]]] = {}
    for chat in chats:
        for message in reversed(chat.messages):
            by_phase.setdefault(_phase(now - message.at), []).append((chat.person, message))
    pieces = [
        (phase, start, by_phase[phase][start : start + messages_per_chunk])
        for phase in sorted(by_phase)
        for start in range(0, len(by_phase[phase]), messages_per_chunk)
    ]
    return [
        Chunk(
            phase=phase,
            chunk_order=start // messages_per_chunk + 1,
            progress=100 * done // len(pieces),
            threads=tuple(_threads(piece)),
        )
        for done, (phase, start, piece) in enumerate(pieces, start=1)
    ]


def shaken(chunks: Sequence[Chunk], *, repeats: int = 0, seed: int = 1) -> list[Chunk]:
    """Shuffle chunks and repeat some, as Meta may."""
    dice = random.Random(seed)
    result = [*chunks, *dice.choices(chunks, k=repeats)] if chunks else []
    dice.shuffle(result)
    return result


def declined(number: Number) -> Webhook:
    """Tell that the owner does not share the history."""
    return webhooks.history_declined(number, Refusal(2593109).item())


def _phase(age_seconds: float) -> int:
    for phase, days in enumerate(PHASES):
        if age_seconds <= days * DAY:
            return phase
    return len(PHASES) - 1


def _threads(piece: list[tuple[Person, OldMessage]]) -> Iterator[Chat]:
    for _, group in groupby(piece, key=lambda pair: pair[0].key):
        pairs = list(group)
        messages = tuple(message for _, message in reversed(pairs))
        yield Chat(person=pairs[0][0], messages=messages)
