"""Where an engine makes its containers, from what it says and how it was started."""

from __future__ import annotations

import pytest

from shipwall.adapters.engine_cgroups import find_parents, slice_path

CGROUPFS = {"CgroupDriver": "cgroupfs", "CgroupVersion": "1"}
SYSTEMD = {"CgroupDriver": "systemd", "CgroupVersion": "2"}


@pytest.mark.parametrize(
    ("info", "arguments", "configuration", "parent"),
    [
        (CGROUPFS, ["dockerd", "-H", "fd://"], b"", "/docker"),
        (CGROUPFS, ["dockerd", "--cgroup-parent", "/mine"], b"", "/mine"),
        (CGROUPFS, ["dockerd", "--cgroup-parent=mine/below"], b"", "/mine/below"),
        (CGROUPFS, ["dockerd"], b'{"cgroup-parent": "/configured"}', "/configured"),
        (CGROUPFS, ["dockerd", "--cgroup-parent"], b"{", "/docker"),
        (CGROUPFS, [], b'["cgroup-parent"]', "/docker"),
        (CGROUPFS, [], b'{"cgroup-parent": 7}', "/docker"),
        (SYSTEMD, ["dockerd"], b"", "/system.slice"),
        (SYSTEMD, ["dockerd"], b'{"cgroup-parent": "apps-web.slice"}', "/apps.slice/apps-web.slice"),
        ({**SYSTEMD, "SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]}, [], b"", "/user.slice"),
        ({}, [], b"", "/docker"),
    ],
)
def test_parents(info: dict[str, object], arguments: list[str], configuration: bytes, parent: str) -> None:
    assert find_parents(info, arguments, configuration) == [parent]


def test_slices_lie_in_each_other() -> None:
    assert slice_path("a-b-c.slice") == "/a.slice/a-b.slice/a-b-c.slice"
    assert slice_path("-.slice") == "/"
    assert slice_path("plain") == "/plain"
    assert slice_path("a/b.slice") == "/a/b.slice"
