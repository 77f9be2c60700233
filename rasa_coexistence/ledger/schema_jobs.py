"""The tables of what is asked of the server from outside, and of what it tells the outside."""

from __future__ import annotations

import sqlalchemy as sa

from rasa_coexistence.ledger.columns import Id, Time, metadata

# What the command line and the API ask of the server. A job of a conversation is done under its lease.
jobs = sa.Table(
    "coexistence_jobs",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("conversation_id", Id),
    sa.Column("phone_number_id", sa.String(64)),
    sa.Column("arguments", sa.Text, nullable=False),  # JSON
    sa.Column("state", sa.String(8), nullable=False),  # records.JobState
    sa.Column("outcome", sa.Text),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("not_before", Time, nullable=False, default=0.0),  # after a failed try, or while it is done
    sa.Column("created_at", Time, nullable=False),
    sa.Column("ended_at", Time),
    sa.Index("coexistence_jobs_waiting", "state", "conversation_id"),
)

# What a person must hear of, on its way to ``notify_url``.
notices = sa.Table(
    "coexistence_notices",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("event", sa.String(32), nullable=False),
    sa.Column("about", sa.String(1200), nullable=False),  # tells two notices of one event apart
    sa.Column("conversation_id", Id),
    sa.Column("body", sa.Text, nullable=False),  # JSON
    sa.Column("state", sa.String(8), nullable=False),  # waiting | sent | failed
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("not_before", Time, nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.UniqueConstraint("event", "about", name="coexistence_notices_once"),
    sa.Index("coexistence_notices_waiting", "state", "not_before"),
)
