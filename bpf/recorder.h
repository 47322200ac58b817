/* The flight recorder: the last records of each container stay in memory that is overwritten, until somebody takes them.
 *
 * A share is a run of granules of `recorder_granules`. A writer claims its bytes with one atomic add, so writers on other CPUs never wait;
 * a record never crosses the end of a granule: what it would is filled up, and the claim made again. Each record begins with the position
 * it was claimed at, written last: a reader takes only what bears the position it looks for, so nothing half-written or of an older lap.
 * A writer held up for a whole lap of its share could still spoil a record: at 4 granules that is 256 KB of records of one container
 * while one copy of a few hundred bytes is made. (No ring buffer that overwrites exists in the kernels we run on; a perf buffer is one for each CPU, not for each container.) */
#ifndef SHIPWALL_RECORDER_H
#define SHIPWALL_RECORDER_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

enum recorder_constant {
	RECORDER_GRANULE = 0x10000, /* a power of two */
	RECORDER_RECORD_MAX = 0x2000, /* bytes of one record; longer ones are left out and counted */
	RECORDER_SHARES = 256,
	RECORDER_GRANULES = 227, /* 16 MB with the room after each */
	RECORDER_FILLING = 1,
};

struct recorder_head {
	__u64 at; /* the position of this record, its seal */
	__u32 length; /* bytes that follow */
	__u32 kind; /* RECORDER_FILLING: nothing is in them */
};

struct recorder_share {
	__u64 written; /* bytes claimed since the share was given */
	__u64 cgroup_id;
	__u64 left_out; /* records that were too long, or found no place */
	__u32 first; /* granule */
	__u32 granules; /* how many, a power of two; 0: nothing is recorded */
};

struct recorder_granule {
	__u8 bytes[RECORDER_GRANULE];
	__u8 room[RECORDER_RECORD_MAX + sizeof(struct recorder_head)]; /* never written: shows the verifier that a copy stays inside */
};

/* Keeps the types above in the BTF of the object. */
union recorder_types {
	struct recorder_head head;
	struct recorder_share share;
	struct recorder_granule granule;
	enum recorder_constant constant;
} *recorder_types_kept __attribute__((used));

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, RECORDER_SHARES);
	__type(key, __u32);
	__type(value, struct recorder_share);
} recorder_shares SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, RECORDER_GRANULES);
	__type(key, __u32);
	__type(value, struct recorder_granule);
} recorder_granules SEC(".maps");

static __always_inline struct recorder_granule *recorder_place(struct recorder_share *share, __u64 at)
{
	__u32 index = share->first + (__u32)((at / RECORDER_GRANULE) & (share->granules - 1));

	return bpf_map_lookup_elem(&recorder_granules, &index);
}

/* Seals what was claimed at `at`: whoever sees the position sees all that was written before it (x86 stores are seen in order). */
static __always_inline void recorder_seal(struct recorder_granule *granule, __u64 at, __u32 length, __u32 kind)
{
	struct recorder_head *head = (void *)&granule->bytes[at & (RECORDER_GRANULE - 1)];

	head->length = length;
	head->kind = kind;
	asm volatile("" ::: "memory");
	*(volatile __u64 *)&head->at = at;
}

/* Keeps a copy of the `size` bytes at `data` (kernel memory) in the container's share. Share 0 is nobody's. */
static __always_inline void record_call(__u32 number, const void *data, __u64 size)
{
	struct recorder_share *share;
	__u64 need = (size + sizeof(struct recorder_head) + 15) & ~15ULL;

	if (!number)
		return;
	share = bpf_map_lookup_elem(&recorder_shares, &number);
	if (!share || !share->granules)
		return;
	if (size <= RECORDER_RECORD_MAX) {
		for (int try = 0; try < 2; try++) {
			__u64 at = __sync_fetch_and_add(&share->written, need);
			__u64 offset = at & (RECORDER_GRANULE - 1);
			struct recorder_granule *granule = recorder_place(share, at);

			if (!granule)
				break;
			if (offset + need <= RECORDER_GRANULE) {
				if (bpf_probe_read_kernel(&granule->bytes[offset] + sizeof(struct recorder_head), size, data))
					break;
				recorder_seal(granule, at, size, 0);
				return;
			}
			__u64 border = at - offset + RECORDER_GRANULE;

			recorder_seal(granule, at, border - at - sizeof(struct recorder_head), RECORDER_FILLING);
			granule = recorder_place(share, border);
			if (!granule)
				break;
			recorder_seal(granule, border, at + need - border - sizeof(struct recorder_head), RECORDER_FILLING);
		}
	}
	__sync_fetch_and_add(&share->left_out, 1);
}

#endif
