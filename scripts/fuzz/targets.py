"""THE list of parsers that are fuzzed. A target takes bytes; whatever it raises but an InputError is a finding."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterable
from typing import NamedTuple

from tests.images import OS_RELEASE, debian_files, image_config, make_tar, oci_files

from shipwall.model.package import Package, Skipped
from shipwall.supply.catalog import list_packages, make_view
from shipwall.supply.catalog.os_release import parse_os_release
from shipwall.supply.deb import read_changelog
from shipwall.supply.layers import FileReader, View
from shipwall.supply.manifest import parse_config, parse_manifest_or_index
from shipwall.supply.streams import LayerStream
from shipwall.supply.tar import TarWalk


class Target(NamedTuple):
    """`run` gets every input; `seeds` are inputs to begin with, good ones."""

    name: str
    run: Callable[[bytes], object]
    seeds: Callable[[], Iterable[bytes]]


def _walk(data: bytes) -> None:
    tar = TarWalk(io.BytesIO(data), "tar")
    for entry in tar:
        start = tar.peek(4)
        if entry.size < 4096 and not tar.read().startswith(start):
            raise AssertionError("peek and read disagree")


def _merge(data: bytes) -> None:
    """Two layers, divided at the first `|`, with a reader of every name and one of every program."""

    def parse(path: str, content: bytes) -> tuple[list[Package], list[Skipped]]:
        return [Package(ecosystem="npm", name="x", version=str(len(content)), evidence=f"/{path}")], []

    view = View(
        ("**/status", "etc/*"), (FileReader("all", parse, suffixes=("a", "b")), FileReader("elf", parse, magic=(b"\x7fELF",)))
    )
    for layer in data.split(b"|LAYER|", 1):
        view.add_layer(io.BytesIO(layer), "", "layer")
    list(view.parsed())
    view.matching("**/status")


def _list(data: bytes) -> None:
    view = make_view()
    view.add_layer(LayerStream(io.BytesIO(data), "layer"), "", "layer")
    list_packages(view, None, {})


def _tars() -> Iterable[bytes]:
    lower, upper = (
        make_tar(debian_files({"bash": "5.2-1"}, {"bash": ["/bin/bash"]})),
        make_tar({"etc/.wh.a": b"", "x": "y", "x/b": b"1"}),
    )
    return lower, upper, lower + b"|LAYER|" + upper


def _changelogs() -> Iterable[bytes]:
    data = gzip.compress(make_tar({"usr/share/doc/a/changelog.Debian.gz": gzip.compress(b"a (1) s; urgency=low\n")}))
    return (b"!<arch>\ndata.tar.gz".ljust(56) + b"%-10d`\n" % len(data) + data,)


TARGETS: tuple[Target, ...] = (
    Target("tar", _walk, _tars),
    Target("merge", _merge, _tars),
    Target("layer", _list, lambda: [pack(tar) for tar in _tars() for pack in (bytes, gzip.compress)]),
    Target(
        "manifest",
        lambda data: parse_manifest_or_index(data, "manifest"),
        lambda: [content for content in oci_files([b"x"]).values() if isinstance(content, bytes)],
    ),
    Target("config", lambda data: parse_config(data, "config"), lambda: [image_config([b"x"])]),
    Target("os-release", parse_os_release, lambda: [OS_RELEASE]),
    Target("deb", lambda data: read_changelog(io.BytesIO(data), "deb"), _changelogs),
)
