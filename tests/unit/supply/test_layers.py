"""The merged view: what a container over these layers would see."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib

import pytest
import zstandard
from tests.images import make_tar

from shipwall.model.errors import InputError
from shipwall.model.package import Package, Skipped
from shipwall.supply import layers as layers_module
from shipwall.supply.layers import View
from shipwall.supply.streams import LayerStream, inflate
from shipwall.supply.wanted import FileReader


def view_of(*layers: bytes, globs: tuple[str, ...] = ("etc/*", "usr/lib/*", "var/lib/x")) -> View:
    view = View(globs)
    for number, layer in enumerate(layers):
        view.add_layer(io.BytesIO(layer), f"layer{number}", f"layer {number}")
    return view


def special(path: str, kind: bytes, link: str = "", device: tuple[int, int] = (0, 0), **pax: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.type, info.linkname, info.pax_headers = kind, link, pax
    info.devmajor, info.devminor = device
    return info


def content(view: View, path: str) -> bytes | None:
    file = view.read(path)
    return file.data if file else None


def test_the_upper_file_wins_and_names_its_layer() -> None:
    view = view_of(make_tar({"etc/a": b"1", "etc/b": b"1"}), make_tar({"etc/a": b"2"}))
    file = view.read("etc/a")
    assert file is not None
    assert (file.data, file.layer) == (b"2", "layer1")
    assert content(view, "etc/b") == b"1"


def test_whiteout_removes_file_and_folder_below_only() -> None:
    lower = make_tar({"etc/a": b"1", "var/lib/x": b"1", "etc/keep": b"1"})
    view = view_of(lower, make_tar({"etc/.wh.a": b"", "var/.wh.lib": b"", "var/lib/x": b"2"}))
    assert content(view, "etc/a") is None
    assert content(view, "var/lib/x") == b"2"
    assert content(view, "etc/keep") == b"1"


def test_opaque_hides_what_is_below_but_not_its_own_layer_in_any_order() -> None:
    lower = make_tar({"etc/a": b"1", "etc/sub/b": b"1", "usr/lib/c": b"1"})
    view = view_of(lower, make_tar({"etc/new": b"2", "etc/.wh..wh..opq": b""}))
    assert (content(view, "etc/a"), content(view, "etc/new"), content(view, "usr/lib/c")) == (None, b"2", b"1")
    assert "etc/sub" not in view.folders


@pytest.mark.parametrize(
    "over",
    [
        special("etc/a", tarfile.CHRTYPE),
        special("etc", tarfile.DIRTYPE, **{"SCHILY.xattr.trusted.overlay.opaque": "y"}),
        special("etc", tarfile.REGTYPE),
        special("etc", tarfile.SYMTYPE, "elsewhere"),
        special("etc/a", tarfile.DIRTYPE),
        special("etc/a", tarfile.FIFOTYPE),
    ],
    ids=["overlay whiteout", "overlay opaque", "file over folder", "link over folder", "folder over file", "fifo over file"],
)
def test_what_hides_a_lower_file(over: tarfile.TarInfo) -> None:
    assert content(view_of(make_tar({"etc/a": b"1"}), make_tar({}, [over])), "etc/a") is None


def test_an_ordinary_device_and_the_bookkeeping_of_aufs_hide_nothing() -> None:
    upper = make_tar({"etc/.wh..wh.plnk": b""}, [special("dev/null", tarfile.CHRTYPE, device=(1, 3))])
    assert content(view_of(make_tar({"etc/a": b"1"}), upper), "etc/a") == b"1"


def test_links_of_the_same_layer_are_followed_while_unpacking_those_below_are_not() -> None:
    same = view_of(make_tar({"lib": "usr/lib", "lib/a": b"1"}), globs=("lib/a", "usr/lib/a"))
    assert "usr/lib" in same.folders
    assert "lib" in same.links
    below = view_of(make_tar({"usr/lib/a": b"1", "lib": "usr/lib"}), make_tar({"lib/a": b"2"}), globs=("lib/a", "usr/lib/a"))
    assert "lib" not in below.links  # the new folder hides the link
    assert content(below, "lib/a") == b"2"
    assert content(below, "usr/lib/a") == b"1"


def test_reading_follows_links_but_never_out_of_the_root() -> None:
    view = view_of(make_tar({"usr/lib/os": b"1", "etc/os": "../../../usr/lib/os", "etc/abs": "/usr/lib/os", "etc/loop": "loop"}))
    assert content(view, "etc/os") == content(view, "etc/abs") == b"1"
    assert content(view, "etc/loop") is None


def test_hard_links_to_kept_files_are_files_and_others_are_told() -> None:
    layer = make_tar(
        {"etc/a": b"1"}, [special("etc/b", tarfile.LNKTYPE, "etc/a"), special("etc/c", tarfile.LNKTYPE, "root/unseen")]
    )
    view = view_of(layer)
    assert content(view, "etc/b") == b"1"
    assert [(one.what, "hard link" in one.reason) for one in view.skipped] == [("/etc/c", True)]


def test_a_hard_link_is_read_through_its_target_when_its_layer_is_given_twice() -> None:
    layer = make_tar(
        {"root/store/aa": b"1", "root/store/bb": b"2", "etc/gone": b""},
        [
            special("etc/a", tarfile.LNKTYPE, "root/store/aa"),
            special("etc/b", tarfile.LNKTYPE, "/root/store/bb"),
            special("etc/again", tarfile.LNKTYPE, "root/store/aa"),
            special("etc/dangling", tarfile.LNKTYPE, "root/store/cc"),
            special("root/other", tarfile.LNKTYPE, "root/store/bb"),
        ],
    )
    view = View(("etc/*",))
    targets = view.add_layer(io.BytesIO(layer), "one", "layer", None)
    assert targets == {"root/store/aa", "root/store/bb", "root/store/cc"}
    assert (view.folders, view.entries, view.skipped, content(view, "etc/gone")) == (set(), 0, [], None)
    assert view.add_layer(io.BytesIO(layer), "one", "layer", targets) == frozenset()
    assert [content(view, f"etc/{name}") for name in ("a", "b", "again", "gone")] == [b"1", b"2", b"1", b""]
    assert [one.what for one in view.skipped] == ["/etc/dangling"]
    assert content(view, "root/store/aa") is None


def test_a_hard_link_leads_to_what_its_target_was_when_it_was_made() -> None:
    first, second = make_tar({"store/a": b"old"})[:1024], make_tar({"store/a": b"new"})
    links = [special(f"etc/{name}", tarfile.LNKTYPE, "store/a") for name in ("before", "after")]
    layer = first + links[0].tobuf() + second[:1024] + links[1].tobuf() + bytes(1024)
    view = View(("etc/*",))
    view.add_layer(io.BytesIO(layer), "one", "layer", view.add_layer(io.BytesIO(layer), "one", "layer", None))
    assert (content(view, "etc/before"), content(view, "etc/after")) == (b"old", b"new")


def test_a_hard_link_may_lead_to_a_file_of_a_layer_below() -> None:
    below = make_tar({"usr/lib/a": b"1", "usr/lib/b": b"2"})
    links = [special(f"etc/{name}", tarfile.LNKTYPE, f"usr/lib/{name}") for name in ("a", "b")]
    view = view_of(below, make_tar({"usr/lib/.wh.b": b""}, links))
    assert (content(view, "etc/a"), content(view, "etc/b")) == (b"1", None)
    assert [one.what for one in view.skipped] == ["/etc/b"]


def test_what_hard_links_lead_to_is_held_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers_module, "_MAX_HELD_BYTES", 5)
    links = [special(f"etc/{name}", tarfile.LNKTYPE, f"store/{name}") for name in ("a", "b")]
    layer = make_tar({"store/a": b"1234", "store/b": b"5678"}, links)
    view = View(("etc/*",))
    view.add_layer(io.BytesIO(layer), "one", "layer", view.add_layer(io.BytesIO(layer), "one", "layer", None))
    assert (content(view, "etc/a"), content(view, "etc/b")) == (b"1234", None)
    assert [one.what for one in view.skipped] == ["/etc/b"]


def lay_with_targets(view: View, layer: bytes) -> None:
    targets = view.add_layer(io.BytesIO(layer), "one", "layer", None)
    if targets:
        view.add_layer(io.BytesIO(layer), "one", "layer", targets)


def test_each_name_of_one_content_is_read_by_those_who_want_that_name() -> None:
    read: list[tuple[str, str]] = []

    def reader(base: str) -> FileReader:
        def parse(path: str, data: bytes) -> tuple[list[Package], list[Skipped]]:
            assert data == b"1"
            read.append((base, path))
            return [], []

        return FileReader(name=base, parse=parse, basenames=frozenset({base}))

    names = ("opt/METADATA", "var/status", "etc/kept")
    for target in ("root/unwanted", "srv/METADATA"):
        read.clear()
        view = View(("etc/*",), (reader("METADATA"), reader("status")))
        lay_with_targets(view, make_tar({target: b"1"}, [special(name, tarfile.LNKTYPE, target) for name in names]))
        assert {base for base, _path in read} == {"METADATA", "status"}
        assert ("status", "var/status") in read
        assert content(view, "etc/kept") == b"1"
        assert view.skipped == []


def test_what_a_name_wants_of_a_file_below_that_was_read_otherwise_is_told() -> None:
    reader = FileReader(name="status", parse=lambda _path, _data: ([], []), basenames=frozenset({"status"}))
    view = View(("etc/*",), (reader,))
    for layer in (make_tar({"var/status": b"1"}), make_tar({}, [special("etc/a", tarfile.LNKTYPE, "var/status")])):
        lay_with_targets(view, layer)
    assert [(one.what, "hard link" in one.reason) for one in view.skipped] == [("/etc/a", True)]


def test_a_hard_link_to_a_symbolic_link_is_that_link() -> None:
    link = special("lib", tarfile.SYMTYPE, "usr/lib")
    again = special("lib2", tarfile.LNKTYPE, "lib")
    below = special("old", tarfile.SYMTYPE, "usr/lib")
    view = View(("usr/lib/*",))
    lay_with_targets(view, make_tar({}, [link, again, below, special("lib2/a", tarfile.REGTYPE)]))
    lay_with_targets(view, make_tar({}, [special("of-below", tarfile.LNKTYPE, "old")]))
    assert content(view, "usr/lib/a") == b""
    assert view.links == {"lib": "usr/lib", "lib2": "usr/lib", "old": "usr/lib", "of-below": "usr/lib"}
    lay_with_targets(view, make_tar({".wh.old": b""}, [special("of-gone", tarfile.LNKTYPE, "old")]))
    assert "of-gone" not in view.links


def test_escapes_overlong_paths_and_odd_kinds_are_told() -> None:
    view = view_of(make_tar({"../evil": b"", "p/" * 2100 + "x": b""}, [special("etc/f", tarfile.FIFOTYPE)]))
    assert [one.reason.split()[:3] for one in view.skipped] == [
        ["its", "path", "leads"],
        ["its", "path", "or"],
        ["is", "of", "kind"],
    ]


def test_large_files_are_told_and_hide_the_lower_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers_module, "_MAX_FILE_BYTES", 10)
    view = view_of(make_tar({"etc/a": b"1"}), make_tar({"etc/a": b"x" * 11}))
    assert content(view, "etc/a") is None
    assert "11 bytes" in view.skipped[0].reason


def test_skipped_entries_are_counted_beyond_a_thousand() -> None:
    view = view_of(make_tar({f"../{number}": b"" for number in range(1005)}))
    assert len(view.skipped) == 1001
    assert view.skipped[-1].what == "5 more entries"


@pytest.mark.parametrize("limit", ["_MAX_PATHS", "_MAX_REPLACED_FOLDERS"])
def test_bounds(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(layers_module, limit, 3)
    extra = []
    for number in range(6):
        extra += [special(f"f{number}", tarfile.DIRTYPE), special(f"f{number}", tarfile.REGTYPE)]
    extra += [special(f"g{number}", tarfile.DIRTYPE) for number in range(6)]
    with pytest.raises(InputError, match="more than 3"):
        view_of(make_tar({}, extra))


def two_members(data: bytes) -> bytes:
    return gzip.compress(data[:700]) + gzip.compress(data[700:])


@pytest.mark.parametrize("pack", [gzip.compress, two_members, zstandard.ZstdCompressor().compress, bytes])
def test_digests_of_stored_and_plain_bytes(pack: object) -> None:
    plain = make_tar({"a": b"x" * 5000})
    stored = pack(plain)  # type: ignore[operator]
    digests = LayerStream(io.BytesIO(stored), "layer").finish()
    assert digests.blob == "sha256:" + hashlib.sha256(stored).hexdigest()
    assert digests.diff_id == "sha256:" + hashlib.sha256(plain).hexdigest()
    assert (digests.blob_bytes, digests.diff_bytes) == (len(stored), len(plain))


def test_a_bomb_ends_at_its_limit() -> None:
    with pytest.raises(InputError, match="unfolds"):
        LayerStream(io.BytesIO(gzip.compress(bytes(4 << 20))), "layer", limit_bytes=1 << 20).finish()


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(b"x" * 999)[:-9],
        gzip.compress(b"x") + b"garbage",
        b"BZh91AY",
        b"\xfd7zXZ\x00rest",
        b"\x28\xb5\x2f\xfdrubbish",
    ],
    ids=["cut", "garbage after", "bzip2", "xz", "zstd damage"],
)
def test_compressions_that_are_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        LayerStream(io.BytesIO(data), "layer").finish()


def test_small_input_that_unfolds_a_lot_is_given_in_bounded_pieces() -> None:
    stream = inflate(io.BytesIO(zlib.compress(bytes(1 << 20), wbits=31)), "layer")
    assert 0 < len(stream.read(1000)) <= 1000
