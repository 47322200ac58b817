"""Loading BPF objects through libbpf, and the maps inside them.

Links and maps are not pinned: they end with this process, whatever ends it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno as errnos
import functools
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from shipwall.model.errors import KernelError, UnsupportedError

OBJECTS = Path(__file__).parent / "objects"
STATS_RUN_TIME = 0
_BPF_PROG_GET_NEXT_ID, _BPF_LINK_GET_NEXT_ID, _BPF_MAP_GET_NEXT_ID = 11, 31, 12
_NR_BPF = 321
_LOG_BYTES = 16 * 1024 * 1024
_KEPT_BYTES = 32 * 1024

_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_kept_words: list[str] = []


class _TestRun(ctypes.Structure):
    """struct bpf_test_run_opts of libbpf."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_void_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    ]


class _ProgramInfo(ctypes.Structure):
    """The leading members of struct bpf_prog_info (include/uapi/linux/bpf.h)."""

    _fields_ = [
        ("head", ctypes.c_uint8 * 192),
        ("run_time_ns", ctypes.c_uint64),
        ("run_cnt", ctypes.c_uint64),
        ("recursion_misses", ctypes.c_uint64),
        ("verified_insns", ctypes.c_uint32),
        ("attach_btf_obj_id", ctypes.c_uint32),
        ("attach_btf_id", ctypes.c_uint32),
    ]


class RunStats(NamedTuple):
    """How long and how often a program ran while statistics were on; `missed` runs were skipped as recursion."""

    run_ns: int
    runs: int
    missed: int


@functools.cache
def libbpf() -> ctypes.CDLL:
    """libbpf. Raises UnsupportedError when it is not installed."""
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise UnsupportedError("libbpf.so.1", "cannot be loaded", "install Debian's libbpf1") from error
    pointers = (
        "bpf_object__open_mem bpf_object__find_map_by_name bpf_object__find_program_by_name bpf_object__next_program "
        "bpf_program__attach bpf_map__initial_value"
    )
    for name in pointers.split():
        getattr(library, name).restype = ctypes.c_void_p
    library.bpf_program__name.restype = ctypes.c_char_p
    library.bpf_map__name.restype = ctypes.c_char_p
    library.libbpf_set_print.restype = ctypes.c_void_p
    library.libbpf_set_print(_keep_words)
    return library


def _format(level: int, pattern: bytes, arguments: int) -> int:
    """Keeps what libbpf says, for the error that follows; a va_list is a pointer here (x86-64 and arm64 System V)."""
    if level > 0:  # only warnings
        return 0
    text = ctypes.create_string_buffer(_LOG_BYTES)
    ctypes.CDLL(None).vsnprintf(text, len(text), pattern, ctypes.c_void_p(arguments))
    _kept_words.append(text.value[-_KEPT_BYTES:].decode(errors="replace"))  # a verifier's reason stands at the end
    del _kept_words[:-50]
    return 0


_keep_words = _PRINT(_format)


@functools.cache
def possible_cpus() -> int:
    """How many values a per-CPU map has. Raises KernelError."""
    count = int(libbpf().libbpf_num_possible_cpus())
    if count < 1:
        raise KernelError("possible CPUs", os.strerror(-count), errno=-count)
    return count


class Map:
    """One map of a loaded object, by its descriptor."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd

    def update(self, key: bytes, value: bytes) -> None:
        """Set the value of `key`. Raises KernelError."""
        self._checked(libbpf().bpf_map_update_elem(self.fd, key, value, ctypes.c_uint64(0)), "update")

    def lookup(self, key: bytes, value_bytes: int) -> bytes | None:
        """The value of `key`, None when there is none."""
        value = ctypes.create_string_buffer(value_bytes)
        result = libbpf().bpf_map_lookup_elem(self.fd, key, value)
        if result == -errnos.ENOENT:
            return None
        self._checked(result, "lookup")
        return value.raw

    def delete(self, key: bytes) -> None:
        """Remove `key`; it may be absent."""
        result = libbpf().bpf_map_delete_elem(self.fd, key)
        if result != -errnos.ENOENT:
            self._checked(result, "delete")

    def keys(self, key_bytes: int) -> list[bytes]:
        """All keys, as far as they did not change meanwhile."""
        found: list[bytes] = []
        following = ctypes.create_string_buffer(key_bytes)
        last: bytes | None = None
        while libbpf().bpf_map_get_next_key(self.fd, last, following) == 0:
            last = following.raw
            found.append(last)
        return found

    def mapped(self, size_bytes: int) -> mmap.mmap:
        """The memory of an mmapable array, writable. The caller closes it."""
        try:
            return mmap.mmap(self.fd, -(-size_bytes // mmap.PAGESIZE) * mmap.PAGESIZE)
        except OSError as error:
            raise KernelError(f"BPF map {self.name}", f"cannot be mapped: {error.strerror}", errno=error.errno or 0) from error

    def _checked(self, result: int, act: str) -> None:
        if result < 0:
            raise KernelError(f"BPF map {self.name}", f"{act}: {os.strerror(-result)}", errno=-result)


class BpfObject:
    """A compiled object, loaded, with those of its programs attached that were asked for. Close it (or leave `with`) to end all."""

    def __init__(self, path: Path, map_entries: dict[str, int] | None = None, only: tuple[str, ...] | None = None) -> None:
        """Open and load `path`. `map_entries` resizes maps; `only` names the programs to load (default: all).

        Raises KernelError with errno, the failing program's name and the verifier's words; UnsupportedError without libbpf.
        """
        self.path = path
        self.links: dict[str, int] = {}
        try:
            data = path.read_bytes()
        except OSError as error:
            raise KernelError(
                f"BPF object {path.name}", error.strerror or str(error), "build it: make bpf", errno=error.errno or 0
            ) from error
        library = libbpf()
        _kept_words.clear()
        self._object: int | None = library.bpf_object__open_mem(data, ctypes.c_size_t(len(data)), None)
        if not self._object:
            raise self._error("open", ctypes.get_errno())
        self._logs: dict[str, Any] = {}
        try:
            for name, entries in (map_entries or {}).items():
                found = library.bpf_object__find_map_by_name(self._handle, name.encode())
                result = library.bpf_map__set_max_entries(ctypes.c_void_p(found), ctypes.c_uint32(entries))
                if not found or result:
                    raise self._error(f"resize map {name}", -result)
            for name, program in self._programs():
                if only is not None and name not in only:
                    library.bpf_program__set_autoload(ctypes.c_void_p(program), ctypes.c_bool(False))
            result = library.bpf_object__load(self._handle)
            if result:
                raise self._error("load", -result)
        except BaseException:
            self.close()
            raise

    @property
    def _handle(self) -> ctypes.c_void_p:
        assert self._object, "closed"
        return ctypes.c_void_p(self._object)

    def _programs(self) -> Iterator[tuple[str, int]]:
        library = libbpf()
        program = library.bpf_object__next_program(self._handle, None)
        while program:
            yield library.bpf_program__name(ctypes.c_void_p(program)).decode(), program
            program = library.bpf_object__next_program(self._handle, ctypes.c_void_p(program))

    def attach(self, name: str) -> None:
        """Attach program `name` to the hook its section names. Raises KernelError."""
        library = libbpf()
        program = library.bpf_object__find_program_by_name(self._handle, name.encode())
        if not program:
            raise self._error(f"attach {name}", errnos.ENOENT)
        link = library.bpf_program__attach(ctypes.c_void_p(program))
        if not link:
            raise self._error(f"attach {name}", ctypes.get_errno())
        self.links[name] = link

    def detach(self) -> None:
        """Detach every program; maps stay."""
        for link in self.links.values():
            libbpf().bpf_link__destroy(ctypes.c_void_p(link))
        self.links = {}

    def map(self, name: str) -> Map:
        """The map `name`. Raises KernelError when the object has none."""
        found = libbpf().bpf_object__find_map_by_name(self._handle, name.encode())
        if not found:
            raise self._error(f"map {name}", errnos.ENOENT)
        return Map(name, libbpf().bpf_map__fd(ctypes.c_void_p(found)))

    def programs(self) -> dict[str, int]:
        """Descriptors of the loaded programs by name."""
        return {name: fd for name, program in self._programs() if (fd := libbpf().bpf_program__fd(ctypes.c_void_p(program))) >= 0}

    def run_raw(self, name: str, *arguments: int) -> int:
        """The result of running raw_tp program `name` once with `arguments`. Raises KernelError."""
        words = (ctypes.c_uint64 * 12)(*arguments)  # as many as a raw tracepoint may have
        options = _TestRun(sz=ctypes.sizeof(_TestRun), ctx_in=ctypes.addressof(words), ctx_size_in=ctypes.sizeof(words))
        result = libbpf().bpf_prog_test_run_opts(self.programs()[name], ctypes.byref(options))
        if result:
            raise self._error(f"run {name}", -result)
        return int(options.retval)

    def close(self) -> None:
        """Detach and unload everything. May be called twice."""
        self.detach()
        if self._object:
            libbpf().bpf_object__close(ctypes.c_void_p(self._object))
            self._object = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _error(self, act: str, errno: int) -> KernelError:
        words = "".join(_kept_words)
        step = "run as root (CAP_BPF, CAP_PERFMON)" if errno in {errnos.EPERM, errnos.EACCES} else "see: shipwall doctor"
        return KernelError(f"BPF object {self.path.name}", f"{act}: {os.strerror(errno)}", step, errno=errno, log=words)


def run_stats(fd: int) -> RunStats:
    """What the kernel counted about the program `fd` while `measuring` was on. Raises KernelError."""
    info = _ProgramInfo()
    size = ctypes.c_uint32(ctypes.sizeof(info))
    result = libbpf().bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size))
    if result:
        raise KernelError("BPF program statistics", os.strerror(-result), errno=-result)
    return RunStats(info.run_time_ns, info.run_cnt, info.recursion_misses)


def enable_stats() -> int | None:
    """A descriptor that keeps run-time statistics on until it is closed (the sysctl stays as it is); None where refused."""
    fd = libbpf().bpf_enable_stats(STATS_RUN_TIME)
    return fd if fd >= 0 else None


def _ids(command: int) -> list[int]:
    library = ctypes.CDLL(None, use_errno=True)
    attributes = ctypes.create_string_buffer(64)
    found: list[int] = []
    while True:
        ctypes.memmove(attributes, (found[-1] if found else 0).to_bytes(4, "little"), 4)
        if library.syscall(_NR_BPF, command, attributes, len(attributes)):
            break
        found.append(int.from_bytes(attributes.raw[4:8], "little"))
    return found


def program_ids() -> list[int]:
    """Ids of all programs loaded on this host (needs CAP_SYS_ADMIN; else empty)."""
    return _ids(_BPF_PROG_GET_NEXT_ID)


def link_ids() -> list[int]:
    """Ids of all BPF links on this host."""
    return _ids(_BPF_LINK_GET_NEXT_ID)


def map_ids() -> list[int]:
    """Ids of all BPF maps on this host."""
    return _ids(_BPF_MAP_GET_NEXT_ID)


@contextlib.contextmanager
def measuring() -> Iterator[bool]:
    """Run-time statistics on, for the time of the block; whether the kernel agreed."""
    fd = enable_stats()
    try:
        yield fd is not None
    finally:
        if fd is not None:
            os.close(fd)
