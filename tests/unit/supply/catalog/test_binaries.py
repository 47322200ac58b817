"""Programs that say what is linked into them: real ones, made by the compilers of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.programs import build_c, build_old_go, build_rust, needs_compiler, needs_go

from shipwall.supply.catalog.binaries import parse_binary, parse_binary_pieces
from shipwall.supply.catalog.golang import parse_build_info
from shipwall.supply.catalog.program import hold_program
from shipwall.supply.catalog.rust import parse_crates
from shipwall.supply.pieces import Piece

MODULES = """path\texample.org/tool/cmd
mod\texample.org/tool\t(devel)\t
dep\tgithub.com/docker/docker\tv20.10.18+incompatible\th1:x=
dep\tgolang.org/x/text\tv0.3.7\th1:y=
=>\tgolang.org/x/text\tv0.3.8\th1:z=
dep\texample.org/local\tv1.0.0
=>\t./local\t(devel)\t
build\t-ldflags="-s -w -X main.version=1.4.2 -X main.commit=3.3.3"
"""


_CRATES = zlib.compress(b'{"packages": [{"name": "serde", "version": "1.0.1"}]}')
# As cargo-auditable has it linked in: loaded, read only.
RUST_LIST = f'asm(".section .dep-v0, \\"a\\"\\n.byte {",".join(map(str, _CRATES))}\\n.text");'


def names(data: bytes) -> list[tuple[str, str]]:
    return [(one.name, one.version) for one in parse_binary("usr/bin/tool", data)[0]]


@needs_go
def test_a_real_go_program(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text(
        "module example.org/hello\n\ngo 1.18\n\nrequire example.org/part v1.2.3\n\nreplace example.org/part => ./part\n"
    )
    (tmp_path / "main.go").write_text('package main\n\nimport "example.org/part"\n\nfunc main() { println(part.Name) }\n')
    (tmp_path / "part").mkdir()
    (tmp_path / "part/go.mod").write_text("module example.org/part\n\ngo 1.18\n")
    (tmp_path / "part/part.go").write_text('package part\n\nvar Name = "x"\n')
    variables = {
        "GOFLAGS": "-mod=mod",
        "GOCACHE": str(tmp_path / "cache"),
        "GOPROXY": "off",
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
    }
    environment = {**os.environ, **variables}
    subprocess.run(
        ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", "hello", "."], cwd=tmp_path, env=environment, check=True, timeout=280
    )
    shutil.rmtree(tmp_path / "cache")
    version = subprocess.run(
        ["go", "env", "GOVERSION"], env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()[0]
    packages, skipped = parse_binary("usr/bin/hello", (tmp_path / "hello").read_bytes())
    assert [(one.ecosystem, one.name, one.version) for one in packages] == [
        ("golang", "stdlib", version.removeprefix("go")),
        ("golang", "example.org/hello", "(devel)"),
    ]
    assert [one.reason for one in skipped] == [
        "1 of its modules were built from folders, their versions are not known: example.org/part"
    ]


@needs_compiler
def test_programs_from_before_go_1_18(tmp_path: Path) -> None:
    data = build_old_go(
        tmp_path,
        "go1.16.15",
        "path\\tx\\nmod\\texample.org/x\\tv1.0.0\\t\\ndep\\tgolang.org/x/net\\tv0.1.0\\th1:\\n".replace("\\t", "\t").replace(
            "\\n", "\n"
        ),
    )
    assert names(data) == [("stdlib", "1.16.15"), ("example.org/x", "v1.0.0"), ("golang.org/x/net", "v0.1.0")]


@needs_compiler
def test_rust_crates_of_the_program_only(tmp_path: Path) -> None:
    crates = {"packages": [
        {"name": "serde", "version": "1.0.1", "source": "crates.io"},
        {"name": "cc", "version": "1.0.2", "source": "crates.io", "kind": "build"},
        {"name": "tool", "version": "0.1.0", "source": "local", "root": True, "kind": "runtime"},
    ]}  # fmt: skip
    packages, skipped = parse_binary("usr/bin/tool", build_rust(tmp_path, crates))
    assert [(one.ecosystem, one.name, one.version) for one in packages] == [
        ("cargo", "serde", "1.0.1"),
        ("cargo", "tool", "0.1.0"),
    ]
    assert skipped == []
    _, (skipped_list,) = parse_binary("usr/bin/tool", build_rust(tmp_path, [1]))
    assert "crates" in skipped_list.reason


@needs_compiler
def test_programs_of_other_languages_say_nothing(tmp_path: Path) -> None:
    assert parse_binary("usr/bin/c", build_c(tmp_path, "int main(void) { return 0; }").read_bytes()) == ([], [])
    assert parse_binary("usr/bin/c", b"\x7fELF") == ([], [])


def test_modules_replaced_stamped_and_local() -> None:
    packages, skipped = parse_build_info("bin/tool", "go1.22.5 X:boringcrypto", MODULES)
    assert [(one.name, one.version) for one in packages] == [
        ("stdlib", "1.22.5"),
        ("example.org/tool", "v1.4.2"),
        ("github.com/docker/docker", "v20.10.18+incompatible"),
        ("golang.org/x/text", "v0.3.8"),
    ]
    assert [one.reason.rpartition(": ")[2] for one in skipped] == ["example.org/local"]


def test_a_compiler_that_is_no_release_is_told() -> None:
    packages, (skipped,) = parse_build_info("bin/tool", "devel +0123abc", "")
    assert packages == []
    assert "no release" in skipped.reason


@pytest.mark.parametrize("packed", [b"", b"x", bytes.fromhex("789c")])
def test_damaged_lists_of_crates(packed: bytes) -> None:
    with pytest.raises(Exception, match="list of crates"):
        parse_crates("bin/tool", packed)


def in_pieces(data: bytes, size: int = 256 * 1024) -> tuple[list[tuple[str, str]], list[str], int]:
    """What the pieces of a program say, what was skipped, and how many of its bytes were held."""
    file = hold_program("/usr/bin/tool", len(data), pieces_of(data, size))
    packages, skipped = parse_binary_pieces("usr/bin/tool", len(data), pieces_of(data, size))
    return [(one.name, one.version) for one in packages], [one.reason for one in skipped], file.held_bytes


def pieces_of(data: bytes, size: int) -> Iterator[Piece]:
    """Its bytes as a tar gives them: a piece begins and ends anywhere in what was read ahead."""
    for at in range(0, len(data), size):
        part = data[at : at + size]
        yield Piece(b"before" + part + b"after", 6, 6 + len(part))


LARGE = {
    "code": 'asm(".text\\n.skip 60000000, 0x90\\n.text");',
    "symbols": 'asm(".section .debug_x\\n.skip 60000000, 1\\n.text");',
    "constants": 'asm(".section .rodata\\n.skip 60000000, 1\\n.text");',
    "data": 'asm(".section .data\\n.skip 60000000, 1\\n.text");',
}


@needs_compiler
@pytest.mark.parametrize("what", LARGE)
def test_of_large_programs_only_parts_are_held(tmp_path: Path, what: str) -> None:
    data = build_c(tmp_path, f"{LARGE[what]} int main(void) {{ return 0; }}").read_bytes()
    found, skipped, held = in_pieces(data)
    assert (found, skipped) == ([], [])
    assert held < 24 << 20 < len(data)


@needs_compiler
@pytest.mark.parametrize("what", LARGE)
def test_large_go_programs_say_what_small_ones_do(tmp_path: Path, what: str) -> None:
    modules = "mod\texample.org/x\tv1.0.0\t\ndep\tgolang.org/x/net\tv0.1.0\th1:\n"
    data = build_old_go(tmp_path, "go1.16.15", modules, LARGE[what])
    found, skipped, held = in_pieces(data)
    assert found == names(data) == [("stdlib", "1.16.15"), ("example.org/x", "v1.0.0"), ("golang.org/x/net", "v0.1.0")]
    assert skipped == []
    assert held < 24 << 20 < len(data)


@needs_compiler
@pytest.mark.parametrize("what", LARGE)
def test_large_rust_programs_say_what_small_ones_do(tmp_path: Path, what: str) -> None:
    program = build_c(tmp_path, f"{LARGE[what]} {RUST_LIST} int main(void) {{ return 0; }}")
    data = program.read_bytes()
    found, skipped, held = in_pieces(data)
    assert found == names(data) == [("serde", "1.0.1")]
    assert skipped == []
    assert held < 24 << 20 < len(data)


@needs_compiler
def test_what_lies_where_nobody_looks_is_told(tmp_path: Path) -> None:
    """objcopy puts the list behind the debugging symbols, where no compiler does."""
    build_c(tmp_path, f"{LARGE['symbols']} int main(void) {{ return 0; }}")
    (tmp_path / "deps").write_bytes(bytes(3 << 20))
    command = ["objcopy", "--add-section", f".dep-v0={tmp_path / 'deps'}", tmp_path / "program"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    found, (reason,), _held = in_pieces((tmp_path / "program").read_bytes())
    assert found == []
    assert "were not looked for" in reason


@needs_compiler
@pytest.mark.parametrize("size", [1, 7, 100, 4096])
def test_pieces_of_any_size_say_the_same(tmp_path: Path, size: int) -> None:
    data = build_rust(tmp_path, {"packages": [{"name": "serde", "version": "1.0.1"}]})
    assert in_pieces(data, size)[0] == names(data) == [("serde", "1.0.1")]
    found, skipped, _held = in_pieces(data[: len(data) // 2], size)
    assert (found, skipped) == ([], [])
