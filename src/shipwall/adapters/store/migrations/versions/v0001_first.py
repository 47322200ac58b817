"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(512), nullable=False)


def _big(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


def _payload() -> sa.Column[bytes]:
    return sa.Column("payload", sa.LargeBinary, nullable=False)


def _key(name: str, length: int = 512) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), primary_key=True)


def _log(name: str, *columns: str, indexed: str = "") -> None:
    op.create_table(
        name,
        sa.Column("id", _SERIAL, primary_key=True),
        sa.Column("mark", sa.String(64), nullable=False, unique=True),
        _big("time_ns"),
        *(_text(column) for column in columns),
        _payload(),
    )
    op.create_index(f"{name}_time", name, ["time_ns"])
    if indexed:
        op.create_index(f"ix_{name}_{indexed}", name, [indexed])


def upgrade() -> None:
    """Make every table."""
    op.create_table("nodes", _key("node"), _big("time_ns"), _text("version"), _big("greeted_ns"), _payload())
    op.create_table(
        "containers", _key("id"), _big("time_ns"), _text("node"), _text("name"), _text("state"), _text("image_digest"), _payload()
    )
    op.create_index("ix_containers_name", "containers", ["name"])
    op.create_index("containers_time", "containers", ["time_ns"])
    op.create_table(
        "alerts",
        _key("id"),
        _big("time_ns"),
        *(_text(name) for name in ("node", "rule", "priority", "container", "container_name", "image_digest", "silenced_by")),
        _payload(),
    )
    op.create_index("ix_alerts_container", "alerts", ["container"])
    op.create_index("alerts_time", "alerts", ["time_ns"])
    op.create_table("evidence", _key("bundle"), _big("time_ns"), _text("node"), _text("container"), _text("alert"), _payload())
    op.create_index("evidence_time", "evidence", ["time_ns"])
    _log("health", "node")
    _log("events", "node", "container", "kind", indexed="container")
    _log("steps", "digest", "image", "step", indexed="digest")
    _log("admissions", "node", "subject", "allowed", "image_digest")
    _log("responses", "node", "plan", "alert", "container", "step", "status", indexed="plan")
    op.create_table("silences", _key("id"), _big("time_ns"), _big("until_ns"), _text("rule"), _text("container_name"), _payload())
    op.create_table(
        "commands",
        _key("id"),
        _big("time_ns"),
        *(_text(name) for name in ("node", "action", "target", "actor")),
        sa.Column("reason", sa.Text, nullable=False),
        _text("state"),
        sa.Column("detail", sa.Text, nullable=False),
        _big("ended_ns"),
    )
    op.create_index("ix_commands_target", "commands", ["target"])
    op.create_index("commands_time", "commands", ["time_ns"])
    op.create_table(
        "audit",
        sa.Column("id", _SERIAL, primary_key=True),
        _big("time_ns"),
        _text("actor"),
        _text("action"),
        _text("target"),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("audit_time", "audit", ["time_ns"])
    op.create_table("logins", _key("hash", 64), _text("actor"), _big("created_ns"), _big("ends_ns"), _big("used_ns"))
    op.create_table("sessions", _key("hash", 64), _text("actor"), _big("created_ns"), _big("seen_ns"), _big("ends_ns"))


def downgrade() -> None:
    """Not offered: the store is evidence."""
    raise NotImplementedError
