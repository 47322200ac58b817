/* The sensor: what processes of watched cgroups do, and the kill of what is not from their image.
 *
 * Every hook is a BTF tracepoint: they load on every kernel from 6.1 on, also where kprobes, fentry and LSM programs do not.
 * Work is ordered by price: a call nobody wants costs two loads, a wanted call of an unwatched cgroup one array look-up more. */
#include "emit.h"
#include "paths.h"

#define TS_COMPAT 2
#define X32_BIT 0x40000000
#define ENOENT 2
#define EACCES 13
#define ENOTDIR 20
#define EROFS 30
#define EINPROGRESS 115
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define O_ACCMODE 3
#define O_CREAT 0100
#define FMODE_CREATED 0x100000
#define F_DUPFD 0
#define F_DUPFD_CLOEXEC 1030
#define SIGKILL 9
#define SIGNAL_GROUP_EXIT 4
#define CLONE_NEW_ANY 0x7e020080 /* NEWTIME NEWNS NEWCGROUP NEWUTS NEWIPC NEWUSER NEWPID NEWNET */

char programs_license[] SEC("license") = "GPL";

#define FIXED(kind) sizeof(struct shipwall_##kind)

int on_open(unsigned long long *context);
int on_connect(unsigned long long *context);
int on_privilege(unsigned long long *context);
int on_module(unsigned long long *context);
int on_namespace(unsigned long long *context);
int on_mount(unsigned long long *context);
int on_duplicate(unsigned long long *context);
int on_exec_refused(unsigned long long *context);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__array(values, int(void *));
} families SEC(".maps") = {
	.values = {
		[SHIPWALL_FAMILY_OPEN] = (void *)&on_open,
		[SHIPWALL_FAMILY_CONNECT] = (void *)&on_connect,
		[SHIPWALL_FAMILY_PRIVILEGE] = (void *)&on_privilege,
		[SHIPWALL_FAMILY_MODULE] = (void *)&on_module,
		[SHIPWALL_FAMILY_NAMESPACE] = (void *)&on_namespace,
		[SHIPWALL_FAMILY_MOUNT] = (void *)&on_mount,
		[SHIPWALL_FAMILY_DUPLICATE] = (void *)&on_duplicate,
		[SHIPWALL_FAMILY_EXEC] = (void *)&on_exec_refused,
	},
};

/* What a family's program starts with. The dispatcher has found the cgroup watched; it is found again because a tail call keeps
 * nothing but the context. */
#define START(program)                                                                                                           \
	struct task_struct *task = bpf_get_current_task_btf();                                                                   \
	__u64 cgroup_id = cgroup_of(task);                                                                                       \
	struct shipwall_watch *watch = find_watch(cgroup_id);                                                                    \
	struct scratch *scratch = get_scratch();                                                                                 \
	__u32 call = regs->orig_ax;                                                                                              \
                                                                                                                                 \
	if (!scratch || !watch) {                                                                                                \
		failed(program, SHIPWALL_HELPER_SCRATCH);                                                                        \
		return 0;                                                                                                        \
	}

/* Hook:       tp_btf/sys_exit, the one entry for all calls; the family's program is tail-called.
 * Why:        the result is known (refused acts are events) and the kernel's own view of file and socket can be read. sys_enter would
 *             see arguments that may still change, per-call tracepoints need 37 attachments, fentry and kprobes do not load everywhere.
 * Since:      6.1.
 * Misses:     arguments in user memory may change between use and reading (file and socket are read from the kernel instead where
 *             the call succeeded); acts through io_uring; 32-bit and x32 calls are only counted, as lost of class compat.
 * Cost:       about the floor of an empty program on an unwanted call, an array look-up more on a wanted one.
 * On failure: the event is missing; failures of helpers and losses are counted. */
SEC("tp_btf/sys_exit")
int BPF_PROG(dispatch, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	long call = regs->orig_ax;
	bool compat = (task->thread_info.status & TS_COMPAT) || (call > 0 && (call & X32_BIT));
	struct shipwall_settings *setting;
	struct shipwall_watch *watch;
	__u32 zero = 0, family = 0;

	if (!compat) {
		if (call < 0 || call >= SHIPWALL_CALLS_MAX)
			return 0;
		setting = bpf_map_lookup_elem(&settings, &zero);
		if (!setting)
			return 0;
		family = setting->families[call & (SHIPWALL_CALLS_MAX - 1)];
		if (!family)
			return 0;
	}
	watch = producing(cgroup_of(task));
	if (!watch)
		return 0;
	if (compat) {
		__sync_fetch_and_add(&watch->sequence, 1);
		__sync_fetch_and_add(&watch->lost[SHIPWALL_KIND_COMPAT], 1);
		return 0;
	}
	bpf_tail_call(ctx, &families, family);
	failed(SHIPWALL_PROGRAM_DISPATCH, SHIPWALL_HELPER_TAIL_CALL);
	return 0;
}

/* Hook:       tail-called from dispatch for open, creat, openat, openat2, open_by_handle_at.
 * Why:        the path is walked from the opened file, so links, dots and dirfd races do not deceive; bpf_d_path is refused here.
 * Since:      6.1 (bpf_loop 5.17).
 * Misses:     read-only opens outside the wanted prefixes (on purpose); the target behind a symbolic link of a refused open; a
 *             descriptor replaced by another thread within the call.
 * Cost:       a walked path and one look-up in a trie for each open of a watched cgroup; a record only when it is of interest.
 * On failure: a path that cannot be read is reported empty, never dropped. */
SEC("tp_btf/sys_exit")
int BPF_PROG(on_open, struct pt_regs *regs, long ret)
{
	const __u32 program = SHIPWALL_PROGRAM_OPEN;
	START(program)
	const void *asked = 0;
	struct shipwall_open *open;
	unsigned long flags = 0;
	struct file *file = 0;
	int dirfd = -100;
	__u32 at = 0;
	char first = 0;

	if (ret < 0 && ret != -EACCES && ret != -EPERM && ret != -EROFS)
		return 0;
	if (call == SHIPWALL_CALL_OPEN) {
		asked = (void *)regs->di;
		flags = regs->si;
	} else if (call == SHIPWALL_CALL_CREAT) {
		asked = (void *)regs->di;
		flags = 01101; /* O_CREAT O_WRONLY O_TRUNC */
	} else if (call == SHIPWALL_CALL_OPEN_BY_HANDLE_AT) {
		flags = regs->dx;
	} else {
		dirfd = regs->di;
		asked = (void *)regs->si;
		flags = regs->dx;
		if (call == SHIPWALL_CALL_OPENAT2 && bpf_probe_read_user(&flags, sizeof(flags), (void *)regs->dx))
			failed(program, SHIPWALL_HELPER_READ_USER);
	}
	if (ret < 0) {
		open = begin(scratch, task, cgroup_id, program, SHIPWALL_KIND_OPEN, call, ret, FIXED(open));
		if (asked && bpf_probe_read_user(&first, 1, asked))
			failed(program, SHIPWALL_HELPER_READ_USER);
		open->path_length = put_start(scratch, task, first == '/', dirfd, program);
	} else {
		unsigned int kernel_flags;
		bool wanted;
		__u32 type;

		file = file_of(task, ret, program);
		if (!file)
			return 0;
		kernel_flags = BPF_CORE_READ(file, f_flags);
		wanted = call == SHIPWALL_CALL_OPEN_BY_HANDLE_AT;
		if (!wanted && ((kernel_flags & O_ACCMODE) || (flags & O_CREAT && BPF_CORE_READ(file, f_mode) & FMODE_CREATED))) {
			type = BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT;
			wanted = type == S_IFREG || type == S_IFBLK;
		}
		at = walk_path(BPF_CORE_READ(file, f_path.mnt), BPF_CORE_READ(file, f_path.dentry), program);
		if (!wanted)
			wanted = !at || is_wanted(scratch, &scratch->path[at & (SHIPWALL_STRING_MAX - 1)], SHIPWALL_STRING_MAX - at, program);
		if (!wanted) { /* by what was asked for, then: /proc/self, or a link that is itself of interest */
			long length = bpf_probe_read_user_str(scratch->prefix.path, SHIPWALL_PREFIX_MAX, asked);

			if (length < 0)
				failed(program, SHIPWALL_HELPER_READ_USER);
			if (length < 2)
				return 0;
			scratch->prefix.bits = (length - 1) * 8;
			if (!bpf_map_lookup_elem(&prefixes, &scratch->prefix))
				return 0;
		}
		open = begin(scratch, task, cgroup_id, program, SHIPWALL_KIND_OPEN, call, ret, FIXED(open));
		open->path_length = put_path(scratch, at, program);
		flags |= kernel_flags;
		open->resolved = 1;
	}
	open->asked_length = put_user_string(scratch, asked, program);
	open->flags = flags;
	return emit(scratch, watch);
}

struct peer {
	__u8 address[16];
	__u16 family;
	__u16 port;
	__u16 type;
	__u16 protocol;
};

/* The socket behind `fd`, or none. */
static __always_inline struct sock *socket_of(struct task_struct *task, __u32 fd, __u32 program)
{
	struct file *file = file_of(task, fd, program);
	struct socket *socket;

	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	return socket ? BPF_CORE_READ(socket, sk) : 0;
}

/* Fills `peer` with the other end of `sk`; whether it has an internet address. */
static __always_inline bool read_peer(struct sock *sk, struct peer *peer, __u32 program)
{
	peer->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	peer->type = BPF_CORE_READ(sk, sk_type);
	peer->protocol = BPF_CORE_READ(sk, sk_protocol);
	if (peer->family != AF_INET && peer->family != AF_INET6)
		return 0;
	peer->port = __builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (peer->family == AF_INET) {
		__u32 address = BPF_CORE_READ(sk, __sk_common.skc_daddr);

		__builtin_memcpy(peer->address, &address, sizeof(address));
		return address || peer->port;
	}
	if (bpf_probe_read_kernel(peer->address, sizeof(peer->address),
				  (void *)sk + bpf_core_field_offset(struct sock, __sk_common) +
					  bpf_core_field_offset(struct sock_common, skc_v6_daddr)))
		failed(program, SHIPWALL_HELPER_READ_KERNEL);
	return peer->port != 0;
}

/* Appends the name the peer of the unix socket `sk` is bound to; its length. */
static __always_inline __u16 put_unix_peer(struct scratch *scratch, struct sock *sk, __u32 program)
{
	struct sock *peer = BPF_CORE_READ((struct unix_sock *)sk, peer);
	struct unix_address *address;
	__u64 length;

	if (!peer)
		return 0;
	address = BPF_CORE_READ((struct unix_sock *)peer, addr);
	if (!address)
		return 0;
	length = BPF_CORE_READ(address, len) - 2;
	if (length > 108)
		return 0;
	asm volatile("%[length] &= 127" : [length] "+r"(length));
	if (bpf_probe_read_kernel(tail(scratch), length, (void *)address + bpf_core_field_offset(struct unix_address, name) + 2)) {
		failed(program, SHIPWALL_HELPER_READ_KERNEL);
		return 0;
	}
	grow(scratch, length);
	return length;
}

/* Hook:       tail-called from dispatch for connect.
 * Why:        after success the address is read from the socket, where another thread cannot rewrite it. cgroup/connect4 would see it
 *             before the act and needs an attachment per cgroup; it belongs to enforcement.
 * Since:      6.1.
 * Misses:     destinations of sendto and sendmsg without connect; for a refused call the caller's memory is all there is.
 * Cost:       one record per connect.
 * On failure: the address is reported empty. */
SEC("tp_btf/sys_exit")
int BPF_PROG(on_connect, struct pt_regs *regs, long ret)
{
	const __u32 program = SHIPWALL_PROGRAM_CONNECT;
	START(program)
	struct shipwall_connect *connect;
	struct peer peer = {};
	struct sock *sk = socket_of(task, regs->di, program);
	const void *address = (void *)regs->si;
	__u64 length = (__u32)regs->dx;
	bool known = 0;

	if (!sk)
		return 0;
	connect = begin(scratch, task, cgroup_id, program, SHIPWALL_KIND_CONNECT, call, ret, FIXED(connect));
	known = read_peer(sk, &peer, program);
	if (ret != 0 && ret != -EINPROGRESS)
		known = 0;
	if (peer.family == AF_UNIX && ret == 0) {
		connect->path_length = put_unix_peer(scratch, sk, program);
		known = connect->path_length != 0;
	}
	if (!known && length >= 2) {
		__u16 family = 0;

		__builtin_memset(peer.address, 0, sizeof(peer.address));
		peer.port = 0;
		if (bpf_probe_read_user(&family, sizeof(family), address))
			failed(program, SHIPWALL_HELPER_READ_USER);
		if (family == AF_INET || family == AF_INET6) {
			__u16 port = 0;

			if (bpf_probe_read_user(&port, sizeof(port), address + 2))
				failed(program, SHIPWALL_HELPER_READ_USER);
			peer.port = __builtin_bswap16(port);
		}
		if (family == AF_INET) {
			if (bpf_probe_read_user(peer.address, 4, address + 4))
				failed(program, SHIPWALL_HELPER_READ_USER);
		} else if (family == AF_INET6) {
			if (bpf_probe_read_user(peer.address, 16, address + 8))
				failed(program, SHIPWALL_HELPER_READ_USER);
		} else if (family == AF_UNIX) {
			length -= 2;
			if (length > 108)
				length = 108;
			asm volatile("%[length] &= 127" : [length] "+r"(length));
			if (bpf_probe_read_user(tail(scratch), length, address + 2)) {
				failed(program, SHIPWALL_HELPER_READ_USER);
			} else {
				grow(scratch, length);
				connect->path_length = length;
			}
		}
		peer.family = family;
	}
	connect->fd = regs->di;
	connect->family = peer.family;
	connect->type = peer.type;
	connect->protocol = peer.protocol;
	connect->port = peer.port;
	__builtin_memcpy(connect->address, peer.address, sizeof(connect->address));
	return emit(scratch, watch);
}

static __always_inline __u64 capabilities_of(struct task_struct *task, __u32 program)
{
	__u64 capabilities = 0; /* two words up to 6.2, one since: the same eight bytes */

	if (bpf_probe_read_kernel(&capabilities, sizeof(capabilities),
				  (void *)task->cred + bpf_core_field_offset(struct cred, cap_effective)))
		failed(program, SHIPWALL_HELPER_READ_KERNEL);
	return capabilities;
}

/* Hook:       tail-called from dispatch for the setuid and setgid families, setgroups and capset.
 * Why:        refused attempts are events too; commit_creds would need fentry or a kprobe.
 * Since:      6.1.
 * Misses:     a gain through exec (reported by the exec program), prctl and keyctl.
 * Cost:       one record per call.
 * On failure: capabilities are reported as 0. */
SEC("tp_btf/sys_exit")
int BPF_PROG(on_privilege, struct pt_regs *regs, long ret)
{
	const __u32 program = SHIPWALL_PROGRAM_PRIVILEGE;
	START(program)
	struct shipwall_privilege *privilege =
		begin(scratch, task, cgroup_id, program, SHIPWALL_KIND_PRIVILEGE, call, ret, FIXED(privilege));
	__s32 first = regs->di, second = regs->si;

	privilege->new_uid = -1;
	privilege->new_gid = -1;
	if (call == SHIPWALL_CALL_SETUID || call == SHIPWALL_CALL_SETFSUID)
		privilege->new_uid = first;
	else if (call == SHIPWALL_CALL_SETREUID || call == SHIPWALL_CALL_SETRESUID)
		privilege->new_uid = second != -1 ? second : first;
	else if (call == SHIPWALL_CALL_SETGID || call == SHIPWALL_CALL_SETFSGID)
		privilege->new_gid = first;
	else if (call == SHIPWALL_CALL_SETREGID || call == SHIPWALL_CALL_SETRESGID)
		privilege->new_gid = second != -1 ? second : first;
	privilege->cap_effective = capabilities_of(task, program);
	return emit(scratch, watch);
}

/* Hook:       tail-called from dispatch for init_module, finit_module, delete_module and bpf.
 * Why:        no container has a reason for any of them, so every attempt is reported, refused ones as well.
 * Since:      6.1.
 * Misses:     the name inside the bytes given to init_module.
 * Cost:       one record per call.
 * On failure: the name is reported empty. */
SEC("tp_btf/sys_exit")
int BPF_PROG(on_module, struct pt_regs *regs, long ret)
{
	const __u32 program = SHIPWALL_PROGRAM_MODULE;
	START(program)
	struct shipwall_module *module = begin(scratch, task, cgroup_id, program, SHIPWALL_KIND_MODULE, call, ret, FIXED(module));

	if (call == SHIPWALL_CALL_BPF) {
		module->command = regs->di;
	} else if (call == SHIPWALL_CALL_DELETE_MODULE) {
		module->name_length = put_user_string(scratch, (void *)regs->di, program);
	} else if (call == SHIPWALL_CALL_FINIT_MODULE) {
		struct file *file = file_of(task, regs->di, program);

		if (file) {
			__u32 at = walk_path(BPF_CORE_READ(file, f_path.mnt), BPF_CORE_READ(file, f_path.dentry), program);

			module->name_length = put_path(scratch, at, program);
		}
	}
	return emit(scratch, watch);
}

/* Hook:       tail-called from dispatch for unshare, setns, clone and clone3.
 * Why:        the flags are what the act is; sched_process_fork does not carry them.
 * Since:      6.1.
 * Misses:     a clone3 whose flags are rewritten in memory after the call.
 * Cost:       a few loads per clone; a record only with CLONE_NEW* flags.
 * On failure: flags that cannot be read count as none. */
SEC("tp_btf/sys_exit")
int BPF_PROG(on_namespace, struct pt_regs *regs, long ret)
{
	const __u32 program = SHIPWALL_PROGRAM_NAMESPACE;
	__u64 flags = regs->di;
	START(program)
	struct shipwall_namespace *namespace;

	if (call == SHIPWALL_CALL_CLONE || call == SHIPWALL_CALL_CLONE3) {
		if (ret == 0) /* in the child */
			return 0;
		if (call == SHIPWALL_CALL_CLONE3 && bpf_probe_read_user(&flags, sizeof(flags), (void *)regs->di)) {
			failed(program, SHIPWALL_HELPER_READ_USER);
			return 0;
		}
		if (call == SHIPWALL_CALL_CLONE)
			flags &= ~0xffULL; /* the exit signal */
	} else if (call == SHIPWALL_CALL_SETNS) {
		flags = (__u32)regs->si;
	}
	if (call != SHIPWALL_CALL_SETNS && !(flags & CLONE_NEW_ANY))
		return 0;
	namespace = begin(scratch, task, cgroup_id, program, SHIPWALL_KIND_NAMESPACE, call, ret, FIXED(namespace));
	namespace->flags = flags;
	return emit(scratch, watch);
}

/* Hook:       tail-called from dispatch for mount, umount2, move_mount, open_tree, fsopen, pivot_root and chroot.
 * Why:        refused attempts are events; the LSM hooks do not load everywhere.
 * Since:      6.1.
 * Misses:     options given to fsconfig; strings may change between use and reading.
 * Cost:       one record per call.
 * On failure: a string that cannot be read is reported empty. */
SEC("tp_btf/sys_exit")
int BPF_PROG(on_mount, struct pt_regs *regs, long ret)
{
	const __u32 program = SHIPWALL_PROGRAM_MOUNT;
	START(program)
	struct shipwall_mount *mount = begin(scratch, task, cgroup_id, program, SHIPWALL_KIND_MOUNT, call, ret, FIXED(mount));
	const void *source = 0, *target = 0, *fstype = 0;

	if (call == SHIPWALL_CALL_MOUNT) {
		source = (void *)regs->di;
		target = (void *)regs->si;
		fstype = (void *)regs->dx;
		mount->flags = regs->r10;
	} else if (call == SHIPWALL_CALL_UMOUNT2) {
		target = (void *)regs->di;
		mount->flags = regs->si;
	} else if (call == SHIPWALL_CALL_MOVE_MOUNT) {
		source = (void *)regs->si;
		target = (void *)regs->r10;
		mount->flags = regs->r8;
	} else if (call == SHIPWALL_CALL_OPEN_TREE) {
		source = (void *)regs->si;
		mount->flags = regs->dx;
	} else if (call == SHIPWALL_CALL_FSOPEN) {
		fstype = (void *)regs->di;
		mount->flags = regs->si;
	} else if (call == SHIPWALL_CALL_PIVOT_ROOT) {
		source = (void *)regs->di;
		target = (void *)regs->si;
	} else {
		target = (void *)regs->di;
	}
	mount->source_length = put_user_string(scratch, source, program);
	mount->target_length = put_user_string(scratch, target, program);
	mount->fstype_length = put_user_string(scratch, fstype, program);
	return emit(scratch, watch);
}

/* Hook:       tail-called from dispatch for dup, dup2, dup3 and fcntl(F_DUPFD).
 * Why:        a shell bound to a connection is a socket on descriptors 0 to 2, whatever the tool; read after the call, from the kernel.
 * Since:      6.1.
 * Misses:     a socket created while 0, 1 or 2 was free, and one inherited.
 * Cost:       a comparison unless the new descriptor is 0, 1 or 2.
 * On failure: the event is missing when the descriptor was replaced at once. */
SEC("tp_btf/sys_exit")
int BPF_PROG(on_duplicate, struct pt_regs *regs, long ret)
{
	const __u32 program = SHIPWALL_PROGRAM_DUPLICATE;
	struct shipwall_duplicate *duplicate;
	struct peer peer = {};
	struct sock *sk;

	if (ret < 0 || ret > 2)
		return 0;
	if (regs->orig_ax == SHIPWALL_CALL_FCNTL && (__u32)regs->si != F_DUPFD && (__u32)regs->si != F_DUPFD_CLOEXEC)
		return 0;
	START(program)
	sk = socket_of(task, ret, program);
	if (!sk)
		return 0;
	duplicate = begin(scratch, task, cgroup_id, program, SHIPWALL_KIND_DUPLICATE, call, ret, FIXED(duplicate));
	read_peer(sk, &peer, program);
	duplicate->old_fd = regs->di;
	duplicate->new_fd = ret;
	duplicate->family = peer.family;
	duplicate->port = peer.port;
	__builtin_memcpy(duplicate->address, peer.address, sizeof(duplicate->address));
	if (peer.family == AF_UNIX)
		duplicate->path_length = put_unix_peer(scratch, sk, program);
	return emit(scratch, watch);
}

struct arguments {
	const char **pointers;
	__u32 used;
	__u32 whole;
};

static long put_argument(__u32 index, struct arguments *arguments)
{
	struct scratch *scratch = get_scratch();
	const char *argument = 0;
	__u64 room = SHIPWALL_STRING_MAX - 1 - arguments->used;
	long length;

	if (!scratch || arguments->used >= SHIPWALL_STRING_MAX - 1)
		return 1;
	if (bpf_probe_read_user(&argument, sizeof(argument), arguments->pointers + index)) {
		failed(SHIPWALL_PROGRAM_EXEC_REFUSED, SHIPWALL_HELPER_READ_USER);
		return 1;
	}
	if (!argument) {
		arguments->whole = 1;
		return 1;
	}
	asm volatile("%[room] &= %[mask]" : [room] "+r"(room) : [mask] "i"(SHIPWALL_STRING_MAX - 1));
	length = bpf_probe_read_user_str(tail(scratch), room, argument);
	if (length < 1) {
		failed(SHIPWALL_PROGRAM_EXEC_REFUSED, SHIPWALL_HELPER_READ_USER);
		return 1;
	}
	grow(scratch, length);
	arguments->used += length;
	return 0;
}

/* Hook:       tail-called from dispatch for execve and execveat that failed.
 * Why:        an attempt is an event; success is seen by sched_process_exec.
 * Since:      6.1 (bpf_loop 5.17).
 * Misses:     ENOENT and ENOTDIR (every search along PATH makes some), on purpose.
 * Cost:       only on failed execs.
 * On failure: what cannot be read is reported empty, the list of arguments as truncated. */
SEC("tp_btf/sys_exit")
int BPF_PROG(on_exec_refused, struct pt_regs *regs, long ret)
{
	const __u32 program = SHIPWALL_PROGRAM_EXEC_REFUSED;
	struct arguments arguments = {};
	struct shipwall_exec *exec;
	const void *asked;
	int dirfd = -100;
	char first = 0;

	if (ret >= 0 || ret == -ENOENT || ret == -ENOTDIR)
		return 0;
	START(program)
	if (call == SHIPWALL_CALL_EXECVEAT) {
		dirfd = regs->di;
		asked = (void *)regs->si;
		arguments.pointers = (const char **)regs->dx;
	} else {
		asked = (void *)regs->di;
		arguments.pointers = (const char **)regs->si;
	}
	exec = begin(scratch, task, cgroup_id, program, SHIPWALL_KIND_EXEC, call, ret, FIXED(exec));
	if (asked && bpf_probe_read_user(&first, 1, asked))
		failed(program, SHIPWALL_HELPER_READ_USER);
	exec->path_length = put_start(scratch, task, first == '/', dirfd, program);
	exec->asked_length = put_user_string(scratch, asked, program);
	if (bpf_loop(SHIPWALL_ARGUMENTS_MAX, put_argument, &arguments, 0) < 0 || !arguments.whole)
		exec->bits |= SHIPWALL_EXEC_TRUNCATED;
	exec->argv_length = arguments.used;
	exec->old_uid = task->cred->euid.val;
	if (bpf_probe_read_kernel(exec->parent_comm, sizeof(exec->parent_comm), &task->real_parent->comm))
		failed(program, SHIPWALL_HELPER_READ_KERNEL);
	return emit(scratch, watch);
}

static __always_inline bool is_left_namespace(struct task_struct *task)
{
	__u32 inum = task->nsproxy->mnt_ns->ns.inum;

	return bpf_map_lookup_elem(&left_namespaces, &inum) != 0;
}

/* Where the bytes of `file` come from. The upper dentry of an overlay inode stands right after its VFS inode (struct ovl_inode, the
 * same from 4.8 to 6.18); it is set once the file was written or touched in the container. An overlay other than the container's
 * root is somebody's own mount, not the image. */
static __always_inline __u8 origin_of(struct file *file, struct shipwall_watch *watch, struct super_block *root, __u32 program)
{
	struct inode *inode = file->f_inode;
	struct super_block *sb = inode->i_sb;
	struct dentry *dentry = file->f_path.dentry;
	void *upper = 0;

	if (sb->s_magic == TMPFS_MAGIC && (sb->s_flags & SB_KERNMOUNT))
		return SHIPWALL_ORIGIN_MEMFD;
	if (inode->i_nlink == 0 || (dentry->d_parent != dentry && !dentry->d_hash.pprev))
		return SHIPWALL_ORIGIN_DELETED;
	if (sb->s_magic == HUGETLBFS_MAGIC)
		return SHIPWALL_ORIGIN_MEMFD;
	if (sb->s_magic == TMPFS_MAGIC || sb->s_magic == RAMFS_MAGIC)
		return SHIPWALL_ORIGIN_TMPFS;
	if (sb->s_magic == OVERLAYFS_SUPER_MAGIC && sb->s_dev == watch->root_device) {
		if (bpf_probe_read_kernel(&upper, sizeof(upper), (void *)inode + bpf_core_type_size(struct inode))) {
			failed(program, SHIPWALL_HELPER_READ_KERNEL);
			return SHIPWALL_ORIGIN_UNKNOWN;
		}
		return upper ? SHIPWALL_ORIGIN_UPPER : SHIPWALL_ORIGIN_IMAGE;
	}
	/* A root that is no overlay (other storage drivers): image and container files look the same. */
	return sb == root ? SHIPWALL_ORIGIN_UNKNOWN : SHIPWALL_ORIGIN_MOUNT;
}

/* Whether the file system was mounted in a user namespace, so neither by this host nor by its engine: read-only proves nothing then. */
static __always_inline bool is_made_inside(struct file *file)
{
	return file->f_inode->i_sb->s_user_ns->level > 0;
}

/* Hook:       tp_btf/sched_process_exec: the new program is loaded, none of its instructions has run.
 * Why:        the last moment at which SIGKILL prevents everything (measured: none of thousands ran), with the file itself at hand.
 *             An LSM program could refuse the exec instead, but does not load everywhere; fanotify cannot tell image from upper.
 * Since:      6.1.
 * Misses:     a script's own file (its interpreter is what runs), a library or a program given to the dynamic loader as argument, a
 *             read-only mount made inside by who has CAP_SYS_ADMIN (the mount itself is an event).
 * Cost:       one record per exec.
 * On failure: an unknown origin is never killed: open, because a storage driver we cannot judge must not stop every container. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	const __u32 program = SHIPWALL_PROGRAM_EXEC;
	__u64 cgroup_id = cgroup_of(task);
	struct shipwall_watch *watch = producing(cgroup_id);
	struct scratch *scratch;
	struct shipwall_exec *exec;
	struct super_block *sb, *root;
	struct vfsmount *vfsmount;
	struct file *file;
	__u64 length;
	__u32 at;
	bool left;

	if (!watch)
		return 0;
	scratch = get_scratch();
	file = bprm->file;
	if (!scratch || !file) {
		failed(program, SHIPWALL_HELPER_SCRATCH);
		return 0;
	}
	left = is_left_namespace(task);
	root = task->fs->root.mnt->mnt_sb;
	if (!watch->root_device && !left && root->s_magic == OVERLAYFS_SUPER_MAGIC)
		watch->root_device = root->s_dev;

	exec = begin(scratch, task, cgroup_id, program, SHIPWALL_KIND_EXEC, 0, 0, FIXED(exec));
	exec->inode = file->f_inode->i_ino;
	exec->device = file->f_inode->i_sb->s_dev;
	exec->old_uid = task->cred->uid.val;
	exec->origin = origin_of(file, watch, root, program);
	exec->bits = SHIPWALL_EXEC_RESOLVED;
	vfsmount = file->f_path.mnt;
	sb = vfsmount->mnt_sb;
	if (!(vfsmount->mnt_flags & MNT_READONLY) && !(sb->s_flags & SB_RDONLY))
		exec->bits |= SHIPWALL_EXEC_WRITABLE;

	/* The kill comes before everything that could fail. */
	if ((watch->flags & SHIPWALL_WATCH_KILL_DRIFT) && !left &&
	    (exec->origin == SHIPWALL_ORIGIN_UPPER || exec->origin == SHIPWALL_ORIGIN_TMPFS || exec->origin == SHIPWALL_ORIGIN_MEMFD ||
	     exec->origin == SHIPWALL_ORIGIN_DELETED ||
	     (exec->origin == SHIPWALL_ORIGIN_MOUNT && ((exec->bits & SHIPWALL_EXEC_WRITABLE) || is_made_inside(file))))) {
		if (bpf_send_signal(SIGKILL))
			failed(program, SHIPWALL_HELPER_SEND_SIGNAL);
		else
			exec->bits |= SHIPWALL_EXEC_KILLED;
	}

	if (bpf_probe_read_kernel(exec->parent_comm, sizeof(exec->parent_comm), &task->real_parent->comm))
		failed(program, SHIPWALL_HELPER_READ_KERNEL);
	at = walk_path(vfsmount, file->f_path.dentry, program);
	exec->path_length = put_path(scratch, at, program);
	exec->asked_length = put_kernel_string(scratch, bprm->filename, program);
	length = task->mm->arg_end - task->mm->arg_start;
	if (length > SHIPWALL_STRING_MAX - 1) {
		length = SHIPWALL_STRING_MAX - 1;
		exec->bits |= SHIPWALL_EXEC_TRUNCATED;
	}
	asm volatile("%[length] &= %[mask]" : [length] "+r"(length) : [mask] "i"(SHIPWALL_STRING_MAX - 1));
	if (bpf_probe_read_user(tail(scratch), length, (void *)task->mm->arg_start)) {
		failed(program, SHIPWALL_HELPER_READ_USER);
		exec->bits |= SHIPWALL_EXEC_TRUNCATED;
	} else {
		exec->argv_length = length;
		grow(scratch, length);
	}
	emit(scratch, watch);

	if (task->cred->uid.val != task->cred->euid.val && BPF_CORE_READ_BITFIELD_PROBED(bprm, secureexec)) {
		struct shipwall_privilege *privilege = begin(scratch, task, cgroup_id, program, SHIPWALL_KIND_PRIVILEGE,
							     SHIPWALL_CALL_EXECVE, 0, FIXED(privilege));

		privilege->new_uid = task->cred->euid.val;
		privilege->new_gid = -1;
		privilege->cap_effective = capabilities_of(task, program);
		emit(scratch, watch);
	}
	return 0;
}

/* Hook:       tp_btf/sched_process_fork.
 * Why:        both tasks are at hand; the return of clone in the parent comes after the child may already have acted.
 * Since:      6.1.
 * Misses:     nothing known; threads are left out on purpose.
 * Cost:       one record per new process.
 * On failure: the child's pid in its namespace is 0. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	const __u32 program = SHIPWALL_PROGRAM_FORK;
	__u64 cgroup_id = cgroup_of(child);
	struct shipwall_watch *watch = producing(cgroup_id);
	struct shipwall_fork *fork;
	struct scratch *scratch;

	if (!watch || child->pid != child->tgid)
		return 0;
	scratch = get_scratch();
	if (!scratch) {
		failed(program, SHIPWALL_HELPER_SCRATCH);
		return 0;
	}
	fork = begin(scratch, parent, cgroup_id, program, SHIPWALL_KIND_FORK, 0, 0, FIXED(fork));
	fork->child_pid = child->tgid;
	fork->child_ns_pid = ns_pid_of(child, program);
	return emit(scratch, watch);
}

/* Hook:       tp_btf/sched_process_exit, for the last thread of a process.
 * Why:        the one place all ends of a process pass; a process killed has no last call.
 * Since:      6.1.
 * Misses:     nothing known. The thread that ends last need not be the leader.
 * Cost:       one record per ended process.
 * On failure: - */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	const __u32 program = SHIPWALL_PROGRAM_EXIT;
	__u64 cgroup_id = cgroup_of(task);
	struct shipwall_watch *watch = producing(cgroup_id);
	struct scratch *scratch;
	int status;

	if (!watch || task->signal->live.counter != 0)
		return 0;
	scratch = get_scratch();
	if (!scratch) {
		failed(program, SHIPWALL_HELPER_SCRATCH);
		return 0;
	}
	status = task->signal->flags & SIGNAL_GROUP_EXIT ? task->signal->group_exit_code : task->exit_code;
	begin(scratch, task, cgroup_id, program, SHIPWALL_KIND_EXIT, 0, status, 0);
	return emit(scratch, watch);
}

static __always_inline void report_cgroup(struct shipwall_watch *watch, struct cgroup *cgroup, const char *path, __u8 act)
{
	const __u32 program = SHIPWALL_PROGRAM_CGROUP;
	struct task_struct *task = bpf_get_current_task_btf();
	struct scratch *scratch = get_scratch();
	struct shipwall_cgroup *made;

	if (!scratch) {
		failed(program, SHIPWALL_HELPER_SCRATCH);
		return;
	}
	made = begin(scratch, task, cgroup_of(task), program, SHIPWALL_KIND_CGROUP, 0, 0, FIXED(cgroup));
	made->made_id = cgroup->kn->id;
	made->parent_id = BPF_CORE_READ(cgroup, self.parent, cgroup, kn, id);
	made->act = act;
	made->path_length = put_kernel_string(scratch, path, program);
	emit(scratch, watch);
}

#define CONTAINER_ID 64
#define CONTAINER_PREFIX_MAX 21
#define SCOPE 6

/* Whether `cgroup` is named as engines name a container's: `runtime.decode.container_of_cgroup` is the definition. */
static __always_inline bool is_container(struct scratch *scratch, struct cgroup *cgroup, __u32 program)
{
	long length = bpf_probe_read_kernel_str(scratch->name, sizeof(scratch->name), BPF_CORE_READ(cgroup, kn, name)) - 1;
	const char scope[SCOPE] = { '.', 's', 'c', 'o', 'p', 'e' };
	__u32 start, at;
	bool scoped = 1;

	if (length < 0)
		failed(program, SHIPWALL_HELPER_READ_KERNEL);
	if (length < CONTAINER_ID || length > CONTAINER_PREFIX_MAX + CONTAINER_ID + SCOPE)
		return 0;
	for (at = 0; at < SCOPE; at++)
		scoped &= scratch->name[(length - SCOPE + at) & 127] == scope[at];
	start = length - CONTAINER_ID - (scoped ? SCOPE : 0);
	if (start == 1 || start > CONTAINER_PREFIX_MAX || (start && scratch->name[(start - 1) & 127] != '-'))
		return 0;
	for (at = 0; at < CONTAINER_PREFIX_MAX + CONTAINER_ID; at++) {
		char one = scratch->name[at];
		bool lower = one >= 'a' && one <= 'z';

		if (at >= start + CONTAINER_ID)
			break;
		if (at < start ? !lower && one != '-' : !(one >= '0' && one <= '9') && !(lower && one <= 'f'))
			return 0;
	}
	return 1;
}

/* What a cgroup made below an unwatched one, or below a parent of the engine, is to be watched with. */
static __always_inline __u32 flags_of_new(struct shipwall_watch *parent, struct cgroup *cgroup, const char *path)
{
	const __u32 program = SHIPWALL_PROGRAM_CGROUP;
	struct scratch *scratch = get_scratch();
	struct shipwall_settings *setting;
	__u32 zero = 0;
	bool own = parent && parent->flags & SHIPWALL_WATCH_PARENT;

	setting = bpf_map_lookup_elem(&settings, &zero);
	if (!scratch || !setting) {
		failed(program, SHIPWALL_HELPER_SCRATCH);
		return 0;
	}
	if (!setting->own_flags)
		return 0;
	if (is_container(scratch, cgroup, program))
		return own ? setting->own_flags : setting->other_flags;
	__builtin_memset(&scratch->parent, 0, sizeof(scratch->parent));
	if (bpf_probe_read_kernel_str(scratch->parent.path, sizeof(scratch->parent.path), path) < 0) {
		failed(program, SHIPWALL_HELPER_READ_KERNEL);
		return 0;
	}
	return bpf_map_lookup_elem(&parents, &scratch->parent) ? SHIPWALL_WATCH_PARENT : 0;
}

/* Hook:       tp_btf/cgroup_mkdir: the cgroup exists, nobody is in it yet.
 * Why:        a container's cgroup is watched before its first process, so even the shortest life carries its id; any round trip to
 *             user space would come too late. It is known by its parent's watch, or (on an engine that puts containers where it likes)
 *             by its name.
 * Since:      6.1 (hierarchy 0 is the v2 one; v1 hierarchies fire the same tracepoint and are left alone).
 * Misses:     nothing known.
 * Cost:       only when a cgroup is made.
 * On failure: when no place is left the cgroup stays unwatched: counted, and user space sees the count. */
SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(on_cgroup_made, struct cgroup *cgroup, const char *path)
{
	struct shipwall_watch *parent, *watch;
	__u32 flags;

	if (cgroup->root->hierarchy_id != 0)
		return 0;
	parent = find_watch(BPF_CORE_READ(cgroup, self.parent, cgroup, kn, id));
	if (parent && parent->flags & SHIPWALL_WATCH_CHILDREN)
		flags = parent->flags & ~SHIPWALL_WATCH_GONE;
	else
		flags = flags_of_new(parent, cgroup, path);
	if (!flags)
		return 0;
	watch = make_watch(cgroup->kn->id, SHIPWALL_PROGRAM_CGROUP);
	if (watch) {
		watch->root_device = parent ? parent->root_device : 0;
		watch->flags = flags;
	}
	if (!watch)
		watch = parent;
	if (watch && flags & (SHIPWALL_WATCH_EVENTS | SHIPWALL_WATCH_CHILDREN))
		report_cgroup(watch, cgroup, path, SHIPWALL_CGROUP_MADE);
	return 0;
}

/* Hook:       tp_btf/cgroup_rmdir.
 * Why:        tells that no event of this cgroup can follow. Its counters stay until user space has read and forgotten them.
 * Since:      6.1.
 * Misses:     nothing known.
 * Cost:       only when a cgroup is removed.
 * On failure: the mark GONE lets user space find it without the event. */
SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(on_cgroup_removed, struct cgroup *cgroup, const char *path)
{
	struct shipwall_watch *watch;

	if (cgroup->root->hierarchy_id != 0)
		return 0;
	watch = find_watch(cgroup->kn->id);
	if (!watch)
		return 0;
	if (watch->flags & (SHIPWALL_WATCH_EVENTS | SHIPWALL_WATCH_CHILDREN))
		report_cgroup(watch, cgroup, path, SHIPWALL_CGROUP_REMOVED);
	watch->flags |= SHIPWALL_WATCH_GONE;
	return 0;
}

/* Hook:       none: run by user space (BPF_PROG_TEST_RUN) with operation, cgroup id and flags.
 * Why:        watches are made and forgotten by one piece of code, in the kernel, so user space and cgroup_mkdir never race for a slot.
 * Since:      5.10.
 * Misses:     -
 * Cost:       -
 * On failure: returns 0; otherwise the slot + 1, or NO_SLOT for a crowded one. */
SEC("raw_tp")
int control(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 operation = ctx->args[0], id = ctx->args[1];
	struct shipwall_watch *watch;

	if (!id)
		return 0;
	if (operation == SHIPWALL_CONTROL_SET) {
		watch = make_watch(id, SHIPWALL_PROGRAM_CGROUP);
		if (!watch)
			return 0;
		watch->flags = ctx->args[2];
		return watch->slot == SHIPWALL_NO_SLOT ? SHIPWALL_NO_SLOT : watch->slot + 1;
	}
	watch = find_watch(id);
	if (!watch)
		return 0;
	if (watch->slot == SHIPWALL_NO_SLOT)
		return bpf_map_delete_elem(&crowded, &id) ? 0 : 1;
	watch->flags = 0;
	watch->sequence = 0;
	watch->produced_bytes = 0;
	watch->consumed_bytes = 0;
	watch->root_device = 0;
	__builtin_memset(watch->lost, 0, sizeof(watch->lost));
	watch->cgroup_id = 0;
	return 1;
}
