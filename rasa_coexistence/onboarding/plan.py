"""Say which step of an onboarding comes next."""

from __future__ import annotations

from collections.abc import Mapping

from rasa_coexistence.records import StepState

CODE, TOKEN, NUMBER, FIELDS, SUBSCRIBE = "code", "token", "number", "fields", "subscribe"
CONTACTS, HISTORY = "contacts", "history"
SYNCS = (CONTACTS, HISTORY)  # Meta takes each once for an onboarding
ONCE = frozenset({CODE, *SYNCS})
ORDER = (CODE, TOKEN, NUMBER, FIELDS, SUBSCRIBE, *SYNCS)

SYNC_SECONDS = 24 * 3600.0  # after the sign-up, as Meta counts
CODE_SECONDS = 30.0

NOT_NEEDED = StepState.SKIPPED

_PASSED = frozenset({StepState.DONE, StepState.SKIPPED})
_ANSWERED = _PASSED | {StepState.REFUSED, StepState.FINAL, StepState.UNKNOWN}


def next_step(made: Mapping[str, StepState], *, wants_history: bool) -> str | None:
    """Return the first step that is still to be made, None when all are behind us.

    A sync that was begun counts as made once its fate is written down: a no, or nobody knows, ends it too.
    """
    for step in ORDER:
        if step == HISTORY and not wants_history and step not in made:
            continue
        if made.get(step) not in (_ANSWERED if step in SYNCS else _PASSED):
            return step
    return None


def was_interrupted(step: str, made: Mapping[str, StepState]) -> bool:
    """Tell whether a step that works once was written down by a process that then died."""
    return step in ONCE and made.get(step) is StepState.BEGUN
