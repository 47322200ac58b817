"""In a real container: what its rules refuse does not happen, also in exec sessions; everything else goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from shipwall.adapters.engine import Engine
from shipwall.adapters.instance import Instance
from shipwall.journeys.cleanup import clean_up
from shipwall.journeys.prevent import Preventer
from shipwall.kernel.cgroups import find_container, read_id, read_pids, unified_mount
from shipwall.lang.condition import parse_condition
from shipwall.model.container import ContainerFacts
from shipwall.runtime.prevention import Wanted, plan_prevention

pytestmark = [pytest.mark.engine, pytest.mark.bpf]

RULES = {
    "no secret": "evt.type in (open, openat, openat2) and fd.name in (/etc/passwd, /tmp/secret, /data/secret)",
    "no write": "evt.type in (open, openat, openat2) and evt.is_open_write = true and fd.name startswith /var/",
    "no miner": "evt.type = connect and fd.rport = 4444",
    "no low port": "evt.type = bind and fd.lport = 23",
}
ACTS = """
cat /etc/passwd; echo $?; cat /etc/group > /dev/null; echo $?
echo x > /tmp/secret; cat /tmp/secret; echo $?; cat /data/secret; echo $?
echo x > /var/new; echo $?; ls /var; echo $?
nc 127.0.0.1 4444 < /dev/null; echo $?
timeout 20 nc -l -p 23 < /dev/null; echo $?
timeout 1 nc -l -p 8023 < /dev/null; echo $?
"""


def test_what_rules_refuse_does_not_happen(engine: Engine, busybox_image: str, fresh_name: Callable[[str], str]) -> None:
    instance = Instance(Path(f"/tmp/{fresh_name('guard')}"))  # short: a socket lies below
    body = {
        "Image": busybox_image,
        "Cmd": ["sh", "-c", "echo x > /data/secret; sleep 60"],
        "Volumes": {"/data": {}},
        "HostConfig": {"Tmpfs": {"/tmp": ""}},
    }
    container = engine.create(fresh_name("prevent"), body)
    try:
        with Preventer(instance) as preventer:
            engine.start(container)
            folder = find_container(unified_mount(), container)
            assert folder is not None
            facts = ContainerFacts(
                id=container,
                name="c",
                image_ref=busybox_image,
                image_config="",
                cgroup_id=read_id(folder),
                pid=min(read_pids(folder)),
            )
            wanted = plan_prevention([Wanted(name, parse_condition(text)) for name, text in RULES.items()], facts)
            assert wanted.left == ()
            missing = preventer.put(facts, wanted)
            assert all(one.what.startswith(("/proc", "/sys", "/dev/")) for one in missing), missing
            code, output = engine.exec_run(container, ["sh", "-c", ACTS])
            assert code == 0
            words = [line for line in output.decode().splitlines() if ":" not in line and line != "Terminated"]
            assert words == ["1", "0", "1", "1", "1", "new", "0", "1", "1", "143"]
            told = {(one.call, one.rules) for one in preventer.refused()}
            assert told == {
                ("open", ("no secret",)),
                ("open", ("no write",)),
                ("connect", ("no miner",)),
                ("bind", ("no low port",)),
            }
            engine.remove(container, force=True)
            preventer.take_off(container)
            assert list(preventer.refused()) == []
    finally:
        if container in {one["Id"] for one in engine.containers()}:
            engine.remove(container, force=True)
        report = clean_up(instance)
        shutil.rmtree(instance.state)
    assert report.left == ()
    assert {done.act for done in report.done} == {"guard-network", "guard-files"}
