"""Old chat and a bot whose policies go by what was said before."""

from __future__ import annotations

import time
from pathlib import Path

from cloud_api import running_simulator
from running_bot import running_bot
from told_history import PATIENCE, give_history, until_completed

from rasa_coexistence.simulator import Simulator
from rasa_coexistence.simulator.chats import made_up

BEGINNING = {"hola": "¡Hola! ¿Quieres comprar una playera?", "comprar": "¿Qué talla?"}
STORY = {
    "Hola": "¿Quieres comprar una playera?",
    "sí": "¿Qué talla?",
    "talla mediana": "¿Confirmas el pedido?",
    "confirmo": "Pedido hecho.",
    "muchas gracias": "¡De nada!",
    "buenas, quiero otra": "¿Quieres comprar una playera?",
    "comprar": "¿Qué talla?",
    "la talla chica": "¿Confirmas el pedido?",
    "mejor no": "Cancelado.",
}


async def test_a_bot_trained_on_stories_speaks_after_history(tmp_path: Path, stories_model: Path) -> None:
    """Policies that go by what came before must not fall silent over messages that they did not cause."""
    settings = {"takeover": {"enabled": False}}  # else the owner's fresh messages keep the bot out
    async with running_simulator() as meta, running_bot(tmp_path, stories_model, meta, **settings) as bot:
        now = time.time()
        open_session = list(made_up(meta.number, chats=3, messages_each=12, now=now, days=0.12))
        long_ago = list(made_up(meta.number, chats=5, messages_each=12, now=now, days=100, seed=2))[3:]
        await give_history(meta, [*open_session, *long_ago], repeats=0)
        await until_completed(bot)
        for chat in (*open_session, *long_ago):
            await converse(meta, str(chat.person.wa_id), BEGINNING)
        await converse(meta, "5215559990000", STORY)  # who has no history


async def converse(meta: Simulator, wa_id: str, story: dict[str, str]) -> None:
    """Let a customer say one thing after another, each answered as it should be."""
    for text, answer in story.items():
        known = len(meta.sent_to(wa_id))
        await meta.customer(wa_id, "Customer").writes(text)
        sent = await meta.wait_for_sent(known + 1, to=wa_id, timeout_seconds=PATIENCE)
        assert answer in sent[-1].text, text
