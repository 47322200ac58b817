"""Names of fields that Falco and its container plugin define and the sensor does not tell yet."""

from __future__ import annotations

_NAMES = {
    "container": (
        "cni.json duration healthcheck host_ipc host_network host_pid ip labels liveness_probe mount mount.dest "
        "mount.mode mount.propagation mount.rdwr mount.source mounts readiness_probe type"
    ),
    "evt": (
        "abspath asynctype buflen buflen.file buflen.file.in buflen.file.out buflen.in buflen.net buflen.net.in "
        "buflen.net.out buflen.out category count count.error count.error.file count.error.memory count.error.net "
        "count.error.other count.exit count.procinfo count.threadinfo cpu datetime datetime.s deltatime deltatime.ns "
        "deltatime.s dir info infra.docker.container.id infra.docker.container.image infra.docker.container.name "
        "infra.docker.name io_dir is_async is_io is_io_read is_io_write is_open_exec is_syslog is_wait latency "
        "latency.human latency.ns latency.quantized latency.s outputtime plugininfo pluginname rawarg rawtime.ns "
        "rawtime.s reltime reltime.ns reltime.s time time.iso8601 time.s type.is wait_latency"
    ),
    "fd": (
        "cip.name containerdirectory containername cproto dev.major dev.minor lip.name lproto name_changed proto rip.name rproto "
        "sip.name sproto types uid"
    ),
    "fdlist": "cips cports names nums sips sports",
    "fs": "path.name path.nameraw path.source path.sourceraw path.target path.targetraw",
    "group": "name",
    "k8s": (
        "deployment.name ns.label pod.cni.json pod.full_sandbox_id pod.id pod.ip pod.label pod.labels pod.sandbox_id "
        "pod.uid rc.name rs.name svc.name"
    ),
    "proc": (
        "aargs aenv cmdlenargs cwd env exe_ino exe_ino.ctime exe_ino.ctime_duration_pidns_start "
        "exe_ino.ctime_duration_proc_start exe_ino.mtime fdlimit fdopencount fdusage is_container_healthcheck "
        "is_container_liveness_probe is_container_readiness_probe is_exe_writable is_pgid_leader is_sid_leader "
        "is_vpgid_leader loginshellid nchilds nthreads pgid pgid.exe pgid.exepath pgid.name pidns_init_start_ts "
        "ppid.duration ppid.ts sid sid.exe sid.exepath sname stderr.name stderr.type stdin.name stdin.type stdout.name "
        "stdout.type tty vmrss vmsize vmswap vpgid vpgid.exe vpgid.exepath vpgid.name"
    ),
    "syscall": "type",
    "thread": (
        "cap_effective cap_inheritable cap_permitted cgroup cgroups cpu cpu.system cpu.user exectime ismain nametid "
        "pfmajor pfminor totexectime vmrss vmrss.b vmsize vmsize.b vtid"
    ),
    "user": "homedir loginname loginuid name shell",
    "util": "cnt",
}

UNTOLD: frozenset[str] = frozenset(f"{prefix}.{name}" for prefix, names in _NAMES.items() for name in names.split())
