/* The filter: whether any rule could match an event, decided before its record is made. `runtime/lower` makes the tables, its module
 * `simulate` says the same as this file in Python. Everything exists twice; an event is judged wholly by the generation it began with. */
#ifndef SHIPWALL_FILTER_H
#define SHIPWALL_FILTER_H

#include "emit.h"

#define MISSING (1ULL << 63) /* a number the event does not have */
#define FIRST 0 /* places of strings */
#define SECOND 1
#define PATH 2
#define BYTES_AT_ONCE 16

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SHIPWALL_FILTER_GENERATIONS * SHIPWALL_FILTER_PROGRAMS);
	__type(key, __u32);
	__type(value, struct shipwall_filter);
} filters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SHIPWALL_FILTER_GENERATIONS);
	__type(key, __u32);
	__type(value, struct shipwall_automaton);
} automata SEC(".maps");

/* How an event is to be judged. */
struct filtering {
	bool in_force;
	__u32 number; /* DELIVER, DROP or a program */
	__u32 key; /* of the program in `filters` */
	__u32 words; /* the set of first words that goes with it, of reads */
};

static __always_inline struct filtering filter_of(struct shipwall_settings *setting, struct shipwall_watch *watch, __u32 call)
{
	struct filtering found = {};
	__u32 in_force = *(volatile __u32 *)&setting->filter_in_force, generation;

	if (!in_force || watch->flags & SHIPWALL_WATCH_UNFILTERED)
		return found;
	generation = (in_force - 1) & (SHIPWALL_FILTER_GENERATIONS - 1);
	found.in_force = 1;
	found.words = 1 + generation;
	found.number = setting->filter_programs[MASKED(generation * SHIPWALL_CALLS_MAX + (call & (SHIPWALL_CALLS_MAX - 1)),
						       SHIPWALL_FILTER_GENERATIONS * SHIPWALL_CALLS_MAX - 1)];
	found.key = generation * SHIPWALL_FILTER_PROGRAMS + found.number;
	return found;
}

/* An event that no rule can match: counted, never silent. */
static __always_inline int dismiss(struct shipwall_watch *watch, __u32 kind)
{
	__sync_fetch_and_add(&watch->filtered[kind & (SHIPWALL_CLASSES - 1)], 1);
	return 0;
}

/* The numbers of every event, the others missing. */
static __always_inline void begin_numbers(struct scratch *scratch, struct task_struct *task, long ret)
{
#pragma clang loop unroll(full)
	for (int i = 0; i < SHIPWALL_NUMBER_COUNT; i++)
		scratch->numbers[i] = MISSING;
	scratch->numbers[SHIPWALL_NUMBER_RET] = ret;
	scratch->numbers[SHIPWALL_NUMBER_UID] = task->cred->euid.val;
	scratch->numbers[SHIPWALL_NUMBER_GID] = task->cred->egid.val;
}

/* Tests the numbers: which atoms may hold, and which must. */
__noinline __u32 see_numbers(__u32 key)
{
	struct shipwall_filter *filter = bpf_map_lookup_elem(&filters, &key);
	struct scratch *scratch = get_scratch();
	__u64 may = 0, must = 0;

	if (!filter || !scratch)
		return 0;
	for (int i = 0; i < SHIPWALL_FILTER_TESTS; i++) {
		__s64 value, low, high;
		__u64 atom;
		__u32 bits;

		if (i >= filter->tests)
			break;
		bits = filter->test_bits[i];
		low = filter->test_low[i];
		high = filter->test_high[i];
		value = scratch->numbers[MASKED(filter->test_number[i], SHIPWALL_NUMBER_COUNT - 1)];
		if (bits & SHIPWALL_TEST_SIGNED)
			value = (__s32)value;
		if (filter->test_kind[i] == SHIPWALL_TEST_RANGE ? value < low || value > high : (value & low) != high)
			continue;
		atom = 1ULL << (filter->test_bit[i] & 63);
		may |= atom;
		if (bits & SHIPWALL_TEST_CERTAIN)
			must |= atom;
	}
	scratch->may = may;
	scratch->must = must;
	return 0;
}

/* Whether a clause can be satisfied by what has been seen, with the atoms `unknown` counting as both. */
__noinline __u32 may_match(__u32 key, __u64 unknown)
{
	struct shipwall_filter *filter = bpf_map_lookup_elem(&filters, &key);
	struct scratch *scratch = get_scratch();
	__u64 may, must;

	if (!filter || !scratch)
		return 1;
	may = scratch->may | unknown;
	must = scratch->must;
	for (int i = 0; i < SHIPWALL_FILTER_CLAUSES; i++) {
		if (i >= filter->clauses)
			break;
		if (!(filter->need[i] & ~may) && !(filter->forbid[i] & must))
			return 1;
	}
	return 0;
}

struct reading {
	__u64 may;
	__u64 must;
	__u32 generation;
	__u32 state;
	__u32 at;
	__u32 left;
};

static long read_some(__u32 index, struct reading *reading)
{
	__u32 generation = reading->generation;
	struct shipwall_automaton *automaton = bpf_map_lookup_elem(&automata, &generation);
	__u32 state = reading->state, at = reading->at, left = reading->left, width;
	struct scratch *scratch = get_scratch();

	if (!automaton || !scratch)
		return 1;
	width = automaton->width;
#pragma clang loop unroll(full)
	for (int i = 0; i < BYTES_AT_ONCE; i++) {
		__u64 byte = left ? scratch->bytes[MASKED(at, SCRATCH_BYTES - 1)] : 0;
		__u32 cell = automaton->cells[MASKED(state * width + automaton->classes[MASKED(byte, 255)], SHIPWALL_FILTER_CELLS - 1)];

		state = cell >> 1;
		if (cell & 1) {
			__u64 told = MASKED(state, SHIPWALL_FILTER_STATES - 1);

			reading->may |= automaton->may[told];
			reading->must |= automaton->must[told];
		}
		if (state <= SHIPWALL_STATE_DEAD || !left) {
			reading->state = state;
			return 1;
		}
		at++;
		left--;
	}
	reading->state = state;
	reading->at = at;
	reading->left = left;
	return 0;
}

/* Reads the `length` bytes at `at` of the scratch, the string of `place`: the atoms it may and must have. Of an empty one, which counts as
 * missing, nothing is certain. */
__noinline __u32 see_string(__u32 key, __u32 place, __u32 at, __u32 length)
{
	struct shipwall_filter *filter = bpf_map_lookup_elem(&filters, &key);
	struct scratch *scratch = get_scratch();
	struct reading reading = { .at = at, .left = length, .generation = key >= SHIPWALL_FILTER_PROGRAMS };

	if (!filter || !scratch || place >= SHIPWALL_FILTER_PLACES)
		return 0;
	reading.state = filter->starts[place];
	bpf_loop(SHIPWALL_STRING_MAX / BYTES_AT_ONCE + 1, read_some, &reading, 0);
	if (reading.state == SHIPWALL_STATE_UNCERTAIN) {
		scratch->may |= filter->atoms[place];
		return 0;
	}
	scratch->may |= reading.may;
	if (length)
		scratch->must |= reading.must;
	return 0;
}

static __always_inline __u64 atoms_of(__u32 key, __u32 place)
{
	struct shipwall_filter *filter = bpf_map_lookup_elem(&filters, &key);

	return filter ? filter->atoms[place] : 0;
}

/* Whether an event of `call` without strings is of no interest: by its result, its identity and `flags`. */
static __always_inline bool is_dull(struct shipwall_settings *setting, struct shipwall_watch *watch, struct scratch *scratch,
				    struct task_struct *task, __u32 call, long ret, __u64 flags)
{
	struct filtering filtering = filter_of(setting, watch, call);

	if (filtering.number <= SHIPWALL_FILTER_DROP)
		return filtering.number == SHIPWALL_FILTER_DROP;
	begin_numbers(scratch, task, ret);
	scratch->numbers[SHIPWALL_NUMBER_FLAGS] = flags;
	see_numbers(filtering.key);
	return !may_match(filtering.key, 0);
}

#endif
