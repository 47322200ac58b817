/* Maps, watched cgroups, the per-CPU scratch in which a record is built, and its way into the ring. */
#ifndef SHIPWALL_EMIT_H
#define SHIPWALL_EMIT_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "kernel_types.h"
#include "shipwall_abi.h"

#define EPERM 1
#define E2BIG 7

union shipwall_abi *shipwall_abi_kept __attribute__((used));

/* `value` within `mask`, in a way the compiler cannot prove superfluous: the verifier would not follow its proof. */
#define MASKED(value, mask)                                                             \
	({                                                                              \
		__u64 masked_ = (value);                                                \
		asm volatile("%[at] &= %[bits]" : [at] "+r"(masked_) : [bits] "i"(mask)); \
		masked_;                                                                \
	})

#define SCRATCH_BYTES 32768 /* the most a per-CPU value may have */

struct scratch {
	union {
		struct {
			__u64 arguments[8]; /* of the call that ended, its result after them */
			__u8 record[SHIPWALL_TAIL_MAX + SHIPWALL_STRING_MAX];
			__u8 path[SHIPWALL_STRING_MAX + 256];
			__u8 asked[SHIPWALL_STRING_MAX]; /* what an open was asked for */
			struct shipwall_watch fresh; /* one that is being made */
			__s64 numbers[SHIPWALL_NUMBER_COUNT]; /* what the filter asks for */
			__u64 may; /* what it has seen: atoms that may hold, and that must */
			__u64 must;
			struct shipwall_prefix prefix;
			struct shipwall_parent parent;
			char name[128];
		};
		__u8 bytes[SCRATCH_BYTES]; /* any of it, by a masked place */
	};
};

_Static_assert(sizeof(struct scratch) == SCRATCH_BYTES, "any place of the scratch is found by masking");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 * 1024 * 1024);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct shipwall_settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SHIPWALL_WATCH_SLOTS);
	__type(key, __u32);
	__type(value, struct shipwall_watch);
} watches SEC(".maps");

/* Per container and call: 0 is the slot of all containers that found no own one. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SHIPWALL_COUNT_SLOTS + 1);
	__type(key, __u32);
	__type(value, struct shipwall_counts);
} counts SEC(".maps");

/* The cgroup that has each slot of `counts`, 0 none. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SHIPWALL_COUNT_SLOTS + 1);
	__type(key, __u32);
	__type(value, __u64);
} counting SEC(".maps");

/* What the generic handler does for each call. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SHIPWALL_CALLS_MAX);
	__type(key, __u32);
	__type(value, struct shipwall_shape);
} shapes SEC(".maps");

/* Cgroups whose slot in `watches` belongs to another. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct shipwall_watch);
} crowded SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct shipwall_prefix);
	__type(value, __u8);
} prefixes SEC(".maps");

/* Parents below which the engine will make its containers, by path: marked when they appear. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct shipwall_parent);
	__type(value, __u8);
} parents SEC(".maps");

/* Mount namespaces (of engines and of this host) in which nothing is killed: a container's first process starts there. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u8);
} left_namespaces SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} failures SEC(".maps");

/* A helper of `program` failed: counted, never silent. */
static __always_inline void failed(__u32 program, __u32 helper)
{
	__u32 index = program * SHIPWALL_HELPER_COUNT + helper;
	__u64 *count = bpf_map_lookup_elem(&failures, &index);

	if (count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline struct scratch *get_scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratches, &zero);
}

static __always_inline __u64 cgroup_of(struct task_struct *task)
{
	return task->cgroups->dfl_cgrp->kn->id;
}

/* The watched cgroup `id`, or none. For an unwatched one this is an index, a load and a comparison. */
static __always_inline struct shipwall_watch *find_watch(__u64 id)
{
	__u32 index = id & (SHIPWALL_WATCH_SLOTS - 1);
	struct shipwall_watch *watch = bpf_map_lookup_elem(&watches, &index);

	if (!watch || watch->cgroup_id == id)
		return watch;
	if (!watch->collided)
		return 0;
	return bpf_map_lookup_elem(&crowded, &id);
}

struct slot_search {
	__u64 cgroup_id;
	__u32 found;
};

static long try_slot(__u32 index, struct slot_search *search)
{
	__u32 slot = index + 1;
	__u64 *owner = bpf_map_lookup_elem(&counting, &slot);

	if (!owner || __sync_val_compare_and_swap(owner, 0, search->cgroup_id))
		return 0;
	search->found = slot;
	return 1;
}

/* A slot of `counts` for the cgroup `id`, 0 when none is left. Only when a cgroup becomes watched. */
static __always_inline __u32 take_counting(__u64 id)
{
	struct slot_search search = { .cgroup_id = id };

	bpf_loop(SHIPWALL_COUNT_SLOTS, try_slot, &search, 0);
	return search.found;
}

static __always_inline void give_counting(struct shipwall_watch *watch)
{
	__u32 slot = watch->counting;
	__u64 *owner = bpf_map_lookup_elem(&counting, &slot);

	watch->counting = 0;
	if (slot && owner)
		*owner = 0;
}

/* The watch of `id`, made if need be with no flags. */
static __always_inline struct shipwall_watch *make_watch(__u64 id, __u32 program)
{
	__u32 index = id & (SHIPWALL_WATCH_SLOTS - 1);
	struct shipwall_watch *watch = find_watch(id);
	struct scratch *scratch = get_scratch();
	struct shipwall_watch *fresh;

	if (watch || !scratch)
		return watch;
	watch = bpf_map_lookup_elem(&watches, &index);
	if (!watch)
		return 0;
	if (__sync_val_compare_and_swap(&watch->cgroup_id, 0, id) == 0) {
		watch->slot = index;
		watch->counting = take_counting(id);
		return watch;
	}
	fresh = &scratch->fresh;
	__builtin_memset(fresh, 0, sizeof(*fresh));
	fresh->cgroup_id = id;
	fresh->slot = SHIPWALL_NO_SLOT;
	fresh->counting = take_counting(id);
	if (bpf_map_update_elem(&crowded, &id, fresh, BPF_NOEXIST)) {
		give_counting(fresh);
		failed(program, SHIPWALL_HELPER_MAP_UPDATE);
		return 0;
	}
	watch->collided = 1;
	return bpf_map_lookup_elem(&crowded, &id);
}

static __always_inline struct shipwall_watch *producing(__u64 id)
{
	struct shipwall_watch *watch = find_watch(id);

	return watch && (watch->flags & SHIPWALL_WATCH_EVENTS) ? watch : 0;
}

static __always_inline __u32 ns_pid_of(struct task_struct *task, __u32 program)
{
	struct pid *pid = task->signal->pids[1]; /* PIDTYPE_TGID */
	__u32 level, number = 0;

	if (!pid)
		return 0;
	level = pid->level;
	if (bpf_probe_read_kernel(&number, sizeof(number),
				  (void *)pid + bpf_core_field_offset(struct pid, numbers) + level * bpf_core_type_size(struct upid)))
		failed(program, SHIPWALL_HELPER_READ_KERNEL);
	return number;
}

/* Starts a record in the scratch: the header of `task`, the fixed part of `size` bytes zeroed. */
static __always_inline void *begin(struct scratch *scratch, struct task_struct *task, __u64 cgroup_id, __u32 program, __u16 kind,
				   __u16 call, __s64 ret, __u32 size)
{
	struct shipwall_header *header = (void *)scratch->record;
	void *fixed = scratch->record + sizeof(*header);

	header->time_ns = bpf_ktime_get_boot_ns();
	header->cgroup_id = cgroup_id;
	header->ret = ret;
	header->pid = task->tgid;
	header->tid = task->pid;
	header->ppid = task->real_parent->tgid;
	header->ns_pid = ns_pid_of(task, program);
	header->uid = task->cred->euid.val;
	header->gid = task->cred->egid.val;
	header->size = sizeof(*header) + size;
	header->kind = kind;
	header->call = call;
	header->bits = 0;
	if (bpf_probe_read_kernel(header->comm, sizeof(header->comm), &task->comm))
		failed(program, SHIPWALL_HELPER_READ_KERNEL);
	__builtin_memset(fixed, 0, size);
	return fixed;
}

/* Where the next string goes. */
static __always_inline __u8 *tail(struct scratch *scratch)
{
	__u64 at = ((struct shipwall_header *)scratch->record)->size;

	/* Without this the compiler may prove the mask superfluous, and the verifier cannot follow its proof. */
	asm volatile("%[at] &= %[mask]" : [at] "+r"(at) : [mask] "i"(SHIPWALL_TAIL_MAX - 1));
	return &scratch->record[at];
}

/* Whether a string may still follow: `record` has room for one more after any place that `tail` can give. */
static __always_inline bool has_room(struct scratch *scratch)
{
	return ((struct shipwall_header *)scratch->record)->size < SHIPWALL_TAIL_MAX;
}

static __always_inline void grow(struct scratch *scratch, __u32 by)
{
	((struct shipwall_header *)scratch->record)->size += by;
}

/* Appends the string at the user's address `from`; its length. */
static __always_inline __u16 put_user_string(struct scratch *scratch, const void *from, __u32 program)
{
	long length;

	if (!from)
		return 0;
	length = bpf_probe_read_user_str(tail(scratch), SHIPWALL_STRING_MAX, from);
	if (length < 1) {
		failed(program, SHIPWALL_HELPER_READ_USER);
		return 0;
	}
	grow(scratch, length - 1);
	return length - 1;
}

static __always_inline __u16 put_kernel_string(struct scratch *scratch, const void *from, __u32 program)
{
	long length = bpf_probe_read_kernel_str(tail(scratch), SHIPWALL_STRING_MAX, from);

	if (length < 1) {
		failed(program, SHIPWALL_HELPER_READ_KERNEL);
		return 0;
	}
	grow(scratch, length - 1);
	return length - 1;
}

/* Whether the unread records of this cgroup may become more. Its share is what is free (and never more than its credit): one flooding
 * container gets half the ring, k of them leave 1/(k+1) to all others, however still the reader stands. (Dynamic thresholds of shared
 * buffers, Choudhury and Hahne 1998.) */
static __always_inline bool has_credit(struct shipwall_watch *watch, struct shipwall_settings *setting)
{
	__u64 size = bpf_ringbuf_query(&ring, BPF_RB_RING_SIZE);
	__s64 free = size - bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);
	__s64 held = watch->produced_bytes - watch->consumed_bytes;

	if (watch->slot == SHIPWALL_NO_SLOT) /* nobody can give its bytes back one by one */
		return free > (__s64)(size / 4);
	return held <= free && held <= (__s64)setting->credit_bytes;
}

#define HELD_BACK 16 /* the part of the ring, one of so many, that may fill before an unhurried record wakes the reader */

/* Wakes the reader when it sleeps: waking costs the caller more than all else (an interrupt, in a guest an exit of the machine too), so
 * it is done once and not for each record. The reader says that it sleeps before it looks at the ring for the last time, and this looks
 * only after the record is in the ring: one of both sees the other. No helper wakes without a record, hence the empty one. */
static __always_inline void wake_reader(struct shipwall_settings *setting, struct shipwall_header *header)
{
	__u32 call = header->call & (SHIPWALL_CALLS_MAX - 1);
	bool waits = setting->unhurried & 1 << (header->kind & 31);
	void *nothing;

	if (!setting->asleep)
		return;
	if (header->kind == SHIPWALL_KIND_CALL)
		waits |= setting->unhurried_calls[MASKED(call >> 6, 7)] >> (call & 63) & 1;
	if (waits && !(header->bits & SHIPWALL_HEADER_HURRIES) &&
	    bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) < bpf_ringbuf_query(&ring, BPF_RB_RING_SIZE) / HELD_BACK)
		return;
	if (!__sync_val_compare_and_swap(&setting->asleep, 1, 0))
		return;
	nothing = bpf_ringbuf_reserve(&ring, 8, 0);
	if (nothing)
		bpf_ringbuf_discard(nothing, BPF_RB_FORCE_WAKEUP);
	else
		setting->asleep = 1;
}

/* Sends the record, or counts why not: no room in the ring, or this cgroup is over its budget. */
static __always_inline int emit(struct scratch *scratch, struct shipwall_watch *watch)
{
	struct shipwall_header *header = (void *)scratch->record;
	__u32 class = header->kind & (SHIPWALL_CLASSES - 1);
	__u64 size = header->size;
	__u32 zero = 0;
	struct shipwall_settings *setting = bpf_map_lookup_elem(&settings, &zero);

	header->slot = watch->slot;
	header->sequence = __sync_fetch_and_add(&watch->sequence, 1) + 1;
	if (!setting || !has_credit(watch, setting)) {
		__sync_fetch_and_add(&watch->over[class], 1);
		return 0;
	}
	if (size > sizeof(scratch->record) || bpf_ringbuf_output(&ring, scratch->record, size, BPF_RB_NO_WAKEUP)) {
		__sync_fetch_and_add(&watch->lost[class], 1);
		wake_reader(setting, header);
		return 0;
	}
	__sync_fetch_and_add(&watch->produced_bytes, (size + 8 + 7) & ~7ULL);
	wake_reader(setting, header);
	return 0;
}

#endif
