"""Fetch what a customer sent from Meta, for whoever has a link to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from msgspec import Struct

from rasa_coexistence.errors import CoexistenceError
from rasa_coexistence.graph.answers import MediaUrl
from rasa_coexistence.graph.client import LARGEST_MEDIA, GraphClient
from rasa_coexistence.graph.download import Download
from rasa_coexistence.graph.errors import GraphError, retry_delay
from rasa_coexistence.ledger import media_rows
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.media_links import DeadLink, MediaLink

log = structlog.get_logger(__name__)

Token = Callable[[str], Awaitable[str | None]]  # phone_number_id -> access token

_UNKNOWN_ID = frozenset({33, 100})  # Meta's codes for an id that it does not know, or no longer


class NoSuchFile(CoexistenceError):
    """The message that a link leads to is not here, or not any more."""


class FileTooLarge(CoexistenceError):
    """A file is larger than anything that a customer can send."""


class FileNotToBeHad(CoexistenceError):
    """Meta did not give out a file; ``again`` says whether it may do so later."""

    def __init__(self, error: GraphError) -> None:
        self.again = retry_delay(error.verdict, 1, jitter=0.0) is not None
        super().__init__(str(error))


class OpenFile(Struct, frozen=True, kw_only=True):
    """A file on its way through us."""

    mime_type: str
    filename: str | None
    size: int | None  # bytes, as announced
    pieces: AsyncIterator[bytes]


class MediaFiles:
    """The files of customers, at Meta."""

    def __init__(self, database: Database, graph: GraphClient, token: Token) -> None:
        self._database = database
        self._graph = graph
        self._token = token

    @asynccontextmanager
    async def opened(self, link: MediaLink) -> AsyncIterator[OpenFile]:
        """Open a file, its first piece at hand.

        Raise NoSuchFile, DeadLink, FileTooLarge or FileNotToBeHad.
        """
        place = await self._database.read(media_rows.file_of, link.message_id, link.media_id)
        if place is None:
            raise NoSuchFile("no such message is known here; the customer may have been forgotten")
        if place.revoked:
            raise DeadLink("the customer took this message back")
        token = await self._token(place.phone_number_id)
        async with AsyncExitStack() as stack:
            try:
                if token is None:
                    raise GraphError.without_token(place.phone_number_id)
                download = await self._download(stack, link.media_id, place.phone_number_id, token)
                first = await anext(download.pieces, b"")
            except GraphError as error:
                raise _explained(error) from error
            yield OpenFile(
                mime_type=plain_type(download.mime_type or place.mime_type),
                filename=place.filename,
                size=download.size,
                pieces=_after(first, download.pieces),
            )

    async def _download(
        self, stack: AsyncExitStack, media_id: str, phone_number_id: str, token: str
    ) -> Download:
        """Begin a download; an address that died on the way is asked for once more."""
        address = await self._address(media_id, phone_number_id, token)
        try:
            return await stack.enter_async_context(self._graph.download(address.url, access_token=token))
        except GraphError as error:
            if error.http_status not in (404, 410):
                raise
        address = await self._address(media_id, phone_number_id, token)
        return await stack.enter_async_context(self._graph.download(address.url, access_token=token))

    async def _address(self, media_id: str, phone_number_id: str, token: str) -> MediaUrl:
        at = await self._graph.media(media_id, access_token=token, phone_number_id=phone_number_id)
        if at.file_size is not None and at.file_size > LARGEST_MEDIA:
            raise FileTooLarge(
                f"the file has {at.file_size} bytes; more than {LARGEST_MEDIA} are not fetched"
            )
        return at


def _explained(error: GraphError) -> CoexistenceError:
    log.info("media.not_fetched", code=error.code, http_status=error.http_status)
    if error.code in _UNKNOWN_ID or error.http_status in (404, 410):
        return DeadLink("Meta does not have the file any more: it keeps what customers send for a week")
    return FileNotToBeHad(error)


def plain_type(mime_type: str | None) -> str:
    """Return a media type that can stand in a header."""
    given = (mime_type or "").split(";")[0].strip().lower()
    kind, _, name = given.partition("/")
    allowed = all(
        part and part.replace("-", "").replace("+", "").replace(".", "").isalnum() for part in (kind, name)
    )
    return given if allowed and given.isascii() else "application/octet-stream"


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for piece in rest:
        yield piece
