"""Tables out of database files: what SQLite itself wrote is what is read; damaged files end in an error."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shipwall.model.errors import InputError
from shipwall.supply.catalog.sqlite_file import read_table


def make_database(path: Path, rows: list[tuple[object, ...]], page_size: int = 4096) -> bytes:
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA page_size = {page_size}")
        connection.execute("CREATE TABLE other (x)")
        connection.execute("CREATE TABLE Packages (number INTEGER PRIMARY KEY, content, more)")
        connection.execute("CREATE INDEX by_more ON Packages (more)")
        connection.executemany("INSERT INTO Packages (content, more) VALUES (?, ?)", rows)
    connection.close()
    return path.read_bytes()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.one_of(st.binary(max_size=300), st.integers(200, 20_000).map(bytes)),
            st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.text(max_size=20)),
        ),
        max_size=60,
    ),
    page_size=st.sampled_from([512, 1024, 4096, 65536]),
)
def test_rows_are_what_was_written(tmp_path: Path, rows: list[tuple[object, ...]], page_size: int) -> None:
    data = make_database(tmp_path / "db", rows, page_size)
    assert [row[1:] for row in read_table(data, "Packages", "db")] == rows


def test_trees_of_several_levels(tmp_path: Path) -> None:
    rows = [(number.to_bytes(4, "big") * 20, str(number)) for number in range(5000)]
    assert [row[1:] for row in read_table(make_database(tmp_path / "db", rows, 512), "Packages", "db")] == rows


def test_what_is_no_database_or_has_no_such_table(tmp_path: Path) -> None:
    data = make_database(tmp_path / "db", [])
    for bad, table in ((b"", "Packages"), (b"x" * 5000, "Packages"), (data, "Missing"), (data[:700], "Packages")):
        with pytest.raises(InputError):
            list(read_table(bad, table, "db"))


def test_pages_that_point_at_each_other_end(tmp_path: Path) -> None:
    data = bytearray(make_database(tmp_path / "db", [(bytes(100), "x")] * 2000, 512))
    for page in range(1, len(data) // 512):
        if data[page * 512] == 5:  # an interior page: its right child becomes itself
            data[page * 512 + 8 : page * 512 + 12] = (page + 1).to_bytes(4, "big")
    with pytest.raises(InputError, match="used twice"):
        list(read_table(bytes(data), "Packages", "db"))


def test_one_row_under_many_pointers_is_not_read_many_times(tmp_path: Path) -> None:
    data = bytearray(make_database(tmp_path / "db", [(b"y" * 3000, "x")], 4096))
    at = next(at for at in range(4096, len(data), 4096) if data[at] == 13 and b"y" * 3000 in data[at + 100 : at + 4096])
    data[at + 3 : at + 5] = (400).to_bytes(2, "big")
    data[at + 8 : at + 8 + 800] = data[at + 8 : at + 10] * 400
    rows = read_table(bytes(data), "Packages", "db")
    assert next(rows)[1] == b"y" * 3000
    with pytest.raises(InputError, match="overlap"):
        next(rows)


def test_flipped_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    data = make_database(tmp_path / "db", [(bytes(1500), number) for number in range(200)], 512)
    choose = random.Random(1)
    errors = 0
    for _ in range(600):
        bad = bytearray(data)
        for _ in range(choose.randint(1, 40)):
            bad[choose.randrange(len(bad))] = choose.randrange(256)
        try:
            assert sum(len(row) for row in read_table(bytes(bad), "Packages", "db")) < 10_000
        except InputError:
            errors += 1
    assert errors > 100
