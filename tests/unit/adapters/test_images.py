"""Every form an image comes in gives the same list; bytes that are not what they claim are refused."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import zstandard
from tests.images import debian_files, image_config, make_tar, oci_files, save_docker, sha256, write_files

from shipwall.adapters.images import open_image
from shipwall.adapters.images.files import open_stream
from shipwall.adapters.inventories import Inventories
from shipwall.journeys.scan import list_image
from shipwall.model.errors import InputError, ShipwallError, StorageError, TrustError
from shipwall.supply.manifest import Descriptor, choose_manifest

BASE = debian_files({"bash": "5.2-1", "tcpdump": "4.99-1"}, {"bash": ["/bin/bash"]})
LAYERS = [make_tar(BASE), make_tar({"srv/app": b"x"})]
EXPECTED = [("bash", "5.2-1"), ("tcpdump", "4.99-1")]


def found(source: Path | str, **options: str) -> list[tuple[str, str]]:
    return [(one.name, one.version) for one in list_image(str(source), **options).packages]  # type: ignore[arg-type]


def test_docker_save_with_an_identity_that_depends_on_nothing_but_the_image(tmp_path: Path) -> None:
    first = list_image(str(save_docker(tmp_path / "a.tar", LAYERS, ["shop:1"], {"a": "b"})))
    second = list_image(str(save_docker(tmp_path / "b.tar", LAYERS, ["other:2"], {"a": "b"})))
    assert [(one.name, one.version) for one in first.packages] == EXPECTED
    assert first.image == second.image
    assert first.image is not None
    assert first.image.config == sha256(image_config(LAYERS, {"a": "b"}))
    assert first.image.diff_ids == tuple(sha256(layer) for layer in LAYERS)
    assert (first.labels, first.created) == ({"a": "b"}, "2026-01-02T03:04:05Z")
    assert first.packages[0].layer == first.image.diff_ids[0]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress, bytes], ids=["gzip", "zstd", "plain"])
def test_oci_layout_as_tar_and_as_folder(tmp_path: Path, pack: object) -> None:
    files = oci_files(LAYERS, pack)
    (tmp_path / "oci.tar").write_bytes(make_tar(files))
    folder = write_files(tmp_path / "oci", files)
    assert found(tmp_path / "oci.tar") == found(folder) == EXPECTED
    inventory = list_image(str(folder))
    assert inventory.image is not None
    assert inventory.image.manifest == json.loads(files["index.json"] or b"")["manifests"][0]["digest"]


def test_packed_tars_and_standard_input(tmp_path: Path) -> None:
    plain = save_docker(tmp_path / "a.tar", LAYERS)
    packed = tmp_path / "a.tar.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert list_image(str(plain)) == list_image(str(packed))
    with open_stream(io.BytesIO(plain.read_bytes()), "stream") as image:  # type: ignore[arg-type]
        assert image.identity == list_image(str(plain)).image
    code = "from shipwall.journeys.scan import list_image; print(len(list_image('-').packages))"
    for options in ({"input": packed.read_bytes()}, {"stdin": plain.open("rb")}):
        with options.get("stdin") or io.BytesIO():  # type: ignore[union-attr]
            answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60, **options)  # type: ignore[call-overload]
        assert answer.stdout == b"2\n"


def test_root_file_systems_as_tar_and_folder(tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(make_tar(BASE | {"manifest.json": b'{"name": "a web app"}'}))
    folder = write_files(tmp_path / "root", BASE)
    (folder / "outside").symlink_to("/")
    assert found(tmp_path / "root.tar") == found(folder) == EXPECTED
    assert list_image(str(folder)).image is None
    assert list_image(str(folder)).packages[0].files == ("/usr/bin/bash",)


def test_a_link_out_of_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"Package: host\nVersion: 1\n\n")
    folder = write_files(tmp_path / "root", {"var/lib/dpkg/info/x": b""})
    (folder / "var/lib/dpkg/status").symlink_to(tmp_path / "secret")
    assert list_image(str(folder)).packages == ()
    layout = write_files(tmp_path / "oci", oci_files(LAYERS))
    blob = next(path for path in (layout / "blobs/sha256").iterdir())
    blob.rename(tmp_path / "moved")
    blob.symlink_to(tmp_path / "moved")
    with pytest.raises(InputError, match="missing"):
        list_image(str(layout))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_files_are_told(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "root", BASE)
    (folder / "var/lib/dpkg/status").chmod(0)
    assert any("ermission" in one.reason for one in list_image(str(folder)).skipped)


def test_several_images_have_to_be_told_apart(tmp_path: Path) -> None:
    first, second = [make_tar(debian_files({"a": "1"}))], [make_tar(debian_files({"b": "2"}))]
    manifest, files = [], {}
    for tag, layers in (("x:1", first), ("y:latest", second)):
        config = image_config(layers)
        files |= {f"{tag}.json": config, f"{tag}.tar": layers[0]}
        manifest.append({"Config": f"{tag}.json", "RepoTags": [tag], "Layers": [f"{tag}.tar"]})
    path = tmp_path / "two.tar"
    path.write_bytes(make_tar(files | {"manifest.json": json.dumps(manifest).encode()}))
    assert found(f"{path}#x:1") == [("a", "1")]
    assert found(f"{path}#y") == [("b", "2")]
    with pytest.raises(InputError, match=r"several images.*x:1, y:latest"):
        list_image(str(path))
    with pytest.raises(InputError, match="no image 'z'"):
        list_image(f"{path}#z")


def test_an_image_of_an_index_is_chosen_by_platform() -> None:
    def entry(name: str, platform: str) -> Descriptor:
        return Descriptor("", sha256(name.encode()), 1, platform)

    index = [entry("a", "linux/amd64"), entry("b", "linux/arm64/v8"), entry("c", "unknown/unknown")]
    assert choose_manifest(index, "linux/arm64", "index") == index[1]
    assert choose_manifest([index[0], index[2]], "linux/s390x", "index") == index[0]
    with pytest.raises(InputError, match="several images"):
        choose_manifest(index, "linux/s390x", "index")


@pytest.mark.parametrize(
    ("platform", "is_given"),
    [("linux/amd64", True), ("linux/amd64/v1", True), ("", True), ("linux/arm64", False), ("windows/amd64", False), ("x", False)],
)
def test_an_image_of_another_platform_than_was_named_is_refused(tmp_path: Path, platform: str, *, is_given: bool) -> None:
    layout = str(write_files(tmp_path / "oci", oci_files(LAYERS)))
    if is_given:
        assert list_image(layout, platform=platform).packages
    else:
        with pytest.raises(InputError, match="is for linux/amd64, not for"):
            list_image(layout, platform=platform)


def changed_layer(files: dict[str, bytes | str | None]) -> dict[str, bytes | str | None]:
    name = next(name for name, data in files.items() if (data or b"")[:2] == b"\x1f\x8b")
    return files | {name: gzip.compress(make_tar({"etc/other": b""}))}


def test_changed_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(make_tar(changed_layer(oci_files(LAYERS))))
    with pytest.raises(TrustError, match="layer digest"):
        list_image(str(path))
    files = oci_files(LAYERS)
    digest = json.loads(files["index.json"] or b"")["manifests"][0]["digest"]
    files[f"blobs/sha256/{digest[7:]}"] = b"{}"
    path.write_bytes(make_tar(files))
    with pytest.raises(TrustError, match="blob digest"):
        list_image(str(path))
    saved = save_docker(path, LAYERS).read_bytes()
    path.write_bytes(saved.replace(b"5.2-1", b"5.9-1"))
    with pytest.raises(TrustError, match="diff id"):
        list_image(str(path))
    path.write_bytes(saved.replace(b"2026-01-02T03", b"2027-01-02T03"))
    with pytest.raises(TrustError, match="config digest"):
        list_image(str(path))


@pytest.mark.parametrize("data", [b"", b"hello", b"x" * 2000, bytes(1024), gzip.compress(b"x")[:-4]])
def test_files_that_are_no_image(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        list_image(str(path))
    assert "\n" not in caught.value.line()


@pytest.mark.parametrize("source", ["no-such-file.tar", "\0", "x" * 5000, "/dev/null", "nowhere/at:all", "UPPER.example/x"])
def test_sources_that_name_nothing(source: str) -> None:
    with pytest.raises(ShipwallError):
        open_image(source)


def test_packages_that_are_hard_links_into_a_store_are_found(tmp_path: Path) -> None:
    """As pnpm leaves them: the store's names say nothing, and lie before the folders that link into it."""
    link = tarfile.TarInfo("srv/node_modules/.pnpm/left-pad@1.3.0/node_modules/left-pad/package.json")
    link.type, link.linkname = tarfile.LNKTYPE, "root/.pnpm-store/v3/files/00/aabb"
    layer = make_tar({"root/.pnpm-store/v3/files/00/aabb": b'{"name": "left-pad", "version": "1.3.0"}'}, [link])
    saved = save_docker(tmp_path / "image.tar", [make_tar(debian_files({"bash": "5.2-1"})), layer])
    inventory = list_image(str(saved))
    (package,) = [one for one in inventory.packages if one.ecosystem == "npm"]
    assert (package.name, package.version, package.evidence) == ("left-pad", "1.3.0", f"/{link.name}")
    assert package.layer == sha256(layer)
    assert not inventory.skipped


def test_inventories_are_kept_whole_and_found_by_both_digests(tmp_path: Path) -> None:
    kept = Inventories(tmp_path / "inventories")
    inventory = list_image(str(save_docker(tmp_path / "a.tar", LAYERS)), inventories=kept)
    assert inventory.image is not None
    assert kept.get(inventory.image.manifest) == inventory
    assert kept.find_by_config(inventory.image.config) == inventory
    assert kept.get(sha256(b"other")) is None
    assert kept.find_by_config(sha256(b"other")) is None
    file = next((tmp_path / "inventories").glob("*.json"))
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(StorageError, match="damaged"):
        kept.get(inventory.image.manifest)
    with pytest.raises(InputError, match="plain folder"):
        kept.put(list_image(str(write_files(tmp_path / "root", BASE))))
