"""Decide who may use a route, read its body, and turn our errors into answers."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from sanic import Request
from sanic.response import HTTPResponse, json

from rasa_coexistence import sessions
from rasa_coexistence.errors import BadRequest, BadSignature, LedgerUnavailable
from rasa_coexistence.service import Service

LARGEST_BODY = 16 * 1024 * 1024  # bytes; Meta sends up to 3 MB
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

Handler = Callable[..., Awaitable[HTTPResponse]]
Body = TypeVar("Body")


class TooLarge(BadRequest):
    """A body is larger than any webhook of Meta's."""


# Our errors and their answers, the narrowest first.
ANSWERS: tuple[tuple[type[Exception], int, str], ...] = (
    (BadSignature, 401, "unauthorized"),
    (TooLarge, 413, "too_large"),
    (BadRequest, 400, "bad_request"),
    (LedgerUnavailable, 503, "unavailable"),
)


def answering(handler: Handler) -> Handler:
    """Turn our errors into answers."""

    @wraps(handler)
    async def answer(request: Request, *args: Any, **kwargs: Any) -> HTTPResponse:
        try:
            return await handler(request, *args, **kwargs)
        except tuple(kind for kind, _status, _code in ANSWERS) as error:
            status, code = next((status, code) for kind, status, code in ANSWERS if isinstance(error, kind))
            return failure(status, code, str(error))

    return answer


def for_admins(service: Service) -> Callable[[Handler], Handler]:
    """Let in only who knows the admin token; without one in the settings the route does not exist."""

    def protect(handler: Handler) -> Handler:
        @wraps(handler)
        async def answer(request: Request, *args: Any, **kwargs: Any) -> HTTPResponse:
            if service.settings.admin_token is None:
                return without_admin_token()
            if not is_admin(request, service):
                return failure(401, "unauthorized", "send Authorization: Bearer <admin_token>")
            return await answering(handler)(request, *args, **kwargs)

        return answer

    return protect


def is_admin(request: Request, service: Service) -> bool:
    """Tell whether a request carries the admin token, or the session of a page's login."""
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    wanted = service.settings.admin_token
    if wanted is None:
        return False
    if kind.lower() == "bearer":
        return same(given.strip(), wanted)
    return has_session(request, service) and (
        request.method in SAFE_METHODS or _is_own_page(request, service)
    )


def has_session(request: Request, service: Service) -> bool:
    """Tell whether a browser is logged in."""
    wanted, given = service.settings.admin_token, request.cookies.get(sessions.COOKIE)
    return bool(wanted and given) and sessions.is_session(given, wanted or "", now=service.clock())


async def read_body(request: Request) -> bytes:
    """Return a streamed request's body; raise TooLarge before more than the limit is in memory."""
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > LARGEST_BODY:
        raise _too_large(request)
    body = bytearray()
    async for chunk in request.stream:
        body += chunk
        if len(body) > LARGEST_BODY:
            raise _too_large(request)
    return bytes(body)


def _too_large(request: Request) -> TooLarge:
    # The rest is still on its way: a next request on this connection would stand behind it.
    request.stream.keep_alive = False
    return TooLarge(f"the body has more than {LARGEST_BODY // (1024 * 1024)} MiB")


def read_json(request: Request, kind: type[Body]) -> Body:
    """Return a request's JSON body as a value; raise BadRequest that says what is wrong with it."""
    try:
        return msgspec.json.decode(request.body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not what this route takes: {error}") from error


def failure(status: int, code: str, message: str, **others: Any) -> HTTPResponse:
    """Return an error as all routes tell it; ``others`` stand beside it."""
    return json({"error": {"code": code, "message": message}, **others}, status=status)


def without_admin_token() -> HTTPResponse:
    """Answer for a route that needs an admin token where the settings have none."""
    return failure(404, "not_found", "set admin_token in credentials.yml to use this")


def same(given: str, wanted: str) -> bool:
    """Compare secrets in a time that tells nothing about them."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


def _is_own_page(request: Request, service: Service) -> bool:
    """Tell whether a browser's request comes from one of our pages and not from a foreign one."""
    fetched_from = request.headers.get("sec-fetch-site")
    if fetched_from is not None:
        return bool(fetched_from == "same-origin")
    origin = urlsplit(request.headers.get("origin", "")).netloc
    own = {request.headers.get("host"), urlsplit(service.settings.base_url or "").netloc}
    return bool(origin) and origin in own
