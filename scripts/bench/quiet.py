"""How quiet a profile is: real daemons under load, learnt from two replicas, one after the other, then a third judged.

The daemons run in control groups of our own, one after its own capture has begun, so that start and end are in it. QUIET_LEARN_S and
QUIET_JUDGE_S say for how long; an hour of judging is the issue's measure, minutes are the default. A daemon that is not installed is said.
"""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scripts.bench.table import Row

from shipwall.adapters.captures import read_capture
from shipwall.journeys.profiles import Chosen, judge_capture, learn_capture
from shipwall.kernel.cgroups import unified_mount
from shipwall.runtime.profile.document import Profile
from shipwall.runtime.profile.judge import Judge, explain
from shipwall.runtime.profile.learn import Learner, begin

LEARN_S = int(os.environ.get("QUIET_LEARN_S", "60"))
JUDGE_S = int(os.environ.get("QUIET_JUDGE_S", "120"))
PORT = 18080
NOBODY = 65534
_IMAGE = "sha256:" + "0" * 64


@dataclass
class Service:
    """A daemon: how it is prepared in its folder, started, loaded once."""

    name: str
    program: str
    prepare: Callable[[Path], None]
    command: Callable[[Path], list[str]]
    load: Callable[[Path], None]
    user: int = 0


def services() -> list[Service]:
    """Those that can run here."""
    found = [
        Service("Redis", _find("/usr/bin/redis-check-rdb"), lambda _: None, _redis, _load_redis),
        Service("PostgreSQL", _postgres_file("postgres"), _prepare_postgres, _postgres, _load_postgres, NOBODY),
        Service("nginx", _find(os.environ.get("NGINX", "/usr/sbin/nginx")), _prepare_nginx, _nginx, _load_nginx),
    ]
    return [service for service in found if service.program]


def rows() -> list[Row]:
    """One row for each daemon, run beside each other."""
    found = services()
    with ThreadPoolExecutor(len(found) or 1) as pool:
        made = list(pool.map(_measure, found))
    missing = {"Redis", "PostgreSQL", "nginx"} - {service.name for service in found}
    return made + [Row(f"false anomalies of {name}", "not measured: not installed") for name in sorted(missing)]


def _measure(service: Service) -> Row:
    what = f"false anomalies of {service.name}, {JUDGE_S} s under load after two of {LEARN_S} s"
    with tempfile.TemporaryDirectory(prefix="shipwall-quiet-") as place:
        learner, count = Learner(begin(_IMAGE, "", ("/",))), 0
        for replica in ("a1" * 32, "b2" * 32):
            learnt = _record(service, Path(place), replica, LEARN_S)
            learner, more = learn_capture(learner.profile(), read_capture(learnt), _chosen(replica))
            count += more
        unseen, profile = learner.progress().unseen, learner.finish((), time.time_ns())
        judged = _record(service, Path(place), "c3" * 32, JUDGE_S)
        found, events = judge_capture(Judge(profile), read_capture(judged), _chosen("c3" * 32))
    for anomaly, _program in found:
        sys.stderr.write(f"bench: {service.name}: {explain(anomaly, profile, '', '')}\n")
    told = f"{len(found)} in {events:,} events (learnt {_words(profile)} {unseen:.1%} expected to be new, from {count:,})"
    if min(count, events) < 100:
        sys.exit(f"bench: {service.name} was not under load: nothing was measured")
    return Row(what, told, "0 in an hour", not found if JUDGE_S >= 3600 or found else None)


def _record(service: Service, place: Path, replica: str, seconds: int) -> Path:
    """A capture of one run of the daemon, from before its start to after its end, in a group named as an engine names a container's."""
    group = unified_mount() / f"shipwall-bench-quiet-{os.getpid()}-{service.name.lower()}"
    file, folder = (
        place / f"{replica}.capture",
        Path(tempfile.gettempdir()) / f"shipwall-quiet-{service.name.lower()}",
    )  # the same each time
    group.mkdir()
    folder.mkdir(mode=0o755)
    try:
        os.chown(folder, service.user, service.user)
        service.prepare(folder)
        words = [
            sys.executable,
            "-m",
            "shipwall",
            "capture",
            f"/{group.name}",
            "--for",
            f"{seconds}s",
            "--max-size",
            "2000",
            "--to",
            file,
        ]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as recorder:
            _until(lambda: file.exists() and file.stat().st_size > 200, recorder)
            ends = time.monotonic() + seconds
            (group / replica).mkdir()
            daemon = _start(service, folder, group / replica)
            try:
                time.sleep(3)
                while time.monotonic() < ends - 8:
                    service.load(folder)
                    time.sleep(0.5)
            finally:
                daemon.terminate()
                daemon.wait(30)
            recorder.wait(120)
    finally:
        (group / "cgroup.kill").write_text("1")
        shutil.rmtree(folder, ignore_errors=True)
        for one in (group / replica, group):
            if one.exists():
                _until(lambda one=one: not (one / "cgroup.procs").read_text())
                one.rmdir()
    return file


def _start(service: Service, folder: Path, group: Path) -> subprocess.Popen[bytes]:
    who = ["setpriv", f"--reuid={service.user}", f"--regid={service.user}", "--clear-groups"] if service.user else []
    name, *arguments = service.command(folder)
    enter = 'echo $$ > "$0/cgroup.procs"; exec "$@"'
    script = [
        "bash",
        "-c",
        enter,
        str(group),
        *who,
        "bash",
        "-c",
        'name=$0; program=$1; shift; exec -a "$name" "$program" "$@"',
        name,
    ]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen([*script, service.program, *arguments], stdout=log, stderr=log, cwd=folder)


def _until(is_so: Callable[[], bool], child: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + 240  # of a busy machine that loads the sensor
    while not is_so():
        if time.monotonic() > deadline or (child is not None and child.poll() is not None):
            sys.exit("bench: what was waited for did not come")
        time.sleep(0.05)


def _chosen(replica: str) -> Chosen:
    return Chosen(_IMAGE, (replica,), lambda _config: None)


def _words(profile: Profile) -> str:
    kinds = "whole" if profile.limit_bits is not None else "too few for the order of calls"
    return f"{len(profile.acts)} acts, {len(profile.set_aside)} set aside, stretches {kinds},"


def _find(path: str) -> str:
    return path if Path(path).is_file() else ""


def _postgres_file(name: str) -> str:
    return next((str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), "")


def _redis(folder: Path) -> list[str]:
    return ["redis-server", "--port", "0", "--unixsocket", f"{folder}/s", "--save", "30 1000", "--dir", str(folder)]


def _load_redis(folder: Path) -> None:
    words = ["redis-benchmark", "-s", f"{folder}/s", "-t", "get,set,lpush,incr", "-n", "500", "-c", "10", "-q"]
    subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, timeout=60)


def _prepare_postgres(folder: Path) -> None:
    words = [_postgres_file("initdb"), "-D", f"{folder}/data", "-U", "bench", "-A", "trust", "--no-sync", "--no-locale"]
    subprocess.run(words, stdout=subprocess.DEVNULL, check=True, timeout=120, user=NOBODY, group=NOBODY, cwd=folder)


def _postgres(folder: Path) -> list[str]:
    return ["postgres", "-D", f"{folder}/data", "-k", str(folder), "-c", "listen_addresses="]


def _load_postgres(folder: Path) -> None:
    where = ["-h", str(folder), "-U", "bench", "postgres"]
    if not (folder / "made").exists():
        subprocess.run(["pgbench", "-i", "-q", *where], check=True, capture_output=True, timeout=120)
        (folder / "made").touch()
    subprocess.run(["pgbench", "-n", "-c", "4", "-t", "20", *where], check=True, capture_output=True, timeout=120)


def _prepare_nginx(folder: Path) -> None:
    (folder / "www").mkdir()
    for number in range(40):
        (folder / f"www/{number}.html").write_text("x" * 100 * number)
    (folder / "nginx.conf").write_text(
        f"worker_processes 2; pid {folder}/pid; error_log {folder}/error; daemon off; user nobody nogroup;\n"
        f"events {{}} http {{ access_log {folder}/access; server {{ listen 127.0.0.1:{PORT}; root {folder}/www; }} }}\n"
        .replace("http {", f"http {{ {' '.join(f'{kind}_temp_path {folder}/{kind};' for kind in _NGINX_FOLDERS)}")
    )  # fmt: skip


_NGINX_FOLDERS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def _nginx(folder: Path) -> list[str]:
    return ["nginx", "-p", str(folder), "-c", f"{folder}/nginx.conf"]


def _load_nginx(_folder: Path) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    for number in range(60):
        connection.request("GET", f"/{number}.html")
        connection.getresponse().read()
    connection.close()
