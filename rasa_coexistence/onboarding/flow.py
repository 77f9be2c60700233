"""Run onboardings: step after step, each on disk before it is made, and on from there after a crash."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import Callable
from typing import Any

import structlog

from rasa_coexistence.errors import LedgerUnavailable
from rasa_coexistence.faults import fault
from rasa_coexistence.graph.client import GraphClient
from rasa_coexistence.ledger import numbers, onboardings
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.ledger.onboardings import Onboarding
from rasa_coexistence.onboarding import judging, plan, syncing
from rasa_coexistence.onboarding.outcome import Outcome, ended
from rasa_coexistence.onboarding.steps import Steps
from rasa_coexistence.onboarding.syncing import Syncing
from rasa_coexistence.onboarding.troubles import OnboardingRefused
from rasa_coexistence.records import OnboardingState
from rasa_coexistence.settings import Settings
from rasa_coexistence.tokens import Tokens

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.25  # how soon another replica's progress is seen
STOP_SECONDS = 5.0


class Onboardings:
    """Begins onboardings and goes on with them; several processes may share a ledger."""

    def __init__(
        self,
        database: Database,
        graph: GraphClient,
        tokens: Tokens,
        settings: Settings,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._steps = Steps(database, graph, tokens, settings, clock)
        self._syncing = Syncing(database, graph, tokens, clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._progress = asyncio.Event()

    async def sign_up(self, code: str, *, waba_id: str | None, phone_number_id: str | None) -> str:
        """Begin what an owner finished in Meta's window; the same code again is the same onboarding."""
        if not self._settings.has_embedded_signup:
            raise OnboardingRefused("signup_is_off")
        now = self._clock()
        id_ = await self._database.write(
            onboardings.open_signup,
            code_digest=hashlib.sha256(code.encode()).hexdigest(),
            waba_id=waba_id,
            phone_number_id=phone_number_id,
            now=now,
            deadline_at=now + plan.SYNC_SECONDS,
            due_at=now + plan.CODE_SECONDS + onboardings.LEASE_SECONDS,
        )
        self._spawn(id_, code)
        return id_

    async def ask_for_syncs(
        self, phone_number_id: str, *, waba_id: str | None = None, again: bool = False
    ) -> str:
        """Ask for contacts and history of a number now, as far as that was not done before.

        ``again`` also repeats what Meta refused, or what was left out. Raise OnboardingRefused for a number
        that is not served here.
        """
        id_ = await self._database.write(self._open_elsewhere, phone_number_id, waba_id, again)
        if id_ is None:
            raise OnboardingRefused("unknown_number", phone_number_id=phone_number_id)
        self._spawn(id_)
        return str(id_)

    async def load(self, onboarding_id: str) -> Onboarding | None:
        """Return an onboarding as it stands."""
        return await self._database.read(onboardings.load, onboarding_id)

    async def wait(self, onboarding_id: str, *, seconds: float) -> Onboarding:
        """Return an onboarding once it ended, needs a person, or so many seconds have passed."""
        end = asyncio.get_running_loop().time() + seconds
        while True:
            self._progress.clear()
            onboarding = await self.load(onboarding_id)
            if onboarding is None:
                raise LookupError(onboarding_id)
            goes_on = onboarding.state is OnboardingState.RUNNING
            if not goes_on or onboarding.trouble not in (None, "waits_for_meta"):
                return onboarding
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                return onboarding
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._progress.wait(), min(left, POLL_SECONDS))

    async def resume_due(self) -> None:
        """Go on with what waited long enough, or was left behind by a process that died."""
        for id_ in await self._database.read(onboardings.due, now=self._clock()):
            self._spawn(id_)

    async def stop(self) -> None:
        """Let calls under way end: an answer of Meta's that is not waited for leaves a sync in doubt."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def go_on(self, onboarding_id: str, code: str | None = None) -> None:
        """Make the steps that are still to be made, until one of them ends the onboarding or has to wait.

        A code is never stored: whoever goes on after its process died can only say that it is lost.
        """
        lease = secrets.token_hex(12)
        onboarding = await self._database.write(
            onboardings.claim, onboarding_id, lease=lease, now=self._clock()
        )
        while onboarding is not None:
            step = plan.next_step(onboarding.made, wants_history=self._settings.history.enabled)
            if step is None:
                await self._database.write(self._finish, onboarding, lease)
                return
            outcome = await self._make(onboarding, step, lease, code)
            if outcome is None:
                return  # somebody else goes on with it
            onboarding = await self._database.write(self._note, onboarding, step, outcome, lease)
            self._progress.set()

    async def _make(self, onboarding: Onboarding, step: str, lease: str, code: str | None) -> Outcome | None:
        if plan.was_interrupted(step, onboarding.made):
            return ended("code_unclear") if step == plan.CODE else syncing.interrupted(onboarding, step)
        if step in plan.SYNCS:
            return await self._syncing.ask(onboarding, step, lease=lease)
        if step == plan.CODE and not onboarding.is_signup:
            return Outcome(state=plan.NOT_NEEDED, said="the number was onboarded elsewhere")
        once = step in plan.ONCE
        if not await self._database.write(
            onboardings.begin, onboarding.id, step, lease=lease, once=once, now=self._clock()
        ):
            return None
        match step:
            case plan.CODE:
                return await self._steps.exchange_code(onboarding, code)
            case plan.TOKEN:
                return await self._steps.check_token(onboarding)
            case plan.NUMBER:
                return await self._steps.find_number(onboarding)
            case plan.FIELDS:
                return await self._steps.check_fields(onboarding)
            case _:
                return await self._steps.subscribe(onboarding)

    def _note(
        self, connection: Any, onboarding: Onboarding, step: str, outcome: Outcome, lease: str
    ) -> Onboarding | None:
        """Write down what came of a step; return the onboarding if it goes on at once."""
        now, id_ = self._clock(), onboarding.id
        onboardings.end(connection, id_, step, outcome.state, outcome.said, now=now)
        if self._is_superseded(connection, onboarding, step):
            onboardings.settle(connection, id_, OnboardingState.FAILED, trouble="superseded", now=now)
            return None
        if outcome.write is not None:
            outcome.write(connection)
        if not onboardings.holds(connection, id_, lease=lease):
            return None  # it took so long that somebody else goes on
        if outcome.trouble is None:
            onboardings.change(connection, id_, trouble=None, details=None, attempts=0)
            return onboardings.load(connection, id_)
        log.warning("onboarding.stopped", step=step, trouble=outcome.trouble, goes_on=outcome.waits)
        if outcome.waits:
            attempts = onboarding.attempts + 1
            pause = outcome.pause_seconds or judging.pause(attempts)
            onboardings.pause(
                connection,
                id_,
                trouble=outcome.trouble,
                details=outcome.details,
                attempts=attempts,
                due_at=now + pause,
            )
            return None
        state = OnboardingState.CHOOSING if outcome.chooses else OnboardingState.FAILED
        onboardings.settle(connection, id_, state, trouble=outcome.trouble, details=outcome.details, now=now)
        return None

    def _finish(self, connection: Any, onboarding: Onboarding, lease: str) -> None:
        if onboardings.holds(connection, onboarding.id, lease=lease):
            log.info("onboarding.done", phone_number_id=onboarding.phone_number_id)
            onboardings.settle(connection, onboarding.id, OnboardingState.DONE, now=self._clock())

    def _open_elsewhere(
        self, connection: Any, phone_number_id: str, waba_id: str | None, again: bool
    ) -> str | None:
        number = numbers.load(connection, phone_number_id)
        if number is None:
            settings = self._settings
            anybody = settings.phone_number_id is None and settings.access_token is not None
            if not anybody and phone_number_id != settings.phone_number_id:
                return None
            numbers.serve(connection, phone_number_id, now=self._clock())
        id_ = onboardings.open_elsewhere(connection, phone_number_id, waba_id=waba_id, now=self._clock())
        if again:
            onboardings.allow_again(connection, id_, plan.SYNCS)
        return id_

    @staticmethod
    def _is_superseded(connection: Any, onboarding: Onboarding, step: str) -> bool:
        """Tell whether a later sign-up took the number while a step was being made."""
        if onboarding.phone_number_id is None or step in (plan.CODE, plan.TOKEN, plan.NUMBER):
            return False
        number = numbers.load(connection, onboarding.phone_number_id)
        return number is not None and number.onboarding != onboarding.id

    def _spawn(self, onboarding_id: str, code: str | None = None) -> None:
        task = asyncio.create_task(self._go_on_quietly(onboarding_id, code))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _go_on_quietly(self, onboarding_id: str, code: str | None) -> None:
        try:
            await self.go_on(onboarding_id, code)
        except LedgerUnavailable:
            log.warning("onboarding.waits", reason="the ledger is not available")
        except Exception as error:  # the lease runs out, and the watch goes on with it
            log.error("onboarding.step_failed", onboarding=onboarding_id, **fault(error))
        self._progress.set()
