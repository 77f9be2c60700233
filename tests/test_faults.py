"""What the log says of an exception."""

from __future__ import annotations

from pathlib import Path

import rasa_coexistence
from rasa_coexistence.faults import fault


def test_neither_messages_nor_variables_reach_the_log() -> None:
    """A traceback with its local variables would hold what customers wrote."""

    def fail(text: str) -> None:
        raise ValueError(f"cannot file {text}")

    try:
        fail("hush, my number is 5215550001111")
    except ValueError as error:
        told = fault(error)
    assert told["error"] == "ValueError"
    assert told["at"].endswith(" fail")
    assert "5215550001111" not in str(told)
    assert "hush" not in str(told)


def test_nowhere_is_a_traceback_handed_to_the_log() -> None:
    """Rasa's set-up of structlog prints the local variables of each of its frames, access tokens too."""
    package = Path(rasa_coexistence.__file__).parent
    sources = {path.name: path.read_text() for path in package.rglob("*.py")}
    assert [name for name, text in sources.items() if ".exception(" in text or "exc_info" in text] == []
