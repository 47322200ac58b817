/* The sensor: what processes of watched cgroups do, and the kill of what is not from their image.
 *
 * Every hook is a BTF tracepoint: they load on every kernel from 6.1 on, also where kprobes, fentry and LSM programs do not.
 * Work is ordered by price: a call nobody wants costs two loads, a wanted call of an unwatched cgroup one array look-up more. */
#include "emit.h"
#include "paths.h"
#include "filter.h"

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
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_UDPLITE 136
#define IPPROTO_MPTCP 262
#define O_ACCMODE 3
#define O_CREAT 0100
#define FMODE_CREATED 0x100000
#define I386_SOCKETCALL 102
#define F_DUPFD 0
#define F_DUPFD_CLOEXEC 1030
#define EAGAIN 11
#define EINTR 4
#define ERESTARTSYS 512
#define PROT_EXEC 4
#define AT_FDCWD -100
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
int on_call(unsigned long long *context);

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
		[SHIPWALL_FAMILY_CALL] = (void *)&on_call,
	},
};

struct caller {
	__u32 call; /* the x86-64 number, CALL_OTHER for none */
	bool compat; /* 32-bit registers and pointers */
	bool foreign; /* 32-bit or x32 */
};

/* Which call ended, by the x86-64 number of the one that does the same. */
static __always_inline struct caller caller_of(struct task_struct *task, struct pt_regs *regs, struct shipwall_settings *setting)
{
	struct caller caller = { .call = SHIPWALL_CALL_OTHER };
	unsigned long call = regs->orig_ax;

	if (task->thread_info.status & TS_COMPAT) {
		caller.compat = caller.foreign = 1;
		call = (__u32)call;
		if (call == I386_SOCKETCALL)
			call = setting->socket_calls[MASKED(regs->bx, 31)];
		else if (call < SHIPWALL_CALLS_MAX)
			call = setting->compat[MASKED(call, SHIPWALL_CALLS_MAX - 1)];
	} else if (call & X32_BIT) {
		caller.foreign = 1;
		call = (__u32)call & ~X32_BIT;
		if (call >= SHIPWALL_X32_FIRST && call < SHIPWALL_X32_FIRST + 64)
			call = setting->x32[MASKED(call - SHIPWALL_X32_FIRST, 63)];
	}
	if (call < SHIPWALL_CALL_OTHER)
		caller.call = call;
	return caller;
}

/* The arguments, wherever the caller's kind puts them. Those of socketcall lie in its memory: they may have changed since. */
static __always_inline void read_arguments(struct scratch *scratch, struct pt_regs *regs, struct caller caller, long ret, __u32 program)
{
	__u64 *arguments = scratch->arguments;

	if (!caller.compat) {
		arguments[0] = regs->di;
		arguments[1] = regs->si;
		arguments[2] = regs->dx;
		arguments[3] = regs->r10;
		arguments[4] = regs->r8;
		arguments[5] = regs->r9;
	} else if ((__u32)regs->orig_ax == I386_SOCKETCALL) {
		__u32 words[6] = {}, number = regs->bx;

		if (bpf_probe_read_user(words, sizeof(words), (void *)(__u64)(__u32)regs->cx))
			failed(program, SHIPWALL_HELPER_READ_USER);
		for (int i = 0; i < 6; i++)
			arguments[i] = words[i];
		if (number == 9 || number == 10) /* send and recv have no address */
			arguments[4] = arguments[5] = 0;
	} else {
		arguments[0] = (__u32)regs->bx;
		arguments[1] = (__u32)regs->cx;
		arguments[2] = (__u32)regs->dx;
		arguments[3] = (__u32)regs->si;
		arguments[4] = (__u32)regs->di;
		arguments[5] = (__u32)regs->bp;
	}
	arguments[SHIPWALL_RESULT] = ret;
}

/* What a family's program starts with. The dispatcher has found all this; it is found again because a tail call keeps nothing but the
 * context. */
#define START(program)                                                                                                           \
	struct task_struct *task = bpf_get_current_task_btf();                                                                   \
	__u64 cgroup_id = cgroup_of(task);                                                                                       \
	struct shipwall_watch *watch = find_watch(cgroup_id);                                                                    \
	struct scratch *scratch = get_scratch();                                                                                 \
	__u32 zero_ = 0;                                                                                                         \
	struct shipwall_settings *setting = bpf_map_lookup_elem(&settings, &zero_);                                              \
	struct caller caller;                                                                                                    \
	__u64 *arguments;                                                                                                        \
	__u32 call;                                                                                                              \
                                                                                                                                 \
	if (!scratch || !watch || !setting) {                                                                                    \
		failed(program, SHIPWALL_HELPER_SCRATCH);                                                                        \
		return 0;                                                                                                        \
	}                                                                                                                        \
	caller = caller_of(task, regs, setting);                                                                                 \
	call = caller.call;                                                                                                      \
	(void)call;                                                                                                              \
	arguments = scratch->arguments;                                                                                          \
	read_arguments(scratch, regs, caller, ret, program);

/* Starts the record of a call, marked when its caller is foreign. */
static __always_inline void *begin_call(struct scratch *scratch, struct task_struct *task, __u64 cgroup_id, __u32 program, __u16 kind,
					struct caller caller, __s64 ret, __u32 size)
{
	void *fixed = begin(scratch, task, cgroup_id, program, kind, caller.call, ret, size);

	if (caller.foreign)
		((struct shipwall_header *)scratch->record)->bits = SHIPWALL_HEADER_COMPAT;
	return fixed;
}

/* Hook:       tp_btf/sys_exit, the one entry for all calls: counted here, then the family's program is tail-called.
 * Why:        the result is known (refused acts are events) and the kernel's own view of file and socket can be read. sys_enter would
 *             see arguments that may still change, per-call tracepoints need a hundred attachments, fentry and kprobes do not load
 *             everywhere.
 * Since:      6.1.
 * Misses:     arguments in user memory may change between use and reading (file and socket are read from the kernel instead where
 *             the call succeeded); acts through io_uring (its set-up and entries are events); calls that never return (exit).
 * Cost:       some 25 ns over an empty program for a watched cgroup, less for others: no look-up by hash, no atomic.
 * On failure: the event is missing; failures of helpers and losses are counted. */
SEC("tp_btf/sys_exit")
int BPF_PROG(dispatch, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct shipwall_watch *watch = producing(cgroup_of(task));
	struct shipwall_settings *setting;
	struct shipwall_counts *count;
	__u32 zero = 0, slot, family;
	unsigned long call;

	if (!watch)
		return 0;
	slot = watch->counting;
	setting = bpf_map_lookup_elem(&settings, &zero);
	count = bpf_map_lookup_elem(&counts, &slot);
	if (!setting || !count)
		return 0;
	call = regs->orig_ax;
	if (task->thread_info.status & TS_COMPAT || call >= SHIPWALL_CALLS_MAX)
		call = caller_of(task, regs, setting).call;
	call = MASKED(call, SHIPWALL_CALLS_MAX - 1);
	count->calls[call]++; /* of this CPU, and nothing runs in between */
	if (ret < 0 && ret >= -4095)
		count->errors[call]++;
	family = setting->families[call];
	if (!family)
		return 0;
	bpf_tail_call(ctx, &families, family);
	failed(SHIPWALL_PROGRAM_DISPATCH, SHIPWALL_HELPER_TAIL_CALL);
	return 0;
}

/* Whether a successful open is certainly of no interest where no filter is in force: for reading only, and neither the file's own path nor the one asked for begins with the first word
 * of a wanted prefix. */
static __always_inline bool is_boring(struct task_struct *task, struct pt_regs *regs, long ret, struct shipwall_settings *setting)
{
	struct file *file = file_of(task, ret, SHIPWALL_PROGRAM_OPEN);
	__u64 asked = 0, word;

	if (!file)
		return 0;
	file = TYPED(file, file);
	if (file->f_flags & O_ACCMODE || file->f_mode & FMODE_CREATED)
		return 0;
	word = first_word(file);
	if (!word || may_begin(setting, PREFIX_WORDS, word))
		return 0;
	if (bpf_probe_read_user(&asked, sizeof(asked), (void *)(regs->orig_ax == SHIPWALL_CALL_OPEN ? regs->di : regs->si)))
		return 0; /* perhaps a short one at the end of a page */
	return !may_begin(setting, PREFIX_WORDS, asked);
}

/* Reads what was asked for; whether it certainly has none of the atoms that a program asks of it. */
static __always_inline bool is_asked_dull(struct scratch *scratch, const void *asked, __u32 key)
{
	long length = bpf_probe_read_user_str(scratch->asked, SHIPWALL_STRING_MAX, asked);

	scratch->may = scratch->must = 0;
	if (length < 1)
		return 0;
	see_string(key, FIRST, offsetof(struct scratch, asked), length - 1);
	return !scratch->may;
}

/* Whether a successful open is certainly of no interest, by what is at hand without walking its path. Nearly all opens end here. */
static __always_inline bool is_dull_open(struct task_struct *task, struct pt_regs *regs, long ret, struct shipwall_settings *setting,
					 struct filtering filtering)
{
	const void *asked = (void *)(regs->orig_ax == SHIPWALL_CALL_OPENAT ? regs->si : regs->di);
	__u64 flags = regs->orig_ax == SHIPWALL_CALL_OPENAT ? regs->dx : regs->si, path, word;
	struct shipwall_filter *filter = bpf_map_lookup_elem(&filters, &filtering.key);
	struct scratch *scratch = get_scratch();
	struct file *file;
	bool read;

	file = file_of(task, ret, SHIPWALL_PROGRAM_OPEN);
	if (!scratch || !file || !filter)
		return 0;
	file = TYPED(file, file);
	flags |= file->f_flags;
	read = !(flags & O_ACCMODE);
	path = filter->atoms[PATH];
	word = path ? first_word(file) : 0;
	if (word && !may_begin(setting, filtering.words + (read ? 0 : SHIPWALL_FILTER_GENERATIONS), word)) {
		if (read && filter->reads == SHIPWALL_READS_BEGIN)
			return 1;
		if (read && filter->reads == SHIPWALL_READS_ASK && is_asked_dull(scratch, asked, filtering.key))
			return 1;
		path &= filter->floating;
	}
	begin_numbers(scratch, task, ret);
	scratch->numbers[SHIPWALL_NUMBER_FLAGS] = flags;
	scratch->numbers[SHIPWALL_NUMBER_FD] = ret;
	see_numbers(filtering.key);
	return !may_match(filtering.key, path | filter->atoms[FIRST]);
}

/* What can be decided about a successful open or openat before anything else is looked at; whether it is done with. */
static __always_inline bool is_dismissed(struct task_struct *task, struct pt_regs *regs, long ret)
{
	struct shipwall_watch *watch = find_watch(cgroup_of(task));
	struct shipwall_settings *setting;
	struct filtering filtering;
	__u32 zero = 0;

	setting = bpf_map_lookup_elem(&settings, &zero);
	if (LINUX_KERNEL_VERSION < SINCE_6_2 || !watch || !setting || ret < 0 || task->thread_info.status & TS_COMPAT ||
	    (regs->orig_ax != SHIPWALL_CALL_OPENAT && regs->orig_ax != SHIPWALL_CALL_OPEN))
		return 0;
	filtering = filter_of(setting, watch, regs->orig_ax);
	if (!filtering.in_force)
		return is_boring(task, regs, ret, setting);
	if (filtering.number <= SHIPWALL_FILTER_DROP || !is_dull_open(task, regs, ret, setting, filtering))
		return 0;
	dismiss(watch, SHIPWALL_KIND_OPEN);
	return 1;
}

/* The same for any open, once its path stands in the scratch at `at` (0: it is not known). */
static __always_inline bool is_dull_file(struct scratch *scratch, struct task_struct *task, long ret, __u64 flags, __u32 at, long asked,
					 struct filtering filtering)
{
	__u64 unknown = 0;

	begin_numbers(scratch, task, ret);
	scratch->numbers[SHIPWALL_NUMBER_FLAGS] = flags;
	scratch->numbers[SHIPWALL_NUMBER_FD] = ret < 0 ? -1 : ret;
	see_numbers(filtering.key);
	if (asked < 1)
		unknown |= atoms_of(filtering.key, FIRST);
	else if (atoms_of(filtering.key, FIRST))
		see_string(filtering.key, FIRST, offsetof(struct scratch, asked), asked - 1);
	if (at >= SHIPWALL_STRING_MAX) { /* the root itself */
		at = SHIPWALL_STRING_MAX - 1;
		scratch->path[at] = '/';
	}
	if (!at)
		unknown |= atoms_of(filtering.key, PATH);
	else if (atoms_of(filtering.key, PATH))
		see_string(filtering.key, PATH, offsetof(struct scratch, path) + at, SHIPWALL_STRING_MAX - at);
	return !may_match(filtering.key, unknown);
}

/* Whether the opened file at `at` is wanted where no filter is in force: written, made, or begun as a wanted prefix. */
static __always_inline bool is_wanted_file(struct scratch *scratch, struct file *file, __u32 call, unsigned long flags, __u32 at,
					   long asked, __u32 program)
{
	__u32 type;

	if (call == SHIPWALL_CALL_OPEN_BY_HANDLE_AT)
		return 1;
	if ((BPF_CORE_READ(file, f_flags) & O_ACCMODE) || (flags & O_CREAT && BPF_CORE_READ(file, f_mode) & FMODE_CREATED)) {
		type = BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT;
		if (type == S_IFREG || type == S_IFBLK)
			return 1;
	}
	if (!at || is_wanted(scratch, &scratch->path[at & (SHIPWALL_STRING_MAX - 1)], SHIPWALL_STRING_MAX - at, program))
		return 1;
	/* by what was asked for, then: /proc/self, or a link that is itself of interest */
	return asked > 1 && is_wanted(scratch, scratch->asked, asked - 1, program);
}

/* Hook:       tail-called from dispatch for open, creat, openat, openat2, open_by_handle_at.
 * Why:        the path is walked from the opened file, so links, dots and dirfd races do not deceive; bpf_d_path is refused here.
 * Since:      6.1 (bpf_loop 5.17).
 * Misses:     what the filter dismisses, or without one read-only opens outside the wanted prefixes (on purpose); the target behind a
 *             symbolic link of a refused open; a descriptor replaced by another thread within the call.
 * Cost:       a few numbers and a word for most opens; a walked path for what may be of interest; a record only for what is.
 * On failure: a path that cannot be read is reported empty, never dropped. */
SEC("tp_btf/sys_exit")
int BPF_PROG(on_open, struct pt_regs *regs, long ret)
{
	const __u32 program = SHIPWALL_PROGRAM_OPEN;
	struct filtering filtering;

	if (ret < 0 && ret != -EACCES && ret != -EPERM && ret != -EROFS)
		return 0;
	if (is_dismissed(bpf_get_current_task_btf(), regs, ret))
		return 0;
	START(program)
	const void *asked = 0;
	struct shipwall_open *open;
	unsigned long flags = 0;
	struct file *file = 0;
	long asked_length = 0;
	int dirfd = -100;
	__u32 at = 0;

	filtering = filter_of(setting, watch, call);
	if (filtering.number == SHIPWALL_FILTER_DROP)
		return dismiss(watch, SHIPWALL_KIND_OPEN);
	if (call == SHIPWALL_CALL_OPEN) {
		asked = (void *)arguments[0];
		flags = arguments[1];
	} else if (call == SHIPWALL_CALL_CREAT) {
		asked = (void *)arguments[0];
		flags = 01101; /* O_CREAT O_WRONLY O_TRUNC */
	} else if (call == SHIPWALL_CALL_OPEN_BY_HANDLE_AT) {
		flags = arguments[2];
	} else {
		dirfd = arguments[0];
		asked = (void *)arguments[1];
		flags = arguments[2];
		if (call == SHIPWALL_CALL_OPENAT2 && bpf_probe_read_user(&flags, sizeof(flags), (void *)arguments[2]))
			failed(program, SHIPWALL_HELPER_READ_USER);
	}
	if (asked) {
		asked_length = bpf_probe_read_user_str(scratch->asked, SHIPWALL_STRING_MAX, asked);
		if (asked_length < 1)
			failed(program, SHIPWALL_HELPER_READ_USER);
	}
	if (ret >= 0) {
		file = file_of(task, ret, program);
		if (!file)
			return 0;
		at = walk_to((__u64)BPF_CORE_READ(file, f_path.mnt), (__u64)BPF_CORE_READ(file, f_path.dentry), program);
		if (!filtering.in_force && !is_wanted_file(scratch, file, call, flags, at, asked_length, program))
			return 0;
		flags |= BPF_CORE_READ(file, f_flags);
	}
	if (filtering.number && is_dull_file(scratch, task, ret, flags, at, asked_length, filtering))
		return dismiss(watch, SHIPWALL_KIND_OPEN);
	open = begin_call(scratch, task, cgroup_id, program, SHIPWALL_KIND_OPEN, caller, ret, FIXED(open));
	open->flags = flags;
	if (ret < 0) {
		open->path_length = put_start(scratch, task, asked_length > 0 && scratch->asked[0] == '/', dirfd, program);
	} else {
		open->path_length = put_path(scratch, at, program);
		open->resolved = 1;
	}
	if (asked_length > 0)
		open->asked_length = put_kernel_string(scratch, scratch->asked, program);
	return emit(scratch, watch);
}

struct peer {
	__u8 address[16];
	__u8 local[16];
	__u16 family;
	__u16 port;
	__u16 local_port;
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
	peer->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	if (peer->family == AF_INET) {
		__u32 address = BPF_CORE_READ(sk, __sk_common.skc_daddr), local = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);

		__builtin_memcpy(peer->address, &address, sizeof(address));
		__builtin_memcpy(peer->local, &local, sizeof(local));
		return address || peer->port;
	}
	if (bpf_probe_read_kernel(peer->local, sizeof(peer->local),
				  (void *)sk + bpf_core_field_offset(struct sock, __sk_common) +
					  bpf_core_field_offset(struct sock_common, skc_v6_rcv_saddr)))
		failed(program, SHIPWALL_HELPER_READ_KERNEL);
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

/* Whether a connection to `peer` is of no interest. */
static __always_inline bool is_dull_peer(struct scratch *scratch, struct task_struct *task, long ret, struct peer *peer,
					 struct filtering filtering)
{
	const __u32 *words = (void *)peer->address;
	__s64 *numbers = scratch->numbers;

	begin_numbers(scratch, task, ret);
	numbers[SHIPWALL_NUMBER_FAMILY] = peer->family;
	if (peer->family == AF_INET || peer->family == AF_INET6) {
		numbers[SHIPWALL_NUMBER_PORT] = peer->port;
		numbers[SHIPWALL_NUMBER_LOCAL_PORT] = peer->local_port;
		numbers[SHIPWALL_NUMBER_PROTOCOL] = peer->protocol == IPPROTO_MPTCP  ? IPPROTO_TCP :
						    peer->protocol == IPPROTO_UDPLITE ? IPPROTO_UDP :
											peer->protocol;
		if (peer->family == AF_INET)
			numbers[SHIPWALL_NUMBER_IPV4] = __builtin_bswap32(words[0]);
		else if (!words[0] && !words[1] && words[2] == __builtin_bswap32(0xffff)) /* mapped: told as what it reaches */
			numbers[SHIPWALL_NUMBER_IPV4] = __builtin_bswap32(words[3]);
	}
	see_numbers(filtering.key);
	return !may_match(filtering.key, 0);
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
	struct filtering filtering = filter_of(setting, watch, call);
	struct shipwall_connect *connect;
	struct peer peer = {};
	struct sock *sk = socket_of(task, arguments[0], program);
	const void *address = (void *)arguments[1];
	__u64 length = (__u32)arguments[2];
	bool known = 0;

	if (!sk)
		return 0;
	if (filtering.number == SHIPWALL_FILTER_DROP)
		return dismiss(watch, SHIPWALL_KIND_CONNECT);
	connect = begin_call(scratch, task, cgroup_id, program, SHIPWALL_KIND_CONNECT, caller, ret, FIXED(connect));
	known = read_peer(sk, &peer, program);
	if (ret != 0 && ret != -EINPROGRESS)
		known = 0;
	if (peer.family == AF_UNIX && ret == 0) {
		connect->path_length = put_unix_peer(scratch, sk, program);
		known = connect->path_length != 0;
	}
	if (length >= 2) { /* what the caller's memory says; for a refused call it is all there is */
		__u16 family = 0, port = 0;

		if (bpf_probe_read_user(&family, sizeof(family), address)) {
			failed(program, SHIPWALL_HELPER_READ_USER);
		} else if (family == AF_INET || family == AF_INET6) {
			if (bpf_probe_read_user(&port, sizeof(port), address + 2))
				failed(program, SHIPWALL_HELPER_READ_USER);
			if (family == AF_INET ? bpf_probe_read_user(connect->asked_address, 4, address + 4) :
						bpf_probe_read_user(connect->asked_address, 16, address + 8))
				failed(program, SHIPWALL_HELPER_READ_USER);
		} else if (family == AF_UNIX && !known) {
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
		connect->asked_family = family;
		connect->asked_port = __builtin_bswap16(port);
		if (!known) {
			peer.family = family;
			peer.port = connect->asked_port;
			__builtin_memcpy(peer.address, connect->asked_address, sizeof(peer.address));
		}
	}
	__builtin_memcpy(connect->local, peer.local, sizeof(connect->local));
	connect->local_port = peer.local_port;
	connect->fd = arguments[0];
	connect->family = peer.family;
	connect->type = peer.type;
	connect->protocol = peer.protocol;
	connect->port = peer.port;
	__builtin_memcpy(connect->address, peer.address, sizeof(connect->address));
	if (filtering.number && is_dull_peer(scratch, task, ret, &peer, filtering))
		return dismiss(watch, SHIPWALL_KIND_CONNECT);
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
		begin_call(scratch, task, cgroup_id, program, SHIPWALL_KIND_PRIVILEGE, caller, ret, FIXED(privilege));
	__s32 first = arguments[0], second = arguments[1];

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
	struct shipwall_module *module;

	if (is_dull(setting, watch, scratch, task, call, ret, 0))
		return dismiss(watch, SHIPWALL_KIND_MODULE);
	module = begin_call(scratch, task, cgroup_id, program, SHIPWALL_KIND_MODULE, caller, ret, FIXED(module));
	if (call == SHIPWALL_CALL_BPF) {
		module->command = arguments[0];
	} else if (call == SHIPWALL_CALL_DELETE_MODULE) {
		module->name_length = put_user_string(scratch, (void *)arguments[0], program);
	} else if (call == SHIPWALL_CALL_FINIT_MODULE) {
		struct file *file = file_of(task, arguments[0], program);

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
	START(program)
	struct shipwall_namespace *namespace;
	__u64 flags = arguments[0];

	if (call == SHIPWALL_CALL_CLONE || call == SHIPWALL_CALL_CLONE3) {
		if (ret == 0) /* in the child */
			return 0;
		if (call == SHIPWALL_CALL_CLONE3 && bpf_probe_read_user(&flags, sizeof(flags), (void *)arguments[0])) {
			failed(program, SHIPWALL_HELPER_READ_USER);
			return 0;
		}
		if (call == SHIPWALL_CALL_CLONE)
			flags &= ~0xffULL; /* the exit signal */
	} else if (call == SHIPWALL_CALL_SETNS) {
		flags = (__u32)arguments[1];
	}
	if (call != SHIPWALL_CALL_SETNS && !(flags & CLONE_NEW_ANY))
		return 0;
	if (is_dull(setting, watch, scratch, task, call, ret, flags))
		return dismiss(watch, SHIPWALL_KIND_NAMESPACE);
	namespace = begin_call(scratch, task, cgroup_id, program, SHIPWALL_KIND_NAMESPACE, caller, ret, FIXED(namespace));
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
	const void *source = 0, *target = 0, *fstype = 0;
	struct shipwall_mount *mount;

	if (is_dull(setting, watch, scratch, task, call, ret, 0))
		return dismiss(watch, SHIPWALL_KIND_MOUNT);
	mount = begin_call(scratch, task, cgroup_id, program, SHIPWALL_KIND_MOUNT, caller, ret, FIXED(mount));
	if (call == SHIPWALL_CALL_MOUNT) {
		source = (void *)arguments[0];
		target = (void *)arguments[1];
		fstype = (void *)arguments[2];
		mount->flags = arguments[3];
	} else if (call == SHIPWALL_CALL_UMOUNT2) {
		target = (void *)arguments[0];
		mount->flags = arguments[1];
	} else if (call == SHIPWALL_CALL_MOVE_MOUNT) {
		source = (void *)arguments[1];
		target = (void *)arguments[3];
		mount->flags = arguments[4];
	} else if (call == SHIPWALL_CALL_OPEN_TREE) {
		source = (void *)arguments[1];
		mount->flags = arguments[2];
	} else if (call == SHIPWALL_CALL_FSOPEN) {
		fstype = (void *)arguments[0];
		mount->flags = arguments[1];
	} else if (call == SHIPWALL_CALL_PIVOT_ROOT) {
		source = (void *)arguments[0];
		target = (void *)arguments[1];
	} else {
		target = (void *)arguments[0];
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
	START(program)
	if (call == SHIPWALL_CALL_FCNTL && (__u32)arguments[1] != F_DUPFD && (__u32)arguments[1] != F_DUPFD_CLOEXEC)
		return 0;
	sk = socket_of(task, ret, program);
	if (!sk)
		return 0;
	if (is_dull(setting, watch, scratch, task, call, ret, 0))
		return dismiss(watch, SHIPWALL_KIND_DUPLICATE);
	duplicate = begin_call(scratch, task, cgroup_id, program, SHIPWALL_KIND_DUPLICATE, caller, ret, FIXED(duplicate));
	read_peer(sk, &peer, program);
	duplicate->old_fd = arguments[0];
	duplicate->new_fd = ret;
	duplicate->family = peer.family;
	duplicate->port = peer.port;
	__builtin_memcpy(duplicate->address, peer.address, sizeof(duplicate->address));
	if (peer.family == AF_UNIX)
		duplicate->path_length = put_unix_peer(scratch, sk, program);
	return emit(scratch, watch);
}

struct words {
	__u64 pointers;
	__u32 width; /* bytes of a pointer */
	__u32 used;
	__u32 whole;
};

static long put_argument(__u32 index, struct words *words)
{
	struct scratch *scratch = get_scratch();
	__u64 argument = 0;
	__u64 room = SHIPWALL_STRING_MAX - 1 - words->used;
	long length;

	if (!scratch || words->used >= SHIPWALL_STRING_MAX - 1)
		return 1;
	if (bpf_probe_read_user(&argument, words->width == 4 ? 4 : 8, (void *)(words->pointers + (__u64)index * words->width))) {
		failed(SHIPWALL_PROGRAM_EXEC_REFUSED, SHIPWALL_HELPER_READ_USER);
		return 1;
	}
	if (!argument) {
		words->whole = 1;
		return 1;
	}
	asm volatile("%[room] &= %[mask]" : [room] "+r"(room) : [mask] "i"(SHIPWALL_STRING_MAX - 1));
	length = bpf_probe_read_user_str(tail(scratch), room, (void *)argument);
	if (length < 1) {
		failed(SHIPWALL_PROGRAM_EXEC_REFUSED, SHIPWALL_HELPER_READ_USER);
		return 1;
	}
	grow(scratch, length);
	words->used += length;
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
	struct words words = {};
	struct shipwall_exec *exec;
	const void *asked;
	int dirfd = -100;
	char first = 0;

	if (ret >= 0 || ret == -ENOENT || ret == -ENOTDIR)
		return 0;
	START(program)
	if (call == SHIPWALL_CALL_EXECVEAT) {
		dirfd = arguments[0];
		asked = (void *)arguments[1];
		words.pointers = arguments[2];
	} else {
		asked = (void *)arguments[0];
		words.pointers = arguments[1];
	}
	words.width = caller.compat ? 4 : 8;
	exec = begin_call(scratch, task, cgroup_id, program, SHIPWALL_KIND_EXEC, caller, ret, FIXED(exec));
	if (asked && bpf_probe_read_user(&first, 1, asked))
		failed(program, SHIPWALL_HELPER_READ_USER);
	exec->path_length = put_start(scratch, task, first == '/', dirfd, program);
	exec->asked_length = put_user_string(scratch, asked, program);
	if (bpf_loop(SHIPWALL_ARGUMENTS_MAX, put_argument, &words, 0) < 0 || !words.whole)
		exec->bits |= SHIPWALL_EXEC_TRUNCATED;
	exec->argv_length = words.used;
	exec->old_uid = task->cred->euid.val;
	exec->login_uid = -1;
	if (bpf_probe_read_kernel(exec->parent_comm, sizeof(exec->parent_comm), &task->real_parent->comm))
		failed(program, SHIPWALL_HELPER_READ_KERNEL);
	return emit(scratch, watch);
}

/* Whether the generic handler has anything to tell of this call. */
static __always_inline bool is_told(struct shipwall_shape *shape, __u64 *arguments, long ret)
{
	if (shape->bits & SHIPWALL_SHAPE_ONLY_FAILED && ret >= 0)
		return 0;
	if (shape->bits & SHIPWALL_SHAPE_ONLY_EXEC && !(arguments[2] & PROT_EXEC))
		return 0;
	return !(shape->bits & SHIPWALL_SHAPE_WAITS && (ret == -EAGAIN || ret == -EINTR || ret <= -ERESTARTSYS));
}

/* The argument at `place`, 0 for none. */
static __always_inline __u64 at_place(struct scratch *scratch, __u32 place)
{
	return scratch->arguments[MASKED(place - 1, 7)];
}

/* Appends what a string of the call starts from: its root, working folder, or the folder of a descriptor. */
static __always_inline __u16 put_folder(struct scratch *scratch, struct task_struct *task, __u32 start, bool absolute, __u32 program)
{
	__u64 vfsmount, dentry;
	int fd = start == SHIPWALL_START_CWD ? AT_FDCWD : (int)at_place(scratch, start);

	if (absolute) {
		vfsmount = (__u64)BPF_CORE_READ(task, fs, root.mnt);
		dentry = (__u64)BPF_CORE_READ(task, fs, root.dentry);
	} else if (fd == AT_FDCWD) {
		vfsmount = (__u64)BPF_CORE_READ(task, fs, pwd.mnt);
		dentry = (__u64)BPF_CORE_READ(task, fs, pwd.dentry);
	} else {
		struct file *file = file_of(task, fd, program);

		if (!file)
			return 0;
		vfsmount = (__u64)BPF_CORE_READ(file, f_path.mnt);
		dentry = (__u64)BPF_CORE_READ(file, f_path.dentry);
	}
	return put_path(scratch, walk_to(vfsmount, dentry, program), program);
}

/* Appends string `index` of the call and, for a path, before it where it starts. */
static __always_inline void put_asked(struct scratch *scratch, struct task_struct *task, struct shipwall_shape *shape, __u32 index,
				      __u16 *start_length, __u16 *length, __u32 program)
{
	const void *asked;
	char first = 0;

	if (!shape->strings[index])
		return;
	asked = (void *)at_place(scratch, shape->strings[index]);
	if (asked && bpf_probe_read_user(&first, 1, asked))
		failed(program, SHIPWALL_HELPER_READ_USER);
	if (shape->starts[index])
		*start_length = put_folder(scratch, task, shape->starts[index], first == '/', program);
	*length = put_user_string(scratch, asked, program);
}

/* What the kernel knows of descriptor `index` of the call in the scratch: its file, and the ends of a socket. Appends its path. */
static __always_inline __u16 put_descriptor(struct scratch *scratch, struct shipwall_call *call, struct task_struct *task, __u32 index,
					    __u32 place, __u32 program)
{
	int fd = at_place(scratch, place);
	struct file *file;
	struct inode *inode;
	struct sock *sk;
	void *upper = 0;

	if (!place || fd < 0)
		return 0;
	file = file_of(task, fd, program);
	if (!file)
		return 0;
	inode = BPF_CORE_READ(file, f_inode);
	call->inode[index] = BPF_CORE_READ(inode, i_ino);
	call->device[index] = BPF_CORE_READ(inode, i_sb, s_dev);
	call->mode[index] = BPF_CORE_READ(inode, i_mode);
	if ((call->mode[index] & S_IFMT) == S_IFSOCK) {
		struct socket *socket = BPF_CORE_READ(file, private_data);
		struct peer peer = {};

		sk = socket ? BPF_CORE_READ(socket, sk) : 0;
		if (!sk)
			return 0;
		read_peer(sk, &peer, program);
		call->family[index] = peer.family;
		call->type[index] = peer.type;
		call->protocol[index] = peer.protocol;
		call->local_port[index] = peer.local_port;
		call->remote_port[index] = peer.port;
		__builtin_memcpy(&call->local[index * 16], peer.local, sizeof(peer.local));
		__builtin_memcpy(&call->remote[index * 16], peer.address, sizeof(peer.address));
		return peer.family == AF_UNIX ? put_unix_peer(scratch, sk, program) : 0;
	}
	if (BPF_CORE_READ(inode, i_sb, s_magic) == OVERLAYFS_SUPER_MAGIC) {
		if (bpf_probe_read_kernel(&upper, sizeof(upper), (void *)inode + bpf_core_type_size(struct inode)))
			failed(program, SHIPWALL_HELPER_READ_KERNEL);
		else
			call->layer[index] = upper ? SHIPWALL_LAYER_UPPER : SHIPWALL_LAYER_LOWER;
	}
	return put_path(scratch, walk_to((__u64)BPF_CORE_READ(file, f_path.mnt), (__u64)BPF_CORE_READ(file, f_path.dentry), program),
			program);
}

/* Appends at most ADDRESS_MAX bytes at the user's `from`. */
static __always_inline __u16 put_bytes(struct scratch *scratch, __u64 from, __u64 length, __u32 program)
{
	if (!from || !length)
		return 0;
	if (length > SHIPWALL_ADDRESS_MAX)
		length = SHIPWALL_ADDRESS_MAX;
	asm volatile("%[length] &= 255" : [length] "+r"(length));
	if (bpf_probe_read_user(tail(scratch), length, (void *)from)) {
		failed(program, SHIPWALL_HELPER_READ_USER);
		return 0;
	}
	grow(scratch, length);
	return length;
}

struct user_msghdr {
	__u64 name;
	__u32 name_length;
	__u32 pad;
	__u64 vectors;
	__u64 vector_count;
};

/* Appends the address of the msghdr at `from` and the head of its first buffer. Not for 32-bit callers, whose msghdr is another. */
static __always_inline void put_msghdr(struct scratch *scratch, struct shipwall_call *call, __u64 from, long ret, __u32 program)
{
	struct user_msghdr header = {};
	__u64 first[2] = {};

	if (bpf_probe_read_user(&header, sizeof(header), (void *)from)) {
		failed(program, SHIPWALL_HELPER_READ_USER);
		return;
	}
	call->address_length = put_bytes(scratch, header.name, header.name_length, program);
	if (!header.vector_count)
		return;
	if (bpf_probe_read_user(first, sizeof(first), (void *)header.vectors)) {
		failed(program, SHIPWALL_HELPER_READ_USER);
		return;
	}
	if (ret >= 0 && first[1] > ret)
		first[1] = ret;
	call->data_length = put_bytes(scratch, first[0], first[1], program);
}

/* Whether a described call is of no interest by its numbers alone. */
static __always_inline bool is_dull_call(struct scratch *scratch, struct task_struct *task, long ret, struct filtering filtering)
{
	begin_numbers(scratch, task, ret);
	for (int i = 0; i < 6; i++)
		scratch->numbers[SHIPWALL_NUMBER_ARGUMENT_0 + i] = scratch->arguments[i];
	see_numbers(filtering.key);
	return !may_match(filtering.key, atoms_of(filtering.key, FIRST) | atoms_of(filtering.key, SECOND));
}

/* Whether it is by the string of `place` as well, which has just been appended, with `length` bytes. A path that starts below a folder
 * (`start` bytes long: after chroot even an absolute one does) is not what the caller's memory says: nothing is certain of it. */
static __always_inline bool is_dull_string(struct scratch *scratch, __u32 place, __u32 start, __u32 length, struct filtering filtering)
{
	__u32 end = offsetof(struct scratch, record) + ((struct shipwall_header *)scratch->record)->size;
	__u64 atoms = atoms_of(filtering.key, place);

	if (!atoms)
		return 0;
	if (start > 1)
		scratch->may |= atoms;
	else
		see_string(filtering.key, place, end - length, length);
	return !may_match(filtering.key, place == FIRST ? atoms_of(filtering.key, SECOND) : 0);
}

/* Hook:       tail-called from dispatch for every described call without a family of its own (abi/calls.py).
 * Why:        one program and a table instead of a hundred programs: a call more is a line more, and the verifier sees it once.
 * Since:      6.1.
 * Misses:     what was named in memory is read after the call: a path of a call that returns no descriptor may have been rewritten
 *             meanwhile. The msghdr of 32-bit callers, the second and later buffers.
 * Cost:       one record per call; hot calls are not read unless asked for.
 * On failure: what cannot be read is reported empty. */
SEC("tp_btf/sys_exit")
int BPF_PROG(on_call, struct pt_regs *regs, long ret)
{
	const __u32 program = SHIPWALL_PROGRAM_CALL;
	START(program)
	struct shipwall_shape *shape = bpf_map_lookup_elem(&shapes, &call);
	struct filtering filtering;
	struct shipwall_call *record;
	__u64 size;

	if (!shape || !is_told(shape, arguments, ret))
		return 0;
	filtering = filter_of(setting, watch, call);
	if (filtering.number == SHIPWALL_FILTER_DROP || (filtering.number && is_dull_call(scratch, task, ret, filtering)))
		return dismiss(watch, SHIPWALL_KIND_CALL);
	record = begin_call(scratch, task, cgroup_id, program, SHIPWALL_KIND_CALL, caller, ret, FIXED(call));
	for (int i = 0; i < 6; i++)
		record->arguments[i] = arguments[i];
	put_asked(scratch, task, shape, 0, &record->first_start_length, &record->first_length, program);
	if (filtering.number && is_dull_string(scratch, FIRST, record->first_start_length, record->first_length, filtering))
		return dismiss(watch, SHIPWALL_KIND_CALL);
	put_asked(scratch, task, shape, 1, &record->second_start_length, &record->second_length, program);
	if (filtering.number && is_dull_string(scratch, SECOND, record->second_start_length, record->second_length, filtering))
		return dismiss(watch, SHIPWALL_KIND_CALL);
	if (!has_room(scratch)) { /* four whole paths: nothing else of this call is worth as much */
		record->bits = SHIPWALL_CALL_TRUNCATED;
		return emit(scratch, watch);
	}
	record->first_path_length = put_descriptor(scratch, record, task, 0, shape->descriptors[0], program);
	if (has_room(scratch))
		record->second_path_length = put_descriptor(scratch, record, task, 1, shape->descriptors[1], program);
	if (!has_room(scratch)) {
		record->bits = SHIPWALL_CALL_TRUNCATED;
		return emit(scratch, watch);
	}
	if (shape->bits & SHIPWALL_SHAPE_MSGHDR) {
		if (!caller.compat)
			put_msghdr(scratch, record, at_place(scratch, shape->address), ret, program);
		return emit(scratch, watch);
	}
	if (shape->address)
		record->address_length =
			put_bytes(scratch, at_place(scratch, shape->address), (__u32)at_place(scratch, shape->address_size), program);
	if (shape->data) {
		size = at_place(scratch, shape->data_size);
		if (ret >= 0 && size > ret)
			size = ret;
		record->data_length = put_bytes(scratch, at_place(scratch, shape->data), size, program);
	}
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

#define NS_PER_S 1000000000ULL
#define CAP_DAC_OVERRIDE 1
#define CTIME_NSEC 0x3fffffff /* a bit above says that somebody has read it */
#define PIDTYPE_PGID 2
#define PIDTYPE_SID 3

/* Times of `inode` in nanoseconds since 1970. */
static __always_inline void read_times(struct inode *inode, __u64 *modified, __u64 *changed)
{
	struct inode___times *old = (void *)inode;

	if (bpf_core_field_exists(inode->i_mtime_sec)) {
		*modified = BPF_CORE_READ(inode, i_mtime_sec) * NS_PER_S + BPF_CORE_READ(inode, i_mtime_nsec);
		*changed = BPF_CORE_READ(inode, i_ctime_sec) * NS_PER_S + (BPF_CORE_READ(inode, i_ctime_nsec) & CTIME_NSEC);
	} else if (bpf_core_field_exists(old->__i_mtime)) {
		*modified = BPF_CORE_READ(old, __i_mtime.tv_sec) * NS_PER_S + BPF_CORE_READ(old, __i_mtime.tv_nsec);
		*changed = BPF_CORE_READ(old, __i_ctime.tv_sec) * NS_PER_S + BPF_CORE_READ(old, __i_ctime.tv_nsec);
	} else if (bpf_core_field_exists(old->i_mtime)) {
		*modified = BPF_CORE_READ(old, i_mtime.tv_sec) * NS_PER_S + BPF_CORE_READ(old, i_mtime.tv_nsec);
		if (bpf_core_field_exists(old->__i_ctime))
			*changed = BPF_CORE_READ(old, __i_ctime.tv_sec) * NS_PER_S + BPF_CORE_READ(old, __i_ctime.tv_nsec);
		else
			*changed = BPF_CORE_READ(old, i_ctime.tv_sec) * NS_PER_S + BPF_CORE_READ(old, i_ctime.tv_nsec);
	}
}

/* A set of capabilities: two words up to 6.2, one since, the same eight bytes. */
static __always_inline __u64 read_capabilities(const void *from, __u32 program)
{
	__u64 capabilities = 0;

	if (bpf_probe_read_kernel(&capabilities, sizeof(capabilities), from))
		failed(program, SHIPWALL_HELPER_READ_KERNEL);
	return capabilities;
}

/* Number of `pid`, in the root namespace or (`own`) in its own one. */
static __always_inline __u32 number_of(struct pid *pid, bool own, __u32 program)
{
	__u32 number = 0, level;

	if (!pid)
		return 0;
	level = own ? pid->level : 0;
	if (bpf_probe_read_kernel(&number, sizeof(number),
				  (void *)pid + bpf_core_field_offset(struct pid, numbers) + level * bpf_core_type_size(struct upid)))
		failed(program, SHIPWALL_HELPER_READ_KERNEL);
	return number;
}

/* What rules ask about a new program and only the kernel knows cheaply. */
static __always_inline void fill_identity(struct shipwall_exec *exec, struct task_struct *task, struct file *file, __u32 program)
{
	const struct cred *cred = task->cred;
	struct inode *inode = file->f_inode;
	struct tty_struct *tty = task->signal->tty;
	__u32 mode = inode->i_mode;

	read_times(inode, &exec->mtime_ns, &exec->ctime_ns);
	exec->cap_effective = read_capabilities((void *)cred + bpf_core_field_offset(struct cred, cap_effective), program);
	exec->cap_permitted = read_capabilities((void *)cred + bpf_core_field_offset(struct cred, cap_permitted), program);
	exec->cap_inheritable = read_capabilities((void *)cred + bpf_core_field_offset(struct cred, cap_inheritable), program);
	exec->session = number_of(task->signal->pids[PIDTYPE_SID], 0, program);
	exec->group = number_of(task->signal->pids[PIDTYPE_PGID], 0, program);
	exec->ns_group = number_of(task->signal->pids[PIDTYPE_PGID], 1, program);
	if (tty)
		exec->tty = BPF_CORE_READ(tty, driver, major) * 256 + BPF_CORE_READ(tty, driver, minor_start) + BPF_CORE_READ(tty, index);
	exec->login_uid = bpf_core_field_exists(task->loginuid) ? BPF_CORE_READ(task, loginuid.val) : -1;
	mode >>= cred->fsuid.val == inode->i_uid.val ? 6 : cred->fsgid.val == inode->i_gid.val ? 3 : 0;
	if (mode & 2 || exec->cap_effective & 1 << CAP_DAC_OVERRIDE)
		exec->bits |= SHIPWALL_EXEC_USER_WRITABLE;
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
	struct shipwall_settings *setting;
	struct vfsmount *vfsmount;
	struct file *file;
	__u32 at, zero = 0;
	__u64 length;
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
	fill_identity(exec, task, file, program);
	exec->origin = origin_of(file, watch, root, program);
	exec->bits |= SHIPWALL_EXEC_RESOLVED;
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
	exec->cwd_length = put_path(scratch, walk_path(task->fs->pwd.mnt, task->fs->pwd.dentry, program), program);
	setting = bpf_map_lookup_elem(&settings, &zero);
	if (setting && setting->bits & SHIPWALL_SETTING_ENVIRONMENT) {
		length = task->mm->env_end - task->mm->env_start;
		if (length > SHIPWALL_STRING_MAX - 1 || !has_room(scratch)) {
			length = has_room(scratch) ? SHIPWALL_STRING_MAX - 1 : 0;
			exec->bits |= SHIPWALL_EXEC_TRUNCATED;
		}
		asm volatile("%[length] &= %[mask]" : [length] "+r"(length) : [mask] "i"(SHIPWALL_STRING_MAX - 1));
		if (bpf_probe_read_user(tail(scratch), length, (void *)task->mm->env_start)) {
			failed(program, SHIPWALL_HELPER_READ_USER);
		} else {
			exec->environment_length = length;
			grow(scratch, length);
		}
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
	struct shipwall_settings *setting;
	struct shipwall_fork *fork;
	struct scratch *scratch;
	struct caller caller;
	struct pt_regs *regs;
	__u32 zero = 0;

	if (!watch || child->pid != child->tgid)
		return 0;
	scratch = get_scratch();
	if (!scratch) {
		failed(program, SHIPWALL_HELPER_SCRATCH);
		return 0;
	}
	setting = bpf_map_lookup_elem(&settings, &zero);
	regs = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
	if (!setting)
		return 0;
	caller = caller_of(bpf_get_current_task_btf(), regs, setting);
	read_arguments(scratch, regs, caller, 0, program);
	fork = begin_call(scratch, parent, cgroup_id, program, SHIPWALL_KIND_FORK, caller, 0, FIXED(fork));
	if (caller.call == SHIPWALL_CALL_CLONE)
		fork->flags = scratch->arguments[0] & ~0xffULL; /* the exit signal */
	else if (caller.call == SHIPWALL_CALL_CLONE3 &&
		 bpf_probe_read_user(&fork->flags, sizeof(fork->flags), (void *)scratch->arguments[0]))
		failed(program, SHIPWALL_HELPER_READ_USER);
	fork->child_pid = child->tgid;
	fork->child_ns_pid = ns_pid_of(child, program);
	if (fork->flags & CLONE_NEW_ANY)
		((struct shipwall_header *)scratch->record)->bits |= SHIPWALL_HEADER_HURRIES;
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
	give_counting(watch);
	if (watch->slot == SHIPWALL_NO_SLOT)
		return bpf_map_delete_elem(&crowded, &id) ? 0 : 1;
	watch->flags = 0;
	watch->sequence = 0;
	watch->produced_bytes = 0;
	watch->consumed_bytes = 0;
	watch->root_device = 0;
	__builtin_memset(watch->lost, 0, sizeof(watch->lost));
	__builtin_memset(watch->over, 0, sizeof(watch->over));
	__builtin_memset(watch->filtered, 0, sizeof(watch->filtered));
	watch->cgroup_id = 0;
	return 1;
}
