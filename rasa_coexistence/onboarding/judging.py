"""Judge what Meta's refusal of a step means for the onboarding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from rasa_coexistence import sync_troubles
from rasa_coexistence.graph.answers import AppSubscription, SubscribedApp, TokenFacts
from rasa_coexistence.graph.errors import GraphError, Verdict
from rasa_coexistence.records import StepState, SyncState

SCOPES = ("whatsapp_business_management", "whatsapp_business_messaging")
FIELDS = ("messages", "smb_message_echoes", "history", "smb_app_state_sync", "account_update")
WABA_OBJECT = "whatsapp_business_account"

_PASSING = frozenset({Verdict.RETRY, Verdict.RETRY_ONCE, Verdict.RETRY_THRICE, Verdict.UNCLEAR})
_BUSY = frozenset({Verdict.WAIT_QUOTA, Verdict.THROTTLED, Verdict.NOT_SENT})
_CODES = {36007: "code_expired", 36008: "code_invalid", 36009: "code_used"}  # error_subcode of code 100
_LONGEST_PAUSE = 300.0


class SyncFate(Struct, frozen=True):
    """What became of a request for contacts or history that did not simply succeed."""

    step: StepState
    sync: SyncState
    sentence: str


def sync_fate(error: GraphError) -> SyncFate:
    """Judge a failed request for a sync: only what proves that Meta did nothing may be made again."""
    if error.code == sync_troubles.DECLINED:
        return SyncFate(StepState.FINAL, SyncState.DECLINED, sync_troubles.sentence(error.code))
    if error.code in sync_troubles.SENTENCES:
        return SyncFate(StepState.FINAL, SyncState.FAILED, sync_troubles.sentence(error.code))
    if error.verdict is Verdict.NOT_SENT:
        return SyncFate(StepState.NOT_MADE, SyncState.NOT_STARTED, str(error))
    if error.verdict in _PASSING or (error.http_status or 0) >= 500:
        return SyncFate(StepState.UNKNOWN, SyncState.UNKNOWN, sync_troubles.unanswered(str(error)))
    return SyncFate(
        StepState.REFUSED,
        SyncState.FAILED,
        sync_troubles.refused(str(error), error.details),
    )


def code_trouble(error: GraphError) -> str:
    """Judge a code that was not exchanged; return the trouble's code."""
    if error.verdict is Verdict.NOT_SENT:
        return "meta_unreachable"
    if error.subcode in _CODES:
        return _CODES[error.subcode]
    if error.code is None and (error.verdict in _PASSING or (error.http_status or 0) >= 500):
        return "code_unclear"
    return "exchange_refused"


def missing_scopes(facts: TokenFacts) -> list[str]:
    """Return what a token may not do and must; nothing where Meta did not list what it may."""
    return [scope for scope in SCOPES if facts.scopes is not None and scope not in facts.scopes]


def missing_fields(listed: Iterable[AppSubscription]) -> list[str]:
    """Return the webhook fields that an app does not get and should."""
    got = {name for one in listed if one.active and one.object == WABA_OBJECT for name in one.fields}
    return [name for name in FIELDS if name not in got]


def own_subscriptions(apps: Sequence[SubscribedApp], app_id: str | None) -> list[SubscribedApp]:
    """Return those of a WABA's subscriptions that are our app's, all where our app is not known."""
    return [app for app in apps if app.id == app_id] if app_id is not None else list(apps)


def may_repeat(error: GraphError) -> bool:
    """Tell whether a step that does no harm twice is worth another try by itself."""
    return error.verdict in _PASSING | _BUSY


def pause(attempts: int) -> float:
    """Return the seconds until the next try after this many in a row."""
    return float(min(2.0 ** min(attempts, 10), _LONGEST_PAUSE))
