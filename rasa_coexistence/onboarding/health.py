"""Judge what Meta says of a number that was asked about."""

from __future__ import annotations

from msgspec import Struct

from rasa_coexistence.graph.answers import PhoneNumber, TokenFacts
from rasa_coexistence.graph.errors import GraphError, Verdict
from rasa_coexistence.records import NumberState

DAY = 86_400.0
CHECK_SECONDS = DAY
RETURN_SECONDS = 600.0  # how often an offboarded number is asked about: it comes back within minutes
RETRY_SECONDS = 300.0  # after no answer
PROOF_SECONDS = 30.0  # a number said to be removed must still stand after so long to be believed
PATIENCE_SECONDS = DAY  # with Meta's silence about a number that was said to be removed

_GONE = frozenset({NumberState.REMOVED, NumberState.DELETED})
_DEAD = frozenset({Verdict.STOP_NUMBER, Verdict.DISCONNECTED})
RE_REGISTERED = "USER_RE_REGISTERED"


class Facts(Struct, frozen=True, kw_only=True):
    """What was found out; None: nothing."""

    is_connected: bool | None = None
    token_is_good: bool | None = None
    said: str | None = None  # why it is not well


class Finding(Struct, frozen=True, kw_only=True):
    """What follows from the facts."""

    state: NumberState | None = None  # None: as before
    reason: str | None = None
    forgets_token: bool = False
    next_check: float | None = None  # seconds from now; None: never again


def facts_of(number: PhoneNumber | GraphError, token: TokenFacts | GraphError | None) -> Facts:
    """Put Meta's answers together; ``token`` is None where it was not asked about."""
    token_is_good = None
    if isinstance(token, TokenFacts):
        token_is_good = token.is_valid
    elif isinstance(number, GraphError) and number.code in (0, 190):
        token_is_good = False
    if isinstance(number, GraphError):
        dead = number.verdict in _DEAD
        said = str(number) if dead else None
        return Facts(is_connected=False if dead else None, token_is_good=token_is_good, said=said)
    if number.is_on_biz_app is None and number.platform_type is None:
        return Facts(token_is_good=token_is_good)
    on_app = number.is_on_biz_app is not False
    on_cloud = number.platform_type in (None, "CLOUD_API")
    said = None
    if not on_app:
        said = "the number is not used in the WhatsApp Business app any more (is_on_biz_app)"
    elif not on_cloud:
        said = f"the number is not on the Cloud API (platform_type {number.platform_type})"
    return Facts(is_connected=on_app and on_cloud, token_is_good=token_is_good, said=said)


def judge(state: NumberState, reason: str | None, seconds_in_state: float, facts: Facts) -> Finding:
    """Say how a number stands now, and when to ask again."""
    if state in _GONE:
        return _judge_gone(reason, seconds_in_state, facts)
    if facts.token_is_good is False:
        return Finding(
            reason=facts.said or "the access token is not valid any more", next_check=CHECK_SECONDS
        )
    if facts.is_connected is None:
        return Finding(next_check=3600.0 if state is NumberState.CONNECTED else RETURN_SECONDS)
    if state is NumberState.OFFBOARDED:
        if facts.is_connected:
            return Finding(state=NumberState.CONNECTED, next_check=CHECK_SECONDS)
        return Finding(next_check=RETURN_SECONDS)
    if state in (NumberState.CONNECTED, NumberState.RESTRICTED) and not facts.is_connected:
        return Finding(state=NumberState.OFFBOARDED, reason=facts.said, next_check=RETURN_SECONDS)
    return Finding(next_check=CHECK_SECONDS)


def _judge_gone(reason: str | None, seconds: float, facts: Facts) -> Finding:
    """Verify a removal: Meta may have told of another partner's, or long after the number was signed up "
    "anew."""
    if facts.token_is_good is False:
        return Finding(forgets_token=True)
    if facts.is_connected:
        if seconds < PROOF_SECONDS:
            return Finding(next_check=PROOF_SECONDS)
        return Finding(state=NumberState.CONNECTED, next_check=CHECK_SECONDS)
    if facts.is_connected is None and seconds < PATIENCE_SECONDS:
        return Finding(next_check=RETRY_SECONDS)
    if reason == RE_REGISTERED and facts.token_is_good:
        # The phone was set up anew: the link comes back as after an offboarding.
        return Finding(state=NumberState.OFFBOARDED, reason=reason, next_check=RETURN_SECONDS)
    return Finding(forgets_token=True)
