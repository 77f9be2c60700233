"""The doctor sees each thing that would lose messages or the one-shot history, and says what helps."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from channels import ADMIN_TOKEN, SETUP
from servers import free_port
from shell import NUMBER, Desk, open_desk, the, worse
from signups import KEY

from rasa_coexistence.doctor import meta_part, rasa_part
from rasa_coexistence.doctor.line import Level, Line
from rasa_coexistence.ledger import schema, schema_onboarding
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.simulator import FailureKind

FAILURE, WARNING, OK = Level.FAILURE, Level.WARNING, Level.OK
SECRETS = [SETUP.app_secret, SETUP.verify_token, str(SETUP.access_token), ADMIN_TOKEN]
SIGNUP: dict[str, Any] = {"app_id": SETUP.app_id, "config_id": "77", "encryption_key": KEY}


def remedied(lines: list[Line]) -> bool:
    """Tell whether everything that is not well comes with what helps."""
    return all(line.remedy for line in lines if line.level is not OK)


async def test_all_is_well(tmp_path: Path) -> None:
    """With everything as it must be nothing is failed or to be minded, changed or used up."""
    async with open_desk(tmp_path) as desk:
        result = await desk.shell("doctor")
        assert result.exit_code == 0, result.output
        assert "All is well." in result.output
        assert "failure" not in result.output
        for check in (
            "settings",
            "rasa",
            "tracker_store",
            "lock_store",
            "ledger",
            "sender_id",
            "meta",
            "clock",
        ):
            assert f"ok       {check}: " in result.output
        for check in ("token", "scopes", "phone", "subscription", "override"):
            assert f"ok       {check} {NUMBER}: " in result.output
        for check in ("app_fields", "webhook"):
            assert f"ok       {check}: " in result.output
        assert {call.operation for call in desk.meta.calls} <= {
            *("object", "debug_token", "app_fields", "subscribed", "phone_numbers")
        }
        told = await desk.told("doctor")
        assert (told["ok"], told["failures"], told["warnings"]) == (True, 0, 0)
        assert {check["level"] for check in told["checks"]} == {"ok"}
        assert not [secret for secret in SECRETS if secret in result.output + json.dumps(told)]


async def test_the_knock_leaves_nothing_behind(tmp_path: Path) -> None:
    """The signed body that holds nothing is read, and not set aside."""
    async with open_desk(tmp_path) as desk:
        assert the(await desk.examine(), "webhook").level is OK
        service = desk.site.service if desk.site else None
        assert service is not None
        for table in (schema.inbox, schema.set_aside):
            for _ in range(200):
                rows = await service.database.read(
                    lambda one, table=table: one.execute(sa.select(table)).all()
                )
                if not rows:
                    break
                await asyncio.sleep(0.05)
            assert rows == []


async def test_partly_wrong_settings(tmp_path: Path) -> None:
    """Every problem is said, and what does not hang on it is looked at all the same."""
    async with open_desk(tmp_path) as desk:
        desk.block |= {"histry": {}, "replies": {"messages_per_second": -1}, "sender_id": "{who}"}
        del desk.block["verify_token"]
        assert (await desk.shell("doctor")).exit_code == 1
        told = (await desk.told("doctor"))["checks"]
        wrong = [check["text"].split()[0] for check in told if check["check"] == "settings"]
        assert sorted(wrong) == ["histry", "replies.messages_per_second", "sender_id", "verify_token"]
        levels = {check["check"]: check["level"] for check in told if check["check"] != "settings"}
        assert levels["webhook"] == "warning"
        assert "sender_id" not in levels
        others = ("ledger", "meta", "token", "scopes", "phone", "app_fields", "subscription", "tracker_store")
        assert {levels[name] for name in others} == {"ok"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "There is no"),
        ("rest:\n", "has no block"),
        (f"a:\n  b: '{SETUP.app_secret}\n  c: [\n", "cannot be read"),
        ("a: ${SURELY_NOT_SET}\n", "SURELY_NOT_SET"),
        ("rasa_coexistence.CoexistenceInput: text\n", "rasa_coexistence.CoexistenceInput cannot be used"),
    ],
)
async def test_unreadable_settings(tmp_path: Path, content: str | None, said: str) -> None:
    """Without settings only Rasa is looked at; the file's lines are not quoted."""
    async with open_desk(tmp_path, serves=False) as desk:
        desk.write()
        credentials = tmp_path / "credentials.yml"
        credentials.unlink()
        if content is not None:
            credentials.write_text(content)
        desk.write = lambda: None  # type: ignore[method-assign]
        lines = await desk.examine()
        assert the(lines, "settings").level is FAILURE
        assert said in the(lines, "settings").text
        assert the(lines, "rasa").level is OK
        assert SETUP.app_secret not in str(lines)


@pytest.mark.parametrize(
    ("found", "level"),
    [("3.6.19", FAILURE), ("3.6.20", OK), ("3.6.21", OK), ("3.7.0", FAILURE), ("2.8.34", FAILURE)],
)
def test_rasa_versions(found: str, level: Level) -> None:
    """Only the Rasa that this plug-in was made for will do."""
    assert rasa_part.version(found).level is level


def test_supported_rasa_is_the_one_that_is_installed_with_it() -> None:
    """The doctor and the package's own requirements say the same."""
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    oldest, too_new = (".".join(map(str, one)) for one in (rasa_part.OLDEST, rasa_part.TOO_NEW))
    assert f'rasa = ["rasa>={oldest},<{too_new}"]' in project


TRACKER_STORES: dict[str, tuple[Any, Level, str]] = {
    "none": (None, WARNING, "in memory"),
    "dynamo": ({"type": "dynamo"}, WARNING, "DynamoDB"),
    "mongo": ({"type": "mongod"}, OK, "MongoDB"),
    "redis_gone": ({"type": "redis", "url": "127.0.0.1", "port": 9}, FAILURE, "cannot be reached"),
    "typing_error": ({"type": "SLQ"}, FAILURE, "'SLQ'"),
    "no_module": ({"type": "nowhere.Store"}, FAILURE, "nowhere.Store"),
    "own_sql": ({"type": "rasa.core.tracker_store.SQLTrackerStore", "db": "none.db"}, WARNING, "SQL"),
    "sql_new": ({"type": "SQL", "db": "none.db"}, WARNING, "long chat"),
    "sql_gone": (
        {"type": "SQL", "dialect": "postgresql", "url": "127.0.0.1", "port": 9, "username": "u", "db": "x"},
        FAILURE,
        "cannot be reached",
    ),
    "sql_url": ({"type": "SQL", "url": "://u:hidden@nowhere"}, FAILURE, "address"),
    "sql_dialect": ({"type": "SQL", "dialect": "nosuch", "url": "x"}, FAILURE, "dialect"),
}


@pytest.mark.parametrize("name", TRACKER_STORES)
async def test_tracker_stores(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind says what it does to old chat, and whether it can be reached."""
    monkeypatch.chdir(tmp_path)
    endpoint, level, said = TRACKER_STORES[name]
    async with open_desk(tmp_path, serves=False, history={"enabled": True}) as desk:
        desk.endpoints = {"tracker_store": endpoint} if endpoint else {}
        lines = await desk.examine()
        line = the(lines, "tracker_store")
        assert (line.level, said in line.text) == (level, True), line
        assert remedied(lines)
        assert "hidden" not in str(lines)
        assert not (tmp_path / "none.db").exists()


async def test_redis_tracker_store(tmp_path: Path, redis_port: int) -> None:
    """Redis holds the newest hundred messages of a chat, which is said unless the shop chose a number."""
    async with open_desk(tmp_path, serves=False) as desk:
        desk.endpoints = {"tracker_store": {"type": "redis", "url": "127.0.0.1", "port": redis_port}}
        assert "newest 100" in the(await desk.examine(), "tracker_store").text
        desk.block["history"] = {"max_messages_per_conversation": 50}
        assert the(await desk.examine(), "tracker_store").level is OK


async def test_tuned_sql_tracker_store(tmp_path: Path) -> None:
    """A store that has the index is well, also when the setting is gone."""
    from rasa.core.tracker_store import SQLTrackerStore
    from rasa.shared.core.domain import Domain

    from rasa_coexistence.tracker_stores.tuning import tune

    async with open_desk(tmp_path, serves=False, history={"enabled": True}) as desk:
        store = SQLTrackerStore(Domain.empty(), host=f"sqlite:///{tmp_path}/rasa.db")
        line = the(await desk.examine(), "tracker_store")
        assert (line.level, "tune_tracker_store" in str(line.remedy)) == (WARNING, True)
        tune(store)
        store.engine.dispose()
        assert the(await desk.examine(), "tracker_store").level is OK


async def test_unreadable_endpoints(tmp_path: Path) -> None:
    """Rasa would not start with such a file."""
    async with open_desk(tmp_path, serves=False) as desk:
        desk.write()
        (tmp_path / "endpoints.yml").write_text("tracker_store: [\n  password: hidden\n")
        desk.write = lambda: None  # type: ignore[method-assign]
        lines = await desk.examine()
        assert the(lines, "tracker_store").level is FAILURE
        assert "hidden" not in str(lines)


async def test_lock_store(tmp_path: Path, redis_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several workers, or several servers on one PostgreSQL ledger, need Redis for Rasa's locks."""
    async with open_desk(tmp_path, serves=False) as desk:
        monkeypatch.setenv("SANIC_WORKERS", "4")
        assert "SANIC_WORKERS is 4" in the(await desk.examine(), "lock_store").text
        redis = {"type": "redis", "url": "127.0.0.1", "port": redis_port}
        desk.endpoints["lock_store"] = redis
        assert the(await desk.examine(), "lock_store").level is OK
        desk.endpoints["lock_store"] = {**redis, "port": free_port()}
        assert the(await desk.examine(), "lock_store").level is FAILURE
        monkeypatch.delenv("SANIC_WORKERS")
        del desk.endpoints["lock_store"]
        desk.block["database_url"] = f"postgresql://127.0.0.1:{free_port()}/none"
        line = the(await desk.examine(), "lock_store")
        assert (line.level, "second server" in str(line.remedy)) == (WARNING, True)


async def test_no_ledger_yet(tmp_path: Path) -> None:
    """Before the first start there is none; to look does not make one, and Meta is asked all the same."""
    async with open_desk(tmp_path, serves=False) as desk:
        lines = await desk.examine()
        assert the(lines, "ledger").level is WARNING
        assert not (tmp_path / "ledger.db").exists()
        assert the(lines, "token").level is the(lines, "phone").level is OK


async def test_ledgers_that_cannot_be_used(tmp_path: Path) -> None:
    """Gone, foreign, older and newer: each has its own words."""
    async with open_desk(tmp_path, serves=False) as desk:
        desk.block["database_url"] = f"postgresql://shop:hidden@127.0.0.1:{free_port()}/none"
        lines = await desk.examine()
        assert (the(lines, "ledger").level, "cannot be reached" in the(lines, "ledger").text) == (
            FAILURE,
            True,
        )
        assert "hidden" not in str(lines)

        (tmp_path / "text.db").write_text("this is no database, however long the text in it may be " * 50)
        desk.block["database_url"] = f"sqlite:///{tmp_path}/text.db"
        assert the(await desk.examine(), "ledger").level is FAILURE

        engine = sa.create_engine(f"sqlite:///{tmp_path}/other.db")
        desk.block["database_url"] = f"sqlite:///{tmp_path}/other.db"
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE others (id INTEGER)"))
        line = the(await desk.examine(), "ledger")
        assert (line.level, line.text) == (WARNING, "the ledger is empty")
        with engine.begin() as connection:
            schema.schema_version.create(connection)
            connection.execute(schema.schema_version.insert().values(version=999))
        line = the(await desk.examine(), "ledger")
        assert (line.level, "999" in line.text) == (FAILURE, True)
        with engine.connect() as connection:
            assert sa.inspect(connection).get_table_names() == ["coexistence_schema", "others"]
        engine.dispose()


async def change(desk: Desk, work: Any, *args: Any, **kwargs: Any) -> None:
    """Write into the desk's ledger."""
    database = Database(desk.block["database_url"])
    database.open()
    await database.write(work, *args, **kwargs)
    await database.close()


def fill(connection: Any, table: Any, **values: Any) -> None:
    """Insert a row."""
    connection.execute(table.insert().values(**values))


def number(connection: Any, name: str = NUMBER, **values: Any) -> None:
    """Know a business number."""
    now = time.time()
    fill(connection, schema.numbers, phone_number_id=name, created_at=now, **values)


async def test_second_number_under_contact_alone(tmp_path: Path) -> None:
    """Customers of both numbers would share Rasa conversations; the setting is named."""
    async with open_desk(tmp_path, serves=False) as desk:
        await change(desk, number, "77")
        line = the(await desk.examine(), "sender_id")
        assert line.level is FAILURE
        assert "{phone_number_id}:{contact}" in str(line.remedy)
        desk.block["sender_id"] = "{phone_number_id}:{contact}"
        assert the(await desk.examine(), "sender_id").level is OK


async def test_sign_up_of_a_second_number(tmp_path: Path) -> None:
    """One that was turned away because of sender_id is a failure, until a later sign-up went well."""
    async with open_desk(tmp_path, serves=False) as desk:
        await change(desk, number)
        row = {"id": "o", "state": "failed", "trouble": "second_number", "began_at": 1.0}
        await change(desk, fill, schema_onboarding.onboardings, **row, details='{"others":"77"}')
        line = the(await desk.examine(), "sign_up")
        assert line.level is FAILURE
        assert 'set sender_id: "{phone_number_id}:{contact}"' in str(line.remedy)
        done = {"id": "p", "state": "done", "phone_number_id": NUMBER, "began_at": 2.0}
        await change(desk, fill, schema_onboarding.onboardings, **done)
        assert "sign_up" not in {line.check for line in await desk.examine()}


async def test_numbers_that_do_not_stand_well(tmp_path: Path) -> None:
    """The ledger knows what Meta told: it is repeated with what helps."""
    async with open_desk(tmp_path, serves=False, **SIGNUP) as desk:
        gone = {"state": "removed", "state_reason": "CHANGE_NUMBER"}
        await change(desk, number, state="offboarded", state_reason="the phone was set up anew")
        await change(desk, number, "78", **gone)
        await change(desk, number, "79", access_token="closed with a key that is lost")
        desk.block["sender_id"] = "{phone_number_id}:{contact}"
        lines = [line for line in await desk.examine() if line.check in ("number", "token")]
        levels = {(line.phone_number_id, line.level) for line in lines if line.check == "number"}
        assert levels == {(NUMBER, FAILURE), ("78", WARNING)}
        assert any("encryption_key" in line.text for line in lines if line.phone_number_id == "79")
        assert remedied(lines)


async def test_silent_phone_and_backlog(tmp_path: Path) -> None:
    """Ten days without the app, webhooks nobody reads, items set aside and unknown numbers are minded."""
    async with open_desk(tmp_path, serves=False) as desk:
        now, silent = time.time(), time.time() - 11 * 86400
        values = {"phone_number_id": NUMBER, "created_at": silent}
        await change(desk, fill, schema.numbers, **values)
        await change(desk, fill, schema.inbox, lane="live", body=b"{}", received_at=now - 3600)
        aside = {"path": "a", "raw": "{}", "received_at": now, "digest": "d"}
        await change(desk, fill, schema.set_aside, reason="unknown type", **aside)
        strangers = schema_onboarding.strangers
        await change(desk, fill, strangers, id="4711", items=2, first_at=now, last_at=now)
        lines = await desk.examine()
        assert "11 days" in next(line.text for line in lines if line.check == "phone")
        assert {name: the(lines, name).level for name in ("backlog", "set_aside", "strangers")} == {
            "backlog": WARNING,
            "set_aside": WARNING,
            "strangers": WARNING,
        }
        assert remedied(lines)


@pytest.mark.parametrize(
    ("values", "level", "said"),
    [
        ({"state": "running", "deadline_at": 3600.0}, WARNING, "1 hours more"),
        ({"state": "running", "deadline_at": -60.0}, FAILURE, "24 hours"),
        ({"state": "failed", "deadline_at": -60.0, "trouble": "too_late"}, WARNING, "24 hours"),
        ({"state": "running", "deadline_at": 3600.0, "trouble": "fields_missing"}, WARNING, "does not get"),
    ],
)
async def test_deadline_of_the_history(tmp_path: Path, values: Any, level: Level, said: str) -> None:
    """While it can still be asked for, the hours are said; then that they are over."""
    async with open_desk(tmp_path, serves=False) as desk:
        now = time.time()
        row = {"id": "o", "phone_number_id": NUMBER, "began_at": now, **values}
        row["deadline_at"] += now
        await change(desk, number, onboarding="o")
        await change(desk, fill, schema_onboarding.onboardings, **row)
        line = the(await desk.examine(), "sync")
        assert (line.level, said in line.text) == (level, True), line


async def test_history_that_does_not_come(tmp_path: Path) -> None:
    """Declined and failed syncs are repeated with their sentence."""
    async with open_desk(tmp_path, serves=False) as desk:
        await change(desk, number)
        row = {
            "phone_number_id": NUMBER,
            "kind": "history",
            "state": "declined",
            "error": "not shared; so be it",
        }
        await change(desk, fill, schema.syncs, **row)
        assert the(await desk.examine(), "sync").text == "not shared"


async def test_meta_that_cannot_be_reached(tmp_path: Path) -> None:
    """One line says so, in seconds, and nothing else is guessed."""
    async with open_desk(tmp_path, serves=False) as desk:
        desk.block["graph_url"] = f"http://127.0.0.1:{free_port()}"
        begun = time.monotonic()
        lines = await desk.examine()
        assert time.monotonic() - begun < 8
        assert the(lines, "meta").level is FAILURE
        assert not {"token", "phone", "app_fields", "subscription", "override"} & {
            line.check for line in lines
        }


async def test_unknown_graph_version(tmp_path: Path) -> None:
    """A version that Meta no longer serves is named."""
    async with open_desk(tmp_path, serves=False, graph_version="v3.0") as desk:
        line = the(await desk.examine(), "meta")
        assert (line.level, "v3.0" in line.text) == (FAILURE, True)


@pytest.mark.parametrize(("seconds", "level"), [(600, FAILURE), (-600, FAILURE), (20, WARNING), (0, OK)])
async def test_clock(tmp_path: Path, seconds: float, level: Level) -> None:
    """The 24-hour window is counted by our clock: it must agree with Meta's."""
    async with open_desk(tmp_path, serves=False) as desk:
        desk.meta.clock.move(seconds)
        line = the(await desk.examine(), "clock")
        assert line.level is level, line
        assert ("behind" in line.text) is (seconds > 0)


def test_clock_says_which_way() -> None:
    """A clock that goes fast is ahead."""
    assert "ahead of" in meta_part.clock(90.0).text


async def test_tokens(tmp_path: Path) -> None:
    """Missing, worthless, ending soon, of another app: each is said of the number."""
    async with open_desk(tmp_path, serves=False) as desk:
        token = desk.meta.accounts.tokens[str(SETUP.access_token)]
        token.expires_at = time.time() + 3 * 86400
        assert the(await desk.examine(), "token").level is WARNING
        token.expires_at = time.time() + 30 * 86400
        assert "30 days" in the(await desk.examine(), "token").text
        desk.meta.accounts.revoke(str(SETUP.access_token))
        lines = await desk.examine()
        assert (the(lines, "token").level, "not valid" in the(lines, "token").text) == (FAILURE, True)
        assert "scopes" not in {line.check for line in lines}
        desk.block["access_token"] = "EAAnobodyknows"
        assert the(await desk.examine(), "token").level is FAILURE
        del desk.block["access_token"]
        assert "no access token" in the(await desk.examine(), "token").text


async def test_token_of_another_app(tmp_path: Path) -> None:
    """A token of another app sends, and yet its webhooks go elsewhere."""
    async with open_desk(tmp_path, serves=False, **{**SIGNUP, "app_id": "999"}) as desk:
        line = the(await desk.examine(), "token")
        assert (line.level, "999" in line.text) == (FAILURE, True)


async def test_scopes(tmp_path: Path) -> None:
    """Both scopes are needed, and the one that lacks is named."""
    async with open_desk(tmp_path, serves=False) as desk:
        token = desk.meta.accounts.tokens[str(SETUP.access_token)]
        token.scopes = ("whatsapp_business_management",)
        line = the(await desk.examine(), "scopes")
        assert (line.level, line.text) == (FAILURE, "the access token lacks whatsapp_business_messaging")


async def test_app_fields(tmp_path: Path) -> None:
    """A field that the app does not get would lose what comes by it."""
    async with open_desk(tmp_path, serves=False) as desk:
        desk.meta.accounts.app_fields -= {"history", "smb_message_echoes"}
        line = the(await desk.examine(), "app_fields")
        assert (line.level, line.text) == (FAILURE, "the app does not get smb_message_echoes, history")
        desk.meta.accounts.app_fields.clear()
        assert the(await desk.examine(), "app_fields").level is FAILURE


async def test_app_secret_of_another_app(tmp_path: Path) -> None:
    """Meta knows whether app_secret is the app's; webhooks would all be refused."""
    async with open_desk(tmp_path, serves=False) as desk:
        desk.block["app_secret"] = "of-another-app"
        lines = await desk.examine()
        assert the(lines, "app_secret").level is FAILURE
        assert the(lines, "token").level is OK


async def test_subscription(tmp_path: Path) -> None:
    """Without the account's subscription a sync is spent and nothing comes."""
    async with open_desk(tmp_path, serves=False) as desk:
        desk.meta.accounts.subscribed.clear()
        assert the(await desk.examine(), "subscription").level is FAILURE


@pytest.mark.parametrize("level", ["phone_number", "whatsapp_business_account"])
async def test_overrides(tmp_path: Path, level: str) -> None:
    """An override of another tool takes the messages away; one that leads to us is fine."""
    async with open_desk(tmp_path, serves=False, base_url="https://bot.example") as desk:
        for address, expected in (
            ("https://elsewhere.example/hook?token=hidden", FAILURE),
            ("https://bot.example/webhooks/whatsapp/webhook/", OK),
        ):
            if level == "phone_number":
                desk.meta.number.webhook_configuration["phone_number"] = address
            else:
                desk.meta.accounts.subscribed[SETUP.waba_id] = address
            lines = await desk.examine()
            assert the(lines, "override").level is expected, lines
            assert "hidden" not in str(lines)


@pytest.mark.parametrize("change_of", [{"is_on_biz_app": False}, {"platform_type": "NOT_APPLICABLE"}])
async def test_number_that_is_not_in_coexistence(tmp_path: Path, change_of: dict[str, Any]) -> None:
    """Both facts together mean that phone and Cloud API share the number."""
    async with open_desk(tmp_path, serves=False) as desk:
        for name, value in change_of.items():
            setattr(desk.meta.number, name, value)
        line = the(await desk.examine(), "phone")
        assert (line.level, next(iter(change_of)) in line.text) == (FAILURE, True)


async def test_meta_that_fails_on_single_questions(tmp_path: Path) -> None:
    """A question without an answer is said as such, and the others are asked."""
    async with open_desk(tmp_path) as desk:
        for operation in ("object", "app_fields", "subscribed"):
            desk.meta.failures.add(operation, FailureKind.HTTP, count=None)
        lines = await desk.examine()
        # Meta's greeting is a question about an object, too.
        assert the(lines, "meta").level is FAILURE
        desk.meta.failures.clear()
        for operation in ("app_fields", "subscribed", "debug_token"):
            desk.meta.failures.clear()
            desk.meta.failures.add(operation, FailureKind.HTTP, count=None)
            found = worse(await desk.examine())
            check = {"app_fields": "app_fields", "subscribed": "subscription", "debug_token": "token"}[
                operation
            ]
            assert check in found, found


async def test_no_number_yet(tmp_path: Path) -> None:
    """Before the first sign-up there is nothing to ask Meta about but the app."""
    async with open_desk(tmp_path, **SIGNUP, phone_number_id=None, access_token=None) as desk:
        lines = await desk.examine()
        assert worse(lines) == {"number": "warning"}
        assert the(lines, "app_fields").level is OK
