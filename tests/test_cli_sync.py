"""``sync`` lets the server ask Meta, once, when all is ready for what comes, and follows it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from channels import ADMIN_TOKEN, SETUP
from servers import free_port
from shell import NUMBER, Desk, open_desk
from signups import KEY, shop

from rasa_coexistence.cli import following
from rasa_coexistence.ledger import onboardings, syncs
from rasa_coexistence.simulator import FailureKind
from rasa_coexistence.simulator.chats import made_up

HISTORY = {"tune_tracker_store": True, "quiet_seconds": 1.0}
SIGNUP: dict[str, Any] = {"app_id": SETUP.app_id, "config_id": "7", "encryption_key": KEY}
CONTACTS_AND_HISTORY = ["smb_app_state_sync", "history"]


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the server more often than once a second."""
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.1)


def asked(desk: Desk) -> list[str]:
    """Return the syncs that reached Meta."""
    return [
        call.body["sync_type"] for call in desk.meta.calls if call.operation == "smb_app_data" and call.body
    ]


def give_chats(desk: Desk, **others: Any) -> None:
    """Let the phone hold old chats."""
    made = made_up(desk.meta.number, chats=3, messages_each=6, now=desk.meta.clock.now())
    desk.meta.give_old_chats(list(made), **others)


async def sync(desk: Desk, *arguments: str) -> tuple[int, str]:
    """Run the command; return its exit code and what it said."""
    assert desk.site is not None
    result = await desk.shell("sync", *arguments, "--url", desk.site.url)
    assert "Traceback" not in result.output
    assert ADMIN_TOKEN not in result.output
    return result.exit_code, result.output


async def until(is_so: Callable[[], Awaitable[Any]]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + 60
    while not await is_so():
        assert time.monotonic() < end, "it never came to be"
        await asyncio.sleep(0.02)


async def test_all_comes(tmp_path: Path) -> None:
    """Contacts, then history are asked for once, by the server; the end is waited for; again asks nothing."""
    async with open_desk(tmp_path, history=HISTORY) as desk:
        give_chats(desk)
        code, output = await sync(desk)
        assert code == 0, output
        assert "history completed: 18 of 18 messages imported, 3 chats" in output
        assert asked(desk) == CONTACTS_AND_HISTORY
        code, output = await sync(desk, NUMBER, "--force", "--again")
        assert (code, "asked for before" in output) == (0, True)
        assert asked(desk) == CONTACTS_AND_HISTORY


async def test_declined(tmp_path: Path) -> None:
    """The owner's choice is no success, and it is said what changes it."""
    async with open_desk(tmp_path, history=HISTORY) as desk:
        desk.meta.number.shares_history = False
        code, output = await sync(desk)
        assert (code, "chose not to share" in output) == (1, True)
        code, output = await sync(desk)
        assert (code, "chose not to share" in output) == (1, True)
        assert asked(desk) == CONTACTS_AND_HISTORY


async def test_refused_by_a_check(tmp_path: Path) -> None:
    """What would be lost is not asked for; who insists gets it asked for all the same."""
    async with open_desk(tmp_path, history=HISTORY) as desk:
        desk.meta.accounts.app_fields -= {"history"}
        code, output = await sync(desk)
        assert (code, "does not get history" in output, "--force" in output) == (1, True, True)
        assert asked(desk) == []
        code, output = await sync(desk, "--force", "--minutes", "0.01")
        assert (code, "does not get history" in output, "sync goes on" in output) == (1, True, True)
        assert asked(desk) == CONTACTS_AND_HISTORY


async def test_server_subscribes_first(tmp_path: Path) -> None:
    """A missing subscription is no reason to refuse: the server makes it before it asks."""
    async with open_desk(tmp_path, history=HISTORY) as desk:
        give_chats(desk)
        desk.meta.accounts.subscribed.clear()
        code, output = await sync(desk)
        assert code == 0, output


async def test_too_late(tmp_path: Path) -> None:
    """After 24 hours Meta's word is passed on, with what helps."""
    async with open_desk(tmp_path, history=HISTORY) as desk:
        desk.meta.number.onboarded_at -= 25 * 3600
        code, output = await sync(desk)
        assert (code, "24 hours" in output, "connect it again" in output) == (1, True, True)
        assert asked(desk) == CONTACTS_AND_HISTORY


async def test_deadline_that_is_known(tmp_path: Path) -> None:
    """Of a number that signed up here the end is known: nothing is asked for, even by who insists."""
    async with open_desk(tmp_path, history=HISTORY, **SIGNUP) as desk:
        assert desk.site is not None
        database, now = desk.site.service.database, time.time()

        def sign_up(connection: Any) -> None:
            id_ = onboardings.open_elsewhere(connection, NUMBER, waba_id=None, now=now - 90_000)
            past = {"deadline_at": now - 3600, "due_at": now + 3600}
            onboardings.change(connection, id_, **past)

        await database.write(sign_up)
        code, output = await sync(desk)
        assert (code, "24 hours" in output) == (1, True)
        code, output = await sync(desk, "--force")
        assert (code, "24 hours" in output) == (1, True)
        assert asked(desk) == []


async def test_contacts_fail_and_history_comes(tmp_path: Path) -> None:
    """One that Meta refuses does not end the following of the other; it is no success either."""
    async with open_desk(tmp_path, history=HISTORY) as desk:
        give_chats(desk)
        desk.meta.failures.add("smb_app_data", FailureKind.ERROR, code=2593107)
        code, output = await sync(desk)
        assert (code, "2593107" in output) == (1, True)
        assert "18 of 18 messages imported" in output


async def test_refused_by_meta_then_again(tmp_path: Path) -> None:
    """What Meta refused is repeated only where a person says so."""
    async with open_desk(tmp_path, history=HISTORY) as desk:
        give_chats(desk)
        desk.meta.failures.add("smb_app_data", FailureKind.ERROR, count=2, code=100)
        code, output = await sync(desk)
        assert (code, "Meta refused the request" in output) == (1, True)
        code, output = await sync(desk)
        assert (code, "--again" in output, len(asked(desk))) == (1, True, 2)
        code, output = await sync(desk, "--again")
        assert code == 0, output
        assert asked(desk) == CONTACTS_AND_HISTORY * 2


async def test_contacts_alone(tmp_path: Path) -> None:
    """With history.enabled: false only contacts are asked for, and that is all there is to wait for."""
    async with open_desk(tmp_path, history={**HISTORY, "enabled": False}) as desk:
        code, output = await sync(desk)
        assert code == 0, output
        assert asked(desk) == ["smb_app_state_sync"]


async def test_meta_is_away(tmp_path: Path) -> None:
    """While Meta cannot be reached the server waits; then it asks, and all comes."""
    async with open_desk(tmp_path, history=HISTORY) as desk:
        give_chats(desk)
        await desk.meta.server.close_port()

        async def comes_back() -> None:
            await asyncio.sleep(1)
            await desk.meta.server.open_port()

        back = asyncio.create_task(comes_back())
        code, output = await sync(desk, "--force")
        await back
        assert code == 0, output
        assert asked(desk) == CONTACTS_AND_HISTORY


async def test_server_waits_for_a_person(tmp_path: Path) -> None:
    """What the server waits for is said while it is followed; nothing is asked for meanwhile."""
    async with open_desk(tmp_path, history=HISTORY, **SIGNUP) as desk:
        desk.meta.accounts.app_fields -= {"history"}
        code, output = await sync(desk, "--force", "--minutes", "0.01")
        assert (code, "The server waits: the app does not get history" in output) == (1, True), output
        assert asked(desk) == []


async def test_server_that_is_not_there(tmp_path: Path) -> None:
    """Without a server nothing is asked for: a second process must not ask Meta beside it."""
    async with open_desk(tmp_path, serves=False) as desk:
        result = await desk.shell("sync", "--url", f"http://127.0.0.1:{free_port()}")
        assert (result.exit_code, "start rasa run" in result.output) == (1, True)
        result = await desk.shell("sync", "--url", desk.meta.url)
        assert (result.exit_code, "(HTTP 400)" in result.output) == (1, True)
        del desk.block["admin_token"]
        result = await desk.shell("sync")
        assert (result.exit_code, "admin_token" in result.output) == (1, True)
        assert asked(desk) == []


async def test_server_with_another_admin_token(tmp_path: Path) -> None:
    """Then the server was not restarted, or it is another one."""
    async with open_desk(tmp_path) as desk:
        desk.block["admin_token"] = "another-token"
        assert desk.site is not None
        result = await desk.shell("sync", "--url", desk.site.url)
        assert (result.exit_code, "does not know this admin_token" in result.output) == (1, True)


async def test_which_number(tmp_path: Path) -> None:
    """The only number is meant where none is named; among several one has to be, and others are refused."""
    known: dict[str, Any] = {"phone_number_id": None, "sender_id": "{phone_number_id}:{contact}"}
    async with open_desk(tmp_path, history=HISTORY, **known) as desk:
        assert desk.site is not None
        assert "No number is known yet" in (await sync(desk))[1]
        database = desk.site.service.database
        await database.write(syncs.add_number, NUMBER, now=time.time())
        code, output = await sync(desk, "--minutes", "0.01")
        assert f"Asking for contacts and history of {NUMBER}" in output, output
        await database.write(syncs.add_number, shop().phone_number_id, now=time.time())
        code, output = await sync(desk)
        assert (code, "say which one" in output) == (1, True)
        code, output = await sync(desk, "999", "--force")
        assert code == 1


async def test_server_restarts_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Following outlives a short absence of the server, and ends after a long one."""
    from rasa_coexistence.cli.server import NoAnswer, Server

    class Gone(Server):
        looks = 0

        async def sync_status(self, number: str) -> Any:
            Gone.looks += 1
            if Gone.looks < 4:
                raise NoAnswer("gone")
            return {"history": {"status": "completed"}, "contacts": {"status": "requested"}}

    async with Gone("http://127.0.0.1:9", "token") as server:
        follower = following.Follower(server, NUMBER, wants_history=True, until=None)
        assert await follower.follow() == 0
        monkeypatch.setattr(following, "GONE_SECONDS", 0.05)
        Gone.looks = -100
        with pytest.raises(NoAnswer):
            await follower.follow()


async def test_control_c_ends_the_following_alone(tmp_path: Path) -> None:
    """The server goes on; the exit code is that of an interruption."""
    async with open_desk(tmp_path, history=HISTORY) as desk:
        assert desk.site is not None
        desk.write()
        arguments = ["sync", "--credentials", str(tmp_path / "credentials.yml"), "--url", desk.site.url]
        arguments += ["--endpoints", str(tmp_path / "endpoints.yml")]
        command = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from rasa_coexistence.cli import main; main()", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=os.environ | {"COLUMNS": "200"},
        )
        assert command.stdout is not None
        said = b""
        while b"history requested" not in said:
            line = await asyncio.wait_for(command.stdout.readline(), 60)
            assert line, said
            said += line
        command.send_signal(signal.SIGINT)
        rest = await asyncio.wait_for(command.stdout.read(), 30)
        assert await command.wait() == 130
        assert b"the sync goes on" in rest
        assert b"Traceback" not in rest
        assert asked(desk) == CONTACTS_AND_HISTORY
