"""Two shops, one bot: both numbers sign up at a real ``rasa run``, and one of them leaves."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cloud_api import running_simulator
from running_bot import RunningBot, running_bot
from signups import APART, CAFE, KEY, SHOP, cafe, shop

from rasa_coexistence.simulator import Number, Simulator
from rasa_coexistence.simulator.chats import Chat, made_up
from rasa_coexistence.simulator.state import Person

PATIENCE = 120.0
QUESTION = "¿A qué hora abren?"


async def test_two_numbers_sign_up_and_one_leaves(tmp_path: Path, example_model: Path) -> None:
    """Each gets its own history, a customer of both is two conversations, and the other keeps answering."""
    async with running_simulator(subscribed=False) as meta:
        settings: dict[str, Any] = {"app_id": meta.accounts.app_id, "config_id": "77", "encryption_key": KEY}
        settings |= {"access_token": None, "phone_number_id": None, "sender_id": APART}
        settings["takeover"] = {"enabled": False}  # else the owners' fresh messages keep the bot out
        async with running_bot(tmp_path, example_model, meta, **settings) as bot:
            chats = {number.phone_number_id: await signs_up(meta, bot, number) for number in (shop(), cafe())}
            for phone_number_id, [chat, *_] in chats.items():
                told = await bot.said(f"{phone_number_id}:{chat.person.wa_id}")
                assert [text for _kind, text in told] == [one.text for one in by_age(chat)]
            ana = chats[SHOP][0].person
            assert ana.wa_id == chats[CAFE][0].person.wa_id
            await asks_both(meta, bot, ana)
            await meta.remove_partner(meta.accounts.numbers[SHOP])
            await until(lambda: bot.get("/webhooks/whatsapp/api/numbers"), is_removed)
            await meta.customer(str(ana.wa_id)).writes(QUESTION, number=meta.accounts.numbers[CAFE])
            sent = await meta.wait_for_sent(3, timeout_seconds=PATIENCE)
            assert [one.phone_number_id for one in sent] == [SHOP, CAFE, CAFE]
            assert len(await bot.said(f"{SHOP}:{ana.wa_id}")) == len(chats[SHOP][0].messages) + 2
            assert_asked_once(meta)


async def signs_up(meta: Simulator, bot: RunningBot, number: Number) -> list[Chat]:
    """Sign a number up, whose phone holds old chats and a contact; wait until all of it is here."""
    code = meta.accounts.sign_up(number)
    days = {SHOP: 60, CAFE: 30}[number.phone_number_id]
    seed = int(number.phone_number_id)
    chats = list(made_up(number, chats=2, messages_each=6, now=time.time(), days=days, seed=seed))
    meta.give_old_chats(chats, number=number)
    known = chats[0].person
    meta.address_books[number.phone_number_id] = [Person(wa_id=known.wa_id, name=f"Ana of {number.waba_id}")]
    status, answer = await bot.post(
        "/webhooks/whatsapp/api/onboarding", {"code": code, "waba_id": number.waba_id}
    )
    assert (status, answer["state"], answer["phone_number_id"]) == (200, "done", number.phone_number_id)
    sync = await until(lambda: bot.sync_status(number.phone_number_id), is_synced)
    assert (sync["history"]["messages_imported"], sync["contacts"]["received"]) == (12, 1)
    return chats


async def asks_both(meta: Simulator, bot: RunningBot, ana: Person) -> None:
    """Let a customer write to both shops; each answers by its own number and calls her as its owner does."""
    for number in (SHOP, CAFE):
        known = len(meta.sent_to())
        await meta.customer(str(ana.wa_id), "Anita").writes(QUESTION, number=meta.accounts.numbers[number])
        [*_, answer] = await meta.wait_for_sent(known + 1, timeout_seconds=PATIENCE)
        assert answer.phone_number_id == number
        *_, heard = await bot.events(f"{number}:{ana.wa_id}", "user")
        about = heard["metadata"]["whatsapp"]
        waba_id = meta.accounts.numbers[number].waba_id
        assert (about["phone_number_id"], about["contact"]["name"]) == (number, f"Ana of {waba_id}")


def assert_asked_once(meta: Simulator) -> None:
    """Each sync of each number was asked for once, by its own token."""
    calls = [call for call in meta.calls if call.operation == "smb_app_data" and call.body]
    counts = Counter((call.path.split("/")[-2], (call.body or {})["sync_type"]) for call in calls)
    wanted = ("smb_app_state_sync", "history")
    assert counts == {(number, sync): 1 for number in (SHOP, CAFE) for sync in wanted}


def by_age(chat: Chat) -> list[Any]:
    """Return a chat as the tracker has it; within a second the customer goes first."""
    return sorted(chat.messages, key=lambda one: (one.at, one.from_business, one.wamid))


def is_synced(status: Any) -> bool:
    return bool(status["sync_status"] == "completed" and status["contacts"]["status"] == "completed")


def is_removed(listed: Any) -> bool:
    states = {number["phone_number_id"]: number["state"] for number in listed["numbers"]}
    return states == {SHOP: "removed", CAFE: "connected"}


async def until(look: Callable[[], Any], is_so: Callable[[Any], bool]) -> Any:
    """Look until something is so, and return it."""
    end = time.monotonic() + PATIENCE
    while not is_so(found := await look()):
        assert time.monotonic() < end, found
        await asyncio.sleep(0.2)
    return found
