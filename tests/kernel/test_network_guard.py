"""What a container's rules refuse of the network never happens, is told, and stays refused when whoever asked for it is killed."""

from __future__ import annotations

import ipaddress
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.conftest import empty

from shipwall.adapters.instance import Instance
from shipwall.adapters.journal import Journal
from shipwall.journeys.cleanup import clean_up
from shipwall.kernel.bpf import link_ids
from shipwall.kernel.cgroups import read_id, unified_mount
from shipwall.kernel.network_guard import Decision, NetworkGuard, take_away
from shipwall.kernel.pins import is_pin_folder
from shipwall.model.errors import KernelError
from shipwall.runtime.network_tables import Flow, Refusal, compile_tables, decide

pytestmark = [pytest.mark.root, pytest.mark.bpf]

# In a network of its own, so that nothing leaves: an act ends with the guard's EPERM or with what the kernel says without it.
_ACTS = """
import ctypes, errno, os, socket, sys
open(sys.argv[1] + '/cgroup.procs', 'w').write('0')
assert ctypes.CDLL(None, use_errno=True).unshare(0x40000000) == 0
kinds = {'tcp': socket.SOCK_STREAM, 'udp': socket.SOCK_DGRAM}
for line in sys.stdin:
    hook, protocol, address, port = line.split()
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    with socket.socket(family, kinds[protocol]) as one:
        one.setblocking(False)
        try:
            if hook == 'connect': one.connect((address, int(port)))
            elif hook == 'bind': one.bind((address, int(port)))
            elif hook == 'fastopen': one.sendto(b'x', socket.MSG_FASTOPEN, (address, int(port)))
            elif hook == 'sendmsg': one.sendmsg([b'x'], [], 0, (address, int(port)))
            else: one.sendto(b'x', (address, int(port)))
            print('done')
        except OSError as error:
            print(errno.errorcode[error.errno])
"""


def acts(folder: Path, *lines: str) -> list[str]:
    """How each act ended, of a process inside the cgroup."""
    command = [sys.executable, "-I", "-S", "-c", _ACTS, str(folder)]
    done = subprocess.run(command, input="\n".join(lines), check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.split()


@pytest.fixture
def guard(tmp_path: Path, objects: Path) -> Iterator[NetworkGuard]:
    """A guard whose traces are gone at the end."""
    try:
        with NetworkGuard(tmp_path / "guard") as made:
            yield made
    finally:
        take_away(tmp_path / "guard")


def refusal(
    *hooks: str, within: tuple[str, ...] = ("0.0.0.0/0", "::/0"), ports: tuple[int, int] = (0, 65535), **more: str
) -> Refusal:
    return Refusal(
        rule=more.pop("rule", "r"),
        hooks=frozenset(hooks),
        within=tuple(ipaddress.ip_network(text) for text in within),
        ports=(ports,),
        **more,
    )


def test_what_is_refused_ends_with_eperm_and_is_told(guard: NetworkGuard, folder: Path) -> None:
    guard.apply(folder, (
        refusal("connect", "sendmsg", within=("127.0.0.0/8",), ports=(4444, 4444), rule="no miner"),
        refusal("bind", ports=(1, 1023), rule="no low port"),
        refusal("connect", within=("::1/128",), rule="watched", mode="monitor"),
    ))  # fmt: skip
    found = acts(
        folder, "connect tcp 127.0.0.1 4444", "connect tcp ::ffff:127.0.0.1 4444", "fastopen tcp 127.0.0.1 4444",
        "connect udp 127.0.0.1 4444", "sendto udp 127.0.0.1 4444", "sendmsg udp ::ffff:127.0.0.1 4444", "bind tcp 0.0.0.0 80",
        "bind udp :: 1023", "connect tcp ::1 4444", "connect tcp 127.0.0.1 4445", "bind tcp 0.0.0.0 8080", "bind tcp 0.0.0.0 0",
    )  # fmt: skip
    assert found[:8] == ["EPERM"] * 8
    assert "EPERM" not in found[8:]
    assert found[10:] == ["done", "done"]
    told = list(guard.decisions())
    assert [(one.hook, one.protocol, one.address, one.port, one.denied, one.rules) for one in told] == [
        ("connect", "tcp", "127.0.0.1", 4444, True, ("no miner",)),
        ("connect", "tcp", "::ffff:7f00:1", 4444, True, ("no miner",)),
        ("connect", "tcp", "127.0.0.1", 4444, True, ("no miner",)),
        ("connect", "udp", "127.0.0.1", 4444, True, ("no miner",)),
        ("sendmsg", "udp", "127.0.0.1", 4444, True, ("no miner",)),
        ("sendmsg", "udp", "127.0.0.1", 4444, True, ("no miner",)),
        ("bind", "tcp", "0.0.0.0", 80, True, ("no low port",)),
        ("bind", "udp", "::", 1023, True, ("no low port",)),
        ("connect", "tcp", "::1", 4444, False, ("watched",)),
    ]
    first: Decision = told[0]
    assert (first.cgroup_id, first.uid, first.pid == first.tid, first.time_ns > 0) == (read_id(folder), 0, True, True)
    assert guard.counts(read_id(folder)) == ([6, 2, 1], 0)


def test_the_kernel_decides_as_the_definition(guard: NetworkGuard, folder: Path) -> None:
    chosen = random.Random(7)
    within = ("10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "fd00::/8", "::/0", "::ffff:10.0.0.0/104", "127.0.0.1/32")
    made = tuple(
        Refusal(
            rule=str(number),
            hooks=frozenset(chosen.sample(["connect", "bind", "sendmsg"], 2)),
            protocols=frozenset(chosen.sample(["tcp", "udp"], chosen.randint(1, 2))),
            within=tuple(ipaddress.ip_network(text) for text in chosen.sample(within, 2)),
            outside=tuple(ipaddress.ip_network(text) for text in chosen.sample(within, 1)),
            ports=((low := chosen.choice([1, 80, 443]), chosen.choice([low, 1023, 65535])),),
        )
        for number in range(40)
    )
    addresses = [
        "10.0.0.1",
        "10.1.0.1",
        "11.0.0.1",
        "127.0.0.1",
        "::1",
        "fd00::1",
        "2001:db8::1",
        "::ffff:10.1.0.1",
        "::ffff:11.0.0.1",
    ]
    lines = [
        f"{hook} {protocol} {address} {port}"
        for hook, protocols in (("connect", ("tcp", "udp")), ("sendto", ("udp",)))
        for protocol in protocols
        for address in addresses
        for port in (1, 80, 81, 443, 1023, 1024, 65535)
    ]
    # Of 40 refusals something is always met: take few, many times.
    for start in range(0, 40, 4):
        few = made[start : start + 4]
        guard.apply(folder, few)
        expected = []
        for line in lines:
            hook, protocol, address, port = line.split()
            parsed = ipaddress.ip_address(address)
            if hook == "sendto":  # the kernel sends to an IPv4 address inside IPv6 as to an IPv4 address
                parsed = getattr(parsed, "ipv4_mapped", None) or parsed
            flow = Flow("sendmsg" if hook == "sendto" else hook, protocol, parsed.version, parsed.packed, int(port))
            expected.append(bool(decide(few, flow)))
        assert [ended == "EPERM" for ended in acts(folder, *lines)] == expected
        assert True in expected
        list(guard.decisions())


def test_it_holds_below_the_cgroup_and_nowhere_else(guard: NetworkGuard, folder: Path) -> None:
    inner, other = folder / "inner", unified_mount() / f"{folder.name}-other"
    inner.mkdir()
    other.mkdir()
    try:
        guard.apply(folder, (refusal("connect"),))
        assert acts(inner, "connect tcp 127.0.0.1 1") == ["EPERM"]
        assert acts(other, "connect tcp 127.0.0.1 1") != ["EPERM"]
        assert {one.cgroup_id for one in guard.decisions()} == {read_id(folder)}
    finally:
        empty(other)


def test_a_change_leaves_no_gap_and_no_tables_behind(guard: NetworkGuard, folder: Path) -> None:
    guard.apply(folder, (refusal("connect", ports=(1, 2)), refusal("bind", ports=(3, 3))))
    hammer = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _ACTS, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert hammer.stdin is not None
    assert hammer.stdout is not None
    hammer.stdin.write("connect tcp 127.0.0.1 1\n" * 3000)
    hammer.stdin.flush()
    for number in range(20):
        guard.apply(folder, (refusal("connect", ports=(1, 1), rule=str(number)),))
    output, _ = hammer.communicate(timeout=60)
    assert output.split() == ["EPERM"] * 3000
    one = compile_tables((refusal("connect", ports=(1, 1)),))
    kept = {
        name: len(guard._maps[name].keys(size)) for name, size in (("networks", 28), ("ports", 12), ("acts", 8), ("counts", 8))
    }
    assert kept == {"networks": len(one.networks), "ports": len(one.ports), "acts": len(one.acts), "counts": 2}
    assert sorted(path.name.split("-")[1] for path in (guard._pins / guard._version / "links").iterdir()) == [
        "guard_connect4",
        "guard_connect6",
    ]
    guard.release(read_id(folder))
    assert acts(folder, "connect tcp 127.0.0.1 1") != ["EPERM"]
    assert guard.in_force() == {}


def test_killed_it_still_refuses_and_the_next_one_finds_it(tmp_path: Path, objects: Path, folder: Path) -> None:
    place = tmp_path / "guard"
    before = len(link_ids())
    code = f"""
import ipaddress, os, signal
from pathlib import Path
from shipwall.kernel.network_guard import NetworkGuard
from shipwall.runtime.network_tables import Refusal
guard = NetworkGuard(Path({str(place)!r}))
guard.apply(Path({str(folder)!r}), (Refusal(rule="kept", hooks=frozenset({{"connect"}}), within=(ipaddress.ip_network("127.0.0.0/8"),)),))
os.kill(os.getpid(), signal.SIGKILL)
"""
    try:
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
        assert acts(folder, "connect tcp 127.0.0.1 9") == ["EPERM"]
        with NetworkGuard(place) as second:
            assert list(second.in_force()) == [read_id(folder)]
            assert second.is_attached(read_id(folder))
            assert [one.rules for one in second.decisions()] == [("kept",)]
            assert second.counts(read_id(folder)) == ([1], 0)
            assert len(link_ids()) == before + 2
            second.apply(folder, (refusal("connect", ports=(9, 9), rule="new"),))
            assert acts(folder, "connect tcp 127.0.0.1 9", "connect tcp 127.0.0.1 10")[0] == "EPERM"
            assert [one.rules for one in second.decisions()] == [("new",)]
    finally:
        said = take_away(place)
    assert said == ["took 2 links of the network guard off"]
    assert acts(folder, "connect tcp 127.0.0.1 9") != ["EPERM"]
    assert not place.exists()


def test_killed_between_any_two_steps_nothing_is_refused_by_half_and_the_next_one_goes_on(
    tmp_path: Path, objects: Path, folder: Path
) -> None:
    place = tmp_path / "guard"
    code = """
import os, signal, sys
from pathlib import Path
from shipwall.kernel import network_guard
from shipwall.runtime.network_tables import Refusal
left = [int(sys.argv[3])]
def dying(made):
    def run(*given):
        left[0] -= 1
        if left[0] < 0: os.kill(os.getpid(), signal.SIGKILL)
        return made(*given)
    return run
for name in ("pin", "link_to_cgroup", "mount_pins"): setattr(network_guard, name, dying(getattr(network_guard, name)))
network_guard.Map.update = dying(network_guard.Map.update)
with network_guard.NetworkGuard(Path(sys.argv[1])) as guard:
    guard.apply(Path(sys.argv[2]), (Refusal(rule="kept", hooks=frozenset({"connect"})),))
"""
    ended, step = -signal.SIGKILL, 0
    try:
        while ended == -signal.SIGKILL:
            take_away(place)
            ended = subprocess.run([sys.executable, "-c", code, place, folder, str(step)], check=False).returncode
            assert acts(folder, "connect tcp 127.0.0.1 9") == (["EPERM"] if ended == 0 else ["ENETUNREACH"])
            if step % 12 == 0:
                with NetworkGuard(place) as second:
                    second.apply(folder, (refusal("connect", rule="second"),))
                assert acts(folder, "connect tcp 127.0.0.1 9") == ["EPERM"]
            step += 3
        assert ended == 0
        assert step > 20
    finally:
        take_away(place)


def test_a_cgroup_that_goes_takes_its_refusals_along(guard: NetworkGuard, folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    guard.apply(inner, (refusal("connect"),))
    gone = read_id(inner)
    inner.rmdir()
    assert guard.sweep() == [gone]
    assert (guard.in_force(), list((guard._pins / guard._version / "links").iterdir())) == ({}, [])
    with pytest.raises(KernelError, match="No such file"):
        guard.apply(inner, (refusal("connect"),))


def test_cleanup_finds_it_in_the_journal(tmp_path: Path, objects: Path, folder: Path) -> None:
    instance = Instance(tmp_path)
    journal = Journal(instance.state / "journal.jsonl")
    journal.begin(str(instance.network_guard), "guard-network")
    with NetworkGuard(instance.network_guard) as made:
        made.apply(folder, (refusal("connect"),))
    journal.confirm(str(instance.network_guard), "guard-network")
    report = clean_up(instance)
    assert [(done.act, done.what) for done in report.done] == [("guard-network", ("took 2 links of the network guard off",))]
    assert not is_pin_folder(instance.network_guard / "pins")
    assert acts(folder, "connect tcp 127.0.0.1 9") != ["EPERM"]
