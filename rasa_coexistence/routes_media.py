"""Give out what customers sent, to whoever has a signed link; Sanic's types stay in here."""

from __future__ import annotations

from urllib.parse import quote, unquote

from sanic import Blueprint, Request
from sanic.response import HTTPResponse

from rasa_coexistence.answering import answering, failure
from rasa_coexistence.errors import CoexistenceError
from rasa_coexistence.graph.errors import GraphError
from rasa_coexistence.media import FileNotToBeHad, FileTooLarge, NoSuchFile, OpenFile
from rasa_coexistence.media_links import BadLink, DeadLink, read_link
from rasa_coexistence.service import Service

ANSWERS: dict[type[CoexistenceError], tuple[int, str]] = {
    BadLink: (403, "forbidden"),
    DeadLink: (410, "gone"),
    NoSuchFile: (404, "not_found"),
    FileTooLarge: (413, "too_large"),
    FileNotToBeHad: (502, "not_to_be_had"),
}
# A customer can send anything, a web page with scripts too, and our console is on the same host.
HARMLESS = {
    "Cache-Control": "private, no-store",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "X-Content-Type-Options": "nosniff",
}


def add_media_routes(routes: Blueprint, service: Service) -> None:
    """Add ``GET /media/<id>``."""

    async def media(request: Request, media_id: str) -> HTTPResponse | None:
        message, expires, signature = (request.args.get(key) for key in ("message", "expires", "signature"))
        secrets, now = service.settings.app_secrets, service.clock()
        try:
            link = read_link(unquote(media_id), message, expires, signature, app_secrets=secrets, now=now)
            async with service.media.opened(link) as file:
                await _stream(request, file)
                return None
        except tuple(ANSWERS) as error:
            status, code = ANSWERS[type(error)]
            if isinstance(error, FileNotToBeHad) and error.again:
                status, code = 503, "unavailable"
            return failure(status, code, str(error))

    routes.add_route(answering(media), "/media/<media_id:str>", methods=["GET"])


async def _stream(request: Request, file: OpenFile) -> None:
    name = quote(file.filename or "file", safe="")
    headers = HARMLESS | {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    if file.size is not None:
        headers["Content-Length"] = str(file.size)
    response = await request.respond(headers=headers, content_type=file.mime_type)
    try:
        async for piece in file.pieces:
            await response.send(piece)
        await response.send(end_stream=True)
    except GraphError:  # too late to say so: the reader must not take a part for the whole
        request.transport.abort()
