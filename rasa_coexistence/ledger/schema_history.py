"""The tables of what is made of old messages besides their events."""

from __future__ import annotations

import sqlalchemy as sa

from rasa_coexistence.ledger.columns import Id, metadata

# What NLU made of an old message, where ``history.parse`` asks for it.
parses = sa.Table(
    "coexistence_parses",
    metadata,
    sa.Column("message_id", Id, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.String(32), nullable=False),  # of the text: an edited message is parsed again
    sa.Column("parse", sa.Text, nullable=False),  # JSON: intent and entities
)

# What the event broker was told, where ``history.publish_events`` asks for it.
published = sa.Table(
    "coexistence_published",
    metadata,
    sa.Column("message_id", Id, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.String(32), nullable=False),  # of the event: a changed one is told again
)
