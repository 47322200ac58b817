"""Alerts on their way to sinks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the two tables."""
    op.create_table(
        "outgoing",
        sa.Column("id", _BIG, primary_key=True, autoincrement=False),
        sa.Column("alert", sa.String(512), nullable=False),
    )
    op.create_table(
        "sinks",
        sa.Column("name", sa.String(512), primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("time_ns", "position", "sent", "lost", "failing_since_ns")),
        sa.Column("error", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Remove them."""
    for name in ("sinks", "outgoing"):
        op.drop_table(name)
