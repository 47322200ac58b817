"""Programs that say what is linked into them: real ones, made by the compilers of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.programs import build_c, build_old_go, build_rust, needs_compiler, needs_go

from shipwall.supply.catalog.binaries import parse_binary
from shipwall.supply.catalog.golang import parse_build_info
from shipwall.supply.catalog.rust import parse_crates

MODULES = """path\texample.org/tool/cmd
mod\texample.org/tool\t(devel)\t
dep\tgithub.com/docker/docker\tv20.10.18+incompatible\th1:x=
dep\tgolang.org/x/text\tv0.3.7\th1:y=
=>\tgolang.org/x/text\tv0.3.8\th1:z=
dep\texample.org/local\tv1.0.0
=>\t./local\t(devel)\t
build\t-ldflags="-s -w -X main.version=1.4.2 -X main.commit=3.3.3"
"""


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
