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
	SHIPWALL_KIND_CALL = 0xc,
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
	SHIPWALL_FAMILY_CALL = 0x9,
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
	SHIPWALL_CALL_FORK = 0x39,
	SHIPWALL_CALL_VFORK = 0x3a,
	SHIPWALL_CALL_KILL = 0x3e,
	SHIPWALL_CALL_TKILL = 0xc8,
	SHIPWALL_CALL_TGKILL = 0xea,
	SHIPWALL_CALL_RT_SIGQUEUEINFO = 0x81,
	SHIPWALL_CALL_PIDFD_SEND_SIGNAL = 0x1a8,
	SHIPWALL_CALL_PIDFD_OPEN = 0x1b2,
	SHIPWALL_CALL_PIDFD_GETFD = 0x1b6,
	SHIPWALL_CALL_PROCESS_VM_READV = 0x136,
	SHIPWALL_CALL_PROCESS_VM_WRITEV = 0x137,
	SHIPWALL_CALL_PTRACE = 0x65,
	SHIPWALL_CALL_USERFAULTFD = 0x143,
	SHIPWALL_CALL_PERF_EVENT_OPEN = 0x12a,
	SHIPWALL_CALL_MMAP = 0x9,
	SHIPWALL_CALL_MPROTECT = 0xa,
	SHIPWALL_CALL_PKEY_MPROTECT = 0x149,
	SHIPWALL_CALL_MEMFD_CREATE = 0x13f,
	SHIPWALL_CALL_MEMFD_SECRET = 0x1bf,
	SHIPWALL_CALL_IO_URING_SETUP = 0x1a9,
	SHIPWALL_CALL_IO_URING_ENTER = 0x1aa,
	SHIPWALL_CALL_IO_URING_REGISTER = 0x1ab,
	SHIPWALL_CALL_PRCTL = 0x9d,
	SHIPWALL_CALL_SECCOMP = 0x13d,
	SHIPWALL_CALL_PERSONALITY = 0x87,
	SHIPWALL_CALL_KEYCTL = 0xfa,
	SHIPWALL_CALL_FSCONFIG = 0x1af,
	SHIPWALL_CALL_FSMOUNT = 0x1b0,
	SHIPWALL_CALL_FSPICK = 0x1b1,
	SHIPWALL_CALL_MOUNT_SETATTR = 0x1ba,
	SHIPWALL_CALL_CHMOD = 0x5a,
	SHIPWALL_CALL_FCHMOD = 0x5b,
	SHIPWALL_CALL_FCHMODAT = 0x10c,
	SHIPWALL_CALL_FCHMODAT2 = 0x1c4,
	SHIPWALL_CALL_CHOWN = 0x5c,
	SHIPWALL_CALL_LCHOWN = 0x5e,
	SHIPWALL_CALL_FCHOWN = 0x5d,
	SHIPWALL_CALL_FCHOWNAT = 0x104,
	SHIPWALL_CALL_LINK = 0x56,
	SHIPWALL_CALL_LINKAT = 0x109,
	SHIPWALL_CALL_SYMLINK = 0x58,
	SHIPWALL_CALL_SYMLINKAT = 0x10a,
	SHIPWALL_CALL_RENAME = 0x52,
	SHIPWALL_CALL_RENAMEAT = 0x108,
	SHIPWALL_CALL_RENAMEAT2 = 0x13c,
	SHIPWALL_CALL_UNLINK = 0x57,
	SHIPWALL_CALL_UNLINKAT = 0x107,
	SHIPWALL_CALL_MKDIR = 0x53,
	SHIPWALL_CALL_MKDIRAT = 0x102,
	SHIPWALL_CALL_RMDIR = 0x54,
	SHIPWALL_CALL_MKNOD = 0x85,
	SHIPWALL_CALL_MKNODAT = 0x103,
	SHIPWALL_CALL_TRUNCATE = 0x4c,
	SHIPWALL_CALL_UTIMENSAT = 0x118,
	SHIPWALL_CALL_SETXATTR = 0xbc,
	SHIPWALL_CALL_SOCKET = 0x29,
	SHIPWALL_CALL_SOCKETPAIR = 0x35,
	SHIPWALL_CALL_BIND = 0x31,
	SHIPWALL_CALL_LISTEN = 0x32,
	SHIPWALL_CALL_ACCEPT = 0x2b,
	SHIPWALL_CALL_ACCEPT4 = 0x120,
	SHIPWALL_CALL_SHUTDOWN = 0x30,
	SHIPWALL_CALL_SENDTO = 0x2c,
	SHIPWALL_CALL_SENDMSG = 0x2e,
	SHIPWALL_CALL_SENDMMSG = 0x133,
	SHIPWALL_CALL_RECVFROM = 0x2d,
	SHIPWALL_CALL_RECVMSG = 0x2f,
	SHIPWALL_CALL_RECVMMSG = 0x12b,
	SHIPWALL_CALL_REBOOT = 0xa9,
	SHIPWALL_CALL_SWAPON = 0xa7,
	SHIPWALL_CALL_SWAPOFF = 0xa8,
	SHIPWALL_CALL_ACCT = 0xa3,
	SHIPWALL_CALL_SETHOSTNAME = 0xaa,
	SHIPWALL_CALL_SETDOMAINNAME = 0xab,
	SHIPWALL_CALL_SETTIMEOFDAY = 0xa4,
	SHIPWALL_CALL_CLOCK_SETTIME = 0xe3,
	SHIPWALL_CALL_KEXEC_LOAD = 0xf6,
	SHIPWALL_CALL_KEXEC_FILE_LOAD = 0x140,
	SHIPWALL_CALL_IOPL = 0xac,
	SHIPWALL_CALL_IOPERM = 0xad,
	SHIPWALL_PROGRAM_DISPATCH = 0x0,
	SHIPWALL_PROGRAM_OPEN = 0x1,
	SHIPWALL_PROGRAM_CONNECT = 0x2,
	SHIPWALL_PROGRAM_PRIVILEGE = 0x3,
	SHIPWALL_PROGRAM_MODULE = 0x4,
	SHIPWALL_PROGRAM_NAMESPACE = 0x5,
	SHIPWALL_PROGRAM_MOUNT = 0x6,
	SHIPWALL_PROGRAM_DUPLICATE = 0x7,
	SHIPWALL_PROGRAM_EXEC_REFUSED = 0x8,
	SHIPWALL_PROGRAM_CALL = 0x9,
	SHIPWALL_PROGRAM_EXEC = 0xa,
	SHIPWALL_PROGRAM_FORK = 0xb,
	SHIPWALL_PROGRAM_EXIT = 0xc,
	SHIPWALL_PROGRAM_CGROUP = 0xd,
	SHIPWALL_PROGRAM_COUNT = 0xe,
	SHIPWALL_HELPER_READ_USER = 0x0,
	SHIPWALL_HELPER_READ_KERNEL = 0x1,
	SHIPWALL_HELPER_MAP_UPDATE = 0x2,
	SHIPWALL_HELPER_SEND_SIGNAL = 0x3,
	SHIPWALL_HELPER_TAIL_CALL = 0x4,
	SHIPWALL_HELPER_SCRATCH = 0x5,
	SHIPWALL_HELPER_COUNT = 0x6,
	SHIPWALL_NUMBER_RET = 0x0,
	SHIPWALL_NUMBER_UID = 0x1,
	SHIPWALL_NUMBER_GID = 0x2,
	SHIPWALL_NUMBER_FLAGS = 0x3,
	SHIPWALL_NUMBER_FD = 0x4,
	SHIPWALL_NUMBER_FAMILY = 0x5,
	SHIPWALL_NUMBER_PROTOCOL = 0x6,
	SHIPWALL_NUMBER_PORT = 0x7,
	SHIPWALL_NUMBER_LOCAL_PORT = 0x8,
	SHIPWALL_NUMBER_IPV4 = 0x9,
	SHIPWALL_NUMBER_ARGUMENT_0 = 0xa,
	SHIPWALL_NUMBER_ARGUMENT_1 = 0xb,
	SHIPWALL_NUMBER_ARGUMENT_2 = 0xc,
	SHIPWALL_NUMBER_ARGUMENT_3 = 0xd,
	SHIPWALL_NUMBER_ARGUMENT_4 = 0xe,
	SHIPWALL_NUMBER_ARGUMENT_5 = 0xf,
	SHIPWALL_NUMBER_COUNT = 0x10,
	SHIPWALL_CALLS_MAX = 0x200,
	SHIPWALL_CALL_OTHER = 0x1ff,
	SHIPWALL_CALL_NONE = 0xffff,
	SHIPWALL_X32_FIRST = 0x200,
	SHIPWALL_COUNT_SLOTS = 0x100,
	SHIPWALL_RESULT = 0x6,
	SHIPWALL_ADDRESS_MAX = 0x80,
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
	SHIPWALL_WATCH_UNFILTERED = 0x20,
	SHIPWALL_CONTROL_SET = 0x1,
	SHIPWALL_CONTROL_FORGET = 0x2,
	SHIPWALL_EXEC_WRITABLE = 0x1,
	SHIPWALL_EXEC_KILLED = 0x2,
	SHIPWALL_EXEC_TRUNCATED = 0x4,
	SHIPWALL_EXEC_RESOLVED = 0x8,
	SHIPWALL_EXEC_USER_WRITABLE = 0x10,
	SHIPWALL_HEADER_COMPAT = 0x1,
	SHIPWALL_HEADER_HURRIES = 0x2,
	SHIPWALL_CALL_TRUNCATED = 0x1,
	SHIPWALL_SHAPE_ONLY_FAILED = 0x1,
	SHIPWALL_SHAPE_ONLY_EXEC = 0x2,
	SHIPWALL_SHAPE_WAITS = 0x4,
	SHIPWALL_SHAPE_MSGHDR = 0x8,
	SHIPWALL_START_CWD = 0xff,
	SHIPWALL_LAYER_LOWER = 0x1,
	SHIPWALL_LAYER_UPPER = 0x2,
	SHIPWALL_SETTING_ENVIRONMENT = 0x1,
	SHIPWALL_WORD_SETS = 0x8,
	SHIPWALL_FILTER_GENERATIONS = 0x2,
	SHIPWALL_FILTER_PROGRAMS = 0x60,
	SHIPWALL_FILTER_DELIVER = 0x0,
	SHIPWALL_FILTER_DROP = 0x1,
	SHIPWALL_FILTER_CLAUSES = 0x20,
	SHIPWALL_FILTER_TESTS = 0x20,
	SHIPWALL_FILTER_PLACES = 0x3,
	SHIPWALL_READS_LOOKED_AT = 0x0,
	SHIPWALL_READS_BEGIN = 0x1,
	SHIPWALL_READS_ASK = 0x2,
	SHIPWALL_FILTER_CELLS = 0x20000,
	SHIPWALL_FILTER_STATES = 0x1000,
	SHIPWALL_TEST_RANGE = 0x0,
	SHIPWALL_TEST_EQUALS = 0x1,
	SHIPWALL_TEST_CERTAIN = 0x1,
	SHIPWALL_TEST_SIGNED = 0x2,
	SHIPWALL_STATE_UNCERTAIN = 0x0,
	SHIPWALL_STATE_DEAD = 0x1,
	SHIPWALL_CGROUP_MADE = 0x1,
	SHIPWALL_CGROUP_REMOVED = 0x2,
};

/* What every record starts with. time_ns: CLOCK_BOOTTIME. sequence counts per cgroup: a hole in it is a loss. call: number of the x86-64 call, also for a 32-bit one (HEADER_COMPAT). First what differs each time, then who acted, then what was done: a record like an earlier one is known by its bytes from `cgroup_id` on (runtime/quiet.py). */
struct shipwall_header {
	__u64 time_ns;
	__u64 sequence;
	__u32 pid;
	__u32 tid;
	__u32 ppid;
	__u32 ns_pid;
	__u64 cgroup_id;
	__s64 ret;
	__u32 uid;
	__u32 gid;
	__u32 size;
	__u32 slot;
	__u16 kind;
	__u16 call;
	__u32 bits;
	char comm[16];
};

/* The child, and the CLONE_* flags of the call. */
struct shipwall_fork {
	__u32 child_pid;
	__u32 child_ns_pid;
	__u64 flags;
};

/* Strings: path (EXEC_RESOLVED) or the folder a relative `asked` starts from, asked, arguments separated by NUL, working folder, environment (SETTING_ENVIRONMENT) as the arguments. Times of the inode in ns since 1970; groups and session by their leaders' pids; tty as the kernel's major * 256 + minor, 0 none; login_uid -1: none. Of a refused exec only the strings. */
struct shipwall_exec {
	__u64 inode;
	__u64 ctime_ns;
	__u64 mtime_ns;
	__u64 cap_effective;
	__u64 cap_permitted;
	__u64 cap_inheritable;
	__u32 session;
	__u32 group;
	__u32 ns_group;
	__u32 tty;
	__s32 login_uid;
	__u32 pad_times;
	__u32 device;
	__u32 old_uid;
	__u16 path_length;
	__u16 asked_length;
	__u16 argv_length;
	__u16 cwd_length;
	__u16 environment_length;
	__u8 origin;
	__u8 bits;
	__u32 pad;
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

/* String: the path of a unix socket. port in host order, address in network order (IPv4 in the first 4 bytes). asked_*: what the caller's memory says after the call, asked_family 0 when it cannot be read. */
struct shipwall_connect {
	__s32 fd;
	__u16 family;
	__u16 type;
	__u16 protocol;
	__u16 port;
	__u16 path_length;
	__u16 local_port;
	__u16 asked_family;
	__u16 asked_port;
	__u8 address[16];
	__u8 local[16];
	__u8 asked_address[16];
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

/* A call of the generic handler (`abi.calls`). Two descriptors: inode, device, mode and layer of the file; family to remote of a socket (ports in host order, 16 bytes of address each). Strings: for each of two strings the folder it starts from and what was asked, then the paths of the two descriptors, a socket address and the head of a buffer from the caller's memory. */
struct shipwall_call {
	__u64 arguments[6];
	__u64 inode[2];
	__u32 device[2];
	__u16 mode[2];
	__u16 family[2];
	__u16 type[2];
	__u16 protocol[2];
	__u16 local_port[2];
	__u16 remote_port[2];
	__u16 first_start_length;
	__u16 first_length;
	__u16 second_start_length;
	__u16 second_length;
	__u16 first_path_length;
	__u16 second_path_length;
	__u16 address_length;
	__u16 data_length;
	__u8 layer[2];
	__u8 bits;
	__u8 pad[5];
	__u8 local[32];
	__u8 remote[32];
};

/* String: path below the cgroup mount. header.cgroup_id is the maker's. */
struct shipwall_cgroup {
	__u64 made_id;
	__u64 parent_id;
	__u16 path_length;
	__u8 act;
	__u8 pad[5];
};

/* A watched cgroup (value of `watches`, direct-mapped, and of `crowded`). root_device: its root file system, once known. collided: another id wanted this slot and lives in `crowded`. produced and consumed bytes of the ring: the credit. counting: its slot in `counts`. By class: lost: no room in the ring; over: more unread than its share; filtered: of no interest to any rule. */
struct shipwall_watch {
	__u64 cgroup_id;
	__u64 sequence;
	__u64 produced_bytes;
	__u64 consumed_bytes;
	__u32 flags;
	__u32 collided;
	__u32 root_device;
	__u32 slot;
	__u32 counting;
	__u32 pad;
	__u64 lost[16];
	__u64 over[16];
	__u64 filtered[16];
};

/* How often a container made each call, and how often it failed; one for each CPU. */
struct shipwall_counts {
	__u64 calls[512];
	__u64 errors[512];
};

/* What the generic handler does for a call. Places are arguments + 1 (RESULT + 1: the result), 0 none; starts: the place of the folder's descriptor, START_CWD for the working folder, 0 for a string that is no path. */
struct shipwall_shape {
	__u8 strings[2];
	__u8 starts[2];
	__u8 descriptors[2];
	__u8 address;
	__u8 address_size;
	__u8 data;
	__u8 data_size;
	__u8 bits;
	__u8 pad;
};

/* The only value of `settings`, written by Python and read by every program. families: which family handles each call, 0 none. own_flags, other_flags: what the cgroup of a new container gets, below a parent of the engine and elsewhere. compat, x32 (from X32_FIRST on), socket_calls: the x86-64 number of another caller's call, CALL_NONE for none. word_lengths, words: abi/words.py. filter_in_force: 0 none, else the generation + 1; filter_programs: by generation and call. asleep: whether the reader is to be woken; unhurried, unhurried_calls: kinds and calls (a bit each) that do not wake it. */
struct shipwall_settings {
	__u64 credit_bytes;
	__u32 own_flags;
	__u32 other_flags;
	__u32 bits;
	__u32 word_lengths[8];
	__u32 pad_words;
	__u64 words[512];
	__u8 families[512];
	__u16 compat[512];
	__u16 x32[64];
	__u16 socket_calls[32];
	__u8 filter_programs[1024];
	__u32 filter_in_force;
	__u8 pad_filter[60];
	__u32 asleep;
	__u32 unhurried;
	__u64 unhurried_calls[8];
};

/* How the events of some calls are judged (`runtime.lower.tables.Program`, from where its words are). Value of `filters`, by generation and number. */
struct shipwall_filter {
	__u64 need[32];
	__u64 forbid[32];
	__s64 test_low[32];
	__s64 test_high[32];
	__u64 atoms[3];
	__u64 floating;
	__u32 starts[3];
	__u32 clauses;
	__u32 tests;
	__u32 reads;
	__u8 test_number[32];
	__u8 test_kind[32];
	__u8 test_bit[32];
	__u8 test_bits[32];
};

/* The automaton over strings of all programs (`runtime.lower.tables.Automaton`). Value of `automata`, by generation. */
struct shipwall_automaton {
	__u64 may[4096];
	__u64 must[4096];
	__u16 cells[131072];
	__u8 classes[256];
	__u32 width;
	__u32 pad;
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
	struct shipwall_call call;
	struct shipwall_cgroup cgroup;
	struct shipwall_watch watch;
	struct shipwall_counts counts;
	struct shipwall_shape shape;
	struct shipwall_settings settings;
	struct shipwall_filter filter;
	struct shipwall_automaton automaton;
	struct shipwall_prefix prefix;
	struct shipwall_parent parent;
	enum shipwall_constant constant;
};

#endif
