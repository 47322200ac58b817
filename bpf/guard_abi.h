/* Generated from src/shipwall/abi/guard_schema.py by `python -m shipwall.abi.generate guard`: do not edit. */
#ifndef GUARD_ABI_H
#define GUARD_ABI_H

enum guard_constant {
	GUARD_HOOK_CONNECT = 0x0,
	GUARD_HOOK_BIND = 0x1,
	GUARD_HOOK_SENDMSG = 0x2,
	GUARD_PROTOCOL_TCP = 0x0,
	GUARD_PROTOCOL_UDP = 0x1,
	GUARD_PROTOCOL_OTHER = 0x2,
	GUARD_POLICY_BITS = 0x20,
	GUARD_FAMILY_BITS = 0x40,
	GUARD_NETWORKS_MAX = 0x40000,
	GUARD_PORTS_MAX = 0x10000,
	GUARD_ACTS_MAX = 0x4000,
	GUARD_COUNTS_MAX = 0x4000,
	GUARD_RING_BYTES = 0x40000,
	GUARD_UNTOLD = 0x40,
};

/* Key of `networks`: `bits` counts policy and family too. family 4: the first four bytes are the address. */
struct guard_network {
	__u32 bits;
	__u32 policy;
	__u32 family;
	__u8 address[16];
};

/* Value of `networks`: the refusals this network lies within, and those that leave it out. */
struct guard_membership {
	__u64 within;
	__u64 outside;
};

/* Key of `ports`: `bits` counts the policy too; the port in network order. Value: the refusals of these ports. */
struct guard_port {
	__u32 bits;
	__u32 policy;
	__u8 port[2];
	__u8 pad[2];
};

/* Key of `acts`: which kind of act by which kind of socket. */
struct guard_act {
	__u32 policy;
	__u8 hook;
	__u8 family;
	__u8 protocol;
	__u8 pad;
};

/* Value of `acts`: the refusals of this kind of act, and those of the policy that deny (the rest only report). */
struct guard_answer {
	__u64 refusals;
	__u64 deny;
};

/* Key of `counts`: how often a refusal of a policy was the first that was met; UNTOLD: met, and the ring had no room to tell. */
struct guard_count {
	__u32 policy;
	__u32 refusal;
};

/* What the kernel keeps with a guarded cgroup. policy 0: nothing is refused. */
struct guard_place {
	__u64 cgroup_id;
	__u32 policy;
	__u32 pad;
};

/* Record in the ring: an act that was refused (denied 1) or would have been. hits: every refusal that was met, refusal: the one counted; port in network order. */
struct guard_decision {
	__u64 time_ns;
	__u64 hits;
	__u64 cgroup_id;
	__u32 policy;
	__u32 pid;
	__u32 tid;
	__u32 uid;
	__u8 refusal;
	__u8 hook;
	__u8 family;
	__u8 protocol;
	__u8 denied;
	__u8 pad;
	__u8 port[2];
	__u8 address[16];
	char comm[16];
};

/* Keeps every type above in the BTF of the object, where its layout is compared at start. */
union guard_abi {
	struct guard_network network;
	struct guard_membership membership;
	struct guard_port port;
	struct guard_act act;
	struct guard_answer answer;
	struct guard_count count;
	struct guard_place place;
	struct guard_decision decision;
	enum guard_constant constant;
};

#endif
