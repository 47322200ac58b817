"""The filter in the kernel: it decides as its Python twin does, counts what it drops, and changes without a gap."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.kernel.conftest import Box

from shipwall.abi.calls import CALLS
from shipwall.kernel.cgroups import read_id
from shipwall.kernel.sensor import DEFAULT_CALLS, EVENTS, UNFILTERED, Sensor
from shipwall.model.event import AnyEvent, Cgroup, Exec, Exit, Fork, Open, Privilege
from shipwall.runtime.lower import KernelFilter, lower
from shipwall.runtime.lower.simulate import passes, view_of
from shipwall.runtime.rules import RuleSet, parse_rules

pytestmark = [pytest.mark.root, pytest.mark.bpf]

NAMES = ["shadow", "x.pem", "plain"]
ALWAYS = (Exec, Exit, Fork, Cgroup, Privilege)

# Acts of every family that the filter judges, the same each time.
ACTS = """
os.chdir(PLACE)
def attempt(act, *arguments, **named):
    try:
        return act(*arguments, **named)
    except OSError:
        return None
def opened(*arguments, **named):
    fd = attempt(os.open, *arguments, **named)
    if fd is not None:
        os.close(fd)
for name in ("shadow", "x.pem", "sub/deep.pem", "sub/../shadow", "./sub//deep.pem", "plain", "none", "\\u00fc/id_rsa", "link",
             "etc", "id_rsa.pub", "a" * 200, "sub/" + "b" * 40 + "/end.pem"):
    opened(name, os.O_RDONLY)
    opened(PLACE + "/" + name, os.O_RDONLY)
    opened(name, os.O_RDWR)
    opened(name, os.O_WRONLY | os.O_CREAT, 0o600)
    opened(name, os.O_RDONLY | os.O_TRUNC)
    opened(name, os.O_PATH)
    call(2, (PLACE + "/" + name).encode(), 0)
    call(437, -100, name.encode(), struct.pack("<QQQ", os.O_RDONLY, 0, 0), 24)
opened(".", os.O_RDONLY | os.O_DIRECTORY)
opened("/", os.O_RDONLY)
opened(".", os.O_RDWR | os.O_TMPFILE, 0o600)
call(85, b"made", 0o600)
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
for family, where in ((socket.AF_INET, ("127.0.0.1", listener.getsockname()[1])), (socket.AF_INET, ("127.0.0.1", 1)),
                      (socket.AF_INET6, ("::1", 1)), (socket.AF_INET6, ("::ffff:127.0.0.1", listener.getsockname()[1])),
                      (socket.AF_UNIX, PLACE + "/none.sock"), (socket.AF_UNIX, "\\0abstract")):
    with socket.socket(family) as one:
        attempt(one.connect, where)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    attempt(one.connect, ("127.0.0.2", 53))
attempt(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, 0)
attempt(socket.socket, 99)
for target in ("/etc/shadow", "x", "/etc/", ""):
    attempt(os.symlink, target, "made-link")
    attempt(os.unlink, "made-link")
for first in (PLACE + "/shadow", "shadow", PLACE + "//shadow", PLACE + "/./shadow"):
    attempt(os.link, first, "hard")
    attempt(os.unlink, "hard")
outside = os.open("/", os.O_RDONLY)
os.chroot(PLACE)
attempt(os.link, "/shadow", "/hard")
attempt(os.unlink, "/hard")
os.fchdir(outside)
os.chroot(".")
os.chdir(PLACE)
os.close(outside)
for mode in (0o600, 0o4700):
    attempt(os.chmod, PLACE + "/plain", mode)
attempt(os.chown, PLACE + "/plain", 1000, -1)
attempt(os.chown, PLACE + "/plain", 0, 0)
call(101, 16, 999999, 0, 0)
call(101, 2, 999999, 0, 0)
call(272, 0x04000000)
call(272, 0)
call(165, b"none", b"/none", b"none", 0, 0)
call(165, b"none", PLACE.encode(), b"none", 0, 0)
copy = os.dup(0)
with socket.socket() as one:
    os.dup2(one.fileno(), 0)
os.dup2(copy, 0)
call(313, 0, b"", 0)
os.setresuid(65534, 65534, 65534)
opened(PLACE + "/secret/shadow", os.O_RDONLY)
opened("secret/shadow", os.O_RDWR)
os.kill(os.getpid(), 0)
"""

RULES = {
    "stable-like": [
        "evt.is_open_read = true and fd.typechar = f and (fd.name endswith /shadow or fd.directory = PLACE/sub) and not proc.name = cron",
        "evt.is_open_write = true and fd.num >= 0 and fd.filename in (plain, made) and evt.arg.flags contains O_TRUNC",
        "evt.is_open_read = true and fd.nameraw contains ../ and fd.nameraw glob *s*../*",
        "evt.type in (symlink, symlinkat) and evt.arg.target in (/etc/shadow, /etc/)",
        "evt.type in (link, linkat) and evt.arg.oldpath in (PLACE/shadow)",
        "evt.type = connect and fd.typechar in (4, 6) and not fd.net in (127.0.0.1/32)",
        "evt.type = socket and evt.arg.domain contains AF_PACKET",
        "evt.type = ptrace and evt.arg.request contains PTRACE_ATTACH and evt.res != SUCCESS",
        "evt.type = unshare and evt.arg.flags contains CLONE_NEW",
    ],
    "writers": [
        "evt.is_open_write = true and fd.name pmatch (PLACE/sub) and evt.rawres >= 0",
        "evt.is_open_write = true and fd.filename endswith .pem and not fd.name contains /sub/",
        "evt.type in (chmod, fchmodat) and evt.arg.mode contains S_ISUID",
        "evt.type in (chown, fchownat, lchown) and evt.arg.uid = 1000",
        "evt.type = mount and evt.res = ENOENT",
        "shipwall.denied = true and evt.type in (open, openat)",
    ],
    "floating": [
        "fd.name contains id_rsa or fd.name glob *e*d.pem",
        "evt.is_open_create = true and user.uid = 0 and not fd.filename startswith id_",
        "evt.type in (dup, dup2, dup3) and evt.rawres in (0, 1, 2)",
        "evt.type = connect and (fd.l4proto = udp or fd.sport < 10 and evt.failed = true)",
    ],
    "nothing": ["evt.num = 1 and evt.type = accept"],
}


def rules_of(conditions: list[str], place: Path) -> RuleSet:
    """Rules with these conditions."""
    each = [
        {"rule": f"R{at}", "desc": "d", "condition": text.replace("PLACE", str(place)), "output": "o", "priority": "INFO"}
        for at, text in enumerate(conditions)
    ]
    return parse_rules(json.dumps(each).encode(), "rules")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with files to be opened."""
    for folder in ("sub", "secret", "ü", "etc"):
        (tmp_path / folder).mkdir()
    for name in ("shadow", "x.pem", "sub/deep.pem", "plain", "secret/shadow", "ü/id_rsa", "id_rsa.pub", "link-to"):
        (tmp_path / name).write_text("x")
    (tmp_path / "link").symlink_to("shadow")
    (tmp_path / "secret").chmod(0o700)
    tmp_path.chmod(0o755)
    return tmp_path


@pytest.fixture
def filtering(sensor: Sensor) -> Iterator[Callable[[KernelFilter], None]]:
    """Puts a filter in force for the test."""
    sensor.set_calls([call.name for call in CALLS])
    yield sensor.set_filter
    sensor.set_filter(None)
    sensor.set_calls(DEFAULT_CALLS)


def told(event: AnyEvent, place: Path) -> tuple[str, ...]:
    """What an event says, without when and who."""
    without = {"seq", "time_ns", "cgroup_id", "pid", "tid", "ppid", "ns_pid", "inode", "device", "descriptors", "local_port", "port", "raw",
               "paths", "address", "fd", "comm", "truncated"}  # fmt: skip
    name = type(event).__name__
    return (name, *(f"{field}={getattr(event, field)!r}" for field in event.__struct_fields__ if field not in without))


def acted(box: Box, place: Path, filter_: KernelFilter | None, name: str) -> list[AnyEvent]:
    """The events of the acts, in a folder as fresh as before."""
    for made in ("none", "made", "a" * 200):
        (place / made).unlink(missing_ok=True)
    (place / "plain").chmod(0o644)
    box.events = []
    box.sensor.set_filter(filter_)
    box.run(f"PLACE = {str(place)!r}\n{ACTS}")
    assert box.events, name
    return box.events


@pytest.mark.parametrize("name", sorted(RULES))
def test_the_kernel_decides_as_its_twin(
    box: Box,
    place: Path,
    filtering: Callable[[KernelFilter], None],
    name: str,
) -> None:
    rules = rules_of(RULES[name], place)
    found = lower(rules)
    box.sensor.set_open_prefixes(["/"])
    everything = acted(box, place, None, name)
    before = box.sensor.counters()
    assert before.filtered_by_cgroup.get(box.id, {}) == {}
    some = acted(box, place, found, name)
    expected = Counter(told(event, place) for event in everything if isinstance(event, ALWAYS) or passes(found, view_of(event)))
    assert Counter(told(event, place) for event in some) == expected
    judged = [event for event in everything if not isinstance(event, ALWAYS)]
    assert 0 < sum(passes(found, view_of(event)) for event in judged) + (name == "nothing") < len(judged)
    after = box.sensor.counters()
    assert after.issued[box.id] == after.delivered_by_cgroup[box.id] + sum(after.filtered_by_cgroup[box.id].values())
    assert sum(after.filtered_by_cgroup[box.id].values()) == len(everything) - len(some)
    assert not after.lost
    assert not after.over


def test_an_unfiltered_cgroup_is_told_of_everything(
    box: Box, folder: Path, place: Path, filtering: Callable[[KernelFilter], None]
) -> None:
    filtering(lower(rules_of(RULES["nothing"], place)))
    code = f"os.close(os.open({str(place / 'plain')!r}, os.O_WRONLY))"
    box.run(code)
    assert box.seen(Open) == []
    box.sensor.set_flags(read_id(folder), EVENTS | UNFILTERED)
    box.run(code)
    assert [event.path for event in box.seen(Open) if isinstance(event, Open)] == [str(place / "plain")]


def test_a_change_of_rules_loses_nothing_that_both_ask_for(
    box: Box,
    place: Path,
    filtering: Callable[[KernelFilter], None],
) -> None:
    """While a process opens without a pause, two rule sets take turns; what only one asks for may come or not, what both do comes."""
    calls = 5_000
    both = f"evt.is_open_read = true and fd.name = {place}/shadow"
    sets = [
        (lower(rules_of([both, f"evt.is_open_read = true and fd.name startswith {place}/{one}"], place)), ["open", "openat"])
        for one in ("x", "plain")
    ]
    box.sensor.set_rules(*sets[0])
    opening = threading.Thread(
        target=box.run,
        args=(f"for _ in range({calls}):\n for name in {NAMES}:\n  os.close(os.open({str(place)!r} + '/' + name, 0))",),
        kwargs={"poll": False},
    )
    changes: list[list[str]] = []

    def change() -> None:
        while opening.is_alive():
            for wanted, names in sets:
                box.sensor.set_rules(wanted, names)
                changes.append(names)

    changing = threading.Thread(target=change)
    opening.start()
    changing.start()
    box.until(lambda: not opening.is_alive() and not changing.is_alive() and not box.sensor.counters().pending_bytes)
    counters = box.sensor.counters()
    lost, over = (sum(found.get(box.id, {}).values()) for found in (counters.lost_by_cgroup, counters.over_by_cgroup))
    filtered = sum(counters.filtered_by_cgroup[box.id].values())
    assert counters.issued[box.id] == counters.delivered_by_cgroup[box.id] + lost + over + filtered
    opened = Counter(event.path.rpartition("/")[2] for event in box.seen(Open) if isinstance(event, Open))
    assert len(changes) > 4
    assert opened["shadow"] + lost + over >= calls
    assert filtered > 0
    assert opened["x.pem"] + opened["plain"] + filtered + lost + over >= 2 * calls  # each was delivered or counted
