"""The shape of the store. `payload` is the whole row as JSON; the columns beside it are what is filtered and ordered by.

Payloads are bytes, so that text from containers (which may hold U+0000, refused by PostgreSQL) is kept as it came.
`mark` is the SHA-256 of a payload: a message repeated by an agent is stored once.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()
SERIAL = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER PRIMARY KEY counts by itself in SQLite
TEXT_LIMIT = 512


def _log(name: str, *columns: Column[str]) -> Table:
    """A table of things that happened: appended to, oldest removed above its limit."""
    return Table(
        name,
        metadata,
        Column("id", SERIAL, primary_key=True),
        Column("mark", String(64), nullable=False, unique=True),
        Column("time_ns", BigInteger, nullable=False),
        *columns,
        Column("payload", LargeBinary, nullable=False),
        Index(f"{name}_time", "time_ns"),
    )


def _text(name: str, *, index: bool = False) -> Column[str]:
    return Column(name, String(TEXT_LIMIT), nullable=False, index=index)


nodes = Table(
    "nodes",
    metadata,
    Column("node", String(TEXT_LIMIT), primary_key=True),
    Column("time_ns", BigInteger, nullable=False),
    _text("version"),
    Column("greeted_ns", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
)
containers = Table(
    "containers",
    metadata,
    Column("id", String(TEXT_LIMIT), primary_key=True),
    Column("time_ns", BigInteger, nullable=False),
    _text("node"),
    _text("name", index=True),
    _text("state"),
    _text("image_digest"),
    Column("payload", LargeBinary, nullable=False),
    Index("containers_time", "time_ns"),
)
alerts = Table(
    "alerts",
    metadata,
    Column("id", String(TEXT_LIMIT), primary_key=True),
    Column("time_ns", BigInteger, nullable=False),
    _text("node"),
    _text("rule"),
    _text("priority"),
    _text("container", index=True),
    _text("container_name"),
    _text("image_digest"),
    _text("silenced_by"),
    Column("payload", LargeBinary, nullable=False),
    Index("alerts_time", "time_ns"),
)
# Alerts in order of arrival, for the sinks; `id` counts without holes, so that a hole is what was pruned before it was sent.
outgoing = Table(
    "outgoing",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("alert", String(TEXT_LIMIT), nullable=False),
)
sinks = Table(
    "sinks",
    metadata,
    Column("name", String(TEXT_LIMIT), primary_key=True),
    Column("time_ns", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("sent", BigInteger, nullable=False),
    Column("lost", BigInteger, nullable=False),
    Column("failing_since_ns", BigInteger, nullable=False),
    Column("error", Text, nullable=False),
)
evidence = Table(
    "evidence",
    metadata,
    Column("bundle", String(TEXT_LIMIT), primary_key=True),
    Column("time_ns", BigInteger, nullable=False),
    _text("node"),
    _text("container"),
    _text("alert"),
    Column("payload", LargeBinary, nullable=False),
    Index("evidence_time", "time_ns"),
)
health = _log("health", _text("node"))
events = _log("events", _text("node"), _text("container", index=True), _text("kind"))
steps = _log("steps", _text("digest", index=True), _text("image"), _text("step"))
admissions = _log("admissions", _text("node"), _text("subject"), _text("allowed"), _text("image_digest"))
responses = _log(
    "responses", _text("node"), _text("plan", index=True), _text("alert"), _text("container"), _text("step"), _text("status")
)
silences = Table(
    "silences",
    metadata,
    Column("id", String(TEXT_LIMIT), primary_key=True),
    Column("time_ns", BigInteger, nullable=False),
    Column("until_ns", BigInteger, nullable=False),
    _text("rule"),
    _text("container_name"),
    Column("payload", LargeBinary, nullable=False),
)
commands = Table(
    "commands",
    metadata,
    Column("id", String(TEXT_LIMIT), primary_key=True),
    Column("time_ns", BigInteger, nullable=False),
    _text("node"),
    _text("action"),
    _text("target", index=True),
    _text("actor"),
    Column("reason", Text, nullable=False),
    _text("state"),
    Column("detail", Text, nullable=False),
    Column("ended_ns", BigInteger, nullable=False),
    Index("commands_time", "time_ns"),
)
audit = Table(
    "audit",
    metadata,
    Column("id", SERIAL, primary_key=True),
    Column("time_ns", BigInteger, nullable=False),
    _text("actor"),
    _text("action"),
    _text("target"),
    Column("detail", Text, nullable=False),
    Index("audit_time", "time_ns"),
)
logins = Table(
    "logins",
    metadata,
    Column("hash", String(64), primary_key=True),
    _text("actor"),
    Column("created_ns", BigInteger, nullable=False),
    Column("ends_ns", BigInteger, nullable=False),
    Column("used_ns", BigInteger, nullable=False),
)
sessions = Table(
    "sessions",
    metadata,
    Column("hash", String(64), primary_key=True),
    _text("actor"),
    Column("created_ns", BigInteger, nullable=False),
    Column("seen_ns", BigInteger, nullable=False),
    Column("ends_ns", BigInteger, nullable=False),
)
