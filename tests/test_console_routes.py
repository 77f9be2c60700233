"""What ``/console`` stands on: who is let in, what a browser may load, and what the API tells the page."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from channels import ADMIN_TOKEN, PHONE_NUMBER_ID, Site, credentials, running_channel
from ledgers import ANA, NUMBER, as_bytes

from rasa_coexistence import pages, sessions
from rasa_coexistence.events import Content
from rasa_coexistence.ledger import bubbles, message_rows
from rasa_coexistence.ledger.bubbles import Draft
from rasa_coexistence.records import BubbleState, MessageState, SyncState
from rasa_coexistence.simulator import webhooks

BEARER = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
PLACE = re.compile(r"\{(\w+)\}")
SCRIPTS = ["page.js", "list.js", "chat.js", "numbers.js", "console.js"]
IN_THE_CHAT = {state.value for state in BubbleState} - {"discarded"}
REASONS = {"phone", "history", "api", "console", "cli", "hold_keyword", "handoff", "number"}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with running_channel(credentials(f"sqlite:///{tmp_path}/ledger.db")) as site:
        yield site


async def get(site: Site, path: str = "/console", **headers: str) -> tuple[int, Any, str]:
    """Fetch a page; return status, headers and text."""
    async with site.session.get(site.url + path, headers=headers, allow_redirects=False) as answer:
        return answer.status, answer.headers, await answer.text()


async def send(site: Site, path: str, **form: str) -> tuple[int, Any]:
    """Send a form; return status and headers."""
    async with site.session.post(site.url + path, data=form, allow_redirects=False) as answer:
        return answer.status, answer.headers


async def test_the_console_is_for_who_knows_the_token(site: Site) -> None:
    """It shows what customers wrote; whoever is not let in sees a login, and nothing else."""
    now = time.time()
    session = sessions.new_session(ADMIN_TOKEN, now=now)
    ended = sessions.new_session(ADMIN_TOKEN, now=now - sessions.LIFETIME_SECONDS - 1)
    for headers in (BEARER, {"Cookie": f"{sessions.COOKIE}={session}"}):
        status, _told, body = await get(site, **headers)
        assert (status, 'id="conversations"' in body) == (200, True)
    strangers: list[dict[str, str]] = [
        {},
        {"Authorization": "Bearer guess"},
        {"Cookie": f"{sessions.COOKIE}={session}0"},
        {"Cookie": f"{sessions.COOKIE}={ended}"},
    ]
    for headers in strangers:
        status, _told, body = await get(site, **headers)
        assert (status, 'id="conversations"' in body, 'id="token"' in body) == (401, False, True)
        assert '<input type="hidden" name="page" value="console">' in body


@pytest.mark.parametrize(
    ("page", "leads_to"),
    [("console", "console"), ("connect", "connect"), ("", "connect"), ("https://evil.example", "connect")],
)
async def test_login_and_logout_lead_to_pages_of_ours(site: Site, page: str, leads_to: str) -> None:
    """And never to whatever a form names."""
    status, headers = await send(site, "/login", token=ADMIN_TOKEN, page=page)
    assert (status, headers["Location"]) == (303, leads_to)
    assert {"HttpOnly", "SameSite=Strict"} <= set(headers["Set-Cookie"].split("; "))
    status, headers = await send(site, "/logout", page=page)
    assert (status, headers["Location"]) == (303, leads_to)
    assert "Max-Age=0" in headers["Set-Cookie"]


async def test_without_admin_token_there_is_no_console(tmp_path: Path) -> None:
    """Nobody could ever be let in."""
    block = credentials(f"sqlite:///{tmp_path}/ledger.db", admin_token=None)
    async with running_channel(block) as site:
        assert (await get(site, **BEARER))[0] == 404
        assert (await send(site, "/login", token="", page="console"))[0] == 404


async def test_the_policy_lets_in_nobody(site: Site) -> None:
    """Customers write into this page: no script, style or picture but the page's own, and no frame."""
    for headers in (BEARER, {}):
        _status, told, body = await get(site, **headers)
        rules = dict(rule.strip().split(" ", 1) for rule in told["Content-Security-Policy"].split(";"))
        assert rules.pop("default-src") == "'none'"
        assert (rules.pop("frame-ancestors"), rules.pop("base-uri")) == ("'none'", "'none'")
        assert set(rules.values()) == {"'self'"}
        assert (told["Cache-Control"], told["X-Content-Type-Options"]) == ("no-store", "nosniff")
        assert told["Cross-Origin-Opener-Policy"] == "same-origin"
        assert not re.search(r"<script(?![^>]*(src=|application/json))|\s(on\w+|style)=", body)
        assert not re.search(r"(src|href|action)=\"(https?:)?//", body)


@pytest.mark.parametrize(
    ("wanted", "spoken"), [("es-AR", "es"), ("pt-BR,en;q=0.5", "pt"), ("en", "en"), ("de", "en")]
)
async def test_the_browser_chooses_the_language(site: Site, wanted: str, spoken: str) -> None:
    """English for everybody else."""
    _status, _headers, body = await get(site, **{"Accept-Language": wanted, **BEARER})
    assert f'<html lang="{spoken}">' in body
    assert pages.texts("console", spoken)["chat.nobody"] in body


@pytest.mark.parametrize("answers", [True, False])
async def test_the_page_says_what_switching_on_does(tmp_path: Path, answers: bool) -> None:
    """Which depends on answer_on_resume."""
    block = credentials(f"sqlite:///{tmp_path}/ledger.db", takeover={"answer_on_resume": answers})
    async with running_channel(block) as site:
        _status, _headers, body = await get(site, **BEARER)
    texts = pages.texts("console", "en")
    said = texts["numbers.on_means_answer" if answers else "numbers.on_means"]
    assert f'<p id="on-means" class="quiet" hidden>{said}</p>' in body


async def test_the_page_holds_no_secret(site: Site) -> None:
    """Neither the token that let somebody in, nor what only Meta and we may know."""
    _status, _headers, body = await get(site, **BEARER)
    settings = site.service.settings
    for secret in (*settings.app_secrets, settings.admin_token, settings.verify_token, settings.access_token):
        assert secret is not None
        assert secret not in body


@pytest.mark.parametrize("name", [*SCRIPTS, "console.css"])
async def test_scripts_and_styles_are_there(site: Site, name: str) -> None:
    """They hold nothing of anybody's, and need no login."""
    status, headers, body = await get(site, f"/console/{name}")
    assert (status, bool(body)) == (200, True)
    assert headers["Content-Type"].startswith(("text/javascript", "text/css"))
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "name", ["texts.json", "console.html", "connect.js", "none.js", "..%2fpages.py", "Console.css", "a.b.js"]
)
async def test_nothing_else_is_given_away(site: Site, name: str) -> None:
    """Also not what belongs to the other page."""
    assert (await get(site, f"/console/{name}", **BEARER))[0] == 404


async def test_a_slash_at_the_end_leads_to_the_page(site: Site) -> None:
    """The page's own links would lead nowhere."""
    status, headers, _body = await get(site, "/console/", **BEARER)
    assert (status, headers["Location"]) == (302, "../console")


async def test_numbers_tell_whether_the_bot_is_on(site: Site) -> None:
    """Beside how they stand and how far their old chats are."""
    assert (await number(site))["takeover"]["mode"] == "bot"
    path = f"/api/numbers/{PHONE_NUMBER_ID}/takeover"
    await site.call("POST", path, headers=BEARER, json={"minutes": 5, "by": "console"})
    taken = (await number(site))["takeover"]
    assert (taken["mode"], taken["reason"]) == ("hold", "number")
    assert 250 < taken["until"] - time.time() <= 300
    await site.call("DELETE", path, headers=BEARER)
    assert (await number(site))["takeover"]["mode"] == "bot"


async def number(site: Site) -> Any:
    _status, answer = await site.call("GET", "/api/numbers", headers=BEARER)
    [found] = answer["numbers"]
    return found


async def tell(site: Site, body: Any) -> None:
    assert (await site.post("/webhook", as_bytes(body)))[0] == 200


async def chat(site: Site, *, until: Any) -> Any:
    """Return the chat as the API tells it, once it is as it should be."""
    for _ in range(1000):
        status, answer = await site.call("GET", f"/api/conversations/{ANA.wa_id}/messages", headers=BEARER)
        if status == 200 and until(answer["messages"]):
            return answer
        await asyncio.sleep(0.02)
    raise TimeoutError(str(answer))


async def test_a_chat_tells_who_has_it_and_what_is_quoted(site: Site) -> None:
    """So that a page needs one look; a quote of what was never here is none."""
    now = site.service.clock()
    for at, (wamid, text, quoted) in enumerate(
        [("wamid.1", "¿Precio?", None), ("wamid.2", "De esta", "wamid.1"), ("wamid.3", "Y esa", "wamid.0")]
    ):
        context = {"context": {"from": "1", "id": quoted}} if quoted else {}
        described = webhooks.message(wamid, now - 30 + at, "text", {"body": text}, **context)
        await tell(site, webhooks.inbound(NUMBER, [(ANA, described)]))
    answer = await chat(site, until=lambda messages: len(messages) == 3)
    assert answer["conversation"]["contact"]["name"] == "Ana"
    assert answer["conversation"]["takeover"]["mode"] == "bot"
    third, second, first = answer["messages"]
    assert second["quoted"] == {"role": "customer", "type": "text", "text": "¿Precio?"}
    assert (third["quoted"], "quoted" in first) == (None, False)
    assert len({message["id"] for message in answer["messages"]}) == 3


async def test_a_chat_tells_why_what_meta_took_never_arrived(site: Site) -> None:
    """Meta says so later, in a status."""
    now = site.service.clock()
    described = webhooks.message("wamid.1", now - 30, "text", {"body": "Hola"})
    await tell(site, webhooks.inbound(NUMBER, [(ANA, described)]))
    await chat(site, until=lambda messages: len(messages) == 1)
    await site.service.database.write(_taken_by_meta, now)
    error = {"code": 131026, "title": "Message undeliverable", "message": "No WhatsApp"}
    await tell(site, webhooks.status(NUMBER, ANA, "wamid.OUT", "failed", now, error=error))
    answer = await chat(site, until=lambda messages: messages[0]["status"] == "failed")
    failed = answer["messages"][0]
    assert (failed["role"], failed["text"], failed["code"]) == ("bot", "¡Buenas!", 131026)
    assert failed["reason"].startswith("Message undeliverable")
    assert answer["conversation"]["wants_person"] is True


def _taken_by_meta(connection: Any, now: float) -> None:
    draft = Draft(ordinal=0, body={"type": "text"}, text="¡Buenas!")
    bubbles.write(connection, 1, "wamid.1", [draft], BubbleState.ACCEPTED, now=now)
    bubbles.change(connection, 1, wamid="wamid.OUT")
    message_rows.insert(
        connection,
        phone_number_id=PHONE_NUMBER_ID,
        conversation_id=1,
        wamid="wamid.OUT",
        from_business=True,
        source="bot",
        state=MessageState.KEPT,
        content=Content(type="text", text="¡Buenas!"),
        raw=None,
        sent_at=now,
        received_at=now,
    )


def test_every_language_says_everything() -> None:
    """The same texts with the same values to fill in; a missing one would show as an empty line."""
    english = pages.texts("console", "en")
    for spoken in pages.LANGUAGES:
        told = pages.texts("console", spoken)
        assert told.keys() == english.keys()
        for key, text in told.items():
            assert text.strip()
            if key != "time.today":
                assert sorted(PLACE.findall(text)) == sorted(PLACE.findall(english[key])), key


def test_every_state_has_its_words() -> None:
    """Of bubbles, of syncs, and of whoever has a conversation."""
    wanted = {f"status.{state}" for state in IN_THE_CHAT} | {f"sync.{state.value}" for state in SyncState}
    wanted |= {f"why.{reason}" for reason in REASONS}
    assert not wanted - pages.texts("console", "en").keys()


def test_every_text_is_used() -> None:
    """One that the page does not ask for is dead, or misspelt where it is asked for."""
    sources = "".join(pages.source("console", name) for name in ("console.html", *SCRIPTS))
    routes = (pages.PACKAGE / "routes_pages.py").read_text()
    known = pages.texts("console", "en")
    made = ("status.", "sync.", "why.", "role.", "kind.", "has.")
    for key in known:
        assert key.startswith(made) or key in sources or key in routes, key
    asked = re.findall(r"""text\(["']([\w.]+)["']""", sources)
    for key in [*asked, *re.findall(r"\{\{([a-z]+\.\w+)\}\}", sources)]:
        assert key in known or key == "state.until", key  # shared with connect


def test_no_script_of_the_page_makes_html_of_words() -> None:
    """What customers write is inserted as text, wherever."""
    for name in SCRIPTS:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", pages.source("console", name)
        )
