"""The web pages for owners, behind a login with the admin token."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from sanic import Blueprint, Request
from sanic.response import HTTPResponse, empty, html, redirect, text

from rasa_coexistence import pages, sessions
from rasa_coexistence.answering import failure, has_session, is_admin, same, without_admin_token
from rasa_coexistence.service import Service

Handler = Callable[..., Awaitable[HTTPResponse]]

PAGES = ("connect", "console")  # where a login may lead
SHARED_TEXTS = ("state.", "warn.")  # how a number stands is told in the same words on both
STATIC = {"js": "text/javascript", "css": "text/css"}
STATIC_HEADERS = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
META = "https://connect.facebook.net"
META_FRAMES = "https://www.facebook.com https://web.facebook.com"
TRIES, TRY_SECONDS = 10, 60.0  # wrong tokens in a minute, of everybody together
WRONG_SECONDS = 0.5

_EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Vary": "Accept-Language, Cookie",
}
_NOWHERE_ELSE = "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
# Meta's script sets styles by itself and opens a window that writes back to ours.
HEADERS = {
    "connect": _EVERYWHERE
    | {
        "Content-Security-Policy": (
            f"default-src 'none'; script-src 'self' {META}; style-src 'self' 'unsafe-inline'; "
            f"img-src 'self' data: {META_FRAMES}; connect-src 'self' {META} {META_FRAMES} "
            f"https://graph.facebook.com; frame-src {META_FRAMES}; {_NOWHERE_ELSE}"
        ),
        "Cross-Origin-Opener-Policy": "same-origin-allow-popups",
        "Referrer-Policy": "strict-origin-when-cross-origin",
    },
    "console": _EVERYWHERE
    | {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
            f"img-src 'self'; {_NOWHERE_ELSE}"
        ),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": "same-origin",
    },
}


def add_page_routes(routes: Blueprint, service: Service) -> None:
    """Add the pages, the login that leads to them, and their scripts and styles."""
    _add_pages(routes, service)
    _add_login(routes, service)
    for folder in PAGES:
        path = f"/{folder}/<name:[a-z]+\\.[a-z]+>"
        routes.add_route(_static(folder), path, methods=["GET"], name=f"static_{folder}")


def _add_pages(routes: Blueprint, service: Service) -> None:
    async def connect(request: Request) -> HTTPResponse:
        settings = service.settings
        if not settings.has_embedded_signup:
            return failure(404, "signup_is_off", "set app_id, config_id and encryption_key to use this")
        spoken = pages.language(request.headers.get("accept-language"))
        shown = {
            "app_id": settings.app_id,
            "config_id": settings.config_id,
            "graph_version": settings.graph_version,
            "language": spoken,
            "texts": pages.texts("connect", spoken),
        }
        page = pages.render("connect", "connect.html", spoken, {"settings": shown})
        return html(page, headers=HEADERS["connect"])

    async def console(request: Request) -> HTTPResponse:
        spoken = pages.language(request.headers.get("accept-language"))
        shared = pages.texts("connect", spoken)
        own = pages.texts("console", spoken)
        told = {key: words for key, words in shared.items() if key.startswith(SHARED_TEXTS)} | own
        answers = service.settings.takeover.answer_on_resume
        values = {
            "settings": {"language": spoken, "texts": told},
            "on_means": own["numbers.on_means_answer" if answers else "numbers.on_means"],
        }
        page = pages.render("console", "console.html", spoken, values)
        return html(page, headers=HEADERS["console"])

    routes.add_route(for_pages(service, "connect")(connect), "/connect", methods=["GET"])
    routes.add_route(for_pages(service, "console")(console), "/console", methods=["GET"])


def _add_login(routes: Blueprint, service: Service) -> None:
    wrong_tries: deque[float] = deque(maxlen=TRIES)

    async def login(request: Request) -> HTTPResponse:
        wanted = service.settings.admin_token
        if wanted is None:
            return without_admin_token()
        page, now = _page_of(request), service.clock()
        if len(wrong_tries) == TRIES and now - wrong_tries[0] < TRY_SECONDS:
            return login_page(request, page, "login.too_often", status=429)
        if not same((request.form.get("token") or "").strip(), wanted):
            wrong_tries.append(now)
            await asyncio.sleep(WRONG_SECONDS)
            return login_page(request, page, "login.wrong", status=401)
        return _with_cookie(request, page, sessions.new_session(wanted, now=now))

    async def logout(request: Request) -> HTTPResponse:
        return _with_cookie(request, _page_of(request), "")

    routes.add_route(login, "/login", methods=["POST"])
    routes.add_route(logout, "/logout", methods=["POST"])


def _page_of(request: Request) -> str:
    """Return the page that a form names, the first for any other name."""
    return next((name for name in PAGES if name == request.form.get("page")), PAGES[0])


def _static(folder: str) -> Handler:
    async def static(_request: Request, name: str) -> HTTPResponse:
        kind = STATIC.get(name.rpartition(".")[2])
        if kind is None or not (pages.PACKAGE / folder / name).is_file():
            return failure(404, "not_found", "there is no such file")
        return text(pages.source(folder, name), content_type=kind, headers=STATIC_HEADERS)

    return static


def for_pages(service: Service, page: str) -> Callable[[Handler], Handler]:
    """Show a page to who is logged in, and the login to everybody else."""

    def protect(handler: Handler) -> Handler:
        @wraps(handler)
        async def answer(request: Request, *args: Any, **kwargs: Any) -> HTTPResponse:
            if service.settings.admin_token is None:
                return without_admin_token()
            if request.path.endswith("/"):  # the page's own links would lead nowhere
                return redirect(f"../{page}")
            if not (is_admin(request, service) or has_session(request, service)):
                return login_page(request, page)
            return await handler(request, *args, **kwargs)

        return answer

    return protect


def login_page(request: Request, page: str, problem: str | None = None, *, status: int = 401) -> HTTPResponse:
    """Return the login, which leads on to a page."""
    spoken = pages.language(request.headers.get("accept-language"))
    told = pages.texts("connect", spoken)[problem] if problem else ""
    body = pages.render("connect", "login.html", spoken, {"page": page, "problem": told})
    return html(body, status=status, headers=HEADERS[page])


def _with_cookie(request: Request, page: str, session: str) -> HTTPResponse:
    """Send a browser on to a page, with a session or, if that is empty, without one."""
    path = request.path.rpartition("/")[0] or "/"
    origin = request.headers.get("origin", "")
    secure = request.scheme == "https" or origin.startswith("https://")
    cookie = sessions.set_cookie(session, path=path, secure=secure)
    return empty(status=303, headers={"Location": page, "Set-Cookie": cookie, "Cache-Control": "no-store"})
