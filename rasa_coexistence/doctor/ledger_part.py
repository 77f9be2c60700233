"""Look at the ledger: can it be reached, is it ours, and what does it say that somebody should mind."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from rasa_coexistence.doctor.line import Level, Line, failure, ok, parted, warning
from rasa_coexistence.doctor.settings_part import Given
from rasa_coexistence.errors import LedgerError, LedgerUnavailable
from rasa_coexistence.ledger import condition, numbers, onboardings, syncs
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.ledger.files import missing_file
from rasa_coexistence.ledger.numbers import Number
from rasa_coexistence.onboarding import alerts
from rasa_coexistence.onboarding.adopting import mixed_up
from rasa_coexistence.onboarding.troubles import sentence
from rasa_coexistence.records import NumberState
from rasa_coexistence.settings import Settings
from rasa_coexistence.tokens import Tokens

CHECK = "ledger"
LATE_SECONDS = 300.0  # a webhook body that waits for so long


class Known(Struct, frozen=True, kw_only=True):
    """What the ledger told."""

    lines: list[Line]
    numbers: dict[str, Number] = {}
    tokens: dict[str, str | None] = {}  # by number; never shown


async def look(given: Given, settings: Settings, *, now: float, only: str | None) -> Known:
    """Read the ledger, which is neither made nor upgraded by it; without one the settings alone tell."""
    without = _of_settings_alone(settings, only)
    if given.lacks("database_url"):
        return Known(lines=[], tokens=without)
    if (path := missing_file(settings.database_url)) is not None:
        remedy = (
            "it is made when rasa run starts; a path in database_url counts from the folder in which rasa "
            "run, and this command, are started"
        )
        return Known(lines=[warning(CHECK, f"there is no ledger at {path} yet", remedy)], tokens=without)
    try:
        database = Database(settings.database_url)
    except ImportError as error:
        text, remedy = f"{error.name} is not installed", "pip install 'rasa-coexistence[postgresql]'"
        return Known(lines=[failure(CHECK, text, remedy)], tokens=without)
    try:
        return await database.read(_read, given, settings, Tokens(database, settings), now, only)
    except (LedgerError, sa.exc.SQLAlchemyError) as error:
        return Known(lines=[_unusable(error)], tokens=without)
    finally:
        await database.close()


def _unusable(error: Exception) -> Line:
    """Say why a ledger cannot be read."""
    if isinstance(error, condition.SchemaTooOld):
        return parted(CHECK, str(error), level=Level.WARNING)
    if isinstance(error, LedgerUnavailable):
        remedy = "start the database, or correct database_url: until then webhooks get 503"
        return failure(CHECK, f"the ledger cannot be reached: {_cause(error)}", remedy)
    if isinstance(error, LedgerError):
        return parted(CHECK, str(error), level=Level.FAILURE)
    text = f"the ledger cannot be read: {_cause(error)}"
    return failure(CHECK, text, "point database_url to a database of its own")


def _read(
    connection: Any, given: Given, settings: Settings, tokens: Tokens, now: float, only: str | None
) -> Known:
    found = condition.read(connection, now=now)
    lines = [ok(CHECK, f"{connection.dialect.name}, schema version {found.schema_version}")]
    if not given.lacks("sender_id", "phone_number_id"):
        lines.append(_sender_id(mixed_up(connection, settings), settings))
    lines += _backlog(found, now)
    served = {
        number.phone_number_id: number
        for number in numbers.all_numbers(connection)
        if only in (None, number.phone_number_id)
    }
    for number in served.values():
        lines += [*_number(connection, number, tokens, settings, now)]
    lines += _last_sign_up(connection, served, only)
    named = dict.fromkeys([*served, *_of_settings_alone(settings, only)])
    return Known(
        lines=lines, numbers=served, tokens={name: tokens.within(connection, name) for name in named}
    )


def _of_settings_alone(settings: Settings, only: str | None) -> dict[str, str | None]:
    """Return the token of the number that the settings name."""
    number = settings.phone_number_id or only
    return {number: settings.access_token} if number is not None and only in (None, number) else {}


def _last_sign_up(connection: Any, served: dict[str, Number], only: str | None) -> list[Line]:
    """Say why the last sign-up came to nothing, where no number that is served shows it."""
    last = onboardings.latest(connection)
    if last is None or last.trouble is None or last.phone_number_id in served or only is not None:
        return []
    if last.trouble == "superseded":
        return []
    said = sentence(last.trouble, last.details)
    # Nobody mends this by trying again: the setting has to change first.
    level = Level.FAILURE if last.trouble == "second_number" else Level.WARNING
    return [parted("sign_up", f"the last sign-up came to nothing: {said}", level=level)]


def _sender_id(problem: str | None, settings: Settings) -> Line:
    if problem is None:
        return ok("sender_id", f"{settings.sender_id} tells all conversations apart")
    return parted("sender_id", problem, level=Level.FAILURE)


def _backlog(found: condition.Condition, now: float) -> list[Line]:
    lines = []
    oldest = found.inbox["oldest_at"]
    if oldest is not None and now - oldest > LATE_SECONDS:
        count, minutes = found.inbox["live"] + found.inbox["history"], int((now - oldest) // 60)
        text = f"{count} webhooks wait to be read, the oldest for {minutes} minutes"
        lines.append(warning("backlog", text, "see that rasa run is up and has a model; its log says more"))
    if found.set_aside_count:
        text = f"{found.set_aside_count} items of webhooks could not be used and were set aside"
        lines.append(warning("set_aside", text, "rasa-coexistence status lists the reasons"))
    if found.strangers:
        text = f"Meta speaks of numbers or accounts that are not served here: {', '.join(found.strangers)}"
        remedy = "if one is yours, sign it up at /connect or set its phone_number_id"
        lines.append(warning("strangers", text, remedy))
    return lines


def _number(connection: Any, number: Number, tokens: Tokens, settings: Settings, now: float) -> list[Line]:
    name, lines = number.phone_number_id, []
    if number.is_gone:
        text = f"the number is {number.state.value} ({number.state_reason or 'no reason given'})"
        return [warning("number", text, "sign it up again at /connect if it shall come back", number=name)]
    if number.state is not NumberState.CONNECTED:
        text = f"the number is {number.state.value}: {number.state_reason or 'Meta gave no reason'}"
        remedy = (
            "open the WhatsApp Business app on the phone and follow what it, or WhatsApp Manager, asks for"
        )
        level = failure if number.state is not NumberState.RESTRICTED else warning
        lines.append(level("number", text, remedy, number=name))
    if number.access_token is not None and tokens.opened(number.access_token) is None:
        text = "no key of encryption_key opens the access token that is stored for this number"
        remedy = (
            "list the key it was stored with in encryption_key too, or sign the number up again at /connect"
        )
        lines.append(failure("token", text, remedy, number=name))
    silent = alerts.concerns_of(number, now).get(alerts.PHONE_SILENT)
    if silent is not None:
        lines.append(parted("phone", silent, level=Level.WARNING, number=name))
    return [*lines, *_sync(connection, number, settings, now)]


def _sync(connection: Any, number: Number, settings: Settings, now: float) -> list[Line]:
    """Say what is to be minded before the one request for the history, or came of it."""
    name, check = number.phone_number_id, "sync"
    status = syncs.status(connection, name)
    onboarding = None if number.onboarding is None else onboardings.load(connection, number.onboarding)
    state = "not_started" if status is None else status["sync_status"]
    if status is None or not settings.history.enabled:
        return []
    if state in ("failed", "declined"):
        said = status["history"]["error"] or f"the history is {state}"
        return [parted(check, said, level=Level.WARNING, number=name)]
    if state != "not_started":
        return [ok(check, f"the history is {state}", number=name)]
    if onboarding is not None and onboarding.trouble is not None:
        said = sentence(onboarding.trouble, onboarding.details)
        return [parted(check, said, level=Level.WARNING, number=name)]
    left = None if onboarding is None else alerts.hours_left(onboarding, now)
    if left is not None and left <= 0:
        return [parted(check, sentence("too_late", {}), level=Level.FAILURE, number=name)]
    if left is not None:
        text = f"contacts and history can be asked for {left:.0f} hours more, and were not"
        return [warning(check, text, f"rasa-coexistence sync {name}", number=name)]
    return [ok(check, "contacts and history were not asked for yet", number=name)]


def _cause(error: Exception) -> str:
    """Return what the database said, in its first line; the URL with its password is no part of it."""
    said: BaseException = error
    while said.__cause__ is not None:
        said = said.__cause__
    return str(getattr(said, "orig", said)).partition("\n")[0][:200]
