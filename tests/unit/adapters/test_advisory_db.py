"""The database file: replaced whole or not at all, read while it is written, given away signed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from pathlib import Path

import pytest
from tests.advisories import make_database

from shipwall.adapters.advisory_db import AdvisoryDb
from shipwall.adapters.advisory_db.bundle import export_bundle, import_bundle, is_bundle
from shipwall.adapters.advisory_db.writer import DbWriter, rewriting
from shipwall.adapters.keys import Keys
from shipwall.model.advisory import Advisory, Affected, Range
from shipwall.model.errors import InputError, ShipwallError, StorageError, TrustError
from shipwall.model.finding import Exploited
from shipwall.supply.feeds import FeedState


def advisory(name: str, scope: str = "PyPI", package: str = "a") -> Advisory:
    return Advisory(feed="feed", id=name, affected=(Affected(scope=scope, name=package, ranges=(Range(fixed="2"),)),))


def ids(path: Path) -> list[str]:
    with AdvisoryDb(path) as database:
        return [one.id for _number, one in database.advisories()]


def test_a_feed_is_replaced_and_others_stay(tmp_path: Path) -> None:
    path = make_database(tmp_path / "db", {"one": [advisory("A-1"), advisory("A-2", "npm")], "two": [advisory("B-1")]})
    make_database(path, {"one": [advisory("A-3")]})
    with AdvisoryDb(path) as database:
        assert [one.id for _number, one in database.advisories()] == ["B-1", "A-3"]
        assert {database.advisory(entry.number).id for entry in database.affecting("PyPI", ["a"])["a"]} == {"A-3", "B-1"}
        assert not database.holds("npm")
        assert [(one.name, one.advisories, one.ranges) for one in database.feeds()] == [("one", 1, 1), ("two", 1, 1)]
        assert database.scopes() == {"PyPI": (2, 2)}


def test_a_feed_that_fails_half_way_stays_as_it_was(tmp_path: Path) -> None:
    path = make_database(tmp_path / "db", {"one": [advisory("A-1")]})

    def broken() -> object:
        yield advisory("A-2", "npm")
        raise InputError("feed", "is cut off")

    with rewriting(path) as writer:
        with pytest.raises(InputError, match="cut off"):
            writer.put_feed(FeedState(name="one", format="osv"), broken())  # type: ignore[arg-type]
        with pytest.raises(InputError, match="holds nothing"):
            writer.put_feed(FeedState(name="one", format="osv"), [])
        writer.put_feed(FeedState(name="two", format="osv"), [advisory("B-1", "npm")])
    assert ids(path) == ["A-1", "B-1"]


def test_a_writer_that_fails_leaves_the_old_file_in_force(tmp_path: Path) -> None:
    path = make_database(tmp_path / "db", {"one": [advisory("A-1")]})
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), rewriting(path) as writer:
        _put_and_fail(writer)
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == [".db.lock", "db"]


def _put_and_fail(writer: DbWriter) -> None:
    writer.put_feed(FeedState(name="one", format="osv"), [advisory("A-2")])
    raise ZeroDivisionError


def _write_and_die(path: Path) -> None:
    with rewriting(path) as writer:
        writer.put_feed(FeedState(name="one", format="osv"), [advisory(f"A-{number}") for number in range(2, 500)])
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_writer_that_is_killed_leaves_the_old_file_in_force_and_no_lock(tmp_path: Path) -> None:
    path = make_database(tmp_path / "db", {"one": [advisory("A-1")]})
    process = multiprocessing.get_context("spawn").Process(target=_write_and_die, args=(path,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert ids(path) == ["A-1"]
    make_database(path, {"one": [advisory("A-9")]})
    assert ids(path) == ["A-9"]
    assert sorted(file.name for file in tmp_path.iterdir()) == [".db.lock", "db"]


def test_a_reader_keeps_what_it_opened_while_the_file_is_replaced(tmp_path: Path) -> None:
    path = make_database(tmp_path / "db", {"one": [advisory(f"A-{number}", package=f"p{number}") for number in range(2000)]})
    with AdvisoryDb(path) as old:
        with rewriting(path) as writer:
            writer.put_feed(FeedState(name="one", format="osv"), [advisory("B-1")])
            assert ids(path)[0] == "A-0"  # a new reader still sees the old file
        assert old.advisory(old.affecting("PyPI", ["p1999"])["p1999"][0].number).id == "A-1999"
    assert ids(path) == ["B-1"]


def test_two_writers_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "db"
    processes = [multiprocessing.get_context("spawn").Process(target=_add, args=(path, name)) for name in ("one", "two", "three")]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert sorted(ids(path)) == ["of one", "of three", "of two"]


def _add(path: Path, name: str) -> None:
    make_database(path, {name: [advisory(f"of {name}")]})


def test_signs_of_several_feeds(tmp_path: Path) -> None:
    path = make_database(
        tmp_path / "db",
        {
            "epss": [("CVE-2021-44228", Exploited(epss=0.94358, percentile=0.99962)), ("CVE-2021-1", Exploited(epss=0.1))],
            "kev": [("CVE-2021-44228", Exploited(kev=True, kev_due="2021-12-24"))],
        },
    )
    with AdvisoryDb(path) as database:
        assert database.exploited(["CVE-2021-44228", "CVE-2000-1000", "GHSA-x"]) == {
            "CVE-2021-44228": Exploited(epss=0.94358, percentile=0.99962, kev=True, kev_due="2021-12-24")
        }


@pytest.mark.parametrize("content", [b"", b"no database at all, but longer than a header of a hundred bytes" * 3])
def test_what_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "db"
    path.write_bytes(content)
    with pytest.raises(InputError):
        AdvisoryDb(path)
    sqlite3.connect(tmp_path / "other").execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(InputError, match="something else"):
        AdvisoryDb(tmp_path / "other")
    with pytest.raises(StorageError, match="is not there"):
        AdvisoryDb(tmp_path / "none")


def test_a_file_of_something_else_is_never_replaced(tmp_path: Path, bundle: tuple[Path, Keys]) -> None:
    file, keys = bundle
    text, other = tmp_path / "notes.txt", tmp_path / "other"
    text.write_bytes(b"notes that somebody still needs\n" * 10)
    sqlite3.connect(other).execute("CREATE TABLE t (x)").connection.close()
    for path in (text, other):
        before = path.read_bytes()
        with pytest.raises(InputError, match=r"no database|something else"):
            make_database(path, {"one": [advisory("A-1")]})
        with pytest.raises(InputError, match=r"no database|something else"):
            import_bundle(file, path, keys.public("advisories"), allow_older=True)
        assert path.read_bytes() == before
    (tmp_path / "empty").touch()
    assert ids(make_database(tmp_path / "empty", {"one": [advisory("A-1")]})) == ["A-1"]


def test_a_damaged_row_is_an_error_not_silence(tmp_path: Path) -> None:
    path = make_database(tmp_path / "db", {"one": [advisory("A-1")]})
    connection = sqlite3.connect(path)
    connection.execute("UPDATE affected SET body = x'7a00'")
    connection.commit()
    connection.close()
    with AdvisoryDb(path) as database, pytest.raises(StorageError, match="make it anew"):
        database.affecting("PyPI", ["a"])


@pytest.fixture
def bundle(tmp_path: Path) -> tuple[Path, Keys]:
    keys = Keys(tmp_path / "keys")
    path = make_database(tmp_path / "db", {"one": [advisory(f"A-{number}") for number in range(100)]})
    export_bundle(path, tmp_path / "out.swdb", keys.signer("advisories"), 1000)
    return tmp_path / "out.swdb", keys


def test_a_signed_database_arrives_as_it_was(tmp_path: Path, bundle: tuple[Path, Keys]) -> None:
    file, keys = bundle
    assert is_bundle(file)
    _statement, signers = import_bundle(file, tmp_path / "there/db", keys.public("advisories"))
    assert [one.name for one in signers] == ["advisories"]
    assert (tmp_path / "there/db").read_bytes() == (tmp_path / "db").read_bytes()


def test_any_changed_byte_is_found(tmp_path: Path, bundle: tuple[Path, Keys]) -> None:
    file, keys = bundle
    data = file.read_bytes()
    public = keys.public("advisories")
    for place in [*range(0, len(data), max(1, len(data) // 150)), len(data) - 1]:
        file.write_bytes(data[:place] + bytes((data[place] ^ 0x10,)) + data[place + 1 :])
        with pytest.raises(ShipwallError):
            import_bundle(file, tmp_path / "there/db", public)
    for changed in (data[:-1], data + b"x", data[:200], data[:10]):
        file.write_bytes(changed)
        with pytest.raises(ShipwallError):
            import_bundle(file, tmp_path / "there/db", public)
    assert not (tmp_path / "there/db").exists()


def test_a_strangers_signature_and_an_older_database_are_refused(tmp_path: Path, bundle: tuple[Path, Keys]) -> None:
    file, keys = bundle
    with pytest.raises(TrustError, match="unknown key"):
        import_bundle(file, tmp_path / "there/db", Keys(tmp_path / "others").public())
    there = tmp_path / "there/db"
    with rewriting(there) as writer:
        writer.put_feed(FeedState(name="one", format="osv", time_ns=2000), [advisory("new")])
    with pytest.raises(TrustError, match="older"):
        import_bundle(file, there, keys.public("advisories"))
    assert ids(there) == ["new"]
    import_bundle(file, there, keys.public("advisories"), allow_older=True)
    assert len(ids(there)) == 100
