"""The images that are measured: made once, kept in `.cache/bench`."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard

from shipwall.adapters.advisory_db.form import SCHEMA
from shipwall.adapters.base_system import find_pockets, make_base_system
from shipwall.journeys.advisories import import_files
from shipwall.journeys.scan import list_image

FOLDER = Path(__file__).resolve().parents[2] / ".cache/bench"
# With these a Debian file system has a little above 1.1 GB, 75,000 entries, and something for every cataloger.
_PACKAGES = (
    "build-essential", "composer", "docker.io", "git", "maven", "npm", "openjdk-17-jre-headless", "python3-django", "ruby",
)  # fmt: skip
_CHUNK = 1 << 20
_ADVISORIES = 10_000
_EMPTY_FILES = 3_000_000
_FILES_A_FOLDER = 3_000


def debian_tar() -> Path:
    """The plain tar of the Debian file system, from the package archive that the host's apt knows."""
    os.environ.setdefault("SHIPWALL_CACHE", str(FOLDER / "cache"))  # not the host's: making this one takes minutes under its lock
    return make_base_system(find_pockets(security=False), _PACKAGES, lambda line: print(line, file=sys.stderr)).path


def debian_layout(packing: str) -> Path:
    """An OCI layout of it; `packing` is gzip, zstd or plain."""
    return _layout(f"debian-{packing}", packing, lambda: debian_tar().open("rb"))


def many_files_layout() -> Path:
    """An OCI layout whose one layer holds three million empty files, gzip."""
    return _layout("many", "gzip", lambda: _Pieces(_empty_files()))


def debian_save() -> Path:
    """It as `docker save` writes it, tagged `bench:1`."""
    path = FOLDER / "debian-save.tar"
    if path.is_file():
        return path
    layer = debian_tar()
    with layer.open("rb") as file:
        diff_id = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]}}).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    saved = json.dumps([{"Config": name, "RepoTags": ["bench:1"], "Layers": ["layer.tar"]}]).encode()
    fresh = path.with_suffix(".new")
    with tarfile.open(fresh, "w") as tar:
        for member, data in ((name, config), ("manifest.json", saved)):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        tar.add(layer, "layer.tar")
    fresh.rename(path)
    return path


def debian_database() -> Path:
    """A database of made-up advisories in the shape of Debian's: a third is of packages that the image has, the same at every run."""
    path = FOLDER / f"advisories-{SCHEMA}.sqlite"
    if path.is_file():
        return path
    inventory = list_image(str(debian_layout("gzip")))
    scope = f"Debian:{inventory.distribution.version_id}"
    sources = sorted({package.source for package in inventory.packages if package.ecosystem == "deb"})
    records = []
    for number in range(_ADVISORIES):
        name = sources[number % len(sources)] if number % 3 == 0 else f"made-up-{number % 3_000}"
        fixed = (
            f"{1 + number % 7}:{number % 30}.{number % 9}-1" if number % 20 == 0 else f"0.{number % 9}.{number % 30}-{number % 5}"
        )
        events = [{"introduced": "0"}, {"fixed": fixed}]
        record = {
            "id": f"DEBIAN-CVE-2024-{10_000 + number}",
            "upstream": [f"CVE-2024-{10_000 + number}"],
            "details": "something in it can be made to fail",
            "published": "2024-05-10T08:03:36Z",
            "modified": "2024-05-11T08:03:36Z",
            "affected": [{"package": {"ecosystem": scope, "name": name}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}],
        }
        records.append(json.dumps(record))
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        file, fresh = Path(folder) / "debian.jsonl", Path(folder) / "advisories.sqlite"
        file.write_text("\n".join(records))
        import_files([file], "osv", fresh, 0)
        fresh.rename(path)
    return path


class _Pieces:
    """A readable made of pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self, _size: int, /) -> bytes:
        """The next piece."""
        return next(self._pieces, b"")

    def close(self) -> None:
        """Nothing is held."""


def _empty_files() -> Iterator[bytes]:
    """A tar of empty files, made block by block: its headers differ in name and checksum only."""
    info = tarfile.TarInfo("x")
    for first in range(0, _EMPTY_FILES, _FILES_A_FOLDER):
        folder = first // _FILES_A_FOLDER
        info.name, info.type, info.mode = f"srv/data/{folder:04}", tarfile.DIRTYPE, 0o755
        blocks = [info.tobuf(tarfile.USTAR_FORMAT)]
        info.name, info.type, info.mode = "x" * 30, tarfile.REGTYPE, 0o644
        plain = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
        for number in range(_FILES_A_FOLDER):
            plain[:30] = f"srv/data/{folder:04}/f{number:015}".encode()
            plain[148:156] = b" " * 8
            plain[148:155] = b"%06o\0" % sum(plain)
            blocks.append(bytes(plain))
        yield b"".join(blocks)
    yield bytes(10240)


def _layout(name: str, packing: str, source: Callable[[], contextlib.closing[BinaryIO] | BinaryIO | _Pieces]) -> Path:
    folder = FOLDER / name
    if (folder / "index.json").is_file():
        return folder
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    diff_id = hashlib.sha256()
    packed = blobs / "layer"
    with contextlib.closing(source()) as plain, _packer(packed, packing) as out:  # type: ignore[type-var]
        while part := plain.read(_CHUNK):
            diff_id.update(part)
            out.write(part)
    config = {
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id.hexdigest()}"]},
    }  # fmt: skip
    with packed.open("rb") as file:
        layer = _descriptor(hashlib.file_digest(file, "sha256").hexdigest(), packed.stat().st_size, "layer.v1.tar")
    packed.rename(blobs / layer["digest"][7:])
    manifest = {"schemaVersion": 2, "config": _blob(blobs, config, "config.v1+json"), "layers": [layer]}
    listed = _blob(blobs, manifest, "manifest.v1+json")
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [listed]}))
    return folder


@contextlib.contextmanager
def _packer(path: Path, packing: str) -> Iterator[BinaryIO]:
    with path.open("wb") as file:
        if packing == "gzip":
            with gzip.GzipFile("", "wb", 6, file, 0) as out:
                yield out  # type: ignore[misc]
        elif packing == "zstd":
            with zstandard.ZstdCompressor(3).stream_writer(file, closefd=False) as out:
                yield out  # type: ignore[misc]
        else:
            yield file


def _blob(blobs: Path, value: object, kind: str) -> dict[str, str | int]:
    data = json.dumps(value).encode()
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return _descriptor(digest, len(data), kind)


def _descriptor(digest: str, size: int, kind: str) -> dict[str, str | int]:
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": size}
