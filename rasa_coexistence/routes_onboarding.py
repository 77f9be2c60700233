"""The routes by which numbers are onboarded and their syncs asked for and followed."""

from __future__ import annotations

import asyncio
import re
from functools import wraps

import msgspec
from msgspec import Struct
from sanic import Blueprint, Request
from sanic.response import HTTPResponse, json

from rasa_coexistence.answering import Handler, failure, for_admins, read_json
from rasa_coexistence.errors import BadRequest
from rasa_coexistence.events import JSON
from rasa_coexistence.ledger import syncs
from rasa_coexistence.ledger.onboardings import Onboarding
from rasa_coexistence.onboarding import plan, standing
from rasa_coexistence.onboarding.troubles import TROUBLES, OnboardingRefused, sentence
from rasa_coexistence.records import OnboardingState
from rasa_coexistence.service import Service

WAIT_SECONDS = 25.0  # then the answer is 202, and the rest goes on by itself
LOOK_SECONDS = 1.0  # how often the sync is looked at for those who follow it
BEAT_SECONDS = 15.0  # a sign of life, so that proxies keep the line open
LONGEST_CODE = 4096
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class SignUp(Struct, forbid_unknown_fields=True):
    """The body of ``POST /api/onboarding``."""

    code: str
    waba_id: str | int | None = None  # None: the browser's event got lost; the token tells
    phone_number_id: str | int | None = None


class SyncRequest(Struct, forbid_unknown_fields=True):
    """The body of ``POST /api/sync``."""

    phone_number_id: str | int
    waba_id: str | int | None = None
    again: bool = False


def add_onboarding_routes(routes: Blueprint, service: Service) -> None:
    """Add what the page, scripts and the command line ask for."""
    onboardings = service.onboardings

    async def sign_up(request: Request) -> HTTPResponse:
        given = read_json(request, SignUp)
        code = given.code.strip()
        if not code or len(code) > LONGEST_CODE:
            raise BadRequest("code must be the one that Meta gave to the browser")
        waba_id, number = _id(given.waba_id, "waba_id"), _id(given.phone_number_id, "phone_number_id")
        id_ = await onboardings.sign_up(code, waba_id=waba_id, phone_number_id=number)
        return await _answer(service, await onboardings.wait(id_, seconds=WAIT_SECONDS))

    async def ask(request: Request) -> HTTPResponse:
        given = read_json(request, SyncRequest)
        number = _id(given.phone_number_id, "phone_number_id") or ""
        waba_id = _id(given.waba_id, "waba_id")
        id_ = await onboardings.ask_for_syncs(number, waba_id=waba_id, again=given.again)
        onboarding = await onboardings.wait(id_, seconds=WAIT_SECONDS)
        return await _answer(service, onboarding, minds_syncs=True)

    async def follow_onboarding(request: Request, onboarding_id: str) -> HTTPResponse:
        onboarding = await onboardings.load(onboarding_id) if _ID.fullmatch(onboarding_id) else None
        if onboarding is None:
            return failure(404, "not_found", "there is no such onboarding")
        return await _answer(service, onboarding)

    async def follow_sync(request: Request) -> HTTPResponse | None:
        number = request.args.get("id") or service.settings.phone_number_id
        if not number:
            raise BadRequest("say which number: ?id=<phone_number_id>")
        if not number.isdigit() or await service.database.read(syncs.status, number) is None:
            return failure(404, "not_found", f"no number with the phone_number_id {number} is known here")
        await _stream(request, service, number)
        return None

    async def list_numbers(request: Request) -> HTTPResponse:
        return json({"numbers": await service.database.read(standing.standings, now=service.clock())})

    protected = for_admins(service)
    routes.add_route(protected(list_numbers), "/api/numbers", methods=["GET"])
    routes.add_route(protected(_refusing(sign_up)), "/api/onboarding", methods=["POST"])
    routes.add_route(protected(_refusing(ask)), "/api/sync", methods=["POST"])
    routes.add_route(protected(follow_onboarding), "/api/onboarding/<onboarding_id:str>", methods=["GET"])
    routes.add_route(protected(follow_sync), "/api/sync/events", methods=["GET"])


def _refusing(handler: Handler) -> Handler:
    """Answer with the sentence of an onboarding that cannot begin."""

    @wraps(handler)
    async def answer(request: Request) -> HTTPResponse:
        try:
            return await handler(request)
        except OnboardingRefused as refused:
            return failure(refused.http_status, refused.trouble, str(refused))

    return answer


async def _answer(service: Service, onboarding: Onboarding, *, minds_syncs: bool = False) -> HTTPResponse:
    """Tell how an onboarding stands: 200 done, 202 it goes on by itself, else what is wrong."""
    number = onboarding.phone_number_id
    status = None if number is None else await service.database.read(syncs.status, number)
    shown = describe(onboarding) | {"sync": status}
    trouble = onboarding.trouble
    if onboarding.state is OnboardingState.RUNNING:
        return json(shown, status=202)
    if onboarding.state is OnboardingState.DONE:
        failed = _failed_sync(status) if minds_syncs else None
        return failure(409, "sync_failed", failed, **shown) if failed else json(shown)
    code = trouble or "refused"
    choice = {"numbers": onboarding.details["numbers"]} if "numbers" in onboarding.details else {}
    return failure(TROUBLES[code].http_status, code, sentence(code, onboarding.details), **choice, **shown)


def describe(onboarding: Onboarding) -> JSON:
    """Return an onboarding as the API shows it."""
    waits_for = None
    if onboarding.state is OnboardingState.RUNNING and onboarding.trouble is not None:
        told = sentence(onboarding.trouble, onboarding.details)
        waits_for = {"code": onboarding.trouble, "message": told}
    return {
        "onboarding": onboarding.id,
        "state": onboarding.state.value,
        "phone_number_id": onboarding.phone_number_id,
        "waba_id": onboarding.waba_id,
        "deadline_at": onboarding.deadline_at,
        "waits_for": waits_for,
        "steps": {step: onboarding.made[step].value for step in plan.ORDER if step in onboarding.made},
    }


def _failed_sync(status: JSON | None) -> str | None:
    """Return why a sync was not taken, if one was not."""
    for kind in ("history", "contacts"):
        one = (status or {}).get(kind) or {}
        if one.get("status") == "failed":
            return str(one.get("error") or f"Meta did not take the request for {kind}")
    return None


async def _stream(request: Request, service: Service, number: str) -> None:
    """Send a number's sync status whenever it changes, until the reader or the server goes away."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    response = await request.respond(content_type="text/event-stream", headers=headers)
    told, beat = b"", 0.0
    while not service.is_stopping.is_set():
        status = msgspec.json.encode(await service.database.read(syncs.status, number))
        beat += LOOK_SECONDS
        if status != told:
            told, beat = status, 0.0
            await response.send(b"event: sync\ndata: " + status + b"\n\n")
        elif beat >= BEAT_SECONDS:
            beat = 0.0
            await response.send(b": still here\n\n")
        try:
            await asyncio.wait_for(service.is_stopping.wait(), LOOK_SECONDS)
        except asyncio.TimeoutError:
            continue
    await response.eof()


def _id(given: str | int | None, name: str) -> str | None:
    """Return an id of Meta's as text; raise BadRequest for what can be none."""
    if given is None or given == "":
        return None
    if not _ID.fullmatch(str(given)):
        raise BadRequest(f"{name} is not an id as Meta gives them")
    return str(given)
