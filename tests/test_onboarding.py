"""A number signs up: what is asked of Meta, in which order, and what is never asked twice."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest
from ledgers import Books
from signups import APART, CAFE, SHOP, Office, cafe, office, shop

from rasa_coexistence.events import JSON
from rasa_coexistence.ledger.schema_jobs import notices as notice_rows
from rasa_coexistence.ledger.schema_onboarding import onboardings as onboarding_rows
from rasa_coexistence.onboarding import alerts
from rasa_coexistence.onboarding.troubles import sentence
from rasa_coexistence.records import NumberState, OnboardingState, StepState

SYNCS = ["smb_app_data:smb_app_state_sync", "smb_app_data:history"]
WHOLE_WAY = ["oauth", "debug_token", "phone_numbers", "app_fields", "subscribed", "subscribe", *SYNCS]


@pytest.fixture
async def desk(books: Books) -> AsyncIterator[Office]:
    async with office(books) as found:
        yield found


async def test_a_number_signs_up(desk: Office) -> None:
    """Subscribed before the syncs, contacts before history, and then what the phone holds arrives."""
    done = await desk.onboard(shop())
    assert (done.state, done.phone_number_id) == (OnboardingState.DONE, SHOP)
    assert desk.made() == WHOLE_WAY
    number = await desk.number()
    assert (number.state, number.waba_id, number.display_phone_number) == (
        NumberState.CONNECTED,
        "1002",
        "5215550000002",
    )
    await desk.file_webhooks()
    sync = await desk.sync()
    assert (sync["history"]["messages_received"], sync["contacts"]["received"]) == (8, 1)
    assert sync["history"]["request_id"]
    assert sync["contacts"]["request_id"]


async def test_a_token_is_stored_closed(desk: Office) -> None:
    """Whoever reads the database alone cannot send; a new key takes over at the next start."""
    await desk.onboard(shop(), lifetime=60 * 86_400.0)
    [token] = [name for name, known in desk.meta.accounts.tokens.items() if "1002" in known.waba_ids]
    number = await desk.number()
    assert number.access_token is not None
    assert token not in number.access_token
    assert number.token_expires_at == pytest.approx(desk.meta.clock.now() + 60 * 86_400, abs=60)
    assert [row.access_token for row in await desk.rows(onboarding_rows)] == [None]
    from cryptography.fernet import Fernet

    old, new = desk.block["encryption_key"], Fernet.generate_key().decode()
    desk.block["encryption_key"] = [new, old]
    await desk.start().tokens.rotate()
    desk.block["encryption_key"] = new
    assert await desk.start().tokens.of(SHOP) == token
    desk.block["encryption_key"] = Fernet.generate_key().decode()
    assert await desk.start().tokens.of(SHOP) is None


async def test_the_same_code_is_the_same_sign_up(desk: Office) -> None:
    """A double click, or a browser that tries again, exchanges no code twice."""
    process, code = desk.start(), desk.signs_up(shop())
    first = await desk.post(process, code, "1002")
    again = await desk.post(desk.start(), code, "1002")
    assert (first.id, again.state) == (again.id, OnboardingState.DONE)
    assert desk.made() == WHOLE_WAY


async def test_the_number_on_the_phone_is_found(desk: Office) -> None:
    """Meta's event names only the WABA; the number is the one that is_on_biz_app."""
    other = shop()
    other.phone_number_id, other.display_phone_number, other.is_on_biz_app = "9", "5215550000009", False
    desk.meta.accounts.add_number(other)
    done = await desk.onboard(shop())
    assert done.phone_number_id == SHOP


async def test_of_several_numbers_the_owner_chooses(desk: Office) -> None:
    """Guessing would connect the wrong phone; the code is not exchanged again for it."""
    other = shop()
    other.phone_number_id, other.display_phone_number = "9", "5215550000009"
    desk.meta.accounts.add_number(other)
    process, code = desk.start(), desk.signs_up(shop())
    asked = await desk.post(process, code, "1002")
    assert (asked.state, asked.trouble) == (OnboardingState.CHOOSING, "several_numbers")
    assert {one["phone_number_id"] for one in asked.details["numbers"]} == {SHOP, "9"}
    chosen = await desk.post(desk.start(), code, "1002", "9")
    assert (chosen.state, chosen.phone_number_id) == (OnboardingState.DONE, "9")
    assert desk.made("oauth", "smb_app_data") == ["oauth", *SYNCS]


async def test_the_token_tells_the_account_when_the_event_got_lost(desk: Office) -> None:
    """The browser may have only the code; the token is limited to the WABA that was shared."""
    process, code = desk.start(), desk.signs_up(shop())
    done = await desk.post(process, code, None)
    assert (done.state, done.waba_id, done.phone_number_id) == (OnboardingState.DONE, "1002", SHOP)


async def test_a_second_number_needs_its_own_conversations(desk: Office) -> None:
    """Under {contact} a customer of both would be one conversation: refused before anything is spent."""
    process = desk.start()
    await desk.onboard(shop(), process)
    refused = await desk.onboard(cafe(), process)
    assert (refused.state, refused.trouble) == (OnboardingState.FAILED, "second_number")
    told = sentence("second_number", refused.details)
    assert "sender_id" in told
    assert "{phone_number_id}:{contact}" in told
    assert desk.made("subscribe", "smb_app_data") == ["subscribe", *SYNCS]
    desk.block["sender_id"] = APART
    accepted = await desk.onboard(cafe(), desk.start())
    assert accepted.state is OnboardingState.DONE
    assert (await desk.number(CAFE)).access_token != (await desk.number(SHOP)).access_token


async def test_nothing_is_spent_before_the_app_gets_it(desk: Office) -> None:
    """History asked for while the app is not subscribed to it would be lost; it waits and then goes on."""
    desk.meta.accounts.app_fields -= {"history"}
    process = desk.start()
    waiting = await desk.onboard(shop(), process)
    assert (waiting.state, waiting.trouble) == (OnboardingState.RUNNING, "fields_missing")
    assert "history" in sentence("fields_missing", waiting.details)
    assert desk.made("smb_app_data") == []
    desk.meta.accounts.app_fields |= {"history"}
    desk.meta.clock.move(60)
    await desk.turn(process)
    done = await desk.onboarding(waiting.id)
    assert done.state is OnboardingState.DONE
    assert desk.made("smb_app_data") == SYNCS


async def test_the_deadline_is_final(desk: Office) -> None:
    """After 24 hours Meta gives nothing: it is warned of in time, then said, and never asked for."""
    desk.meta.accounts.app_fields -= {"history"}
    process = desk.start()
    waiting = await desk.onboard(shop(), process)
    for hours in (11, 5.5, 3.5, 2.5, 1.2):  # 13, 7.5, 4, 1.5 and 0.3 hours are left
        desk.meta.clock.move(hours * 3600)
        await desk.turn(process)
        await desk.turn(desk.start())  # another server does not warn a second time
    assert [notice["hours_left"] for notice in await deadline_notices(desk)] == [12, 6, 3, 1]
    assert all("history" in notice["reason"] for notice in await deadline_notices(desk))
    desk.meta.accounts.app_fields |= {"history"}
    desk.meta.clock.move(3600)
    await desk.turn(process)
    over = await desk.onboarding(waiting.id)
    assert (over.state, over.trouble) == (OnboardingState.FAILED, "too_late")
    assert (await deadline_notices(desk))[-1]["hours_left"] == 0
    sync = await desk.sync()
    assert sync["sync_status"] == "failed"
    assert "2593108" in sync["history"]["error"]
    again = await desk.ask(process, SHOP, again=True)
    assert (again.state, again.trouble) == (OnboardingState.FAILED, "too_late")
    assert desk.made("smb_app_data") == []


async def deadline_notices(desk: Office) -> list[JSON]:
    """Return what notify_url is told about the deadline."""
    rows = await desk.rows(notice_rows)
    return [msgspec.json.decode(row.body) for row in rows if row.event == alerts.SYNC_DEADLINE]


async def test_connecting_again_renews_the_token_and_asks_for_nothing(desk: Office) -> None:
    """Meta gives each sync once until the number is removed: a new token is no new onboarding."""
    process = desk.start()
    await desk.onboard(shop(), process)
    before = (await desk.number()).access_token
    number = desk.meta.accounts.numbers[SHOP]
    used_up = number.syncs
    code = desk.signs_up(shop())
    desk.meta.accounts.numbers[SHOP].syncs = used_up
    done = await desk.post(process, code, "1002")
    assert done.made["history"] is done.made["contacts"] is StepState.SKIPPED
    assert (await desk.number()).access_token != before
    assert desk.made("smb_app_data") == SYNCS


async def test_a_removed_number_begins_anew(desk: Office) -> None:
    """Offboarding resets Meta's allowance; the same history, come again, is not doubled."""
    process = desk.start()
    await desk.onboard(shop(), process)
    await desk.file_webhooks()
    await desk.meta.remove_partner(desk.meta.accounts.numbers[SHOP])
    await desk.file_webhooks()
    assert (await desk.number()).state is NumberState.REMOVED
    desk.meta.clock.move(5)
    done = await desk.onboard(shop(), process)
    assert (done.state, (await desk.number()).state) == (OnboardingState.DONE, NumberState.CONNECTED)
    assert desk.made("smb_app_data") == SYNCS * 2
    await desk.file_webhooks()
    sync = await desk.sync()
    assert (sync["sync_status"], sync["history"]["messages_received"]) == ("syncing", 8)
    assert (await desk.number()).state is NumberState.CONNECTED


async def test_an_override_that_is_there_stays(desk: Office) -> None:
    """Subscribing again with an empty body would take it away."""
    desk.meta.accounts.subscribed["1002"] = f"{desk.app.url}-elsewhere"
    done = await desk.onboard(shop())
    assert done.state is OnboardingState.DONE
    assert desk.made("subscribe") == []
    assert desk.meta.accounts.subscribed["1002"] == f"{desk.app.url}-elsewhere"


async def test_without_history_it_is_not_asked_for(desk: Office) -> None:
    """What is switched off is not spent; switched on in time, it is asked for."""
    desk.block["history"] = {"enabled": False}
    await desk.onboard(shop())
    assert desk.made("smb_app_data") == SYNCS[:1]
    desk.block["history"] = {"enabled": True}
    await desk.ask(desk.start(), SHOP)
    assert desk.made("smb_app_data") == SYNCS


async def test_a_number_onboarded_elsewhere_asks_once(books: Books) -> None:
    """credentials.yml has its token; asked again, nothing is repeated."""
    async with office(books, access_token="EAAsimulatedtoken", phone_number_id="845237608662425") as desk:
        process = desk.start()
        number = desk.meta.number.phone_number_id
        done = await desk.ask(process, number)
        assert done.state is OnboardingState.DONE
        assert desk.made("subscribe", "smb_app_data") == ["subscribe", *SYNCS]
        again = await desk.ask(process, number)
        assert (again.id, again.state) == (done.id, OnboardingState.DONE)
        assert desk.made("subscribe", "smb_app_data") == ["subscribe", *SYNCS]


async def test_history_that_came_is_not_asked_for(books: Books) -> None:
    """Whoever onboarded the number may have asked for it: a second request would only be refused."""
    async with office(books, access_token="EAAsimulatedtoken", phone_number_id="845237608662425") as desk:
        desk.meta.accounts.subscribed["1001"] = None
        from ledgers import ANA, NOW, history

        await books.tell(history(ANA, ("wamid.A", "Hola", NOW - 100), progress=100))
        done = await desk.ask(desk.start(), desk.meta.number.phone_number_id)
        assert done.made["history"] is StepState.SKIPPED
        assert desk.made("smb_app_data") == SYNCS[:1]


async def test_an_owner_may_decline(desk: Office) -> None:
    """Declining is no failure: the bot goes on without the history, and says what would change it."""
    number = shop()
    number.shares_history = False
    done = await desk.onboard(number)
    await desk.file_webhooks()
    sync = await desk.sync()
    assert (done.state, sync["sync_status"]) == (OnboardingState.DONE, "declined")
    assert "Business Platform" in sync["history"]["error"]
