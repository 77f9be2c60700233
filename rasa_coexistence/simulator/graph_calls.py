"""List the calls of the Graph API that we know, and what each one does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import BodyPartReader, web

from rasa_coexistence.simulator.refusals import Refusal
from rasa_coexistence.simulator.state import FIELDS, JSON, Answer, Number

if TYPE_CHECKING:
    from rasa_coexistence.simulator.simulator import Simulator

Act = Callable[["Simulator", web.Request, "JSON | None"], Awaitable[Answer]]
MESSAGING = "whatsapp_business_messaging"
LONGEST_OVERRIDE = 200


@dataclass(frozen=True, slots=True)
class GraphCall:
    """One operation: the name failures and the call log use, and what it does."""

    name: str
    act: Act

    def name_for(self, body: JSON | None) -> str:
        """Return the name; marking as read shares its path with sending."""
        return "read" if self.name == "messages" and body and "status" in body else self.name


async def _messages(simulator: Simulator, request: web.Request, body: JSON | None) -> Answer:
    number = _number(simulator, request, MESSAGING)
    body = _needed(body)
    if "status" in body:
        return simulator.sending.mark_read(body)
    return simulator.sending.send(number, body)


async def _smb_app_data(simulator: Simulator, request: web.Request, body: JSON | None) -> Answer:
    number = _number(simulator, request)
    answer, brought = simulator.take_sync_request(number, _needed(body))
    return Answer(answer, after=brought)


async def _register(simulator: Simulator, request: web.Request, body: JSON | None) -> Answer:
    return Answer(simulator.accounts.refuse_registering(_number(simulator, request), "register"))


async def _deregister(simulator: Simulator, request: web.Request, body: JSON | None) -> Answer:
    return Answer(simulator.accounts.refuse_registering(_number(simulator, request), "deregister"))


async def _oauth(simulator: Simulator, request: web.Request, body: JSON | None) -> Answer:
    given = {**request.query, **(body or {})}
    return Answer(
        simulator.accounts.exchange(given.get("client_id"), given.get("client_secret"), given.get("code"))
    )


async def _debug_token(simulator: Simulator, request: web.Request, body: JSON | None) -> Answer:
    asked = request.query.get("input_token", "")
    return Answer(simulator.accounts.debug_token(bearer(request), asked))


async def _phone_numbers(simulator: Simulator, request: web.Request, body: JSON | None) -> Answer:
    waba_id = _waba(simulator, request)
    return Answer(simulator.accounts.numbers_of(waba_id, request.query.get("fields")))


async def _subscribe(simulator: Simulator, request: web.Request, body: JSON | None) -> Answer:
    waba_id, body = _waba(simulator, request), body or {}
    override = body.get("override_callback_uri")
    if override is not None:
        await _check_callback(simulator, str(override), str(body.get("verify_token", "")))
    simulator.accounts.subscribed[waba_id] = override  # an empty body takes an override away
    return Answer({"success": True})


async def _subscribed(simulator: Simulator, request: web.Request, body: JSON | None) -> Answer:
    waba_id, accounts = _waba(simulator, request), simulator.accounts
    if waba_id not in accounts.subscribed:
        return Answer({"data": []})
    app: JSON = {"whatsapp_business_api_data": {"id": accounts.app_id, "name": "Simulated app"}}
    if accounts.subscribed[waba_id]:
        app["override_callback_uri"] = accounts.subscribed[waba_id]
    return Answer({"data": [app]})


async def _unsubscribe(simulator: Simulator, request: web.Request, body: JSON | None) -> Answer:
    simulator.accounts.subscribed.pop(_waba(simulator, request), None)
    return Answer({"success": True})


async def _app_fields(simulator: Simulator, request: web.Request, body: JSON | None) -> Answer:
    accounts = simulator.accounts
    _check_app(simulator, request)
    fields = [{"name": name, "version": "v26.0"} for name in sorted(accounts.app_fields)]
    item = {
        "object": "whatsapp_business_account",
        "callback_url": accounts.webhook_url,
        "active": True,
        "fields": fields,
    }
    return Answer({"data": [item] if fields else []})


async def _set_app_fields(simulator: Simulator, request: web.Request, body: JSON | None) -> Answer:
    _check_app(simulator, request)
    given: dict[str, Any] = {**request.query, **(body or {})}
    callback = str(given.get("callback_url", ""))
    await _check_callback(simulator, callback, str(given.get("verify_token", "")))
    fields = given.get("fields", ",".join(FIELDS))
    simulator.accounts.webhook_url = callback
    simulator.accounts.app_fields = set(fields.split(",") if isinstance(fields, str) else fields)
    return Answer({"success": True})


async def _object(simulator: Simulator, request: web.Request, body: JSON | None) -> Answer:
    """Answer GET on a bare id, which may be a number's or a file's."""
    accounts, asked = simulator.accounts, request.match_info["id"]
    if asked in accounts.numbers:
        return Answer(accounts.describe(_number(simulator, request), request.query.get("fields")))
    if not bearer(request):
        raise Refusal(2500, "An active access token must be used to query information.")
    _authorise_any(simulator, request)
    return Answer(simulator.media.describe(asked))


async def _configure(simulator: Simulator, request: web.Request, body: JSON | None) -> Answer:
    number = _number(simulator, request)
    wanted = _needed(body).get("webhook_configuration")
    if not isinstance(wanted, dict):
        raise Refusal(100, "Param webhook_configuration is required.")
    override = str(wanted.get("override_callback_uri", ""))
    if override:
        await _check_callback(simulator, override, str(wanted.get("verify_token", "")))
        number.webhook_configuration["phone_number"] = override
    else:
        number.webhook_configuration.pop("phone_number", None)
    return Answer({"success": True})


async def _upload(simulator: Simulator, request: web.Request, body: JSON | None) -> Answer:
    _number(simulator, request, MESSAGING)
    if not request.content_type.startswith("multipart/"):
        raise Refusal(100, "The parameter file is required.")
    given: dict[str, Any] = {}
    async for part in await request.multipart():
        if isinstance(part, BodyPartReader):
            content = await part.read()
            given[part.name or ""] = bytes(content) if part.name == "file" else content.decode()
            if part.name == "file":
                given["file_type"] = part.headers.get("Content-Type", "")
    if given.get("messaging_product") != "whatsapp" or "file" not in given:
        raise Refusal(100, "The parameters messaging_product and file are required.")
    stated = str(given.get("type") or given["file_type"])
    if given["file_type"] and stated.split(";")[0] != given["file_type"].split(";")[0]:
        raise Refusal(131053, f"The file is {given['file_type']}, not {stated}.")
    return Answer({"id": simulator.media.upload(stated, given["file"])})


async def _delete(simulator: Simulator, request: web.Request, body: JSON | None) -> Answer:
    _authorise_any(simulator, request)
    return Answer(simulator.media.delete(request.match_info["id"]))


# method, path below the version, what it does; the first that fits is taken
CALLS: tuple[tuple[str, str, GraphCall], ...] = (
    ("GET", "/oauth/access_token", GraphCall("oauth", _oauth)),
    ("POST", "/oauth/access_token", GraphCall("oauth", _oauth)),
    ("GET", "/debug_token", GraphCall("debug_token", _debug_token)),
    ("POST", "/{id}/messages", GraphCall("messages", _messages)),
    ("POST", "/{id}/smb_app_data", GraphCall("smb_app_data", _smb_app_data)),
    ("POST", "/{id}/register", GraphCall("register", _register)),
    ("POST", "/{id}/deregister", GraphCall("deregister", _deregister)),
    ("GET", "/{id}/phone_numbers", GraphCall("phone_numbers", _phone_numbers)),
    ("POST", "/{id}/subscribed_apps", GraphCall("subscribe", _subscribe)),
    ("GET", "/{id}/subscribed_apps", GraphCall("subscribed", _subscribed)),
    ("DELETE", "/{id}/subscribed_apps", GraphCall("unsubscribe", _unsubscribe)),
    ("GET", "/{id}/subscriptions", GraphCall("app_fields", _app_fields)),
    ("POST", "/{id}/subscriptions", GraphCall("set_app_fields", _set_app_fields)),
    ("POST", "/{id}/media", GraphCall("upload", _upload)),
    ("GET", "/{id}", GraphCall("object", _object)),
    ("POST", "/{id}", GraphCall("configure", _configure)),
    ("DELETE", "/{id}", GraphCall("delete_media", _delete)),
)
OPERATIONS = (*dict.fromkeys(call.name for _, _, call in CALLS), "read", "download")


def _number(
    simulator: Simulator, request: web.Request, scope: str = "whatsapp_business_management"
) -> Number:
    """Return the number of the path, if the token may act for it."""
    number = simulator.accounts.number(request.match_info["id"])
    simulator.accounts.authorise(bearer(request), number.waba_id, scope)
    return number


def _waba(simulator: Simulator, request: web.Request) -> str:
    waba_id = request.match_info["id"]
    simulator.accounts.authorise(bearer(request), waba_id)
    return waba_id


def _check_app(simulator: Simulator, request: web.Request) -> None:
    if request.match_info["id"] != simulator.accounts.app_id:
        raise Refusal(100, f"Object with ID '{request.match_info['id']}' does not exist.", subcode=33)
    if bearer(request) != simulator.accounts.app_token:
        raise Refusal(190, "This call needs the app's own token.")


def _authorise_any(simulator: Simulator, request: web.Request) -> None:
    """Take the token of any WABA: media have none in their path."""
    given = bearer(request)
    token = simulator.accounts.tokens.get(given or "")
    waba_id = token.waba_ids[0] if token and token.waba_ids else simulator.number.waba_id
    simulator.accounts.authorise(given, waba_id, MESSAGING)


async def _check_callback(simulator: Simulator, url: str, verify_token: str) -> None:
    if len(url) > LONGEST_OVERRIDE or not await simulator.deliveries.verify(url, verify_token):
        raise Refusal(2200, "The callback address did not answer the challenge.")


def _needed(body: JSON | None) -> JSON:
    if body is None:
        raise Refusal(100, "The body must be a JSON object.")
    return body


def bearer(request: web.Request) -> str | None:
    """Return the token of a call, from its header or its query."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return request.query.get("access_token")
