"""The command ``rasa-coexistence``; every command has a module of its own beside this one.

To add one, write its function there and name it below. Import what is heavy (Rasa) inside the function:
``--help`` should answer at once.
"""

from __future__ import annotations

import typer

from rasa_coexistence.cli.simulate import simulate

app = typer.Typer(help="WhatsApp Business coexistence for Rasa.", no_args_is_help=True, add_completion=False)
app.command()(simulate)


@app.callback()
def _top() -> None:
    """Keep ``simulate`` a command of its own, even while there is no other."""


def main() -> None:
    """Run the command line."""
    app()
