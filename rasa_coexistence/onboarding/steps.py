"""Make the steps of an onboarding up to the subscription; none of them does harm twice, but the code's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import structlog

from rasa_coexistence.graph.answers import BusinessToken, PhoneNumber, TokenFacts
from rasa_coexistence.graph.client import GraphClient
from rasa_coexistence.graph.errors import GraphError, Verdict
from rasa_coexistence.ledger import numbers, onboardings
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.ledger.onboardings import Onboarding
from rasa_coexistence.onboarding import judging, plan
from rasa_coexistence.onboarding.adopting import adopt
from rasa_coexistence.onboarding.choosing import Listed, choose
from rasa_coexistence.onboarding.outcome import Outcome, after, done, ended, skipped
from rasa_coexistence.records import StepState
from rasa_coexistence.settings import Settings
from rasa_coexistence.tokens import Tokens

log = structlog.get_logger(__name__)

OF_SYNC = {"history": plan.HISTORY, "smb_app_state_sync": plan.CONTACTS}  # field -> sync that comes by it
FIELDS_PAUSE = 30.0
CODE_PATIENCE, CODE_PAUSE = 20.0, 1.0  # seconds; a code lives 30, some of them are gone already


async def listing_waba(
    graph: GraphClient, waba_ids: Iterable[str], phone_number_id: str, *, token: str
) -> str | None:
    """Return which of a token's WABAs a number belongs to; raise GraphError."""
    for waba_id in waba_ids:
        listed = await graph.phone_numbers(waba_id, access_token=token)
        if any(number.id == phone_number_id for number in listed):
            return waba_id
    return None


class Steps:
    """Makes steps; what each comes to is written down by ``flow``."""

    def __init__(
        self,
        database: Database,
        graph: GraphClient,
        tokens: Tokens,
        settings: Settings,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._graph = graph
        self._tokens = tokens
        self._settings = settings
        self._clock = clock

    async def exchange_code(self, onboarding: Onboarding, code: str | None) -> Outcome:
        """Change the code into a token, which works once."""
        app_id = self._settings.app_id
        if code is None or app_id is None:
            return ended("code_lost")
        try:
            token = await self._exchange(app_id, code)
        except GraphError as error:
            return ended(judging.code_trouble(error), said=error.details or str(error))
        closed = self._tokens.closed(token.access_token)
        expires_at = None if token.expires_in is None else self._clock() + token.expires_in
        values = {"access_token": closed, "token_expires_at": expires_at}
        return done(write=lambda connection: onboardings.change(connection, onboarding.id, **values))

    async def check_token(self, onboarding: Onboarding) -> Outcome:
        """See what the token may do; a sign-up ends here if that is too little."""
        token = await self._token(onboarding)
        if token is None:
            return ended("no_token", phone_number_id=onboarding.phone_number_id)
        try:
            facts = await self._facts(token)
        except GraphError as error:
            # Only a help: a token that is worth nothing shows itself in the next step as well.
            waiting = after(error)
            return waiting if waiting.waits and onboarding.attempts < 5 else done(f"not checked: {error}")
        problem = self._problem(onboarding, facts)
        if problem is not None:
            return problem
        values: dict[str, object] = {"token_expires_at": facts.expires_at or onboarding.token_expires_at}
        if onboarding.waba_id is None and len(facts.waba_ids) == 1:
            values["waba_id"] = facts.waba_ids[0]
        return done(write=lambda connection: onboardings.change(connection, onboarding.id, **values))

    async def find_number(self, onboarding: Onboarding) -> Outcome:
        """Find the number on the phone and take it into our care."""
        token = await self._token(onboarding)
        if token is None:
            return ended("no_token", phone_number_id=onboarding.phone_number_id)
        try:
            found = await (self._signed_up if onboarding.is_signup else self._known)(onboarding, token)
        except GraphError as error:
            return after(error)
        if isinstance(found, Outcome):
            return found
        rivals = await self._database.write(
            adopt,
            onboarding,
            found.number,
            found.waba_id or None,
            tells_numbers_apart=self._settings.tells_numbers_apart,
            now=self._clock(),
        )
        return ended("second_number", others=", ".join(rivals)) if rivals else done()

    async def check_fields(self, onboarding: Onboarding) -> Outcome:
        """See that what the syncs bring would reach us: they are given once."""
        app_id = self._settings.app_id
        if app_id is None:
            return skipped("app_id is not set")
        try:
            listed = await self._graph.app_subscriptions(app_id, self._settings.app_secrets[0])
        except GraphError as error:
            return done(f"not checked: {error}")
        missing = judging.missing_fields(listed)
        spent = [name for name in missing if self._asks_for(OF_SYNC.get(name))]
        if spent:
            return Outcome(
                state=StepState.NOT_MADE,
                trouble="fields_missing",
                details={"fields": ", ".join(missing)},
                waits=True,
                pause_seconds=FIELDS_PAUSE,
            )
        if missing:
            log.warning(
                "onboarding.fields_missing", fields=missing, remedy="subscribe the app to them at Meta"
            )
        return done(f"not subscribed to {', '.join(missing)}" if missing else None)

    async def subscribe(self, onboarding: Onboarding) -> Outcome:
        """Have the WABA's webhooks sent to the app, without taking an override away that is there."""
        if onboarding.waba_id is None:
            log.warning("onboarding.waba_unknown", remedy="give waba_id, if webhooks do not come")
            return skipped("the WABA is not known: the number was subscribed elsewhere, or is not")
        token = await self._tokens.of(onboarding.phone_number_id or "")
        if token is None:
            return ended("no_token", phone_number_id=onboarding.phone_number_id)
        try:
            if await self._is_subscribed(onboarding.waba_id, token):
                return done("it was subscribed already")
            await self._graph.subscribe_app(onboarding.waba_id, access_token=token)
        except GraphError as error:
            return after(error)
        return done()

    async def _exchange(self, app_id: str, code: str) -> BusinessToken:
        """Exchange a code; while Meta cannot be reached, try as long as a code may live."""
        loop = asyncio.get_running_loop()
        end = loop.time() + CODE_PATIENCE
        while True:
            try:
                return await self._graph.exchange_code(app_id, self._settings.app_secrets[0], code)
            except GraphError as error:
                if error.verdict is not Verdict.NOT_SENT or loop.time() + CODE_PAUSE > end:
                    raise
            await asyncio.sleep(CODE_PAUSE)

    async def _is_subscribed(self, waba_id: str, token: str) -> bool:
        """Tell whether the app gets the webhooks already; a second subscription would wipe an override."""
        try:
            apps = await self._graph.subscribed_apps(waba_id, access_token=token)
        except GraphError as error:
            if error.verdict is Verdict.NOT_SENT:
                raise
            return False
        ours = self._settings.app_id
        mine = judging.own_subscriptions(apps, ours)
        for app in mine:
            if app.override_callback_uri:
                log.warning("onboarding.override", remedy="this WABA's messages go to the override's address")
        return bool(mine) if ours is not None else any(app.override_callback_uri for app in mine)

    async def _signed_up(self, onboarding: Onboarding, token: str) -> Listed | Outcome:
        """Find the number of a sign-up among those of its WABA."""
        waba_ids = [onboarding.waba_id] if onboarding.waba_id else list((await self._facts(token)).waba_ids)
        if not waba_ids:
            return ended("waba_missing")
        listed = [
            Listed(waba_id, number)
            for waba_id in waba_ids
            for number in await self._graph.phone_numbers(waba_id, access_token=token)
        ]
        return choose(listed, onboarding.phone_number_id, waba_ids)

    async def _known(self, onboarding: Onboarding, token: str) -> Listed | Outcome:
        """Look at a number that was onboarded elsewhere, and find out its WABA."""
        phone_number_id = onboarding.phone_number_id or ""
        try:
            number = await self._graph.number(phone_number_id, access_token=token)
        except GraphError as error:
            if error.verdict is not Verdict.STOP:
                raise
            number = PhoneNumber(id=phone_number_id)  # an answer that says nothing about the number
        if number.is_on_biz_app is False:
            return ended("not_on_the_app", phone_number_id=phone_number_id)
        known = await self._database.read(numbers.load, phone_number_id)
        waba_id = onboarding.waba_id or (known.waba_id if known else None)
        return Listed(waba_id or await self._waba_of(phone_number_id, token) or "", number)

    async def _waba_of(self, phone_number_id: str, token: str) -> str | None:
        """Find out which of the token's WABAs a number belongs to, if Meta tells."""
        try:
            waba_ids = (await self._facts(token)).waba_ids
            return await listing_waba(self._graph, waba_ids, phone_number_id, token=token)
        except GraphError as error:
            log.info("onboarding.waba_not_found", code=error.code, verdict=error.verdict.name)
        return None

    def _problem(self, onboarding: Onboarding, facts: TokenFacts) -> Outcome | None:
        """Return the end of an onboarding whose token cannot do what it must."""
        if not facts.is_valid:
            return ended("token_invalid")
        if self._settings.app_id not in (None, facts.app_id) and facts.app_id is not None:
            return ended("token_of_another_app", app_id=facts.app_id)
        if missing := judging.missing_scopes(facts):
            return ended("scopes_missing", scopes=" and ".join(missing))
        if onboarding.waba_id is None and onboarding.is_signup and not facts.waba_ids:
            return ended("waba_missing")
        if onboarding.waba_id and facts.waba_ids and onboarding.waba_id not in facts.waba_ids:
            return ended("waba_not_shared", waba_id=onboarding.waba_id)
        return None

    async def _facts(self, token: str) -> TokenFacts:
        return await self._graph.debug_token(token, self._settings.app_id, self._settings.app_secrets[0])

    async def _token(self, onboarding: Onboarding) -> str | None:
        if onboarding.is_signup:
            return self._tokens.opened(onboarding.access_token)
        return await self._tokens.of(onboarding.phone_number_id or "")

    def _asks_for(self, sync: str | None) -> bool:
        return sync == plan.CONTACTS or (sync == plan.HISTORY and self._settings.history.enabled)
