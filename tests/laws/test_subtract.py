"""Laying `subtract_layer(a, b)` on `a` gives `b`, whatever the two file systems hold."""

from __future__ import annotations

import io
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from shipwall.supply.normalise import normalise_layer
from shipwall.supply.subtract import CopiedFile, subtract_layer

NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
# path → what lies there: a file (content, mode), a link, or another name of a file
NODES = st.one_of(
    st.tuples(st.just("file"), st.sampled_from(["", "1", "22"]), st.sampled_from([0o644, 0o755])),
    st.tuples(st.just("link"), st.sampled_from(["x", "y"]), st.just(0o777)),
    st.tuples(st.just("folder"), st.just(""), st.sampled_from([0o755, 0o1777])),
)
TREES = st.tuples(st.dictionaries(PATHS, NODES, max_size=8), st.booleans())
Tree = tuple[dict[str, tuple[str, str, int]], bool]
Seen = dict[str, tuple[object, ...]]


def tar_of(tree: Tree) -> io.BytesIO:
    """A tar as a builder gives it: folders above everything, the first files twice by name when asked for; in its one form."""
    nodes, is_linked = tree
    folders = {"/".join(path.split("/")[:depth]) for path in nodes for depth in range(1, path.count("/") + 1)}
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        files = []
        for path in sorted({*nodes, *folders}):
            kind, text, mode = ("folder", "", 0o755) if path in folders else nodes[path]
            entry = tarfile.TarInfo(path)
            entry.mode = mode
            entry.type = {"file": tarfile.REGTYPE, "link": tarfile.SYMTYPE, "folder": tarfile.DIRTYPE}[kind]
            entry.linkname = text if kind == "link" else ""
            entry.size = len(text) if kind == "file" else 0
            archive.addfile(entry, io.BytesIO(text.encode()))
            files += [path] if kind == "file" else []
        for path in files if is_linked else []:
            entry = tarfile.TarInfo(f"{path}2")
            entry.type, entry.linkname = tarfile.LNKTYPE, path
            archive.addfile(entry)
    raw.seek(0)
    made = io.BytesIO()
    normalise_layer(raw, made, 10)
    made.seek(0)
    return made


def lay(state: Seen, layer: io.BytesIO) -> Seen:
    """The slow, obvious way a layer is applied (OCI image spec, layer.md): whiteouts first, then entries; no folder is left out."""
    layer.seek(0)
    state = dict(state)
    with tarfile.open(fileobj=layer) as archive:
        entries = list(archive)
        for entry in entries:
            folder, _, name = entry.name.rpartition("/")
            if name.startswith(".wh."):
                hide(state, f"{folder}/{name[4:]}".lstrip("/"))
        for entry in entries:
            parent, _, name = entry.name.rpartition("/")
            assert not parent or parent in {other.name for other in entries}, "a folder above is missing in the layer"
            if name.startswith(".wh."):
                continue
            if not entry.isdir():
                hide(state, entry.name)
            content = archive.extractfile(entry) if entry.isreg() or entry.islnk() else None
            data = content.read() if content else b""
            kind = tarfile.REGTYPE if entry.islnk() else entry.type
            state[entry.name] = (kind, entry.mode, data, entry.linkname if entry.issym() else "")
    return state


def hide(state: Seen, path: str) -> None:
    for name in [name for name in state if name == path or name.startswith(f"{path}/")]:
        del state[name]


@given(TREES, TREES)
def test_the_difference_laid_on_the_first_gives_the_second(before: Tree, after: Tree) -> None:
    below, whole, layer = tar_of(before), tar_of(after), io.BytesIO()
    subtract_layer(below, whole, layer)
    assert lay(lay({}, below), layer) == lay({}, whole)


@given(TREES)
def test_nothing_differs_from_itself(tree: Tree) -> None:
    layer = io.BytesIO()
    subtract_layer(tar_of(tree), tar_of(tree), layer)
    assert lay({}, layer) == {}


def test_files_are_put_on_top_with_folders_of_their_own() -> None:
    layer = io.BytesIO()
    subtract_layer(
        tar_of(({}, False)), tar_of(({}, False)), layer, (CopiedFile("opt/a/b", b"x", True), CopiedFile("opt/c", b"y"))
    )
    found = lay({}, layer)
    assert {path: value[1:3] for path, value in found.items()} == {
        "opt": (0o755, b""), "opt/a": (0o755, b""), "opt/a/b": (0o755, b"x"), "opt/c": (0o644, b"y"),
    }  # fmt: skip
