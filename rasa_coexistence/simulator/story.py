"""Tell the story of a small shop: half a year of chat with 40 customers, and what some of them write now."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from rasa_coexistence.simulator.chats import DAY, Chat, OldMessage, old_message
from rasa_coexistence.simulator.state import Number, Person, person

DAYS = 180
HOUR = 3600
# fmt: off
NAMES_ES = (
    "Lucía", "Diego", "Sofía", "Mateo", "Valentina", "Santiago", "Camila", "Sebastián", "Renata",
    "Emiliano", "Ximena", "Leonardo", "Regina", "Andrés", "Fernanda", "Jorge", "Paola", "Héctor",
    "Daniela", "Raúl", "Marisol", "Óscar", "Elena", "Iván", "Carmen", "Pablo", "Rosa", "Tomás",
)
NAMES_EN = (
    "Emma", "Liam", "Grace", "Noah", "Chloe", "Ethan", "Ruby", "Owen", "Hannah", "Jack", "Alice",
    "Ben",
)
# fmt: on
PHONES = ("521555000{:04}", "34600100{:03}", "5491155500{:03}", "573001000{:03}")
PHONE_EN = "1202555{:04}"

# Small exchanges, the customer first; "<" marks what the owner typed on the phone.
EXCHANGES_ES = (
    ("Hola, buenas tardes", "<¡Hola! ¿En qué te ayudo?", "¿Tienen la mochila en azul?", "<Sí, me quedan dos"),
    (
        "¿Cuánto cuesta la gorra negra?",
        "<249 pesos",
        "¿Y si llevo tres?",
        "<Te las dejo en 690",
        "Va, apártamelas",
    ),
    ("¿A qué hora cierran hoy?", "<A las 7", "Gracias, paso al rato"),
    (
        "Ya hice la transferencia",
        "<Perfecto, déjame revisar",
        "<Ya quedó, hoy sale tu pedido",
        "¡Mil gracias!",
    ),
    ("Hola, ¿cómo va mi pedido?", "<Salió ayer, guía 7784512", "Súper, gracias"),
    (
        "¿Hacen envíos a Mérida?",
        "<Claro, 99 pesos",
        "Ok, quiero una playera talla M",
        "<¿De qué color?",
        "Blanca",
    ),
    ("Me llegó la talla equivocada 😕", "<¡Qué pena! Te mando la correcta mañana", "Gracias por resolverlo"),
    ("¿Abren el domingo?", "<No, los domingos descansamos"),
    ("Buenos días, ¿tienen catálogo?", "<Sí, te lo mando por aquí", "Está padrísimo"),
    ("¿Me puedes hacer factura?", "<Sí, pásame tus datos", "Te los mando en la tarde", "<Va, sin prisa"),
)
EXCHANGES_EN = (
    ("Hi, do you have the backpack in green?", "<We do, one left", "Please keep it for me", "<Done!"),
    ("What time do you close today?", "<At 7 pm", "Great, see you later"),
    ("Has my order left?", "<Yes, this morning", "Thanks!"),
    (
        "How much is shipping?",
        "<99 pesos, free from 1,000",
        "OK, two T-shirts then",
        "<Which size?",
        "M and L",
    ),
    ("The cap is lovely, thank you 😊", "<Glad you like it!"),
    ("Are you open on Sunday?", "<No, sorry, on Sundays we rest"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Something a customer writes now."""

    who: str  # name
    says: str
    after: float  # share of their old messages that was sent before; 1.0: when the whole sync is over
    remark: str = ""
    copies: int = 1  # times that Meta delivers it
    together: bool = False  # does not wait for the answer of the one before


SCENES = (
    Scene(who="Lucía", says="Hola", after=0.4),
    Scene(who="Emma", says="Hi, what are your opening hours?", after=0.6),
    Scene(who="Diego", says="¿Ya salió mi pedido?", after=0.2),
    Scene(who="Sofía", says="¿Cuándo fue la última vez que hablamos?", after=1.0),
    Scene(who="Nadia", says="Hola", after=1.0, remark="Nadia never wrote before"),
    Scene(who="Liam", says="How much is the backpack?", after=1.0, remark="two customers at the same moment"),
    Scene(who="Mateo", says="¿Cuánto cuesta el envío?", after=1.0, together=True),
    Scene(
        who="Valentina",
        says="¿A qué hora abren?",
        after=1.0,
        copies=3,
        remark="Meta delivers this one three times at once; it must be answered once",
    ),
    Scene(who="Lucía", says="Muchas gracias", after=1.0),
)
NEWCOMER = Chat(person=person("5215550008001", "Nadia"), messages=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Who takes part, what they wrote, and what they write now."""

    chats: tuple[Chat, ...]
    scenes: tuple[Scene, ...] = SCENES

    @property
    def messages(self) -> int:
        """Count the old messages."""
        return sum(len(chat.messages) for chat in self.chats)

    def chat(self, name: str) -> Chat:
        """Return somebody's old chat by their name; the newcomer's is empty."""
        return next(chat for chat in (*self.chats, NEWCOMER) if chat.person.name == name)


def shop_story(number: Number, *, now: float, seed: int = 7) -> Story:
    """Make the story up; the same seed gives the same one, seen from ``now``."""
    dice = random.Random(seed)
    people = list(_people())
    return Story(chats=tuple(_chat(number, one, index, now, dice) for index, one in enumerate(people)))


def _people() -> Iterator[Person]:
    for index, name in enumerate(NAMES_ES):
        yield person(PHONES[index % 9 % 4].format(index + 1), name)
    for index, name in enumerate(NAMES_EN):
        yield person(PHONE_EN.format(index + 101), name)


def _chat(number: Number, somebody: Person, index: int, now: float, dice: random.Random) -> Chat:
    exchanges = EXCHANGES_EN if somebody.name in NAMES_EN else EXCHANGES_ES
    # Nobody's last word is fresher than some hours: the owner is not in the middle of a talk.
    ages = sorted(
        (dice.uniform(5 * HOUR, DAYS * DAY - HOUR) for _ in range(dice.randint(5, 16))), reverse=True
    )
    if index % 4 == 0:
        ages[-1] = dice.uniform(5 * HOUR, 20 * HOUR)
    messages: list[OldMessage] = []
    for age in ages:
        at = now - age
        for text in dice.choice(exchanges):
            messages.append(
                old_message(
                    somebody,
                    number.display_phone_number,
                    f"5707{index:08X}{len(messages):08X}",
                    float(int(at)),
                    text.removeprefix("<"),
                    from_business=text.startswith("<"),
                )
            )
            at += dice.uniform(20, 400)
    return Chat(person=somebody, messages=tuple(messages))
