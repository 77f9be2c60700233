"""What webhooks leave in the ledger: each message once, whichever doors it comes through."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ledgers import ANA, BEN, DAY, NOW, NUMBER, Books, as_bytes, echo, filing_rules, history, live

from rasa_coexistence import reading
from rasa_coexistence.identity import make_wamid
from rasa_coexistence.ledger import history_rows, inbox, message_rows, queues, schema, syncs
from rasa_coexistence.ledger.database import Database
from rasa_coexistence.ledger.queues import IMPORT, TALK
from rasa_coexistence.reading import HISTORY_MESSAGES, Reader
from rasa_coexistence.simulator import webhooks
from rasa_coexistence.simulator.state import Person
from rasa_coexistence.steps import THREAD_PART, steps_of

PAYLOADS = {path.stem: path.read_bytes() for path in (Path(__file__).parent / "payloads").glob("*.json")}
INNER = "3EB0C767D097B7C7F1A2"


async def test_a_message_that_comes_twice_is_one(books: Books) -> None:
    """Meta repeats a webhook for up to seven days, also after a 200."""
    await books.tell(live(ANA, ("wamid.A1", "Hola")))
    await books.tell(live(ANA, ("wamid.A1", "Hola")), live(ANA, ("wamid.A1", "Hola"), ("wamid.A2", "¿Qué?")))
    assert await books.said() == ["Hola", "¿Qué?"]
    assert [row.state for row in await books.rows(schema.messages)] == ["waiting", "waiting"]


async def test_a_message_under_its_other_wamid_is_the_same(books: Books) -> None:
    """One message has a wamid for the phone and another for the BSUID."""
    both = Person(wa_id=ANA.wa_id, user_id="MX.1234567890")
    by_phone = make_wamid("5217715268513", INNER, from_business=False)
    by_user_id = make_wamid("MX.1234567890", INNER, from_business=False)
    await books.tell(live(both, (by_phone, "Hola")), live(both, (by_user_id, "Hola")))
    assert await books.said() == ["Hola"]


async def test_an_answer_with_the_inner_id_of_a_question_is_another_message(books: Books) -> None:
    """Only id and direction together tell which message it is."""
    await books.tell(
        live(ANA, (make_wamid("5217715268513", INNER, from_business=False), "¿Abren hoy?")),
        echo(ANA, make_wamid("5217715268513", INNER, from_business=True), "Sí"),
    )
    assert await books.said() == ["¿Abren hoy?", "Sí"]


async def test_history_does_not_repeat_what_came_live(books: Books) -> None:
    """Phase 0 of the history overlaps with live traffic."""
    await books.tell(live(ANA, ("wamid.A1", "Hola")), echo(ANA, "wamid.E1", "Buenas"))
    await books.tell(
        history(
            ANA,
            ("wamid.A0", "Antes", NOW - DAY),
            ("wamid.A1", "Hola", NOW),
            ("wamid.E1", "Buenas", NOW),
            from_business=["wamid.E1"],
        )
    )
    rows = await books.rows(schema.messages)
    assert [(row.wamid, row.source) for row in rows] == [
        ("wamid.A1", "live"),
        ("wamid.E1", "phone"),
        ("wamid.A0", "history"),
    ]
    assert (await books.conversation(ANA)).history_received == 1


async def test_a_live_message_is_answered_though_history_had_it_first(books: Books) -> None:
    """Its history event gives way to the turn."""
    await books.tell(history(ANA, ("wamid.A1", "Hola", NOW - 10)))
    await books.tell(live(ANA, ("wamid.A1", "Hola"), at=NOW - 10))
    [row] = await books.rows(schema.messages)
    assert (row.source, row.state) == ("live", "waiting")
    assert len(await books.claim(IMPORT)) == 1


async def test_history_that_had_an_echo_is_not_a_person_stepping_in(books: Books) -> None:
    """The echo tells nothing new: it must not put the bot to sleep a second time."""
    books.rules = filing_rules(takeover=books.rules.takeover)
    old = NOW - 3 * DAY
    await books.tell(history(ANA, ("wamid.E1", "Buenas", old), from_business=["wamid.E1"]))
    await books.tell(echo(ANA, "wamid.E1", "Buenas", at=old))
    [row] = await books.rows(schema.messages)
    assert row.source == "history"
    assert (await books.conversation(ANA)).takeover == "bot"


async def test_chunks_in_any_order_and_repeated_count_once(books: Books) -> None:
    """Chunks come shuffled, and again."""
    told = [(f"wamid.H{n}", f"{n}", NOW - n * 60) for n in range(9)]
    chunks = [history(ANA, *told[n : n + 4], chunk_order=n) for n in (6, 0, 3)]
    await books.tell(*chunks, *reversed(chunks), history(ANA, *told))
    assert sorted(await books.said()) == [str(n) for n in range(9)]
    assert (await books.conversation(ANA)).history_received == 9


async def test_two_conversations_of_one_person_become_one(books: Books) -> None:
    """History knows the phone, a hidden customer writes by BSUID, and one day a webhook names both."""
    phone = Person(wa_id=ANA.wa_id)
    hidden = Person(user_id="MX.777", name="Ana")
    await books.tell(history(phone, ("wamid.H1", "Antes", NOW - DAY)))
    await books.tell(live(hidden, ("wamid.L1", "Hola")))
    older, younger = await books.conversation(phone), await books.conversation(hidden)
    assert older.id != younger.id
    await books.tell(history(hidden, ("wamid.H2", "También antes", NOW - 2 * DAY)))
    await books.tell(live(Person(wa_id=ANA.wa_id, user_id="MX.777"), ("wamid.L2", "¿Siguen?")))
    assert [await books.said(conversation_id=id_) for id_ in (older.id, younger.id)] == [
        ["Antes", "Hola", "También antes", "¿Siguen?"],  # what waited goes where the answer will come from
        [],
    ]
    [gone] = await books.rows(schema.conversations, id=younger.id)
    assert gone.merged_into == older.id
    assert (await books.conversation(hidden)).id == (await books.conversation(phone)).id == older.id
    assert (await books.conversation(phone)).sender_id == ANA.wa_id


async def test_what_a_united_conversation_lived_through_stays_known(books: Books) -> None:
    """The window is open, the person who answers keeps the chat, and the buttons still mean what they did."""
    phone, hidden = Person(wa_id=ANA.wa_id), Person(user_id="MX.777")
    await books.tell(history(phone, ("wamid.H1", "Antes", NOW - DAY)))
    await books.tell(
        live(hidden, ("wamid.L1", "Hola"), at=NOW - 60), echo(hidden, "wamid.E1", "Yo le atiendo")
    )
    younger = await books.conversation(hidden)
    payload = {"conversation_id": younger.id, "button_id": "b1", "payload": "/buy", "created_at": NOW}
    await books.database.write(
        lambda connection: connection.execute(schema.payloads.insert().values(**payload)).rowcount
    )
    for row in await books.rows(schema.messages, state="waiting"):
        await books.database.write(
            lambda connection, id_=row.id: (
                connection.execute(
                    schema.messages.update().where(schema.messages.c.id == id_).values(state="logged")
                ).rowcount
            )
        )
    number_change = webhooks.user_id_update(NUMBER, hidden, Person(wa_id=ANA.wa_id, user_id="MX.888"), NOW)
    books.clock.move(5)
    await books.tell(number_change)
    older = await books.conversation(phone)
    assert (await books.conversation(Person(user_id="MX.888"))).id == older.id
    assert older.last_customer_at == older.first_live_at == NOW - 60
    assert (older.takeover, older.takeover_until) == (younger.takeover, younger.takeover_until)
    assert older.takeover == "timed"
    [moved] = await books.rows(schema.payloads)
    assert moved.conversation_id == older.id


async def test_three_conversations_of_one_person_become_one(books: Books) -> None:
    """Who was sent on to a conversation must not be left at it when that one is sent on too."""
    one, two, three = Person(wa_id=ANA.wa_id), Person(user_id="MX.1"), Person(user_id="MX.2")
    await books.tell(*(live(person, (f"wamid.{n}", "Hola")) for n, person in enumerate([one, two, three])))
    ids = [(await books.conversation(person)).id for person in (one, two, three)]
    await books.tell(
        webhooks.user_id_update(NUMBER, three, two, NOW),
        webhooks.user_id_update(NUMBER, two, Person(wa_id=ANA.wa_id, user_id="MX.3"), NOW),
    )
    rows = await books.rows(schema.conversations)
    assert [row.merged_into for row in rows] == [None, ids[0], ids[0]]


async def test_a_bad_item_is_set_aside_and_its_neighbours_go_on(books: Books) -> None:
    """One broken message in a batch must not cost the others."""
    body = PAYLOADS["bad_items_between_good_ones"].replace(b'"2002"', f'"{NUMBER.phone_number_id}"'.encode())
    await books.tell(body, body)
    bad = await books.rows(schema.set_aside)
    assert await books.said() == ["before", "after"]
    assert len(bad) == 7
    assert all(row.reason and row.path and row.raw for row in bad)
    assert len({row.digest for row in bad}) == len(bad)
    assert await books.rows(schema.inbox) == []


async def test_what_cannot_be_filed_is_set_aside_and_the_webhook_goes_on(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake of ours in one place must not stop the messages of everybody."""
    insert: Callable[..., int] = message_rows.insert

    def broken(connection: Any, **values: Any) -> int:
        if values["wamid"] == "wamid.BAD":
            insert(connection, **values)
            raise RuntimeError("a mistake of ours")
        return insert(connection, **values)

    monkeypatch.setattr(message_rows, "insert", broken)
    await books.tell(live(ANA, ("wamid.A1", "Hola"), ("wamid.BAD", "Uy"), ("wamid.A2", "¿Siguen?")))
    assert await books.said() == ["Hola", "¿Siguen?"]
    [aside] = await books.rows(schema.set_aside)
    assert "RuntimeError" in aside.reason
    assert "wamid.BAD" in aside.raw


async def test_a_body_that_cannot_be_read_at_all_does_not_block_the_others(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The live lane is one queue: what stands at its head must never stay there."""

    def broken(body: bytes) -> Any:
        if b"wamid.BAD" in body:
            raise RuntimeError("a mistake of ours")
        return steps_of(body)

    monkeypatch.setattr(reading, "steps_of", broken)
    await books.tell(
        live(ANA, ("wamid.BAD", "Uy")),
        live(ANA, ("wamid.A1", "Hola")),
        history(BEN, ("wamid.BAD", "Uy", NOW - DAY)),
        history(BEN, ("wamid.H1", "Antes", NOW - DAY)),
    )
    assert sorted(await books.said()) == ["Antes", "Hola"]
    assert await books.rows(schema.inbox) == []
    asides = await books.rows(schema.set_aside)
    assert len(asides) == 2
    assert all("wamid.BAD" in aside.raw for aside in asides)


async def test_every_payload_is_read_to_its_end_once(books: Books) -> None:
    """Whatever Meta sends is filed or set aside, and nothing is left to be read again and again."""
    tables = (schema.messages, schema.set_aside, schema.conversations, schema.contacts, schema.numbers)
    await books.database.write(syncs.add_number, "2002", now=NOW)
    for name, body in PAYLOADS.items():
        await books.tell(body)
        first = [len(await books.rows(table)) for table in tables]
        counters = [row.history_received for row in await books.rows(schema.conversations)]
        await books.tell(body)
        assert [len(await books.rows(table)) for table in tables] == first, name
        assert [row.history_received for row in await books.rows(schema.conversations)] == counters, name
        assert await books.rows(schema.inbox) == [], name
        assert await books.rows(schema.inbox_threads) == [], name


async def test_any_character_that_json_can_say_is_kept(books: Books) -> None:
    """PostgreSQL refuses NUL and UTF-8 has no half characters; the message comes all the same."""
    body = as_bytes(live(Person(wa_id=ANA.wa_id, name="NAME"), ("wamid.ID", "TEXT")))
    odd = {
        b"Ho\\u0000la": "Ho\ufffdla",
        b"Ho\\ud83dla": "Ho\ufffdla",
        b"\\udc00": "\ufffd",
        b"Hola \\ud83d\\ude00": "Hola 😀",
    }
    for number, written in enumerate(odd):
        named = body.replace(b"TEXT", written).replace(b"NAME", written)
        await books.tell(named.replace(b"wamid.ID", b"wamid.%d" % number))
    assert await books.said() == list(odd.values())
    assert await books.rows(schema.set_aside) == []


async def test_odd_characters_anywhere_stop_nothing(books: Books) -> None:
    """An id with a NUL is no id, and the next webhook is read."""
    body = as_bytes(live(ANA, ("wamid.A1", "Hola")))
    for field in ("wamid.A1", NUMBER.phone_number_id, str(ANA.wa_id), "messages", "text"):
        assert field.encode() in body
        for odd in (b"\\u0000", b"\\ud800", b"1" * 500, "ñ".encode() * 300):
            await books.accept(body.replace(field.encode(), odd))
            await books.accept(body.replace(field.encode(), field.encode() + odd))
    await books.tell(live(BEN, ("wamid.B1", "Aquí estoy")))
    assert "Aquí estoy" in await books.said()
    assert await books.rows(schema.inbox) == []


NO_TIMES: list[Any] = [0, "0", -5, "tomorrow", None, []]
ODD_TIMES: list[Any] = [99999999999, "1e300", 1760104640000]


async def test_a_customer_is_heard_whatever_time_a_message_claims(books: Books) -> None:
    """A wrong clock must not cost an answer; a window that opens in the future would never close."""
    for number, timestamp in enumerate(NO_TIMES + ODD_TIMES):
        person = Person(wa_id=f"5215551110{number}00")
        item = webhooks.message(f"wamid.{number}", NOW, "text", {"body": "Hola"}) | {"timestamp": timestamp}
        await books.tell(webhooks.inbound(NUMBER, [(person, item)]))
        assert (await books.conversation(person)).last_customer_at <= NOW, timestamp
    heard = len(NO_TIMES + ODD_TIMES)
    assert [row.state for row in await books.rows(schema.messages)] == ["waiting"] * heard
    assert len(await books.claim(TALK)) == heard


async def test_old_chat_without_a_time_is_set_aside(books: Books) -> None:
    """Rasa would take zero for now; nobody knows where in the chat it belongs."""
    body = as_bytes(history(ANA, ("wamid.H1", "Antes", NOW - DAY), ("wamid.H2", "Luego", 1234567890)))
    for timestamp in NO_TIMES:
        await books.tell(body.replace(b'"1234567890"', msgspec.json.encode(timestamp)))
    assert await books.said() == ["Antes"]
    assert len(await books.rows(schema.set_aside)) == len(NO_TIMES)


async def test_a_webhook_about_another_number_is_kept_aside(books: Books) -> None:
    """It is neither answered nor lost: the owner may have forgotten to sign it up."""
    body = as_bytes(live(ANA, ("wamid.A1", "Hola"))).replace(NUMBER.phone_number_id.encode(), b"111")
    await books.tell(body)
    assert await books.said() == []
    [aside] = await books.rows(schema.set_aside)
    assert "phone_number_id" in aside.reason


async def test_a_restart_goes_on_inside_a_chunk(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk of thousands must not begin again at each restart."""
    told = [(f"wamid.H{n}", f"{n}", NOW - 5000 + n) for n in range(3 * HISTORY_MESSAGES)]
    await books.accept(history(ANA, *told))
    slices = 0
    file_slice = Reader._read_slice

    def dying(self: Reader, *args: Any) -> int | None:
        nonlocal slices
        if slices == 2:
            raise KeyboardInterrupt  # as good as a kill: nothing below catches it
        slices += 1
        return file_slice(self, *args)

    monkeypatch.setattr(Reader, "_read_slice", dying)
    with pytest.raises(KeyboardInterrupt):
        await books.reader.read_history()
    [progress] = await books.rows(schema.inbox_progress)
    assert progress.position == 2 * HISTORY_MESSAGES // THREAD_PART
    assert len(await books.rows(schema.messages)) == 2 * HISTORY_MESSAGES
    monkeypatch.undo()
    await books.read()
    assert len(await books.rows(schema.messages)) == len(told)


async def test_one_customer_is_brought_forward_and_the_rest_waits(books: Books) -> None:
    """Who writes in the middle of a sync must not wait for the chats of everybody."""
    await books.accept(
        history(BEN, ("wamid.B1", "De Ben", NOW - DAY)),
        history(ANA, ("wamid.A1", "De Ana", NOW - DAY)),
        history(BEN, ("wamid.B2", "De Ben", NOW - DAY)),
    )
    await books.reader.bring_forward(["phone:527715268513"])
    assert await books.said() == ["De Ana"]
    assert len(await books.rows(schema.inbox)) == 3
    await books.read()
    assert len(await books.rows(schema.messages)) == 3
    assert (await books.conversation(ANA)).history_received == 1


async def test_a_packed_body_is_brought_forward(books: Books) -> None:
    """A long one is not stored as it came."""
    of_ben = [(f"wamid.B{n}", "De Ben, que escribe mucho", NOW - DAY + n) for n in range(1000)]
    parts = as_bytes(history(BEN, *of_ben)), as_bytes(history(ANA, ("wamid.A1", "De Ana", NOW - DAY)))
    threads = [_chunk(body)["threads"] for body in parts]
    whole = msgspec.json.decode(parts[0])
    whole["entry"][0]["changes"][0]["value"]["history"][0]["threads"] = [*threads[0], *threads[1]]
    await books.accept(msgspec.json.encode(whole))
    [stored] = await books.rows(schema.inbox)
    assert inbox.unpacked(stored.body) == msgspec.json.encode(whole) != stored.body
    await books.reader.bring_forward(["phone:527715268513"])
    assert await books.said() == ["De Ana"]
    await books.read()
    assert len(await books.rows(schema.messages)) == 1001


async def test_a_body_is_not_taken_for_the_one_whose_id_it_got(books: Books) -> None:
    """SQLite gives ids again: a replica that still reads what is done must not finish what came next."""
    await books.accept(history(ANA, ("wamid.A1", "De Ana", NOW - DAY)))
    [done] = await books.database.read(inbox.peek, inbox.HISTORY, now=books.clock())
    assert await books.database.write(inbox.lock, done) == 0
    await books.read()
    books.clock.move(1)
    await books.accept(live(BEN, ("wamid.B1", "De Ben")))
    [row] = await books.rows(schema.inbox)
    assert row.id == done.id or not books.database.is_sqlite
    assert await books.database.write(inbox.lock, done) is None


async def test_a_body_that_cannot_be_unpacked_is_tried_again(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set aside as it is stored, nobody could read it; and the next time there may be room for it."""
    await books.accept(history(ANA, *((f"wamid.A{n}", "De Ana, que escribe", NOW - n) for n in range(1000))))

    def no_room(stored: bytes) -> bytes:
        raise MemoryError

    with monkeypatch.context() as short_of_memory:
        short_of_memory.setattr(inbox, "unpacked", no_room)
        with pytest.raises(MemoryError):
            await books.reader.read_history()
    assert await books.rows(schema.set_aside) == []
    await books.read()
    assert len(await books.rows(schema.messages)) == 1000


def _chunk(body: bytes) -> Any:
    [chunk] = msgspec.json.decode(body)["entry"][0]["changes"][0]["value"]["history"]
    return chunk


async def test_replicas_that_read_side_by_side_file_each_message_once(books: Books, ledger_url: str) -> None:
    """Live and old chat of the same new customers come at the same moment, into two servers."""
    other = Database(ledger_url)
    other.open()
    replicas = [books, Books(other)]
    people = [Person(wa_id=f"521555111{n:04}", name=f"C{n}") for n in range(30)]
    for n, person in enumerate(people):
        told = [(f"wamid.{n}.{m}", f"{n}.{m}", NOW - 5000 + m) for m in range(4)]
        await books.accept(
            history(person, *told), live(person, (f"wamid.{n}.3", f"{n}.3"), (f"wamid.{n}.L", "L"))
        )

    async def read(replica: Books, kind: str) -> None:
        while await getattr(replica.reader, kind)():
            pass

    await asyncio.gather(
        *(read(replica, kind) for replica in replicas for kind in ("read_live", "read_history"))
    )
    await other.close()
    assert await books.rows(schema.set_aside) == []
    assert len(await books.rows(schema.conversations)) == 30
    rows = await books.rows(schema.messages)
    assert len(rows) == 30 * 5
    assert sum(row.source == "live" and row.state == "waiting" for row in rows) == 60
    for conversation in await books.rows(schema.conversations):
        waiting = await books.said(conversation_id=conversation.id, state="waiting")
        assert waiting[-1] == "L"


async def test_an_ignored_number_is_recorded_and_never_answered(books: Books) -> None:
    """Family writes to the same phone."""
    books.rules = filing_rules(ignored=frozenset({"527715268513"}))
    await books.tell(history(ANA, ("wamid.H1", "Antes", NOW - DAY), ("wamid.H2", "Ya", NOW - 60)))
    await books.tell(live(ANA, ("wamid.A1", "¿Cenas en casa?"), ("wamid.H2", "Ya")))
    assert [row.state for row in await books.rows(schema.messages)] == ["kept"] * 3
    assert await books.claim(TALK) == []
    assert await books.claim(IMPORT) == []


async def test_sync_progress_never_falls_and_completion_waits_for_the_import(books: Books) -> None:
    """A shuffled chunk of an earlier phase must not look like a step back."""

    async def status(*keys: str) -> list[Any]:
        found = await books.database.read(syncs.status, NUMBER.phone_number_id)
        assert found is not None
        return [found["history"][key] for key in keys]

    async def complete() -> list[str]:
        return await books.database.write(syncs.complete_what_is_done, now=books.clock(), quiet_seconds=60.0)

    await books.tell(history(ANA, ("wamid.H1", "1", NOW - DAY), phase=1, chunk_order=2, progress=55))
    assert await status("status", "progress", "messages_received") == ["syncing", 55, 1]
    await books.tell(history(ANA, ("wamid.H2", "2", NOW - DAY), phase=0, chunk_order=1, progress=20))
    assert await status("phase", "chunk_order", "progress") == [1, 2, 55]
    books.clock.move(61)
    assert await complete() == []  # the quiet has lasted, but the import waits
    [lease] = await books.claim(IMPORT)
    await books.database.write(history_rows.imported, {lease.conversation_id: 2}, parse_due_at={})
    await books.database.write(queues.release, lease, due_at=None)
    assert await complete() == [NUMBER.phone_number_id]
    assert await status("status", "completed_by", "messages_imported") == ["completed", "quiet", 2]
    await books.tell(history(ANA, ("wamid.H3", "3", NOW - DAY), phase=2, chunk_order=1, progress=100))
    assert await status("status", "progress", "messages_received") == ["completed", 100, 3]


async def test_what_no_statement_can_hold_keeps_nobody_waiting(books: Books) -> None:
    """To Python a limit of SQLite's own looks as if the database were in trouble, and that is tried again."""
    sent = webhooks.message("wamid.P1", NOW, "image", {"id": "1", "mime_type": "image/png", "sha256": "aa"})
    long = webhooks.message("wamid.P2", NOW, "image", {"id": "2", "sha256": "a" * 60_000})
    await books.accept(webhooks.echo(NUMBER, BEN, sent), webhooks.echo(NUMBER, ANA, long))
    await books.accept(live(ANA, ("wamid.A1", "Hola")))
    await asyncio.wait_for(books.read(), 20)
    assert await books.said(source="live") == ["Hola"]
