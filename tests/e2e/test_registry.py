"""The registry client against the real docker-registry."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from shipwall.adapters.registry import OCI_INDEX, OCI_MANIFEST, Registry, fallback_tag
from shipwall.model.digest import digest_of
from shipwall.model.errors import InputError, RemoteError

pytestmark = [pytest.mark.engine]
Fresh = Callable[[str], str]


def manifest_of(registry: Registry, repository: str, **more: object) -> bytes:
    config = registry.put_blob(repository, b"{}")
    layers = [{"mediaType": "application/octet-stream", "digest": config, "size": 2}]
    described = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2}
    value = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described, "layers": layers, **more}
    return json.dumps(value, sort_keys=True).encode()


def test_blobs_up_across_and_down(registry: Registry, fresh_name: Fresh) -> None:
    one, two = f"blobs/{fresh_name('one')}", f"blobs/{fresh_name('two')}"
    data = bytes(range(256)) * 100_000  # several pieces
    digest, size = registry.put_blob_stream(one, (data[at : at + 1_000_000] for at in range(0, len(data), 1_000_000)))
    assert (digest, size) == (digest_of(data), len(data))
    assert b"".join(registry.blob(one, digest)) == data
    assert not registry.has_blob(two, digest)
    assert registry.mount_blob(two, digest, one)
    assert registry.has_blob(two, digest)
    registry.copy_blob(two, digest, one)
    absent = digest_of(b"absent")
    assert not registry.mount_blob(two, absent, one)
    with pytest.raises(RemoteError, match="is not there") as error:
        registry.blob_bytes(one, absent)
    assert error.value.status == 404
    with pytest.raises(InputError, match="is over 10 bytes"):
        registry.blob_bytes(one, digest, max_bytes=10)
    assert registry.put_blob(one, b"") == digest_of(b"")


def test_manifests_tags_and_referrers(registry: Registry, fresh_name: Fresh) -> None:
    repository = f"manifests/{fresh_name('shop')}"
    assert registry.tags(repository) == ()
    assert registry.resolve(repository, "1") is None
    body = manifest_of(registry, repository)
    digest = registry.put_manifest(repository, body, OCI_MANIFEST, "1")
    assert digest == digest_of(body) == registry.resolve(repository, "1")
    assert registry.manifest(repository, "1") == registry.manifest(repository, digest) == (digest, OCI_MANIFEST, body)
    assert registry.referrers(repository, digest) == []
    subject = {"mediaType": OCI_MANIFEST, "digest": digest, "size": len(body)}
    first = manifest_of(registry, repository, subject=subject, artifactType="text/first", annotations={"n": "1"})
    second = manifest_of(registry, repository, subject=subject, artifactType="text/second")
    for artifact in (first, second, first):
        registry.put_manifest(repository, artifact, OCI_MANIFEST)
    listed = registry.referrers(repository, digest)
    assert [item["digest"] for item in listed] == [digest_of(first), digest_of(second)]
    assert registry.referrers(repository, digest, "text/first") == [
        {
            "mediaType": OCI_MANIFEST,
            "digest": digest_of(first),
            "size": len(first),
            "artifactType": "text/first",
            "annotations": {"n": "1"},
        }
    ]
    assert registry.manifest(repository, fallback_tag(digest)).media_type == OCI_INDEX
    assert registry.tags(repository) == ("1", fallback_tag(digest))
    registry.delete_manifest(repository, digest)
    assert registry.resolve(repository, "1") is None


def test_a_manifest_without_its_parts_is_refused_in_the_registrys_words(registry: Registry, fresh_name: Fresh) -> None:
    repository = f"manifests/{fresh_name('bare')}"
    described = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"nowhere"), "size": 7}
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described, "layers": []}).encode()
    with pytest.raises(RemoteError, match="MANIFEST_BLOB_UNKNOWN"):
        registry.put_manifest(repository, body, OCI_MANIFEST, "1")
    with pytest.raises(InputError, match="is not JSON"):
        registry.put_manifest(repository, b"{", OCI_MANIFEST, "1")
