"""The store's one door: messages in, rows out. Every method is one transaction; every method may be called from any thread.

Raises of all methods: StorageError (local disk: full, read-only, damaged) and RemoteError (PostgreSQL unreachable), each one line;
nothing is half-written then, and the same call may be made again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine

from shipwall.adapters.store import tables as t
from shipwall.adapters.store.database import make_engine, migrate, one_line_errors, parse_database_url
from shipwall.model.alert import Alert, Silence
from shipwall.model.container import ContainerFacts
from shipwall.model.digest import digest_of
from shipwall.model.errors import InputError
from shipwall.model.wire import (
    Admission,
    AlertRaised,
    AnyMessage,
    Command,
    ContainerSeen,
    EventsSeen,
    EvidenceStored,
    Health,
    Hello,
    ImageStep,
    ResponseStep,
)

Row = dict[str, Any]
_MAX_TIME_NS = 2**63 - 1
_PRUNE_EVERY = 500  # messages between two looks at the limits
_TABLES = {
    "alerts": t.alerts,
    "containers": t.containers,
    "steps": t.steps,
    "evidence": t.evidence,
    "health": t.health,
    "nodes": t.nodes,
    "admissions": t.admissions,
    "responses": t.responses,
    "events": t.events,
    "silences": t.silences,
    "commands": t.commands,
    "audit": t.audit,
    "sinks": t.sinks,
}
_FIELDS: dict[str, type[msgspec.Struct]] = {
    "alerts": Alert,
    "containers": ContainerFacts,
    "steps": ImageStep,
    "evidence": EvidenceStored,
    "health": Health,
    "admissions": Admission,
    "responses": ResponseStep,
    "silences": Silence,
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many rows of each kind are kept; the oldest above go. Evidence rows only name bundles: the bundles stay on disk."""

    events: int = 200_000
    alerts: int = 50_000
    admissions: int = 50_000
    responses: int = 50_000
    steps: int = 20_000
    health: int = 5_000
    containers: int = 5_000
    evidence: int = 10_000
    silences: int = 5_000
    commands: int = 10_000
    audit: int = 100_000
    outgoing: int = 50_000


@dataclass(frozen=True, kw_only=True)
class SinkState:
    """How far a sink is. `position`: of the last alert it took or did not want. `error` is empty while it takes them.

    `lost`: alerts that were pruned before it took them. `time_ns`: of the last change.
    """

    name: str
    time_ns: int
    position: int
    sent: int = 0
    lost: int = 0
    failing_since_ns: int = 0
    error: str = ""


def open_store(database: str, limits: Limits | None = None) -> Store:
    """The store at `database` (URL), migrated. Raises InputError (URL), StorageError, RemoteError."""
    engine = make_engine(parse_database_url(database))
    try:
        migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return Store(engine, limits or Limits())


class Store:
    """See the module. Made by `open_store`."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._engine = engine
        self._limits = limits
        self._insert: Any = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        self._writing = threading.Lock()
        self._since_pruning = 0

    @property
    def place(self) -> str:
        """Where the rows are, for logs; without password."""
        return str(self._engine.url.render_as_string(hide_password=True))

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    # What agents say

    def record(self, messages: Sequence[AnyMessage]) -> set[str]:
        """Keep `messages`, all or none; a repeated one changes nothing. The kinds of rows (as for `rows`) that may have changed.

        Raises InputError when a message can never be kept (a time that is none).
        """
        changed: set[str] = set()
        with self._write() as connection:
            for message in messages:
                changed |= self._keep(connection, message)
        self._since_pruning += len(messages)
        if self._since_pruning >= _PRUNE_EVERY:
            self.prune()
        return changed

    def greet(self, hello: Hello, now_ns: int) -> None:
        """Keep that the agent of a node came."""
        values = {"node": _text(hello.node), "time_ns": 0, "version": _text(hello.version), "greeted_ns": now_ns, "payload": b""}
        with self._write() as connection:
            statement = self._insert(t.nodes).values(values)
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["node"], set_={"version": values["version"], "greeted_ns": values["greeted_ns"]}
                )
            )

    # What people ask

    def rows(self, what: str, where: dict[str, str] | None = None, limit: int = 1000) -> list[Row]:
        """The newest `limit` rows of `what` that match, oldest first.

        `where`: equality on columns or fields of the answer, as text (`true`/`false`, empty for none); `id-prefix` matches how the id
        begins. Raises InputError for an unknown kind or field.
        """
        table = _TABLES.get(what)
        if table is None:
            raise InputError(f"query for {what[:40]!r}", "is not kept here", "ask for one of " + ", ".join(sorted(_TABLES)))
        query = sa.select(table).order_by(table.c.time_ns.desc(), next(iter(table.primary_key.columns)).desc())
        rest: dict[str, str] = {}
        for field, value in (where or {}).items():
            column = table.c.get(field)
            if field == "id-prefix":
                query = query.where(next(iter(table.primary_key.columns)).startswith(_text(value), autoescape=True))
            elif column is not None and isinstance(column.type, sa.String):
                query = query.where(column == _text(value))
            elif what != "events" and field not in _known(what):
                raise InputError(
                    f"query for {what}", f"has no field {field[:40]!r}", "fields: " + ", ".join(sorted(_known(what)))
                )
            else:
                rest[field] = value
        if not rest:
            query = query.limit(max(0, limit))
        found: list[Row] = []
        with self._read() as connection:
            result = connection.execution_options(yield_per=500).execute(query)
            for record in result.mappings():
                if len(found) >= limit:
                    break
                row = _row(what, dict(record))
                if all(_as_text(row.get(field)) == value for field, value in rest.items()):
                    found.append(row)
            result.close()
        found.reverse()
        return found

    def counts(self, since_ns: int) -> dict[str, dict[str, int]]:
        """How many `alerts` by priority (silenced ones apart, as `silenced`) and `admissions` by allowed since then, and
        `containers` by state now."""
        silenced = sa.case((t.alerts.c.silenced_by != "", "silenced"), else_=t.alerts.c.priority)
        queries = {
            "alerts": sa.select(silenced, sa.func.count()).where(t.alerts.c.time_ns >= since_ns).group_by(silenced),
            "admissions": sa.select(t.admissions.c.allowed, sa.func.count())
            .where(t.admissions.c.time_ns >= since_ns)
            .group_by(t.admissions.c.allowed),
            "containers": sa.select(t.containers.c.state, sa.func.count()).group_by(t.containers.c.state),
        }
        with self._read() as connection:
            return {name: {str(key): int(n) for key, n in connection.execute(query)} for name, query in queries.items()}

    def find_container(self, target: str) -> tuple[str, ContainerFacts]:
        """Node and facts of the one container that `target` (id, beginning of an id of at least 4 digits, or name) means.

        Of several with the same name, the one that is not gone. Raises InputError when none or several are meant.
        """
        c = t.containers.c
        wanted = _text(target)
        is_prefix = c.id.startswith(wanted, autoescape=True) if len(wanted) >= 4 else sa.false()
        query = sa.select(t.containers).where(sa.or_(c.id == wanted, c.name == wanted, is_prefix)).limit(50)
        with self._read() as connection:
            found = list(connection.execute(query).mappings())
        for narrower in (
            [row for row in found if row["id"] == wanted],
            [row for row in found if row["name"] == wanted and row["state"] not in {"gone", "exited"}],
            [row for row in found if row["name"] == wanted],
            found,
        ):
            if len(narrower) == 1:
                row = _row("containers", dict(narrower[0]))
                return str(row["node"]), msgspec.convert(row, ContainerFacts)
            if narrower:
                raise InputError(f"container {target[:80]!r}", f"means {len(narrower)} containers", "name it by its id")
        raise InputError(f"container {target[:80]!r}", "is not known here", "shipwall container list")

    # What people do

    def set_silence(self, silence: Silence) -> None:
        """Keep `silence`, or what became of it (an earlier end)."""
        _check_time(silence.created_ns, silence.until_ns)
        values = {
            "id": _text(silence.id),
            "time_ns": silence.created_ns,
            "until_ns": silence.until_ns,
            "rule": _text(silence.rule),
            "container_name": _text(silence.container_name),
            "payload": msgspec.json.encode(silence),
        }
        with self._write() as connection:
            self._upsert(connection, t.silences, values)

    def silences(self, now_ns: int) -> list[Silence]:
        """The silences that hold at `now_ns`, oldest first."""
        query = sa.select(t.silences.c.payload).where(t.silences.c.until_ns > now_ns).order_by(t.silences.c.time_ns)
        with self._read() as connection:
            return [msgspec.json.decode(payload, type=Silence) for (payload,) in connection.execute(query)]

    def begin_command(self, command: Command, node: str, now_ns: int) -> None:
        """Keep that `command` goes to the agent of `node`. Call BEFORE it goes."""
        values = {
            "id": _text(command.id),
            "time_ns": now_ns,
            "node": _text(node),
            "action": _text(command.action),
            "target": _text(command.target),
            "actor": _text(command.actor),
            "reason": _text(command.reason, 10_000),
            "state": "asked",
            "detail": "",
            "ended_ns": 0,
        }
        with self._write() as connection:
            connection.execute(sa.insert(t.commands).values(values))

    def end_command(self, command_id: str, state: str, detail: str, now_ns: int) -> None:
        """Keep what became of a command: `state` done, failed or unanswered."""
        with self._write() as connection:
            connection.execute(
                sa.update(t.commands)
                .where(t.commands.c.id == _text(command_id))
                .values(state=_text(state), detail=_text(detail, 10_000), ended_ns=now_ns)
            )

    def note(self, actor: str, action: str, target: str, detail: str, now_ns: int) -> None:
        """Keep who did what, for the audit."""
        values = {"time_ns": now_ns, "actor": _text(actor), "action": _text(action), "target": _text(target)}
        with self._write() as connection:
            connection.execute(sa.insert(t.audit).values(**values, detail=_text(detail, 10_000)))

    # Who may look (hashes only; see server/sessions.py)

    def add_login(self, token_hash: str, actor: str, now_ns: int, ends_ns: int) -> None:
        """Keep a one-time login token; forget those that ended."""
        with self._write() as connection:
            connection.execute(sa.delete(t.logins).where(t.logins.c.ends_ns <= now_ns))
            values = {"hash": token_hash, "actor": _text(actor), "created_ns": now_ns, "ends_ns": ends_ns, "used_ns": 0}
            connection.execute(sa.insert(t.logins).values(values))

    def use_login(self, token_hash: str, now_ns: int) -> str | None:
        """The actor of an unused, unexpired token, which is used up by this; None for any other."""
        c = t.logins.c
        with self._write() as connection:
            used = connection.execute(
                sa.update(t.logins).where(c.hash == token_hash, c.used_ns == 0, c.ends_ns > now_ns).values(used_ns=now_ns)
            )
            if used.rowcount != 1:
                return None
            return str(connection.execute(sa.select(c.actor).where(c.hash == token_hash)).scalar_one())

    def add_session(self, token_hash: str, actor: str, now_ns: int, ends_ns: int) -> None:
        """Keep a session that ends at `ends_ns` at the latest; forget those that ended."""
        with self._write() as connection:
            connection.execute(sa.delete(t.sessions).where(t.sessions.c.ends_ns <= now_ns))
            values = {"hash": token_hash, "actor": _text(actor), "created_ns": now_ns, "seen_ns": now_ns, "ends_ns": ends_ns}
            connection.execute(sa.insert(t.sessions).values(values))

    def session(self, token_hash: str, now_ns: int, idle_ns: int, *, touch: bool) -> str | None:
        """The actor of a session that neither ended nor idled for `idle_ns`; `touch` counts this as use."""
        c = t.sessions.c
        with self._read() as connection:
            row = connection.execute(sa.select(c.actor, c.seen_ns, c.ends_ns).where(c.hash == token_hash)).first()
        if row is None or row.ends_ns <= now_ns or row.seen_ns + idle_ns <= now_ns:
            return None
        if touch and now_ns - row.seen_ns > 60_000_000_000:  # not one write per request
            with self._write() as connection:
                connection.execute(sa.update(t.sessions).where(c.hash == token_hash).values(seen_ns=now_ns))
        return str(row.actor)

    def end_session(self, token_hash: str) -> None:
        """Forget a session."""
        with self._write() as connection:
            connection.execute(sa.delete(t.sessions).where(t.sessions.c.hash == token_hash))

    # What goes to sinks

    def begin_sink(self, name: str, now_ns: int) -> SinkState:
        """Where sink `name` stands. A new one begins with the next alert, not with history."""
        with self._write() as connection:
            last = connection.execute(sa.select(sa.func.max(t.outgoing.c.id))).scalar() or 0
            values = {
                "name": _text(name),
                "time_ns": now_ns,
                "position": last,
                "sent": 0,
                "lost": 0,
                "failing_since_ns": 0,
                "error": "",
            }
            connection.execute(self._insert(t.sinks).values(values).on_conflict_do_nothing(index_elements=["name"]))
            row = connection.execute(sa.select(t.sinks).where(t.sinks.c.name == _text(name))).mappings().one()
            return SinkState(**row)

    def save_sink(self, state: SinkState) -> None:
        """Keep where a sink stands."""
        values = {**asdict(state), "error": _text(state.error, 10_000)}
        with self._write() as connection:
            connection.execute(sa.update(t.sinks).where(t.sinks.c.name == state.name).values(values))

    def forget_sinks(self, kept: Sequence[str]) -> None:
        """Remove the state of sinks that are not among `kept`."""
        with self._write() as connection:
            connection.execute(sa.delete(t.sinks).where(t.sinks.c.name.not_in([_text(name) for name in kept])))

    def outgoing(self, position: int, limit: int) -> list[tuple[int, Alert]]:
        """The alerts that arrived after `position`, oldest first, with their positions, as they are known now. A hole was pruned."""
        c = t.outgoing.c
        joined = t.outgoing.join(t.alerts, t.alerts.c.id == c.alert)
        query = sa.select(c.id, t.alerts.c.payload).select_from(joined).where(c.id > position).order_by(c.id).limit(limit)
        with self._read() as connection:
            return [(number, msgspec.json.decode(payload, type=Alert)) for number, payload in connection.execute(query)]

    def last_outgoing(self) -> int:
        """The position of the newest alert, 0 before the first."""
        with self._read() as connection:
            return int(connection.execute(sa.select(sa.func.max(t.outgoing.c.id))).scalar() or 0)

    def prune(self) -> None:
        """Remove the oldest rows above the limits."""
        self._since_pruning = 0
        with self._write() as connection:
            last = connection.execute(sa.select(sa.func.max(t.outgoing.c.id))).scalar() or 0
            connection.execute(sa.delete(t.outgoing).where(t.outgoing.c.id <= last - self._limits.outgoing))
            for name, limit in asdict(self._limits).items():
                if name == "outgoing":  # pruned by position, above
                    continue
                table = _TABLES[name]
                key = next(iter(table.primary_key.columns))
                newest_to_go = sa.select(table.c.time_ns, key).order_by(table.c.time_ns.desc(), key.desc()).offset(limit).limit(1)
                edge = connection.execute(newest_to_go).first()
                if edge is not None:
                    older = sa.or_(table.c.time_ns < edge[0], sa.and_(table.c.time_ns == edge[0], key <= edge[1]))
                    connection.execute(sa.delete(table).where(older))

    # Inside

    def _keep(self, connection: Connection, message: AnyMessage) -> set[str]:
        match message:
            case ContainerSeen():
                _check_time(message.time_ns)
                facts = message.container
                row = {**msgspec.to_builtins(facts), "node": message.node, "time_ns": message.time_ns}
                values = {
                    "id": _text(facts.id),
                    "time_ns": message.time_ns,
                    "node": _text(message.node),
                    "name": _text(facts.name),
                    "state": _text(facts.state),
                    "image_digest": _text(facts.image_digest or ""),
                    "payload": msgspec.json.encode(row),
                }
                self._upsert(connection, t.containers, values, newer_only=True)
                return {"containers"}
            case AlertRaised(alert=alert):
                _check_time(alert.time_ns)
                named = ("id", "node", "rule", "priority", "container", "container_name", "silenced_by")
                columns = {name: _text(getattr(alert, name)) for name in named}
                columns["image_digest"] = _text(alert.image_digest or "")
                self._queue(connection, alert)
                self._upsert(connection, t.alerts, {**columns, "time_ns": alert.time_ns, "payload": msgspec.json.encode(alert)})
                return {"alerts"}
            case EventsSeen():
                for event in message.events:
                    row = {**msgspec.to_builtins(event), "node": message.node}
                    self._append(connection, t.events, row, event.time_ns, kind=str(row["kind"]))
                return {"events"}
            case Health():
                row = _plain(message)
                self._append(connection, t.health, row, message.time_ns)
                values = {"node": _text(message.node), "time_ns": message.time_ns, "payload": msgspec.json.encode(row)}
                fresh = {"version": "", "greeted_ns": message.time_ns, **values}
                statement = self._insert(t.nodes).values(fresh)
                connection.execute(
                    statement.on_conflict_do_update(
                        index_elements=["node"], set_=values, where=statement.excluded.time_ns >= t.nodes.c.time_ns
                    )
                )
                return {"health", "nodes"}
            case ImageStep():
                self._append(connection, t.steps, _plain(message), message.time_ns)
                return {"steps"}
            case Admission():
                allowed = "true" if message.verdict.allowed else "false"
                self._append(connection, t.admissions, _plain(message), message.time_ns, allowed=allowed)
                return {"admissions"}
            case ResponseStep():
                self._append(connection, t.responses, _plain(message), message.time_ns)
                return {"responses"}
            case EvidenceStored():
                _check_time(message.time_ns)
                columns = {name: _text(getattr(message, name)) for name in ("bundle", "node", "container", "alert")}
                payload = msgspec.json.encode(_plain(message))
                self._upsert(connection, t.evidence, {**columns, "time_ns": message.time_ns, "payload": payload})
                return {"evidence"}
            case _:
                raise InputError(f"message {type(message).__name__}", "is not for keeping")

    def _queue(self, connection: Connection, alert: Alert) -> None:
        """Put `alert` at the end of what goes to the sinks; one that was there before (facts attached later) goes only once."""
        if connection.execute(sa.select(t.alerts.c.id).where(t.alerts.c.id == _text(alert.id))).first() is None:
            last = connection.execute(sa.select(sa.func.max(t.outgoing.c.id))).scalar() or 0
            connection.execute(sa.insert(t.outgoing).values(id=last + 1, alert=_text(alert.id)))

    def _append(self, connection: Connection, table: sa.Table, row: Row, time_ns: int, **columns: str) -> None:
        _check_time(time_ns)
        payload = msgspec.json.encode(row)
        values: Row = {"mark": digest_of(payload)[7:], "time_ns": time_ns, "payload": payload}
        for column in table.c:
            if column.name not in values and column.name != "id":
                values[column.name] = _text(str(columns.get(column.name, row.get(column.name)) or ""))
        connection.execute(self._insert(table).values(values).on_conflict_do_nothing(index_elements=["mark"]))

    def _upsert(self, connection: Connection, table: sa.Table, values: Row, *, newer_only: bool = False) -> None:
        statement = self._insert(table).values(values)
        condition = statement.excluded.time_ns >= table.c.time_ns if newer_only else None
        key = next(iter(table.primary_key.columns)).name
        connection.execute(statement.on_conflict_do_update(index_elements=[key], set_=values, where=condition))

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._writing, one_line_errors(self._engine.url), self._engine.connect() as plain:
            connection = plain.execution_options(write=True)
            with connection.begin():
                yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with one_line_errors(self._engine.url), self._engine.connect() as connection:
            yield connection


def _plain(message: AnyMessage) -> Row:
    row: Row = msgspec.to_builtins(message)
    row.pop("type", None)
    row.pop("number", None)
    return row


def _known(what: str) -> set[str]:
    names = {column.name for column in _TABLES[what].c if column.name not in {"payload", "mark"}}
    struct = _FIELDS.get(what)
    return names | (set(struct.__struct_fields__) if struct else set()) - {"number"}


def _row(what: str, record: Row) -> Row:
    payload = record.pop("payload", None)
    if what == "nodes":
        return {**record, "health": msgspec.json.decode(payload) if payload else {}}
    if payload is None:
        return record
    row: Row = msgspec.json.decode(payload)
    return row


def _text(text: str, limit: int = t.TEXT_LIMIT) -> str:
    """`text` as a column can hold it: bounded, without U+0000 (PostgreSQL) and lone surrogates."""
    return text[:limit].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _as_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _check_time(*times_ns: int) -> None:
    for time_ns in times_ns:
        if not 0 <= time_ns <= _MAX_TIME_NS:
            raise InputError("message", f"its time {time_ns} is not nanoseconds since 1970")
