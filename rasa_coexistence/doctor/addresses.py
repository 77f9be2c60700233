"""Tell where this server's webhook is, and whether two addresses are the same place."""

from __future__ import annotations

from urllib.parse import urlsplit

CHANNEL = "/webhooks/whatsapp"
WEBHOOK = f"{CHANNEL}/webhook"
_PORTS = {"https": 443, "http": 80}


def webhook_of(url: str) -> str:
    """Return the webhook's address; ``url`` is that or the server's, as people write it."""
    url = url.rstrip("/")
    return url if url.endswith("/webhook") else f"{server_of(url)}{WEBHOOK}"


def server_of(url: str) -> str:
    """Return the server's address, less the path of our channel."""
    return url.rstrip("/").partition(CHANNEL)[0]


def same_place(one: str, other: str) -> bool:
    """Tell whether two addresses lead to the same route."""
    return _place(one) == _place(other)


def shown(url: str) -> str:
    """Return an address without what in it could be a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


def is_open_to_meta(url: str) -> bool:
    """Tell whether Meta would post there: it wants https."""
    return urlsplit(url).scheme == "https"


def _place(url: str) -> tuple[str, int | None, str]:
    parts = urlsplit(url)
    return (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme), parts.path.rstrip("/")
