"""Let another process drive the simulator, by JSON under /_simulator/."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from rasa_coexistence.simulator import chats, webhooks
from rasa_coexistence.simulator.state import JSON, Number, Person, Sent

if TYPE_CHECKING:
    from rasa_coexistence.simulator.deliveries import Delivery
    from rasa_coexistence.simulator.simulator import Simulator

Act = Callable[..., Any]


def add_control_routes(app: web.Application, simulator: Simulator) -> None:
    """Add every route of ROUTES; what a JSON body holds are the arguments of its function."""
    for method, path, act in ROUTES:
        app.router.add_route(method, f"/_simulator{path}", _route(act, simulator))


def _route(act: Act, simulator: Simulator) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def serve(request: web.Request) -> web.Response:
        try:
            body = await request.json() if request.can_read_body else {}
            arguments = {**request.query, **body, **request.match_info}
            inspect.signature(act).bind(simulator, **arguments)  # a wrong name is the caller's mistake
            answer = act(simulator, **arguments)
            answer = await answer if inspect.isawaitable(answer) else answer
        except (TypeError, ValueError, LookupError) as problem:
            error = {"code": "bad_request", "message": str(problem)}
            return web.json_response({"error": error}, status=400)
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

    return serve


def _show_state(simulator: Simulator) -> JSON:
    return {
        "now": simulator.clock.now(),
        "alarms": simulator.accounts.alarms,
        "numbers": [asdict(number) for number in simulator.accounts.numbers.values()],
        "subscribed": simulator.accounts.subscribed,
        "read": simulator.sending.read,
        "typing": simulator.sending.typing,
    }


def _show_sent(simulator: Simulator, to: str | None = None) -> list[JSON]:
    return [_sent(sent) for sent in simulator.sent_to(to)]


def _sent(sent: Sent) -> JSON:
    return asdict(sent) | {"text": sent.text}


def _show_calls(simulator: Simulator, operation: str | None = None) -> list[JSON]:
    return [asdict(call) for call in simulator.calls if operation in (None, call.operation)]


def _show_webhooks(simulator: Simulator, last: int | str = 100) -> list[JSON]:
    return [_delivery(delivery) for delivery in simulator.deliveries.log[-int(last) :]]


def _delivery(delivery: Delivery) -> JSON:
    return {
        "url": delivery.url,
        "attempts": delivery.attempts,
        "acknowledged": delivery.is_acknowledged,
        "body": delivery.body.decode(errors="replace"),
    }


def _fail(simulator: Simulator, operation: str, kind: str, **others: Any) -> JSON:
    simulator.failures.add(operation, kind, **others)
    return {"ok": True}


def _clear_failures(simulator: Simulator) -> JSON:
    simulator.failures.clear()
    return {"ok": True}


def _behave(simulator: Simulator, **wanted: Any) -> JSON:
    behaviour = simulator.sending.behaviour
    for name, value in wanted.items():
        if not hasattr(behaviour, name):
            raise LookupError(f"{name} is not a setting; there are {', '.join(vars(behaviour))}")
        setattr(behaviour, name, frozenset(value) if name == "late_codes" else value)
    return {"ok": True}


def _move_clock(simulator: Simulator, seconds: float | None = None, at: float | None = None) -> JSON:
    if at is not None:
        simulator.clock.set(at)
    simulator.clock.move(seconds or 0.0)
    return {"now": simulator.clock.now()}


async def _customer_sends(
    simulator: Simulator,
    wa_id: str,
    text: str | None = None,
    kind: str = "text",
    content: Any = None,
    name: str | None = None,
    person: JSON | None = None,
    phone_number_id: str | None = None,
    **others: Any,
) -> JSON:
    """Let a customer write; ``others`` are context, referral, errors, at, wamid."""
    who = simulator.customer(wa_id, name, **(person or {}))
    content = {"body": text} if text is not None else content
    number = _number(simulator, phone_number_id)
    wamid = await who.sends(kind, content, number=number, **others)
    return {"wamid": wamid} | _delivery(simulator.deliveries.log[-1])


async def _owner_sends(
    simulator: Simulator,
    to: str,
    text: str | None = None,
    kind: str = "text",
    content: Any = None,
    phone_number_id: str | None = None,
    **others: Any,
) -> JSON:
    content = {"body": text} if text is not None else content
    owner = simulator.owner(_number(simulator, phone_number_id))
    return {"wamid": await owner.sends(to, kind, content, **others)}


async def _tell_status(
    simulator: Simulator, wamid: str, status: str, recipient: str, callback_data: str | None = None
) -> JSON:
    who, now = simulator.sending.person(recipient), simulator.clock.now()
    told = webhooks.status(simulator.number, who, wamid, status, now, callback_data=callback_data)
    return _delivery(await simulator.post(told))


async def _post_raw(
    simulator: Simulator, body: Any, signature: str | None = None, signed: bool = True, url: str | None = None
) -> JSON:
    raw = body.encode() if isinstance(body, str) else body
    url = url or simulator.accounts.webhook_url
    delivery = simulator.deliveries.post(raw, url, signature=signature, signed=signed)
    await delivery.tried.wait()
    return _delivery(delivery)


async def _redeliver(simulator: Simulator, last: int = 1, copies: int = 1) -> list[JSON]:
    return [_delivery(again) for again in await simulator.deliveries.redeliver(last, copies=copies)]


async def _send_history(
    simulator: Simulator,
    count: int = 40,
    messages_each: int = 20,
    days: float = 180,
    messages_per_chunk: int = 100,
    repeats: int = 0,
    shuffle: bool = False,
    seed: int = 1,
    on_request: bool = False,
) -> JSON:
    """Post made-up old chats now, or keep them for the app's request."""
    number, now = simulator.number, simulator.clock.now()
    made = list(
        chats.made_up(number, chats=count, messages_each=messages_each, now=now, days=days, seed=seed)
    )
    chunks = chats.cut(made, now=now, messages_per_chunk=messages_per_chunk)
    if shuffle or repeats:
        chunks = chats.shaken(chunks, repeats=repeats, seed=seed)
    told = [chunk.webhook(number) for chunk in chunks]
    if on_request:
        simulator.old_chats[number.phone_number_id] = told
    else:
        for webhook in told:
            await simulator.post(webhook)
    return {"chunks": len(told), "messages": sum(len(chat.messages) for chat in made)}


async def _decline_history(simulator: Simulator, on_request: bool = False) -> JSON:
    simulator.number.shares_history = False
    if not on_request:
        await simulator.post(chats.declined(simulator.number))
    return {"ok": True}


async def _account(
    simulator: Simulator, event: str, phone_number_id: str | None = None, **details: Any
) -> JSON:
    """Let something happen to the account; offboarded, reconnected and removed also take effect here."""
    number = _number(simulator, phone_number_id)
    match event.upper():
        case "PARTNER_REMOVED":
            return _delivery(await simulator.remove_partner(number, **details))
        case "ACCOUNT_OFFBOARDED":
            told = simulator.accounts.offboard(number)
        case "ACCOUNT_RECONNECTED":
            told = simulator.accounts.reconnect(number)
        case _:
            told = webhooks.account_update(number, event, **details)
    return _delivery(await simulator.post(told))


async def _contact(simulator: Simulator, wa_id: str, name: str | None = None, removed: bool = False) -> JSON:
    who = simulator.customer(wa_id, name).person
    told = webhooks.state_sync(simulator.number, [(who, removed, simulator.clock.now())])
    return _delivery(await simulator.post(told))


def _sign_up(simulator: Simulator, **wanted: Any) -> JSON:
    """Let an owner finish the Embedded Signup; the answer is what the browser gets."""
    number = Number(**wanted) if wanted else simulator.number
    code = simulator.accounts.sign_up(number)
    return {"code": code, "waba_id": number.waba_id, "phone_number_id": number.phone_number_id}


def _introduce(simulator: Simulator, **fields: Any) -> Person:
    fields["phones"] = frozenset(fields.get("phones", ()))
    return simulator.sending.introduce(Person(**fields))


def _number(simulator: Simulator, phone_number_id: str | None) -> Number:
    return simulator.accounts.numbers[phone_number_id] if phone_number_id else simulator.number


ROUTES: tuple[tuple[str, str, Act], ...] = (
    ("GET", "/state", _show_state),
    ("GET", "/sent", _show_sent),
    ("GET", "/calls", _show_calls),
    ("GET", "/webhooks", _show_webhooks),
    ("POST", "/failures", _fail),
    ("DELETE", "/failures", _clear_failures),
    ("POST", "/behaviour", _behave),
    ("POST", "/clock", _move_clock),
    ("POST", "/people", _introduce),
    ("POST", "/customers/{wa_id}/messages", _customer_sends),
    ("POST", "/phone/messages", _owner_sends),
    ("POST", "/phone/contacts", _contact),
    ("POST", "/statuses", _tell_status),
    ("POST", "/raw", _post_raw),
    ("POST", "/redeliver", _redeliver),
    ("POST", "/history", _send_history),
    ("POST", "/history/declined", _decline_history),
    ("POST", "/account", _account),
    ("POST", "/sign_up", _sign_up),
)
