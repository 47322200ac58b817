"""Fields that Falco and its container plugin define and that have no value here, with the reason."""

from __future__ import annotations

NOT_REPORTED = "the sensor does not report it"

_NAMES: dict[str, dict[str, str]] = {
    "was dropped by the plugin that defined it, or is a probe only an orchestrator knows": {
        "container": "cni.json healthcheck liveness_probe readiness_probe",
        "proc": "is_container_healthcheck is_container_liveness_probe is_container_readiness_probe",
    },
    "data that is read or written is not copied out of the kernel": {
        "evt": (
            "buflen buflen.file buflen.file.in buflen.file.out buflen.in buflen.net buflen.net.in "
            "buflen.net.out buflen.out io_dir is_io is_io_read is_io_write is_syslog is_wait wait_latency"
        ),
    },
    "belongs to enter events, which Falco itself gave up": {
        "evt": "latency latency.human latency.ns latency.quantized latency.s",
    },
    "belongs to summaries over many events, not to one": {
        "evt": (
            "count.error count.error.file count.error.memory count.error.net count.error.other count.exit "
            "count.procinfo count.threadinfo deltatime deltatime.ns deltatime.s outputtime reltime reltime.ns "
            "reltime.s"
        ),
    },
    "belongs to events of plugins": {
        "evt": (
            "asynctype plugininfo pluginname infra.docker.container.id infra.docker.container.image "
            "infra.docker.container.name infra.docker.name"
        ),
    },
    "only the orchestrator knows it": {
        "k8s": (
            "deployment.name ns.label pod.cni.json pod.full_sandbox_id pod.id pod.ip pod.label pod.labels "
            "pod.sandbox_id rc.name rs.name svc.name"
        ),
    },
    "the scheduler's figures are not recorded with events": {
        "thread": "cgroup cgroups cpu cpu.system cpu.user exectime pfmajor pfminor totexectime vtid",
        "evt": "cpu",
        "proc": "fdlimit fdopencount fdusage",
    },
    "environments of ancestors hold secrets and are not kept": {
        "proc": "aenv",
    },
    NOT_REPORTED: {
        "evt": "abspath is_open_exec rawarg type.is",
        "fd": (
            "cip.name containerdirectory containername cproto dev.major dev.minor lip.name lproto proto rproto sproto types uid"
        ),
        "fdlist": "cips cports names nums sips sports",
        "fs": "path.name path.nameraw path.source path.sourceraw path.target path.targetraw",
    },
}

UNTOLD: dict[str, str] = {
    f"{prefix}.{name}": why for why, groups in _NAMES.items() for prefix, names in groups.items() for name in names.split()
}
"""Field → why it has no value."""
