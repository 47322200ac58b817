"""Opening the database: URL, engine, migrations under a lock, and errors in one line.

Two servers starting at once migrate one after the other: SQLite under a lock file, PostgreSQL under an advisory lock.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.url import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shipwall.model.errors import InputError, RemoteError, StorageError

MIGRATIONS = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 0x5357_5354  # any constant of our own
_SQLITE_WORDS = {
    "full": ("disk full", "free space; nothing was lost, the server goes on by itself"),
    "readonly": ("read-only", "make the folder writable for the server's user"),
    "unable to open": ("cannot be opened", "mend the folder and its permissions"),
    "disk i/o": ("input/output error", "look at the disk and the kernel log"),
    "malformed": ("damaged", "restore it from a backup"),
    "not a database": ("is not a database", "name another file or restore it from a backup"),
    "locked": ("is locked by another process for too long", "end the other process that has it open"),
}


def parse_database_url(text: str) -> URL:
    """The database `text` names. Raises InputError for anything but SQLite files and PostgreSQL; never shows a password."""
    try:
        url = sa.make_url(text)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError) as error:
        raise InputError("database URL", "is not a URL", "sqlite:////path/to/file or postgresql://user@host/name") from error
    if backend == "sqlite":
        if not url.database or url.database == ":memory:" or url.query:
            raise InputError("database URL", "SQLite needs a plain file", "sqlite:////path/to/file")
        return sa.make_url("sqlite://").set(database=url.database)
    if backend in {"postgresql", "postgres"}:
        return url.set(drivername="postgresql+psycopg")
    raise InputError("database URL", f"{backend[:40]} is not supported", "sqlite:////path/to/file or postgresql://user@host/name")


def make_engine(url: URL) -> Engine:
    """An engine for `url`; nothing is opened before its first use, but the SQLite file is made (0600). Raises StorageError."""
    if url.get_backend_name() != "sqlite":
        try:
            return sa.create_engine(
                url,
                pool_size=4,
                max_overflow=2,
                pool_timeout=10,
                pool_pre_ping=True,
                connect_args={"connect_timeout": 5, "options": "-c statement_timeout=30s -c lock_timeout=10s"},
            )
        except ModuleNotFoundError as error:
            raise InputError(
                "database URL", "the PostgreSQL driver is not installed", "pip install 'shipwall[postgres]'"
            ) from error
    path = Path(str(url.database))
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StorageError(f"database {path}", error.strerror or str(error), "mend the folder and its permissions") from error
    engine = sa.create_engine(url, pool_size=4, max_overflow=2, pool_timeout=10, connect_args={"timeout": 5})

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own transactions begin too late; we begin ourselves, below
        cursor = connection.cursor()
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")  # an acknowledged message survives a power cut
            cursor.execute("PRAGMA cache_size=-4000")
            cursor.execute("PRAGMA journal_size_limit=8388608")
        finally:
            cursor.close()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A reader that later writes could be refused at once; who wants to write says so from the start and waits instead.
        immediate = connection.get_execution_options().get("write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


@contextmanager
def one_line_errors(url: URL) -> Iterator[None]:
    """Whatever the database says becomes a StorageError (local file) or RemoteError (PostgreSQL), naming no password."""
    try:
        yield
    except SQLAlchemyError as error:
        said = str(error.orig if isinstance(error, DBAPIError) else error).strip()
        first = said.splitlines()[0][:200] if said else type(error).__name__
        if url.get_backend_name() == "sqlite":
            for word, (reason, next_step) in _SQLITE_WORDS.items():
                if word in said.lower():
                    raise StorageError(f"database {url.database}", reason, next_step) from error
            raise StorageError(f"database {url.database}", first, "look at the server's log") from error
        thing = f"database {url.render_as_string(hide_password=True)}"
        if isinstance(error, PoolTimeout):
            raise RemoteError(thing, "does not answer", "look at the database, the server goes on by itself") from error
        if url.password:
            first = first.replace(str(url.password), "***")
        raise RemoteError(thing, first, "start the database or mend its URL") from error


def migrate(engine: Engine) -> None:
    """Bring the schema to this version. Raises StorageError when a newer Shipwall made it."""
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with one_line_errors(engine.url), _lock(engine), engine.connect().execution_options(write=True) as connection:
            config.attributes["connection"] = connection
            with connection.begin():
                command.upgrade(config, "head")
    except CommandError as error:
        raise StorageError(
            f"database {engine.url.render_as_string(hide_password=True)}",
            "was made by a newer Shipwall",
            "install that version, or name another database",
        ) from error


@contextmanager
def _lock(engine: Engine) -> Iterator[None]:
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection, connection.begin():
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
            yield
        return
    try:
        fd = os.open(f"{engine.url.database}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(f"database {engine.url.database}", error.strerror or str(error), "mend the folder") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
