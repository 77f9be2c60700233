"""What all tables of the ledger are made of."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite numbers only INTEGER keys by itself
Bytes = sa.LargeBinary
Time = sa.Float(53)  # Unix seconds, UTC
