/* Files: from a descriptor to its path and its origin, without any lock. */
#ifndef SHIPWALL_PATHS_H
#define SHIPWALL_PATHS_H

#include "emit.h"

#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFREG 0100000
#define S_IFBLK 0060000
#define OVERLAYFS_SUPER_MAGIC 0x794c7630
#define TMPFS_MAGIC 0x01021994
#define RAMFS_MAGIC 0x858458f6
#define HUGETLBFS_MAGIC 0x958458f6
#define SB_RDONLY 1
#define SB_KERNMOUNT (1 << 22)
#define MNT_READONLY 0x40

/* The open file behind descriptor `fd` of `task`. Another thread may have replaced it since the call returned. */
static __always_inline struct file *file_of(struct task_struct *task, __u32 fd, __u32 program)
{
	struct fdtable *table = task->files->fdt;
	struct file **files, *file = 0;

	if (!table || fd >= table->max_fds)
		return 0;
	files = table->fd;
	if (bpf_probe_read_kernel(&file, sizeof(file), files + fd))
		failed(program, SHIPWALL_HELPER_READ_KERNEL);
	return file;
}

struct walk {
	struct dentry *dentry;
	struct dentry *root; /* of the mount walked in */
	struct mount *mount;
	__u32 at; /* the path is scratch->path[at ..] */
	__u32 whole; /* the root was reached */
};

static __always_inline void put_component(struct scratch *scratch, struct walk *walk, struct dentry *dentry)
{
	struct qstr name;
	__u64 at = walk->at, length;

	walk->at = 0; /* until it is known better: a path with a part missing would be worse than none */
	if (bpf_core_read(&name, sizeof(name), &dentry->d_name))
		return;
	length = name.hash_len >> 32;
	asm volatile("%[length] &= 255" : [length] "+r"(length));
	if (at < length + 1)
		return;
	at -= length;
	asm volatile("%[at] &= %[mask]" : [at] "+r"(at) : [mask] "i"(SHIPWALL_STRING_MAX - 1));
	if (bpf_probe_read_kernel(&scratch->path[at], length, name.name))
		return;
	at -= 1;
	asm volatile("%[at] &= %[mask]" : [at] "+r"(at) : [mask] "i"(SHIPWALL_STRING_MAX - 1));
	scratch->path[at] = '/';
	walk->at = at;
}

static __always_inline long step_up(struct walk *walk)
{
	struct scratch *scratch = get_scratch();
	struct dentry *dentry = walk->dentry, *parent;
	struct mount *mount = walk->mount, *above;

	if (!scratch || !walk->at)
		return 1;
	if (dentry == walk->root) {
		above = BPF_CORE_READ(mount, mnt_parent);
		if (!above || above == mount) {
			walk->whole = 1;
			return 1;
		}
		walk->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
		walk->mount = above;
		walk->root = BPF_CORE_READ(above, mnt.mnt_root);
		return 0;
	}
	parent = BPF_CORE_READ(dentry, d_parent);
	put_component(scratch, walk, dentry);
	if (parent == dentry) { /* a pseudo file (memfd, pipe), in no tree */
		walk->whole = walk->at != 0;
		return 1;
	}
	walk->dentry = parent;
	return 0;
}

static long walk_up(__u32 index, struct walk *walk)
{
	return step_up(walk);
}

/* Writes the path of `dentry` in `vfsmount` to the end of scratch->path; where it starts. It is the path in the file's own tree of
 * mounts, up to that tree's root whatever the process's chroot is. Walked without locks: a rename at the same moment may mix both. */
static __always_inline __u32 walk_path(struct vfsmount *vfsmount, struct dentry *dentry, __u32 program)
{
	struct walk walk = {
		.dentry = dentry,
		.root = BPF_CORE_READ(vfsmount, mnt_root),
		.mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt),
		.at = SHIPWALL_STRING_MAX,
	};

	long done = 0;

	/* Most paths end within a few steps, and each round of bpf_loop is an indirect call. */
	for (int i = 0; i < 6 && !done; i++)
		done = step_up(&walk);
	if (!done && bpf_loop(SHIPWALL_COMPONENTS_MAX, walk_up, &walk, 0) < 0)
		walk.whole = 0;
	if (!walk.whole)
		failed(program, SHIPWALL_HELPER_READ_KERNEL);
	return walk.at;
}

/* Verified once for all places it is called from. */
__noinline __u32 walk_to(__u64 vfsmount, __u64 dentry, __u32 program)
{
	return walk_path((void *)vfsmount, (void *)dentry, program);
}

/* Appends the walked path; its length. */
static __always_inline __u16 put_path(struct scratch *scratch, __u32 at, __u32 program)
{
	__u64 length = SHIPWALL_STRING_MAX - at;
	__u8 *to = tail(scratch);

	if (at >= SHIPWALL_STRING_MAX) { /* the root itself */
		*to = '/';
		grow(scratch, 1);
		return 1;
	}
	asm volatile("%[length] &= %[mask]" : [length] "+r"(length) : [mask] "i"(SHIPWALL_STRING_MAX - 1));
	if (bpf_probe_read_kernel(to, length, &scratch->path[at & (SHIPWALL_STRING_MAX - 1)])) {
		failed(program, SHIPWALL_HELPER_READ_KERNEL);
		return 0;
	}
	grow(scratch, length);
	return length;
}

/* Whether the `length` bytes at `path` (kernel memory) start with a wanted prefix. */
static __always_inline bool is_wanted(struct scratch *scratch, const void *path, __u64 length, __u32 program)
{
	if (length > SHIPWALL_PREFIX_MAX)
		length = SHIPWALL_PREFIX_MAX;
	scratch->prefix.bits = length * 8;
	if (bpf_probe_read_kernel(scratch->prefix.path, length, path)) {
		failed(program, SHIPWALL_HELPER_READ_KERNEL);
		return 1;
	}
	return bpf_map_lookup_elem(&prefixes, &scratch->prefix) != 0;
}

extern int LINUX_KERNEL_VERSION __kconfig;
extern void *bpf_rdonly_cast(const void *from, __u32 type) __ksym __weak;

#define SINCE_6_2 (6 << 16 | 2 << 8)
#define TYPED(type, from) ((struct type *)bpf_rdonly_cast(from, bpf_core_type_id_kernel(struct type)))
#define WORD_STEPS 10
#define INLINE_NAME 32 /* a shorter name always lies in the dentry */
#define WORD_MULTIPLIER 0x9e3779b97f4a7c15ULL /* abi/words.py */
#define WORD_SHIFT 52
#define PREFIX_WORDS 0

/* Whether a path whose first bytes are `word` may begin with a prefix of `set` (WORD_SETS of the schema). */
static __always_inline bool may_begin(struct shipwall_settings *setting, __u32 set, __u64 word)
{
	__u32 lengths = setting->word_lengths[MASKED(set, SHIPWALL_WORD_SETS - 1)];

	for (int length = 1; length <= 8; length++) {
		__u64 place = length == 8 ? word : word & ((1ULL << (8 * (length & 7))) - 1);

		if (!(lengths & 1 << (length - 1)))
			continue;
		asm volatile("" : "+r"(place)); /* nothing below is worth doing for a length that does not occur */
		place = ((place + length) * WORD_MULTIPLIER) >> WORD_SHIFT;
		if (setting->words[MASKED(set * 64 + (place >> 6), SHIPWALL_WORD_SETS * 64 - 1)] & 1ULL << (place & 63))
			return 1;
	}
	return 0;
}

/* The first up to eight bytes of the name of `dentry`, its length in `length`: 0 for one too long to lie in the dentry itself. */
static __always_inline __u64 name_word(struct dentry *dentry, __u32 *length)
{
	struct dentry___named *old = (void *)dentry;
	__u64 word;

	if (bpf_core_field_exists(dentry->d_shortname))
		word = *(__u64 *)((void *)dentry + bpf_core_field_offset(dentry->d_shortname));
	else
		word = *(__u64 *)((void *)dentry + bpf_core_field_offset(old->d_iname));
	*length = dentry->d_name.hash_len >> 32;
	if (*length >= INLINE_NAME)
		*length = 0;
	return *length >= 8 ? word : word & ((1ULL << (8 * (*length & 7))) - 1);
}

/* The first eight bytes of the path of `file`, by walking pointers only; 0 when that is not known: then walk it whole. */
static __always_inline __u64 first_word(struct file *file)
{
	struct dentry *dentry = file->f_path.dentry, *first = 0, *second = 0;
	struct mount *mount = TYPED(mount, (void *)file->f_path.mnt - bpf_core_field_offset(struct mount, mnt));
	struct dentry *root = mount->mnt.mnt_root;
	__u32 length, more;
	__u64 word;

#pragma clang loop unroll(full)
	for (int i = 0; i < WORD_STEPS; i++) {
		if (dentry == root) {
			struct mount *above = mount->mnt_parent;

			if (above == mount)
				goto whole;
			dentry = mount->mnt_mountpoint;
			mount = above;
			root = mount->mnt.mnt_root;
		} else {
			second = first;
			first = dentry;
			dentry = dentry->d_parent;
			if (dentry == first) /* in no tree */
				return 0;
		}
	}
	return 0;
whole:
	if (!first)
		return '/';
	word = name_word(first, &length);
	word = word << 8 | '/';
	if (!length || length >= 7 || !second)
		return length ? word : 0;
	word |= (__u64)'/' << (8 * ((length + 1) & 7));
	if (length >= 6)
		return word;
	first = second;
	return word | name_word(first, &more) << (8 * ((length + 2) & 7));
}

/* Appends the folder from which the refused `asked` (just appended, `length` bytes, or empty) starts: the process's root for an
 * absolute one, else its working folder or the folder of `dirfd`. Its length. */
static __always_inline __u16 put_start(struct scratch *scratch, struct task_struct *task, bool absolute, int dirfd, __u32 program)
{
	struct vfsmount *vfsmount;
	struct dentry *dentry;

	if (absolute) {
		vfsmount = BPF_CORE_READ(task, fs, root.mnt);
		dentry = BPF_CORE_READ(task, fs, root.dentry);
	} else if (dirfd == -100) { /* AT_FDCWD */
		vfsmount = BPF_CORE_READ(task, fs, pwd.mnt);
		dentry = BPF_CORE_READ(task, fs, pwd.dentry);
	} else {
		struct file *file = file_of(task, dirfd, program);

		if (!file)
			return 0;
		vfsmount = BPF_CORE_READ(file, f_path.mnt);
		dentry = BPF_CORE_READ(file, f_path.dentry);
	}
	return put_path(scratch, walk_to((__u64)vfsmount, (__u64)dentry, program), program);
}

#endif
