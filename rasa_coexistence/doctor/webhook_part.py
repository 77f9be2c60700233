"""Knock at the webhook's public address as Meta would: the handshake, a signed body, a wrongly signed one."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import aiohttp

from rasa_coexistence.doctor.addresses import is_open_to_meta, same_place, shown
from rasa_coexistence.doctor.line import Line, failure, ok, warning
from rasa_coexistence.doctor.settings_part import Given
from rasa_coexistence.settings import Settings
from rasa_coexistence.signature import sign

CHECK = "webhook"
SECONDS = aiohttp.ClientTimeout(total=5.0, connect=3.0)
EMPTY = b'{"object":"whatsapp_business_account","entry":[]}'
START = "start rasa run, and see that the proxy or tunnel before it leads there"
ENTER = "App Dashboard > WhatsApp > Configuration"

Answer = tuple[int, str]


async def check(
    given: Given, settings: Settings, our_url: str | None, callback_url: str | None
) -> AsyncIterator[Line]:
    """Yield how the address stands to which Meta posts; ``callback_url`` is what Meta says of it."""
    url = our_url or callback_url
    if url is None:
        text = "the public address of the webhook is not known, so nobody knocked there"
        yield warning(CHECK, text, "set base_url, or give --url https://<your server>")
        return
    if our_url is not None and callback_url is not None and not same_place(our_url, callback_url):
        text = (
            f"Meta posts history, contacts and account news to {shown(callback_url)}, not to {shown(our_url)}"
        )
        yield failure(CHECK, text, f"enter our address there ({ENTER}), or correct base_url")
    if not is_open_to_meta(url) and is_open_to_meta(settings.graph_url):
        yield failure(CHECK, f"{shown(url)} is not https, and Meta posts nowhere else", "put https before it")
    if given.lacks("verify_token", "app_secret"):
        yield warning(CHECK, f"{shown(url)} was not tried", "it takes verify_token and app_secret")
        return
    async with aiohttp.ClientSession(timeout=SECONDS, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield await knock(session, url, settings)


async def knock(session: aiohttp.ClientSession, url: str, settings: Settings) -> Line:
    """Return the first thing that is wrong at an address, or that it does all that Meta expects."""
    place, challenge = shown(url), str(secrets.randbelow(10**9))
    query = {
        "hub.mode": "subscribe",
        "hub.challenge": challenge,
        "hub.verify_token": str(settings.verify_token),
    }
    try:
        status, said = await _answer(session.get(url, params=query, allow_redirects=False))
        if status != 200 or said.strip() != challenge:
            return _no_handshake(place, status)
        secret = settings.app_secrets[0]
        status, _ = await _answer(_posted(session, url, sign(EMPTY, secret)))
        if status != 200:
            return _not_taken(place, status)
        status, _ = await _answer(_posted(session, url, sign(EMPTY, f"not {secret}")))
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
        return failure(CHECK, f"{place} does not answer ({_reason(error)})", START)
    if status != 401:
        text = (
            f"{place} also takes what Meta did not sign (HTTP {status}): it is not this plug-in that answers"
        )
        return failure(CHECK, text, "see which server or proxy answers there, and lead it to this bot")
    return ok(CHECK, f"{place} shakes hands, takes what Meta signed and nothing else")


def _posted(
    session: aiohttp.ClientSession, url: str, signature: str
) -> aiohttp.client._RequestContextManager:
    headers = {"Content-Type": "application/json", "X-Hub-Signature-256": signature}
    return session.post(url, data=EMPTY, headers=headers, allow_redirects=False)


async def _answer(asked: aiohttp.client._RequestContextManager) -> Answer:
    async with asked as response:
        raw = await response.content.read(1024)
        return response.status, raw.decode(errors="replace")


def _no_handshake(place: str, status: int) -> Line:
    if status == 403:
        text = f"{place} does not know our verify_token"
        return failure(
            CHECK, text, "restart rasa run with these credentials.yml, and enter the token at Meta"
        )
    if 300 <= status < 400:
        text = f"{place} sends elsewhere (HTTP {status}), and Meta does not follow"
        return failure(CHECK, text, f"enter the address it sends to at Meta ({ENTER}) and in base_url")
    text = f"{place} does not shake hands (HTTP {status}): it is not this plug-in that answers"
    return failure(CHECK, text, f"the path must be /webhooks/whatsapp/webhook; {START}")


def _not_taken(place: str, status: int) -> Line:
    if status == 401:
        text = f"{place} refuses what is signed with our app_secret"
        remedy = "restart rasa run with these credentials.yml, and let no proxy change bodies or headers"
        return failure(CHECK, text, remedy)
    if status == 503:
        text = f"{place} cannot store webhooks (HTTP 503)"
        return failure(CHECK, text, "the server does not reach the database of database_url; see its log")
    text = f"{place} does not take a signed webhook (HTTP {status})"
    return failure(CHECK, text, f"see which server or proxy answers there; {START}")


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "nothing for 5 seconds"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not one that Meta would trust"
    return type(error).__name__
