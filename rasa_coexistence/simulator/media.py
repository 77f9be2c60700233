"""Keep media as Meta does: ids that expire, addresses that live five minutes."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from rasa_coexistence.simulator.clock import Clock
from rasa_coexistence.simulator.refusals import Refusal
from rasa_coexistence.simulator.state import JSON

URL_SECONDS = 300
UPLOADED_SECONDS = 30 * 24 * 3600
RECEIVED_SECONDS = 7 * 24 * 3600
MIB = 1024 * 1024
LARGEST = {  # bytes, by MIME type; documents are what is left
    "image/jpeg": 5 * MIB,
    "image/png": 5 * MIB,
    "image/webp": MIB // 2,
    "video/mp4": 16 * MIB,
    "video/3gpp": 16 * MIB,
    "audio/aac": 16 * MIB,
    "audio/amr": 16 * MIB,
    "audio/mpeg": 16 * MIB,
    "audio/mp4": 16 * MIB,
    "audio/ogg": 16 * MIB,
}
DOCUMENT = 100 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """A file at Meta; without content it is so many zero bytes."""

    media_id: str
    mime_type: str
    content: bytes | None
    size: int
    expires_at: float

    def pieces(self, length: int = 65_536) -> Iterator[bytes]:
        """Give the file piece by piece."""
        if self.content is not None:
            yield self.content
            return
        for start in range(0, self.size, length):
            yield bytes(min(length, self.size - start))

    def digest(self) -> bytes:
        """Return the SHA-256 of the file."""
        whole = hashlib.sha256()
        for piece in self.pieces():
            whole.update(piece)
        return whole.digest()


@dataclass(kw_only=True)
class MediaShelf:
    """The files of one app."""

    clock: Clock
    base_url: str = ""
    _files: dict[str, Media] = field(default_factory=dict)
    _links: dict[str, tuple[str, float]] = field(default_factory=dict)  # secret of the address -> id, end

    def upload(self, mime_type: str, content: bytes) -> str:
        """Keep what the app uploads for 30 days; returns its id."""
        most = LARGEST.get(mime_type.split(";")[0].strip(), DOCUMENT)
        if not content or len(content) > most:
            raise Refusal(131053, f"A file of {mime_type} must have 1 to {most} bytes.")
        return self._keep(mime_type, content, len(content), UPLOADED_SECONDS).media_id

    def receive(self, mime_type: str, content: bytes | None = None, *, size: int = 0) -> JSON:
        """Keep what a customer sent for seven days; returns what the webhook says of it."""
        media = self._keep(
            mime_type, content, len(content) if content is not None else size, RECEIVED_SECONDS
        )
        digest = base64.b64encode(media.digest()).decode()
        return {"id": media.media_id, "mime_type": mime_type, "sha256": digest}

    def has(self, media_id: str) -> bool:
        """Tell whether an id can still be used."""
        media = self._files.get(media_id)
        return media is not None and media.expires_at > self.clock.now()

    def describe(self, media_id: str) -> JSON:
        """Answer GET on an id with a fresh address."""
        if not self.has(media_id):
            raise Refusal(100, f"Object with ID '{media_id}' does not exist.", subcode=33)
        media = self._files[media_id]
        secret = secrets.token_urlsafe(12)
        self._links[secret] = (media_id, self.clock.now() + URL_SECONDS)
        return {
            "messaging_product": "whatsapp",
            "url": f"{self.base_url}/_lookaside/{media_id}?ext={secret}",
            "mime_type": media.mime_type,
            "sha256": media.digest().hex(),
            "file_size": str(media.size),
            "id": media_id,
        }

    def at(self, media_id: str, secret: str) -> Media | None:
        """Return the file behind an address, or None once the address is dead."""
        known, until = self._links.get(secret, ("", 0.0))
        return self._files[media_id] if known == media_id and until > self.clock.now() else None

    def delete(self, media_id: str) -> JSON:
        """Forget a file."""
        if self._files.pop(media_id, None) is None:
            raise Refusal(100, f"Object with ID '{media_id}' does not exist.", subcode=33)
        return {"success": True}

    def _keep(self, mime_type: str, content: bytes | None, size: int, seconds: float) -> Media:
        media = Media(
            media_id=str(secrets.randbelow(10**15) + 10**15),
            mime_type=mime_type,
            content=content,
            size=size,
            expires_at=self.clock.now() + seconds,
        )
        self._files[media.media_id] = media
        return media
