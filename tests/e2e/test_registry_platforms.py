"""Images for several platforms, of both kinds of manifest, out of the real docker-registry."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import pytest
import zstandard
from tests.images import debian_files, make_tar, sha256

from shipwall.adapters.registry import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Registry
from shipwall.journeys.scan import list_image
from shipwall.model.errors import InputError

pytestmark = [pytest.mark.engine]
Fresh = Callable[[str], str]
Pack = Callable[[bytes], bytes]
KINDS = {
    OCI_MANIFEST: ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"),
    DOCKER_MANIFEST: ("application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip"),
}


def push(registry: Registry, repository: str, kind: str, architecture: str, pack: Pack) -> dict[str, object]:
    """An image whose bash has the architecture as its version; returns its entry for an index."""
    layer = make_tar(debian_files({"bash": f"1-{architecture}"}))
    config = json.dumps({
        "architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [sha256(layer)]},
    }).encode()  # fmt: skip
    config_kind, layer_kind = KINDS[kind]
    packed = pack(layer)
    manifest = json.dumps({
        "schemaVersion": 2,
        "mediaType": kind,
        "config": {"mediaType": config_kind, "digest": registry.put_blob(repository, config), "size": len(config)},
        "layers": [{"mediaType": layer_kind, "digest": registry.put_blob(repository, packed), "size": len(packed)}],
    }).encode()  # fmt: skip
    digest = registry.put_manifest(repository, manifest, kind)
    platform = {"os": "linux", "architecture": architecture}
    return {"mediaType": kind, "digest": digest, "size": len(manifest), "platform": platform}


@pytest.mark.parametrize(
    ("index_kind", "kind", "pack"),
    [
        (OCI_INDEX, OCI_MANIFEST, zstandard.ZstdCompressor().compress),
        (DOCKER_LIST, DOCKER_MANIFEST, gzip.compress),
    ],
    ids=["oci", "docker schema 2"],
)
def test_a_platform_is_chosen_and_no_other_is_given_for_it(
    registry: Registry, fresh_name: Fresh, index_kind: str, kind: str, pack: Pack
) -> None:
    repository = f"platforms/{fresh_name('shop')}"
    entries = [push(registry, repository, kind, architecture, pack) for architecture in ("amd64", "arm64", "s390x")]
    index = json.dumps({"schemaVersion": 2, "mediaType": index_kind, "manifests": entries}).encode()
    registry.put_manifest(repository, index, index_kind, "1")
    source = f"{registry.host}/{repository}"
    for entry, architecture in zip(entries, ("amd64", "arm64", "s390x"), strict=True):
        inventory = list_image(f"{source}:1", platform=f"linux/{architecture}")
        assert [package.version for package in inventory.packages] == [f"1-{architecture}"]
        assert inventory.image is not None
        assert inventory.image.manifest == entry["digest"]
    with pytest.raises(InputError, match="several images"):
        list_image(f"{source}:1", platform="linux/riscv64")
    with pytest.raises(InputError, match="is for linux/arm64, not for linux/amd64"):
        list_image(f"{source}@{entries[1]['digest']}", platform="linux/amd64")
