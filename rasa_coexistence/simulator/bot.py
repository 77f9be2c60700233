"""Look at the bot from outside: how far its sync is, what it knows about a customer."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import aiohttp


class Bot:
    """A running Rasa with our channel, as its owner's scripts see it."""

    def __init__(self, webhook_url: str, phone_number_id: str, admin_token: str | None) -> None:
        parts = urlsplit(webhook_url)
        self._channel = webhook_url.rpartition("/")[0]
        self._rasa = urlunsplit((parts.scheme, parts.netloc, "", "", ""))
        self._phone_number_id = phone_number_id
        self._headers = {"Authorization": f"Bearer {admin_token}"} if admin_token else {}
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))

    async def close(self) -> None:
        """Stop looking."""
        await self._session.close()

    @property
    def status_url(self) -> str:
        """Return the address of the sync status."""
        return f"{self._channel}/api/sync/status?id={self._phone_number_id}"

    async def is_up(self) -> bool:
        """Tell whether the channel answers and Rasa has a model."""
        channel = await self._get(f"{self._channel}/")
        return channel is not None and await self._get(f"{self._rasa}/status") is not None

    async def sync(self) -> dict[str, Any] | None:
        """Return the sync status, or None if the bot does not tell."""
        return await self._get(self.status_url)

    async def ask_for_sync(self) -> bool:
        """Let the bot request contacts and history from Meta; False if it does not."""
        body = {"phone_number_id": self._phone_number_id}
        url = f"{self._channel}/api/sync"
        try:
            async with self._session.post(url, json=body, headers=self._headers) as answer:
                return answer.status < 300
        except (aiohttp.ClientError, asyncio.TimeoutError):
            return False

    async def known_messages(self, wa_id: str) -> int | None:
        """Count the old messages in a customer's tracker; None if Rasa runs without its API."""
        counts = []
        for conversation in (wa_id, f"{self._phone_number_id}:{wa_id}"):
            url = f"{self._rasa}/conversations/{quote(conversation)}/tracker?include_events=ALL"
            tracker = await self._get(url)
            if tracker is None:
                return None
            counts.append(sum(_is_history(event) for event in tracker.get("events", ())))
        return max(counts)

    async def _get(self, url: str) -> dict[str, Any] | None:
        try:
            async with self._session.get(url, headers=self._headers) as answer:
                found = await answer.json(content_type=None) if answer.status == 200 else None
                return found if isinstance(found, dict) else None
        except (aiohttp.ClientError, asyncio.TimeoutError, ValueError):
            return None


def _is_history(event: dict[str, Any]) -> bool:
    origin = (event.get("metadata") or {}).get("whatsapp")
    is_chat = event.get("event") in ("user", "bot")
    return is_chat and isinstance(origin, dict) and origin.get("source") == "history"
