/* Empty programs on the sensor's hooks: the floor its cost is measured against, nothing else. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char programs_license[] SEC("license") = "GPL";

SEC("tp_btf/sys_exit")
int empty_sys_exit(void *context)
{
	return 0;
}

SEC("tp_btf/sched_process_exec")
int empty_exec(void *context)
{
	return 0;
}

SEC("tp_btf/sched_process_fork")
int empty_fork(void *context)
{
	return 0;
}

SEC("tp_btf/sched_process_exit")
int empty_exit(void *context)
{
	return 0;
}
