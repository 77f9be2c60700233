"""Exports from the command line, from a ledger of each kind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from channels import credentials
from commands import command
from ledgers import ANA, BEN, DAY, NOW, Books, echo, history, live
from rasa.shared.core.training_data.story_reader.yaml_story_reader import YAMLStoryReader
from rasa.shared.importers.rasa import RasaFileImporter
from rasa.shared.nlu.training_data.formats.rasa_yaml import RasaYAMLReader
from rasa.validator import Validator

from rasa_coexistence.ledger import people, uniting
from rasa_coexistence.simulator.state import Person

ANA_ID, BEN_ID = str(ANA.wa_id), str(BEN.wa_id)
NAMED = history(
    ANA,
    ("wamid.H1", "Hola, soy Ana: 771 526 8513", NOW - 9 * DAY),
    ("wamid.H2", "Escriba a tienda@example.com", NOW - 9 * DAY + 60),
    from_business=["wamid.H2"],
)


@pytest.fixture
async def chatted(books: Books) -> Books:
    """Give a ledger with old chat and live messages of two customers."""
    await books.tell(NAMED, history(BEN, ("wamid.B1", "Oi", NOW - 9 * DAY), phase=1))
    await books.tell(live(ANA, ("wamid.A1", "¿Abren hoy?")), live(BEN, ("wamid.B2", "¿Abren hoy?")))
    await books.tell(echo(BEN, "wamid.E1", "Sí, al 5217715268513", at=NOW + 60))
    return books


async def export(folder: Path, url: str, *words: str) -> tuple[int, str, str]:
    """Run the command; return its exit code, what it wrote and what it said."""
    result = await command(folder, credentials(url), "export", *words)
    return result.exit_code, result.stdout, result.stderr


async def lines(folder: Path, url: str, *words: str) -> list[dict[str, Any]]:
    code, written, _ = await export(folder, url, *words)
    assert code == 0
    return [msgspec.json.decode(line) for line in written.splitlines()]


async def test_json_lines_masked_and_not(chatted: Books, ledger_url: str, tmp_path: Path) -> None:
    """By default nobody can be told; asked otherwise, everything is there."""
    masked = await lines(tmp_path, ledger_url)
    assert [line["source"] for line in masked] == ["history", "history", "live", "history", "live", "phone"]
    whole = msgspec.json.encode(masked).decode()
    assert not any(told in whole for told in (ANA_ID, BEN_ID, "771 526", "tienda@", '"Ana"', "wamid."))
    ana, ben = masked[0]["conversation"], masked[3]["conversation"]
    assert ana != ben
    assert [line["conversation"] for line in masked] == [ana] * 3 + [ben] * 3
    number = masked[5]["text"].removeprefix("Sí, al ")
    assert masked[0]["text"] == f"Hola, soy Ana: {number}"
    open_ = await lines(tmp_path, ledger_url, "--unmasked")
    assert [(line["conversation"], line["text"]) for line in open_][4:] == [
        (BEN_ID, "¿Abren hoy?"),
        (BEN_ID, "Sí, al 5217715268513"),
    ]
    assert [line["role"] for line in open_] == ["customer", "business", "customer"] + ["customer"] * 2 + [
        "business"
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--history-only"], ["H1", "H2", "B1"]),
        (["--conversation", "+52 1 771 526 8513"], ["H1", "H2", "A1"]),
        (["--conversation", BEN_ID, "--history-only"], ["B1"]),
        (["--since", "2025-10-05"], ["A1", "B2", "E1"]),
        (["--until", "2025-10-05T00:00Z"], ["H1", "H2", "B1"]),
        (["--until", "2025-10-05T00:00+02:00", "--since", "2025-10-02T16:27:00Z"], ["H2"]),
        (["--phone-number-id", "845237608662425"], ["H1", "H2", "A1", "B1", "B2", "E1"]),
        (["--phone-number-id", "1"], []),
    ],
)
async def test_what_is_asked_for_is_exported(
    chatted: Books, ledger_url: str, tmp_path: Path, words: list[str], expected: list[str]
) -> None:
    """A customer, a number, a time, the time before the bot."""
    found = await lines(tmp_path, ledger_url, "--unmasked", *words)
    assert [line["wamid"] for line in found] == [f"wamid.{each}" for each in expected]


async def test_two_conversations_of_one_person_are_one(books: Books, ledger_url: str, tmp_path: Path) -> None:
    """In the order in which it was said, under the name that Rasa goes on with."""
    hidden = Person(wa_id=None, user_id="MX.1")
    await books.tell(live(ANA, ("wamid.1", "uno"), at=NOW), live(hidden, ("wamid.2", "dos"), at=NOW + 1))
    await books.tell(live(ANA, ("wamid.3", "tres"), at=NOW + 2))
    older, younger = (await books.conversation(ANA)).id, (await books.conversation(hidden)).id
    await books.database.write(uniting.unite, younger, older, now=NOW + 3)
    found = await lines(tmp_path, ledger_url, "--unmasked")
    assert [(line["conversation"], line["text"]) for line in found] == [
        (ANA_ID, "uno"),
        (ANA_ID, "dos"),
        (ANA_ID, "tres"),
    ]
    assert await books.database.read(people.aliases_of, older)
    assert len(await lines(tmp_path, ledger_url, "--conversation", "MX.1")) == 3


async def test_stories_and_candidates_are_valid_for_rasa(
    chatted: Books, ledger_url: str, tmp_path: Path
) -> None:
    """Rasa's own readers and its validator take them, beside the example bot's domain."""
    data = tmp_path / "data"
    data.mkdir()
    stories, nlu = data / "test_stories.yml", data / "nlu.yml"
    code, written, said = await export(tmp_path, ledger_url, "--format", "stories", "--out", str(stories))
    assert (code, written) == (0, "")
    assert "6 messages exported" in said
    assert (await export(tmp_path, ledger_url, "--format", "nlu", "--out", str(nlu)))[0] == 0
    assert YAMLStoryReader.is_test_stories_file(stories)
    steps = YAMLStoryReader().read_from_file(stories)
    assert [len(step.events) for step in steps] == [2, 1, 1, 2]
    examples = RasaYAMLReader().read(nlu).training_examples
    assert [each.get("text") for each in examples] == ["¿Abren hoy?", "Hola, soy Ana: <phone>", "Oi"]
    example_bot = Path(__file__).parents[1] / "example_bot"
    importer = RasaFileImporter(domain_path=str(example_bot / "domain.yml"), training_data_paths=[str(data)])
    validator = Validator.from_importer(importer)
    assert validator.verify_story_structure()
    assert validator.verify_example_repetition_in_intents()
    assert stories.stat().st_mode & 0o077 == 0  # other users of the machine do not read it


async def test_no_file_is_overwritten_unless_asked(chatted: Books, ledger_url: str, tmp_path: Path) -> None:
    """And one that cannot be written to its end does not take the place of another."""
    out = tmp_path / "chats.jsonl"
    out.write_text("precious")
    code, _, said = await export(tmp_path, ledger_url, "--out", str(out))
    assert (code, "replace it with --force" in said, out.read_text()) == (1, True, "precious")
    code, _, said = await export(tmp_path, ledger_url, "--out", str(out), "--force", "--since", "yesterday")
    assert (code, "--since must be a date" in said, out.read_text()) == (1, True, "precious")
    assert (await export(tmp_path, ledger_url, "--out", str(out), "--force"))[0] == 0
    assert len(out.read_text().splitlines()) == 6
    code, _, said = await export(tmp_path, ledger_url, "--out", str(tmp_path / "no" / "where"))
    assert (code, "cannot be written: No such file or directory" in said) == (1, True)
    code, _, said = await export(tmp_path, ledger_url, "--out", str(tmp_path), "--force")
    assert (code, "is a folder" in said) == (1, True)
    code, _, said = await export(tmp_path, ledger_url, "--conversation", "5219999999999")
    assert (code, "There is no conversation 5219999999999." in said) == (1, True)
    assert_no_rests(tmp_path)


def assert_no_rests(folder: Path) -> None:
    """Look for files that were begun and not finished."""
    assert [each.name for each in folder.iterdir() if "jsonl" in each.name] == ["chats.jsonl"]


MESSAGES = 10_000  # of two kilobytes each


def test_memory_does_not_grow_with_the_ledger(tmp_path: Path) -> None:
    """Twenty megabytes of messages, half of them in one conversation, in each format."""
    asyncio.run(_fill(f"sqlite:///{tmp_path}/ledger.db"))
    program = (
        "import asyncio, sys; from channels import credentials; from commands import command;"
        "from pathlib import Path; folder = Path(sys.argv[1]);"
        "block = credentials(f'sqlite:///{folder}/ledger.db');"
        "status = lambda name: int(Path('/proc/self/status').read_text().split(name + ':')[1].split()[0]);"
        "run = lambda *words: asyncio.run(command(folder, block, 'export', *words));"
        "run('--out', str(folder / 'none'), '--until', '2001-01-01');"
        "Path('/proc/self/clear_refs').write_text('5');"  # forget the peak of the imports
        "before = status('VmRSS'); codes = [run('--format', each, '--out', str(folder / each)).exit_code "
        "for each in ('jsonl', 'stories', 'nlu')]; print(codes, (status('VmHWM') - before) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])},
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    codes, grown = done.stdout.strip().splitlines()[-1].rsplit(" ", 1)
    assert codes == "[0, 0, 0]"
    assert int(grown) < 34, done.stdout  # 22 when nothing is kept
    with (tmp_path / "jsonl").open() as written:
        assert sum(1 for _ in written) == MESSAGES


async def _fill(url: str) -> None:
    from rasa_coexistence.ledger import message_rows, schema
    from rasa_coexistence.ledger.database import Database

    database = Database(url)
    database.open()

    def fill(connection: Any) -> None:
        for number in range(1, 102):
            values = {
                "id": number,
                "phone_number_id": "1",
                "sender_id": f"52155{number:08}",
                "created_at": NOW,
            }
            connection.execute(schema.conversations.insert().values(**values))
        for number in range(MESSAGES):
            conversation = 1 if number % 2 else 2 + number % 200 // 2
            said = message_rows.Line(
                f"wamid.{number}",
                None,
                number % 3 == 0,
                "text",
                f"texto {number} de 55{number:08}" + " y más" * 330,
                None,
                None,
                NOW + number,
                "read",
            )
            rows.append(("1", conversation, NOW, *said))
        message_rows.insert_lines(connection, rows)

    rows: list[tuple[Any, ...]] = []
    await database.write(fill)
    await database.close()
