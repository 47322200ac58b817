"""Names of the bits in call arguments. Source: Linux uapi headers for x86-64 (fcntl.h, sched.h, mount.h, capability.h, mman.h, memfd.h,
ptrace.h, prctl.h, io_uring.h, stat.h) and include/linux/socket.h."""

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
MODE_FLAGS = {
    0o001: "S_IXOTH",
    0o002: "S_IWOTH",
    0o004: "S_IROTH",
    0o010: "S_IXGRP",
    0o020: "S_IWGRP",
    0o040: "S_IRGRP",
    0o100: "S_IXUSR",
    0o200: "S_IWUSR",
    0o400: "S_IRUSR",
    0o1000: "S_ISVTX",
    0o2000: "S_ISGID",
    0o4000: "S_ISUID",
}
NAMED_FLAGS: dict[str, dict[int, str]] = {
    "open": OPEN_FLAGS,
    "prot": {
        1: "PROT_READ",
        2: "PROT_WRITE",
        4: "PROT_EXEC",
        8: "PROT_SEM",
        0x1000000: "PROT_GROWSDOWN",
        0x2000000: "PROT_GROWSUP",
    },
    "mmap": {
        1: "MAP_SHARED",
        2: "MAP_PRIVATE",
        0x10: "MAP_FIXED",
        0x20: "MAP_ANONYMOUS",
        0x40: "MAP_32BIT",
        0x100: "MAP_GROWSDOWN",
        0x800: "MAP_DENYWRITE",
        0x2000: "MAP_LOCKED",
        0x4000: "MAP_NORESERVE",
        0x8000: "MAP_POPULATE",
        0x10000: "MAP_NONBLOCK",
        0x20000: "MAP_STACK",
        0x40000: "MAP_HUGETLB",
        0x100000: "MAP_FIXED_NOREPLACE",
    },
    "memfd": {1: "MFD_CLOEXEC", 2: "MFD_ALLOW_SEALING", 4: "MFD_HUGETLB", 8: "MFD_NOEXEC_SEAL", 16: "MFD_EXEC"},
    "at": {
        0x100: "AT_SYMLINK_NOFOLLOW",
        0x200: "AT_REMOVEDIR",
        0x400: "AT_SYMLINK_FOLLOW",
        0x800: "AT_NO_AUTOMOUNT",
        0x1000: "AT_EMPTY_PATH",
        0x8000: "AT_RECURSIVE",
    },
    "rename": {1: "RENAME_NOREPLACE", 2: "RENAME_EXCHANGE", 4: "RENAME_WHITEOUT"},
    "accept": {0o4000: "SOCK_NONBLOCK", 0o2000000: "SOCK_CLOEXEC"},
}
"""Names of the bits that `abi.calls` calls `flags.X`."""

SIGNALS = {
    number: f"SIG{name}"
    for number, name in enumerate(
        "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM "  # noqa: SIM905
        "PROF WINCH IO PWR SYS".split(),
        1,
    )
}

NAMED_VALUES: dict[str, dict[int, str]] = {
    "domain": dict(
        enumerate(
            [
                "AF_UNSPEC",
                "AF_UNIX",
                "AF_INET",
                "AF_AX25",
                "AF_IPX",
                "AF_APPLETALK",
                "AF_NETROM",
                "AF_BRIDGE",
                "AF_ATMPVC",
                "AF_X25",
                "AF_INET6",
                "AF_ROSE",
                "AF_DECnet",
                "AF_NETBEUI",
                "AF_SECURITY",
                "AF_KEY",
                "AF_NETLINK",
                "AF_PACKET",
                "AF_ASH",
                "AF_ECONET",
                "AF_ATMSVC",
                "AF_RDS",
                "AF_SNA",
                "AF_IRDA",
                "AF_PPPOX",
                "AF_WANPIPE",
                "AF_LLC",
                "AF_IB",
                "AF_MPLS",
                "AF_CAN",
                "AF_TIPC",
                "AF_BLUETOOTH",
                "AF_IUCV",
                "AF_RXRPC",
                "AF_ISDN",
                "AF_PHONET",
                "AF_IEEE802154",
                "AF_CAIF",
                "AF_ALG",
                "AF_NFC",
                "AF_VSOCK",
                "AF_KCM",
                "AF_QIPCRTR",
                "AF_SMC",
                "AF_XDP",
            ]
        )
    ),
    "ptrace": {
        0: "PTRACE_TRACEME",
        1: "PTRACE_PEEKTEXT",
        2: "PTRACE_PEEKDATA",
        3: "PTRACE_PEEKUSR",
        4: "PTRACE_POKETEXT",
        5: "PTRACE_POKEDATA",
        6: "PTRACE_POKEUSR",
        7: "PTRACE_CONT",
        8: "PTRACE_KILL",
        9: "PTRACE_SINGLESTEP",
        12: "PTRACE_GETREGS",
        13: "PTRACE_SETREGS",
        14: "PTRACE_GETFPREGS",
        15: "PTRACE_SETFPREGS",
        16: "PTRACE_ATTACH",
        17: "PTRACE_DETACH",
        18: "PTRACE_GETFPXREGS",
        19: "PTRACE_SETFPXREGS",
        21: "PTRACE_OLDSETOPTIONS",
        24: "PTRACE_SYSCALL",
        0x4200: "PTRACE_SETOPTIONS",
        0x4201: "PTRACE_GETEVENTMSG",
        0x4202: "PTRACE_GETSIGINFO",
        0x4203: "PTRACE_SETSIGINFO",
        0x4204: "PTRACE_GETREGSET",
        0x4205: "PTRACE_SETREGSET",
        0x4206: "PTRACE_SEIZE",
        0x4207: "PTRACE_INTERRUPT",
        0x4208: "PTRACE_LISTEN",
    },
    "prctl": {
        1: "PR_SET_PDEATHSIG",
        4: "PR_SET_DUMPABLE",
        8: "PR_SET_KEEPCAPS",
        15: "PR_SET_NAME",
        16: "PR_GET_NAME",
        22: "PR_SET_SECCOMP",
        23: "PR_CAPBSET_READ",
        24: "PR_CAPBSET_DROP",
        28: "PR_SET_SECUREBITS",
        35: "PR_SET_MM",
        36: "PR_SET_CHILD_SUBREAPER",
        38: "PR_SET_NO_NEW_PRIVS",
        47: "PR_CAP_AMBIENT",
        0x59616D61: "PR_SET_PTRACER",
    },
    "io_uring": {
        0: "IORING_REGISTER_BUFFERS",
        1: "IORING_UNREGISTER_BUFFERS",
        2: "IORING_REGISTER_FILES",
        3: "IORING_UNREGISTER_FILES",
        8: "IORING_REGISTER_PROBE",
        9: "IORING_REGISTER_PERSONALITY",
        11: "IORING_REGISTER_RESTRICTIONS",
        12: "IORING_REGISTER_ENABLE_RINGS",
    },
}
"""Names of the values that `abi.calls` calls `enum.X`. A value without a name is told as its number."""

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
