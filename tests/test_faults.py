"""What the log says of an exception."""

from __future__ import annotations

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
