"""An owner connects a number on ``/connect``, in a real browser and in three languages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from browsers import running_browser
from channels import ADMIN_TOKEN
from connect_stage import FINISHED, SYNCS, Owner, Stage, asked_of, open_stage
from playwright.async_api import Browser, Request, Route, expect
from signups import SHOP

from rasa_coexistence import sessions

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

LANGUAGES = ["es", "en", "pt"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def stage(browser: Browser, tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(browser, tmp_path) as found:
        yield found


@pytest.mark.parametrize("language", LANGUAGES)
async def test_only_who_knows_the_password_gets_there(stage: Stage, language: str) -> None:
    """Whoever connects a number decides who answers its customers."""
    async with stage.owner(language, phone=language == "es", logged_in=False) as owner:
        page = owner.page
        await page.goto(f"{owner.url}/connect")
        await owner.reads("login.explain")
        await owner.visit.look(f"login-{language}")
        await page.fill("#token", "guess")
        await page.click("button[type=submit]")
        await owner.reads("login.wrong")
        await owner.visit.look(f"login-wrong-{language}")
        await page.fill("#token", ADMIN_TOKEN)
        await page.click("button[type=submit]")
        await owner.is_at("start")
        [cookie] = await owner.visit.context.cookies()
        assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == (sessions.COOKIE, True, "Strict")
        await page.click("footer button")
        await owner.reads("login.explain")
        assert await owner.visit.context.cookies() == []


@pytest.mark.parametrize(
    ("language", "code_first"), [("es", True), ("en", False), ("pt", True)], ids=LANGUAGES
)
async def test_from_the_phone_to_a_synced_bot(stage: Stage, language: str, code_first: bool) -> None:
    """Told beforehand what matters, then live: the number, the contacts, each piece of the history."""
    kind = "phone" if code_first else "desktop"
    async with stage.owner(language, phone=code_first) as owner:
        await owner.opens()
        for key in ("title", "before.share", "before.open", "before.window", "before.devices"):
            await owner.reads(key)
        await owner.visit.look(f"start-{language}-{kind}")
        await owner.presses_connect()
        await owner.is_at("meta")
        await owner.reads("meta.text")
        await owner.visit.look(f"meta-{language}-{kind}")
        code = stage.signs_up()
        told = (owner.hears(FINISHED, waba_id="1002"), owner.gets_code(code))
        for signal in reversed(told) if code_first else told:
            await signal
        await owner.is_at("work")
        await owner.reads("work.number", number="+5215550000002")
        await owner.reads("work.open")
        await owner.reads("contacts.completed", count=1)
        await follows_the_history(stage, owner, f"{language}-{kind}")
    assert asked_of(stage) == SYNCS


async def follows_the_history(stage: Stage, owner: Owner, name: str) -> None:
    """See each piece of the history arrive, without touching the page."""
    await owner.reads("history.requested")
    for done, piece in enumerate(stage.pieces(), start=1):
        await stage.meta.post(piece)
        if done < 4:
            count: dict[str, Any] = {"progress": 25 * done, "messages": 6 * done, "chats": done}
            await owner.reads("history.syncing", **count)
            assert await owner.page.eval_on_selector("#bar", "bar => bar.value") == 25 * done
        if done == 2:
            await owner.visit.look(f"sync-{name}")
    await owner.reads("history.completed", messages=24, chats=4)
    await owner.reads("work.done")
    await owner.reads("work.close")
    await owner.reads("after.pay")
    await owner.visit.look(f"done-{name}")


@pytest.mark.parametrize(("query", "version"), [("", None), ("?version=v3", "v3")], ids=["v4", "v3"])
async def test_metas_window_is_asked_for_coexistence(stage: Stage, query: str, version: str | None) -> None:
    """A v4 login configuration needs no version; a v3 one is asked for by name."""
    async with stage.owner() as owner:
        await owner.opens(query)
        await owner.presses_connect()
        known = {"setup": {}, "featureType": "whatsapp_business_app_onboarding", "sessionInfoVersion": "3"}
        assert await owner.page.evaluate("window.asked") == {
            "config_id": "77",
            "response_type": "code",
            "override_default_response_type": True,
            "extras": known if version is None else known | {"version": version},
        }
        initialised = await owner.page.evaluate("window.initialised")
        assert (initialised["appId"], initialised["version"]) == (stage.meta.accounts.app_id, "v26.0")


WITH_ALL = {"phone_number_id": SHOP, "waba_id": "1002", "business_id": "3003", "waba_ids": [], "page_ids": []}
FINISHES: dict[str, tuple[str, dict[str, Any]]] = {
    "coexistence": (FINISHED, {"waba_id": "1002"}),
    "everything": ("FINISH", WITH_ALL),
    "numbers for ids": ("FINISH", {"phone_number_id": int(SHOP), "waba_id": 1002}),
    "WhatsApp Login": ("FINISH", {"waba_id": "1002", "is_wa_login_user": True}),
    "only the account": ("FINISH_ONLY_WABA", {"waba_id": "1002"}),
    "a list of one account": ("FINISH", {"waba_ids": ["1002"]}),
    "moved": ("FINISH_OBO_MIGRATION", {"waba_id": "1002"}),
    "access alone": ("FINISH_GRANT_ONLY_API_ACCESS", {"waba_id": "1002"}),
    "no ids at all": (FINISHED, {}),
}


async def test_every_finish_is_one(stage: Stage) -> None:
    """Meta has several names for it; whether the number is on the phone is asked of Meta, not of the page."""
    async with stage.owner() as owner:
        await owner.opens()
        for event, data in FINISHES.values():
            await owner.presses_connect()
            await owner.hears(event, **data)
            await owner.gets_code(stage.signs_up())
            await owner.reads("work.number", number="+5215550000002")
            await stage.forgets(SHOP)
            await owner.begins_anew("#home")
    assert asked_of(stage) == SYNCS * len(FINISHES)


# event, what it carries, the text that is shown, and details beside it
ENDS: dict[str, tuple[str, dict[str, Any], str, list[str]]] = {
    "left where the number is chosen": (
        "CANCEL",
        {"current_step": "PHONE_NUMBER_SETUP"},
        "cancel.PHONE_NUMBER_SETUP",
        ["PHONE_NUMBER_SETUP"],
    ),
    "left before the code": (
        "CANCEL",
        {"current_step": "PHONE_NUMBER_VERIFICATION"},
        "cancel.PHONE_NUMBER_VERIFICATION",
        ["PHONE_NUMBER_VERIFICATION"],
    ),
    "left at a step not known here": ("CANCEL", {"current_step": "NEW_STEP"}, "cancel.other", ["NEW_STEP"]),
    "left, no step told": ("CANCEL", {}, "cancel.other", []),
    "reported an error": (
        "CANCEL",
        {"error_message": "<b>Oops</b>", "error_code": "524126", "session_id": "f34b", "timestamp": "17"},
        "problem.meta",
        ["524126", "<b>Oops</b>", "f34b"],
    ),
    "error": ("ERROR", {"error_message": "Oops", "error_id": 524126}, "problem.meta", ["524126: Oops"]),
    "error without details": ("ERROR", {}, "problem.meta", []),
}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_end_has_its_sentence(stage: Stage, language: str) -> None:
    """What happened, that the phone is as before, and what to do now; then the owner begins again."""
    async with stage.owner(language, phone=True) as owner:
        await owner.opens()
        for case, (event, data, key, details) in ENDS.items():
            await owner.presses_connect()
            await owner.hears(event, **data)
            await owner.is_at("problem")
            await owner.reads(key)
            for detail in details:
                await expect(owner.page.locator("#problem-details")).to_contain_text(detail)
            await owner.visit.look(f"end-{case}-{language}".replace(" ", "_").replace(",", ""))
            await owner.begins_anew()
    assert asked_of(stage) == []


NOISE: list[Any] = [
    "not JSON",
    "{",
    "",
    7,
    None,
    [],
    {"type": "ELSE", "event": "FINISH", "data": {"waba_id": "666"}},
    {"type": "WA_EMBEDDED_SIGNUP"},
    {"type": "WA_EMBEDDED_SIGNUP", "event": "SOMETHING_NEW", "data": {"waba_id": "666"}},
    '{"type":"WA_EMBEDDED_SIGNUP","event":null,"data":"odd"}',
    '"FINISH"',
]


async def test_noise_and_strangers_change_nothing(stage: Stage) -> None:
    """Other windows may write to the page; only Meta's exact addresses are listened to."""
    async with stage.owner() as owner:
        await owner.opens()
        metas = await owner.presses_connect()
        for told in NOISE:
            await owner.hears_raw(told)
        async with owner.page.expect_popup() as opening:
            await owner.page.evaluate("void window.open('https://evilfacebook.com/')")
        evil = await opening.value
        await evil.wait_for_function("typeof tellSignup === 'function'")
        for event, data in (("CANCEL", {}), ("ERROR", {}), ("FINISH", {"waba_id": "666"})):
            await evil.evaluate("([event, data]) => tellSignup(event, data)", [event, data])
        await evil.evaluate("tell({ stand_in_login: { authResponse: { code: 'stolen' } } })")
        await owner.page.evaluate("window.postMessage({type: 'WA_EMBEDDED_SIGNUP', event: 'CANCEL'}, '*')")
        await owner.is_at("meta")
        finish = {"type": "WA_EMBEDDED_SIGNUP", "event": FINISHED, "data": {"waba_id": "1002"}}
        await metas.goto("https://web.facebook.com/stand_in_dialog")
        await owner.hears_raw(finish)  # an object and not a string, from Meta's other address
        await owner.gets_code(stage.signs_up())
        await owner.reads("work.number", number="+5215550000002")


async def test_a_window_closed_before_the_end(stage: Stage) -> None:
    """Meta's script says only that there is no code."""
    async with stage.owner() as owner:
        await owner.opens()
        metas = await owner.presses_connect()
        await metas.close()
        await owner.is_at("problem")
        await owner.reads("cancel.other")


async def test_one_signal_alone(stage: Stage) -> None:
    """A code without its event is enough, the token tells the account; an event without a code is not."""
    async with stage.owner() as owner:
        await owner.page.clock.install()
        await owner.opens()
        await owner.presses_connect()
        await owner.hears(FINISHED, waba_id="1002")
        await owner.page.clock.run_for(21_000)
        await owner.is_at("problem")
        await owner.reads("problem.no_code")
        await owner.page.click("#again")
        await owner.presses_connect()
        await owner.gets_code(stage.signs_up())
        await owner.page.wait_for_function("attempt.code !== null")
        await owner.page.clock.run_for(9_000)
        await owner.reads("work.number", number="+5215550000002")


async def test_an_event_after_the_code_in_time_is_used(stage: Stage) -> None:
    """The page waits for the second signal, and posts once."""
    async with stage.owner() as owner:
        posts: list[Any] = []

        def note(asked: Request) -> None:
            if asked.method == "POST":
                posts.append(asked.post_data_json)

        owner.page.on("request", note)
        await owner.opens()
        await owner.presses_connect()
        await owner.gets_code(code := stage.signs_up())
        await owner.page.wait_for_function("attempt.code !== null")
        assert posts == []
        await owner.hears("FINISH", **WITH_ALL)
        await owner.reads("work.number", number="+5215550000002")
        assert posts == [{"code": code, "waba_id": "1002", "phone_number_id": SHOP}]


async def test_without_metas_script_the_page_says_so(stage: Stage) -> None:
    """Ad blockers know it."""

    async def blocked(route: Route) -> None:
        await route.abort("blockedbyclient")

    async with stage.owner(hosts={"connect.facebook.net": blocked}) as owner:
        await owner.page.goto(f"{owner.url}/connect")
        await owner.is_at("problem")
        await owner.reads("problem.blocked")
        await owner.visit.look("blocked")


async def test_by_http_the_page_says_what_is_wrong(stage: Stage) -> None:
    """Meta's window opens for https pages only; on a name of its own the browser does not tell."""

    async def proxied(route: Route) -> None:
        url = route.request.url.replace(
            "http://shop.example", stage.site.url.removesuffix("/webhooks/whatsapp")
        )
        headers = route.request.headers | {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        await route.fulfill(response=await route.fetch(url=url, headers=headers))

    async with stage.owner(hosts={"shop.example": proxied}) as owner:
        await owner.page.goto("http://shop.example/webhooks/whatsapp/connect")
        await owner.reads("problem.https")
        owner.visit.wrongs = [wrong for wrong in owner.visit.wrongs if "untrustworthy" not in wrong]


async def test_a_server_that_is_away_is_not_the_owners_fault(stage: Stage) -> None:
    """The post never arrives: nothing is lost that a second try would not bring."""
    async with stage.owner() as owner:
        await owner.opens()
        await owner.presses_connect()
        await owner.page.route("**/api/onboarding", lambda route: asyncio.ensure_future(route.abort()))
        await owner.finishes(stage.signs_up())
        await owner.reads("problem.server")
