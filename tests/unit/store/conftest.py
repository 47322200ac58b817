"""The stores the contract suite runs on: SQLite and, where Debian's binaries are to be had, a real PostgreSQL."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from tests import postgres

from shipwall.adapters.store import Limits, Store, open_store

_number = itertools.count()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    try:
        binaries = postgres.running()
        url = binaries.__enter__()
    except postgres.MissingError as missing:
        pytest.skip(str(missing))
    try:
        yield url
    finally:
        binaries.__exit__(None, None, None)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/server.db"
    url: str = request.getfixturevalue("postgres_url")
    name = f"t{next(_number)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return url.replace("/postgres?", f"/{name}?")


@pytest.fixture
def open_another(database: str) -> Iterator[Callable[..., Store]]:
    opened: list[Store] = []

    def another(**limits: int) -> Store:
        opened.append(open_store(database, Limits(**limits)))
        return opened[-1]

    yield another
    for store in opened:
        store.close()


@pytest.fixture
def store(open_another: Callable[..., Store]) -> Store:
    return open_another()
