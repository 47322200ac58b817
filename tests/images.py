"""Small images made by hand: layers from dictionaries, `docker save` tars, OCI layouts."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shipwall.adapters.tools import unpack_package

OS_RELEASE = b'ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def make_tar(files: Mapping[str, bytes | str | None], extra: list[tarfile.TarInfo] | None = None) -> bytes:
    """A layer: bytes are a file, a string a symbolic link's target, None a folder. `extra` entries follow as they are."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        for info in extra or ():
            tar.addfile(info)
    return buffer.getvalue()


def dpkg_paragraph(name: str, version: str, arch: str = "amd64", source: str = "") -> bytes:
    lines = [f"Package: {name}", "Status: install ok installed", f"Architecture: {arch}", f"Version: {version}"]
    if source:
        lines.insert(2, f"Source: {source}")
    return "\n".join([*lines, "Description: a test package", " more words", "", ""]).encode()


def debian_files(packages: Mapping[str, str], files: Mapping[str, list[str]] | None = None) -> dict[str, bytes | str | None]:
    """A merged-/usr Debian root file system with `packages` (name → version) that own `files`."""
    content: dict[str, bytes | str | None] = {
        "usr": None,
        "usr/bin": None,
        "bin": "usr/bin",
        "etc": None,
        "etc/os-release": "../usr/lib/os-release",
        "usr/lib/os-release": OS_RELEASE,
        "var/lib/dpkg/status": b"".join(dpkg_paragraph(name, version) for name, version in packages.items()),
    }
    for name, owned in (files or {}).items():
        content[f"var/lib/dpkg/info/{name}.list"] = "\n".join(["/.", *owned, ""]).encode()
        content.update({path.strip("/"): b"" for path in owned if not path.endswith(("/usr", "/bin", "/etc"))})
    return content


def image_config(layers: list[bytes], labels: Mapping[str, str] | None = None) -> bytes:
    config: dict[str, Any] = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-02T03:04:05Z",
        "config": {"Labels": dict(labels or {})},
        "rootfs": {"type": "layers", "diff_ids": [sha256(layer) for layer in layers]},
    }
    return json.dumps(config).encode()


def save_docker(path: Path, layers: list[bytes], tags: list[str] | None = None, labels: Mapping[str, str] | None = None) -> Path:
    """A tar as `docker save` writes it."""
    config = image_config(layers, labels)
    name = sha256(config)[7:] + ".json"
    folders = [sha256(layer)[7:19] for layer in layers]
    manifest = [{"Config": name, "RepoTags": tags or [], "Layers": [f"{folder}/layer.tar" for folder in folders]}]
    files: dict[str, bytes | str | None] = {f"{folder}/layer.tar": layer for folder, layer in zip(folders, layers, strict=True)}
    files |= {name: config, "manifest.json": json.dumps(manifest).encode()}
    path.write_bytes(make_tar(files))
    return path


def oci_files(layers: list[bytes], pack: Any = gzip.compress, name: str = "") -> dict[str, bytes | str | None]:
    """The files of an OCI layout; `pack` compresses a layer."""
    config = image_config(layers)
    packed = [pack(layer) for layer in layers]
    manifest = json.dumps({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha256(config), "size": len(config)},
        "layers": [
            {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": sha256(one), "size": len(one)} for one in packed
        ],
    }).encode()  # fmt: skip
    entry: dict[str, Any] = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": sha256(manifest), "size": len(manifest),
        "annotations": {"org.opencontainers.image.ref.name": name},
    }  # fmt: skip
    files: dict[str, bytes | str | None] = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode(),
    }
    return files | {f"blobs/sha256/{sha256(blob)[7:]}": blob for blob in (config, manifest, *packed)}


def write_files(folder: Path, files: Mapping[str, bytes | str | None]) -> Path:
    """`files` (as `make_tar` takes them) in `folder`."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir(exist_ok=True)
        elif isinstance(content, str):
            path.symlink_to(content)
        else:
            path.write_bytes(content)
    return folder


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
