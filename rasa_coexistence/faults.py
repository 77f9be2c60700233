"""Describe an unexpected exception for the log, without a word of what customers wrote."""

from __future__ import annotations

import traceback


def fault(error: BaseException) -> dict[str, str]:
    """Return the log fields of an exception: its type, and the way to where it was raised.

    Neither its message nor the values of variables: both can hold messages, numbers and tokens, and Rasa's
    own set-up of structlog writes all local variables of a traceback that it is given.
    """
    frames = traceback.extract_tb(error.__traceback__)
    way = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
    return {"error": type(error).__name__, "at": " > ".join(way[-6:])}
