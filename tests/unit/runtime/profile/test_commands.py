"""`shipwall profile` on captures: learnt, ended, judged, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.profiles import FIRST, IMAGE, OTHER, SECOND, T0, connect, execute, facts, fork, leave, read
from typer.testing import CliRunner

from shipwall.adapters.captures import CaptureFile
from shipwall.adapters.instance import Instance
from shipwall.adapters.inventories import Inventories
from shipwall.cli.app import build_app
from shipwall.model.digest import ImageIdentity
from shipwall.model.errors import ShipwallError
from shipwall.model.package import Distribution, Inventory, Package
from shipwall.runtime.capture import End, Header, Known, Record
from shipwall.runtime.rules import parse_rules


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def _run(state: Path, *words: str) -> Any:
    """The JSON answer; raises what the command raises."""
    said = CliRunner().invoke(build_app(), ["profile", *words, "--state", str(state), "--output", "json"])
    if said.exception is not None and not isinstance(said.exception, SystemExit):
        raise said.exception
    return json.loads(said.stdout), said.exit_code


def _capture(place: Path, records: list[Record], counted: dict[str, tuple[str, ...]] | None = None) -> Path:
    with CaptureFile(place, 1 << 24) as file:
        file.put(Header(version="1", node="n", began_ns=T0))
        for record in records:
            file.put(record)
        file.finish(End(ended_ns=T0 + 10**12, events=0, calls=counted or {}))
    return place


def _service(container: str, until_s: int = 1500) -> list[Record]:
    events: list[Any] = [execute(0.1, "/usr/bin/shop", container, pid=10), fork(0.2, 20, container, pid=10),
                         execute(0.3, "/usr/bin/worker", container, ppid=10)]  # fmt: skip
    for at in range(1, until_s, 10):
        events += [read(at + 0.2, "/etc/shop.conf", container, ppid=10), connect(at + 0.3, "10.0.0.7", 5432, container, ppid=10)]
    return [Known(container=facts(container, name=f"shop-{container[0]}")), *events]


def test_from_captures_to_anomalies(state: Path, tmp_path: Path) -> None:
    libc = Package(ecosystem="deb", name="netcat", version="1.2", layer="sha256:" + "d" * 64, files=("/usr/bin/nc",))
    identity = ImageIdentity(manifest=IMAGE, config="sha256:" + "c" * 64, diff_ids=("sha256:" + "d" * 64,))
    Inventories(Instance(state).state / "inventories").put(
        Inventory(image=identity, distribution=Distribution(), packages=(libc,))
    )
    first = _capture(tmp_path / "1", _service(FIRST), {FIRST: ("openat", "connect", "execve", "clone")})
    second = _capture(tmp_path / "2", _service(SECOND), {SECOND: ("openat", "connect", "execve", "clone")})

    said, code = _run(state, "learn", IMAGE, "--from", str(first))
    assert (code, said["replicas"], said["missing"]) == (0, 1, [])
    assert _run(state, "learn", IMAGE, "--from", str(first))[0]["slices"] == said["slices"]  # the same again teaches nothing
    said, _ = _run(state, "learn", IMAGE[7:19], "--from", str(second))
    assert said["replicas"] == 2
    said, code = _run(state, "monitor", IMAGE[7:19])
    assert (code, said["mode"], said["set_aside"]) == (0, "monitor", [])
    assert _run(state, "judge", IMAGE, "--from", str(second))[0]["anomalies"] == []

    intruder: list[Any] = [
        *_service(FIRST, 30),
        fork(40, 30, ppid=10),
        execute(41, "/usr/bin/nc", pid=30, ppid=20),
        leave(42, pid=30),
    ]
    said, code = _run(state, "judge", IMAGE, "--from", str(_capture(tmp_path / "3", intruder, {FIRST: ("openat", "ptrace")})))
    assert code == 1
    assert [(one["kind"], one["what"]) for one in said["anomalies"]] == [
        ("program", "/usr/bin/nc"),
        ("child", "/usr/bin/worker → /usr/bin/nc"),
        ("call", "ptrace"),
    ]
    assert said["anomalies"][0]["package"] == "netcat 1.2"
    assert "owned by netcat 1.2, layer sha256:dddd" in said["anomalies"][0]["text"]

    exported = tmp_path / "out"
    for form, more in (("seccomp", ()), ("document", ()), ("rules", ("--repository", "prod/shop"))):
        words = ["profile", "export", IMAGE, "--as", form, *more, "--to", str(exported), "--state", str(state)]
        assert CliRunner().invoke(build_app(), words).exit_code == 0
    assert parse_rules(exported.read_text(), "x").rules
    assert _run(state, "list")[0]["profiles"][0]["mode"] == "monitor"
    assert _run(state, "diff", IMAGE, IMAGE)[1] == 0


def test_another_images_container_is_refused(state: Path, tmp_path: Path) -> None:
    place = _capture(tmp_path / "1", _service(FIRST))
    with pytest.raises(ShipwallError, match="is of sha256:1111"):
        _run(state, "learn", OTHER, "--from", str(place), "--container", "shop-a")
    with pytest.raises(ShipwallError, match="has no events of a container"):
        _run(state, "learn", OTHER, "--from", str(place))
    assert _run(state, "list")[0]["profiles"] == []


def test_learning_that_has_not_seen_enough_ends_only_when_told(state: Path, tmp_path: Path) -> None:
    place = _capture(tmp_path / "1", [*_service(FIRST, 100), execute(95, "/usr/bin/late")])
    _run(state, "learn", IMAGE, "--from", str(place))
    said, code = _run(state, "monitor", IMAGE)
    assert (code, said["mode"], len(said["missing"])) == (1, "learn", 3)
    said, code = _run(state, "monitor", IMAGE, "--now")
    assert (code, said["mode"]) == (0, "monitor")
    aside = [f"{kind} {what}" for kind, what, *_ in said["set_aside"]]
    assert aside == ["program /usr/bin/late"]
    with pytest.raises(ShipwallError, match="is not set aside"):
        _run(state, "confirm", IMAGE, "program /bin/sh")
    assert _run(state, "confirm", IMAGE, *aside)[0]["confirmed"] == aside
    with pytest.raises(ShipwallError, match="in mode monitor"):
        _run(state, "learn", IMAGE, "--from", str(place))
    assert _run(state, "learn", IMAGE, "--anew")[0]["acts"] == 0


def test_an_edited_or_swapped_profile_is_refused(state: Path, tmp_path: Path) -> None:
    _run(state, "learn", IMAGE, "--from", str(_capture(tmp_path / "1", _service(FIRST))))
    place = Instance(state).profiles / f"{IMAGE[7:]}.json"
    assert place.stat().st_mode & 0o777 == 0o600
    whole = place.read_bytes()
    place.write_bytes(whole.replace(b"/usr/bin/shop", b"/usr/bin/evil"))
    with pytest.raises(ShipwallError, match="cut or edited"):
        _run(state, "show", IMAGE)
    assert list(_run(state, "list")[0]["refused"]) == [IMAGE]
    place.rename(place.with_name(f"{OTHER[7:]}.json")).write_bytes(whole)
    with pytest.raises(ShipwallError, match="not of sha256:2222"):
        _run(state, "monitor", OTHER)
