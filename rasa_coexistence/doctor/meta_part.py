"""Look at what Meta says of the app: is it there, is the clock right, does it get all webhook fields."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from msgspec import Struct

from rasa_coexistence.doctor.ledger_part import Known
from rasa_coexistence.doctor.line import Line, failure, ok, warning
from rasa_coexistence.doctor.number_part import NumberPart
from rasa_coexistence.doctor.settings_part import Given
from rasa_coexistence.graph.answers import AppSubscription
from rasa_coexistence.graph.client import GraphClient
from rasa_coexistence.graph.errors import GraphError
from rasa_coexistence.onboarding import judging
from rasa_coexistence.settings import Settings

CONNECT_SECONDS, CALL_SECONDS = 3.0, 5.0
CLOCK_SECONDS, CLOCK_WARNS = 60.0, 5.0
DASHBOARD = "App Dashboard > WhatsApp > Configuration"
_REFUSED = frozenset({1, 101, 190})  # codes of an app token that does not fit


class App(Struct, frozen=True, kw_only=True):
    """What Meta told of the app."""

    lines: list[Line]
    callback_url: str | None = None


class MetaPart:
    """Asks Meta, each question for a few seconds; nothing is changed there."""

    def __init__(self, given: Given, settings: Settings, known: Known, our_url: str | None) -> None:
        self._given = given
        self._settings = settings
        self._known = known
        self._our_url = our_url
        self.callback_url: str | None = None  # where Meta posts what no override redirects, once it told
        self._graph = GraphClient(
            settings.graph_url,
            settings.graph_version,
            connect_seconds=CONNECT_SECONDS,
            total_seconds=CALL_SECONDS,
        )

    async def check(self) -> AsyncIterator[Line]:
        """Yield a line for everything that Meta can tell."""
        try:
            greeting = await self._greet()
            for line in greeting:
                yield line
            if greeting[0].remedy is not None:
                return  # nobody there, or nobody who knows our version
            async for line in self._ask():
                yield line
        finally:
            await self._graph.close()

    async def _greet(self) -> list[Line]:
        """Say whether Meta can be reached, knows our version, and has our time."""
        asked_at = time.time()
        try:
            hello = await self._graph.hello()
        except GraphError as error:
            remedy = (
                "check the network, a proxy or firewall, and graph_url; what Meta knows was not looked at"
            )
            return [failure("meta", str(error).partition("; ")[0], remedy)]
        if not hello.knows_version:
            text = f"Meta does not know graph_version {self._settings.graph_version}"
            return [failure("meta", text, "leave graph_version out, or name one that Meta still serves")]
        reached = ok("meta", f"Meta answers, and knows {self._settings.graph_version}")
        if hello.at is None:
            return [reached]
        return [reached, clock((asked_at + time.time()) / 2 - hello.at)]

    async def _ask(self) -> AsyncIterator[Line]:
        if not self._known.tokens:
            remedy = "sign one up at /connect, or set phone_number_id and access_token"
            yield warning("number", "no number is known yet", remedy)
        parts = [
            NumberPart(self._graph, self._settings, name, token, self._known.numbers.get(name))
            for name, token in self._known.tokens.items()
            if name not in self._known.numbers or not self._known.numbers[name].is_gone
        ]
        await asyncio.gather(*(part.look() for part in parts))
        app = await self._app([part.app_id for part in parts])
        for line in app.lines:
            yield line
        self.callback_url = app.callback_url
        for part in parts:
            for line in part.lines(self._our_url or app.callback_url):
                yield line

    async def _app(self, named: list[str | None]) -> App:
        """Ask which fields the app gets, and where; a token tells its app where the settings do not."""
        app_id = self._settings.app_id or next(filter(None, named), None)
        check = "app_fields"
        if self._given.lacks("app_secret") or app_id is None:
            missing = "app_secret" if self._given.lacks("app_secret") else "app_id, or a token that is valid"
            text = "whether the app gets all webhook fields could not be looked at"
            return App(lines=[warning(check, text, f"it takes {missing}")])
        try:
            listed = await self._graph.app_subscriptions(app_id, self._settings.app_secrets[0])
        except GraphError as error:
            if error.code in _REFUSED:
                text = f"Meta does not take app_secret for the app {app_id}"
                remedy = "copy it anew from App settings > Basic, into credentials.yml and nowhere else"
                return App(lines=[failure("app_secret", text, remedy)])
            text = f"whether the app gets all webhook fields could not be looked at: {error}"
            return App(lines=[warning(check, text, "run doctor again")])
        return App(lines=[*_fields(listed)], callback_url=_callback(listed))


def clock(seconds_ahead: float) -> Line:
    """Judge our clock by how far it is ahead of Meta's."""
    off, direction = abs(seconds_ahead), "ahead of" if seconds_ahead > 0 else "behind"
    text = f"this machine's clock is {off:.0f} s {direction} Meta's"
    remedy = "let it follow a time server (timedatectl set-ntp true): the 24-hour window is counted by it"
    if off > CLOCK_SECONDS:
        return failure("clock", text, remedy)
    if off > CLOCK_WARNS:
        return warning("clock", text, remedy)
    return ok("clock", "agrees with Meta's")


def _fields(listed: list[AppSubscription]) -> list[Line]:
    missing = judging.missing_fields(listed)
    if not missing:
        return [ok("app_fields", f"the app gets {', '.join(judging.FIELDS)}")]
    text = f"the app does not get {', '.join(missing)}"
    remedy = f"subscribe it to them ({DASHBOARD}) before the history is asked for: Meta gives it once"
    return [failure("app_fields", text, remedy)]


def _callback(listed: list[AppSubscription]) -> str | None:
    ours = (one for one in listed if one.active and one.object == judging.WABA_OBJECT)
    return next((one.callback_url for one in ours if one.callback_url), None)
