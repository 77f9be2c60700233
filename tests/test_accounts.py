"""The life of a number after its sign-up: offboarded, back, restricted, removed, silent, one of several."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ledgers import Books
from shops import ANA, Shop, open_shop
from signups import APART, CAFE, KEY, SHOP, Office, cafe, office, shop

from rasa_coexistence.account_news import news_of
from rasa_coexistence.errors import ConfigError
from rasa_coexistence.events import AccountChange
from rasa_coexistence.ledger import chats, numbers, schema
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.ledger.schema_jobs import notices
from rasa_coexistence.onboarding import alerts
from rasa_coexistence.onboarding.adopting import check_in
from rasa_coexistence.records import NumberState
from rasa_coexistence.settings import Settings
from rasa_coexistence.simulator import webhooks
from rasa_coexistence.simulator.state import Webhook

DAY = 86_400.0
BAN = {"waba_ban_date": "October 12, 2026"}
BUSINESS_INITIATED = {"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING", "expiration": 1_900_000_000}
CUSTOMER_INITIATED = {
    "restriction_type": "RESTRICTED_CUSTOMER_INITIATED_MESSAGING",
    "expiration": "1900000000",
}

# event, its details, the state that follows for a connected number (None: it stays as it is)
EVENTS: list[tuple[str, dict[str, Any], NumberState | None]] = [
    ("ACCOUNT_OFFBOARDED", {}, NumberState.OFFBOARDED),
    ("ACCOUNT_RECONNECTED", {}, None),
    ("PARTNER_REMOVED", {}, NumberState.REMOVED),
    ("PARTNER_REMOVED", {"disconnection_info": {"reason": "PRIMARY_INACTIVITY"}}, NumberState.REMOVED),
    ("PARTNER_APP_UNINSTALLED", {}, NumberState.REMOVED),
    ("ACCOUNT_DELETED", {}, NumberState.DELETED),
    ("ACCOUNT_RESTRICTION", {"restriction_info": [BUSINESS_INITIATED]}, NumberState.RESTRICTED),
    ("ACCOUNT_RESTRICTION", {"restriction_info": BUSINESS_INITIATED}, NumberState.RESTRICTED),
    ("ACCOUNT_RESTRICTION", {"restriction_info": [CUSTOMER_INITIATED]}, NumberState.BLOCKED),
    ("ACCOUNT_RESTRICTION", {}, NumberState.RESTRICTED),
    ("DISABLED_UPDATE", {"ban_info": BAN | {"waba_ban_state": "DISABLE"}}, NumberState.BANNED),
    ("DISABLED_UPDATE", {"ban_info": BAN | {"waba_ban_state": ["DISABLE"]}}, NumberState.BANNED),
    ("DISABLED_UPDATE", {"ban_info": BAN | {"waba_ban_state": "SCHEDULE_FOR_DISABLE"}}, None),
    ("DISABLED_UPDATE", {}, NumberState.BANNED),
    ("ACCOUNT_VIOLATION", {"violation_info": {"violation_type": "SCAM"}}, None),
    ("PARTNER_ADDED", {}, None),
    ("PARTNER_CLIENT_CERTIFICATION_STATUS_UPDATE", {}, None),
    ("SOMETHING_NEW", {"with": ["anything"]}, None),
]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Office]:
    database = Database(f"sqlite:///{tmp_path}/ledger.db")
    database.open()
    async with office(Books(database)) as found:
        await found.onboard(shop())
        await found.file_webhooks()
        yield found
    await database.close()


async def tell(desk: Office, event: str, *, at: float = 1.0, waba_id: str = "1002", **details: Any) -> None:
    """Let Meta tell something about the account, this long after now; nothing changes at Meta."""
    number = desk.meta.accounts.numbers[SHOP]
    told = webhooks.account_update(number, event, **details)
    moved = Webhook(field=told.field, value=told.value, waba_id=waba_id)
    await desk.books.tell(webhooks.envelope([moved], at=desk.meta.clock.now() + at))


@pytest.mark.parametrize(("event", "details", "state"), EVENTS)
async def test_each_account_event(
    desk: Office, event: str, details: dict[str, Any], state: NumberState | None
) -> None:
    """What it makes of a connected number; a second copy and a late one change nothing more."""
    await tell(desk, event, **details)
    first = await desk.number()
    assert first.state is (state or NumberState.CONNECTED)
    assert first.access_token is not None
    await tell(desk, event, **details)
    await tell(desk, "ACCOUNT_OFFBOARDED", at=-500)
    assert (await desk.number()).state is first.state


@pytest.mark.parametrize("waba", ["entry", "waba_info", "another_phone"])
async def test_an_event_finds_its_number(desk: Office, waba: str) -> None:
    """The WABA is in entry.id or in waba_info; one that names another phone is not about ours."""
    if waba == "entry":
        await tell(desk, "ACCOUNT_OFFBOARDED")
    elif waba == "waba_info":
        await tell(desk, "ACCOUNT_OFFBOARDED", waba_id="77777", waba_info={"waba_id": "1002"})
    else:
        await tell(desk, "ACCOUNT_OFFBOARDED", phone_number="5215559999999")
    ours = waba != "another_phone"
    assert (await desk.number()).state is (NumberState.OFFBOARDED if ours else NumberState.CONNECTED)
    assert bool(await desk.rows(schema.set_aside)) is not ours


async def test_what_is_about_strangers_is_kept_and_counted(desk: Office) -> None:
    """A number or account never seen here: 200 for Meta, kept for us, and visible in numbers."""
    await tell(desk, "PARTNER_REMOVED", waba_id="4444")
    stranger = cafe()
    for wamid in ("wamid.A", "wamid.B"):
        message = webhooks.message(wamid, desk.meta.clock.now(), "text", {"body": "Hola"})
        person = desk.meta.customer(ANA).person
        await desk.books.tell(webhooks.inbound(stranger, [(person, message)]))
    assert await desk.database.read(numbers.strangers_seen) == {"4444": 1, CAFE: 2}
    assert len(await desk.rows(schema.set_aside)) == 3
    assert (await desk.number()).state is NumberState.CONNECTED


@pytest.mark.parametrize(
    "order", [("ACCOUNT_OFFBOARDED", "PARTNER_REMOVED"), ("PARTNER_REMOVED", "ACCOUNT_OFFBOARDED")]
)
async def test_a_phone_set_up_anew_comes_back(desk: Office, order: tuple[str, str]) -> None:
    """Meta tells of it in either way, or both, in any order; the link comes back by itself."""
    anew: dict[str, Any] = {"disconnection_info": {"reason": "USER_RE_REGISTERED", "initiated_by": "USER"}}
    number = desk.meta.accounts.numbers[SHOP]
    number.is_on_biz_app = False
    for event in order:
        await tell(desk, event, **(anew if event == "PARTNER_REMOVED" else {}))
    await desk.turn(desk.start())
    assert (await desk.number()).state is NumberState.OFFBOARDED
    assert (await desk.number()).access_token is not None
    number.is_on_biz_app = True
    await tell(desk, "ACCOUNT_RECONNECTED", at=5)
    assert (await desk.number()).state is NumberState.CONNECTED


async def test_a_removal_is_verified_and_the_token_forgotten(desk: Office) -> None:
    """Meta says that the token is dead: what we hold of it goes, and the next sign-up begins anew."""
    await desk.meta.remove_partner(desk.meta.accounts.numbers[SHOP])
    await desk.file_webhooks()
    assert (await desk.number()).state is NumberState.REMOVED
    await desk.turn(desk.start())
    gone = await desk.number()
    assert (gone.state, gone.access_token, gone.onboarding) == (NumberState.REMOVED, None, None)
    await tell(desk, "ACCOUNT_RECONNECTED")
    await desk.turn(desk.start())
    assert (await desk.number()).state is NumberState.REMOVED


async def test_a_removal_that_is_not_true_is_undone(desk: Office) -> None:
    """It may have been about another partner of the same number: Meta's own word decides, twice."""
    await tell(desk, "PARTNER_REMOVED", at=0)
    process = desk.start()
    await desk.turn(process)
    assert (await desk.number()).state is NumberState.REMOVED
    desk.meta.clock.move(31)
    await desk.turn(process)
    back = await desk.number()
    assert back.state is NumberState.CONNECTED
    assert back.access_token is not None


async def test_a_removal_is_believed_while_meta_is_silent(desk: Office) -> None:
    """No answer proves nothing: the token stays until one comes, for a day."""
    await tell(desk, "PARTNER_REMOVED", at=0)
    desk.meta.failures.add("*", "http", http_status=503, count=None)
    process = desk.start()
    await desk.turn(process)
    assert (await desk.number()).access_token is not None
    desk.meta.clock.move(DAY + 400)
    await desk.turn(process)
    assert (await desk.number()).access_token is None


async def test_a_number_is_asked_about_every_day(desk: Office) -> None:
    """A disconnect whose event never came is found, and so is the way back."""
    process = desk.start()
    desk.meta.calls.clear()
    await desk.turn(process)
    assert desk.made() == []
    desk.meta.clock.move(DAY)
    desk.meta.accounts.numbers[SHOP].is_on_biz_app = False
    await desk.turn(process)
    lost = await desk.number()
    assert (lost.state, "is_on_biz_app" in (lost.state_reason or "")) == (NumberState.OFFBOARDED, True)
    desk.meta.accounts.numbers[SHOP].is_on_biz_app = True
    desk.meta.clock.move(601)
    await desk.turn(process)
    assert (await desk.number()).state is NumberState.CONNECTED
    assert desk.made() == ["object", "object"]


async def test_a_restriction_ends_by_itself(desk: Office) -> None:
    """Meta says until when; nobody has to lift it here."""
    ends = int(desk.meta.clock.now()) + 3600
    restriction = {"restriction_type": "RESTRICTED_CUSTOMER_INITIATED_MESSAGING", "expiration": ends}
    await tell(desk, "ACCOUNT_RESTRICTION", restriction_info=[restriction])
    blocked = await desk.number()
    assert (blocked.state, blocked.state_until) == (NumberState.BLOCKED, ends)
    desk.meta.clock.move(3601)
    await desk.turn(desk.start())
    assert (await desk.number()).state is NumberState.CONNECTED


async def test_a_ban_is_lifted(desk: Office) -> None:
    """REINSTATE comes in the same field as the ban."""
    await tell(desk, "DISABLED_UPDATE", ban_info={"waba_ban_state": "DISABLE"})
    await tell(desk, "ACCOUNT_RECONNECTED", at=2)
    assert (await desk.number()).state is NumberState.BANNED
    await tell(desk, "DISABLED_UPDATE", at=3, ban_info={"waba_ban_state": "REINSTATE"})
    assert (await desk.number()).state is NumberState.CONNECTED


async def test_a_silent_phone_is_warned_about(desk: Office) -> None:
    """Meta cuts the link after about 14 days without the app: said from day 10 on, once a day."""
    process = desk.start()
    told = []
    for _day in range(12):
        desk.meta.clock.move(DAY)
        process.watch._warn_at = 0.0
        await desk.turn(process)
        process.watch._warn_at = 0.0
        await desk.turn(process)
        told.append(sum(row.event == alerts.PHONE_SILENT for row in await desk.rows(notices)))
    assert told == [0] * 9 + [1, 2, 3]
    await desk.meta.owner(desk.meta.accounts.numbers[SHOP]).writes(ANA, "Aquí estoy")
    await desk.file_webhooks()
    assert alerts.silent_days(await desk.number(), desk.meta.clock.now()) == 0


async def test_a_token_near_its_end_is_warned_about(desk: Office) -> None:
    """A token of 60 days dies unseen otherwise; only connecting again renews it."""
    number = await desk.number()
    assert alerts.concerns_of(number, desk.meta.clock.now()) == {}
    ends = desk.meta.clock.now() + 5 * DAY
    await desk.database.write(numbers.change, SHOP, token_expires_at=ends)
    told = alerts.concerns_of(await desk.number(), desk.meta.clock.now())
    assert "5 days" in told[alerts.TOKEN_ENDS]


async def test_the_settings_must_go_with_the_numbers_of_the_ledger(desk: Office) -> None:
    """Another number in credentials.yml beside a signed-up one, under {contact}: said at the start."""
    settings = Settings.from_credentials(desk.block | {"phone_number_id": CAFE})
    with pytest.raises(ConfigError, match="sender_id"):
        await desk.database.write(check_in, settings, now=desk.meta.clock.now())
    apart = Settings.from_credentials(desk.block | {"phone_number_id": CAFE, "sender_id": APART})
    await desk.database.write(check_in, apart, now=desk.meta.clock.now())
    assert (await desk.number(CAFE)).state is NumberState.CONNECTED


def test_no_event_is_too_odd_to_be_judged() -> None:
    """Meta's details come in any shape; none of them may stop the reading."""
    oddities: list[Any] = [None, [], [None], "x", 7, {"a": []}]
    for odd in [*oddities, [{"expiration": "soon"}], [{"expiration": True}]]:
        for event in ("ACCOUNT_RESTRICTION", "DISABLED_UPDATE", "ACCOUNT_VIOLATION"):
            raw = dict.fromkeys(("restriction_info", "ban_info", "violation_info"), odd)
            change = AccountChange(
                waba_ids=["1"], phone_number=None, event=event, reason=None, at=None, raw=raw
            )
            assert news_of(change) is not None


# ---- contacts -------------------------------------------------------------------------------------------


def contact(action: str, at: int, name: str | None = None, **ids: str) -> dict[str, Any]:
    names = {"full_name": name, "first_name": name.split()[0]} if name else {}
    return {"type": "contact", "action": action, "metadata": {"timestamp": str(at)}, "contact": names | ids}


async def tell_contacts(desk: Office, *changes: dict[str, Any]) -> None:
    """Let the address book change."""
    metadata = {"phone_number_id": SHOP, "display_phone_number": "5215550000002"}
    value = {"messaging_product": "whatsapp", "metadata": metadata, "state_sync": list(changes)}
    change = {"field": "smb_app_state_sync", "value": value}
    body = {"object": "whatsapp_business_account", "entry": [{"id": "1002", "changes": [change]}]}
    await desk.books.accept(body)
    await desk.books.read()


async def name_of(desk: Office, wa_id: str) -> str | None:
    """Return what Rasa is told that a customer is called."""
    chat = await desk.database.read(chats.by_sender_id, wa_id)
    assert chat is not None
    return chat.contact["name"]


PHONE, BSUID = {"phone_number": ANA}, {"user_id": "MX.999"}

# changes in the order in which they arrive, and the name that follows
CONTACTS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "added": ([contact("add", 10, "Ana Gómez", **PHONE)], "Ana Gómez"),
    "edited": ([contact("add", 10, "Ana", **PHONE), contact("add", 20, "Ana Ruiz", **PHONE)], "Ana Ruiz"),
    "late edit": ([contact("add", 20, "Ana Ruiz", **PHONE), contact("add", 10, "Ana", **PHONE)], "Ana Ruiz"),
    "removed": ([contact("add", 10, "Ana Gómez", **PHONE), contact("remove", 20, **PHONE)], "Anita"),
    "late removal": ([contact("add", 20, "Ana Gómez", **PHONE), contact("remove", 10, **PHONE)], "Ana Gómez"),
    "removed and added again": (
        [contact("remove", 20, **PHONE), contact("add", 30, "Ana Gómez", **PHONE)],
        "Ana Gómez",
    ),
    "both ids, removed by one": (
        [contact("add", 10, "Ana Gómez", **PHONE, **BSUID), contact("remove", 20, **PHONE)],
        "Anita",
    ),
    "known by the other id": ([contact("add", 10, "Ana Gómez", **PHONE, **BSUID)], "Ana Gómez"),
    "without phone": ([contact("add", 10, "Ana Gómez", **BSUID)], "Ana Gómez"),
    "first name alone": (
        [
            {
                "type": "contact",
                "action": "add",
                "metadata": {"timestamp": 10},
                "contact": {"first_name": "Ana", **PHONE},
            }
        ],
        "Ana",
    ),
    "somebody else": ([contact("add", 10, "Ben", phone_number="5215550000009")], "Anita"),
}


@pytest.mark.parametrize("together", [True, False], ids=["in one webhook", "one by one"])
@pytest.mark.parametrize("case", CONTACTS)
async def test_the_address_book_names_a_customer(desk: Office, case: str, together: bool) -> None:
    """By the item's own time, whatever the order of arrival; a removal takes the label and nothing else."""
    number = desk.meta.accounts.numbers[SHOP]
    person = desk.meta.customer(ANA, "Anita", user_id="MX.999").person
    message = webhooks.message("wamid.A", desk.meta.clock.now(), "text", {"body": "Hola"})
    await desk.books.tell(webhooks.inbound(number, [(person, message)]))
    changes, name = CONTACTS[case]
    for group in [changes] if together else [[change] for change in changes]:
        await tell_contacts(desk, *group)
    assert await name_of(desk, ANA) == name
    assert len(await desk.rows(schema.conversations)) == 3  # hers, and those that the history brought
    assert len(await desk.rows(schema.messages)) == 9


async def test_a_huge_address_book_is_filed_whole(tmp_path: Path) -> None:
    """20,000 contacts in one webhook, twice: no conversation is made, and nobody has to wait for it.

    How long it takes: ``benchmarks/address_book.py``.
    """
    async with open_shop(f"sqlite:///{tmp_path}/ledger.db") as site:
        for copy, received in ((1, 20_000), (2, 40_000)):
            body = msgspec.json.encode(address_book(site, copy))
            site.simulator.deliveries.post(body, site.simulator.accounts.webhook_url)
            await site.until(partial(has_received, site, received))
        assert await site.rows(schema.conversations) == []
        kept = await site.rows(schema.contacts)
        assert len(kept) == 40_000  # a row for each id
        assert {row.changed_at for row in kept} == {2.0}
        await site.customer("5215500000007")
        assert await name_of_shop(site, "5215500000007") == "Customer 7"


def address_book(site: Shop, copy: int) -> dict[str, Any]:
    """Return a webhook with 20,000 contacts."""
    people = [
        contact("add", copy, f"Customer {n}", phone_number=f"52155{n:08d}", user_id=f"MX.{n:012d}")
        for n in range(20_000)
    ]
    metadata = {"phone_number_id": site.simulator.number.phone_number_id}
    value = {"messaging_product": "whatsapp", "metadata": metadata, "state_sync": people}
    change = {"field": "smb_app_state_sync", "value": value}
    return {"object": "whatsapp_business_account", "entry": [{"id": "1001", "changes": [change]}]}


async def has_received(site: Shop, count: int) -> bool:
    sync = await site.rows(schema.syncs, kind="contacts")
    return bool(sync) and sync[0].received == count


async def name_of_shop(site: Shop, wa_id: str) -> str | None:
    """Return what Rasa is told that a customer of the shop is called."""
    chat = await site.service.database.read(chats.by_sender_id, wa_id)
    assert chat is not None
    return chat.contact["name"]


# ---- several numbers, and what they send -----------------------------------------------------------------


async def two_numbers(site: Shop) -> None:
    """Sign both numbers up; each has a token for its own WABA only."""
    for number in (shop(), cafe()):
        code = site.simulator.accounts.sign_up(number)
        onboardings = site.service.onboardings
        id_ = await onboardings.sign_up(code, waba_id=number.waba_id, phone_number_id=None)
        assert (await onboardings.wait(id_, seconds=10)).state.value == "done"


def signup_settings() -> dict[str, Any]:
    return {
        "access_token": None,
        "phone_number_id": None,
        "app_id": "1234500001",
        "config_id": "77",
        "encryption_key": KEY,
        "sender_id": APART,
    }


async def test_several_numbers_each_for_itself(tmp_path: Path) -> None:
    """Token, window and conversation are each number's own: one customer of both is two conversations."""
    async with open_shop(f"sqlite:///{tmp_path}/ledger.db", **signup_settings()) as site:
        await two_numbers(site)
        numbers_ = site.simulator.accounts.numbers
        ana = site.simulator.customer(ANA)
        await ana.writes("Hola", number=numbers_[SHOP])
        await site.until(lambda: site.rows(schema.messages, text="Hola"))
        await site.say(f"{SHOP}:{ANA}", "¡Hola! Soy la tienda.")
        await site.until_states("read")
        [sent] = site.simulator.sent_to(ANA)
        assert sent.phone_number_id == SHOP
        await ana.writes("¿Y el café?", number=numbers_[CAFE])
        await site.until(lambda: site.rows(schema.messages, text="¿Y el café?"))
        site.clock.move(23.5 * 3600)
        await ana.writes("¿Siguen ahí?", number=numbers_[CAFE])
        await site.until(lambda: site.rows(schema.messages, text="¿Siguen ahí?"))
        site.clock.move(3600)
        await site.say(f"{SHOP}:{ANA}", "La ventana de la tienda se cerró.")
        await site.say(f"{CAFE}:{ANA}", "La del café no.")
        await site.until_states("read", "undeliverable", "read")
        assert [one.phone_number_id for one in site.simulator.sent_to(ANA)] == [SHOP, CAFE]


async def test_offboarded_waits_and_goes_on(tmp_path: Path) -> None:
    """Nothing is sent and nothing is lost until the phone is back; removed is the end, for that number "
    "alone."""
    async with open_shop(f"sqlite:///{tmp_path}/ledger.db", **signup_settings()) as site:
        await two_numbers(site)
        meta, ana = site.simulator, site.simulator.customer(ANA)
        for number in (SHOP, CAFE):
            await ana.writes(f"Hola {number}", number=meta.accounts.numbers[number])
            await site.until(lambda: site.rows(schema.messages, text=f"Hola {number}"))  # noqa: B023
        await meta.post(meta.accounts.offboard(meta.accounts.numbers[SHOP]))
        await site.until(lambda: site.rows(schema.numbers, state="offboarded"))
        await site.say(f"{SHOP}:{ANA}", "Vuelvo pronto")
        await site.say(f"{CAFE}:{ANA}", "El café sigue")
        await site.until_states("queued", "read")
        await meta.post(meta.accounts.reconnect(meta.accounts.numbers[SHOP]))
        await site.until_states("read", "read")
        await meta.remove_partner(meta.accounts.numbers[SHOP])
        await site.until(lambda: site.rows(schema.numbers, state="removed", access_token=None))
        await site.say(f"{SHOP}:{ANA}", "Ya no")
        await site.say(f"{CAFE}:{ANA}", "El café todavía")
        await site.until_states("read", "read", "undeliverable", "read")


@pytest.mark.parametrize(
    ("restriction", "states"),
    [(BUSINESS_INITIATED, ["read"]), (CUSTOMER_INITIATED, ["queued"])],
    ids=["answers go on", "answers wait"],
)
async def test_a_restriction_stops_what_it_forbids(
    tmp_path: Path, restriction: dict[str, Any], states: list[str]
) -> None:
    """Most forbid only to begin a chat: a bot that answers must not fall silent for them."""
    async with open_shop(f"sqlite:///{tmp_path}/ledger.db") as site:
        await site.customer(ANA)
        await site.simulator.post(
            webhooks.account_update(
                site.simulator.number, "ACCOUNT_RESTRICTION", restriction_info=[restriction]
            )
        )
        await site.until(lambda: site.rows(schema.numbers, state_until=1_900_000_000.0))
        await site.say(ANA, "Claro que sí")
        await site.until_states(*states)
