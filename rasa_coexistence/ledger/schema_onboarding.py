"""The tables about how numbers come and go."""

from __future__ import annotations

import sqlalchemy as sa

from rasa_coexistence.ledger.columns import Id, Time, metadata

# One a sign-up, or one a number that was onboarded elsewhere and asks for its syncs here.
onboardings = sa.Table(
    "coexistence_onboardings",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("code_digest", sa.String(64), unique=True),  # of the sign-up's code; NULL: onboarded elsewhere
    sa.Column("waba_id", sa.String(64)),
    sa.Column("phone_number_id", sa.String(64)),  # NULL: not known yet
    sa.Column("access_token", sa.Text),  # Fernet; moves to the number when that is known
    sa.Column("token_expires_at", Time),
    sa.Column("state", sa.String(12), nullable=False),  # records.OnboardingState
    sa.Column("trouble", sa.String(32)),  # what it waits for or failed of: onboarding.troubles
    sa.Column("details", sa.Text),  # JSON: what the trouble's sentence names
    sa.Column("attempts", sa.Integer, nullable=False, default=0),  # in a row without getting on
    sa.Column("began_at", Time, nullable=False),
    sa.Column("deadline_at", Time),  # for the syncs; NULL: only Meta knows
    sa.Column("warned_hours", sa.Integer),  # before the deadline, at the last warning
    sa.Column("due_at", Time),  # when to go on
    sa.Column("lease", sa.String(64)),
    sa.Column("lease_until", Time),
    sa.Column("ended_at", Time),
    sa.Index("coexistence_onboardings_due", "state", "due_at"),
)

# Each step of an onboarding, written before it is made; one try of a step that Meta allows once.
steps = sa.Table(
    "coexistence_steps",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("onboarding", sa.String(64), nullable=False),
    sa.Column("step", sa.String(32), nullable=False),
    sa.Column("state", sa.String(12), nullable=False),  # records.StepState
    sa.Column("outcome", sa.Text),
    sa.Column("begun_at", Time, nullable=False),
    sa.Column("ended_at", Time),
    sa.UniqueConstraint("onboarding", "step", name="coexistence_steps_once"),
)

# Business numbers and WABAs that webhooks name and we do not serve; what they said is set aside.
strangers = sa.Table(
    "coexistence_strangers",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),  # phone_number_id or waba_id
    sa.Column("items", sa.Integer, nullable=False),
    sa.Column("first_at", Time, nullable=False),
    sa.Column("last_at", Time, nullable=False),
)
