/* The network guard: connects, binds and messages that a container's rules refuse, ended with EPERM before they happen.
 *
 * Attached to a container's cgroup, and only to those with such rules: others pay nothing. Links are pinned, so that what is refused stays
 * refused when the agent is killed. Tables: src/shipwall/runtime/network_tables.py, whose `simulate` is this program in Python. */
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include "guard_abi.h"

#define AF_INET 2
#define AF_INET6 10
#define ALLOW 1
#define REFUSE 0 /* the caller gets EPERM */

char programs_license[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, GUARD_NETWORKS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct guard_network);
	__type(value, struct guard_membership);
} networks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, GUARD_PORTS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct guard_port);
	__type(value, __u64);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, GUARD_ACTS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct guard_act);
	__type(value, struct guard_answer);
} acts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, GUARD_COUNTS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct guard_count);
	__type(value, __u64);
} counts SEC(".maps");

/* One value for each cgroup the programs are attached to, found without a look-up; it ends with the last link. */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STORAGE);
	__type(key, __u64);
	__type(value, struct guard_place);
} places SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, GUARD_RING_BYTES);
} decisions SEC(".maps");

union guard_abi *keep_types; /* the layouts, for the comparison at start */

static __always_inline struct guard_membership *member(__u32 policy, __u32 family, const void *address)
{
	struct guard_network key = { .policy = policy, .family = family };

	if (family == 4) {
		key.bits = GUARD_FAMILY_BITS + 32;
		__builtin_memcpy(key.address, address, 4);
	} else {
		key.bits = GUARD_FAMILY_BITS + 128;
		__builtin_memcpy(key.address, address, 16);
	}
	return bpf_map_lookup_elem(&networks, &key);
}

static __always_inline __u8 protocol_of(__u32 number)
{
	return number == IPPROTO_TCP ? GUARD_PROTOCOL_TCP : number == IPPROTO_UDP ? GUARD_PROTOCOL_UDP : GUARD_PROTOCOL_OTHER;
}

static __always_inline void count(__u32 policy, __u32 refusal)
{
	struct guard_count key = { .policy = policy, .refusal = refusal };
	__u64 *met = bpf_map_lookup_elem(&counts, &key);

	if (met)
		__sync_fetch_and_add(met, 1);
}

/* Counts and reports an act that met `hits`, of which the lowest of `hit` is the one it is counted for. */
static __always_inline void tell(struct guard_place *place, struct guard_act *act, __u64 hits, __u64 hit, int denied, __u16 port,
				 __u32 *address)
{
	__u32 refusal = 0;

	if (!(hit & 0xffffffff)) {
		refusal = 32;
		hit >>= 32;
	}
	for (int step = 16; step; step >>= 1) {
		if (!(hit & ((1ULL << step) - 1))) {
			refusal += step;
			hit >>= step;
		}
	}
	count(act->policy, refusal);
	struct guard_decision *record = bpf_ringbuf_reserve(&decisions, sizeof(*record), 0);

	if (!record) {
		count(act->policy, GUARD_UNTOLD);
		return;
	}
	__u64 ids = bpf_get_current_pid_tgid();

	__builtin_memset(record, 0, sizeof(*record));
	record->time_ns = bpf_ktime_get_boot_ns();
	record->hits = hits;
	record->cgroup_id = place->cgroup_id;
	record->policy = act->policy;
	record->pid = ids >> 32;
	record->tid = ids;
	record->uid = bpf_get_current_uid_gid();
	record->refusal = refusal;
	record->hook = act->hook;
	record->family = act->family;
	record->protocol = act->protocol;
	record->denied = denied;
	__builtin_memcpy(record->port, &port, 2);
	__builtin_memcpy(record->address, address, 16);
	bpf_get_current_comm(record->comm, sizeof(record->comm));
	bpf_ringbuf_submit(record, 0);
}

static __always_inline int judge(struct bpf_sock_addr *context, __u8 hook, __u8 family)
{
	struct guard_place *place = bpf_get_local_storage(&places, 0);
	__u32 address[4] = {};
	__u16 port = context->user_port;
	struct guard_act act = { .policy = place->policy, .hook = hook, .family = family };
	struct guard_answer *answer;
	struct guard_membership *found;
	__u64 within = 0, outside = 0, hit, *by_port;

	if (!act.policy)
		return ALLOW;
	act.protocol = protocol_of(context->protocol);
	answer = bpf_map_lookup_elem(&acts, &act);
	if (!answer)
		return ALLOW;
	struct guard_port port_key = { .bits = GUARD_POLICY_BITS + 16, .policy = act.policy };

	__builtin_memcpy(port_key.port, &port, 2);
	by_port = bpf_map_lookup_elem(&ports, &port_key);
	if (!by_port || !(*by_port & answer->refusals))
		return ALLOW;
	if (family == 4) {
		address[0] = context->user_ip4;
		found = member(act.policy, 4, address);
	} else {
		address[0] = context->user_ip6[0];
		address[1] = context->user_ip6[1];
		address[2] = context->user_ip6[2];
		address[3] = context->user_ip6[3];
		if (!address[0] && !address[1] && address[2] == __builtin_bswap32(0xffff)) { /* an IPv4 address is of both kinds */
			found = member(act.policy, 4, &address[3]);
			if (found) {
				within = found->within;
				outside = found->outside;
			}
		}
		found = member(act.policy, 6, address);
	}
	if (found) {
		within |= found->within;
		outside |= found->outside;
	}
	hit = within & ~outside & *by_port & answer->refusals;
	if (!hit)
		return ALLOW;
	if (hit & answer->deny) {
		tell(place, &act, hit, hit & answer->deny, 1, port, address);
		return REFUSE;
	}
	tell(place, &act, hit, hit, 0, port, address);
	return ALLOW;
}

/* Hook: cgroup/connect4, connect6.
 * Why this one: it runs before the connection is asked for, also by io_uring, TCP fast open and a datagram socket, and its answer is the
 *   caller's error. A signal at the call lets every connect complete; seccomp cannot read the address; LSM does not load everywhere.
 * Since: 4.17; links 5.7.
 * Misses: raw sockets (no hook runs for them), sockets made outside the container's cgroup and handed in, those connected before the
 *   guard came, what a container does through another's socket. 32-bit callers pass the same hook.
 * Cost: 0.4-0.5 us for each connect of a guarded container, 0 elsewhere.
 * On failure: open; the agent tells that the guard is not in place. */
SEC("cgroup/connect4")
int guard_connect4(struct bpf_sock_addr *context)
{
	return judge(context, GUARD_HOOK_CONNECT, 4);
}

SEC("cgroup/connect6")
int guard_connect6(struct bpf_sock_addr *context)
{
	return judge(context, GUARD_HOOK_CONNECT, 6);
}

/* Hook: cgroup/bind4, bind6. As above; misses also what the kernel binds itself, and the port that a bind to port 0 will get. */
SEC("cgroup/bind4")
int guard_bind4(struct bpf_sock_addr *context)
{
	return judge(context, GUARD_HOOK_BIND, 4);
}

SEC("cgroup/bind6")
int guard_bind6(struct bpf_sock_addr *context)
{
	return judge(context, GUARD_HOOK_BIND, 6);
}

/* Hook: cgroup/sendmsg4, sendmsg6. As above, for datagrams with an address of their own: on a connected socket connect was asked. */
SEC("cgroup/sendmsg4")
int guard_sendmsg4(struct bpf_sock_addr *context)
{
	return judge(context, GUARD_HOOK_SENDMSG, 4);
}

SEC("cgroup/sendmsg6")
int guard_sendmsg6(struct bpf_sock_addr *context)
{
	return judge(context, GUARD_HOOK_SENDMSG, 6);
}
