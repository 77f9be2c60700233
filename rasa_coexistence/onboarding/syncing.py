"""Ask Meta for contacts and history, each once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import structlog

from rasa_coexistence import sync_troubles
from rasa_coexistence.graph.client import GraphClient
from rasa_coexistence.graph.errors import GraphError
from rasa_coexistence.ledger import notices, onboardings, syncs
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.ledger.onboardings import Onboarding
from rasa_coexistence.onboarding import plan
from rasa_coexistence.onboarding.judging import sync_fate
from rasa_coexistence.onboarding.outcome import Outcome, done, ended, skipped
from rasa_coexistence.records import StepState, SyncState
from rasa_coexistence.tokens import Tokens

log = structlog.get_logger(__name__)

TYPES = {plan.CONTACTS: "smb_app_state_sync", plan.HISTORY: "history"}
HAS_COME = frozenset({SyncState.SYNCING, SyncState.COMPLETED, SyncState.DECLINED})


class Syncing:
    """Makes the two requests that Meta takes once for an onboarding."""

    def __init__(
        self, database: Database, graph: GraphClient, tokens: Tokens, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._graph = graph
        self._tokens = tokens
        self._clock = clock

    async def ask(self, onboarding: Onboarding, sync: str, *, lease: str) -> Outcome | None:
        """Make the request, written down beforehand; return None if somebody else has made it.

        Its one try may be used up even when no clear answer comes: then only what arrives tells.
        """
        number = onboarding.phone_number_id or ""
        if await self._database.read(_has_come, onboarding, sync):
            return skipped("it has come already, asked for elsewhere")
        if onboarding.deadline_at is not None and self._clock() >= onboarding.deadline_at:
            late = partial(note_too_late, number=number, now=self._clock())
            return Outcome(state=StepState.FINAL, trouble="too_late", write=late)
        token = await self._tokens.of(number)
        if token is None:
            no_token = ended("no_token", phone_number_id=number)
            return msgspec.structs.replace(no_token, state=StepState.NOT_MADE)
        if not await self._database.write(_begin, onboarding, sync, lease=lease, now=self._clock()):
            return None
        try:
            request_id = await self._graph.request_sync(number, TYPES[sync], access_token=token)
        except GraphError as error:
            fate = sync_fate(error)
            log.warning("onboarding.sync_not_taken", sync=sync, step=fate.step.value, code=error.code)
            return _outcome(number, sync, fate.step, fate.sync, fate.sentence)
        taken = partial(
            syncs.answered,
            phone_number_id=number,
            kind=sync,
            state=SyncState.REQUESTED,
            request_id=request_id,
        )
        return done(f"request_id {request_id}", write=taken)


def interrupted(onboarding: Onboarding, sync: str) -> Outcome:
    """Return the outcome of a request whose process died: nobody knows whether it was made."""
    said = sync_troubles.unanswered("the server stopped while asking")
    return _outcome(onboarding.phone_number_id or "", sync, StepState.UNKNOWN, SyncState.UNKNOWN, said)


def _begin(connection: Any, onboarding: Onboarding, sync: str, *, lease: str, now: float) -> bool:
    begun = onboardings.begin(connection, onboarding.id, sync, lease=lease, once=True, now=now)
    if begun:
        syncs.ask(connection, onboarding.phone_number_id or "", sync, now=now)
    return begun


def _has_come(connection: Any, onboarding: Onboarding, sync: str) -> bool:
    """Tell whether the history came before we asked: whoever onboarded the number asked for it."""
    if onboarding.is_signup or sync != plan.HISTORY or sync in onboarding.made:
        return False
    return syncs.state_of(connection, onboarding.phone_number_id or "", sync) in HAS_COME


def note_too_late(connection: Any, number: str, *, now: float) -> None:
    """Write down, and tell, that Meta gives no more what was not asked for in time."""
    said = sync_troubles.sentence(sync_troubles.TOO_LATE)
    notices.about_number(connection, notices.SYNC_DEADLINE, number, now=now, hours_left=0, reason=said)
    for sync in plan.SYNCS:
        if syncs.state_of(connection, number, sync) is SyncState.NOT_STARTED:
            syncs.answered(connection, number, sync, SyncState.FAILED, error=said)


def _outcome(number: str, sync: str, step: StepState, state: SyncState, said: str) -> Outcome:
    waits = step is StepState.NOT_MADE
    write = partial(syncs.answered, phone_number_id=number, kind=sync, state=state, error=said)
    return Outcome(
        state=step,
        said=said,
        trouble="waits_for_meta" if waits else None,
        details={"said": said} if waits else {},
        waits=waits,
        write=write,
    )
