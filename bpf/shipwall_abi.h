/* Generated from src/shipwall/abi/schema.py by `python -m shipwall.abi.generate`: do not edit. */
#ifndef SHIPWALL_ABI_H
#define SHIPWALL_ABI_H

enum shipwall_constant {
	SHIPWALL_KIND_FORK = 0x1,
	SHIPWALL_KIND_EXIT = 0x2,
	SHIPWALL_KIND_EXEC = 0x3,
	SHIPWALL_KIND_OPEN = 0x4,
	SHIPWALL_KIND_CONNECT = 0x5,
	SHIPWALL_KIND_PRIVILEGE = 0x6,
	SHIPWALL_KIND_MODULE = 0x7,
	SHIPWALL_KIND_NAMESPACE = 0x8,
	SHIPWALL_KIND_MOUNT = 0x9,
	SHIPWALL_KIND_DUPLICATE = 0xa,
	SHIPWALL_KIND_CGROUP = 0xb,
	SHIPWALL_KIND_COMPAT = 0xc,
	SHIPWALL_ORIGIN_UNKNOWN = 0x0,
	SHIPWALL_ORIGIN_IMAGE = 0x1,
	SHIPWALL_ORIGIN_UPPER = 0x2,
	SHIPWALL_ORIGIN_TMPFS = 0x3,
	SHIPWALL_ORIGIN_MEMFD = 0x4,
	SHIPWALL_ORIGIN_MOUNT = 0x5,
	SHIPWALL_ORIGIN_DELETED = 0x6,
	SHIPWALL_FAMILY_OPEN = 0x1,
	SHIPWALL_FAMILY_CONNECT = 0x2,
	SHIPWALL_FAMILY_PRIVILEGE = 0x3,
	SHIPWALL_FAMILY_MODULE = 0x4,
	SHIPWALL_FAMILY_NAMESPACE = 0x5,
	SHIPWALL_FAMILY_MOUNT = 0x6,
	SHIPWALL_FAMILY_DUPLICATE = 0x7,
	SHIPWALL_FAMILY_EXEC = 0x8,
	SHIPWALL_CALL_OPEN = 0x2,
	SHIPWALL_CALL_CREAT = 0x55,
	SHIPWALL_CALL_OPENAT = 0x101,
	SHIPWALL_CALL_OPENAT2 = 0x1b5,
	SHIPWALL_CALL_OPEN_BY_HANDLE_AT = 0x130,
	SHIPWALL_CALL_CONNECT = 0x2a,
	SHIPWALL_CALL_SETUID = 0x69,
	SHIPWALL_CALL_SETGID = 0x6a,
	SHIPWALL_CALL_SETREUID = 0x71,
	SHIPWALL_CALL_SETREGID = 0x72,
	SHIPWALL_CALL_SETGROUPS = 0x74,
	SHIPWALL_CALL_SETRESUID = 0x75,
	SHIPWALL_CALL_SETRESGID = 0x77,
	SHIPWALL_CALL_SETFSUID = 0x7a,
	SHIPWALL_CALL_SETFSGID = 0x7b,
	SHIPWALL_CALL_CAPSET = 0x7e,
	SHIPWALL_CALL_INIT_MODULE = 0xaf,
	SHIPWALL_CALL_FINIT_MODULE = 0x139,
	SHIPWALL_CALL_DELETE_MODULE = 0xb0,
	SHIPWALL_CALL_BPF = 0x141,
	SHIPWALL_CALL_UNSHARE = 0x110,
	SHIPWALL_CALL_SETNS = 0x134,
	SHIPWALL_CALL_CLONE = 0x38,
	SHIPWALL_CALL_CLONE3 = 0x1b3,
	SHIPWALL_CALL_MOUNT = 0xa5,
	SHIPWALL_CALL_UMOUNT2 = 0xa6,
	SHIPWALL_CALL_MOVE_MOUNT = 0x1ad,
	SHIPWALL_CALL_OPEN_TREE = 0x1ac,
	SHIPWALL_CALL_FSOPEN = 0x1ae,
	SHIPWALL_CALL_PIVOT_ROOT = 0x9b,
	SHIPWALL_CALL_CHROOT = 0xa1,
	SHIPWALL_CALL_DUP = 0x20,
	SHIPWALL_CALL_DUP2 = 0x21,
	SHIPWALL_CALL_DUP3 = 0x124,
	SHIPWALL_CALL_FCNTL = 0x48,
	SHIPWALL_CALL_EXECVE = 0x3b,
	SHIPWALL_CALL_EXECVEAT = 0x142,
	SHIPWALL_PROGRAM_DISPATCH = 0x0,
	SHIPWALL_PROGRAM_OPEN = 0x1,
	SHIPWALL_PROGRAM_CONNECT = 0x2,
	SHIPWALL_PROGRAM_PRIVILEGE = 0x3,
	SHIPWALL_PROGRAM_MODULE = 0x4,
	SHIPWALL_PROGRAM_NAMESPACE = 0x5,
	SHIPWALL_PROGRAM_MOUNT = 0x6,
	SHIPWALL_PROGRAM_DUPLICATE = 0x7,
	SHIPWALL_PROGRAM_EXEC_REFUSED = 0x8,
	SHIPWALL_PROGRAM_EXEC = 0x9,
	SHIPWALL_PROGRAM_FORK = 0xa,
	SHIPWALL_PROGRAM_EXIT = 0xb,
	SHIPWALL_PROGRAM_CGROUP = 0xc,
	SHIPWALL_PROGRAM_COUNT = 0xd,
	SHIPWALL_HELPER_READ_USER = 0x0,
	SHIPWALL_HELPER_READ_KERNEL = 0x1,
	SHIPWALL_HELPER_MAP_UPDATE = 0x2,
	SHIPWALL_HELPER_SEND_SIGNAL = 0x3,
	SHIPWALL_HELPER_TAIL_CALL = 0x4,
	SHIPWALL_HELPER_SCRATCH = 0x5,
	SHIPWALL_HELPER_COUNT = 0x6,
	SHIPWALL_CALLS_MAX = 0x200,
	SHIPWALL_WATCH_SLOTS = 0x1000,
	SHIPWALL_NO_SLOT = 0xffffffff,
	SHIPWALL_CLASSES = 0x10,
	SHIPWALL_STRING_MAX = 0x1000,
	SHIPWALL_TAIL_MAX = 0x4000,
	SHIPWALL_PREFIX_MAX = 0x80,
	SHIPWALL_ARGUMENTS_MAX = 0x40,
	SHIPWALL_COMPONENTS_MAX = 0x200,
	SHIPWALL_PARENT_MAX = 0x100,
	SHIPWALL_WATCH_EVENTS = 0x1,
	SHIPWALL_WATCH_CHILDREN = 0x2,
	SHIPWALL_WATCH_KILL_DRIFT = 0x4,
	SHIPWALL_WATCH_GONE = 0x8,
	SHIPWALL_WATCH_PARENT = 0x10,
	SHIPWALL_CONTROL_SET = 0x1,
	SHIPWALL_CONTROL_FORGET = 0x2,
	SHIPWALL_EXEC_WRITABLE = 0x1,
	SHIPWALL_EXEC_KILLED = 0x2,
	SHIPWALL_EXEC_TRUNCATED = 0x4,
	SHIPWALL_EXEC_RESOLVED = 0x8,
	SHIPWALL_CGROUP_MADE = 0x1,
	SHIPWALL_CGROUP_REMOVED = 0x2,
};

/* What every record starts with. time_ns: CLOCK_BOOTTIME. sequence counts per cgroup: a hole in it is a loss. */
struct shipwall_header {
	__u64 time_ns;
	__u64 cgroup_id;
	__u64 sequence;
	__s64 ret;
	__u32 pid;
	__u32 tid;
	__u32 ppid;
	__u32 ns_pid;
	__u32 uid;
	__u32 gid;
	__u32 size;
	__u32 slot;
	__u16 kind;
	__u16 call;
	__u32 pad;
	char comm[16];
};

/* The child. */
struct shipwall_fork {
	__u32 child_pid;
	__u32 child_ns_pid;
};

/* Strings: path (EXEC_RESOLVED) or the folder a relative `asked` starts from, asked, arguments separated by NUL. */
struct shipwall_exec {
	__u64 inode;
	__u32 device;
	__u32 old_uid;
	__u16 path_length;
	__u16 asked_length;
	__u16 argv_length;
	__u8 origin;
	__u8 bits;
	char parent_comm[16];
};

/* Strings: path (resolved 1) or the folder a relative `asked` starts from (resolved 0), asked. */
struct shipwall_open {
	__u64 flags;
	__u16 path_length;
	__u16 asked_length;
	__u8 resolved;
	__u8 pad[3];
};

/* String: the path of a unix socket. port in host order, address in network order (IPv4 in the first 4 bytes). */
struct shipwall_connect {
	__s32 fd;
	__u16 family;
	__u16 type;
	__u16 protocol;
	__u16 port;
	__u16 path_length;
	__u16 pad;
	__u8 address[16];
};

/* new ids as asked for (-1: not), the effective capabilities after the call. */
struct shipwall_privilege {
	__u64 cap_effective;
	__s32 new_uid;
	__s32 new_gid;
};

/* String: name or path of the module. command: first argument of bpf. */
struct shipwall_module {
	__u32 command;
	__u16 name_length;
	__u16 pad;
};

/* The CLONE_NEW* flags. */
struct shipwall_namespace {
	__u64 flags;
};

/* Strings: source, target, file system type. */
struct shipwall_mount {
	__u64 flags;
	__u16 source_length;
	__u16 target_length;
	__u16 fstype_length;
	__u16 pad;
};

/* The socket's peer, as in connect. */
struct shipwall_duplicate {
	__s32 old_fd;
	__s32 new_fd;
	__u16 family;
	__u16 port;
	__u16 path_length;
	__u16 pad;
	__u8 address[16];
};

/* String: path below the cgroup mount. header.cgroup_id is the maker's. */
struct shipwall_cgroup {
	__u64 made_id;
	__u64 parent_id;
	__u16 path_length;
	__u8 act;
	__u8 pad[5];
};

/* A watched cgroup (value of `watches`, direct-mapped, and of `crowded`). root_device: its root file system, once known. collided: another id wanted this slot and lives in `crowded`. produced and consumed bytes of the ring: the credit. */
struct shipwall_watch {
	__u64 cgroup_id;
	__u64 sequence;
	__u64 produced_bytes;
	__u64 consumed_bytes;
	__u32 flags;
	__u32 collided;
	__u32 root_device;
	__u32 slot;
	__u64 lost[16];
};

/* The only value of `settings`, written by Python and read by every program. families: which family handles each call, 0 none. own_flags, other_flags: what the cgroup of a new container gets, below a parent of the engine and elsewhere. */
struct shipwall_settings {
	__u64 credit_bytes;
	__u32 own_flags;
	__u32 other_flags;
	__u8 families[512];
};

/* Key of the map of wanted path prefixes. */
struct shipwall_prefix {
	__u32 bits;
	char path[128];
};

/* Key of the map of parents that need not exist yet: a path below the cgroup mount, as `/docker`. */
struct shipwall_parent {
	char path[256];
};

/* Keeps every type above in the BTF of the object, where its layout is compared at start. */
union shipwall_abi {
	struct shipwall_header header;
	struct shipwall_fork fork;
	struct shipwall_exec exec;
	struct shipwall_open open;
	struct shipwall_connect connect;
	struct shipwall_privilege privilege;
	struct shipwall_module module;
	struct shipwall_namespace namespace;
	struct shipwall_mount mount;
	struct shipwall_duplicate duplicate;
	struct shipwall_cgroup cgroup;
	struct shipwall_watch watch;
	struct shipwall_settings settings;
	struct shipwall_prefix prefix;
	struct shipwall_parent parent;
	enum shipwall_constant constant;
};

#endif
