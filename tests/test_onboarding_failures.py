"""Every step of a sign-up failing in every way: it ends onboarded or says why, and spends nothing twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ledgers import Books
from signups import SHOP, Office, office, shop

from rasa_coexistence.graph.client import GraphClient
from rasa_coexistence.graph.codes import RULES
from rasa_coexistence.graph.errors import GraphError
from rasa_coexistence.graph.transport import Transport
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.ledger.onboardings import Onboarding
from rasa_coexistence.onboarding.judging import code_trouble, may_repeat, sync_fate
from rasa_coexistence.onboarding.outcome import after
from rasa_coexistence.onboarding.troubles import TROUBLES, sentence
from rasa_coexistence.records import OnboardingState, StepState
from rasa_coexistence.simulator import FailureKind
from rasa_coexistence.simulator.failures import Failure, Failures
from rasa_coexistence.simulator.state import JSON

DONE, FAILED = OnboardingState.DONE, OnboardingState.FAILED
REPEATABLE = ("debug_token", "phone_numbers", "app_fields", "subscribed", "subscribe")
ONCE = ("smb_app_state_sync", "history")

# Ways in which nobody knows whether Meta did it, and those that prove that it did not.
UNCLEAR = {
    "no answer, not done": Failure(operation="", kind=FailureKind.TIMEOUT_BEFORE),
    "no answer, but done": Failure(operation="", kind=FailureKind.TIMEOUT_AFTER),
    "cut off, not done": Failure(operation="", kind=FailureKind.REFUSE),
    "cut off, but done": Failure(operation="", kind=FailureKind.CLOSE_AFTER),
    "no JSON": Failure(operation="", kind=FailureKind.GARBAGE),
    "HTTP 500": Failure(operation="", kind=FailureKind.HTTP, http_status=500),
    "HTTP 502": Failure(operation="", kind=FailureKind.HTTP, http_status=502),
}
PASSING_CODES = (1, 2, 131000, 131016)
REFUSING_CODES = (3, 10, 33, 100, 190, 200, 368, 131005, 131031, 133010)
QUOTA_CODES = (4, 80007)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Office]:
    database = Database(f"sqlite:///{tmp_path}/ledger.db")
    database.open()
    async with office(Books(database)) as found:
        found.timeout_seconds = 0.3
        yield found
    await database.close()


@dataclass(kw_only=True)
class FailFirst(Failures):
    """Lets the first call of some operations fail; syncs are named by their type."""

    left: dict[str, Failure]

    def take(self, operation: str, body: JSON | None = None) -> Failure | None:
        return self.left.pop(str((body or {}).get("sync_type", operation)), None)


async def sign_up_with(desk: Office, failure: Failure, *operations: str) -> Onboarding:
    """Sign up while calls fail once, then let time pass, with everything well again."""
    desk.meta.failures = FailFirst(left=dict.fromkeys(operations, failure))
    process = desk.start()
    id_ = await process.onboardings.sign_up(desk.signs_up(shop()), waba_id="1002", phone_number_id=None)
    await process.onboardings.stop()
    while (onboarding := await desk.onboarding(id_)).state is OnboardingState.RUNNING:
        desk.meta.clock.move(301)
        await desk.turn(process)
    return onboarding


def code(number: int) -> Failure:
    return Failure(operation="", kind=FailureKind.ERROR, code=number)


def assert_nothing_twice(desk: Office) -> None:
    """A code and each sync reach Meta at most once; registering never does (an alarm fails the test)."""
    counts = Counter(desk.made("oauth", "smb_app_data"))
    assert max(counts.values()) == 1, counts


@pytest.mark.parametrize("way", UNCLEAR)
async def test_a_code_without_an_answer_is_not_used_again(desk: Office, way: str) -> None:
    """It works once, and who knows whether it did."""
    onboarding = await sign_up_with(desk, UNCLEAR[way], "oauth")
    assert (onboarding.state, onboarding.trouble) == (FAILED, "code_unclear")
    assert_nothing_twice(desk)


@pytest.mark.parametrize("number", sorted(RULES))
@pytest.mark.parametrize("http_status", [400, 500])
async def test_a_code_that_meta_refuses_is_not_used_again(number: int, http_status: int) -> None:
    """Whatever Meta's code: the owner is told what to do, and nothing is tried by itself."""
    error = GraphError.from_error({"code": number}, http_status=http_status)
    assert code_trouble(error) == "exchange_refused"
    assert not TROUBLES["exchange_refused"].goes_on


@pytest.mark.parametrize("trouble", ["code_expired", "code_invalid", "code_used", "exchange_refused"])
async def test_a_bad_code_has_its_own_sentence(desk: Office, trouble: str) -> None:
    """Too old, made up, used before, or ours is the wrong secret: each has another remedy."""
    code, accounts = desk.signs_up(shop()), desk.meta.accounts
    if trouble == "code_expired":
        desk.meta.clock.move(31)
    elif trouble == "code_invalid":
        code = "AQinvented"
    elif trouble == "code_used":
        accounts.exchange(accounts.app_id, accounts.app_secret, code)
    else:
        desk.block["app_secret"] = "wrong"
    onboarding = await desk.post(desk.start(), code, "1002")
    assert (onboarding.state, onboarding.trouble) == (FAILED, trouble)
    assert "press Connect again" in (told := sentence(trouble, onboarding.details)) or "app_secret" in told
    assert desk.made() == ["oauth"]


@pytest.mark.parametrize("number", sorted(RULES))
@pytest.mark.parametrize("http_status", [400, 500])
def test_every_code_of_another_step_is_waited_out_or_said(number: int, http_status: int) -> None:
    """None is passed over; what only a person can mend ends it, with Meta's reason."""
    error = GraphError.from_error({"code": number}, http_status=http_status)
    outcome = after(error)
    assert outcome.waits == may_repeat(error)
    assert outcome.trouble == ("waits_for_meta" if outcome.waits else "refused")
    assert str(number) in sentence(outcome.trouble, outcome.details)


@pytest.mark.parametrize("way", UNCLEAR)
async def test_a_step_that_does_no_harm_twice_is_made_again(desk: Office, way: str) -> None:
    """A hiccup at Meta costs some seconds, not the onboarding; here each of these calls fails once."""
    onboarding = await sign_up_with(desk, UNCLEAR[way], *REPEATABLE)
    assert onboarding.state is DONE
    assert set(onboarding.made.values()) == {StepState.DONE}
    assert_nothing_twice(desk)


@pytest.mark.parametrize("number", [*PASSING_CODES, *QUOTA_CODES])
async def test_a_passing_code_is_waited_out(desk: Office, number: int) -> None:
    """Meta is out of order or wants to be asked less: it is asked again later."""
    onboarding = await sign_up_with(desk, code(number), *REPEATABLE)
    assert onboarding.state is DONE
    assert_nothing_twice(desk)


@pytest.mark.parametrize("operation", ["phone_numbers", "subscribe"])
@pytest.mark.parametrize("number", REFUSING_CODES)
async def test_a_refusal_ends_it_before_anything_is_spent(desk: Office, operation: str, number: int) -> None:
    """Without number or subscription the syncs would be wasted; a person mends it and asks again."""
    onboarding = await sign_up_with(desk, code(number), operation)
    assert (onboarding.state, onboarding.trouble) == (FAILED, "refused")
    assert desk.made("smb_app_data") == []


@pytest.mark.parametrize("sync", ONCE)
@pytest.mark.parametrize("way", UNCLEAR)
async def test_a_sync_without_an_answer_is_decided_by_what_arrives(desk: Office, sync: str, way: str) -> None:
    """The one try may be used up: it is never repeated, and what Meta posts tells."""
    onboarding = await sign_up_with(desk, UNCLEAR[way], sync)
    assert onboarding.state is DONE
    assert_nothing_twice(desk)
    kind = "history" if sync == "history" else "contacts"
    assert onboarding.made[kind] is StepState.UNKNOWN
    before = (await desk.sync())[kind]
    assert (before["status"], "will tell" in before["error"]) == ("requested", True)
    await desk.file_webhooks()
    after = (await desk.sync())[kind]
    if UNCLEAR[way].kind.is_done:
        assert after["status"] == ("syncing" if kind == "history" else "completed")
        assert after["error"] is None
    else:
        assert after["status"] == "requested"
        desk.meta.clock.move(86_400)
        await desk.turn(desk.start())
        assert (await desk.sync())[kind]["status"] == "failed"


@pytest.mark.parametrize("number", [1, 2, 4, 100, 190, 200, 131016, 133010, 2593107, 2593108, 2593109])
async def test_a_code_of_a_sync_is_said_and_never_repeated(desk: Office, number: int) -> None:
    """Whatever Meta answers, the number works, the state is clear, and nothing is asked for again."""
    onboarding = await sign_up_with(desk, code(number), *ONCE)
    assert onboarding.state is DONE
    assert_nothing_twice(desk)
    for kind in ("contacts", "history"):
        shown = (await desk.sync())[kind]
        assert shown["status"] in ("requested", "failed", "declined")
        assert shown["error"]
        assert (shown["status"] == "declined") == (number == 2593109)
        if number in (2593107, 2593108, 2593109):
            assert str(number) in shown["error"]
            assert "Business Platform" in shown["error"]
            assert onboarding.made[kind] is StepState.FINAL


@pytest.mark.parametrize("number", sorted(RULES))
@pytest.mark.parametrize("http_status", [400, 500])
def test_no_code_of_a_sync_lets_it_be_repeated(number: int, http_status: int) -> None:
    """Only proof that nothing left this machine does; a 5xx may have been carried out."""
    fate = sync_fate(GraphError.from_error({"code": number}, http_status=http_status))
    assert fate.step is not StepState.NOT_MADE
    assert fate.sentence
    if http_status == 500 and number not in (2593107, 2593108, 2593109):
        assert fate.step is StepState.UNKNOWN


@pytest.mark.parametrize("sync", ONCE)
async def test_a_refused_sync_is_made_again_only_if_a_person_asks(desk: Office, sync: str) -> None:
    """A refusal at the door used nothing up; still nothing repeats it by itself."""
    onboarding = await sign_up_with(desk, code(190), sync)
    process = desk.start()
    await desk.ask(process, SHOP)
    assert_nothing_twice(desk)
    again = await desk.ask(process, SHOP, again=True)
    assert (again.id, again.made["contacts"], again.made["history"]) == (
        onboarding.id,
        StepState.DONE,
        StepState.DONE,
    )
    assert Counter(desk.made("smb_app_data"))[f"smb_app_data:{sync}"] == 2


@pytest.mark.parametrize("sync", ONCE)
async def test_a_refused_connection_is_proof(desk: Office, sync: str) -> None:
    """Nothing left this machine, so the sync is asked for as soon as Meta can be reached."""
    graph = OfflineOnce(desk, sync)
    process = desk.start(graph)
    id_ = await process.onboardings.sign_up(desk.signs_up(shop()), waba_id="1002", phone_number_id=None)
    for _ in range(4):
        await process.onboardings.stop()
        desk.meta.clock.move(31)
        await desk.turn(process)
    assert (await desk.onboarding(id_)).state is DONE
    assert graph.went_offline
    assert_nothing_twice(desk)
    assert (await desk.sync())["history"]["request_id"]


class OfflineOnce(GraphClient):
    """A client whose network is down when it first asks for a sync."""

    def __init__(self, desk: Office, sync: str) -> None:
        super().__init__(desk.meta.url)
        self._desk = desk
        self._sync = sync
        self.went_offline = False

    async def request_sync(self, phone_number_id: str, sync_type: str, *, access_token: str) -> str | None:
        server = self._desk.meta.server
        if self.went_offline or sync_type != self._sync:
            return await super().request_sync(phone_number_id, sync_type, access_token=access_token)
        self.went_offline = True
        await server.close_port()
        await self._transport.close()
        self._transport = Transport(connect_seconds=1, total_seconds=1)  # no line is left over
        try:
            return await super().request_sync(phone_number_id, sync_type, access_token=access_token)
        finally:
            await server.open_port()


async def test_every_trouble_has_its_sentence() -> None:
    """What a person reads names what to do, in whole words."""
    for trouble in TROUBLES.values():
        assert len(trouble.sentence) > 40
        assert not trouble.sentence.endswith(".")
