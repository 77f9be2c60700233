"""Say what an error of the Graph API means for the call that met it: try again, when, or never."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from rasa_coexistence.errors import CoexistenceError
from rasa_coexistence.graph.codes import RULES, Verdict, is_permission

__all__ = ["GraphError", "Verdict", "retry_delay", "verdict_of"]


class Backoff(Struct, frozen=True):
    """How many seconds to wait: ``first``, then ``factor`` times as long each time, at most ``longest``."""

    first: float
    factor: float
    longest: float
    retries: int


_BACKOFFS = {
    Verdict.RETRY: Backoff(1, 2, 600, 20),  # about two hours
    Verdict.RETRY_ONCE: Backoff(2, 1, 2, 1),
    Verdict.RETRY_THRICE: Backoff(2, 2, 60, 3),
    Verdict.WAIT_QUOTA: Backoff(60, 2, 900, 20),  # about four hours and a half
    Verdict.THROTTLED: Backoff(1, 2, 60, 60),  # about an hour
    Verdict.PAIR_RATE: Backoff(4, 4, 1024, 6),  # about forty minutes
    Verdict.NOT_SENT: Backoff(1, 2, 60, 120),  # about two hours
}
_JITTER = 0.5  # of the delay, added: never earlier than Meta wants it

_TOKEN = re.compile(r"\bEA[A-Za-z0-9]{8,}|\b\d+\|[\w-]{8,}|(?<=token=)[^\s&]+|(?<=secret=)[^\s&]+")
_NUMBER = re.compile(r"\+?\d(?:[ ().-]{0,2}\d){7,}")
_LONGEST_DETAIL = 500


class GraphError(CoexistenceError):
    """The Graph API did not do what was asked; ``verdict`` says what may be done about it.

    Neither the text nor any attribute holds a token or a whole phone number.
    """

    def __init__(
        self,
        message: str,
        *,
        verdict: Verdict,
        code: int | None = None,
        subcode: int | None = None,
        http_status: int | None = None,
        title: str | None = None,
        details: str | None = None,
        fbtrace_id: str | None = None,
        wants_person: bool = False,
    ) -> None:
        self.verdict = verdict
        self.code = code
        self.subcode = subcode
        self.http_status = http_status
        self.title = title  # Meta's words
        self.details = details  # Meta's words
        self.fbtrace_id = fbtrace_id  # what Meta's support asks for
        self.wants_person = wants_person  # nothing gets better before somebody acts
        super().__init__(message)

    @classmethod
    def from_error(
        cls, error: Mapping[str, Any], *, http_status: int | None = None, secrets: Iterable[str] = ()
    ) -> GraphError:
        """Read Meta's ``error`` object, or one item of a status's ``errors``."""
        code, subcode = _integer(error.get("code")), _integer(error.get("error_subcode"))
        verdict, remedy, wants_person = _rule(code, subcode, http_status, bool(error.get("is_transient")))
        error_data = error.get("error_data")
        details = error_data.get("details") if isinstance(error_data, Mapping) else None
        trace = error.get("fbtrace_id")
        return cls(
            _sentence(remedy, code, http_status, trace if isinstance(trace, str) else None),
            verdict=verdict,
            code=code,
            subcode=subcode,
            http_status=http_status,
            title=_told(error.get("title") or error.get("message"), secrets),
            details=_told(details or error.get("error_user_msg"), secrets),
            fbtrace_id=trace if isinstance(trace, str) else None,
            wants_person=wants_person,
        )

    @classmethod
    def from_status(cls, http_status: int, *, repeatable: bool = False) -> GraphError:
        """Judge an answer without Meta's error object: a proxy's page, a gateway's, or nothing at all."""
        if http_status == 429:
            verdict, remedy = Verdict.THROTTLED, "Meta is asked too often; we slow down"
        elif http_status >= 500 or http_status == 408:
            verdict = Verdict.RETRY if repeatable else Verdict.UNCLEAR
            remedy = "Meta's gateway failed; whether the call was carried out is not known"
        else:
            verdict, remedy = Verdict.STOP, "this is no answer of the Graph API; check graph_url"
        return cls(_sentence(remedy, None, http_status, None), verdict=verdict, http_status=http_status)

    @classmethod
    def unclear(
        cls, happened: str, *, http_status: int | None = None, repeatable: bool = False
    ) -> GraphError:
        """Report a call that may have been carried out although no proper answer came."""
        verdict = Verdict.RETRY if repeatable else Verdict.UNCLEAR
        remedy = f"{happened}; whether Meta carried the call out is not known"
        return cls(_sentence(remedy, None, http_status, None), verdict=verdict, http_status=http_status)

    @classmethod
    def not_sent(cls, happened: str) -> GraphError:
        """Report a call of which nothing left this machine."""
        return cls(
            f"{happened} before anything was sent; check the network and graph_url", verdict=Verdict.NOT_SENT
        )

    @classmethod
    def without_token(cls, phone_number_id: str) -> GraphError:
        """Report a number that has no access token to speak with."""
        return cls(
            f"number {phone_number_id} has no usable access token; set access_token or sign up at /connect",
            verdict=Verdict.STOP_NUMBER,
            wants_person=True,
        )


def retry_delay(verdict: Verdict, attempts: int, *, jitter: float) -> float | None:
    """Return the seconds until the next try after ``attempts`` tries, None for never.

    ``jitter``, a random number from 0 to 1, lengthens the delay by up to a half, so that conversations that
    failed together do not come back together. Each verdict has a longest delay and a last try: we give up two
    to four hours after Meta or the network went down, and one to sixty minutes after other troubles began.
    """
    backoff = _BACKOFFS.get(verdict)
    if backoff is None or attempts > backoff.retries:
        return None
    delay = backoff.first
    for _ in range(attempts - 1):
        delay = min(delay * backoff.factor, backoff.longest)
    return delay * (1 + _JITTER * jitter)


def verdict_of(code: int | None) -> Verdict:
    """Judge a code alone, such as one of a ``failed`` status."""
    return _rule(code, None, None, False)[0]


def _rule(
    code: int | None, subcode: int | None, http_status: int | None, is_transient: bool
) -> tuple[Verdict, str, bool]:
    """Return verdict, remedy and whether a person must act."""
    if (
        code == 100 and subcode == 33
    ):  # the same code as for a wrong parameter, but it is the number that is wrong
        code = 33
    if code is not None and code not in RULES and is_permission(code):
        code = 200
    if code in RULES:
        rule = RULES[code]
        return rule.verdict, rule.remedy, rule.wants_person
    if is_transient or (http_status or 0) >= 500:
        return (
            Verdict.RETRY_THRICE,
            "Meta had a fault of its own that we do not know; it is tried again",
            False,
        )
    if http_status == 429:
        return Verdict.THROTTLED, "Meta is asked too often; we slow down", False
    if http_status == 401:
        return Verdict.STOP_NUMBER, "Meta does not accept the access token; sign the number up again", True
    return Verdict.STOP, "Meta refused this; its code is in Meta's list of error codes", False


def _sentence(remedy: str, code: int | None, http_status: int | None, trace: str | None) -> str:
    facts = [f"code {code}" if code is not None else "", f"HTTP {http_status}" if http_status else ""]
    facts.append(f"trace {_told(trace, ())}" if trace else "")
    listed = ", ".join(fact for fact in facts if fact)
    return f"{remedy} ({listed})" if listed else remedy


def _told(words: Any, secrets: Iterable[str]) -> str | None:
    """Keep Meta's words without the tokens and phone numbers that they sometimes quote."""
    if not isinstance(words, str) or not words:
        return None
    for secret in secrets:
        words = words.replace(secret, "[token]") if secret else words
    return _NUMBER.sub("[number]", _TOKEN.sub("[token]", words))[:_LONGEST_DETAIL]


def _integer(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None
