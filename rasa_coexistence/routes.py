"""What Meta, scripts and browsers see; Sanic's types stay in here."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from sanic import Blueprint, Request
from sanic.response import HTTPResponse, json, text

from rasa_coexistence.errors import BadRequest, BadSignature, LedgerUnavailable
from rasa_coexistence.ledger import syncs
from rasa_coexistence.service import Service
from rasa_coexistence.signature import check_signature

LARGEST_BODY = 16 * 1024 * 1024  # bytes; Meta sends up to 3 MB

Handler = Callable[..., Awaitable[HTTPResponse]]


class TooLarge(BadRequest):
    """A body is larger than any webhook of Meta's."""


# Our errors and their answers, the narrowest first.
ANSWERS: tuple[tuple[type[Exception], int, str], ...] = (
    (BadSignature, 401, "unauthorized"),
    (TooLarge, 413, "too_large"),
    (BadRequest, 400, "bad_request"),
    (LedgerUnavailable, 503, "unavailable"),
)


def blueprint(service: Service) -> Blueprint:
    """Return all routes, below ``/webhooks/whatsapp``."""
    routes = Blueprint("rasa_coexistence")
    _meta_routes(routes, service)
    _sync_routes(routes, service)
    return routes


def _meta_routes(routes: Blueprint, service: Service) -> None:
    async def health(_request: Request) -> HTTPResponse:
        return json({"status": "ok"})

    async def verification(request: Request) -> HTTPResponse:
        given = request.args.get("hub.verify_token") or ""
        subscribes = request.args.get("hub.mode") == "subscribe"
        if subscribes and _same(given, service.settings.verify_token):
            return text(request.args.get("hub.challenge") or "")
        return failure(403, "forbidden", "hub.verify_token is not the verify_token of credentials.yml")

    async def webhook(request: Request) -> HTTPResponse:
        body = await read_body(request)
        _check(request, body, service)
        await service.accept(body)
        return json({"status": "ok"})

    async def history(request: Request) -> HTTPResponse:
        body = await read_body(request)
        if not is_admin(request, service):
            _check(request, body, service)
        await service.accept(body)
        return json({"status": "ok"})

    routes.add_route(health, "/", methods=["GET"])
    routes.add_route(verification, "/webhook", methods=["GET"])
    routes.add_route(answering(webhook), "/webhook", methods=["POST"], stream=True)
    routes.add_route(answering(history), "/history", methods=["POST"], stream=True)


def _check(request: Request, body: bytes, service: Service) -> None:
    header = request.headers.get("x-hub-signature-256")
    check_signature(body, header, app_secrets=service.settings.app_secrets)


def _sync_routes(routes: Blueprint, service: Service) -> None:
    async def sync_status(request: Request) -> HTTPResponse:
        number = request.args.get("id") or service.settings.phone_number_id
        if not number:
            raise BadRequest("say which number: ?id=<phone_number_id>")
        status = await service.database.read(syncs.status, number)
        if status is None:
            return failure(404, "not_found", f"no number with the phone_number_id {number} is known here")
        return json(status)

    routes.add_route(for_admins(service)(sync_status), "/api/sync/status", methods=["GET"])


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
                return failure(404, "not_found", "set admin_token in credentials.yml to use this")
            if not is_admin(request, service):
                return failure(401, "unauthorized", "send Authorization: Bearer <admin_token>")
            return await answering(handler)(request, *args, **kwargs)

        return answer

    return protect


def is_admin(request: Request, service: Service) -> bool:
    """Tell whether a request carries the admin token."""
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    wanted = service.settings.admin_token
    return wanted is not None and kind.lower() == "bearer" and _same(given.strip(), wanted)


async def read_body(request: Request) -> bytes:
    """Return a request's body; raise TooLarge before more than the limit is in memory."""
    too_large = TooLarge(f"the body has more than {LARGEST_BODY // (1024 * 1024)} MiB")
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > LARGEST_BODY:
        raise too_large
    body = bytearray()
    async for chunk in request.stream:
        body += chunk
        if len(body) > LARGEST_BODY:
            raise too_large
    return bytes(body)


def failure(status: int, code: str, message: str) -> HTTPResponse:
    """Return an error as all routes tell it."""
    return json({"error": {"code": code, "message": message}}, status=status)


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())
