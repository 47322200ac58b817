"""Names of the bits in call arguments. Source: Linux uapi headers for x86-64 (fcntl.h, sched.h, mount.h, capability.h)."""

from __future__ import annotations


def render_flags(flags: int, names: dict[int, str]) -> str:
    """The names of the bits set, joined by `|`."""
    return "|".join(name for bit, name in names.items() if flags & bit == bit)


OPEN_FLAGS = {
    0o100: "O_CREAT",
    0o200: "O_EXCL",
    0o1000: "O_TRUNC",
    0o2000: "O_APPEND",
    0o4000: "O_NONBLOCK",
    0o40000: "O_DIRECT",
    0o200000: "O_DIRECTORY",
    0o400000: "O_NOFOLLOW",
    0o2000000: "O_CLOEXEC",
    0o10000000: "O_PATH",
    0o20200000: "O_TMPFILE",
}
ACCESS = {0: "O_RDONLY", 1: "O_WRONLY", 2: "O_RDWR"}
O_PATH = 0o10000000
CLONE_FLAGS = {
    0x00000080: "CLONE_NEWTIME",
    0x00020000: "CLONE_NEWNS",
    0x02000000: "CLONE_NEWCGROUP",
    0x04000000: "CLONE_NEWUTS",
    0x08000000: "CLONE_NEWIPC",
    0x10000000: "CLONE_NEWUSER",
    0x20000000: "CLONE_NEWPID",
    0x40000000: "CLONE_NEWNET",
}
MOUNT_FLAGS = {1: "RDONLY", 2: "NOSUID", 4: "NODEV", 8: "NOEXEC", 32: "REMOUNT", 4096: "BIND", 8192: "MOVE", 16384: "REC"}
CAPABILITIES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
]


def render_capabilities(mask: int) -> str:
    """The names of the capabilities in `mask`, lowest first, joined by blanks."""
    return " ".join(f"CAP_{name}" for bit, name in enumerate(CAPABILITIES) if mask >> bit & 1)
