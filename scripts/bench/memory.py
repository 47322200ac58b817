"""Memory of agent and server, read from the processes that `shipwall up` starts, while they watch an engine and the console is read."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from scripts.bench.engine import private_engine, start_container
from scripts.bench.table import Row, at_most

from shipwall.adapters.instance import Instance
from shipwall.journeys.uninstall import uninstall

AGENT_MIB, SERVER_MIB = 100, 150
CONTAINERS, NOISY_ONES = 100, 5
WATCHED_S = 20
STILL = "sleep 3600"
NOISY = "while :; do unshare -U true; cat /etc/shadow > /dev/null; sleep 0.2; done"
PAGES = ("/", "/alerts", "/containers", "/images", "/evidence")


def measure() -> tuple[str, list[Row]]:
    """The rows, and how they came about."""
    with private_engine() as private, tempfile.TemporaryDirectory(prefix="shipwall-bench-", dir="/tmp") as folder:
        instance = Instance(Path(folder) / "s")
        command = [sys.executable, "-m", "shipwall", "up", "--state", str(instance.state), "--engine", str(private.socket)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as up:
            try:
                assert up.stdout is not None
                words = [up.stdout.readline().decode() for _ in range(2)]
                if "one-time login: " not in words[1]:
                    sys.exit("bench: shipwall up did not start")
                with private.engine() as engine:
                    commands = [NOISY] * NOISY_ONES + [STILL] * (CONTAINERS - NOISY_ONES)
                    containers = [start_container(engine, command) for command in commands]
                    alerts = read_console(words[1].partition("one-time login: ")[2].strip())
                    rows = sizes(instance)
                    for container in containers:
                        engine.remove(container, force=True)
            finally:
                up.terminate()
                up.wait(30)
                uninstall(instance)
    seen = f"{CONTAINERS} containers, {NOISY_ONES} of them noisy, {alerts} alerts"
    return f"Memory after {WATCHED_S} s ({seen}, console read each second)", rows


def read_console(login: str) -> int:
    """Read the console for a while as a browser would; how many alerts it shows at the end."""
    base, _, token = login.partition("/login#")
    with httpx.Client(base_url=base, timeout=10, headers={"Origin": base}) as client:
        answer = client.post("/api/v1/login", json={"token": token})
        if answer.status_code >= 400:
            sys.exit(f"bench: the console refused the login: {answer.text}")
        ending = time.monotonic() + WATCHED_S
        while time.monotonic() < ending:
            for page in PAGES:
                client.get(page)
            time.sleep(1)
        return len(client.get("/api/v1/alerts").json())


def sizes(instance: Instance) -> list[Row]:
    """Resident and peak memory of both processes, all of their pages counted, shared ones too."""
    agent = int(json.loads((instance.agent / "ready").read_bytes())["pid"])
    rows = []
    for name, pid, limit in (("agent", agent, AGENT_MIB), ("server", find_server(instance), SERVER_MIB)):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        kib = {line.split()[0]: int(line.split()[1]) for line in lines if line.startswith(("VmRSS", "VmHWM"))}
        rows.append(at_most(f"{name}, resident", kib["VmRSS:"] / 1024, limit, "MiB"))
        rows.append(at_most(f"{name}, peak", kib["VmHWM:"] / 1024, limit, "MiB"))
    return rows


def find_server(instance: Instance) -> int:
    """The server's process of this instance."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"shipwall.server" in words and str(instance.state).encode() in words:
                return int(folder.name)
    sys.exit("bench: the server is not running")
