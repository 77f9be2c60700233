"""Trained bots that tests share; a bot whose sources did not change is not trained again."""

from __future__ import annotations

import hashlib
import importlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent
EXAMPLE_BOT = TESTS.parent / "example_bot"
STORIES_BOT = TESTS / "bots" / "stories"
ANSWERS_BOT = TESTS / "bots" / "answers"
QUIETLY = {"RASA_TELEMETRY_ENABLED": "false", "TF_CPP_MIN_LOG_LEVEL": "2"}


@pytest.fixture(scope="session")
def example_model(pytestconfig: pytest.Config) -> Path:
    """Give the trained model of ``example_bot``: rules only, Spanish and English."""
    return trained(EXAMPLE_BOT, pytestconfig)


@pytest.fixture(scope="session")
def stories_model(pytestconfig: pytest.Config) -> Path:
    """Give the trained model of a bot that goes by stories: Memoization, TED, UnexpecTED."""
    return trained(STORIES_BOT, pytestconfig)


@pytest.fixture(scope="session")
def answers_model(pytestconfig: pytest.Config) -> Path:
    """Give the trained model of a bot that has intents for types of message, buttons, and a reminder."""
    return trained(ANSWERS_BOT, pytestconfig)


@pytest.fixture(scope="session")
def answering(answers_model: Path) -> Any:
    """Give an agent with the bot of ``answers_model``; ``agents.agent_on`` gives each test one of its own."""
    from rasa.core.agent import Agent

    return Agent.load(answers_model)


@pytest.fixture(scope="session")
def loaded(example_model: Path) -> Any:
    """Give an agent with ``example_bot``; ``agents.agent_on`` gives each test one of its own."""
    from rasa.core.agent import Agent

    return Agent.load(example_model)


def trained(bot: Path, config: pytest.Config) -> Path:
    """Return the bot's model out of pytest's cache, trained first if it is not there."""
    models = config.cache.mkdir("rasa_models") if config.cache else Path(tempfile.mkdtemp())
    model = models / f"{bot.name}-{_fingerprint(bot)}.tar.gz"
    if not model.exists():
        importlib.import_module("rasa.engine.recipes.default_components")  # compiled here, once, not there
        before = _seconds_of_children()
        with tempfile.TemporaryDirectory() as folder:
            _train(bot, Path(folder))
            seconds_of(model).write_text(f"{_seconds_of_children() - before:.1f}")
            staged = models / f"{Path(folder).name}.tmp"
            shutil.move(Path(folder) / "models" / "model.tar.gz", staged)
        staged.replace(model)  # two runs of the tests may train at the same time
    return model


def seconds_of(model: Path) -> Path:
    """Return the file that says how long a processor trained, the start of Python and Rasa included."""
    return model.with_name(f"{model.name}.seconds")


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _sources(bot: Path) -> list[Path]:
    return [bot / "config.yml", bot / "domain.yml", *sorted((bot / "data").iterdir())]


def _fingerprint(bot: Path) -> str:
    digest = hashlib.sha256(version("rasa").encode())
    for source in _sources(bot):
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()[:16]


def _train(bot: Path, folder: Path) -> None:
    for source in _sources(bot):
        copy = folder / source.relative_to(bot)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(source, copy)
    run = subprocess.run(
        [sys.executable, "-m", "rasa", "train", "--fixed-model-name", "model"],
        cwd=folder,
        env=os.environ | QUIETLY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if run.returncode:
        raise RuntimeError(f"{bot.name} could not be trained:\n{run.stdout[-5000:]}")
