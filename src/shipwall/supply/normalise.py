"""Repeatable images: what a builder made, without what only says when, where and by whom it was made.

A builder stamps files with the clock, logs what it did, and writes entries in the order of a folder. Here a layer, a configuration and a
build context each get ONE form, so that the same input gives the same digest. What a program can read is otherwise left as it is.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, BinaryIO, NamedTuple, Protocol

from shipwall.model.digest import Digest
from shipwall.model.errors import InputError

_LINE_JOIN = re.compile(r"\\[ \t]*\r?\n")
_ARGUMENT = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_MAX_ENTRIES = 400_000
_MAX_REWRITTEN_BYTES = 4 << 20
_CHUNK = 1 << 20
_XATTR = "SCHILY.xattr."

# Files that differ from build to build and that nothing needs: logs of the installation, and caches their programs make again.
_DROPPED = re.compile(
    r"var/log/(?:apt/.*|dpkg\.log|alternatives\.log|bootstrap\.log|fontconfig\.log|lastlog|faillog|btmp|wtmp)"
    r"|var/cache/(?:apt/(?:.*\.bin|archives/.*)|ldconfig/aux-cache|debconf/.*-old|man/.*)"
    r"|var/lib/apt/lists/(?:lock|partial(?:/.*)?)"
    r"|var/lib/(?:dbus/machine-id|systemd/random-seed|dpkg/(?:lock|lock-frontend|.*-old))"
    r"|etc/(?:\.pwd\.lock|(?:passwd|group|shadow|gshadow|subuid|subgid)-)"
    r"|root/\.(?:wget-hsts|bash_history|python_history)"
)
_EMPTIED = frozenset({"etc/machine-id"})
_CONFIG_KEYS = (
    "User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal", "Healthcheck", "OnBuild", "Shell",
    "ArgsEscaped",
)  # fmt: skip


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> object:
        """Take `data` whole."""
        ...


class ContextEntry(NamedTuple):
    """One path of a build context: `kind` file, folder or link (then `target`). `path` relative, without `.` and `..`."""

    path: str
    kind: str
    executable: bool = False
    target: str = ""
    size: int = 0


def normalise_layer(source: BinaryIO, sink: Sink, epoch_s: int, dropped: Callable[[str], bool] = lambda _path: False) -> None:
    """Write the layer tar in the seekable `source` to `sink` in its one form.

    Entries are ordered by path, no time is later than `epoch_s` (seconds since 1970), owners have numbers only, of several hard links the
    first path is the file, a path that comes twice is its last one. Logs and caches of the installation are left out, and what is
    `dropped`. Whiteouts, extended attributes, modes and numbers of devices stay. *Raises* InputError for bytes that are no tar.
    """
    try:
        with tarfile.open(fileobj=source, mode="r:", errorlevel=2) as archive:
            entries = _read_entries(archive, dropped)
            with tarfile.open(fileobj=_Counted(sink), mode="w|", format=tarfile.PAX_FORMAT, bufsize=_CHUNK) as made:
                for path, entry in _with_first_links(entries):
                    _write_entry(archive, made, path, entry, epoch_s)
    except (tarfile.TarError, ValueError, OverflowError, EOFError, KeyError, IndexError, TypeError, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # the disk's words, not the tar's
            raise
        raise InputError("layer", f"is not a tar: {error}") from error


def _read_entries(archive: tarfile.TarFile, dropped: Callable[[str], bool]) -> dict[str, tarfile.TarInfo]:
    entries: dict[str, tarfile.TarInfo] = {}
    for count, entry in enumerate(archive):
        if count > _MAX_ENTRIES:
            raise InputError("layer", f"has more than {_MAX_ENTRIES} entries")
        path = _clean(entry.name)
        if path is None or entry.size < 0:
            raise InputError("layer", f"has the path {entry.name[:200]!r}")
        if path and not _is_dropped(path) and not dropped(path):
            entries[path] = entry
    return entries


def _with_first_links(entries: dict[str, tarfile.TarInfo]) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """Entries by path, with each group of hard links turned so that its first path carries the content."""
    groups: dict[str, list[str]] = {}
    for path, entry in entries.items():
        if entry.islnk():
            root, seen = path, set()
            while root in entries and entries[root].islnk() and root not in seen:
                seen.add(root)
                root = _clean(entries[root].linkname) or ""
            if root in entries and not entries[root].islnk():
                groups.setdefault(root, [root]).append(path)
    first: dict[str, str] = {}
    for paths in groups.values():
        for path in paths:
            first[path] = min(paths)
    content = {min(paths): entries[root] for root, paths in groups.items()}
    for path in sorted(entries):
        entry = entries[path]
        if path not in first:
            yield path, entry
        elif path in content:
            yield path, content[path]
        else:
            link = tarfile.TarInfo(path)
            link.type, link.linkname = tarfile.LNKTYPE, first[path]
            file = content[first[path]]
            link.mode, link.uid, link.gid, link.mtime = file.mode, file.uid, file.gid, file.mtime
            yield path, link


def _write_entry(archive: tarfile.TarFile, made: tarfile.TarFile, path: str, entry: tarfile.TarInfo, epoch_s: int) -> None:
    fresh = tarfile.TarInfo(path)
    fresh.type = tarfile.REGTYPE if entry.isreg() else entry.type
    fresh.mode = entry.mode & 0o7777
    fresh.uid, fresh.gid = entry.uid, entry.gid
    fresh.mtime = max(0, min(int(entry.mtime), epoch_s))
    fresh.linkname = (_clean(entry.linkname) or "") if entry.islnk() else entry.linkname
    fresh.devmajor, fresh.devminor = entry.devmajor, entry.devminor
    fresh.pax_headers = {key: value for key, value in sorted(entry.pax_headers.items()) if key.startswith(_XATTR)}
    if not entry.isreg():
        made.addfile(fresh)
        return
    content = archive.extractfile(entry)
    assert content is not None
    with content:
        if path in _EMPTIED:
            made.addfile(fresh)
        elif path == "etc/shadow" and entry.size <= _MAX_REWRITTEN_BYTES:
            data = clamp_shadow(content.read(), epoch_s // 86400)
            fresh.size = len(data)
            made.addfile(fresh, io.BytesIO(data))
        else:
            fresh.size = entry.size
            made.addfile(fresh, content)


def clamp_shadow(data: bytes, day: int) -> bytes:
    """The shadow file with no password changed later than `day` (days since 1970). Lines of another shape stay. Source: shadow(5)."""
    lines = []
    for line in data.split(b"\n"):
        fields = line.split(b":")
        if len(fields) == 9 and len(fields[2]) < 10 and fields[2].isdigit() and int(fields[2]) > day:
            fields[2] = str(day).encode()
        lines.append(b":".join(fields))
    return b"\n".join(lines)


def normalise_config(built: dict[str, Any], below: int, diff_ids: tuple[Digest, ...], epoch_s: int) -> bytes:
    """The configuration of an image that the engine built, in its one form: no times, hosts, containers and engine versions.

    The first `below` history entries are the base's and stay; the further ones get `epoch_s`. *Raises* InputError for wrong types.
    """
    history = built.get("history") or []
    if not isinstance(history, list) or not all(isinstance(item, dict) for item in history):
        raise InputError("image configuration", "its history is not a list of objects")
    steps = [_step(item, epoch_s) for item in history[below:]]
    return render_config(built, diff_ids, [*history[:below], *steps], epoch_s)


def render_config(like: dict[str, Any], diff_ids: tuple[Digest, ...], history: list[dict[str, Any]], epoch_s: int) -> bytes:
    """A configuration with platform and `config` of `like`, created at `epoch_s`."""
    settings = like.get("config") or {}
    if not isinstance(settings, dict):
        raise InputError("image configuration", "its config is not an object")
    kept = {key: settings[key] for key in _CONFIG_KEYS if settings.get(key)}
    platform = {key: str(like[key]) for key in ("architecture", "os", "os.version", "variant") if like.get(key)}
    value = {
        **platform,
        "config": kept,
        "created": render_time(epoch_s),
        "history": history,
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
    }
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def render_time(epoch_s: int) -> str:
    """The time as configurations write it (RFC 3339, UTC)."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_saved(index: bytes) -> tuple[str, tuple[str, ...]]:
    """Names of the configuration and of the layer tars, lowest first, in a docker-save archive of ONE image. Raises InputError."""
    thing = "saved image"
    try:
        value = json.loads(index)
        (image,) = value
        config, layers = image["Config"], image["Layers"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(thing, "its manifest.json does not list one image") from error
    if not isinstance(config, str) or not isinstance(layers, list) or not all(isinstance(name, str) for name in layers):
        raise InputError(thing, "its manifest.json does not name configuration and layers")
    return config, tuple(layers)


def parse_from(dockerfile: str, args: Mapping[str, str]) -> str:
    """The image that the last stage of `dockerfile` is built on, with `args` filled in; `scratch` for none. Raises InputError.

    *Source*: Docker's build reference, "FROM" and "Understand how ARG and FROM interact": only ARG before the first FROM counts.
    """
    known: dict[str, str] = {}
    stages: dict[str, str] = {}
    image = ""
    for line in _LINE_JOIN.sub(" ", dockerfile).splitlines():
        words = line.split()
        head = words[0].upper() if words else ""
        if head == "ARG" and not image:
            for word in words[1:]:
                name, _, default = word.partition("=")
                known[name] = args.get(name, default.strip("\"'"))
        elif head == "FROM":
            rest = [word for word in words[1:] if not word.startswith("--")]
            image = _ARGUMENT.sub(lambda match: known.get(match.group(1) or match.group(2), ""), rest[0]) if rest else ""
            if not image:
                raise InputError("Dockerfile", f"{line.strip()[:100]!r} names no image", "give the argument: --base, --build-arg")
            image = stages.get(image.lower(), image)
            if len(rest) == 3 and rest[1].upper() == "AS":
                stages[rest[2].lower()] = image
    if not image:
        raise InputError("Dockerfile", "has no FROM")
    return image


def write_context(entries: Iterable[ContextEntry], read: Callable[[str], BinaryIO], sink: Sink, epoch_s: int = 0) -> None:
    """Write the tar of a build context to `sink`: by path, modes 0644 and 0755, owner 0, one time; `read` opens a file by its path.

    So neither the umask, the owner, the clock nor the folder the context lies in changes what is built from it.
    """
    with tarfile.open(fileobj=_Counted(sink), mode="w|", format=tarfile.PAX_FORMAT) as made:
        for entry in sorted(entries):
            path = _clean(entry.path)
            if not path:
                raise InputError("build context", f"has the path {entry.path[:200]!r}")
            fresh = tarfile.TarInfo(path)
            fresh.mtime = epoch_s
            fresh.mode = 0o755 if entry.executable or entry.kind == "folder" else 0o777 if entry.kind == "link" else 0o644
            if entry.kind == "file":
                fresh.size = entry.size
                with read(entry.path) as content:
                    made.addfile(fresh, content)
                continue
            fresh.type = tarfile.DIRTYPE if entry.kind == "folder" else tarfile.SYMTYPE
            fresh.linkname = entry.target
            made.addfile(fresh)


def parse_ignore(text: str) -> Callable[[str], bool]:
    """Whether a `.dockerignore` leaves a path out. Last match wins, `!` takes back in. Source: Docker's build reference."""
    rules: list[tuple[bool, re.Pattern[str]]] = []
    for raw in text.splitlines()[:10_000]:
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        wanted = line.startswith("!")
        pattern = str(PurePosixPath(line.lstrip("!").strip().strip("/") or "."))
        rules.append((wanted, re.compile(_glob(pattern) + r"(?:/.*)?\Z", re.DOTALL)))

    def is_left_out(path: str) -> bool:
        out = False
        for wanted, pattern in rules:
            if pattern.match(path):
                out = not wanted
        return out

    return is_left_out


def _glob(pattern: str) -> str:
    """The pattern as a regular expression without nested repetition."""
    made, at = "", 0
    pattern = re.sub(r"\*{3,}", "**", pattern)
    while at < len(pattern):
        if pattern.startswith("**/", at):
            made, at = made + "(?:.*/)?", at + 3
        elif pattern.startswith("**", at):
            made, at = made + ".*", at + 2
        elif pattern[at] == "*":
            made, at = made + "[^/]*", at + 1
        elif pattern[at] == "?":
            made, at = made + "[^/]", at + 1
        else:
            made, at = made + re.escape(pattern[at]), at + 1
    return made


def _is_dropped(path: str) -> bool:
    return "/.wh." not in path and _DROPPED.fullmatch(path) is not None


def _clean(name: str) -> str | None:
    """The path relative and without `.`; empty for the root itself, None when it leads out."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    return None if ".." in parts or "\0" in name else "/".join(parts)


def _step(item: dict[str, Any], epoch_s: int) -> dict[str, Any]:
    kept = {key: item[key] for key in ("created_by", "comment", "empty_layer") if item.get(key)}
    return {"created": render_time(epoch_s), **kept}


class _Counted(io.RawIOBase):
    """A writable file over a sink, with a position."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._at = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._sink.write(bytes(data))
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at
