"""What an owner reads on ``/connect`` when something is in the way, in a real browser."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from browsers import running_browser
from connect_stage import FINISHED, PATIENCE, SYNCS, Stage, asked_of, open_stage
from playwright.async_api import Browser, expect
from signups import CAFE, SHOP, cafe, shop

from rasa_coexistence.ledger import numbers
from rasa_coexistence.ledger.schema_onboarding import onboardings
from rasa_coexistence.simulator import Number

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

STATES = ("restricted", "blocked", "offboarded", "banned", "removed", "deleted")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def stage(browser: Browser, tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(browser, tmp_path) as found:
        yield found


def without_coexistence() -> Number:
    """Return a number that is on no phone."""
    number = shop()
    number.is_on_biz_app = False
    return number


async def test_what_the_server_refuses(stage: Stage) -> None:
    """Each with its own sentence; what only the installer understands is shown beside it."""
    async with stage.owner("es") as owner:
        await owner.opens()

        async def ends_with(code: str, key: str, details: str = "", event: str = FINISHED) -> None:
            await owner.presses_connect()
            await owner.finishes(code, event)
            await owner.is_at("problem")
            await owner.reads(key)
            if details:
                await expect(owner.page.locator("#problem-details")).to_contain_text(details)
            await owner.visit.look(f"refused-{key}")
            await owner.begins_anew()

        late = stage.signs_up()
        stage.meta.clock.move(31)
        await ends_with(late, "error.code_expired")
        await ends_with("AQinvented", "error.code_invalid")
        for event in (FINISHED, "FINISH", "FINISH_ONLY_WABA", "FINISH_GRANT_ONLY_API_ACCESS"):
            await ends_with(stage.signs_up(without_coexistence()), f"finish.{event}", event=event)
        code = stage.signs_up(scopes=("whatsapp_business_messaging",))
        await ends_with(code, "error.scopes_missing", "whatsapp_business_management")
        stage.meta.failures.add("phone_numbers", "error", code=10)
        await ends_with(stage.signs_up(), "error.refused", "code 10")
        stage.meta.failures.add("oauth", "timeout_before")
        used = stage.signs_up()
        stage.meta.accounts.exchange(stage.meta.accounts.app_id, stage.meta.accounts.app_secret, used)
        stage.meta.failures.clear()
        await ends_with(used, "error.code_used")
    assert asked_of(stage) == []


async def test_a_second_number_names_the_setting(browser: Browser, tmp_path: Path) -> None:
    """Under {contact} customers of both would share a conversation."""
    async with open_stage(browser, tmp_path, sender_id="{contact}") as stage, stage.owner() as owner:
        await owner.opens()
        for number, waba_id in ((shop(), "1002"), (cafe(), "1003")):
            await owner.presses_connect()
            await owner.finishes(stage.signs_up(number), waba_id=waba_id)
            if number.phone_number_id == SHOP:
                await owner.reads("work.number", number="+5215550000002")
                await owner.page.click("#home")
        await owner.reads("error.second_number")
        await expect(owner.page.locator("#problem-details")).to_contain_text("{phone_number_id}:{contact}")
        await owner.visit.look("second-number")


async def test_of_several_numbers_the_owner_chooses(stage: Stage) -> None:
    """With their names; the code is not exchanged a second time."""
    for phone_number_id, name in (("9", "Tienda <norte>"), ("10", "Café")):
        other = shop()
        other.phone_number_id, other.verified_name = phone_number_id, name
        other.display_phone_number = f"52155500000{phone_number_id.rjust(2, '0')}"
        stage.meta.accounts.add_number(other)
    async with stage.owner("en", phone=True) as owner:
        await owner.opens()
        await owner.presses_connect()
        await owner.finishes(stage.signs_up())
        await owner.is_at("choose")
        await owner.reads("choose.text")
        await owner.visit.look("choose")
        await owner.page.get_by_text("Tienda <norte>").click()
        await owner.page.click("#numbers button")
        await owner.reads("work.number", number="+5215550000009")
    assert [call.operation for call in stage.meta.calls].count("oauth") == 1
    assert asked_of(stage) == SYNCS


async def test_what_has_to_wait_says_until_when(stage: Stage) -> None:
    """The app does not get the history yet: nothing is asked for, and it goes on by itself once it does."""
    stage.meta.accounts.app_fields -= {"history"}
    async with stage.owner("pt", phone=True) as owner:
        await owner.opens()
        await owner.presses_connect()
        await owner.finishes(stage.signs_up())
        await owner.reads("waits.fields_missing")
        assert "{time}" not in await owner.visit.shown()
        await owner.reads("waits.until")
        await owner.visit.look("waits-pt")
        assert asked_of(stage) == []
        await owner.page.reload()
        await owner.reads("known.title")
        await owner.reads("warn.sync_deadline", "#known .warn")
        await owner.visit.look("known-deadline-pt")
        await owner.page.click("#known .link")
        await owner.reads("waits.fields_missing")
        stage.meta.accounts.app_fields |= {"history"}
        await stage.site.service.database.write(make_due)
        await owner.reads("history.requested")
        await expect(owner.page.locator("#waiting")).to_be_empty(timeout=PATIENCE)
    assert asked_of(stage) == SYNCS


def make_due(connection: Any) -> None:
    """Let what waits be looked at now."""
    connection.execute(onboardings.update().values(due_at=0.0))


async def test_a_history_that_does_not_come_says_why(stage: Stage) -> None:
    """Declined, asked for before, too late, refused, unclear: each with its sentence, and the bot works."""
    number = shop()
    number.shares_history = False
    cases: list[tuple[dict[str, Any] | None, str, str]] = [
        (None, "history.declined", "contacts.completed"),
        ({"kind": "error", "code": 2593107}, "history.2593107", "contacts.2593107"),
        ({"kind": "error", "code": 2593108}, "history.2593108", "contacts.2593108"),
        ({"kind": "error", "code": 131031}, "history.failed", "contacts.failed"),
        ({"kind": "http", "http_status": 500}, "history.unclear", "contacts.unclear"),
    ]
    async with stage.owner("pt", phone=True) as owner:
        await owner.opens()
        for failure, history, contacts in cases:
            if failure:
                stage.meta.failures.add("smb_app_data", **failure, count=2)
            await owner.presses_connect()
            await owner.finishes(stage.signs_up(number))
            await owner.reads(history)
            await owner.reads(contacts, count=1)
            if failure and failure.get("code") == 131031:
                await expect(owner.page.locator("#step-history")).to_contain_text("131031")
            await owner.visit.look(f"{history}")
            await stage.forgets(SHOP)
            await owner.begins_anew("#home")


async def test_an_owner_who_comes_back_sees_how_the_numbers_are(stage: Stage) -> None:
    """Warnings reach who opens the page, too: a silent phone, a token near its end, what Meta forbids."""
    service = stage.site.service
    async with stage.owner("en", phone=True) as owner:
        await owner.opens()
        await expect(owner.page.locator("#known")).to_be_hidden()
        for number, waba_id in ((shop(), "1002"), (cafe(), "1003")):
            await owner.presses_connect()
            await owner.finishes(stage.signs_up(number), waba_id=waba_id)
            await owner.reads("work.number", number=f"+{number.display_phone_number}")
            await owner.page.click("#home")
        await owner.reads("state.connected", "#known")
        now, day = service.clock(), 86_400.0
        heard = now - 11.5 * day
        silent: dict[str, Any] = {"last_phone_activity_at": heard, "onboarded_at": heard, "created_at": heard}
        await service.database.write(numbers.change, SHOP, **silent, token_expires_at=now + 2.5 * day)
        for state in STATES:
            until = now + day if state in STATES[:2] else None
            await service.database.write(numbers.change, CAFE, state=state, state_until=until)
            await owner.opens()
            await owner.reads(f"state.{state}", "#known")
            await owner.visit.look(f"known-{state}")
        await owner.reads("warn.phone_silent", "#known", days=11)
        await owner.reads("warn.token_ends", "#known", days=3)
