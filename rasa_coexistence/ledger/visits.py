"""Look at all that waits in a conversation at once: a visit should not have to ask one by one."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from rasa_coexistence.events import JSON
from rasa_coexistence.ledger import chats, held_back, queues, takeovers
from rasa_coexistence.ledger.chats import Chat
from rasa_coexistence.ledger.prepared import Prepared
from rasa_coexistence.ledger.schema import aliases, inbox_threads
from rasa_coexistence.ledger.schema_jobs import jobs
from rasa_coexistence.records import StoredMessage
from rasa_coexistence.sending import window_is_open


class Glance(Struct, frozen=True, kw_only=True):
    """What there is to do in a conversation."""

    chat: Chat
    message: StoredMessage | None  # the oldest that the tracker does not have
    question: StoredMessage | None  # what the bot owes an answer, now that the person is gone
    kept: dict[int, JSON]  # held-back bubbles that the tracker does not know of
    has_job: bool
    has_old_chat: bool  # that the bot should know before it answers
    released: queues.Released | None = None  # nothing is to be done: the conversation was let go of

    def is_idle(self, now: float) -> bool:
        """Tell whether there is nothing to do, the tracker included."""
        if self.message is not None or self.has_job:
            return False
        if self.chat.person_has_it(now) is not None:
            return self.chat.tracker_paused
        return not (self.chat.tracker_paused or self.question or self.kept)


def look(connection: Any, conversation_id: int, *, now: float, answers_on_resume: bool) -> Glance:
    """Return what there is to do in a conversation; a takeover that ran out ends here."""
    chat = takeovers.current(connection, conversation_id, now=now)
    message = chats.next_waiting(connection, conversation_id)
    owes = answers_on_resume and chat.person_has_it(now) is None and message is None
    return Glance(
        chat=chat,
        message=message,
        question=chats.unanswered(connection, conversation_id)
        if owes and window_is_open(chat.last_customer_at, now)
        else None,
        kept=held_back.not_marked(connection, conversation_id),
        has_job=_JOB.first(connection, conversation=conversation_id) is not None,
        has_old_chat=chat.import_due_at is not None
        or _OLD_CHAT.first(connection, conversation=conversation_id) is not None,
    )


def look_or_leave(connection: Any, lease: queues.Lease, *, now: float, answers_on_resume: bool) -> Glance:
    """Return what there is still to do; let go of the conversation when that is nothing."""
    glance = look(connection, lease.conversation_id, now=now, answers_on_resume=answers_on_resume)
    if not glance.is_idle(now):
        return glance
    person = glance.chat.person_has_it(now)
    released = queues.release(connection, lease, due_at=None if person is None else person.until)
    return Glance(
        chat=glance.chat,
        message=None,
        question=None,
        kept={},
        has_job=False,
        has_old_chat=False,
        released=released,
    )


def again(connection: Any, conversation_id: int) -> tuple[Chat, dict[int, JSON]]:
    """Return a conversation and its held-back bubbles anew: a person may have come meanwhile."""
    return chats.load(connection, conversation_id), held_back.not_marked(connection, conversation_id)


_CONVERSATION = sa.bindparam("conversation")
_JOB = Prepared(
    sa.select(jobs.c.id).where(jobs.c.state == "waiting", jobs.c.conversation_id == _CONVERSATION).limit(1)
)
_OLD_CHAT = Prepared(
    sa.select(inbox_threads.c.inbox_id)
    .join(aliases, aliases.c.alias == inbox_threads.c.alias)
    .where(aliases.c.conversation_id == _CONVERSATION)
    .limit(1)
)
