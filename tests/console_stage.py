"""The page ``/console`` in a browser: a shop with a bot, customers who write, and who looks after it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from browsers import Visit, visiting
from channels import ADMIN_TOKEN, Site, credentials, running_channel
from cloud_api import running_simulator
from connect_stage import LOCALES, PATIENCE, session_cookie
from playwright.async_api import Browser, Locator, Page, expect
from stand_in_rasa import StandInAgent, StandInBot

from rasa_coexistence import pages
from rasa_coexistence.simulator import Simulator
from rasa_coexistence.simulator.phones import CustomerPhone

BEARER = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


@dataclass
class Keeper:
    """Somebody who looks after the shop: what they do on the page, and what they must see."""

    visit: Visit
    language: str
    url: str

    @property
    def page(self) -> Page:
        """The page itself."""
        return self.visit.page

    @property
    def rows(self) -> Locator:
        """The conversations of the list."""
        return self.page.locator("#conversations > li")

    def words(self, key: str, **values: Any) -> str:
        """Return a text of the page's, up to the first place for which no value is given."""
        told = pages.texts("console", self.language)[key]
        for name, value in values.items():
            told = told.replace(f"{{{name}}}", str(value))
        return told.partition("{")[0]

    async def opens(self, conversation: str = "") -> None:
        """Open the page, on one conversation if one is named."""
        await self.page.goto(f"{self.url}/console" + (f"#c={conversation}" if conversation else ""))
        await expect(self.rows.first).to_be_attached(timeout=PATIENCE)  # on a phone behind the chat

    async def reads(self, told: str, where: str = "main") -> None:
        """See something in a part of the page."""
        await expect(self.page.locator(where)).to_contain_text(told, timeout=PATIENCE, use_inner_text=True)

    async def finds(self, key: str, where: str = "main", **values: Any) -> None:
        """See a text of the page's own."""
        await self.reads(self.words(key, **values), where)

    async def opens_chat(self, name: str) -> None:
        """Choose a conversation of the list."""
        await self.rows.filter(has_text=name).locator("a").click()
        await expect(self.page.locator("#chat-name")).to_have_text(name, timeout=PATIENCE)
        await expect(self.page.locator("#messages > li").first).to_be_visible(timeout=PATIENCE)

    async def looks_again(self) -> None:
        """Do not wait for the page to look by itself."""
        await self.page.evaluate("lookAgain()")


@dataclass
class Shop:
    """A number with a bot, Meta before it, and a browser."""

    site: Site
    meta: Simulator
    bot: StandInBot
    browser: Browser

    @asynccontextmanager
    async def keeper(
        self, language: str = "es", *, phone: bool = False, logged_in: bool = True
    ) -> AsyncIterator[Keeper]:
        """Let somebody look at the console."""
        host = urlsplit(self.site.url).netloc
        async with visiting(self.browser, host, {}, locale=LOCALES[language], phone=phone) as visit:
            if logged_in:
                await visit.context.add_cookies([session_cookie(self.site.url)])  # type: ignore[list-item]
            yield Keeper(visit=visit, language=language, url=self.site.url)

    def customer(self, number: int, name: str) -> CustomerPhone:
        """Return a customer's phone."""
        return self.meta.customer(f"52155500010{number:02}", name)

    def told(self, customer: CustomerPhone) -> list[str]:
        """Return what reached a customer."""
        mine = (sent for sent in self.meta.sending.sent if sent.person.key == customer.person.key)
        return [str(sent.body.get("text", {}).get("body")) for sent in mine]

    async def answered(self, customer: CustomerPhone, times: int) -> None:
        """Wait until the bot has told a customer so many things."""
        await until(lambda: len(self.told(customer)) >= times, f"the answer number {times}")

    async def api(self, path: str) -> Any:
        """Ask the API."""
        status, answer = await self.site.call("GET", f"/api{path}", headers=BEARER)
        assert status == 200
        return answer

    async def holds(self, customer: CustomerPhone) -> None:
        """Take a conversation over by the API."""
        path = f"/api/conversations/{customer.person.wa_id}/takeover"
        status, _answer = await self.site.call("POST", path, headers=BEARER)
        assert status == 200

    async def filed(self, customer: CustomerPhone, text: str) -> None:
        """Wait until the ledger has what a customer wrote."""
        for _ in range(1000):
            known = (await self.api("/conversations?limit=200"))["conversations"]
            mine = [one for one in known if one["contact"]["wa_id"] == customer.person.wa_id]
            if mine and (mine[0]["last_message"] or {}).get("text") == text:
                return
            await asyncio.sleep(0.02)
        raise TimeoutError(text)


async def until(holds: Any, what: str) -> None:
    """Wait until something holds."""
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.02)
    raise TimeoutError(what)


@asynccontextmanager
async def open_shop(browser: Browser, folder: Path, **changes: Any) -> AsyncIterator[Shop]:
    """Set everything up; ``changes`` are of credentials.yml."""
    bot = StandInBot(time.time)
    bot.says = lambda heard, number: f"Con gusto: {heard.text}"
    agent = StandInAgent(f"sqlite:///{folder}/rasa.db", bot, time.time)
    async with running_simulator() as meta:
        block = credentials(f"sqlite:///{folder}/ledger.db", graph_url=meta.url, **changes)
        async with running_channel(block, agent) as site:
            meta.accounts.webhook_url = f"{site.url}/webhook"
            yield Shop(site, meta, bot, browser)
    agent.close()
