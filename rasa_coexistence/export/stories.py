"""Write what was said as Rasa test stories: one for each session of a conversation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone

from rasa_coexistence.export.masking import Mask, region_of
from rasa_coexistence.export.training_text import plain_line, quoted
from rasa_coexistence.ledger.transcripts import Talk, said_at
from rasa_coexistence.records import StoredMessage
from rasa_coexistence.to_rasa import NEVER_SAID

HEAD = 'version: "3.1"\n\nstories:'
NOTHING = " []\n"

_PAYLOAD = re.compile(r"/(?P<intent>[^\s{@;/]+)")


def stories(
    talk: Talk, messages: Iterable[StoredMessage], mask: Mask, *, session_seconds: float
) -> Iterator[str]:
    """Yield the stories of a conversation, piece by piece; a session without a customer makes none."""
    region, number, previous = region_of(talk.display_phone_number), 0, None
    waiting: list[str] = []  # what the business said before the customer's first word
    is_open = False
    for message in messages:
        if message.type in NEVER_SAID or message.revoked:
            continue
        moment = said_at(message)
        if previous is None or moment - previous > session_seconds:
            number, is_open, waiting = number + 1, False, []
        previous = moment
        step = _step(message, mask, region)
        if step is None:
            continue
        if is_open:
            yield step
        elif message.from_business:
            waiting.append(step)
        else:
            yield _title(talk, mask, number, moment)
            yield from waiting
            yield step
            is_open = True


def _title(talk: Talk, mask: Mask, number: int, moment: float) -> str:
    day = datetime.fromtimestamp(moment, timezone.utc).date()
    name = quoted(f"{mask.conversation(talk.sender_id)}, session {number}, {day}")
    return f"\n- story: {name}\n  steps:\n"


def _step(message: StoredMessage, mask: Mask, region: str | None) -> str | None:
    """Return what somebody said as a step, or None when nothing is left of it."""
    text = message.text if message.text is not None else f"[{message.type}]"
    if message.from_business:
        said = quoted(mask.text(text, region=region))
        return None if said == '""' else f"  - bot: {said}\n"
    intent = ((message.parse or {}).get("intent") or {}).get("name")
    content = message.content
    if content is not None and not content.typed and (payload := _PAYLOAD.match(text)):
        text, intent = content.label or text, payload["intent"]
    line = mask.text(plain_line(text), region=region)
    if not line:
        return None
    named = "" if not intent else f"    intent: {quoted(intent.partition('/')[0])}\n"
    return f"  - user: {quoted(line)}\n{named}"
