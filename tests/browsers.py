"""A real Chromium for tests of pages, without a way to the internet."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, BrowserContext, Page, Route, async_playwright

# The shell is Chromium without windows, and starts and draws in half the time.
COMMANDS = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome-stable",
    "google-chrome",
    "chrome",
)
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}
LOADED_IN_VAIN = "Failed to load resource"  # said of every 4xx; the tests look at those themselves

Answer = Callable[[Route], Awaitable[None]]


def chromium() -> str:
    """Return the browser to drive; fail, and say how to get one, where there is none."""
    named = os.environ.get("CHROMIUM")
    found = named or next(filter(None, map(shutil.which, COMMANDS)), None)
    if found is None and MAC.exists():
        found = str(MAC)
    if found is None:
        pytest.fail(
            "The tests of the web pages need Chromium: 'apt-get install chromium-headless-shell', or set the "
            "variable CHROMIUM to the path of a Chromium or Chrome.",
            pytrace=False,
        )
    return found


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """Run Chromium without a screen."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium())
        try:
            yield browser
        finally:
            await browser.close()


class Visit:
    """One browser profile; what goes wrong in it by itself is noted."""

    def __init__(self, context: BrowserContext, page: Page) -> None:
        self.context = context
        self.page = page
        self.wrongs: list[str] = []

    def listen(self, page: Page) -> None:
        """Note what a page complains of, refused by the Content-Security-Policy or broken."""
        page.on("pageerror", lambda error: self.wrongs.append(str(error)))
        page.on(
            "console",
            lambda told: (
                self.wrongs.append(told.text)
                if told.type in ("error", "warning") and not told.text.startswith(LOADED_IN_VAIN)
                else None
            ),
        )

    async def shown(self) -> str:
        """Return what can be read on the page."""
        return await self.page.inner_text("main")

    async def look(self, name: str) -> None:
        """See that the page fits its window; keep a picture of it where SCREENSHOTS names a folder."""
        wide, window = await self.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert wide <= window, f"{name}: {wide} pixels wide in a window of {window}"
        if folder := os.environ.get("SCREENSHOTS"):
            await self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@asynccontextmanager
async def visiting(
    browser: Browser, own_host: str, foreign: dict[str, Answer], *, locale: str, phone: bool = False
) -> AsyncIterator[Visit]:
    """Open a browser profile; hosts beside our own are played by ``foreign``, all others are out of reach."""
    context = await browser.new_context(locale=locale, viewport=PHONE if phone else DESKTOP)  # type: ignore[arg-type]
    page = await context.new_page()
    visit = Visit(context, page)
    visit.listen(page)

    async def lead(route: Route) -> None:
        host = urlsplit(route.request.url).netloc
        if host == own_host:
            await route.continue_()
        elif host in foreign:
            await foreign[host](route)
        else:
            visit.wrongs.append(f"asked for {route.request.url}")
            await route.abort()

    await context.route("**/*", lead)
    try:
        yield visit
    finally:
        await context.close()
    assert visit.wrongs == []
