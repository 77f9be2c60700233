"""The commands answer at once, and fail with a sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rasa_coexistence.cli import app

COMMANDS = sorted(
    command.name or str(command.callback.__name__) for command in app.registered_commands if command.callback
)
LIST_MODULES = """
import sys
sys.argv[1:] = {arguments!r}
from rasa_coexistence.cli import main
try:
    main()
finally:
    heavy = ("rasa.core", "rasa.nlu", "tensorflow")
    print([name for name in sys.modules if name.startswith(heavy)], file=sys.stderr)
"""


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_imports_no_rasa(command: str) -> None:
    """Rasa and TensorFlow take seconds to import: nobody waits for them to read the help."""
    arguments = [*([command] if command else []), "--help"]
    done = subprocess.run(
        [sys.executable, "-c", LIST_MODULES.format(arguments=arguments)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert "Usage:" in done.stdout
    assert "--help" in done.stdout
    assert done.stderr.strip() == "[]"


def test_every_command_is_in_the_readme() -> None:
    """What can be typed stands in the README."""
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert not [command for command in COMMANDS if f"rasa-coexistence {command}" not in readme]


def test_no_credentials() -> None:
    """A command outside the bot's folder says where to run it."""
    for command in ("status", "sync"):
        result = CliRunner().invoke(app, [command, "--credentials", "/nowhere/credentials.yml"])
        assert result.exit_code == 1
        assert "There is no /nowhere/credentials.yml" in result.output
        assert "Traceback" not in result.output


def test_json_stays_json(tmp_path: Path) -> None:
    """Logs and warnings of the libraries do not get between what a script reads."""
    (tmp_path / "credentials.yml").write_text(
        "rasa_coexistence.CoexistenceInput:\n  verify_token: v\n  app_secret: s\n"
        "  graph_url: http://127.0.0.1:9\n  database_url: postgresql://127.0.0.1:9/none\n"
    )
    (tmp_path / "endpoints.yml").write_text("tracker_store: {type: SQL, db: rasa.db}\n")
    done = subprocess.run(
        [sys.executable, "-c", "from rasa_coexistence.cli import main; main()", "doctor", "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"], done.stderr) == (1, False, "")
