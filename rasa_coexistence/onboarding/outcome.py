"""What came of one step, and what that means for its onboarding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct, field

from rasa_coexistence.events import JSON
from rasa_coexistence.graph.errors import GraphError
from rasa_coexistence.onboarding.judging import may_repeat
from rasa_coexistence.records import StepState


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of one step; without a trouble the onboarding goes on."""

    state: StepState
    said: str | None = None
    trouble: str | None = None
    details: JSON = field(default_factory=dict)  # what the trouble's sentence names
    waits: bool = False  # the step is made again later
    pause_seconds: float | None = None  # None: longer each time
    chooses: bool = False  # a person has to say which number
    write: Callable[[Any], None] | None = None  # done in the transaction that writes the step down


def done(said: str | None = None, *, write: Callable[[Any], None] | None = None) -> Outcome:
    """Return the outcome of a step that went well."""
    return Outcome(state=StepState.DONE, said=said, write=write)


def skipped(why: str) -> Outcome:
    """Return the outcome of a step that is not needed."""
    return Outcome(state=StepState.SKIPPED, said=why)


def ended(trouble: str, **details: Any) -> Outcome:
    """Return the outcome of a step that ends the onboarding."""
    return Outcome(state=StepState.REFUSED, said=trouble, trouble=trouble, details=details)


def after(error: GraphError) -> Outcome:
    """Return the outcome of a step that does no harm twice, and that Meta did not do."""
    said = " ".join(part for part in (str(error), error.details) if part)
    if may_repeat(error):
        return Outcome(
            state=StepState.NOT_MADE, said=said, trouble="waits_for_meta", details={"said": said}, waits=True
        )
    return Outcome(state=StepState.REFUSED, said=said, trouble="refused", details={"said": said})
