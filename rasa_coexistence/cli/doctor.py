"""``rasa-coexistence doctor``: is everything as it must be, before the one-shot history is asked for?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from rasa_coexistence.cli.ground import DEFAULT_CREDENTIALS, CredentialsFile, run, screen
from rasa_coexistence.cli.output import AsJSON, at_work, print_json

if TYPE_CHECKING:
    from rasa_coexistence.doctor.line import Line

DEFAULT_ENDPOINTS = Path("endpoints.yml")
_COLOURS = {"ok": "green", "warning": "yellow", "failure": "bold red"}

EndpointsFile = Annotated[Path, typer.Option("--endpoints", help="Rasa's endpoints.yml.")]


def doctor(
    credentials: CredentialsFile = DEFAULT_CREDENTIALS,
    endpoints: EndpointsFile = DEFAULT_ENDPOINTS,
    url: Annotated[
        str | None,
        typer.Option(help="Public address of your server; without it base_url, else what Meta calls."),
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Look the whole set-up over, and say of each thing whether it is as it must be and what helps.

    Nothing is changed, here or at Meta, and nothing is used up. The webhook's public address is tried with a
    signed body that holds nothing. Exit code 0 unless something fails; warnings alone do not count.
    """
    run(_doctor(credentials, endpoints, url, as_json=as_json))


async def _doctor(credentials: Path, endpoints: Path, url: str | None, *, as_json: bool) -> int:
    from rasa_coexistence.doctor.examine import Place, examine
    from rasa_coexistence.doctor.line import Level

    found: list[Line] = []
    with at_work("Looking ...", quietly=as_json):
        async for line in examine(Place(credentials=credentials, endpoints=endpoints, url=url)):
            found.append(line)
            if not as_json:
                show(line)
    counts = {level: sum(line.level is level for line in found) for level in Level}
    failures, warnings = counts[Level.FAILURE], counts[Level.WARNING]
    if as_json:
        print_json({"ok": not failures, "failures": failures, "warnings": warnings, "checks": found})
    else:
        screen.print(f"\n{_sum(failures, warnings)}")
    return 1 if failures else 0


def show(line: Line) -> None:
    """Print a line, and what helps below it."""
    level, colour = line.level.value, _COLOURS[line.level.value]
    about = f"{line.check} {line.phone_number_id}" if line.phone_number_id else line.check
    screen.print(f"[{colour}]{level:<8}[/{colour}] [bold]{escape(about)}[/bold]: {escape(line.text)}")
    if line.remedy is not None:
        screen.print(f"         [dim]->[/dim] {escape(line.remedy)}")


def _sum(failures: int, warnings: int) -> str:
    if failures:
        return f"{failures} failed, {warnings} to be minded. Put the failures right, and run this again."
    if warnings:
        return f"Nothing failed, {warnings} to be minded."
    return "All is well."
