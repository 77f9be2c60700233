"""What an error of Meta's means, and when the call is tried again."""

from __future__ import annotations

from typing import Any

import pytest
from aioresponses import aioresponses
from graph_calls import META, client_for, error_of, send

from rasa_coexistence.graph.codes import RULES
from rasa_coexistence.graph.errors import GraphError, Verdict, retry_delay, verdict_of

VERDICTS = {
    Verdict.STOP_NUMBER: [0, 190, 3, 10, 131005, 200, 219, 299, 33, 368, 131031, 131037, 131042],
    Verdict.RETRY_ONCE: [1],
    Verdict.RETRY: [2, 131016, 133004],
    Verdict.WAIT_QUOTA: [4, 80007, 131057, 2494100, 132069],
    Verdict.THROTTLED: [130429],
    Verdict.RETRY_THRICE: [131000],
    Verdict.PAIR_RATE: [131056],
    Verdict.CLOSED_WINDOW: [131047],
    Verdict.DISCONNECTED: [131045, 133010],
    Verdict.STOP: [
        *[100, 131008, 131009, 130403, 130472, 130497, 131021, 131026, 131048, 131049, 131050, 131051],
        *[131052, 131053, 131060, 131062, 131063, 131064, 132000, 132001, 132005, 132007, 132012, 132015],
        *[132016, 132068, 133000, 133005, 133006, 133008, 133009, 133015, 133016, 134011],
        *[2593107, 2593108, 2593109, 1752041, 999999],
    ],
}


@pytest.mark.parametrize(
    ("code", "verdict"), [(code, verdict) for verdict, codes in VERDICTS.items() for code in codes]
)
async def test_code_decides(code: int, verdict: Verdict) -> None:
    """Neither the HTTP status nor the title does; a number in quotes is a code, too."""
    error = {"message": f"(#{code}) x", "code": code, "error_data": {"details": "why"}, "fbtrace_id": "Abc"}
    with aioresponses() as meta:
        async with client_for() as client:
            for status, written in ((400, code), (200, str(code))):
                meta.post(
                    f"{META}/2002/messages", status=status, payload={"error": {**error, "code": written}}
                )
                raised = await error_of(send(client))
                assert raised.verdict is verdict is verdict_of(code)
                assert (raised.code, raised.http_status) == (code, status)
                assert (raised.details, raised.fbtrace_id) == ("why", "Abc")
                assert f"code {code}" in str(raised)


def test_every_known_code_is_tested_and_has_a_remedy() -> None:
    """A row without a test would be a guess."""
    tested = {code for codes in VERDICTS.values() for code in codes}
    assert set(RULES) - tested <= {17, 32, 613}  # Graph's general quotas
    assert all(len(rule.remedy) > 20 for rule in RULES.values())


@pytest.mark.parametrize(
    ("error", "status", "verdict"),
    [
        ({"code": 100, "error_subcode": 33}, 400, Verdict.STOP_NUMBER),
        ({"code": 424242, "is_transient": True}, 400, Verdict.RETRY_THRICE),
        ({"code": 424242}, 500, Verdict.RETRY_THRICE),
        ({"code": 424242}, 429, Verdict.THROTTLED),
        ({"code": 424242}, 401, Verdict.STOP_NUMBER),
        ({"code": None}, 400, Verdict.STOP),
        ({"code": {}}, 403, Verdict.STOP),
        ({"code": 131026, "error_data": "odd", "fbtrace_id": 7, "message": []}, 400, Verdict.STOP),
    ],
)
def test_odd_and_unknown_errors_are_judged_too(error: dict[str, Any], status: int, verdict: Verdict) -> None:
    """Meta adds codes without notice."""
    assert GraphError.from_error(error, http_status=status).verdict is verdict


@pytest.mark.parametrize(
    ("verdict", "delays"),
    [
        (Verdict.RETRY, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, *[600] * 10, None]),
        (Verdict.RETRY_ONCE, [2, None]),
        (Verdict.RETRY_THRICE, [2, 4, 8, None]),
        (Verdict.WAIT_QUOTA, [60, 120, 240, 480, *[900] * 16, None]),
        (Verdict.THROTTLED, [1, 2, 4, 8, 16, 32, *[60] * 54, None]),
        (Verdict.PAIR_RATE, [4, 16, 64, 256, 1024, 1024, None]),
        (Verdict.NOT_SENT, [1, 2, 4, 8, 16, 32, *[60] * 114, None]),
        (Verdict.STOP, [None]),
        (Verdict.STOP_NUMBER, [None]),
        (Verdict.CLOSED_WINDOW, [None]),
        (Verdict.DISCONNECTED, [None]),
        (Verdict.UNCLEAR, [None]),
    ],
    ids=lambda value: value.name if isinstance(value, Verdict) else "",
)
def test_delay_until_the_next_try(verdict: Verdict, delays: list[float | None]) -> None:
    """Jitter only adds, so no try comes before Meta wants it."""
    tries = range(1, len(delays) + 1)
    assert [retry_delay(verdict, attempts, jitter=0) for attempts in tries] == delays
    longest = [None if delay is None else delay * 1.5 for delay in delays]
    assert [retry_delay(verdict, attempts, jitter=1) for attempts in tries] == longest


def test_every_verdict_has_its_delay_tested() -> None:
    """Nothing retries for ever."""
    assert all(retry_delay(verdict, 10_000, jitter=0.5) is None for verdict in Verdict)


def test_number_without_token_stops() -> None:
    """The number waits until somebody gives it one."""
    raised = GraphError.without_token("2002")
    assert raised.verdict is Verdict.STOP_NUMBER
    assert raised.wants_person
    assert "access_token" in str(raised)
