/* The name guard: files whose names a container's rules refuse are not opened, made, removed, renamed or executed.
 *
 * An optional group: BPF LSM programs load only where the kernel's list of security modules names bpf and its lockdown allows it. Without
 * them opens are refused by fanotify, and nothing refuses the rest. A name is the path inside the file system it lies on: inside the
 * container for its root, inside the volume for a volume. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "kernel_types.h"

#define EPERM 1

char programs_license[] SEC("license") = "GPL";

enum names_constant {
	NAMES_PATH = 256,
	NAMES_KEY = 248, /* what a trie takes beside the policy; longer paths are not matched, and counted */
	NAMES_DEPTH = 24,
	NAMES_OPEN = 1,
	NAMES_CREATE = 2,
	NAMES_REMOVE = 4,
	NAMES_RENAME = 8,
	NAMES_EXEC = 16,
	NAMES_MONITOR = 0x100, /* only counted */
	NAMES_ENTRIES = 16384,
	NAMES_LEVELS = 8,
};

/* Prefixes of paths: a name that ends in its terminator is a whole path. */
struct names_key {
	__u32 bits;
	__u32 policy;
	char path[NAMES_KEY];
};

struct names_counts {
	__u64 denied, would, too_long;
};

/* Keeps the types above in the BTF of the object. */
union names_types {
	struct names_key key;
	struct names_counts counts;
	enum names_constant constant;
} *names_types_kept __attribute__((used));

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, NAMES_ENTRIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct names_key);
	__type(value, __u32); /* the acts that are refused */
} names SEC(".maps");

/* The policy of a container's cgroup; what lies below it has the same. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u32);
} name_policies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32); /* policy */
	__type(value, struct names_counts);
} name_counts SEC(".maps");

struct names_scratch {
	char backward[2 * NAMES_PATH];
	struct names_key key;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct names_scratch);
} name_scratches SEC(".maps");

static __always_inline __u32 policy_here(void)
{
	for (int level = 1; level < NAMES_LEVELS; level++) {
		__u64 id = bpf_get_current_ancestor_cgroup_id(level);
		__u32 *policy;

		if (!id)
			break;
		policy = bpf_map_lookup_elem(&name_policies, &id);
		if (policy)
			return *policy;
	}
	return 0;
}

/* The path of `dentry` in its file system, written from its end; where it begins, or 0 when it is too long. */
static __always_inline __u32 write_backward(struct names_scratch *scratch, struct dentry *dentry)
{
	__u32 at = NAMES_PATH - 1;

	scratch->backward[at] = 0;
	for (int depth = 0; depth < NAMES_DEPTH; depth++) {
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
		__u32 length = BPF_CORE_READ(dentry, d_name.len);

		if (parent == dentry)
			return at == NAMES_PATH - 1 ? 0 : at;
		if (length + 1 > at)
			return 0;
		at -= length;
		at &= NAMES_PATH - 1;
		if (bpf_probe_read_kernel(&scratch->backward[at], length & (NAMES_PATH - 1), BPF_CORE_READ(dentry, d_name.name)))
			return 0;
		at = (at - 1) & (NAMES_PATH - 1);
		scratch->backward[at] = '/';
		dentry = parent;
	}
	return 0;
}

static __always_inline int judge(struct dentry *dentry, __u32 act)
{
	__u32 policy = policy_here(), zero = 0, at, *refused;
	struct names_scratch *scratch;
	struct names_counts *counts;

	if (!policy)
		return 0;
	scratch = bpf_map_lookup_elem(&name_scratches, &zero);
	counts = bpf_map_lookup_elem(&name_counts, &policy);
	if (!scratch || !counts)
		return 0;
	at = write_backward(scratch, dentry);
	if (at < NAMES_PATH - NAMES_KEY) {
		__sync_fetch_and_add(&counts->too_long, 1);
		return 0;
	}
	scratch->key.bits = 32 + 8 * NAMES_KEY;
	scratch->key.policy = policy;
	bpf_probe_read_kernel(scratch->key.path, NAMES_KEY, &scratch->backward[at & (NAMES_PATH - 1)]);
	refused = bpf_map_lookup_elem(&names, &scratch->key);
	if (!refused || !(*refused & act))
		return 0;
	if (*refused & NAMES_MONITOR) {
		__sync_fetch_and_add(&counts->would, 1);
		return 0;
	}
	__sync_fetch_and_add(&counts->denied, 1);
	return -EPERM;
}

/* Hook: lsm/file_open, inode_create, inode_unlink, inode_rename, bprm_check_security.
 * Why these: they run before the act and their answer is the caller's error, for every way into the kernel, io_uring too. A signal at the
 *   call lets creating, removing and renaming complete; fanotify is told of them afterwards.
 * Since: 5.7. Needs bpf among the active security modules; refused under lockdown.
 * Misses: hard links and symbolic links (inode_link, inode_symlink), folders (inode_mkdir), paths over 247 bytes or 24 levels (counted).
 * Cost: not measured outside an emulator. On failure (does not load): open, and `shipwall doctor` says so. */
SEC("lsm/file_open")
int BPF_PROG(name_open, struct file *file, int before)
{
	return before ? before : judge(BPF_CORE_READ(file, f_path.dentry), NAMES_OPEN);
}

SEC("lsm/inode_create")
int BPF_PROG(name_create, struct inode *folder, struct dentry *dentry, unsigned short mode, int before)
{
	return before ? before : judge(dentry, NAMES_CREATE);
}

SEC("lsm/inode_unlink")
int BPF_PROG(name_remove, struct inode *folder, struct dentry *dentry, int before)
{
	return before ? before : judge(dentry, NAMES_REMOVE);
}

SEC("lsm/inode_rename")
int BPF_PROG(name_rename, struct inode *old_folder, struct dentry *old, struct inode *new_folder, struct dentry *new, int before)
{
	if (before)
		return before;
	before = judge(old, NAMES_RENAME);
	return before ? before : judge(new, NAMES_RENAME);
}

SEC("lsm/bprm_check_security")
int BPF_PROG(name_exec, struct linux_binprm *program, int before)
{
	return before ? before : judge(BPF_CORE_READ(program, file, f_path.dentry), NAMES_EXEC);
}
