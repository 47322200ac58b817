"""Small ELF programs made with the machine's C compiler, and an RPM database made with the real rpm; tests skip where these are missing."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest

needs_compiler = pytest.mark.skipif(not (shutil.which("gcc") and shutil.which("objcopy")), reason="needs gcc and objcopy")
needs_go = pytest.mark.skipif(not shutil.which("go"), reason="needs the Go compiler")
needs_rpm = pytest.mark.skipif(not (shutil.which("rpm") and shutil.which("rpmbuild")), reason="needs rpm and rpmbuild")


def build_c(folder: Path, source: str, *flags: str) -> Path:
    """A program compiled from C; linked at fixed addresses, as Go's are."""
    program = folder / "program"
    (folder / "program.c").write_text(source)
    subprocess.run(["gcc", "-no-pie", *flags, "-o", program, folder / "program.c"], check=True, capture_output=True, timeout=60)
    return program


def build_rust(folder: Path, crates: object) -> bytes:
    """A program with the section that cargo-auditable adds."""
    program = build_c(folder, "int main(void) { return 0; }")
    (folder / "deps").write_bytes(zlib.compress(json.dumps(crates).encode()))
    subprocess.run(
        ["objcopy", "--add-section", f".dep-v0={folder / 'deps'}", program], check=True, capture_output=True, timeout=60
    )
    return program.read_bytes()


def build_old_go(folder: Path, version: str, modules: str, more: str = "") -> bytes:
    """A program with build info as linkers before Go 1.18 wrote it: pointers to strings elsewhere; with `more` C."""
    text = json.dumps(modules)
    program = build_c(folder, f"""
        struct string {{ const char *data; unsigned long size; }};
        static const char version_text[] = "{version}";
        static const char modules_text[] = "0123456789abcdef" {text} "0123456789abcdef";
        struct string version = {{ version_text, sizeof version_text - 1 }};
        struct string modules = {{ modules_text, sizeof modules_text - 1 }};
        __attribute__((section(".go.buildinfo"), aligned(16), used))
        struct {{ char magic[14]; unsigned char size, flags; struct string *version, *modules; }} info =
            {{ "\\xff Go buildinf:", 8, 0, &version, &modules }};
        {more}
        int main(void) {{ return 0; }}
    """)  # fmt: skip
    return program.read_bytes()


def rpm_header(entries: Sequence[tuple[int, int, int, bytes]]) -> bytes:
    """A header blob of (tag, type, count, value)."""
    store, index = b"", b""
    for tag, kind, count, value in entries:
        store += bytes(-len(store) % 4)
        index += struct.pack(">IIII", tag, kind, len(store), count)
        store += value
    return struct.pack(">II", len(entries), len(store)) + index + store


SPEC = """Name: {name}
Epoch: {epoch}
Version: {version}
Release: {release}
Summary: a test package
License: {license}
Vendor: {vendor}
BuildArch: noarch
%description
A test package.
%install
{install}
%files
{files}
"""


def build_rpm(folder: Path, name: str, version: str, release: str, files: dict[str, str], **tags: str) -> Path:
    """A binary package; `tags`: epoch, license, vendor, and `more` lines for its preamble."""
    top = folder / name
    top.mkdir()
    install = "\n".join(
        f"mkdir -p %{{buildroot}}{Path(path).parent}; printf '{text}' > %{{buildroot}}{path}" for path, text in files.items()
    )
    values = {"epoch": "0", "license": "MIT", "vendor": "Red Hat, Inc."} | tags
    spec = SPEC.format(name=name, version=version, release=release, install=install, files="\n".join(files), **values)
    spec = spec.replace("BuildArch", f"{tags['more']}\nBuildArch") if "more" in tags else spec
    (top / "package.spec").write_text(spec)
    defines = {"_topdir": str(top), "debug_package": "%{nil}", "__os_install_post": "%{nil}", "_build_id_links": "none"}
    options = [part for key, value in defines.items() for part in ("--define", f"{key} {value}")]
    subprocess.run(["rpmbuild", "-bb", *options, top / "package.spec"], check=True, capture_output=True, timeout=120)
    return next(top.glob("RPMS/*/*.rpm"))


def install_rpms(folder: Path, *packages: Path) -> bytes:
    """The database of a system where `packages` are installed: nothing else of the system is made."""
    place = folder / "var/lib/rpm"
    place.mkdir(parents=True, exist_ok=True)
    options = [
        "--dbpath",
        place,
        "--justdb",
        "--nodeps",
        "--nosignature",
        "--ignorearch",
        "--ignoreos",
        "--define",
        "_db_backend sqlite",
    ]
    subprocess.run(["rpm", *options, "-i", *packages], check=True, capture_output=True, timeout=120)
    return (place / "rpmdb.sqlite").read_bytes()
