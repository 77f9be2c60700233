"""Let calls of the Graph API fail on purpose."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum

from aiohttp import web

from rasa_coexistence.simulator.refusals import Refusal
from rasa_coexistence.simulator.state import JSON


class FailureKind(str, Enum):
    """In which way a call fails."""

    TIMEOUT_BEFORE = "timeout_before"  # nothing is done, nothing is answered
    TIMEOUT_AFTER = "timeout_after"  # done, but nothing is answered
    REFUSE = "refuse"  # nothing is done, the connection closes
    CLOSE_AFTER = "close_after"  # done, but the connection closes without an answer
    HTTP = "http"  # nothing is done, an HTTP error without Graph's envelope
    ERROR = "error"  # nothing is done, one of Meta's codes
    GARBAGE = "garbage"  # done, but the answer is not JSON

    @property
    def is_done(self) -> bool:
        """Whether Meta did what was asked."""
        return self in (FailureKind.TIMEOUT_AFTER, FailureKind.CLOSE_AFTER, FailureKind.GARBAGE)


@dataclass(slots=True, kw_only=True)
class Failure:
    """How the next calls of one operation fail."""

    operation: str  # a name of server.OPERATIONS, or "*"
    kind: FailureKind
    count: int | None = 1  # None: until it is cleared
    to: str | None = None  # only messages to this phone or BSUID
    code: int = 131000  # for ERROR
    http_status: int = 500  # for HTTP
    details: str = ""
    seconds: float | None = None  # how long a timeout keeps the line open; None: until the server stops


@dataclass(slots=True, kw_only=True)
class Failures:
    """The failures that are still to come."""

    _planned: list[Failure] = field(default_factory=list)

    def add(
        self,
        operation: str,
        kind: FailureKind | str,
        *,
        count: int | None = 1,
        to: str | None = None,
        code: int = 131000,
        http_status: int = 500,
        details: str = "",
        seconds: float | None = None,
    ) -> Failure:
        """Let the next ``count`` calls of an operation fail."""
        failure = Failure(
            operation=operation,
            kind=FailureKind(kind),
            count=count,
            to=to,
            code=code,
            http_status=http_status,
            details=details,
            seconds=seconds,
        )
        self._planned.append(failure)
        return failure

    def clear(self) -> None:
        """Let everything go well again."""
        self._planned.clear()

    def take(self, operation: str, body: JSON | None = None) -> Failure | None:
        """Return the failure that this call shall have, and count it."""
        recipients = [(body or {}).get("to"), (body or {}).get("recipient")]
        written = {str(recipient).removeprefix("+") for recipient in recipients if recipient}
        for failure in self._planned:
            if failure.operation in (operation, "*") and (failure.to is None or failure.to in written):
                if failure.count is not None:
                    failure.count -= 1
                    if failure.count <= 0:
                        self._planned.remove(failure)
                return failure
        return None


async def act_out(failure: Failure, request: web.Request, stopping: asyncio.Event) -> web.StreamResponse:
    """Give a call the end that its failure wants; ``stopping`` frees the lines kept open."""
    match failure.kind:
        case FailureKind.HTTP:
            return web.Response(status=failure.http_status, text="<html>Sorry, something went wrong.</html>")
        case FailureKind.ERROR:
            refusal = Refusal(failure.code, failure.details)
            return web.json_response(refusal.envelope(), status=refusal.http_status)
        case FailureKind.GARBAGE:
            return web.Response(text="<html>OK</html>", content_type="text/html")
        case FailureKind.TIMEOUT_BEFORE | FailureKind.TIMEOUT_AFTER:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stopping.wait(), failure.seconds)
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
