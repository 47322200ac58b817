"""File readers: what they are given while a layer streams past, and which of their results survive the merge."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from tests.images import make_tar, write_files

from shipwall.adapters.images import open_image
from shipwall.model.errors import InputError
from shipwall.model.package import Package, Skipped
from shipwall.supply import layers as layers_module
from shipwall.supply.layers import FileReader, View

ELF = b"\x7fELF"


def parse(path: str, data: bytes) -> tuple[list[Package], list[Skipped]]:
    """Each line of the file is a package; `!` is something that cannot be read, `?` a file that is damaged."""
    if b"?" in data:
        raise InputError("file", "is damaged")
    lines = data.removeprefix(ELF).decode().split()
    packages = [Package(ecosystem="npm", name=line, version="1", evidence=f"/{path}") for line in lines if line != "!"]
    return packages, [Skipped(what=f"/{path}", reason="unreadable")] if "!" in lines else []


JARS = FileReader("jar", parse, suffixes=(".jar", ".war"), max_bytes=100)
NPM = FileReader("npm", parse, basenames=frozenset({"package.json"}), pattern=r"(?:.*/)?node_modules/.*")
ELVES = FileReader("elf", parse, magic=(ELF, b"\xca\xfe"), max_bytes=100)


def view_of(*layers: bytes, readers: tuple[FileReader, ...] = (JARS, NPM, ELVES), globs: tuple[str, ...] = ()) -> View:
    view = View(globs, readers)
    for number, layer in enumerate(layers):
        view.add_layer(io.BytesIO(layer), f"layer{number}", f"layer {number}")
    return view


def found(view: View) -> dict[str, list[str]]:
    return {path: [package.name for package in packages] for path, _layer, packages, _skipped in view.parsed()}


def program(path: str, content: bytes, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(path)
    info.size, info.mode = len(content), mode
    return info, content


def tar_of(*files: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, content in files:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def link(path: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.type, info.linkname = tarfile.LNKTYPE, target
    return info


def test_files_are_chosen_by_suffix_name_and_pattern() -> None:
    layer = make_tar({
        "app/a.jar": b"a", "b.war": b"b", "c.jar.txt": b"c", "package.json": b"d", "x/node_modules/e/package.json": b"e",
    })  # fmt: skip
    assert found(view_of(layer)) == {"app/a.jar": ["a"], "b.war": ["b"], "x/node_modules/e/package.json": ["e"]}


def test_packages_carry_their_layer_and_evidence() -> None:
    view = view_of(make_tar({"a.jar": b"a"}), make_tar({"b.jar": b"b"}))
    assert [(package.layer, package.evidence) for _path, _layer, packages, _skipped in view.parsed() for package in packages] == [
        ("layer0", "/a.jar"),
        ("layer1", "/b.jar"),
    ]


def test_magic_is_asked_only_of_programs_and_gives_them_whole() -> None:
    layer = tar_of(
        program("bin/go", ELF + b"one"),
        program("bin/script", b"#!/bin/sh one"),
        program("lib/data", ELF + b"two", 0o644),
        program("bin/fat", b"\xca\xfe"[:1]),
        program("bin/empty", b""),
    )
    view = view_of(layer, readers=(ELVES,))
    assert found(view) == {"bin/go": ["one"]}
    assert view.skipped == []


def test_a_file_may_have_several_readers_and_be_kept_too() -> None:
    view = view_of(tar_of(program("app.jar", ELF + b"one")), globs=("*.jar",))
    assert found(view) == {"app.jar": ["one", "one"]}
    kept = view.read("app.jar")
    assert kept is not None
    assert kept.data == ELF + b"one"


def test_what_is_too_large_is_told_once_it_is_known_to_be_wanted() -> None:
    layer = tar_of(program("a.jar", b"x" * 101), program("b", ELF + b"x" * 100), program("c", b"x" * 200))
    view = view_of(layer)
    assert found(view) == {}
    assert [(one.what, "101" in one.reason or "104" in one.reason) for one in view.skipped] == [("/a.jar", True), ("/b", True)]


def test_damage_and_unreadable_parts_are_skipped_parts_of_the_file() -> None:
    view = view_of(make_tar({"a.jar": b"?", "b.jar": b"b !"}))
    assert [(path, [one.reason for one in skipped]) for path, _layer, _packages, skipped in view.parsed()] == [
        ("a.jar", ["file: is damaged"]),
        ("b.jar", ["unreadable"]),
    ]


@pytest.mark.parametrize(
    ("upper", "left"),
    [
        ({".wh.a.jar": b""}, {}),
        ({"a.jar": b"z"}, {"a.jar": ["z"]}),
        ({"a.jar": b""}, {"a.jar": []}),
        ({"a.jar": None}, {}),
        ({"a.jar": "elsewhere"}, {}),
        ({".wh..wh..opq": b""}, {}),
        ({"b": b""}, {"a.jar": ["a"]}),
    ],
    ids=["whiteout", "replaced", "emptied", "folder", "link", "opaque", "other"],
)
def test_merging(upper: dict[str, bytes | str | None], left: dict[str, list[str]]) -> None:
    assert found(view_of(make_tar({"a.jar": b"a"}), make_tar(upper))) == left


def test_a_program_without_packages_hides_the_one_below() -> None:
    assert found(view_of(tar_of(program("p", ELF + b"one")), tar_of(program("p", ELF)))) == {}


def test_hard_links_are_one_file_under_the_name_that_is_left() -> None:
    layer = make_tar({"b.jar": b"b"}, [link("a.jar", "b.jar"), link("c", "./b.jar")])
    view = view_of(layer)
    assert found(view) == {"a.jar": ["b"]}
    view.add_layer(io.BytesIO(make_tar({".wh.a.jar": b"", ".wh.b.jar": b""})), "upper", "upper")
    assert [(path, packages[0].evidence) for path, _layer, packages, _skipped in view.parsed()] == [("c", "/c")]


def test_a_file_written_through_a_link_of_its_layer_is_read_where_it_lies() -> None:
    view = view_of(make_tar({"lib": "usr/lib", "lib/a.jar": b"a"}), globs=("usr/lib/*",))
    assert found(view) == {"usr/lib/a.jar": ["a"]}
    assert view.read("lib/a.jar") is not None
    assert view.skipped == []


def test_the_packages_of_one_image_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers_module, "_MAX_PARSED", 3)
    view = view_of(make_tar({"a.jar": b"1 2", "b.jar": b"1 2", "c.jar": b"1"}))
    assert found(view) == {"a.jar": ["1", "2"], "b.jar": [], "c.jar": ["1"]}
    assert [one.what for one in view.skipped] == ["/b.jar"]


def test_a_folder_is_read_as_a_layer_is(tmp_path: Path) -> None:
    write_files(tmp_path, {"x/a.jar": b"a", "big.jar": b"x" * 101, "bin/go": ELF + b"one", "bin/data": ELF + b"two"})
    (tmp_path / "bin/go").chmod(0o700)
    view = View((), (JARS, ELVES))
    with open_image(str(tmp_path)) as image:
        image.fill_view(view)
    assert found(view) == {"bin/go": ["one"], "x/a.jar": ["a"]}
    assert [one.what for one in view.skipped] == ["/big.jar"]


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("**/METADATA", "METADATA", True),
        ("**/METADATA", "a/b/METADATA", True),
        ("**/METADATA", "a/xMETADATA", False),
        ("usr/**/*.dist-info/METADATA", "usr/lib/p/q.dist-info/METADATA", True),
        ("usr/**/*.dist-info/METADATA", "usr/q.dist-info/METADATA", True),
        ("usr/**/*.dist-info/METADATA", "opt/q.dist-info/METADATA", False),
        ("**/*.list", "a/b.list", True),
        ("**/lib/*", "a/lib/b", True),
        ("**/lib/*", "a/lib/b/c", False),
        ("*/x*y", "a/xzy", True),
    ],
)
def test_globs(glob: str, path: str, *, matches: bool) -> None:
    view = view_of(make_tar({path: b"1"}), globs=(glob,))
    assert (view.read(path) is not None) is matches
    assert bool(view.matching(glob)) is matches


def test_a_reader_that_would_read_everything_is_refused() -> None:
    with pytest.raises(ValueError, match="without magic"):
        View((), (FileReader("all", parse),))


def test_a_package_stays_with_the_layer_that_brought_its_version() -> None:
    """A database of packages is rewritten by every install; what was there before is not new."""
    database = FileReader("db", parse, basenames=frozenset({"installed"}))

    def lay(*names: str) -> bytes:
        return make_tar({"lib/apk/db/installed": " ".join(names).encode()})

    view = view_of(
        lay("musl", "zlib"), lay("musl", "zlib", "curl"), lay("musl", "curl"), lay("zlib", "curl"), readers=(database,)
    )
    ((_path, layer, packages, _skipped),) = view.parsed()
    assert layer == "layer3"
    assert {package.name: package.layer for package in packages} == {"zlib": "layer3", "curl": "layer1"}
