"""Runs in the guest: what the hooks refuse on this kernel, said in one line."""

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

ATTEMPTS = 300

# Each act is tried in a folder of its own file system; it says how often it was done.
_ACTS = """
import json, os, sys
open(sys.argv[1] + "/cgroup.procs", "w").write("0")
top = "/tmp/names/"
def done(act):
    try: act(); return 1
    except PermissionError: return 0
def create():
    os.close(os.open(top + "new", os.O_CREAT | os.O_EXCL | os.O_WRONLY)); os.unlink(top + "new")
def remove(): os.unlink(top + "kept"); os.close(os.open(top + "kept", os.O_CREAT | os.O_WRONLY))
def rename(): os.rename(top + "kept", top + "moved"); os.rename(top + "moved", top + "kept")
def over(): os.rename(top + "other", top + "kept"); os.close(os.open(top + "other", os.O_CREAT | os.O_WRONLY))
def read(): os.close(os.open(top + "secret", os.O_RDONLY))
def run():
    pid = os.fork()
    if pid == 0:
        try: os.execv(top + "tool", ["tool"])
        except OSError as error: os._exit(error.errno)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1: raise PermissionError
acts = {"create": create, "remove": remove, "rename": rename, "rename over": over, "open": read, "exec": run,
        "open below": lambda: os.close(os.open(top + "deep/er/file", os.O_RDONLY)), "open another": lambda: open(top + "secret2").close()}
for line in sys.stdin:
    print(json.dumps({name: sum(done(act) for _ in range(int(line))) for name, act in acts.items()}), flush=True)
"""


def names() -> dict[str, object]:
    """The name guard by BPF LSM: without it, with it, with it in mode monitor."""
    from shipwall.kernel.name_guard import NameGuard

    top, cgroup = Path("/tmp/names"), Path("/sys/fs/cgroup/names")
    (top / "deep/er").mkdir(parents=True)
    for name in ("kept", "other", "secret", "secret2", "deep/er/file"):
        (top / name).write_text("x")
    (top / "tool").write_bytes(Path("/bin/busybox").read_bytes())
    (top / "true").symlink_to("/bin/busybox")
    (top / "tool").chmod(0o755)
    cgroup.mkdir()
    command = [sys.executable, "-I", "-S", "-c", _ACTS, str(cgroup)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None

        def ask(attempts: int) -> object:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(f"{attempts}\n")
            child.stdin.flush()
            return json.loads(child.stdout.readline())

        without = ask(5)
        refused = {
            "/names/new": frozenset({"create"}),
            "/names/kept": frozenset({"remove", "rename"}),
            "/names/secret": frozenset({"open"}),
            "/names/deep/": frozenset({"open"}),
            "/names/tool": frozenset({"exec"}),
        }
        cgroup_id = cgroup.stat().st_ino
        with NameGuard() as guard:
            guard.put(cgroup_id, refused)
            (top / "kept").read_bytes()  # outside the cgroup nothing is refused
            denied = ask(ATTEMPTS)
            counts = guard.counts(cgroup_id)
            guard.put(cgroup_id, refused, monitor=True)
            monitored = ask(1)
            would = guard.counts(cgroup_id)
        after = ask(1)
        child.stdin.close()
    return {"without": without, "denied": denied, "counts": counts, "monitored": monitored, "would": would, "after": after}


def guards() -> dict[str, object]:
    """The self-test's network and file acts."""
    from shipwall.adapters.instance import Instance
    from shipwall.journeys.selftest import run_selftest

    Path("/tmp/state").mkdir()
    found = run_selftest(Instance(Path("/tmp/state")), "guest", ATTEMPTS, ("open", "connect", "bind", "sendto"))
    return {leak.action: [leak.completed, leak.attempts, leak.without_guard, leak.unmeasured] for leak in found.leaks}


def tell(part: object) -> object:
    """What a part gives, or how it failed."""
    try:
        return part()  # type: ignore[operator]
    except Exception:  # noqa: BLE001  it is the answer
        return traceback.format_exc()


if __name__ == "__main__":
    print(
        "\nguest-result " + json.dumps({"kernel": os.uname().release, "names": tell(names), "guards": tell(guards)}), flush=True
    )
