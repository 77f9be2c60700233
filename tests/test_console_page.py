"""Somebody looks after a shop on ``/console``, in a real browser."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from browsers import running_browser
from channels import ADMIN_TOKEN, PHONE_NUMBER_ID
from connect_stage import PATIENCE
from console_stage import Keeper, Shop, open_shop, until
from playwright.async_api import Browser, Request, expect

from rasa_coexistence.ledger import bubbles, chats, schema
from rasa_coexistence.ledger.bubbles import Draft
from rasa_coexistence.records import BubbleState

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

TRAP = "<img src=x onerror=\"document.title='owned'\"><b>Eva</b> & Co."
LOOK = 4_000  # milliseconds between two looks of the page


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def shop(browser: Browser, tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_shop(browser, tmp_path) as found:
        yield found


@pytest.mark.parametrize(("language", "phone"), [("es", True), ("en", False), ("pt", False)])
async def test_a_person_takes_over_and_hands_back(shop: Shop, language: str, phone: bool) -> None:
    """From the page, to the minute; the bot is silent meanwhile and then answers what waits."""
    eva = shop.customer(1, "Eva Ríos")
    await eva.writes("¿Tienen mochilas?")
    await shop.answered(eva, 1)
    async with shop.keeper(language, phone=phone) as keeper:
        await keeper.opens()
        await keeper.finds("has.bot", "#conversations")
        await keeper.opens_chat("Eva Ríos")
        await keeper.finds("has.bot", "#chat-has")
        await keeper.reads("Con gusto: ¿Tienen mochilas?", "#log")
        await expect(keeper.page.locator("#give-back")).to_be_hidden()
        await keeper.page.click("[data-minutes='60']")
        await keeper.finds("has.person_until", "#chat-has")
        await keeper.finds("why.console", "#chat-has")
        [taken] = (await shop.api("/conversations?taken=true"))["conversations"]
        assert taken["takeover"]["reason"] == "console"
        assert 3500 < taken["takeover"]["until"] - time.time() <= 3600
        await eva.writes("¿Y cuánto cuestan?")
        await keeper.reads("¿Y cuánto cuestan?", "#log")  # by itself
        await keeper.visit.look(f"console-taken-{language}")
        assert len(shop.told(eva)) == 1
        await keeper.page.click("[data-minutes='']")
        await keeper.finds("has.person", "#chat-has")
        await keeper.page.click("#give-back")
        await keeper.finds("has.bot", "#chat-has")
        await expect(keeper.page.locator("#give-back")).to_be_hidden()
        await keeper.reads("Con gusto: ¿Y cuánto cuestan?", "#log")
        await expect(keeper.page.locator(":focus")).to_have_count(1)  # keyboards go on where they were
        assert shop.told(eva) == ["Con gusto: ¿Tienen mochilas?", "Con gusto: ¿Y cuánto cuestan?"]


@pytest.mark.parametrize(("language", "phone"), [("es", False), ("pt", True)])
async def test_the_bot_is_switched_off_for_a_whole_number(shop: Shop, language: str, phone: bool) -> None:
    """Customers who never wrote before meet silence, too; then each of them gets the answer."""
    ana, new = shop.customer(1, "Ana"), shop.customer(2, "Beto")
    await ana.writes("Hola")
    await shop.answered(ana, 1)
    async with shop.keeper(language, phone=phone) as keeper:
        await keeper.opens()
        switch = keeper.page.locator("#number-list button")
        await expect(switch).to_have_text(keeper.words("numbers.off"), timeout=PATIENCE)
        await keeper.finds("numbers.off_means", "#numbers")
        await keeper.finds("sync.not_started", "#number-list")
        await switch.click()
        await expect(switch).to_have_text(keeper.words("numbers.on"), timeout=PATIENCE)
        await expect(switch).to_be_focused()
        await keeper.finds("numbers.is_off", "#number-list")
        await keeper.finds("numbers.on_means_answer", "#numbers")
        await new.writes("¿Hay alguien?")
        await shop.filed(new, "¿Hay alguien?")
        await keeper.finds("why.number", "#conversations")
        await expect(keeper.rows).to_have_count(2, timeout=PATIENCE)
        await keeper.visit.look(f"console-off-{language}")
        await keeper.opens_chat("Beto")
        await keeper.finds("chat.number_is_off", "#chat")
        await expect(keeper.page.locator("#actions")).to_be_hidden()
        assert shop.told(new) == []
        if phone:
            await keeper.page.click("#back")
        await switch.click()
        await expect(switch).to_have_text(keeper.words("numbers.off"), timeout=PATIENCE)
        await shop.answered(new, 1)
        assert shop.told(ana) == ["Con gusto: Hola"]
        [number] = (await shop.api("/numbers"))["numbers"]
        assert (number["phone_number_id"], number["takeover"]["mode"]) == (PHONE_NUMBER_ID, "bot")


@pytest.mark.parametrize(("language", "phone"), [("es", True), ("en", False)])
async def test_what_customers_write_is_text(shop: Shop, language: str, phone: bool) -> None:
    """A name, a message, a file's name, a quote: none of it may become part of the page."""
    eva = shop.customer(1, TRAP)
    wamid = await eva.writes(TRAP)
    await shop.answered(eva, 1)
    await eva.sends("document", {"id": "7", "mime_type": "application/pdf", "filename": f"{TRAP}.pdf"})
    await eva.sends("text", {"body": "</script>"}, context={"from": "1", "id": wamid})
    await shop.answered(eva, 3)
    async with shop.keeper(language, phone=phone) as keeper:
        await keeper.opens()
        await expect(keeper.rows.first.locator("strong")).to_have_text(TRAP)
        await keeper.opens_chat(TRAP)
        for said in (f"Con gusto: {TRAP}", f"{TRAP}.pdf", "</script>"):
            await keeper.reads(said, "#messages")
        await expect(keeper.page.locator("blockquote")).to_have_text(
            f"{keeper.words('role.customer')}: {TRAP}"
        )
        assert await keeper.page.locator("main :is(img, b:not(#waiting), script)").count() == 0
        assert await keeper.page.title() == keeper.words("title")
        await keeper.visit.look(f"console-trap-{language}")


@pytest.mark.parametrize(("language", "phone"), [("en", True), ("es", False)])
async def test_who_waits_for_a_person_comes_first(shop: Shop, language: str, phone: bool) -> None:
    """However many wrote since; a filter shows them alone, and a person's attention takes them away."""
    lost, others = shop.customer(1, "Lupe"), [shop.customer(10 + at, f"Cliente {at}") for at in range(3)]
    shop.bot.hands_off = True
    await lost.writes("Quiero hablar con una persona")
    await shop.answered(lost, 1)
    shop.bot.hands_off = False
    for other in others:
        await other.writes("Hola")
        await shop.answered(other, 1)
    async with shop.keeper(language, phone=phone) as keeper:
        await keeper.opens()
        await expect(keeper.rows).to_have_count(4, timeout=PATIENCE)
        await expect(keeper.rows.first.locator("strong")).to_have_text("Lupe")
        await keeper.finds("has.nobody", "#conversations > li.calls")
        await keeper.finds("why.handoff", "#conversations > li.calls")
        await expect(keeper.page).to_have_title(f"(1) {keeper.words('title')}")
        await keeper.visit.look(f"console-waits-{language}")
        await keeper.page.click("#filter")
        await expect(keeper.rows).to_have_count(1)
        await keeper.opens_chat("Lupe")
        await keeper.page.click("[data-minutes='30']")
        await keeper.finds("has.person_until", "#chat-has")
        if phone:
            await keeper.page.click("#back")
        await keeper.finds("list.nobody_waits", "#list-empty")
        await expect(keeper.page).to_have_title(keeper.words("title"))
        await keeper.page.click("#filter")
        await expect(keeper.rows).to_have_count(4, timeout=PATIENCE)
        await expect(keeper.rows.last.locator("strong")).to_have_text("Lupe")


async def told_everything(shop: Shop) -> None:
    """Let a conversation have one of everything that a chat can show."""
    eva, owner = shop.customer(1, "Eva Ríos"), shop.meta.owner()
    await eva.writes("¿Tienen mochilas? Busco una roja para mi hija, que empieza la escuela.")
    await shop.answered(eva, 1)
    await eva.sends("image")
    await eva.sends("location")
    await eva.sends("audio")
    await shop.answered(eva, 4)
    await eva.reacts("❤️", to=shop.meta.sending.sent[0].wamid)
    await shop.holds(eva)
    typed = await owner.writes(eva, "Hola Eva, soy Marta. Le aparto una.")
    await owner.edits(eva, typed, "Hola Eva, soy Marta. Le aparto una roja.")
    await eva.writes("¡Gracias!", context={"from": "1", "id": typed})
    gone = await eva.writes("Me equivoqué de chat")
    await eva.revokes(gone)
    await shop.filed(eva, "Me equivoqué de chat")
    database, now = shop.site.service.database, time.time()
    chat = await database.read(chats.by_sender_id, eva.person.wa_id)
    assert chat is not None
    ends = (
        (BubbleState.HELD_BACK, "takeover: phone", None),
        (BubbleState.FAILED, "Message undeliverable", 131026),
        (BubbleState.UNDELIVERABLE, "the customer has not written for 24 hours", None),
    )
    for ordinal, (state, reason, code) in enumerate(ends):
        draft = Draft(ordinal=ordinal, body={"type": "text"}, text=f"Tenemos tres modelos ({ordinal})")
        await database.write(bubbles.write, chat.id, "reminder", [draft], state, now=now, reason=reason)
        await database.write(_with_code, ordinal, code)


def _with_code(connection: Any, ordinal: int, code: int | None) -> None:
    this = schema.outbox.update().where(
        schema.outbox.c.cause == "reminder", schema.outbox.c.ordinal == ordinal
    )
    connection.execute(this.values(code=code))


@pytest.mark.parametrize(("language", "phone"), [("es", True), ("en", False)])
async def test_a_chat_shows_all_that_was_said_and_what_was_not(
    shop: Shop, language: str, phone: bool
) -> None:
    """A person who takes over must know what the customer sees, and what the customer does not."""
    await told_everything(shop)
    async with shop.keeper(language, phone=phone) as keeper:
        await keeper.opens("5215550001001")
        await keeper.reads("¿Tienen esta mochila?", "#log")
        for key in ("kind.image", "kind.location", "role.business", "role.bot", "status.held_back"):
            await keeper.finds(key, "#messages")
        for key in ("why.phone", "reason.window", "status.failed", "status.undeliverable", "chat.revoked"):
            await keeper.finds(key, "#messages")
        await keeper.reads("Mercado Juárez, Prisciliano Sánchez 1", "#messages")
        await keeper.reads("Message undeliverable (Meta: 131026)", "#messages")
        await keeper.reads("Hola Eva, soy Marta. Le aparto una roja.", "#messages")
        await keeper.finds("chat.edited", "#messages", before="Hola Eva, soy Marta. Le aparto una.")
        await expect(keeper.page.locator(".reactions")).to_have_text("❤️")
        await expect(keeper.page.locator("blockquote")).to_contain_text("Le aparto una roja.")
        await expect(keeper.page.locator(".unsent")).to_have_count(3)
        assert "Me equivoqué" not in await keeper.page.inner_text("#messages")
        await keeper.visit.look(f"console-chat-{language}")
        await keeper.page.eval_on_selector("#log", "log => log.scrollTop = 0")
        await keeper.visit.look(f"console-chat-top-{language}")


async def test_long_lists_come_in_parts_and_stay_where_they_are(shop: Shop) -> None:
    """The page looks again while somebody reads: neither the place nor the focus may jump."""
    ana = shop.customer(99, "Ana")
    shop.bot.bubbles = 0
    for at in range(34):
        await shop.customer(at, f"Cliente {at:02}").writes("Hola")
    for at in range(60):
        await ana.writes(f"Mensaje {at:02}")
    await shop.filed(ana, "Mensaje 59")
    async with shop.keeper("en") as keeper:
        await keeper.opens()
        await expect(keeper.rows).to_have_count(30)
        await keeper.page.click("#more")
        await expect(keeper.rows).to_have_count(35, timeout=PATIENCE)
        await expect(keeper.page.locator("#more")).to_be_hidden()
        link = keeper.rows.filter(has_text="Cliente 05").locator("a")
        await link.focus()
        await shop.customer(5, "Cliente 05").writes("¿Siguen ahí?")
        await expect(keeper.rows.first).to_contain_text("¿Siguen ahí?", timeout=PATIENCE)
        await expect(keeper.rows).to_have_count(35)
        await expect(link).to_be_focused()
        await keeper.opens_chat("Ana")
        bubbles_ = keeper.page.locator(".said")
        await expect(bubbles_).to_have_count(50)
        log = keeper.page.locator("#log")
        assert await log.evaluate("log => log.scrollHeight - log.scrollTop - log.clientHeight") < 2
        await log.evaluate("log => log.scrollTop = 0")
        old = await bubbles_.first.element_handle()
        assert old is not None
        before = await old.bounding_box()
        await keeper.page.click("#older")
        await expect(bubbles_).to_have_count(60, timeout=PATIENCE)
        after = await old.bounding_box()
        assert before is not None
        assert after is not None
        assert abs(before["y"] - after["y"]) < 2  # ten older ones stand above it now
        await log.evaluate("log => log.scrollTop = 100")
        await ana.writes("Mensaje nuevo")
        await keeper.reads("Mensaje nuevo", "#messages")
        assert await log.evaluate("log => log.scrollTop") == 100
        await expect(bubbles_).to_have_count(61)
        assert await old.is_visible()  # the same element: nothing was drawn anew


async def test_the_page_looks_only_while_it_is_looked_at(shop: Shop) -> None:
    """A tab that was forgotten on ten computers must not keep the server busy."""
    await shop.customer(1, "Ana").writes("Hola")
    await shop.filed(shop.customer(1, "Ana"), "Hola")
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    async with shop.keeper() as keeper:
        await keeper.page.clock.install()
        await keeper.opens()
        await keeper.page.evaluate("looking")
        keeper.page.on("request", note)
        await keeper.page.clock.run_for(LOOK + 100)
        await until(lambda: len(asked) == 2, "a look: those who wait, and everybody")
        await keeper.page.evaluate("looking")
        await _hide(keeper, True)
        await keeper.page.clock.run_for(20 * LOOK)
        assert len(asked) == 2
        await _hide(keeper, False)
        await until(lambda: len(asked) > 2, "a look at once")


async def _hide(keeper: Keeper, hidden: bool) -> None:
    told = "document.dispatchEvent(new Event('visibilitychange'))"
    answer = "true" if hidden else "false"
    await keeper.page.evaluate(
        f"Object.defineProperty(document, 'hidden', {{configurable: true, get: () => {answer}}}); {told}"
    )


async def test_the_page_says_when_the_server_is_away(shop: Shop) -> None:
    """And when a button did nothing; both go on by themselves when it is back."""
    ana = shop.customer(1, "Ana")
    await ana.writes("Hola")
    await shop.answered(ana, 1)
    async with shop.keeper("pt", phone=True) as keeper:
        await keeper.opens()
        await keeper.opens_chat("Ana")
        await keeper.visit.context.set_offline(True)
        await keeper.page.click("[data-minutes='30']")
        await keeper.finds("trouble.action", "#trouble")
        await keeper.looks_again()
        await keeper.finds("trouble.server", "#trouble")
        await keeper.visit.look("console-away")
        await keeper.visit.context.set_offline(False)
        await expect(keeper.page.locator("#trouble")).to_be_empty(timeout=PATIENCE)
        await keeper.finds("has.bot", "#chat-has")


async def test_whoever_is_not_logged_in_logs_in_and_comes_back_here(shop: Shop) -> None:
    """Also when the session ends while the page is open."""
    ana = shop.customer(1, "Ana")
    await ana.writes("Hola")
    await shop.answered(ana, 1)
    async with shop.keeper("en", logged_in=False) as keeper:
        page = keeper.page
        await page.goto(f"{keeper.url}/console")
        await page.fill("#token", "guess")
        await page.click("button[type=submit]")
        await expect(page.locator("[role=alert]")).not_to_be_empty()
        await page.fill("#token", ADMIN_TOKEN)
        await page.click("button[type=submit]")
        await keeper.reads("Ana", "#conversations")
        await page.click(".top button")
        await expect(page.locator("#token")).to_be_visible()
        await page.fill("#token", ADMIN_TOKEN)
        await page.click("button[type=submit]")
        await keeper.reads("Ana", "#conversations")
        await keeper.visit.context.clear_cookies()
        await expect(page.locator("#token")).to_be_visible(timeout=PATIENCE)
        assert page.url == f"{keeper.url}/console"


async def test_it_fits_small_phones_and_dark_rooms(shop: Shop) -> None:
    """From 360 pixels on."""
    await told_everything(shop)
    async with shop.keeper("pt", phone=True) as keeper:
        await keeper.page.set_viewport_size({"width": 360, "height": 640})
        await keeper.page.emulate_media(color_scheme="dark")
        await keeper.opens()
        await keeper.finds("chat.revoked", "#conversations")
        await keeper.visit.look("console-dark-list")
        await keeper.opens_chat("Eva Ríos")
        await keeper.visit.look("console-dark-chat")
        log = await keeper.page.locator("#log").bounding_box()
        assert log is not None
        assert log["height"] > 250  # there is room to read
