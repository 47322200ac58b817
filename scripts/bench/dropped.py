"""Which share of what happens in healthy services the filter drops: nginx, Redis and a build, with the stable rules in force.

Each part runs in a cgroup of its own; its share is what the kernel counted there, filtered of issued. Everything that processes are
followed by (programs started, forks, ends) is delivered and counts against the filter.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from scripts.bench.table import Row

from shipwall.adapters.instance import find_cache
from shipwall.adapters.rule_files import load_rules
from shipwall.agent.asking import ask_kernel
from shipwall.kernel.cgroups import join
from shipwall.kernel.sensor import CHILDREN, EVENTS, Sensor
from shipwall.model.event import AnyEvent
from shipwall.runtime.rules import RuleSet, parse_rules

CONFORMANCE = Path(os.environ.get("SHIPWALL_CONFORMANCE", Path(__file__).parents[3] / "shared/conformance"))
STABLE = CONFORMANCE / "falco" / "falco_rules.yaml"
REDIS = Path("/usr/bin/redis-check-rdb")  # the server itself, when called by the server's name
REQUESTS = 3_000
SOURCES = 40
TARGET = "at least 95 %"
_SOURCE = """#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include <pthread.h>
int part_%d(const char *text) { return printf("%%zu", strlen(text)) + getpid(); }
"""
_NGINX = """daemon off; user root; worker_processes 2; pid PLACE/pid; error_log PLACE/error;
events { }
http { access_log PLACE/access; client_body_temp_path PLACE/a; proxy_temp_path PLACE/b; fastcgi_temp_path PLACE/c;
uwsgi_temp_path PLACE/d; scgi_temp_path PLACE/e; server { listen unix:PLACE/s; root PLACE/www; } }
"""


def measure(folder: Path) -> list[Row]:
    """The rows; `folder` is a cgroup below which the parts get their own."""
    rules, said = _rules()
    what = f"dropped in the kernel by {said}, of nginx + Redis + build"
    shares: dict[str, tuple[int, int]] = {}
    missing = []
    with Sensor(ring_bytes=16 * 1024 * 1024) as sensor:
        ask_kernel(sensor, rules)
        if not sensor.self_check(lambda _event: None):
            sys.exit("bench: the sensor did not see its own act: nothing was measured")
        for name, part in PARTS.items():
            if (found := _watched(sensor, folder / name, part)) is None:
                missing.append(name)
            else:
                shares[name] = found
    filtered, issued = (sum(column) for column in zip(*shares.values(), strict=True)) if shares else (0, 0)
    if missing or not issued:
        return [Row(what, f"not measured: no {', '.join(missing)} here", TARGET)]
    each = ", ".join(f"{name} {100 * part / of:.1f} % of {of:,}" for name, (part, of) in shares.items())
    return [
        Row(what, f"{100 * filtered / issued:.1f} % of {issued:,} events ({each}), none lost", TARGET, filtered / issued >= 0.95)
    ]


def _rules() -> tuple[RuleSet, str]:
    if STABLE.exists():
        return parse_rules(STABLE.read_bytes(), STABLE.name), "the stable rules"
    return load_rules(), "the shipped rules (the stable ones are not here)"


def _watched(sensor: Sensor, folder: Path, part: Callable[[Path, Path], bool]) -> tuple[int, int] | None:
    """How many of the events of `part` were filtered, and all of them; None when it cannot run here. Ends when the law does not hold."""
    folder.mkdir()
    cgroup_id = sensor.watch_parent(folder, EVENTS | CHILDREN)
    delivered = [0]

    def take(event: AnyEvent) -> None:
        delivered[0] += event.cgroup_id == cgroup_id

    outcome: list[bool] = []
    try:
        with tempfile.TemporaryDirectory() as place:
            acting = threading.Thread(target=lambda: outcome.append(part(folder, Path(place))))
            acting.start()
            while acting.is_alive() or sensor.counters().pending_bytes:
                sensor.poll(50, take)
        counters = sensor.counters()
        if not outcome or not outcome[0]:
            return None
        filtered, issued = sum(counters.filtered_by_cgroup.get(cgroup_id, {}).values()), counters.issued[cgroup_id]
        if counters.lost or counters.over or delivered[0] + filtered != issued:
            sys.exit(
                f"bench: {issued} issued, {delivered[0]} delivered, {filtered} filtered, {counters.lost} lost: nothing was measured"
            )
        return filtered, issued
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + 10
    while folder.exists():
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        if time.monotonic() > deadline:
            sys.exit(f"bench: processes did not leave {folder}")
        time.sleep(0.05)


@contextlib.contextmanager
def _server(folder: Path, socket_: Path, *command: str, executable: Path) -> Iterator[None]:
    """A server inside `folder` that answers on a unix socket."""
    with subprocess.Popen(
        command,
        executable=executable,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
        preexec_fn=lambda: join(folder, os.getpid()),  # noqa: PLW1509  nothing of ours holds a lock here
    ) as server:
        try:
            deadline = time.monotonic() + 20
            while not socket_.exists():
                if time.monotonic() > deadline or server.poll() is not None:
                    sys.exit(f"bench: {command[0]} did not start")
                time.sleep(0.05)
            yield
        finally:
            server.terminate()
            server.wait(20)


def nginx(folder: Path, place: Path) -> bool:
    """Files served over connections of their own."""
    program = _find_nginx()
    if program is None:
        return False
    (place / "www").mkdir()
    for number in range(20):
        (place / "www" / f"{number}.html").write_text("x" * 2000)
    (place / "conf").write_text(_NGINX.replace("PLACE", str(place)))
    place.chmod(0o755)
    with _server(
        folder, place / "s", "nginx", "-p", str(place), "-e", str(place / "error"), "-c", str(place / "conf"), executable=program
    ):
        for number in range(REQUESTS):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(place / "s"))
                client.sendall(b"GET /%d.html HTTP/1.0\r\n\r\n" % (number % 25))
                while client.recv(4096):
                    pass
    return True


def redis(folder: Path, place: Path) -> bool:
    """Keys set and got by many connections, and saved by a process of its own."""
    if not REDIS.exists():
        return False
    options = ["--port", "0", "--unixsocket", str(place / "s"), "--save", "1 1", "--appendonly", "yes", "--dir", str(place)]
    with _server(folder, place / "s", "redis-server", *options, executable=REDIS):
        asking = ["redis-benchmark", "-s", str(place / "s"), "-t", "set,get", "-n", "20000", "-c", "50", "-k", "0", "-q"]
        subprocess.run(asking, check=True, capture_output=True, timeout=120)
        subprocess.run(["redis-cli", "-s", str(place / "s"), "bgsave"], check=True, capture_output=True, timeout=20)
    return True


def build(folder: Path, place: Path) -> bool:
    """Sources compiled and linked by make and cc."""
    if not shutil.which("make") or not shutil.which("cc"):
        return False
    for number in range(SOURCES):
        (place / f"part{number}.c").write_text(_SOURCE % number)
    (place / "main.c").write_text("int main(void) { return 0; }\n")
    objects = " ".join(f"part{number}.o" for number in range(SOURCES))
    (place / "Makefile").write_text(f"all: {objects} main.o\n\tcc -o all {objects} main.o\n%.o: %.c\n\tcc -O1 -c -o $@ $<\n")
    subprocess.run(
        ["make", "-s", "-j2"],
        cwd=place,
        check=True,
        timeout=300,
        preexec_fn=lambda: join(folder, os.getpid()),
    )
    return True


def _find_nginx() -> Path | None:
    """nginx as installed, or Debian's unpacked into the cache: installing it would start a service."""
    if installed := shutil.which("nginx"):
        return Path(installed)
    target = find_cache() / "bench-nginx"
    program = target / "usr/sbin/nginx"
    if not program.exists() and shutil.which("apt-get") and shutil.which("dpkg-deb"):
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(subprocess.SubprocessError, OSError):
            subprocess.run(["apt-get", "-q", "download", "nginx"], cwd=folder, capture_output=True, timeout=180, check=True)
            target.mkdir(parents=True, exist_ok=True)
            for package in Path(folder).glob("*.deb"):
                subprocess.run(["dpkg-deb", "-x", str(package), str(target)], timeout=60, check=True)
    return program if program.exists() else None


PARTS: dict[str, Callable[[Path, Path], bool]] = {"nginx": nginx, "Redis": redis, "build": build}
