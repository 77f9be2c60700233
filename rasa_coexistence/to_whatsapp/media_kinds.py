"""Tell which kind of WhatsApp message an image or attachment of a response becomes.

WhatsApp takes few formats as image, video or audio; any other file goes as a document, which takes all. A web
page is no file at all: it goes as a link to tap.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from rasa_coexistence.to_whatsapp.text_limits import FILENAME, clean, is_blank, one_line, shorten

_BY_MIME = {
    "image/jpeg": "image",
    "image/png": "image",
    "video/mp4": "video",
    "video/3gpp": "video",
    "audio/aac": "audio",
    "audio/amr": "audio",
    "audio/mpeg": "audio",
    "audio/mp4": "audio",
    "audio/ogg": "audio",
    "text/html": "link",
}
_BY_EXTENSION = {
    **dict.fromkeys(["jpg", "jpeg", "png"], "image"),
    **dict.fromkeys(["mp4", "3gp"], "video"),
    **dict.fromkeys(["aac", "amr", "mp3", "m4a", "ogg", "opus"], "audio"),
    **dict.fromkeys(["html", "htm", "php", "asp", "aspx", "jsp"], "link"),
    **dict.fromkeys(["gif", "webp", "svg", "bmp", "tif", "tiff", "heic", "avif"], "document"),
    **dict.fromkeys(["mov", "avi", "webm", "mkv", "wav", "flac"], "document"),
    **dict.fromkeys(["pdf", "doc", "docx", "xls", "xlsx", "ppt", "pptx", "csv", "txt", "zip"], "document"),
}
_BY_HINT = {"image": "image", "video": "video", "audio": "audio", "file": "document", "document": "document"}
_PLAYER_PAGES = ("youtube.com", "youtu.be", "vimeo.com")  # what Rasa's own examples call a video
_EXTENSION = re.compile(r"\.((?=[a-z0-9]*[a-z])[a-z0-9]{2,5})$", re.IGNORECASE)
_MEDIA_ID = re.compile(r"\d{8,}")
_LINK_KEYS = ("url", "src", "link", "href", "image_url", "path")
_ID_KEYS = ("id", "media_id", "attachment_id")
_MIME_KEYS = ("mime_type", "mime", "content_type")
_FILENAME_KEYS = ("filename", "file_name", "name")
_CAPTION_KEYS = ("caption", "title", "text", "alt")


class Media(Struct, frozen=True, kw_only=True):
    """A file to send: by ``link`` or by Meta's ``id``, never both."""

    kind: str  # image, video, audio, document; link for what can only be said: a web page, a local path
    link: str | None = None
    id: str | None = None
    filename: str | None = None  # of a document
    caption: str | None = None


def read_media(value: Any, *, hint: str | None = None) -> Media | None:
    """Read an image or attachment of a response; None if it is in no shape that we know."""
    if isinstance(value, str):
        return _build({}, value.strip(), hint)
    if not isinstance(value, Mapping):
        return None
    hint = str(value.get("type") or hint or "").lower()
    payload = value.get("payload", value)
    if isinstance(payload, str):
        payload = {"url": payload}
    if not isinstance(payload, Mapping):
        return None
    fields = {**value, **payload}
    return _build(fields, _first(fields, _LINK_KEYS) or _first(fields, _ID_KEYS) or "", hint)


def is_web_address(text: str) -> bool:
    """Tell whether Meta or a browser could open this."""
    if not text.startswith(("http://", "https://")) or re.search(r"\s", text):
        return False
    try:
        return bool(urlsplit(text).hostname)
    except ValueError:
        return False


def kind_of(link: str, *, mime_type: str | None = None, hint: str | None = None) -> str:
    """Decide by type, else by the extension in ``link``, else by what the response calls it."""
    if mime_type:
        return _BY_MIME.get(mime_type.split(";")[0].strip().lower(), "document")
    parts = urlsplit(link)
    if (parts.hostname or "").lower().removeprefix("www.").removeprefix("player.") in _PLAYER_PAGES:
        return "link"
    hinted = _BY_HINT.get(hint or "")
    match = _EXTENSION.search(parts.path)
    if match is None:
        return hinted or "link"
    return _BY_EXTENSION.get(match[1].lower()) or hinted or "document"


def _build(fields: Mapping[str, Any], place: str, hint: str | None) -> Media | None:
    caption = "\n".join(dict.fromkeys(_texts(fields, _CAPTION_KEYS))) or None
    filename = _first(fields, _FILENAME_KEYS)
    mime_type = _first(fields, _MIME_KEYS)
    if is_web_address(place):
        kind = kind_of(place, mime_type=mime_type, hint=hint)
        filename = filename or _last_segment(place)
        return Media(kind=kind, link=place, filename=_named(kind, filename), caption=caption)
    if _MEDIA_ID.fullmatch(place):
        kind = kind_of("", mime_type=mime_type, hint=hint)
        kind = "document" if kind == "link" else kind
        return Media(kind=kind, id=place, filename=_named(kind, filename), caption=caption)
    if place.lower().startswith("data:"):  # the bytes themselves: nothing to read
        place = f"[{_BY_HINT.get(hint or '', 'document')}]"
    return Media(kind="link", link=place or None, caption=caption) if place or caption else None


def _named(kind: str, filename: str | None) -> str | None:
    return shorten(filename, FILENAME) if kind == "document" and filename else None


def _last_segment(link: str) -> str | None:
    name = one_line(clean(unquote(urlsplit(link).path.rsplit("/", 1)[-1])))
    return None if is_blank(name) else name


def _first(fields: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    return next(iter(_texts(fields, keys)), None)


def _texts(fields: Mapping[str, Any], keys: tuple[str, ...]) -> list[str]:
    found = (fields.get(key) for key in keys)
    texts = (str(value).strip() for value in found if isinstance(value, (str, int)) and value is not True)
    return [text for text in texts if not is_blank(text)]
