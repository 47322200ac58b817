"""One private engine and registry for the whole session, and a small image in it."""

from __future__ import annotations

import io
import secrets
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shipwall.adapters.engine import Engine
from shipwall.adapters.instance import Instance
from shipwall.adapters.private_engine import PrivateEngine
from shipwall.adapters.registry import Registry
from shipwall.adapters.tools import unpack_package


@pytest.fixture(scope="session")
def private_engine() -> Iterator[PrivateEngine]:
    """The session's private engine; mark the test `engine`. It and everything in it goes away at the end, also after a failure or kill.

    `.engine()` is a client (a context manager), `.socket` the API socket for raw HTTP, `.registry` the `127.0.0.1:PORT` of its registry
    (the same name on the host and for the engine), `.instance` the state folder, `.plugins` what the engine sees as /run/docker/plugins,
    `.configuration` its daemon.json and `.reload()` SIGHUP, `.forward(0, port)` a port of the host, `.run_inside(argv)` a command in its
    namespaces, `.running.gateway` the bridge's address. Use names of your own (`fresh_name`), remove your containers, and leave no plugin
    enrolled: the engine is shared.
    """
    state = Path(tempfile.mkdtemp(prefix="shipwall-e2e-", dir="/tmp"))  # short: unix sockets lie below
    engine = PrivateEngine(Instance(state), dies_with_us=True)
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()
        engine.remove_data()
        shutil.rmtree(state)


@pytest.fixture
def engine(private_engine: PrivateEngine) -> Iterator[Engine]:
    """A client of the private engine."""
    with private_engine.engine() as client:
        yield client


@pytest.fixture
def registry(private_engine: PrivateEngine) -> Iterator[Registry]:
    """A client of the private registry."""
    with Registry(private_engine.registry) as client:
        yield client


@pytest.fixture
def fresh_name() -> Callable[[str], str]:
    """Names nobody has used: `fresh_name("shop")`."""
    return lambda kind: f"{kind}-{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def busybox_rootfs() -> bytes:
    """The tar of a root file system with Debian's static busybox, all its applets, passwd and os-release; no dpkg database."""
    busybox = unpack_package("busybox-static") / "bin/busybox"
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True, timeout=10).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:

        def add(name: str, data: bytes = b"", mode: int = 0o644, kind: bytes = tarfile.REGTYPE, target: str = "") -> None:
            entry = tarfile.TarInfo(name)
            entry.mode, entry.type, entry.linkname, entry.size = mode, kind, target, len(data)
            archive.addfile(entry, io.BytesIO(data))

        for folder in ("bin", "etc", "dev", "proc", "sys", "root", "var", "home"):
            add(folder, mode=0o755, kind=tarfile.DIRTYPE)
        add("tmp", mode=0o1777, kind=tarfile.DIRTYPE)
        add("bin/busybox", busybox.read_bytes(), 0o755)
        for applet in applets:
            if applet != "busybox":
                add(f"bin/{applet}", kind=tarfile.SYMTYPE, target="busybox")
        add("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
        add("etc/group", b"root:x:0:\nnogroup:x:65534:\n")
        add("etc/os-release", b'ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n')
    return buffer.getvalue()


@pytest.fixture(scope="session")
def busybox_image(private_engine: PrivateEngine, busybox_rootfs: bytes) -> str:
    """The name of an image with `busybox_rootfs` in the private engine: `sh`, `httpd`, `nc`, `wget`, `sleep` and others run in it."""
    with private_engine.engine() as client:
        client.import_rootfs([busybox_rootfs], "shipwall-test/busybox", "1", ["CMD /bin/sh", "ENV PATH=/bin"])
    return "shipwall-test/busybox:1"
