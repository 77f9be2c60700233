"""What Meta, scripts and browsers see; Sanic's types stay in here and in ``answering``."""

from __future__ import annotations

from sanic import Blueprint, Request
from sanic.response import HTTPResponse, json, raw, text

from rasa_coexistence import metrics
from rasa_coexistence.answering import answering, failure, for_admins, is_admin, read_body, same
from rasa_coexistence.errors import BadRequest
from rasa_coexistence.ledger import syncs
from rasa_coexistence.routes_conversations import add_conversation_routes
from rasa_coexistence.routes_media import add_media_routes
from rasa_coexistence.routes_onboarding import add_onboarding_routes
from rasa_coexistence.routes_pages import add_page_routes
from rasa_coexistence.service import Service
from rasa_coexistence.signature import check_signature


def blueprint(service: Service) -> Blueprint:
    """Return all routes, below ``/webhooks/whatsapp``."""
    routes = Blueprint("rasa_coexistence")
    _meta_routes(routes, service)
    _sync_routes(routes, service)
    add_conversation_routes(routes, service)
    add_media_routes(routes, service)
    add_onboarding_routes(routes, service)
    add_page_routes(routes, service)
    return routes


def _meta_routes(routes: Blueprint, service: Service) -> None:
    async def health(_request: Request) -> HTTPResponse:
        return json({"status": "ok"})

    async def verification(request: Request) -> HTTPResponse:
        given = request.args.get("hub.verify_token") or ""
        subscribes = request.args.get("hub.mode") == "subscribe"
        if subscribes and same(given, service.settings.verify_token):
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
        # Meta's ids are digits; not every database takes whatever else a URL can hold.
        status = await service.database.read(syncs.status, number) if number.isdigit() else None
        if status is None:
            return failure(404, "not_found", f"no number with the phone_number_id {number} is known here")
        return json(status)

    async def prometheus(_request: Request) -> HTTPResponse:
        counted = await service.database.read(metrics.count_rows)
        return raw(metrics.exposition(counted), content_type=metrics.CONTENT_TYPE)

    routes.add_route(for_admins(service)(sync_status), "/api/sync/status", methods=["GET"])
    routes.add_route(for_admins(service)(prometheus), "/metrics", methods=["GET"])
