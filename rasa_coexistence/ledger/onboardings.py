"""Onboardings and their steps: each step is on disk before it is made, and nobody makes one twice."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from rasa_coexistence.events import JSON
from rasa_coexistence.ledger import dialects
from rasa_coexistence.ledger.inbox import plain
from rasa_coexistence.ledger.schema import numbers
from rasa_coexistence.ledger.schema_onboarding import onboardings, steps
from rasa_coexistence.records import OnboardingState, StepState

LEASE_SECONDS = 30.0  # longer than any call to Meta; what a dead process held goes on after it


class Onboarding(Struct, frozen=True, kw_only=True):
    """One onboarding as the ledger has it."""

    id: str
    is_signup: bool  # False: the number was onboarded elsewhere and only asks for its syncs
    waba_id: str | None
    phone_number_id: str | None
    access_token: str | None  # closed with Fernet
    token_expires_at: float | None
    state: OnboardingState
    trouble: str | None
    details: JSON
    attempts: int
    lease_until: float | None  # somebody goes on with it until then
    began_at: float
    deadline_at: float | None
    warned_hours: int | None
    made: dict[str, StepState]
    outcomes: dict[str, str | None]


def open_signup(
    connection: Any,
    *,
    code_digest: str,
    waba_id: str | None,
    phone_number_id: str | None,
    now: float,
    deadline_at: float,
    due_at: float,
) -> str:
    """Return the onboarding of a sign-up's code; make one if the code is new.

    The same code given again is the same onboarding; given with a number, it says which of several is meant.
    Until ``due_at`` only a process that has the code goes on with it.
    """
    new = {
        "id": secrets.token_hex(12),
        "code_digest": code_digest,
        "waba_id": waba_id,
        "phone_number_id": phone_number_id,
        "state": OnboardingState.RUNNING.value,
        "began_at": now,
        "deadline_at": deadline_at,
        "due_at": due_at,
    }
    connection.execute(dialects.insert(connection, onboardings).values(**new).on_conflict_do_nothing())
    id_ = connection.execute(
        sa.select(onboardings.c.id).where(onboardings.c.code_digest == code_digest)
    ).scalar_one()
    if id_ != new["id"] and phone_number_id is not None:
        chosen = {"phone_number_id": phone_number_id, "state": OnboardingState.RUNNING.value, "due_at": now}
        connection.execute(
            onboardings.update()
            .where(onboardings.c.id == id_, onboardings.c.state == OnboardingState.CHOOSING.value)
            .values(**chosen, trouble=None, details=None)
        )
    return str(id_)


def open_elsewhere(connection: Any, phone_number_id: str, *, waba_id: str | None, now: float) -> str:
    """Return the onboarding that a known number's syncs belong to, due now; make one if there is none."""
    number = connection.execute(
        dialects.for_update(sa.select(numbers).where(numbers.c.phone_number_id == phone_number_id))
    ).one()
    if number.onboarding is not None:
        values: JSON = {"state": OnboardingState.RUNNING.value, "due_at": now, "trouble": None}
        if waba_id is not None:
            values["waba_id"] = waba_id
        connection.execute(onboardings.update().where(onboardings.c.id == number.onboarding).values(**values))
        return str(number.onboarding)
    id_ = secrets.token_hex(12)
    connection.execute(
        onboardings.insert().values(
            id=id_,
            waba_id=waba_id or number.waba_id,
            phone_number_id=phone_number_id,
            state=OnboardingState.RUNNING.value,
            began_at=now,
            due_at=now,
        )
    )
    connection.execute(
        numbers.update().where(numbers.c.phone_number_id == phone_number_id).values(onboarding=id_)
    )
    return id_


def load(connection: Any, onboarding_id: str) -> Onboarding | None:
    """Return an onboarding with its steps."""
    row = connection.execute(sa.select(onboardings).where(onboardings.c.id == onboarding_id)).first()
    if row is None:
        return None
    made = connection.execute(sa.select(steps).where(steps.c.onboarding == onboarding_id)).all()
    same_name = {
        name: getattr(row, name)
        for name in Onboarding.__struct_fields__
        if name not in ("is_signup", "state", "details", "made", "outcomes")
    }
    return Onboarding(
        **same_name,
        is_signup=row.code_digest is not None,
        state=OnboardingState(row.state),
        details=msgspec.json.decode(row.details) if row.details else {},
        made={step.step: StepState(step.state) for step in made},
        outcomes={step.step: step.outcome for step in made},
    )


def latest(connection: Any) -> Onboarding | None:
    """Return the onboarding that began last."""
    statement = sa.select(onboardings.c.id).order_by(onboardings.c.began_at.desc()).limit(1)
    found = connection.execute(statement).scalar()
    return None if found is None else load(connection, found)


def due(connection: Any, *, now: float) -> list[str]:
    """Return the onboardings that somebody should go on with."""
    statement = sa.select(onboardings.c.id).where(
        onboardings.c.state == OnboardingState.RUNNING.value,
        onboardings.c.due_at <= now,
        sa.or_(onboardings.c.lease_until.is_(None), onboardings.c.lease_until < now),
    )
    return list(connection.execute(statement.order_by(onboardings.c.due_at)).scalars())


def unfinished(connection: Any) -> list[Onboarding]:
    """Return every onboarding that is not done, and was not replaced by a later one."""
    statement = (
        sa.select(onboardings.c.id)
        .outerjoin(numbers, numbers.c.phone_number_id == onboardings.c.phone_number_id)
        .where(
            onboardings.c.state != OnboardingState.DONE.value,
            sa.or_(
                onboardings.c.state != OnboardingState.FAILED.value,
                numbers.c.onboarding == onboardings.c.id,
            ),
        )
        .order_by(onboardings.c.began_at)
    )
    found = (load(connection, id_) for id_ in connection.execute(statement).scalars().all())
    return [onboarding for onboarding in found if onboarding is not None]


def claim(connection: Any, onboarding_id: str, *, lease: str, now: float) -> Onboarding | None:
    """Take an onboarding to go on with, unless somebody else has it or it is at its end."""
    taken = connection.execute(
        onboardings.update()
        .where(
            onboardings.c.id == onboarding_id,
            onboardings.c.state == OnboardingState.RUNNING.value,
            sa.or_(onboardings.c.lease_until.is_(None), onboardings.c.lease_until < now),
        )
        .values(lease=lease, lease_until=now + LEASE_SECONDS)
    )
    return load(connection, onboarding_id) if taken.rowcount == 1 else None


def holds(connection: Any, onboarding_id: str, *, lease: str) -> bool:
    """Tell whether a process still has an onboarding to go on with; nobody takes it before the commit."""
    statement = sa.select(onboardings.c.id).where(
        onboardings.c.id == onboarding_id, onboardings.c.lease == lease
    )
    return connection.execute(dialects.for_update(statement)).first() is not None


def begin(connection: Any, onboarding_id: str, step: str, *, lease: str, once: bool, now: float) -> bool:
    """Write down that a step is about to be made; return False when it must not be.

    A step that works ``once`` may begin again only after proof that nothing was done.
    """
    held = connection.execute(
        onboardings.update()
        .where(onboardings.c.id == onboarding_id, onboardings.c.lease == lease)
        .values(lease_until=now + LEASE_SECONDS)
    )
    if held.rowcount != 1:
        return False
    known = connection.execute(sa.select(steps.c.state).where(_same(onboarding_id, step))).scalar()
    values = {"state": StepState.BEGUN.value, "begun_at": now}
    if known is None:
        connection.execute(steps.insert().values(onboarding=onboarding_id, step=step, **values))
        return True
    if once and known != StepState.NOT_MADE.value:
        return False
    connection.execute(
        steps.update().where(_same(onboarding_id, step)).values(**values, ended_at=None, outcome=None)
    )
    return True


def end(
    connection: Any, onboarding_id: str, step: str, state: StepState, outcome: str | None, *, now: float
) -> None:
    """Write down what became of a step, also of one that was decided without being begun."""
    values = {"state": state.value, "outcome": plain(outcome), "ended_at": now}
    known = connection.execute(sa.select(steps.c.id).where(_same(onboarding_id, step))).first()
    if known is None:
        values |= {"onboarding": onboarding_id, "step": step, "begun_at": now}
        connection.execute(steps.insert().values(**values))
    else:
        connection.execute(steps.update().where(steps.c.id == known.id).values(**values))


def allow_again(connection: Any, onboarding_id: str, wanted: tuple[str, ...]) -> None:
    """Let steps be made again that Meta refused, or that were left out: a person asks for it."""
    undone = (StepState.REFUSED.value, StepState.SKIPPED.value)
    connection.execute(
        steps.update()
        .where(steps.c.onboarding == onboarding_id, steps.c.step.in_(wanted), steps.c.state.in_(undone))
        .values(state=StepState.NOT_MADE.value)
    )


def change(connection: Any, onboarding_id: str, **values: Any) -> None:
    """Change columns of an onboarding."""
    connection.execute(onboardings.update().where(onboardings.c.id == onboarding_id).values(**values))


def pause(
    connection: Any, onboarding_id: str, *, trouble: str, details: JSON, attempts: int, due_at: float
) -> None:
    """Let go of an onboarding until ``due_at``."""
    change(
        connection,
        onboarding_id,
        trouble=trouble,
        details=_encoded(details),
        attempts=attempts,
        due_at=due_at,
        lease=None,
        lease_until=None,
    )


def settle(
    connection: Any,
    onboarding_id: str,
    state: OnboardingState,
    *,
    now: float,
    trouble: str | None = None,
    details: JSON | None = None,
) -> None:
    """Let go of an onboarding that does not go on by itself; at its end it forgets its token."""
    values: JSON = {"state": state.value, "trouble": trouble, "details": _encoded(details or {})}
    if state is not OnboardingState.CHOOSING:
        values["access_token"] = None  # by now it is the number's, or of no use
    ended_at = None if state is OnboardingState.CHOOSING else now
    change(connection, onboarding_id, **values, due_at=None, ended_at=ended_at, lease=None, lease_until=None)


def _same(onboarding_id: str, step: str) -> Any:
    return sa.and_(steps.c.onboarding == onboarding_id, steps.c.step == step)


def _encoded(details: JSON) -> str | None:
    return plain(msgspec.json.encode(details).decode()) if details else None
