"""Look at Rasa: its version, its tracker store, its lock store."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from rasa_coexistence.doctor.line import Level, Line, failure, ok, parted, warning
from rasa_coexistence.settings import Settings

OLDEST, TOO_NEW = (3, 6, 20), (3, 7)
REDIS_SECONDS = 3.0
FEW = 1000  # old messages: a chat of half a year can well have more
TUNE = (
    "for chats of thousands of messages set history.tune_tracker_store: true in credentials.yml and restart "
    "rasa run: it adds an index"
)
_REDIS_OPTIONS = ("port", "db", "username", "password", "ssl_certfile", "ssl_keyfile", "ssl_ca_certs")


def check(endpoints: Path, settings: Settings | None) -> list[Line]:
    """Return how Rasa stands; imports it and reaches out to databases, so not for the event loop."""
    lines = [version(metadata.version("rasa"))]
    try:
        named = _read(endpoints)
    except Exception as error:  # Rasa's YAML reader raises what its parts raise
        remedy = "put it right: rasa run does not start with it"
        return [*lines, failure("tracker_store", f"{endpoints} cannot be read: {_first_line(error)}", remedy)]
    lines += _tracker_store(named.get("tracker_store"), settings)
    lines.append(_lock_store(named.get("lock_store"), settings))
    return lines


def version(found: str) -> Line:
    """Judge Rasa's version."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", found)[:3])
    if OLDEST <= numbers < TOO_NEW:
        return ok("rasa", f"Rasa {found}")
    remedy = "install one that is: pip install 'rasa>=3.6.20,<3.7'"
    return failure("rasa", f"Rasa {found} is not a version that this plug-in supports", remedy)


def _read(endpoints: Path) -> Mapping[str, Any]:
    from rasa.shared.utils.io import read_config_file

    if not endpoints.is_file():
        return {}  # Rasa goes on without, too
    return dict(read_config_file(endpoints) or {})


def _tracker_store(endpoint: Any, settings: Settings | None) -> list[Line]:
    from rasa_coexistence.tracker_stores.configured import UnknownStore, configured

    check = "tracker_store"
    try:
        kind = configured(endpoint)
    except UnknownStore as error:
        return [parted(check, str(error), level=Level.FAILURE)]
    if kind.is_sql:
        return [_sql(kind.name, endpoint, settings)]
    history_is_cut = kind.cap is not None and kind.cap < FEW
    imports = settings is None or settings.history.enabled
    cap_is_ours = settings is None or settings.history.max_messages_per_conversation is None
    lines = []
    if imports and kind.warning is not None:
        lines.append(_advised(check, kind.name, kind.warning))
    if imports and kind.cap_reason is not None and history_is_cut and cap_is_ours:
        lines.append(_advised(check, kind.name, kind.cap_reason))
    unreachable = _unreachable(endpoint) if kind.name == "Redis" else None
    if unreachable is not None:
        lines.append(_gone(check, unreachable))
    return lines or [ok(check, f"{kind.name} keeps the history")]


def _advised(check: str, name: str, sentences: str) -> Line:
    """Return a warning whose last sentence says what helps."""
    text, _, remedy = sentences.rpartition(". ")
    return warning(check, f"{name}: {text}", remedy.rstrip("."))


def _sql(name: str, endpoint: Mapping[str, Any], settings: Settings | None) -> Line:
    from rasa_coexistence.tracker_stores.configured import is_tuned

    check, will_be = "tracker_store", settings is not None and settings.history.tune_tracker_store
    try:
        tuned = is_tuned(endpoint)
    except (sa.exc.SQLAlchemyError, ImportError, ValueError) as error:
        return _gone(check, _first_line(error))
    if tuned or will_be:
        return ok(check, f"{name} keeps the history, and turns stay fast in long chats")
    return warning(check, f"{name} keeps the history, but a turn in a long chat gets slow", TUNE)


def _lock_store(endpoint: Any, settings: Settings | None) -> Line:
    check = "lock_store"
    kind = str((endpoint or {}).get("type", "in_memory")).lower()
    if kind == "redis":
        unreachable = _unreachable(endpoint)
        return ok(check, "Redis") if unreachable is None else _gone(check, unreachable)
    if kind != "in_memory":
        return ok(check, kind)
    remedy = "name a lock_store of type redis in endpoints.yml"
    workers = os.environ.get("SANIC_WORKERS", "1")
    if workers not in ("", "0", "1"):
        text = f"SANIC_WORKERS is {workers}, but Rasa's locks are in memory, and Rasa starts one worker only"
        return warning(check, text, remedy)
    if settings is not None and not settings.database_url.startswith("sqlite"):
        text = "locks are in memory: that is enough for one Rasa server, and not for several on one ledger"
        return warning(check, text, f"{remedy} before you start a second server")
    return ok(check, "in memory, which is enough for one Rasa server")


def _unreachable(endpoint: Mapping[str, Any]) -> str | None:
    """Return why a Redis of endpoints.yml does not answer, None when it does."""
    import redis

    options = {name: endpoint[name] for name in _REDIS_OPTIONS if endpoint.get(name) is not None}
    client = redis.Redis(
        host=endpoint.get("url") or "localhost",
        ssl=bool(endpoint.get("use_ssl", False)),
        socket_connect_timeout=REDIS_SECONDS,
        socket_timeout=REDIS_SECONDS,
        **options,
    )
    try:
        client.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        return _first_line(error)
    finally:
        client.close()
    return None


def _gone(check: str, said: str) -> Line:
    place = check.replace("_", " ")
    remedy = f"start it, or correct {check} in endpoints.yml"
    return failure(check, f"the {place} of endpoints.yml cannot be reached: {said}", remedy)


def _first_line(error: Exception) -> str:
    """Return what an error says, less the SQL and the links that SQLAlchemy adds."""
    if isinstance(error, sa.exc.ArgumentError):
        return "its address or dialect is none that SQLAlchemy knows"  # its own words quote the password
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().partition("\n")[0][:200] or type(error).__name__
