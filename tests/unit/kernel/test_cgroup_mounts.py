"""Unified, hybrid and legacy mounts are told apart."""

from __future__ import annotations

from pathlib import Path

from shipwall.kernel.cgroups import parse_mounts

_UNIFIED = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
_V1 = (
    "31 25 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
    "32 25 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
)


def test_modes() -> None:
    assert parse_mounts(_UNIFIED) == ("unified", Path("/sys/fs/cgroup"), {})
    legacy = parse_mounts("25 23 0:25 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n" + _V1)
    assert (legacy.mode, legacy.unified) == ("legacy", None)
    assert legacy.v1 == {
        "cpu": Path("/sys/fs/cgroup/cpu"),
        "cpuacct": Path("/sys/fs/cgroup/cpu"),
        "systemd": Path("/sys/fs/cgroup/systemd"),
    }
    hybrid = parse_mounts(_V1 + "33 25 0:29 / /sys/fs/cgroup/uni\\040fied rw - cgroup2 cgroup2 rw\n")
    assert (hybrid.mode, hybrid.unified) == ("hybrid", Path("/sys/fs/cgroup/uni fied"))
