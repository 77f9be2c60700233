"""Look at what Meta says of one number: its token, its phone, its subscription, where its webhooks go."""

from __future__ import annotations

import asyncio
import time
from typing import Any, TypeVar

from rasa_coexistence.doctor.addresses import same_place, shown
from rasa_coexistence.doctor.line import Line, failure, ok, warning
from rasa_coexistence.graph.answers import PhoneNumber, SubscribedApp, TokenFacts
from rasa_coexistence.graph.client import GraphClient
from rasa_coexistence.graph.errors import GraphError
from rasa_coexistence.ledger.numbers import Number
from rasa_coexistence.onboarding import alerts, health, judging
from rasa_coexistence.onboarding.steps import listing_waba
from rasa_coexistence.onboarding.troubles import sentence
from rasa_coexistence.settings import Settings

T = TypeVar("T")
LEVELS = {"phone_number": "the number", "whatsapp_business_account": "its WhatsApp account"}


class NumberPart:
    """One number; ``look`` asks Meta, ``lines`` says what it told."""

    def __init__(
        self, graph: GraphClient, settings: Settings, name: str, token: str | None, number: Number | None
    ) -> None:
        self._graph = graph
        self._settings = settings
        self._name = name
        self._token = token
        self._is_own_token = number is not None and number.access_token is not None
        self._waba_id = number.waba_id if number is not None else None
        self._facts: TokenFacts | GraphError | None = None
        self._described: PhoneNumber | GraphError | None = None
        self._pointed: PhoneNumber | GraphError | None = None
        self._apps: list[SubscribedApp] | GraphError | None = None

    @property
    def app_id(self) -> str | None:
        """Which app the token belongs to."""
        return self._facts.app_id if isinstance(self._facts, TokenFacts) else None

    async def look(self) -> None:
        """Ask Meta about the token, and with a good one about the number and its account."""
        token = self._token
        if token is None:
            return
        # The token asks about itself: a wrong app_secret is a matter of its own.
        self._facts = await _tried(self._graph.debug_token(token, None, ""))
        if isinstance(self._facts, TokenFacts) and self._facts.is_valid:
            self._described, self._pointed, self._apps = await asyncio.gather(
                _tried(self._graph.number(self._name, access_token=token)),
                _tried(self._graph.number(self._name, access_token=token, fields="webhook_configuration")),
                _tried(self._subscriptions(token, self._facts)),
            )

    def lines(self, wanted: str | None) -> list[Line]:
        """Return how the number stands; a token that is worth nothing hides all the rest.

        ``wanted`` is the address to which its messages should go, as far as it is known.
        """
        token = self._token_line()
        if self._described is None:
            return [token]
        return [token, *self._scopes(), self._phone(), self._subscription(), self._override(wanted)]

    async def _subscriptions(self, token: str, facts: TokenFacts) -> list[SubscribedApp] | None:
        if self._waba_id is None and len(facts.waba_ids) == 1:
            self._waba_id = facts.waba_ids[0]
        if self._waba_id is None:
            self._waba_id = await listing_waba(self._graph, facts.waba_ids, self._name, token=token)
        if self._waba_id is None:
            return None
        return await self._graph.subscribed_apps(self._waba_id, access_token=token)

    def _token_line(self) -> Line:
        name, facts = self._name, self._facts
        renew = _RENEW[self._is_own_token]
        if self._token is None or facts is None:
            text, _, remedy = sentence("no_token", {"phone_number_id": name}).partition("; ")
            return failure("token", text, remedy, number=name)
        if isinstance(facts, GraphError):
            if facts.code in (0, 190):
                return failure("token", "Meta does not accept the access token", renew, number=name)
            text = f"Meta did not say whether the access token is good: {facts}"
            return failure("token", text, "run doctor again", number=name)
        if not facts.is_valid:
            return failure("token", "the access token is not valid any more", renew, number=name)
        if self._settings.app_id not in (None, facts.app_id) and facts.app_id is not None:
            text = f"the access token belongs to the app {facts.app_id}, not to {self._settings.app_id}"
            return failure("token", text, "check app_id and config_id, or renew the token", number=name)
        return self._lifetime(facts.expires_at, renew)

    def _lifetime(self, expires_at: float | None, renew: str) -> Line:
        if expires_at is None:
            return ok("token", "the access token is valid and does not expire", number=self._name)
        left = max((expires_at - time.time()) / alerts.DAY, 0.0)
        if left <= alerts.TOKEN_DAYS:
            return warning("token", f"the access token ends in {left:.0f} days", renew, number=self._name)
        return ok("token", f"the access token is valid for {left:.0f} days more", number=self._name)

    def _scopes(self) -> list[Line]:
        if not isinstance(self._facts, TokenFacts):
            return []
        missing = judging.missing_scopes(self._facts)
        if not missing:
            return [ok("scopes", f"the access token has {' and '.join(judging.SCOPES)}", number=self._name)]
        text = f"the access token lacks {' and '.join(missing)}"
        remedy = (
            "grant it where the token is made (system user, or login configuration of config_id), with "
            "Advanced Access for the app, and use a new token"
        )
        return [failure("scopes", text, remedy, number=self._name)]

    def _phone(self) -> Line:
        described = self._described
        if described is None:
            return warning("phone", "the number was not looked at", "run doctor again", number=self._name)
        facts = health.facts_of(described, None)
        if facts.is_connected:
            text = "the number is in the WhatsApp Business app and on the Cloud API"
            return ok("phone", text, number=self._name)
        if facts.is_connected is False:
            remedy = (
                "connect it from the phone's app: at /connect, or where it was signed up; never register it"
            )
            return failure("phone", facts.said or "the number is not connected", remedy, number=self._name)
        told = f": {described}" if isinstance(described, GraphError) else ""
        text = f"Meta did not say whether the number is in the WhatsApp Business app{told}"
        return warning("phone", text, "run doctor again; check phone_number_id", number=self._name)

    def _subscription(self) -> Line:
        check, name = "subscription", self._name
        again = f"rasa-coexistence sync {name} subscribes it before it asks for the history"
        if isinstance(self._apps, GraphError):
            text = f"whether the app gets the account's webhooks could not be looked at: {self._apps}"
            return warning(check, text, "run doctor again", number=name)
        if self._apps is None:
            text = (
                "the WhatsApp account of the number is not known, so its subscription could not be looked at"
            )
            return warning(check, text, "give the token access to that account, and no other", number=name)
        if judging.own_subscriptions(self._apps, self._settings.app_id or self.app_id):
            return ok(check, f"the app gets the webhooks of the account {self._waba_id}", number=name)
        text = f"the app does not get the webhooks of the account {self._waba_id}"
        return failure(check, text, again, number=name)

    def _override(self, wanted: str | None) -> Line:
        """Say whether the number's messages go elsewhere; the first address of Meta's order counts."""
        check, name = "override", self._name
        if isinstance(self._pointed, GraphError):
            text = f"where the number's webhooks go could not be looked at: {self._pointed}"
            return warning(check, text, "run doctor again", number=name)
        found = (level for level in LEVELS if self._override_at(level) is not None)
        level = next(found, None)
        if level is None:
            return ok(check, "no other tool takes the number's messages away", number=name)
        address = self._override_at(level) or ""
        if wanted is None:
            text = f"an override of {LEVELS[level]} sends messages to {shown(address)}"
            return warning(check, text, "set base_url, so that it can be told from ours", number=name)
        if same_place(address, wanted):
            return ok(check, f"an override of {LEVELS[level]} sends messages to us", number=name)
        text = f"an override of {LEVELS[level]} sends messages to {shown(address)}, and not to us"
        return failure(check, text, _REMOVE[level].format(name=name, waba=self._waba_id), number=name)

    def _override_at(self, level: str) -> str | None:
        if isinstance(self._pointed, PhoneNumber):
            configuration = self._pointed.raw.get("webhook_configuration")
            found: Any = configuration.get(level) if isinstance(configuration, dict) else None
            if found:
                return str(found)
        if level == "whatsapp_business_account" and isinstance(self._apps, list):
            mine = judging.own_subscriptions(self._apps, self._settings.app_id or self.app_id)
            return next((app.override_callback_uri for app in mine if app.override_callback_uri), None)
        return None


_RENEW = {
    True: "sign the number up again at /connect",
    False: "put a new access_token into credentials.yml (Business settings > System users)",
}
_REMOVE = {
    "phone_number": "take it out in the tool that set it, or POST /{name} of the Graph API with "
    '{{"webhook_configuration": {{"override_callback_uri": ""}}}}; if it is this bot, set base_url',
    "whatsapp_business_account": "take it out in the tool that set it, or POST /{waba}/subscribed_apps of "
    "the Graph API with an empty body; if it is this bot, set base_url",
}


async def _tried(asked: Any) -> Any:
    """Return what Meta answers, or the GraphError with which it does not."""
    try:
        return await asked
    except GraphError as error:
        return error
