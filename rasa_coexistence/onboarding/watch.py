"""Look after the numbers: go on with onboardings, ask Meta how they are, warn before something is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from rasa_coexistence.graph.answers import PhoneNumber, TokenFacts
from rasa_coexistence.graph.client import GraphClient
from rasa_coexistence.graph.errors import GraphError
from rasa_coexistence.ledger import notices, numbers
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.ledger.numbers import Number
from rasa_coexistence.onboarding import alerts, health
from rasa_coexistence.onboarding.flow import Onboardings
from rasa_coexistence.records import NumberState
from rasa_coexistence.settings import Settings
from rasa_coexistence.tokens import Tokens

log = structlog.get_logger(__name__)

TURN_SECONDS = 1.0
WARN_SECONDS = 60.0
HOLD_SECONDS = 120.0  # a check whose process died is made by another after so long


class Watch:
    """What a process does once a second; several processes share the work."""

    def __init__(
        self,
        database: Database,
        graph: GraphClient,
        tokens: Tokens,
        settings: Settings,
        onboardings: Onboardings,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._graph = graph
        self._tokens = tokens
        self._settings = settings
        self._onboardings = onboardings
        self._clock = clock
        self._turn_at = self._warn_at = 0.0

    async def step(self) -> bool:
        """Do what is due, once a second; a step of the worker's loops."""
        if self._clock() >= self._turn_at:
            self._turn_at = self._clock() + TURN_SECONDS
            await self.turn()
        return False

    async def turn(self) -> None:
        """Do all that is due now."""
        await self._onboardings.resume_due()
        now = self._clock()
        for number in await self._database.write(numbers.claim_checks, now=now, hold_seconds=HOLD_SECONDS):
            await self._check(number)
        if now >= self._warn_at:
            self._warn_at = now + WARN_SECONDS
            await self._database.write(alerts.give, now=now)

    async def _check(self, number: Number) -> None:
        """Ask Meta how a number is, and write down what follows."""
        token = await self._tokens.of(number.phone_number_id)
        if token is None:
            facts = health.Facts(is_connected=None, token_is_good=False if number.is_gone else None)
        else:
            facts = await self._ask(number, token)
        await self._database.write(self._apply, number.phone_number_id, facts)

    async def _ask(self, number: Number, token: str) -> health.Facts:
        described: PhoneNumber | GraphError
        try:
            described = await self._graph.number(number.phone_number_id, access_token=token)
        except GraphError as error:
            described = error
        told: TokenFacts | GraphError | None = None
        if number.is_gone:
            secret = self._settings.app_secrets[0]
            try:
                told = await self._graph.debug_token(token, self._settings.app_id, secret)
            except GraphError as error:
                told = error
        return health.facts_of(described, told)

    def _apply(self, connection: Any, phone_number_id: str, facts: health.Facts) -> None:
        now = self._clock()
        number = numbers.lock(connection, phone_number_id)
        if number is None:
            return
        seconds = now - (number.state_changed_at or now)
        finding = health.judge(number.state, number.state_reason, seconds, facts)
        numbers.change(connection, phone_number_id, checked_at=now)
        if finding.forgets_token:
            log.warning("number.gone", phone_number_id=phone_number_id, state=number.state.value)
            numbers.forget(connection, phone_number_id)
            if number.access_token is None and self._settings.access_token is not None:
                # The token of credentials.yml stays ours: the number may come back with it.
                numbers.change(connection, phone_number_id, check_due_at=now + health.CHECK_SECONDS)
            return
        due_at = None if finding.next_check is None else now + finding.next_check
        numbers.change(connection, phone_number_id, check_due_at=due_at)
        if finding.state is not None:
            self._move(connection, number, finding)
        elif finding.reason is not None:
            numbers.change(connection, phone_number_id, state_reason=finding.reason)
        elif facts.is_connected and number.state is NumberState.CONNECTED:
            numbers.forget_reason(connection, phone_number_id, now=now)
        if finding.reason is not None:
            log.warning("number.not_well", phone_number_id=phone_number_id, reason=finding.reason)
            notices.about_number(
                connection,
                notices.NUMBER_STOPPED,
                phone_number_id,
                now=now,
                state=(finding.state or number.state).value,
                reason=finding.reason,
            )

    def _move(self, connection: Any, number: Number, finding: health.Finding) -> None:
        now, state = self._clock(), finding.state or number.state
        log.warning("number.moved", phone_number_id=number.phone_number_id, state=state.value)
        numbers.set_state(connection, number.phone_number_id, state, reason=finding.reason, at=now, now=now)
