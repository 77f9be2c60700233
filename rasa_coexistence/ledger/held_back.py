"""Keep bubbles from leaving while a person has the conversation, and remember which they were."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from rasa_coexistence import takeover
from rasa_coexistence.events import JSON
from rasa_coexistence.ledger.prepared import Prepared, one_of
from rasa_coexistence.ledger.queues import SEND, wake
from rasa_coexistence.ledger.schema import messages, outbox
from rasa_coexistence.records import BubbleState, MessageState, Takeover

_RESUME = "resume:"
_NEVER_LEFT = (BubbleState.HELD.value, BubbleState.HELD_BACK.value, BubbleState.DISCARDED.value)
_ANSWER_AWAITED = (BubbleState.SENDING.value, BubbleState.UNCLEAR.value)


def resume_cause(number: int, wamid: str) -> str:
    """Return the cause of what the bot says when it goes on, for the ``number``-th time, with a question."""
    return f"{_RESUME}{number}:{wamid}"


def question_of(cause: str) -> str:
    """Return the wamid of the message that a cause's bubbles answer."""
    return cause.split(":", 2)[2] if cause.startswith(_RESUME) else cause


def hold_back(
    connection: Any, conversation_id: int, person: Takeover, *, now: float, only: int | None = None
) -> None:
    """Keep what waits to leave, or one bubble of it; a question that is not answered so is open again."""
    waits = sa.and_(
        outbox.c.conversation_id == conversation_id,
        outbox.c.state == BubbleState.QUEUED.value,
        *([outbox.c.cause != person.wamid] if person.reason == takeover.HAND_OFF and person.wamid else []),
        *([outbox.c.id == only] if only is not None else []),
    )
    causes = connection.execute(sa.select(outbox.c.cause).where(waits).distinct()).scalars().all()
    if not causes:
        return
    values = {"state": BubbleState.HELD_BACK.value, "reason": reason_of(person), "changed_at": now}
    connection.execute(outbox.update().where(waits).values(**values))
    for cause in causes:
        if is_all_held_back(connection, conversation_id, cause):
            _open_again(connection, conversation_id, question_of(cause))


def reason_of(person: Takeover) -> str:
    """Return what is written beside a bubble that a takeover keeps back."""
    return f"takeover: {person.reason}"


def is_all_held_back(connection: Any, conversation_id: int, cause: str) -> bool:
    """Tell whether a cause made the bot speak and nothing of that left."""
    states = {row.state for row in _STATES.all(connection, conversation=conversation_id, of=cause)}
    return BubbleState.HELD_BACK.value in states and states <= set(_NEVER_LEFT)


def has_bubbles(connection: Any, conversation_id: int, cause: str) -> bool:
    """Tell whether a cause made the bot speak."""
    spoken = sa.and_(_of(conversation_id, cause), outbox.c.state != BubbleState.DISCARDED.value)
    return connection.execute(sa.select(outbox.c.id).where(spoken).limit(1)).first() is not None


def of_cause(connection: Any, conversation_id: int, cause: str) -> dict[int, str]:
    """Return which ordinals of a cause are held back, and why; the tracker is about to learn it."""
    rows = _HELD_BACK_OF_CAUSE.all(connection, conversation=conversation_id, of=cause)
    if rows:
        held_back = sa.and_(_of(conversation_id, cause), outbox.c.state == BubbleState.HELD_BACK.value)
        connection.execute(outbox.update().where(held_back).values(marked=True))
    return {row.ordinal: row.reason for row in rows}


def not_marked(connection: Any, conversation_id: int) -> dict[int, JSON]:
    """Return what was held back after its turn was saved, by id, as the tracker shall tell it."""
    rows = _NOT_MARKED.all(connection, conversation=conversation_id)
    return {row.id: {"text": row.text, "reason": row.reason, "cause": row.cause} for row in rows}


def mark(connection: Any, outbox_ids: list[int]) -> None:
    """Say that the tracker knows."""
    if outbox_ids:
        connection.execute(outbox.update().where(outbox.c.id.in_(outbox_ids)).values(marked=True))


def made_answer(connection: Any, conversation_id: int, wamid: str) -> str | None:
    """Return the cause of an answer to a question that was made and held back whole."""
    statement = (
        sa.select(outbox.c.cause)
        .where(outbox.c.conversation_id == conversation_id, outbox.c.state == BubbleState.HELD_BACK.value)
        .order_by(outbox.c.id.desc())
    )
    causes = dict.fromkeys(connection.execute(statement).scalars())
    return next(
        (
            cause
            for cause in causes
            if question_of(cause) == wamid and is_all_held_back(connection, conversation_id, cause)
        ),
        None,
    )


def let_go(connection: Any, conversation_id: int, cause: str, *, now: float) -> None:
    """Let a held-back answer leave after all."""
    held_back = sa.and_(_of(conversation_id, cause), outbox.c.state == BubbleState.HELD_BACK.value)
    connection.execute(
        outbox.update()
        .where(held_back)
        .values(state=BubbleState.QUEUED.value, reason="let go when the person was gone", changed_at=now)
    )
    wake(connection, SEND, [conversation_id], at=now)


def take_back(connection: Any, conversation_id: int, cause: str, *, now: float) -> None:
    """Put what a takeover kept back of a turn under way with the rest of the turn: it is over already."""
    values = {"state": BubbleState.HELD.value, "reason": None, "changed_at": now}
    _CHANGE_HELD_BACK.run(connection, conversation=conversation_id, of=cause, **values)


def discard(connection: Any, conversation_id: int, cause: str, *, now: float) -> None:
    """Give up what a turn that did not come to its end wanted to say."""
    never_left = (BubbleState.HELD.value, BubbleState.HELD_BACK.value, BubbleState.QUEUED.value)
    connection.execute(
        outbox.update()
        .where(_of(conversation_id, cause), outbox.c.state.in_(never_left))
        .values(state=BubbleState.DISCARDED.value, changed_at=now)
    )


def held_resume(connection: Any, conversation_id: int) -> str | None:
    """Return the cause of an answer on resume that was written and neither released nor given up."""
    statement = sa.select(outbox.c.cause).where(
        outbox.c.conversation_id == conversation_id,
        outbox.c.state == BubbleState.HELD.value,
        outbox.c.cause.like(f"{_RESUME}%"),
    )
    found: str | None = connection.execute(statement.limit(1)).scalar()
    return found


def is_in_doubt(connection: Any, conversation_id: int) -> bool:
    """Tell whether a message from the phone may be one of ours: Meta has not said yet what ours is called."""
    return _IN_DOUBT.first(connection, conversation=conversation_id) is not None


def _of(conversation_id: int, cause: str) -> Any:
    return sa.and_(outbox.c.conversation_id == conversation_id, outbox.c.cause == cause)


def _open_again(connection: Any, conversation_id: int, wamid: str) -> None:
    connection.execute(
        messages.update()
        .where(
            messages.c.conversation_id == conversation_id,
            messages.c.wamid == wamid,
            messages.c.source == "live",
            messages.c.state == MessageState.ANSWERED.value,
        )
        .values(state=MessageState.LOGGED.value)
    )


_OF_CONVERSATION = outbox.c.conversation_id == sa.bindparam("conversation")
_OF_CAUSE = sa.and_(_OF_CONVERSATION, outbox.c.cause == sa.bindparam("of"))
_IS_HELD_BACK = outbox.c.state == BubbleState.HELD_BACK.value
_STATES = Prepared(sa.select(outbox.c.state).where(_OF_CAUSE).distinct())
_HELD_BACK_OF_CAUSE = Prepared(sa.select(outbox.c.ordinal, outbox.c.reason).where(_OF_CAUSE, _IS_HELD_BACK))
_CHANGE_HELD_BACK = Prepared(outbox.update().where(_OF_CAUSE, _IS_HELD_BACK))
_NOT_MARKED = Prepared(
    sa.select(outbox.c.id, outbox.c.text, outbox.c.reason, outbox.c.cause)
    .where(_OF_CONVERSATION, _IS_HELD_BACK, outbox.c.marked.is_(False))
    .order_by(outbox.c.id)
)
_IN_DOUBT = Prepared(
    sa.select(outbox.c.id)
    .where(_OF_CONVERSATION, one_of(outbox.c.state, _ANSWER_AWAITED), outbox.c.wamid.is_(None))
    .limit(1)
)
