/* Records a pattern: the recorder alone, without the sensor around it. */
#include "recorder.h"

char programs_license[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64[(RECORDER_RECORD_MAX + 64) / 8]);
} patterns SEC(".maps");

/* Arguments: share, size, a word to fill the first 64 bytes with. */
SEC("raw_tp")
int record_pattern(unsigned long long *context)
{
	__u32 zero = 0;
	__u64 *pattern = bpf_map_lookup_elem(&patterns, &zero);

	if (!pattern)
		return 1;
	for (int at = 0; at < 8; at++)
		pattern[at] = context[2];
	record_call(context[0], pattern, context[1]);
	return 0;
}
