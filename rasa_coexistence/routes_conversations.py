"""The routes by which people see conversations, take them over and hand them back."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import unquote

import msgspec
from msgspec import Meta, Struct
from sanic import Blueprint, Request
from sanic.response import HTTPResponse, json

from rasa_coexistence.answering import failure, for_admins, read_json
from rasa_coexistence.errors import BadRequest
from rasa_coexistence.ledger import chats, overview, takeovers
from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.ledger.overview import MOST_SHOWN, SHOWN
from rasa_coexistence.service import Service

YEAR_MINUTES = 366 * 24 * 60
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Takeover(Struct, forbid_unknown_fields=True):
    """The body of ``POST .../takeover``; without ``minutes`` it lasts until it is handed back."""

    minutes: Annotated[float, Meta(gt=0, le=YEAR_MINUTES)] | None = None
    by: Literal["api", "console"] = "api"

    def until(self, now: float) -> float | None:
        """Return when it ends."""
        return None if self.minutes is None else now + self.minutes * 60


def add_conversation_routes(routes: Blueprint, service: Service) -> None:
    """Add what the console and scripts ask for."""
    _add_lists(routes, service)
    _add_takeovers(routes, service)
    _add_number_takeovers(routes, service)


def _add_lists(routes: Blueprint, service: Service) -> None:
    async def conversations(request: Request) -> HTTPResponse:
        page = await service.database.read(
            overview.list_conversations,
            now=service.clock(),
            limit=_limit(request),
            before=request.args.get("before"),
            phone_number_id=_number(request.args.get("phone_number_id")),
            taken=_flag(request, "taken"),
            wants_person=_flag(request, "wants_person"),
        )
        return json({"conversations": msgspec.to_builtins(page.items), "next": page.next})

    async def messages(request: Request, conversation: str) -> HTTPResponse:
        chat = await _find(service, conversation)
        if chat is None:
            return _not_found(conversation)
        shown, page = await service.database.read(
            _with_messages, chat.id, service.clock(), _limit(request), request.args.get("before")
        )
        about = msgspec.to_builtins(shown)
        return json({"conversation": about, "messages": page.items, "next": page.next})

    protect = for_admins(service)
    routes.add_route(protect(conversations), "/api/conversations", methods=["GET"])
    routes.add_route(protect(messages), "/api/conversations/<conversation>/messages", methods=["GET"])


def _add_takeovers(routes: Blueprint, service: Service) -> None:
    async def take(request: Request, conversation: str) -> HTTPResponse:
        wanted, now = read_json(request, Takeover), service.clock()
        chat = await _find(service, conversation)
        if chat is None:
            return _not_found(conversation)
        await service.database.write(
            takeovers.hold, chat.id, until=wanted.until(now), reason=wanted.by, now=now
        )
        return await _changed(service, chat)

    async def hand_back(request: Request, conversation: str) -> HTTPResponse:
        chat = await _find(service, conversation)
        if chat is None:
            return _not_found(conversation)
        by = read_json(request, Takeover).by
        await service.database.write(takeovers.hand_back, chat.id, reason=by, now=service.clock())
        return await _changed(service, chat)

    protect, path = for_admins(service), "/api/conversations/<conversation>/takeover"
    routes.add_route(protect(take), path, methods=["POST"])
    routes.add_route(protect(hand_back), path, methods=["DELETE"])


def _add_number_takeovers(routes: Blueprint, service: Service) -> None:
    async def hold(request: Request, number: str) -> HTTPResponse:
        wanted, now = read_json(request, Takeover), service.clock()
        return await _change_number(service, number, takeovers.hold_number, until=wanted.until(now), now=now)

    async def release(_request: Request, number: str) -> HTTPResponse:
        return await _change_number(service, number, takeovers.release_number, now=service.clock())

    protect, path = for_admins(service), "/api/numbers/<number>/takeover"
    routes.add_route(protect(hold), path, methods=["POST"])
    routes.add_route(protect(release), path, methods=["DELETE"])


async def _find(service: Service, conversation: str) -> Chat | None:
    sender_id = unquote(conversation)
    if "\x00" in sender_id or len(sender_id) > 255:
        return None  # not every database takes it
    return await service.database.read(chats.by_sender_id, sender_id)


def _with_messages(
    connection: Any, conversation_id: int, now: float, limit: int, before: str | None
) -> tuple[overview.ShownConversation, overview.Page]:
    chat = chats.load(connection, conversation_id)
    page = overview.list_messages(connection, conversation_id, limit=limit, before=before)
    return overview.conversation(connection, chat, now=now), page


async def _changed(service: Service, chat: Chat) -> HTTPResponse:
    service.wake()

    def show(connection: Any) -> overview.ShownConversation:
        return overview.conversation(connection, chats.load(connection, chat.id), now=service.clock())

    return json({"conversation": msgspec.to_builtins(await service.database.read(show))})


async def _change_number(service: Service, number: str, change: Any, **how: Any) -> HTTPResponse:
    known = await service.database.write(change, number, **how) if _ID.fullmatch(number) else False
    if not known:
        return failure(404, "not_found", f"no number with the phone_number_id {number} is known here")
    service.wake()
    shown = await service.database.read(overview.number_takeover, number, now=service.clock())
    return json({"phone_number_id": number, "takeover": msgspec.to_builtins(shown)})


def _not_found(conversation: str) -> HTTPResponse:
    return failure(404, "not_found", f"there is no conversation {unquote(conversation)} here")


def _number(given: str | None) -> str | None:
    if given is not None and not _ID.fullmatch(given):
        raise BadRequest("phone_number_id must be an id as Meta gives them")
    return given


def _limit(request: Request) -> int:
    given = request.args.get("limit", str(SHOWN))
    if not given.isdecimal() or not 1 <= int(given[:9]) <= MOST_SHOWN:
        raise BadRequest(f"limit must be a number from 1 to {MOST_SHOWN}")
    return int(given)


def _flag(request: Request, name: str) -> bool:
    given = request.args.get(name, "false")
    if given not in ("true", "false"):
        raise BadRequest(f"{name} must be true or false")
    return bool(given == "true")
