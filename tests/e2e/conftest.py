"""One private engine and registry for the whole session, and a small image in it."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.images import busybox_rootfs as make_busybox_rootfs

from shipwall.adapters.engine import Engine
from shipwall.adapters.instance import Instance
from shipwall.adapters.private_engine import PrivateEngine
from shipwall.adapters.registry import Registry


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
    """As `tests.images.busybox_rootfs`, made once."""
    return make_busybox_rootfs()


@pytest.fixture(scope="session")
def busybox_image(private_engine: PrivateEngine, busybox_rootfs: bytes) -> str:
    """The name of an image with `busybox_rootfs` in the private engine: `sh`, `httpd`, `nc`, `wget`, `sleep` and others run in it."""
    with private_engine.engine() as client:
        client.import_rootfs([busybox_rootfs], "shipwall-test/busybox", "1", ["CMD /bin/sh", "ENV PATH=/bin"])
    return "shipwall-test/busybox:1"
