"""The page ``/connect`` in a browser, before the simulated Meta and a stand-in for its window."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from browsers import Answer, Visit, visiting
from channels import ADMIN_TOKEN, Site, credentials, running_channel
from cloud_api import running_simulator
from playwright.async_api import Browser, Page, Route, expect
from signups import APART, KEY, shop
from stand_in_rasa import StandInAgent, StandInBot

from rasa_coexistence import pages, sessions
from rasa_coexistence.ledger import numbers
from rasa_coexistence.simulator import Number, Simulator
from rasa_coexistence.simulator.chats import cut, made_up
from rasa_coexistence.simulator.state import Webhook, person

STAND_IN = Path(__file__).parent / "sdk_stand_in"
FINISHED = "FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING"
LOCALES = {"es": "es-MX", "en": "en-US", "pt": "pt-BR"}
SYNCS = ["smb_app_state_sync", "history"]
PATIENCE = 60_000.0  # milliseconds, for a busy machine


@dataclass
class Owner:
    """An owner at the page: what they do, and what they must see."""

    visit: Visit
    language: str
    url: str
    metas: Page | None = field(default=None)  # Meta's window

    @property
    def page(self) -> Page:
        """The page itself."""
        return self.visit.page

    def words(self, key: str, **values: Any) -> str:
        """Return a text of the page's in the owner's language, as a reader sees it."""
        told = pages.texts("connect", self.language)[key]
        for name, value in values.items():
            told = told.replace(f"{{{name}}}", str(value))
        return told

    async def opens(self, query: str = "") -> None:
        """Open the page, logged in."""
        await self.page.goto(f"{self.url}/connect{query}")
        await expect(self.page.locator("#connect")).to_be_enabled(timeout=PATIENCE)

    async def presses_connect(self) -> Page:
        """Press the button that opens Meta's window."""
        async with self.page.expect_popup() as opening:
            await self.page.click("#connect")
        self.metas = await opening.value
        await self.metas.wait_for_function("typeof tellSignup === 'function'")
        return self.metas

    async def hears(self, event: str, **data: Any) -> None:
        """Let Meta's window tell how the sign-up ended."""
        await self._in_window("([event, data]) => tellSignup(event, data)", [event, data])

    async def hears_raw(self, told: Any) -> None:
        """Let Meta's window tell anything."""
        await self._in_window("(told) => tell(told)", told)

    async def gets_code(self, code: str) -> None:
        """Let FB.login answer with a code."""
        answer = {"authResponse": {"code": code}, "status": "connected"}
        await self._in_window("(answer) => logIn(answer)", answer)

    async def finishes(self, code: str, event: str = FINISHED, **data: Any) -> None:
        """Finish Meta's window."""
        await self.hears(event, **(data or {"waba_id": "1002"}))
        await self.gets_code(code)

    async def begins_anew(self, button: str = "#again") -> None:
        """Close Meta's window and go back to the beginning."""
        if self.metas is not None:
            await self.metas.close()
        await self.page.click(button)
        await self.is_at("start")

    async def reads(self, key: str, where: str = "main", **values: Any) -> None:
        """See a text of the page's, up to the first place for which no value is given."""
        told = self.words(key, **values).partition("{")[0]
        await expect(self.page.locator(where)).to_contain_text(told, timeout=PATIENCE, use_inner_text=True)

    async def is_at(self, section: str) -> None:
        """See one section of the page and none of the others."""
        await expect(self.page.locator(f"#{section}")).to_be_visible(timeout=PATIENCE)
        for other in {"start", "meta", "choose", "work", "problem"} - {section}:
            await expect(self.page.locator(f"#{other}")).to_be_hidden()

    async def _in_window(self, script: str, argument: Any) -> None:
        assert self.metas is not None
        await self.metas.evaluate(script, argument)


@dataclass
class Stage:
    """A bot that numbers can sign up at, Meta, and a browser."""

    site: Site
    meta: Simulator
    browser: Browser

    @asynccontextmanager
    async def owner(
        self,
        language: str = "es",
        *,
        phone: bool = False,
        logged_in: bool = True,
        hosts: Mapping[str, Answer] = {},
    ) -> AsyncIterator[Owner]:
        """Let an owner come by."""
        host = urlsplit(self.site.url).netloc
        played = {
            "connect.facebook.net": _the_sdk,
            "www.facebook.com": _metas_window,
            "web.facebook.com": _metas_window,
            "evilfacebook.com": _metas_window,
            **hosts,
        }
        async with visiting(self.browser, host, played, locale=LOCALES[language], phone=phone) as visit:
            if logged_in:
                await visit.context.add_cookies([session_cookie(self.site.url)])  # type: ignore[list-item]
            yield Owner(visit=visit, language=language, url=self.site.url)

    def signs_up(self, number: Number | None = None, **how: Any) -> str:
        """Let Meta make the code of a finished window; the phone holds a contact, its chats come later."""
        number = number or shop()
        code = self.meta.accounts.sign_up(number, **how)
        self.meta.address_books[number.phone_number_id] = [person("5215550001001", "Lucía")]
        return code

    async def forgets(self, phone_number_id: str) -> None:
        """Let a number be as if it had never been here."""
        for forget in (numbers.forget, numbers.reset_syncs):
            await self.site.service.database.write(forget, phone_number_id)

    def pieces(self, number: Number | None = None) -> list[Webhook]:
        """Return old chats in four pieces, as Meta posts them."""
        number = number or shop()
        now = time.time()
        chats = list(made_up(number, chats=4, messages_each=6, now=now, days=80))
        return [chunk.webhook(number) for chunk in cut(chats, now=now, messages_per_chunk=6)]


def asked_of(stage: Stage) -> list[str]:
    """Return the syncs that Meta was asked for."""
    calls = (call for call in stage.meta.calls if call.operation == "smb_app_data")
    return [str((call.body or {})["sync_type"]) for call in calls]


@asynccontextmanager
async def open_stage(browser: Browser, folder: Path, **changes: Any) -> AsyncIterator[Stage]:
    """Set everything up; ``changes`` are of credentials.yml."""
    agent = StandInAgent(f"sqlite:///{folder}/rasa.db", StandInBot(time.time), time.time)
    async with running_simulator(subscribed=False) as meta:
        block = credentials(
            f"sqlite:///{folder}/ledger.db",
            graph_url=meta.url,
            app_id=meta.accounts.app_id,
            config_id="77",
            encryption_key=KEY,
            **{"access_token": None, "phone_number_id": None, "sender_id": APART, **changes},
        )
        async with running_channel(block, agent) as site:
            meta.accounts.webhook_url = f"{site.url}/webhook"
            yield Stage(site, meta, browser)
    agent.close()


async def _the_sdk(route: Route) -> None:
    headers = {"Access-Control-Allow-Origin": "*"}  # as Meta's: the page asks for it without cookies
    await route.fulfill(path=STAND_IN / "sdk.js", content_type="application/x-javascript", headers=headers)


async def _metas_window(route: Route) -> None:
    await route.fulfill(path=STAND_IN / "dialog.html", content_type="text/html")


def session_cookie(url: str) -> dict[str, Any]:
    """Return the cookie of somebody who is logged in."""
    value = sessions.new_session(ADMIN_TOKEN, now=time.time())
    where = {"domain": "127.0.0.1", "path": urlsplit(url).path}
    return {"name": sessions.COOKIE, "value": value, "httpOnly": True, "sameSite": "Strict", **where}
