"""What is in use: noted by the agent, kept by image, told by a scan."""

from __future__ import annotations

from pathlib import Path

import pytest

from shipwall.adapters.observed import Observed
from shipwall.model.digest import digest_of
from shipwall.model.errors import StorageError
from shipwall.model.event import Call, Descriptor
from shipwall.model.finding import Finding, ScanResult
from shipwall.model.package import Distribution, Inventory, Package
from shipwall.runtime import observed as module
from shipwall.runtime.observed import SeenInUse, mapped_path
from shipwall.supply.in_use import mark_in_use

SHOP, OTHER = digest_of(b"shop"), digest_of(b"other")


def test_paths_of_a_container_wait_for_its_image() -> None:
    executed = SeenInUse()
    executed.note("c1", None, "/usr/sbin/nginx")
    executed.note("c2", None, "/bin/lost")
    executed.note("c3", SHOP, "relative")
    assert executed.take_changed() == {}
    executed.identified("c1", SHOP)
    executed.identified("c2", None)
    executed.note("c1", SHOP, "/bin/sh")
    assert executed.take_changed() == {SHOP: {"/usr/sbin/nginx", "/bin/sh"}}
    executed.note("c1", SHOP, "/bin/sh")
    assert executed.take_changed() == {}


def test_a_container_that_makes_up_names_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PATHS", 10)
    executed = SeenInUse()
    for number in range(50):
        executed.note("c", SHOP, f"/tmp/{number}")
    assert (len(executed.take_changed()[SHOP]), executed.dropped) == (10, 40)


def test_what_was_seen_before_stays_known(tmp_path: Path) -> None:
    kept = Observed(tmp_path / "observed")
    assert kept.get(SHOP) is None
    kept.add(SHOP, frozenset({"/b"}), 10)
    kept.add(SHOP, frozenset({"/a"}), 20)
    found = kept.get(SHOP)
    assert found is not None
    assert (found.since_ns, found.until_ns, found.paths) == (10, 20, ("/a", "/b"))
    assert kept.get(OTHER) is None
    next((tmp_path / "observed").iterdir()).write_bytes(b"{")
    with pytest.raises(StorageError, match="damaged"):
        kept.get(SHOP)


def test_a_scan_tells_what_runs_from_what_lies_there() -> None:
    def package(name: str, *files: str, evidence: str = "/var/lib/dpkg/status") -> Package:
        return Package(ecosystem="deb", name=name, version="1", files=files, evidence=evidence)

    packages = (package("nginx", "/usr/sbin/nginx", "/etc/nginx"), package("tcpdump", "/usr/bin/tcpdump"),
                package("tool", evidence="/opt/tool"))  # fmt: skip
    inventory = Inventory(image=None, distribution=Distribution(), packages=packages)
    findings = tuple(Finding(id="CVE-1", package=Package(**{**{f: getattr(one, f) for f in one.__struct_fields__}, "files": ()}))
                     for one in packages)  # fmt: skip
    marked = mark_in_use(ScanResult(findings=findings), inventory, {"/usr/sbin/nginx", "/opt/tool"})
    assert {one.package.name: one.in_use for one in marked.findings} == {"nginx": True, "tcpdump": False, "tool": True}


def test_only_an_executable_mapping_of_a_file_is_use() -> None:
    def mapping(prot: int, flags: int = 2, ret: int = 0x7F0000000000, syscall: str = "mmap", **file: str) -> str:
        what = {"type": "file", "path": "/usr/lib/libssl.so.3"} | file
        return mapped_path(
            Call(seq=1, time_ns=1, cgroup_id=1, pid=1, tid=1, ppid=1, ns_pid=1, uid=0, gid=0, comm="x", ret=ret, syscall=syscall,
                 raw=(0, 4096, prot, flags, 3, 0), descriptors=(Descriptor(fd=3, **what),))  # type: ignore[arg-type]
        )  # fmt: skip

    assert mapping(5) == "/usr/lib/libssl.so.3"
    assert mapping(1) == ""
    assert mapping(5, flags=0x22) == ""
    assert mapping(5, ret=-13) == ""
    assert mapping(5, syscall="mprotect") == ""
    assert mapping(5, path="/memfd:x") == ""
    assert mapping(5, type="anon", path="anon_inode:x") == ""


def test_what_could_not_have_been_seen_is_not_called_unused() -> None:
    def deb(name: str, *files: str) -> Package:
        return Package(ecosystem="deb", name=name, version="1", files=files, evidence="/var/lib/dpkg/status")

    packages = (
        deb("libssl3", "/usr/lib/x86_64-linux-gnu/libssl.so.3"),
        deb("libxml2", "/usr/lib/libxml2.so.2.9.14"),
        deb("python3-six", "/usr/lib/python3/dist-packages/six.py"),
        deb("tzdata", "/usr/share/zoneinfo/UTC"),
        Package(ecosystem="pypi", name="flask", version="1", evidence="/app/flask.dist-info/METADATA"),
        Package(ecosystem="golang", name="x/net", version="1", evidence="/app/server"),
    )
    findings = tuple(Finding(id="CVE-1", package=one) for one in packages)
    inventory = Inventory(image=None, distribution=Distribution(), packages=packages)
    marked = mark_in_use(ScanResult(findings=findings), inventory, {"/usr/lib/x86_64-linux-gnu/libssl.so.3"})
    assert {one.package.name: one.in_use for one in marked.findings} == {
        "libssl3": True,
        "libxml2": False,
        "python3-six": None,
        "tzdata": None,
        "flask": None,
        "x/net": False,
    }
