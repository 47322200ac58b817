"""A docker-registry of a test's own, on a free loopback port."""

from __future__ import annotations

import contextlib
import io
import json
import secrets
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from shipwall.adapters.registry import OCI_MANIFEST, Registry
from shipwall.adapters.supervise import wait_until
from shipwall.adapters.tools import find_tool
from shipwall.journeys.sign import load_identity
from shipwall.model.digest import ImageIdentity
from shipwall.model.errors import ShipwallError


class RunningRegistry(NamedTuple):
    """Its `host:port`, and the folder of its content."""

    address: str
    data: Path


@contextlib.contextmanager
def run_registry(folder: Path) -> Iterator[RunningRegistry]:
    """A registry that ends with the block; skips the test, with the reason, where there is no docker-registry."""
    try:
        program = find_tool("docker-registry")
    except ShipwallError as error:
        pytest.skip(f"needs docker-registry: {error}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '{address}'}}\n"
    )
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([program, "serve", config], stdout=log, stderr=log) as process,
    ):
        try:
            with Registry(address) as client:
                assert wait_until(client.ping, 20), (folder / "log").read_text()
            yield RunningRegistry(address, folder / "data")
        finally:
            process.kill()


def push_layers(registry: Registry, repository: str, tag: str, layers: list[bytes]) -> ImageIdentity:
    """An image of uncompressed `layers`."""
    digests = [registry.put_blob(repository, layer) for layer in layers]
    root = {"type": "layers", "diff_ids": digests}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": root}).encode()
    kind = "application/vnd.oci.image.layer.v1.tar"
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": registry.put_blob(repository, config),
            "size": len(config),
        },
        "layers": [
            {"mediaType": kind, "digest": digest, "size": len(layer)} for digest, layer in zip(digests, layers, strict=True)
        ],
    }
    registry.put_manifest(repository, json.dumps(manifest).encode(), OCI_MANIFEST, tag)
    return load_identity(registry, repository, tag)[1]


def push_fresh_image(registry: Registry, repository: str, tag: str) -> ImageIdentity:
    """A small image nobody else has."""
    layers = []
    for number in range(2):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            entry, data = tarfile.TarInfo(f"file{number}"), secrets.token_bytes(20)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        layers.append(buffer.getvalue())
    return push_layers(registry, repository, tag, layers)
