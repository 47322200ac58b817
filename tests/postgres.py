"""A real PostgreSQL of the tests' own: Debian's binaries, unprivileged, on a unix socket in a temporary folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from shipwall.adapters.instance import find_cache


class MissingError(Exception):
    """Why there is no PostgreSQL here."""


def find_binaries() -> Path:
    """The folder with initdb and postgres: installed, or unpacked into the cache (never installed: that would start a service)."""
    for root in (Path("/"), find_cache() / "test-postgresql"):
        found = sorted(root.glob("usr/lib/postgresql/*/bin/initdb"))
        if found:
            return found[-1].parent
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise MissingError("no PostgreSQL, and no apt-get to unpack Debian's")
    target = find_cache() / "test-postgresql"
    try:
        names = subprocess.run(
            ["apt-cache", "depends", "postgresql"], capture_output=True, text=True, timeout=60, check=True
        ).stdout
        server = next(word for word in names.split() if word.startswith("postgresql-") and word[11:].isdigit())
        with tempfile.TemporaryDirectory() as folder:
            packages = [server, "postgresql-common", "libpq5", f"postgresql-client-{server[11:]}"]
            subprocess.run(["apt-get", "-q", "download", *packages], cwd=folder, capture_output=True, timeout=180, check=True)
            target.mkdir(parents=True)
            for package in Path(folder).glob("*.deb"):
                subprocess.run(["dpkg-deb", "-x", str(package), str(target)], timeout=60, check=True)
        found = sorted(target.glob("usr/lib/postgresql/*/bin/initdb"))
        target.chmod(0o755)
        subprocess.run([str(found[-1]), "--version"], capture_output=True, timeout=20, check=True)
        return found[-1].parent
    except (subprocess.SubprocessError, OSError, StopIteration, IndexError) as error:
        shutil.rmtree(target, ignore_errors=True)
        raise MissingError(f"no PostgreSQL, and Debian's could not be unpacked ({error})") from error


@contextmanager
def running() -> Iterator[str]:
    """The URL (database `postgres`) of a server that ends with the block. Raises MissingError."""
    binaries = find_binaries()
    folder = Path(tempfile.mkdtemp(prefix="shipwall-pg-", dir="/tmp"))
    folder.chmod(0o711)  # the server under test is another user
    # PostgreSQL refuses to run as root.
    who = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    server = None
    try:
        if who:
            os.chown(folder, 65534, 65534)
        environment = {"PATH": f"{binaries}:/usr/bin:/bin", "LC_ALL": "C", "HOME": str(folder)}
        libraries = sorted(find_cache().glob("test-postgresql/usr/lib/*-linux-gnu"))
        if libraries:
            environment["LD_LIBRARY_PATH"] = str(libraries[0])
        data = folder / "data"
        made = subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "shipwall", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"],
            env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False, **who,
        )  # fmt: skip
        if made.returncode:
            raise MissingError(f"initdb: {made.stderr.strip()[-200:]}")
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [binaries / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off",
                 "-c", "shared_buffers=16MB", "-c", "max_connections=30"],
                env=environment, cwd=folder, stdout=log, stderr=log, **who,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        ready = [binaries / "pg_isready", "-h", folder, "-U", "shipwall", "-d", "postgres"]
        while subprocess.run(ready, env=environment, capture_output=True, timeout=20, check=False).returncode:
            if server.poll() is not None or time.monotonic() > deadline:
                raise MissingError("postgres did not start: " + (folder / "log").read_text()[-300:])
            time.sleep(0.05)
        yield f"postgresql://shipwall@/postgres?host={quote(str(folder))}"
    finally:
        if server is not None:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        shutil.rmtree(folder, ignore_errors=True)
