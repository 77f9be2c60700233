"""Events are written as Rasa would write them, in half the time."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from rasa_coexistence.tracker_stores.contract import as_ascii_json, as_json

TEXTS = st.text(st.sampled_from('aé\\xuU"😀\n中\x00\x7f\x80\u2028\ud800\udc0001f6/') | st.characters())


@given(TEXTS, TEXTS)
@example("é", "\\xe9")
@example("😀", "\\U0001f600")
@example("mañana", '"¿Ya?"\n')
def test_an_event_is_ascii_and_reads_as_what_it_was(key: str, text: str) -> None:
    """Whatever customers type: a database may hold no other characters, and none may change."""
    event = {"text": text, "metadata": {key: [text, 1.5, None]}}
    written = as_ascii_json(event)
    assert written.isascii()
    assert json.loads(written) == json.loads(as_json(event)) == json.loads(json.dumps(event))
