"""What this host's kernel can do for Shipwall, found out by loading real programs and letting go of them at once.

Nothing is attached that could act: every probe returns the neutral value, and its descriptors are closed before the next one.
"""

from __future__ import annotations

import ctypes
import errno as errnos
import os
import platform
import struct
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from shipwall.kernel.bpf import OBJECTS, BpfObject, libbpf
from shipwall.kernel.cgroups import find_mounts
from shipwall.kernel.fanotify import Group
from shipwall.model.errors import ShipwallError, UnsupportedError

# include/uapi/linux/bpf.h
_KPROBE, _SCHED_CLS, _XDP, _SOCK_OPS, _RAW_TRACEPOINT, _SOCK_ADDR, _TRACING, _LSM = 2, 3, 6, 13, 17, 18, 26, 29
_AT_CONNECT4, _AT_RAW_TP, _AT_FENTRY, _AT_LSM, _AT_ITER, _AT_SOCK_OPS, _AT_TCX = 10, 23, 24, 27, 28, 3, 46
_SEND_SIGNAL = 109
_PROG_QUERY, _NR_BPF, _LOOPBACK = 16, 321, 1


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """`present` None: could not be probed (`detail` says why). `needed`: nothing is observed without it. `cost` of its absence."""

    name: str
    present: bool | None
    detail: str = ""
    needed: bool = False
    cost: str = ""


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """Everything `probe_host` found. `cgroup_mode` unified, hybrid or legacy; `lockdown` none, integrity, confidentiality or unknown."""

    kernel: str
    machine: str
    cgroup_mode: str
    lockdown: str
    libbpf: str
    features: tuple[Feature, ...]


class _LoadOptions(ctypes.Structure):
    """struct bpf_prog_load_opts of libbpf 1.0 and later."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("attempts", ctypes.c_int),
        ("expected_attach_type", ctypes.c_uint32),
        ("prog_btf_fd", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_ifindex", ctypes.c_uint32),
        ("kern_version", ctypes.c_uint32),
        ("attach_btf_id", ctypes.c_uint32),
        ("attach_prog_fd", ctypes.c_uint32),
        ("attach_btf_obj_fd", ctypes.c_uint32),
        ("fd_array", ctypes.c_void_p),
        ("func_info", ctypes.c_void_p),
        ("func_info_cnt", ctypes.c_uint32),
        ("func_info_rec_size", ctypes.c_uint32),
        ("line_info", ctypes.c_void_p),
        ("line_info_cnt", ctypes.c_uint32),
        ("line_info_rec_size", ctypes.c_uint32),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_void_p),
    ]


def _instruction(code: int, registers: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("<BBhi", code, registers, 0, immediate)


def _returns(value: int) -> bytes:
    """r0 = value; exit"""
    return _instruction(0xB7, 0, value) + _instruction(0x95)


_SENDS_SIGNAL = _instruction(0xB7, 1, 9) + _instruction(0x85, 0, _SEND_SIGNAL) + _returns(0)


def _load(kind: int, code: bytes, attach_type: int = 0, hook: str = "") -> int:
    """A descriptor of the loaded program. Raises OSError."""
    library = libbpf()
    options = _LoadOptions(sz=ctypes.sizeof(_LoadOptions), expected_attach_type=attach_type)
    if hook:
        found = library.libbpf_find_vmlinux_btf_id(hook.encode(), attach_type)
        if found < 0:
            raise OSError(-found, f"no hook {hook}")
        options.attach_btf_id = found
    fd = int(library.bpf_prog_load(kind, b"shipwall_probe", b"GPL", code, ctypes.c_size_t(len(code) // 8), ctypes.byref(options)))
    if fd < 0:
        raise OSError(-fd, os.strerror(-fd))
    return fd


def _loads(kind: int, code: bytes, attach_type: int = 0, hook: str = "", *, attach: bool = False) -> Callable[[], str]:
    """A probe: load, attach if the kind takes no other argument, let go."""

    def probe() -> str:
        fd = _load(kind, code, attach_type, hook)
        try:
            if attach:
                link = int(libbpf().bpf_raw_tracepoint_open(None, fd))
                if link < 0:
                    raise OSError(-link, os.strerror(-link))
                os.close(link)
                return "loads and attaches"
            return "loads"
        finally:
            os.close(fd)

    return probe


def _tcx() -> str:
    """Asks which tcx programs the loopback device has: an older kernel does not know the question."""
    os.close(_load(_SCHED_CLS, _returns(0)))
    library = ctypes.CDLL(None, use_errno=True)
    attributes = ctypes.create_string_buffer(struct.pack("<II56x", _LOOPBACK, _AT_TCX))
    if library.syscall(_NR_BPF, _PROG_QUERY, attributes, 64):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "known"


def _kprobe() -> str:
    if not Path("/sys/bus/event_source/devices/kprobe/type").exists():
        raise OSError(errnos.ENOENT, "not compiled in")
    return _loads(_KPROBE, _returns(0))()


def _lsm() -> str:
    said = _loads(_LSM, _returns(0), _AT_LSM, "file_open", attach=True)()
    active = _first_line(Path("/sys/kernel/security/lsm"))
    if active and "bpf" not in active.split(","):
        raise OSError(errnos.ENOENT, f"bpf is not among the active security modules ({active})")
    with BpfObject(OBJECTS / "names.bpf.o") as loaded:
        return f"{said}; {len(loaded.programs())} programs of the name guard load"


def _sensor() -> str:
    with BpfObject(OBJECTS / "sensor.bpf.o") as loaded:
        return f"{len(loaded.programs())} programs load"


def _guard() -> str:
    with BpfObject(OBJECTS / "guard.bpf.o") as loaded:
        return f"{len(loaded.programs())} programs load"


def _fanotify() -> str:
    Group().close()
    return "asks before an open; never before create, unlink and rename"


def _btf() -> str:
    size = Path("/sys/kernel/btf/vmlinux").stat().st_size
    return f"{size // 1024} KiB of types"


_PROBES: tuple[tuple[str, Callable[[], str], bool, str], ...] = (
    ("btf", _btf, True, "the sensor cannot be fitted to this kernel: no observation, no kill"),
    ("tp_btf", _loads(_TRACING, _returns(0), _AT_RAW_TP, "sys_exit", attach=True), True, "no observation, no kill"),
    ("raw_tp", _loads(_RAW_TRACEPOINT, _returns(0)), True, "cgroups cannot be put under watch"),
    (
        "send_signal",
        _loads(_TRACING, _SENDS_SIGNAL, _AT_RAW_TP, "sched_process_exec"),
        False,
        "dropped executables are reported but not killed before their first instruction",
    ),
    ("sensor", _sensor, True, "no observation, no kill"),
    ("iter", _loads(_TRACING, _returns(0), _AT_ITER, "task"), False, "processes already running are read from /proc instead"),
    ("cgroup_connect4", _loads(_SOCK_ADDR, _returns(1), _AT_CONNECT4), False, "connections cannot be refused per container"),
    ("network_guard", _guard, False, "connects, binds and messages cannot be refused by rules"),
    ("fanotify", _fanotify, False, "opens cannot be refused by rules"),
    ("sock_ops", _loads(_SOCK_OPS, _returns(1), _AT_SOCK_OPS), False, "established connections are not followed"),
    ("tc", _loads(_SCHED_CLS, _returns(0)), False, "no packet policy on container links"),
    ("tcx", _tcx, False, "packet programs are attached through tc, not as links"),
    ("xdp", _loads(_XDP, _returns(2)), False, "no packet shield on interfaces"),
    (
        "fentry",
        _loads(_TRACING, _returns(0), _AT_FENTRY, "vfs_read", attach=True),
        False,
        "nothing today: the sensor does without",
    ),
    ("lsm", _lsm, False, "creating, removing and renaming files are reported, but cannot be refused"),
    ("kprobe", _kprobe, False, "nothing today: the sensor does without"),
)


def probe_host() -> Host:
    """What this host's kernel can do. Without root most features are None, with the reason. Leaves the host's BPF state as it was."""
    mounts = find_mounts()
    features = [_probed(*probe) for probe in _PROBES]
    features.append(
        Feature(
            name="cgroup_v2",
            present=mounts.unified is not None,
            detail=f"mounted at {mounts.unified}" if mounts.unified else "not mounted",
            needed=True,
            cost="containers cannot be told apart in the kernel: no observation, no kill",
        )
    )
    freezers = [str(mounts.v1["freezer"])] if "freezer" in mounts.v1 else []
    freezers += [f"{mounts.unified} (v2)"] if mounts.unified else []
    features.append(
        Feature(
            name="freezer", present=bool(freezers), detail=", ".join(freezers), cost="containers are stopped instead of frozen"
        )
    )
    try:
        version = f"{libbpf().libbpf_major_version()}.{libbpf().libbpf_minor_version()}"
    except UnsupportedError:
        version = "missing"
    lockdown = _first_line(Path("/sys/kernel/security/lockdown"))
    return Host(
        kernel=platform.release(),
        machine=platform.machine(),
        cgroup_mode=mounts.mode,
        lockdown=lockdown.partition("[")[2].partition("]")[0] or "unknown",
        libbpf=version,
        features=tuple(features),
    )


def probe_features(names: Collection[str]) -> dict[str, bool | None]:
    """Which of the features `names` are present, as `probe_host` finds out; None where that could not be probed. Unknown names lack."""
    return {probe[0]: _probed(*probe).present for probe in _PROBES if probe[0] in names}


def why_no_sensor() -> str:
    """Why nothing can be observed on this host, found by loading the sensor and letting go of it; empty when it can."""
    for name, probe in (("btf", _btf), ("sensor", _sensor)):
        if (found := _probed(name, probe, True, "")).present is not True:
            return f"{name}: {found.detail}"
    return ""


def _probed(name: str, probe: Callable[[], str], needed: bool, cost: str) -> Feature:
    is_root = os.geteuid() == 0
    try:
        return Feature(name=name, present=True, detail=probe(), needed=needed, cost=cost)
    except ShipwallError as error:
        errno, said = getattr(error, "errno", 0), error.reason
    except OSError as error:
        errno, said = error.errno or 0, error.strerror or str(error)
    if not is_root and errno in {errnos.EPERM, errnos.EACCES}:
        return Feature(name=name, present=None, detail="not probed: needs root", needed=needed, cost=cost)
    return Feature(name=name, present=False, detail=said, needed=needed, cost=cost)


def _first_line(path: Path) -> str:
    try:
        return path.read_text().splitlines()[0].strip()
    except (OSError, IndexError):
        return ""
