"""The pages around ``/connect``: who is let in, in which language, and what a browser may load."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from channels import ADMIN_TOKEN, Site, credentials, running_channel
from signups import KEY

from rasa_coexistence import pages, sessions
from rasa_coexistence.onboarding import alerts
from rasa_coexistence.onboarding.troubles import TROUBLES
from rasa_coexistence.records import NumberState
from rasa_coexistence.sync_troubles import SENTENCES

SIGNUP: dict[str, Any] = {"app_id": "1234500001", "config_id": "77", "encryption_key": KEY}
BEARER = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
PLACE = re.compile(r"\{(\w+)\}")
API_ONLY = {"unknown_number", "several_numbers"}  # one is of POST /api/sync, the other a question


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with running_channel(credentials(f"sqlite:///{tmp_path}/ledger.db", **SIGNUP)) as site:
        yield site


async def get(site: Site, path: str = "/connect", **headers: str) -> tuple[int, Any, str]:
    """Fetch a page; return status, headers and text."""
    async with site.session.get(site.url + path, headers=headers, allow_redirects=False) as answer:
        return answer.status, answer.headers, await answer.text()


async def log_in(site: Site, token: str = ADMIN_TOKEN, **headers: str) -> tuple[int, Any]:
    """Send the login's form; return status and headers."""
    url, form = f"{site.url}/login", {"token": token, "page": "connect"}
    async with site.session.post(url, data=form, headers=headers, allow_redirects=False) as answer:
        return answer.status, answer.headers


@pytest.mark.parametrize(
    ("wanted", "spoken"),
    [
        ("es-MX,es;q=0.9,en;q=0.8", "es"),
        ("pt-BR", "pt"),
        ("en-GB", "en"),
        ("fr, pt;q=0.3, es;q=0.7", "es"),
        ("de", "en"),
        ("ES", "es"),
        ("es;q=oops, en;q=0.1", "en"),
        ("", "en"),
    ],
)
async def test_the_browser_chooses_the_language(site: Site, wanted: str, spoken: str) -> None:
    """By how much it likes each; English for everybody else."""
    _status, _headers, body = await get(site, **{"Accept-Language": wanted, **BEARER})
    assert f'<html lang="{spoken}">' in body
    assert pages.texts("connect", spoken)["before.title"] in body


async def test_the_policy_lets_in_meta_and_nobody_else(site: Site) -> None:
    """A foreign script on this page could connect a number of its own."""
    for headers in (BEARER, {}):
        _status, told, body = await get(site, **headers)
        rules = dict(rule.strip().split(" ", 1) for rule in told["Content-Security-Policy"].split(";"))
        assert rules["default-src"] == "'none'"
        assert rules["script-src"] == "'self' https://connect.facebook.net"
        assert (rules["frame-ancestors"], rules["base-uri"]) == ("'none'", "'none'")
        assert not {"*", "https:", "http:", "data:"} & set(" ".join(rules.values()).split()) - {"data:"}
        assert not re.search(r"<script(?![^>]*(src=|application/json))|\son\w+=", body)
        assert told["Cross-Origin-Opener-Policy"] == "same-origin-allow-popups"
        assert (told["Cache-Control"], told["X-Content-Type-Options"]) == ("no-store", "nosniff")


async def test_the_page_holds_no_secret(site: Site) -> None:
    """A browser needs app_id and config_id, and nothing that only Meta and we may know."""
    _status, _headers, body = await get(site, **BEARER)
    settings = site.service.settings
    assert str(settings.app_id) in body
    assert str(settings.config_id) in body
    for secret in (
        *settings.app_secrets,
        *settings.encryption_keys,
        settings.admin_token,
        settings.verify_token,
    ):
        assert secret is not None
        assert secret not in body


async def test_a_login_lasts_until_the_token_changes(site: Site) -> None:
    """The cookie is for this server's pages alone, and worth nothing once admin_token is another."""
    status, headers = await log_in(site)
    assert (status, headers["Location"]) == (303, "connect")
    cookie = headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/webhooks/whatsapp"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    value = cookie.partition(";")[0]
    assert (await get(site, Cookie=value))[0] == 200
    session = value.partition("=")[2]
    now = time.time()
    assert not sessions.is_session(session, "another token", now=now)
    assert not sessions.is_session(session, ADMIN_TOKEN, now=now + sessions.LIFETIME_SECONDS + 1)
    for forged in ("", "x", f"{session}0", session.replace(".", "9.", 1), "9999999999.ab.cd"):
        assert (await get(site, Cookie=f"{sessions.COOKIE}={forged}"))[0] == 401
    _status, headers = await log_in(site, Origin="https://shop.example")
    assert "Secure" in headers["Set-Cookie"]


async def test_guessing_the_password_is_slow(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten wrong ones a minute, of everybody together; then also the right one has to wait."""
    monkeypatch.setattr("rasa_coexistence.routes_pages.WRONG_SECONDS", 0.0)
    assert [(await log_in(site, guess))[0] for guess in ("", "guess", "contraseña") * 4] == [401] * 10 + [
        429
    ] * 2
    assert (await log_in(site))[0] == 429


async def test_a_foreign_page_cannot_post_for_who_is_logged_in(site: Site) -> None:
    """A browser sends its cookies along; only our own page may use them."""
    value = f"{sessions.COOKIE}={sessions.new_session(ADMIN_TOKEN, now=time.time())}"
    own = {"Cookie": value, "Origin": site.url.removesuffix("/webhooks/whatsapp")}
    foreign: list[dict[str, str]] = [
        {"Cookie": value},
        {"Cookie": value, "Origin": "https://evil.example"},
        {"Cookie": value, "Origin": "null"},
        own | {"Sec-Fetch-Site": "cross-site"},
        own | {"Sec-Fetch-Site": "same-site"},
    ]
    for headers in foreign:
        assert (await site.call("POST", "/api/onboarding", json={}, headers=headers))[0] == 401
    for headers in (own, {"Cookie": value, "Sec-Fetch-Site": "same-origin"}):
        assert (await site.call("POST", "/api/onboarding", json={}, headers=headers))[0] == 400


async def test_pages_exist_only_with_their_settings(tmp_path: Path) -> None:
    """Without admin_token nobody could be let in; without app_id and config_id Meta's window cannot open."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    async with running_channel(credentials(url, admin_token=None, **SIGNUP)) as site:
        assert (await get(site))[0] == 404
        assert (await log_in(site))[0] == 404
    async with running_channel(credentials(url)) as site:
        status, _headers, body = await get(site, **BEARER)
        assert status == 404
        assert "config_id" in body


@pytest.mark.parametrize("name", ["texts.json", "connect.html", "none.js", "..%2fpages.py", "Pages.css"])
async def test_only_scripts_and_styles_are_given_away(site: Site, name: str) -> None:
    """And only those that are there."""
    assert (await get(site, f"/connect/{name}"))[0] == 404


@pytest.mark.parametrize("name", ["connect.js", "events.js", "numbers.js", "pages.css"])
async def test_scripts_and_styles_need_no_login(site: Site, name: str) -> None:
    """The login itself wears them."""
    status, headers, body = await get(site, f"/connect/{name}")
    assert (status, bool(body)) == (200, True)
    assert headers["Content-Type"].startswith(("text/javascript", "text/css"))


async def test_a_slash_at_the_end_leads_to_the_page(site: Site) -> None:
    """The page's own links would lead nowhere."""
    status, headers, _body = await get(site, "/connect/", **BEARER)
    assert (status, headers["Location"]) == (302, "../connect")


def test_every_language_says_everything() -> None:
    """The same texts with the same values to fill in; a missing one would show as an empty line."""
    english = pages.texts("connect", "en")
    for spoken in pages.LANGUAGES:
        told = pages.texts("connect", spoken)
        assert told.keys() == english.keys()
        for key, text in told.items():
            assert text.strip()
            assert sorted(PLACE.findall(text)) == sorted(PLACE.findall(english[key])), key


def test_every_trouble_has_a_sentence_for_owners() -> None:
    """In each language: codes of ours and of Meta's, states, and what could be lost."""
    wanted = {
        f"waits.{code}" if trouble.goes_on else f"error.{code}"
        for code, trouble in TROUBLES.items()
        if code not in API_ONLY
    }
    wanted |= {f"history.{code}" for code in SENTENCES} | {"contacts.2593107", "contacts.2593108"}
    wanted |= {f"state.{state.value}" for state in NumberState}
    wanted |= {f"warn.{code}" for code in (alerts.SYNC_DEADLINE, alerts.PHONE_SILENT, alerts.TOKEN_ENDS)}
    for spoken in pages.LANGUAGES:
        assert not wanted - pages.texts("connect", spoken).keys()


def test_every_text_is_used() -> None:
    """One that no page asks for is dead, or misspelt where it is asked for."""
    sources = "".join(
        pages.source("connect", name)
        for name in ("connect.html", "login.html", "connect.js", "events.js", "numbers.js")
    )
    routes = (pages.PACKAGE / "routes_pages.py").read_text()
    made = ("error.", "waits.", "finish.", "cancel.", "contacts.", "history.", "state.", "warn.", "problem.")
    for key in pages.texts("connect", "en"):
        assert key.startswith(made) or key in sources or key in routes, key
    for key in re.findall(r"""text\(["']([\w.]+)["']""", sources) + re.findall(
        r"\{\{([a-z]+\.\w+)\}\}", sources
    ):
        assert key in pages.texts("connect", "en"), key
