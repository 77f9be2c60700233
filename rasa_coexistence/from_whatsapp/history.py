"""Read the old chat that Meta sends after onboarding (field ``history``); nothing here is live."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from rasa_coexistence.events import (
    JSON,
    ContactIds,
    Event,
    HistoryChunk,
    HistoryDeclined,
    HistoryMedia,
    HistoryMessage,
    HistoryThread,
    Unreadable,
)
from rasa_coexistence.from_whatsapp.content import missing_part, read_content
from rasa_coexistence.from_whatsapp.envelope import Change
from rasa_coexistence.from_whatsapp.loose import as_id, as_int, as_object, as_text, as_time, objects
from rasa_coexistence.from_whatsapp.people import from_business, media_contact, thread_contact
from rasa_coexistence.identity import aliases

AT_ONCE = 500  # messages of one event: what reads them, and keeps them in memory, stays short
_STATUSES = ("delivered", "error", "pending", "played", "read", "sent")
_MEDIA_KEYS = ("messages", "message_echoes")


def read_history(change: Change) -> Iterator[Event]:
    """Yield chunks of old chat, the media behind its placeholders, and Meta's refusals."""
    if not any(key in change.value for key in ("history", "errors", *_MEDIA_KEYS)):
        yield Unreadable(reason="a history without chunks", path=change.path, raw=change.value)
    for found in objects(change.value, "history", change.path):
        if isinstance(found, Unreadable):
            yield found
        else:
            yield from _item(change, *found)
    for key in _MEDIA_KEYS:
        for found in objects(change.value, key, change.path):
            yield found if isinstance(found, Unreadable) else _media(change, key, *found)
    yield from _refusals(change, change.value, change.path)


def _item(change: Change, path: str, raw: JSON) -> Iterator[Event]:
    """Yield one item of ``history[]``: a chunk, a long one in parts, and threads that cannot be told."""
    refusals = list(_refusals(change, raw, path))
    yield from refusals
    about = as_object(raw.get("metadata"))
    if not isinstance(raw.get("threads"), list) and (refusals or not about):
        if "threads" in raw or not refusals:
            yield Unreadable(reason="a chunk without threads", path=path, raw=raw)
        return
    progress = as_int(about.get("progress"))
    chunk = HistoryChunk(
        number=change.number,
        phase=as_int(about.get("phase")),
        chunk_order=as_int(about.get("chunk_order")),
        progress=progress if progress is not None and 0 <= progress <= 100 else None,
        threads=[],
    )
    yield from _in_parts(chunk, _threads(change, path, raw))


def _in_parts(chunk: HistoryChunk, threads: Iterable[HistoryThread | Unreadable]) -> Iterator[Event]:
    part: list[HistoryThread] = []
    earlier = told = items = 0
    for thread in threads:
        if isinstance(thread, Unreadable):
            yield thread
            continue
        part.append(thread)
        told += len(thread.messages)
        items += len(thread.messages) + len(thread.unreadable)
        if items >= AT_ONCE:
            yield replace(chunk, threads=part, earlier=earlier, goes_on=True)
            part, earlier, told, items = [], earlier + told, 0, 0
    yield replace(chunk, threads=part, earlier=earlier)


def _threads(change: Change, path: str, raw: JSON) -> Iterator[HistoryThread | Unreadable]:
    for found in objects(raw, "threads", path):
        if isinstance(found, Unreadable):
            yield found
        else:
            yield from _thread(change, *found)


def _thread(change: Change, path: str, raw: JSON) -> Iterator[HistoryThread | Unreadable]:
    """Yield a thread, a long one in parts."""
    contact = thread_contact(raw)
    if not aliases(contact):
        yield Unreadable(reason="a thread whose customer cannot be told", path=path, raw=raw)
        return
    own = change.number.display_phone_number
    part = HistoryThread(contact=contact, messages=[])
    for found in objects(raw, "messages", path):
        if len(part.messages) + len(part.unreadable) == AT_ONCE:
            yield part
            part = HistoryThread(contact=contact, messages=[])
        read = found if isinstance(found, Unreadable) else _message(contact, own, *found)
        if isinstance(read, Unreadable):
            part.unreadable.append(read)
        else:
            part.messages.append(read)
    yield part


def _message(contact: ContactIds, own: str | None, path: str, raw: JSON) -> HistoryMessage | Unreadable:
    wamid = as_id(raw.get("id"), 1024)
    sent_at = as_time(raw.get("timestamp"))
    written_by_business = from_business(raw, contact, own)
    content = read_content(raw)
    reason = missing_part(content)
    if wamid is None:
        reason = "a message without an id"
    elif sent_at is None:
        reason = "a message whose time is zero or cannot be read"
    elif written_by_business is None:
        reason = "a message of which nothing tells who wrote it"
    if reason is not None or wamid is None or written_by_business is None:
        return Unreadable(reason=reason or "", path=path, raw=raw)
    return HistoryMessage(
        wamid=wamid,
        sent_at=sent_at,
        from_business=written_by_business,
        status=_status(raw),
        content=content,
        raw=raw,
    )


def _status(raw: JSON) -> str | None:
    """Return the status in the spelling of live ones: the history writes it in upper case."""
    status = as_text(as_object(raw.get("history_context")).get("status"))
    lower = status.strip().lower() if status else None
    return lower if lower in _STATUSES else None


def _media(change: Change, key: str, path: str, raw: JSON) -> Event:
    wamid = as_id(raw.get("id"), 1024)
    if wamid is None:
        return Unreadable(reason="media of the history without the id of its placeholder", path=path, raw=raw)
    own, echoed = change.number.display_phone_number, key == "message_echoes"
    contact = media_contact(raw, change.value.get("contacts"), own, echoed=echoed)
    written_by_business = from_business(raw, contact, own)
    return HistoryMedia(
        number=change.number,
        contact=contact,
        message=HistoryMessage(
            wamid=wamid,
            sent_at=as_time(raw.get("timestamp")),
            from_business=echoed if written_by_business is None else written_by_business,
            status=_status(raw),
            content=read_content(raw),
            raw=raw,
        ),
    )


def _refusals(change: Change, holder: JSON, path: str) -> Iterator[Event]:
    for found in objects(holder, "errors", path):
        if isinstance(found, Unreadable):
            yield found
            continue
        _, error = found
        details = as_object(error.get("error_data")).get("details")
        yield HistoryDeclined(
            number=change.number,
            code=as_int(error.get("code")),
            title=as_text(error.get("title")),
            details=as_text(details) or as_text(error.get("message")),
        )
