"""The ledger's tables and their numbered upgrades."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from rasa_coexistence.errors import SchemaTooNew
from rasa_coexistence.ledger import dialects, schema_history, schema_jobs, schema_onboarding
from rasa_coexistence.ledger.columns import Bytes, Id, Time, metadata

schema_version = sa.Table(
    "coexistence_schema",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
)

# What Meta sent and nobody has read yet. A body that has been read is deleted: its content lives on below.
inbox = sa.Table(
    "coexistence_inbox",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("lane", sa.String(8), nullable=False),  # live | history
    sa.Column("body", Bytes, nullable=False),
    sa.Column("received_at", Time, nullable=False),
    sa.Column("not_before", Time, nullable=False, default=0.0),  # after a failed try
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Index("coexistence_inbox_lane", "lane", "id"),
)

# How far a body is read. Apart from it, because to change a row is to write it anew, all half a megabyte.
inbox_progress = sa.Table(
    "coexistence_inbox_progress",
    metadata,
    sa.Column("inbox_id", Id, primary_key=True, autoincrement=False),
    sa.Column("position", sa.Integer, nullable=False),  # steps that are filed already
)

# Whose history an unread body holds, so that one customer's part can be brought forward.
inbox_threads = sa.Table(
    "coexistence_inbox_threads",
    metadata,
    sa.Column("alias", sa.String(160), primary_key=True),
    sa.Column("inbox_id", Id, primary_key=True),
    sa.Index("coexistence_inbox_threads_inbox", "inbox_id"),
)

# What could not be read or acted on, with its reason; it can be replayed.
set_aside = sa.Table(
    "coexistence_set_aside",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("raw", sa.Text, nullable=False),  # JSON
    sa.Column("webhook", sa.Text),  # a body with nothing else in it; NULL: there is nothing to read again
    sa.Column("received_at", Time, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),  # a redelivery is kept once
)

numbers = sa.Table(
    "coexistence_numbers",
    metadata,
    sa.Column("phone_number_id", sa.String(64), primary_key=True),
    sa.Column("display_phone_number", sa.String(32)),  # digits only
    sa.Column("waba_id", sa.String(64)),
    sa.Column("state", sa.String(16), nullable=False, default="connected"),  # records.NumberState
    sa.Column("state_reason", sa.Text),
    sa.Column("state_changed_at", Time),  # Meta's time of the event that changed it
    sa.Column("state_until", Time),  # when a restriction ends by itself
    sa.Column("access_token", sa.Text),  # Fernet; NULL: the one of credentials.yml
    sa.Column("token_expires_at", Time),
    sa.Column("onboarding", sa.String(64)),  # the one whose syncs count; NULL: none, or it was undone
    sa.Column("onboarded_at", Time),
    sa.Column("check_due_at", Time),  # when to ask Meta how the number is
    sa.Column("checked_at", Time),
    sa.Column("warned_at", Time),  # of the phone app being silent
    sa.Column("last_phone_activity_at", Time),  # an echo or contact change: the app is alive
    sa.Column("hold", sa.Boolean, nullable=False, default=False),  # "bot off now" for the whole number
    sa.Column("hold_until", Time),
    sa.Column("send_slot_at", Time, nullable=False, default=0.0),  # next free slot of the 20 a second (GCRA)
    sa.Column("stopped_until", Time),  # nothing is tried before: what was tried last failed for all
    sa.Column("created_at", Time, nullable=False),
)

conversations = sa.Table(
    "coexistence_conversations",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("phone_number_id", sa.String(64), nullable=False),
    sa.Column("sender_id", sa.String(255), nullable=False, unique=True),  # Rasa's; never changes
    sa.Column("created_at", Time, nullable=False),
    sa.Column("merged_into", Id),  # the older conversation of the same person
    # who it is, for replying
    sa.Column("wa_id", sa.String(64)),
    sa.Column("user_id", sa.String(160)),
    sa.Column("username", sa.Text),
    sa.Column("name", sa.Text),
    # who may speak: records.Takeover
    sa.Column("takeover", sa.String(8), nullable=False, default="bot"),  # bot | timed | hold
    sa.Column("takeover_until", Time),
    sa.Column("takeover_since", Time),
    sa.Column("takeover_reason", sa.String(32)),
    sa.Column("takeover_wamid", sa.Text),  # the echo that caused it
    sa.Column(
        "takeover_before", sa.Text
    ),  # JSON: who had it before the phone, should no echo prove a person's
    sa.Column("wants_person", sa.Boolean, nullable=False, default=False),
    sa.Column("tracker_paused", sa.Boolean, nullable=False, default=False),  # what Rasa was told last
    sa.Column("resumes", sa.Integer, nullable=False, default=0),  # how often the bot went on; names each time
    sa.Column("handed_back_at", Time),  # echoes older than this do not take the chat again
    # times that decide
    sa.Column("last_customer_at", Time),  # live inbound only: opens the 24-hour window
    sa.Column("first_live_at", Time),
    sa.Column("last_business_at", Time),  # a person's newest message, from phone or history
    sa.Column("pair_slot_at", Time, nullable=False, default=0.0),  # next free slot of the pair rate (GCRA)
    # history
    sa.Column("history_received", sa.Integer, nullable=False, default=0),
    sa.Column("history_imported", sa.Integer, nullable=False, default=0),
    sa.Column("import_due_at", Time),  # NULL: the tracker has all that the ledger has
    sa.Column("import_error", sa.Text),  # why the tracker store did not take it
    sa.Column("import_attempts", sa.Integer, nullable=False, default=0),  # in a row that failed
    sa.Column("parse_due_at", Time),  # NULL: NLU has read all that it shall read
    sa.Column(
        "context_of", sa.Integer, nullable=False, default=-1
    ),  # history_imported when the slots were set
    # two queues: turns and imports exclude each other, sending goes beside them
    sa.Column("talk_due_at", Time),
    sa.Column("talk_lease", sa.String(64)),
    sa.Column("talk_lease_until", Time),
    sa.Column("send_due_at", Time),
    sa.Column("send_lease", sa.String(64)),
    sa.Column("send_lease_until", Time),
    sa.Index("coexistence_conversations_talk", "talk_due_at"),
    sa.Index("coexistence_conversations_send", "send_due_at"),
    sa.Index("coexistence_conversations_import", "import_due_at"),
    sa.Index("coexistence_conversations_parse", "parse_due_at"),
    sa.Index("coexistence_conversations_number", "phone_number_id", "id"),
)

# Every id that leads to a conversation, in the one form that ``identity.aliases`` gives.
aliases = sa.Table(
    "coexistence_aliases",
    metadata,
    sa.Column("phone_number_id", sa.String(64), primary_key=True),
    sa.Column("alias", sa.String(160), primary_key=True),
    sa.Column("conversation_id", Id, nullable=False),
    sa.Index("coexistence_aliases_conversation", "conversation_id"),
)

contacts = sa.Table(
    "coexistence_contacts",
    metadata,
    sa.Column("phone_number_id", sa.String(64), primary_key=True),
    sa.Column("alias", sa.String(160), primary_key=True),
    sa.Column("full_name", sa.Text),
    sa.Column("first_name", sa.Text),
    sa.Column("username", sa.Text),
    sa.Column("same_as", sa.String(160), nullable=False),  # the first alias given with this one: one person
    sa.Column("removed", sa.Boolean, nullable=False, default=False),
    sa.Column("changed_at", Time, nullable=False),  # the item's own time: older changes are ignored
    sa.Index("coexistence_contacts_person", "phone_number_id", "same_as"),
)

# One row a message, whichever door it came through.
messages = sa.Table(
    "coexistence_messages",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("phone_number_id", sa.String(64), nullable=False),
    sa.Column("conversation_id", Id, nullable=False),
    sa.Column("wamid", sa.Text, nullable=False),
    sa.Column("inner_id", sa.String(64)),  # ``identity.inner_id(wamid)``; NULL when it cannot be decoded
    sa.Column("from_business", sa.Boolean, nullable=False),
    sa.Column("source", sa.String(8), nullable=False),  # live | phone | history | bot
    sa.Column("state", sa.String(10), nullable=False),  # records.MessageState
    sa.Column("type", sa.String(32), nullable=False),
    sa.Column("text", sa.Text),
    sa.Column("content", sa.Text),  # JSON of events.Content, less what the columns say; NULL for plain text
    sa.Column("raw", sa.Text),  # Meta's object; NULL for plain text of the history
    sa.Column("sent_at", Time),  # Meta's time
    sa.Column("received_at", Time, nullable=False),
    sa.Column("status", sa.String(12)),
    sa.Column("edited_text", sa.Text),  # the text before an edit
    sa.Column("revoked", sa.Boolean, nullable=False, default=False),
    sa.Column("by_person", sa.Boolean),  # from the phone: typed, not made by the app, and no keyword
    sa.Column("target", sa.Text),  # of an edit or revoke: what it is about, inner id before wamid
    sa.Index("coexistence_messages_wamid", "phone_number_id", "wamid", unique=True),
    sa.Index("coexistence_messages_inner", "conversation_id", "inner_id"),
    sa.Index("coexistence_messages_queue", "conversation_id", "state", "id"),
    # Only what came from the phone: history is not slowed by it.
    sa.Index(
        "coexistence_messages_phone",
        "received_at",
        sqlite_where=sa.text("source = 'phone'"),
        postgresql_where=sa.text("source = 'phone'"),
    ),
    sa.Index(
        "coexistence_messages_target",
        "conversation_id",
        "target",
        sqlite_where=sa.text("target IS NOT NULL"),
        postgresql_where=sa.text("target IS NOT NULL"),
    ),
)

outbox = sa.Table(
    "coexistence_outbox",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("conversation_id", Id, nullable=False),
    sa.Column("cause", sa.String(1200), nullable=False),  # wamid, or a new id for a reminder or resume
    sa.Column("ordinal", sa.Integer, nullable=False),
    sa.Column("body", sa.Text, nullable=False),  # JSON for POST /messages, less recipient and callback data
    sa.Column("text", sa.Text),  # what a person would read
    sa.Column("state", sa.String(16), nullable=False),  # records.BubbleState
    sa.Column("reason", sa.Text),
    sa.Column("code", sa.Integer),  # Meta's
    sa.Column("wamid", sa.Text),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("not_before", Time, nullable=False, default=0.0),
    sa.Column("slot_at", Time),  # the slot of the number that it has taken
    sa.Column("created_at", Time, nullable=False),
    sa.Column("changed_at", Time, nullable=False),
    sa.Column("marked", sa.Boolean, nullable=False, default=False),  # the tracker knows that it was held back
    sa.UniqueConstraint("conversation_id", "cause", "ordinal", name="coexistence_outbox_bubble"),
    sa.Index("coexistence_outbox_queue", "conversation_id", "state", "id"),
    sa.Index("coexistence_outbox_wamid", "wamid"),
    sa.Index("coexistence_outbox_state", "state", "changed_at"),
)

# Payloads of buttons we sent whose id had to be shortened: what comes back is looked up here.
payloads = sa.Table(
    "coexistence_payloads",
    metadata,
    sa.Column("conversation_id", Id, primary_key=True),
    sa.Column("button_id", sa.String(256), primary_key=True),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("created_at", Time, nullable=False),
)

syncs = sa.Table(
    "coexistence_syncs",
    metadata,
    sa.Column("phone_number_id", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(8), primary_key=True),  # history | contacts
    sa.Column("state", sa.String(12), nullable=False, default="not_started"),  # records.SyncState
    sa.Column("request_id", sa.Text),
    sa.Column("requested_at", Time),
    sa.Column("phase", sa.Integer),
    sa.Column("chunk_order", sa.Integer),
    sa.Column("progress", sa.Integer, nullable=False, default=0),  # highest seen
    sa.Column("last_chunk_at", Time),
    sa.Column("completed_at", Time),
    sa.Column("completed_by", sa.String(8)),  # progress | quiet
    sa.Column("error", sa.Text),
    sa.Column("received", sa.Integer, nullable=False, default=0),  # contacts
)

chunks = sa.Table(
    "coexistence_chunks",
    metadata,
    sa.Column("phone_number_id", sa.String(64), primary_key=True),
    sa.Column("phase", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("chunk_order", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("progress", sa.Integer),
    sa.Column("messages", sa.Integer, nullable=False),
    sa.Column("received_at", Time, nullable=False),
)


def _create_all(connection: Any) -> None:
    for one in (schema_history.parses, schema_jobs.jobs, schema_onboarding.steps):  # one metadata
        one.metadata.create_all(connection)


# UPGRADES[n] brings a database from version n to n + 1. Add at the end; never change one that was released.
UPGRADES: list[Callable[[Any], None]] = [_create_all]
SCHEMA_VERSION = len(UPGRADES)


def upgrade(connection: Any) -> None:
    """Bring the tables to this package's version; raise SchemaTooNew when a newer one wrote them."""
    dialects.serialize(connection, dialects.UPGRADE)
    schema_version.create(connection, checkfirst=True)
    found = connection.execute(sa.select(schema_version.c.version)).scalar() or 0
    if found > SCHEMA_VERSION:
        raise SchemaTooNew(found, SCHEMA_VERSION)
    for step in UPGRADES[found:]:
        step(connection)
    if found < SCHEMA_VERSION:
        connection.execute(schema_version.delete())
        connection.execute(schema_version.insert().values(version=SCHEMA_VERSION))
