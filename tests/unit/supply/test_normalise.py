"""The one form of layers, configurations and contexts."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable

import pytest

from shipwall.model.errors import InputError
from shipwall.supply.normalise import (
    ContextEntry,
    clamp_shadow,
    normalise_config,
    normalise_layer,
    parse_from,
    parse_ignore,
    parse_saved,
    write_context,
)

EPOCH = 1_700_000_000
Change = Callable[[tarfile.TarInfo], None]


def entry(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.size = len(data)
    for key, value in fields.items():
        setattr(made, key, value)
    return made, data


def tar_of(*entries: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for made, data in entries:
            archive.addfile(made, io.BytesIO(data))
    buffer.seek(0)
    return buffer


def normalised(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    sink = io.BytesIO()
    normalise_layer(tar_of(*entries), sink, EPOCH)
    return sink.getvalue()


def read(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {made.name: made for made in archive}


def test_order_time_and_owner_names_do_not_matter() -> None:
    first = normalised(
        entry("b", b"2", mtime=EPOCH + 5, uname="me", gname="us", uid=7),
        entry("a", b"1", mtime=5),
        entry("d", type=tarfile.DIRTYPE, mode=0o755, mtime=EPOCH + 9.25),
    )
    second = normalised(
        entry("./d/", type=tarfile.DIRTYPE, mode=0o755, mtime=EPOCH + 900),
        entry("a", b"1", mtime=5),
        entry("./b", b"2", mtime=EPOCH + 77.5, uid=7, uname="you"),
    )
    assert first == second
    found = read(first)
    assert list(found) == ["a", "b", "d"]
    assert (found["a"].mtime, found["b"].mtime, found["b"].uid, found["b"].uname) == (5, EPOCH, 7, "")


def test_of_hard_links_the_first_path_is_the_file() -> None:
    first = normalised(
        entry("z", b"text"), entry("a", type=tarfile.LNKTYPE, linkname="z"), entry("m", type=tarfile.LNKTYPE, linkname="a")
    )
    second = normalised(
        entry("a", b"text"), entry("m", type=tarfile.LNKTYPE, linkname="a"), entry("z", type=tarfile.LNKTYPE, linkname="m")
    )
    assert first == second
    found = read(first)
    assert found["a"].isreg()
    assert [found[name].linkname for name in ("m", "z")] == ["a", "a"]
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        content = archive.extractfile("z")
        assert content is not None
        assert content.read() == b"text"


def test_what_a_program_can_see_stays() -> None:
    capability = {"SCHILY.xattr.security.capability": "\x01\udc80\x00\x02", "atime": "1.5", "LIBARCHIVE.creationtime": "7"}
    found = read(
        normalised(
            entry("bin/ping", b"x", mode=0o4755, pax_headers=capability),
            entry("etc/.wh.gone"),
            entry("etc/x/.wh..wh..opq"),
            entry("dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
            entry("lib", type=tarfile.SYMTYPE, linkname="usr/lib", mode=0o777),
            entry("ü/" + "n" * 200, b"y"),
        )
    )
    assert found["bin/ping"].mode == 0o4755
    assert found["bin/ping"].pax_headers["SCHILY.xattr.security.capability"] == "\x01\udc80\x00\x02"
    assert "atime" not in found["bin/ping"].pax_headers
    assert (found["dev/null"].devmajor, found["dev/null"].devminor) == (1, 3)
    assert found["lib"].linkname == "usr/lib"
    assert {"etc/.wh.gone", "etc/x/.wh..wh..opq", "ü/" + "n" * 200} <= set(found)


def test_logs_and_caches_go_and_whiteouts_of_them_stay() -> None:
    names = [
        "var/log/apt/history.log",
        "var/log/dpkg.log",
        "var/cache/ldconfig/aux-cache",
        "etc/shadow-",
        "var/cache/apt/pkgcache.bin",
    ]
    found = read(
        normalised(*(entry(name, b"x") for name in names), entry("var/log/apt/.wh.term.log"), entry("var/log/nginx.log", b"x"))
    )
    assert set(found) == {"var/log/apt/.wh.term.log", "var/log/nginx.log"}


def test_machine_id_and_days_in_shadow() -> None:
    made = normalised(
        entry("etc/machine-id", b"0123\n"), entry("etc/shadow", b"root:*:20645:0:99999:7:::\ntcpdump:!:20780::::::\n")
    )
    found = read(made)
    assert found["etc/machine-id"].size == 0
    assert b"tcpdump:!:%d::::::\n" % (EPOCH // 86400) in made
    assert clamp_shadow(b"a:!:5::::::\nodd\nb:!::::::\n", 9) == b"a:!:5::::::\nodd\nb:!::::::\n"


@pytest.mark.parametrize("name", ["../up", "a/../../b", "/../x"])
def test_a_path_that_leads_out_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="has the path"):
        normalised(entry(name, b"x"))


def test_a_path_twice_is_its_last() -> None:
    with tarfile.open(fileobj=io.BytesIO(normalised(entry("a", b"old"), entry("a", b"new")))) as archive:
        assert [made.name for made in archive] == ["a"]
        content = archive.extractfile("a")
        assert content is not None
        assert content.read() == b"new"


def test_configuration_has_no_time_host_or_engine() -> None:
    built = {
        "architecture": "amd64", "os": "linux", "created": "2026-11-23T09:00:00.1Z", "container": "c0ffee", "docker_version": "20.10",
        "config": {"Hostname": "c0ffee", "Image": "sha256:1", "Env": ["A=1"], "Labels": None, "Cmd": ["sh"], "AttachStdin": False},
        "history": [{"created": "1999-01-01T00:00:00Z", "created_by": "base"}, {"created": "2026-11-23T09:00:00Z", "created_by": "RUN"}],
        "rootfs": {"type": "layers", "diff_ids": ["old"]},
    }  # fmt: skip
    made = json.loads(normalise_config(built, 1, ("sha256:" + "0" * 64,), EPOCH))
    assert made == {
        "architecture": "amd64",
        "os": "linux",
        "created": "2023-11-14T22:13:20Z",
        "config": {"Env": ["A=1"], "Cmd": ["sh"]},
        "history": [
            {"created": "1999-01-01T00:00:00Z", "created_by": "base"},
            {"created": "2023-11-14T22:13:20Z", "created_by": "RUN"},
        ],
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]},
    }


def test_context_is_ordered_and_without_owner() -> None:
    entries = [
        ContextEntry("run.sh", "file", executable=True, size=2),
        ContextEntry("a", "folder"),
        ContextEntry("a/link", "link", target="../run.sh"),
    ]
    first, second = io.BytesIO(), io.BytesIO()
    write_context(entries, lambda _path: io.BytesIO(b"hi"), first)
    write_context(reversed(entries), lambda _path: io.BytesIO(b"hi"), second)
    assert first.getvalue() == second.getvalue()
    found = read(first.getvalue())
    assert [(made.name, made.mode, made.mtime, made.uid) for made in found.values()] == [
        ("a", 0o755, 0, 0),
        ("a/link", 0o777, 0, 0),
        ("run.sh", 0o755, 0, 0),
    ]
    with pytest.raises(InputError, match="has the path"):
        write_context([ContextEntry("../x", "file")], lambda _path: io.BytesIO(), io.BytesIO())


def test_ignore_file() -> None:
    is_left_out = parse_ignore("# comment\n*.log\n**/cache\n/build/\n!keep.log\nsecret?\n")
    left_out = ["a.log", "cache", "x/y/cache/z", "build", "build/x", "secret1"]
    assert [path for path in [*left_out, "keep.log", "x/a.log", "builds", "secret"] if is_left_out(path)] == left_out


def test_from_of_the_last_stage() -> None:
    text = "ARG BASE=x:1\nFROM golang AS make\nRUN true\nFROM --platform=linux/amd64 \\\n  ${BASE}\nARG BASE=y\nRUN x\n"
    assert parse_from(text, {"BASE": "r:5/b@sha256:1"}) == "r:5/b@sha256:1"
    assert parse_from(text, {}) == "x:1"
    assert parse_from("from a as one\nFROM one\n", {}) == "a"
    for bad in ("", "RUN x", "FROM", "ARG BASE\nFROM $BASE"):
        with pytest.raises(InputError, match="Dockerfile"):
            parse_from(bad, {})


def test_saved_index() -> None:
    assert parse_saved(b'[{"Config":"c.json","RepoTags":null,"Layers":["a/layer.tar"]}]') == ("c.json", ("a/layer.tar",))
    for bad in (b"", b"[]", b"[{},{}]", b'[{"Config":1,"Layers":[]}]', b'[{"Config":"c","Layers":[1]}]', b"7"):
        with pytest.raises(InputError, match="saved image"):
            parse_saved(bad)
