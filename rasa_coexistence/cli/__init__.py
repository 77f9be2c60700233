"""The command ``rasa-coexistence``; every command has a module of its own beside this one.

To add one, write its function there and name it below. Import what is heavy (Rasa) inside the function:
``--help`` should answer at once.
"""

from __future__ import annotations

import typer

from rasa_coexistence.cli.doctor import doctor
from rasa_coexistence.cli.export import export
from rasa_coexistence.cli.forget import forget
from rasa_coexistence.cli.output import keep_quiet
from rasa_coexistence.cli.replay import replay
from rasa_coexistence.cli.simulate import simulate
from rasa_coexistence.cli.status import status
from rasa_coexistence.cli.sync import sync
from rasa_coexistence.cli.takeover import takeover

app = typer.Typer(help="WhatsApp Business coexistence for Rasa.", no_args_is_help=True, add_completion=False)
for command in (doctor, status, sync, export, forget, replay, simulate):
    app.command()(command)
app.add_typer(takeover, name="takeover")


def main() -> None:
    """Run the command line."""
    keep_quiet()
    app()
