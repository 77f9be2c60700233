"""Go through all parts, one after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

from msgspec import Struct

from rasa_coexistence.doctor import ledger_part, rasa_part, settings_part, webhook_part
from rasa_coexistence.doctor.addresses import webhook_of
from rasa_coexistence.doctor.line import Line
from rasa_coexistence.doctor.meta_part import MetaPart


class Place(Struct, frozen=True, kw_only=True):
    """What is to be looked at."""

    credentials: Path
    endpoints: Path
    url: str | None = None  # public address; None: base_url, else the app's callback URL at Meta
    number: str | None = None  # only this one


async def examine(place: Place) -> AsyncIterator[Line]:
    """Yield a line for each thing looked at, as soon as it is known."""
    given = settings_part.read(place.credentials)
    for line in given.lines:
        yield line
    for line in await asyncio.to_thread(rasa_part.check, place.endpoints, given.settings):
        yield line
    settings = given.settings
    if settings is None:
        return
    known = await ledger_part.look(given, settings, now=time.time(), only=place.number)
    for line in known.lines:
        yield line
    address = place.url or (None if given.lacks("base_url") else settings.base_url)
    our_url = None if address is None else webhook_of(address)
    meta = MetaPart(given, settings, known, our_url)
    async for line in meta.check():
        yield line
    async for line in webhook_part.check(given, settings, our_url, meta.callback_url):
        yield line
