"""The contract of the store, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from shipwall.adapters.store import Store, open_store
from shipwall.adapters.store.database import make_engine, parse_database_url
from shipwall.adapters.store.tables import metadata
from shipwall.model.alert import Alert, Silence, Why
from shipwall.model.container import ContainerFacts
from shipwall.model.errors import InputError, RemoteError, StorageError
from shipwall.model.event import Exec
from shipwall.model.verdict import Reason, Verdict
from shipwall.model.wire import (
    Ack,
    Admission,
    AlertRaised,
    Command,
    ContainerSeen,
    EventsSeen,
    EvidenceStored,
    Health,
    Hello,
    ImageStep,
    ResponseStep,
)

DIGEST = "sha256:" + "a" * 64
Opener = Callable[..., Store]


def an_event(seq: int = 1, time_ns: int = 1000) -> Exec:
    return Exec(
        seq=seq, time_ns=time_ns, cgroup_id=7, pid=10, tid=10, ppid=1, ns_pid=3, uid=0, gid=0, comm="sh", path="/bin/sh", argv=("sh",)
    )  # fmt: skip


def an_alert(alert_id: str = "a1", time_ns: int = 1000, **fields: object) -> Alert:
    base = Alert(
        id=alert_id, node="n1", time_ns=time_ns, raised_ns=time_ns + 5, rule="shell", priority="critical", output="a shell",
        action="alert", event=an_event(time_ns=time_ns), container="c" * 64, container_name="shop", image_digest=DIGEST,
        why=(Why(condition="proc.name = sh", value="sh", result=True),),
    )  # fmt: skip
    return msgspec.structs.replace(base, **fields)


def a_container(container_id: str = "c" * 64, name: str = "shop", state: str = "running", time_ns: int = 5) -> ContainerSeen:
    facts = ContainerFacts(
        id=container_id, name=name, image_ref="prod/shop", image_config=DIGEST, image_digest=DIGEST, state=state
    )
    return ContainerSeen(number=1, node="n1", time_ns=time_ns, container=facts)


def a_silence(until_ns: int = 10_000, silence_id: str = "s1") -> Silence:
    return Silence(id=silence_id, rule="shell", container_name="", reason="known", actor="root", created_ns=1, until_ns=until_ns)


def a_response(step: str, status: str, time_ns: int) -> ResponseStep:
    return ResponseStep(node="n1", plan="p1", alert="a1", container="c", step=step, status=status, time_ns=time_ns)


def test_a_repeated_message_is_kept_once(store: Store) -> None:
    step = ImageStep(
        digest=DIGEST, image="dev/shop", step="scanned", time_ns=3, allowed=False, reasons=(Reason(code="x", message="y"),)
    )
    messages = [
        step, AlertRaised(alert=an_alert()), a_container(), EventsSeen(node="n1", events=(an_event(), an_event(2))),
        Admission(node="n1", time_ns=4, method="POST", uri="/containers/create", subject="dev/shop", verdict=Verdict(allowed=False)),
        a_response("freeze", "begun", 8),
        EvidenceStored(node="n1", bundle="b1", head=DIGEST, records=3, size_bytes=9, path="/x", container="c", alert="a1",
                       image_digest=None, time_ns=9),
        Health(node="n1", time_ns=6, started_ns=1, delivered=10),
    ]  # fmt: skip
    changed = store.record(messages)
    assert changed == {"steps", "alerts", "containers", "events", "admissions", "responses", "evidence", "health", "nodes"}
    store.record([msgspec.structs.replace(message, number=9) for message in messages])
    for what, count in {
        "events": 2,
        "alerts": 1,
        "steps": 1,
        "admissions": 1,
        "responses": 1,
        "evidence": 1,
        "health": 1,
    }.items():
        assert len(store.rows(what)) == count, what
    [row] = store.rows("steps")
    assert row["reasons"][0]["code"] == "x"
    assert "number" not in row
    assert "type" not in row


def test_later_facts_of_an_alert_replace_the_earlier_ones(store: Store) -> None:
    store.record([AlertRaised(alert=an_alert()), AlertRaised(alert=an_alert(stopped="killed"))])
    [row] = store.rows("alerts")
    assert row["stopped"] == "killed"
    assert msgspec.convert(row, Alert) == an_alert(stopped="killed")


def test_an_older_state_of_a_container_does_not_replace_a_newer_one(store: Store) -> None:
    store.record([a_container(state="frozen", time_ns=9), a_container(state="running", time_ns=5)])
    assert [row["state"] for row in store.rows("containers")] == ["frozen"]


def test_all_or_none(store: Store) -> None:
    bad = a_container(time_ns=2**63)
    with pytest.raises(InputError, match="its time"):
        store.record([AlertRaised(alert=an_alert()), bad])
    with pytest.raises(InputError, match="not for keeping"):
        store.record([AlertRaised(alert=an_alert()), Ack(of=1)])
    assert store.rows("alerts") == []


def test_rows_filter_and_order(store: Store) -> None:
    store.record(
        [AlertRaised(alert=an_alert(f"a{i}", 100 + i, rule="even" if i % 2 == 0 else "odd", denied=i > 7)) for i in range(10)]
    )
    assert [row["id"] for row in store.rows("alerts", limit=3)] == ["a7", "a8", "a9"]
    assert [row["id"] for row in store.rows("alerts", {"rule": "odd"}, 2)] == ["a7", "a9"]
    assert [row["id"] for row in store.rows("alerts", {"denied": "true", "rule": "even"})] == ["a8"]
    assert [row["id"] for row in store.rows("alerts", {"id-prefix": "a3"})] == ["a3"]
    assert store.rows("alerts", {"id-prefix": "%"}) == []
    assert store.rows("alerts", limit=0) == []
    with pytest.raises(InputError, match="no field"):
        store.rows("alerts", {"nonsense": "1"})
    with pytest.raises(InputError, match="not kept"):
        store.rows("sessions")


def test_hostile_text_is_kept_as_it_came(store: Store) -> None:
    text = "\0<script>\x1b[2J\u202e'; DROP TABLE alerts --" + "x" * 5000
    store.record([AlertRaised(alert=an_alert(rule=text, container_name=text)), a_container(name=text)])
    assert store.rows("alerts")[0]["rule"] == text
    assert [row["id"] for row in store.rows("alerts", {"rule": text})] == ["a1"]
    assert store.find_container(text)[1].name == text


def test_find_container(store: Store) -> None:
    store.record([
        a_container("abcd" + "1" * 60, "shop", "gone"), a_container("abcd" + "2" * 60, "shop"), a_container("ef" * 32, "db")
    ])  # fmt: skip
    assert store.find_container("shop")[1].id.startswith("abcd2")
    assert store.find_container("efef") == ("n1", msgspec.structs.replace(a_container("ef" * 32, "db").container))
    with pytest.raises(InputError, match="means 2 containers"):
        store.find_container("abcd")
    for unknown in ("", "e", "none", "%", "____"):
        with pytest.raises(InputError, match="not known"):
            store.find_container(unknown)


def test_health_keeps_the_newest_per_node_and_a_history(store: Store) -> None:
    store.greet(Hello(role="agent", node="n1", version="1.0"), 50)
    store.record([Health(node="n1", time_ns=t, started_ns=1, delivered=t) for t in (60, 62, 61)])
    [node] = store.rows("nodes")
    assert (node["node"], node["version"], node["greeted_ns"], node["health"]["delivered"]) == ("n1", "1.0", 50, 62)
    assert [row["delivered"] for row in store.rows("health")] == [60, 61, 62]


def test_silences_hold_until_their_end(store: Store) -> None:
    store.set_silence(a_silence())
    assert [silence.id for silence in store.silences(9_999)] == ["s1"]
    assert store.silences(10_000) == []
    store.set_silence(a_silence(until_ns=5))
    assert store.silences(6) == []
    assert len(store.rows("silences")) == 1


def test_commands_and_audit(store: Store) -> None:
    store.begin_command(Command(id="k1", action="freeze", target="c", actor="root", reason="r"), "n1", 5)
    assert store.rows("commands")[0]["state"] == "asked"
    store.end_command("k1", "done", "frozen", 9)
    [row] = store.rows("commands", {"target": "c"})
    assert (row["state"], row["detail"], row["ended_ns"]) == ("done", "frozen", 9)
    store.note("root", "freeze", "c", "because", 5)
    assert store.rows("audit")[0]["detail"] == "because"


def test_a_login_token_works_once_and_in_time(store: Store) -> None:
    store.add_login("h1", "root", 10, 100)
    store.add_login("h2", "root", 10, 20)
    assert store.use_login("h2", 20) is None
    assert store.use_login("nope", 20) is None
    assert store.use_login("h1", 20) == "root"
    assert store.use_login("h1", 20) is None


def test_only_one_of_many_uses_up_a_token(store: Store) -> None:
    store.add_login("h1", "root", 10, 100)
    got: list[str | None] = []
    threads = [threading.Thread(target=lambda: got.append(store.use_login("h1", 20))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, got)) == ["None", "None", "None", "root"]


def test_sessions_idle_and_end(store: Store) -> None:
    minute = 60_000_000_000
    store.add_session("h", "root", 0, 100 * minute)
    assert store.session("h", 9 * minute, 10 * minute, touch=False) == "root"
    assert store.session("h", 10 * minute, 10 * minute, touch=True) is None
    assert store.session("h", 9 * minute, 10 * minute, touch=True) == "root"
    assert store.session("h", 18 * minute, 10 * minute, touch=True) == "root"
    assert store.session("h", 100 * minute, 1000 * minute, touch=True) is None
    store.end_session("h")
    assert store.session("h", 19 * minute, 10 * minute, touch=True) is None


def test_counts(store: Store) -> None:
    store.record([AlertRaised(alert=an_alert("a1")), AlertRaised(alert=an_alert("a2", silenced_by="s")), a_container()])
    assert store.counts(0) == {"alerts": {"critical": 1, "silenced": 1}, "admissions": {}, "containers": {"running": 1}}
    assert store.counts(10**9)["alerts"] == {}


def test_the_oldest_rows_go_above_the_limit(open_another: Opener) -> None:
    store = open_another(alerts=3, responses=2)
    store.record([AlertRaised(alert=an_alert(f"a{i}", i)) for i in range(10)])
    store.record([a_response("freeze", "begun", 7) for _ in range(2)] + [a_response(f"s{i}", "begun", 7) for i in range(5)])
    store.prune()
    assert [row["id"] for row in store.rows("alerts")] == ["a7", "a8", "a9"]
    assert len(store.rows("responses")) == 2


def test_rows_outlive_the_process_and_two_open_at_once(open_another: Opener) -> None:
    errors: list[BaseException] = []

    def opening() -> None:
        try:
            open_another().record([AlertRaised(alert=an_alert(str(threading.get_ident())))])
        except BaseException as error:  # noqa: BLE001 (shown by the assertion)
            errors.append(error)

    threads = [threading.Thread(target=opening) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(open_another().rows("alerts")) == len({thread.ident for thread in threads})


def test_the_migrations_make_what_the_tables_say(open_another: Opener, database: str) -> None:
    open_another()
    engine = make_engine(parse_database_url(database))
    try:
        with engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    finally:
        engine.dispose()


def test_a_newer_schema_is_refused(open_another: Opener, database: str) -> None:
    open_another()
    engine = make_engine(parse_database_url(database))
    try:
        with engine.connect().execution_options(write=True) as connection, connection.begin():
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    finally:
        engine.dispose()
    with pytest.raises(StorageError, match="newer Shipwall"):
        open_store(database)


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://u:sesame@h/d", "sqlite://", "sqlite:///:memory:", "http://x y"])
def test_a_bad_url_is_an_input_error(url: str) -> None:
    with pytest.raises(InputError, match="database URL") as caught:
        open_store(url)
    assert "sesame" not in caught.value.line()


def test_an_unreachable_postgresql_is_one_line_without_password(tmp_path: Path) -> None:
    with pytest.raises(RemoteError) as caught:
        open_store(f"postgresql://shipwall:sesame@/x?host={tmp_path}")
    assert "\n" not in caught.value.line()
    assert "sesame" not in caught.value.line()
    assert caught.value.exit_code == 6


def test_a_folder_or_a_damaged_file_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        open_store(f"sqlite:///{tmp_path}")
    (tmp_path / "x.db").write_bytes(b"hello" * 2000)
    with pytest.raises(StorageError, match="is not a database"):
        open_store(f"sqlite:///{tmp_path}/x.db")


@pytest.mark.root
def test_a_full_disk_loses_nothing_and_mends_itself(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "shipwall-test", str(tmp_path)], check=True, timeout=10)
    try:
        store = open_store(f"sqlite:///{tmp_path}/server.db")
        try:
            store.record([AlertRaised(alert=an_alert("a0"))])
            subprocess.run(
                ["dd", "if=/dev/zero", f"of={tmp_path}/ballast", "bs=4k"], check=False, timeout=10, capture_output=True
            )
            many = [AlertRaised(alert=an_alert(f"b{i}", output="x" * 2000)) for i in range(100)]
            with pytest.raises(StorageError) as caught:
                store.record(many)
            assert "disk full" in caught.value.line()
            assert [row["id"] for row in store.rows("alerts")] == ["a0"]
            (tmp_path / "ballast").unlink()
            store.record(many)
            assert len(store.rows("alerts")) == 101
        finally:
            store.close()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True, timeout=10)


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/f/server.db")
    store.record([a_container()])
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "f").iterdir()} == {0}
    store.close()
