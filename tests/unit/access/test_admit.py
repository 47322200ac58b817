"""Every known way around admission, each with the reason it is refused for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shipwall.access import container as settings
from shipwall.access import schema
from shipwall.access.admit import decide_admission, decide_recorded, image_of, render_refusal
from shipwall.access.hardening import Declared, RunOptions, render_create
from shipwall.access.policy import AdmissionPolicy, DeclaredBind
from shipwall.access.request import EngineRequest, RequestRefused, parse_request
from shipwall.access.world import (
    ContainerRecord,
    EngineFacts,
    ExecFacts,
    ImageFacts,
    MountFacts,
    NetworkFacts,
    VolumeFacts,
    World,
    find_needs,
    find_record_needs,
)
from shipwall.model.digest import ImageIdentity, digest_of
from shipwall.model.promotion import Promotion

GOOD = digest_of(b"promoted")
BAD = digest_of(b"not promoted")
MANIFEST = digest_of(b"manifest")
ID = "ab" * 32
EXEC = "cd" * 32
DATA_BIND = {"Type": "bind", "Source": "/srv/data", "Target": "/x"}
PROMOTION = Promotion(
    image=ImageIdentity(manifest=MANIFEST, config=GOOD, diff_ids=()), registry="r:1", repository="prod/x", policy=BAD, time_ns=1
)


def record(
    image: str = GOOD, mounts: tuple[MountFacts, ...] = (), networks: tuple[str, ...] = (), **host: Any
) -> ContainerRecord:
    return ContainerRecord(id=ID, name="web", image=image, user="1000", host_config=host, mounts=mounts, networks=networks)


def world(**more: Any) -> World:
    facts: dict[str, Any] = {
        "policy": AdmissionPolicy(),
        "promotions": {GOOD: PROMOTION},
        "image": ImageFacts(id=GOOD),
        "networks": {
            "front": NetworkFacts(id="n1", name="front", driver="bridge"),
            "sneaky": NetworkFacts(id="n2", name="host", driver="host"),
            "lan": NetworkFacts(id="n3", name="lan", driver="macvlan"),
        },
        "volumes": {
            "data": VolumeFacts(name="data", driver="local"),
            "root": VolumeFacts(name="root", driver="local", options={"type": "none", "o": "bind", "device": "/"}),
        },
    }
    return World(**(facts | more))


def ask(method: str, uri: str, body: Any = None) -> EngineRequest:
    if body is None:
        return parse_request(method, uri, {"Content-Length": "0"} if method == "POST" else {}, b"")
    data = json.dumps(body).encode()
    return parse_request(method, uri, {"Content-Type": "application/json", "Content-Length": str(len(data))}, data)


def codes(request: EngineRequest, known: World | None = None) -> list[str]:
    verdict = decide_admission(request, known or world())
    assert verdict.allowed == (not verdict.reasons)
    return [reason.code for reason in verdict.reasons]


def create(host: dict[str, Any] | None = None, **body: Any) -> EngineRequest:
    return ask("POST", "/v1.41/containers/create", {"Image": "prod/shop:1", "HostConfig": host or {}, **body})


def test_a_promoted_image_passes() -> None:
    known = world()
    assert codes(create(), known) == []
    assert image_of(create(), known) == MANIFEST


def test_the_profile_passes_even_where_it_is_required() -> None:
    declared = Declared(
        writable=("/run/x",), writable_exec=("/opt/y",), capabilities=frozenset({"NET_BIND_SERVICE"}), user="1000:1000"
    )
    labels = {"shipwall.writable-exec": "/opt/y"}
    known = world(policy=AdmissionPolicy(require_profile=True), image=ImageFacts(id=GOOD, labels=labels))
    body = render_create("prod/shop@" + MANIFEST, "", declared, RunOptions(command=("run",)))
    assert codes(ask("POST", "/containers/create", body), known) == []


def test_a_plain_container_fails_where_the_profile_is_required() -> None:
    assert set(codes(create(), world(policy=AdmissionPolicy(require_profile=True)))) == {"profile"}


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ({"Privileged": True}, "privileged"),
        ({"CapAdd": ["SYS_ADMIN"]}, "capability"),
        ({"CapAdd": ["cap_sys_admin"]}, "capability"),
        ({"CapAdd": ["ALL"]}, "capability"),
        ({"CapAdd": ["\u017fYS_ADMIN"]}, "capability"),
        ({"PidMode": "host"}, "host-pid"),
        ({"PidMode": "container:web"}, "join-container"),
        ({"IpcMode": "host"}, "host-ipc"),
        ({"IpcMode": "container:web"}, "join-container"),
        ({"UTSMode": "host"}, "host-uts"),
        ({"UsernsMode": "host"}, "host-userns"),
        ({"CgroupnsMode": "host"}, "host-cgroupns"),
        ({"NetworkMode": "host"}, "host-network"),
        ({"NetworkMode": "sneaky"}, "host-network"),
        ({"NetworkMode": "container:web"}, "join-container"),
        ({"NetworkMode": "lan"}, "network-driver"),
        ({"NetworkMode": "nowhere"}, "no-such-network"),
        ({"Devices": [{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda", "CgroupPermissions": "rwm"}]}, "device"),
        ({"DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}]}, "device"),
        ({"DeviceCgroupRules": ["b 8:* rwm"]}, "device"),
        ({"SecurityOpt": ["seccomp=unconfined"]}, "security-opt"),
        ({"SecurityOpt": ["seccomp:unconfined"]}, "security-opt"),
        ({"SecurityOpt": ['seccomp={"defaultAction":"SCMP_ACT_ALLOW"}']}, "security-opt"),
        ({"SecurityOpt": ["apparmor=unconfined"]}, "security-opt"),
        ({"SecurityOpt": ["apparmor:unconfined"]}, "security-opt"),
        ({"SecurityOpt": ["label=disable"]}, "security-opt"),
        ({"SecurityOpt": ["no-new-privileges=false"]}, "security-opt"),
        ({"SecurityOpt": ["no-new-privileges:0"]}, "security-opt"),
        ({"SecurityOpt": ["systempaths=unconfined"]}, "security-opt"),
        ({"MaskedPaths": []}, "system-paths"),
        ({"ReadonlyPaths": []}, "system-paths"),
        ({"Binds": ["/:/host"]}, "host-path"),
        ({"Binds": ["/:/host:ro"]}, "host-path"),
        ({"Binds": ["/srv/data/../..:/host"]}, "host-path"),
        ({"Binds": ["//:/host"]}, "host-path"),
        ({"Binds": ["/var/run/docker.sock:/d.sock"]}, "host-path"),
        ({"Binds": ["/run/docker/plugins:/p"]}, "host-path"),
        ({"Binds": ["/srv/data/below:/x"]}, "host-path"),
        ({"Binds": ["/srv/data:/x"]}, "host-path-write"),
        ({"Binds": ["/srv/data:/x:ro,rw"]}, "host-path-write"),
        ({"Binds": ["/srv/data:/x:ro,rshared"]}, "bind-form"),
        ({"Binds": ["/srv/data:/x:ro:z"]}, "bind-form"),
        ({"Binds": ["root:/x"]}, "volume-options"),
        ({"Binds": ["data:/proc/sys"]}, "mount-target"),
        ({"Binds": ["data:/x/../proc"]}, "mount-target"),
        ({"Mounts": [{"Type": "bind", "Source": "/", "Target": "/host"}]}, "host-path"),
        ({"Mounts": [DATA_BIND]}, "host-path-write"),
        (
            {"Mounts": [{**DATA_BIND, "ReadOnly": True, "BindOptions": {"Propagation": "rshared"}}]},
            "mount-propagation",
        ),
        ({"Mounts": [{"Type": "volume", "Source": "root", "Target": "/x"}]}, "volume-options"),
        (
            {
                "Mounts": [
                    {
                        "Type": "volume",
                        "Source": "new",
                        "Target": "/x",
                        "VolumeOptions": {"DriverConfig": {"Name": "local", "Options": {"type": "none", "o": "bind", "device": "/"}}},
                    }
                ]
            },
            "volume-options",
        ),
        ({"Mounts": [{"Type": "volume", "Target": "/x", "VolumeOptions": {"DriverConfig": {"Name": "rex"}}}]}, "volume-options"),
        ({"Mounts": [{"Type": "npipe", "Source": "x", "Target": "/x"}]}, "mount-type"),
        ({"Mounts": [{"Type": "Bind", "Source": "/", "Target": "/x"}]}, "mount-type"),
        ({"Mounts": [None]}, "mount-type"),
        ({"VolumeDriver": "rex"}, "volume-driver"),
        ({"VolumesFrom": ["web"]}, "volumes-from"),
        ({"CgroupParent": "/"}, "cgroup-parent"),
        ({"Cgroup": "container:web"}, "cgroup-parent"),
        ({"Runtime": "runhost"}, "runtime"),
        ({"Sysctls": {"kernel.shmmax": "1"}}, "sysctl"),
        ({"OomScoreAdj": -1000}, "oom"),
        ({"OomKillDisable": True}, "oom"),
        ({"Links": ["web:db"]}, "links"),
        ({"LogConfig": {"Type": "syslog", "Config": {"syslog-address": "unixgram:///dev/log"}}}, "log-driver"),
        ({"LogConfig": {"Type": "json-file", "Config": {"path": "/x"}}}, "log-driver"),
        ({"Tmpfs": {"/x": "rw,suid"}}, "tmpfs-option"),
        ({"Tmpfs": {"/sys/x": ""}}, "mount-target"),
        ({"StorageOpt": {"dm.basesize": "1"}}, "storage-opt"),
        ({"Isolation": "process"}, "isolation"),
        ({"BlkioDeviceReadBps": [{"Path": "/dev/sda", "Rate": 1}]}, "device"),
        ({"CpuRealtimeRuntime": 1}, "realtime"),
        ({"Annotations": {"run.oci.hooks": "x"}}, "annotation"),
    ],
)  # fmt: skip
def test_a_setting_that_reaches_beyond_the_container(host: dict[str, Any], code: str) -> None:
    known = world(policy=AdmissionPolicy(binds=(DeclaredBind(path="/srv/data"), DeclaredBind(path="/etc"))))
    assert codes(create(host), known) == [code]
    if not isinstance((host.get("Mounts") or [{}])[0], dict) or host.get("CgroupnsMode") == "host":
        return
    # the same setting found in the engine's own record
    assert code in [reason.code for reason in decide_recorded(record(**host), known).reasons]


@pytest.mark.parametrize(
    "host",
    [
        {"CapDrop": ["ALL"], "CapAdd": ["NET_BIND_SERVICE"], "SecurityOpt": ["no-new-privileges"], "ReadonlyRootfs": True},
        {"NetworkMode": "front"},
        {"NetworkMode": "none"},
        {"Binds": ["data:/x", "new-one:/y:ro"]},
        {"Binds": ["/srv/data:/x:ro", "/srv/spool:/y"]},
        {"Mounts": [{"Type": "tmpfs", "Target": "/dev/shm"}, {"Type": "volume", "Source": "data", "Target": "/x"}]},
        {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}, "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}},
        {"Privileged": False, "Devices": [], "VolumesFrom": None, "Links": [], "OomScoreAdj": 0, "Runtime": "", "IpcMode": "private"},
        {"Tmpfs": {"/run": "rw,noexec,nosuid,nodev,size=64m,mode=1777"}, "LogConfig": {"Type": "", "Config": {}}, "Init": True},
    ],
)  # fmt: skip
def test_settings_inside_the_container_pass(host: dict[str, Any]) -> None:
    known = world(policy=AdmissionPolicy(binds=(DeclaredBind(path="/srv/data"), DeclaredBind(path="/srv/spool", write=True))))
    assert codes(create(host), known) == []
    assert decide_recorded(record(**host), known).allowed


def test_a_capability_beyond_the_engines_default_needs_image_and_node() -> None:
    request = create({"CapAdd": ["NET_ADMIN"]})
    declared = ImageFacts(id=GOOD, labels={"shipwall.capabilities": "CAP_NET_ADMIN"})
    allowed = AdmissionPolicy(capabilities=frozenset({"NET_ADMIN"}))
    assert codes(request, world(image=declared)) == ["capability"]
    assert codes(request, world(policy=allowed)) == ["capability"]
    assert codes(request, world(image=declared, policy=allowed)) == []


@pytest.mark.parametrize(
    ("image", "code"),
    [
        ("", "image-reference"),
        (None, "image-reference"),
        ("abcdef123456", "image-short-id"),
        ("cafe", "image-short-id"),
        ("sha256:" + GOOD[7:20], "image-short-id"),
        ("sha256:" + GOOD[7:20].upper(), "image-short-id"),
        ("UPPER/case", "image-reference"),
        ("prod/shop:1 ", "image-reference"),
        ("prod/shop@sha256:12", "image-reference"),
        (BAD, "image-mismatch"),
        (BAD[7:], "image-mismatch"),
    ],
)
def test_references_that_could_mean_two_things(image: str | None, code: str) -> None:
    assert code in codes(create(Image=image))


@pytest.mark.parametrize("image", [GOOD, GOOD[7:], "prod/shop", "prod/shop:1", "127.0.0.1:5000/prod/shop@" + MANIFEST])
def test_an_image_is_judged_by_content_whatever_its_name(image: str) -> None:
    assert codes(create(Image=image)) == []
    assert codes(create(Image=image), world(image=ImageFacts(id=BAD)))[-1] == "not-promoted"
    assert codes(create(Image=image), world(promotions={})) == ["not-promoted"]


def test_an_image_that_is_not_here_cannot_be_judged() -> None:
    assert codes(create(), world(image=None)) == ["image-absent"]


def test_a_node_may_require_digests() -> None:
    strict = world(policy=AdmissionPolicy(require_digest=True))
    assert codes(create(), strict) == ["image-digest"]
    assert codes(create(Image="prod/shop@" + MANIFEST), strict) == []
    assert codes(create(Image=GOOD), strict) == []


ANYONE = [
    ("POST", f"/containers/{ID}/start", None),
    ("POST", f"/containers/{ID}/restart", None),
    ("POST", f"/containers/{ID}/unpause", None),
    ("POST", f"/containers/{ID}/rename?name=x", None),
    ("POST", f"/containers/{ID}/update", {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}}),
    ("POST", f"/containers/{ID}/exec", {"Cmd": ["sh"]}),
    ("POST", f"/exec/{EXEC}/start", {"Detach": False}),
    ("POST", f"/containers/{ID}/attach?stream=1&stdin=1", None),
    ("GET", f"/containers/{ID}/attach/ws", None),
]


@pytest.mark.parametrize(("method", "uri", "body"), ANYONE)
def test_what_runs_in_a_container_is_judged_by_what_the_engine_recorded(method: str, uri: str, body: Any) -> None:
    request, prepared = ask(method, uri, body), ExecFacts(container=ID, privileged=False)
    assert codes(request, world(container=record(), exec=prepared)) == []
    assert codes(request, world(container=record(image=BAD), exec=prepared)) == ["not-promoted"]
    assert codes(request, world(container=record(Privileged=True), exec=prepared)) == ["privileged"]
    bind = MountFacts(kind="bind", source="/", target="/host")
    assert codes(request, world(container=record(mounts=(bind,)), exec=prepared)) == ["host-path"]
    volume = MountFacts(kind="volume", source="/v", target="/x", name="root", driver="local")
    assert codes(request, world(container=record(mounts=(volume,)), exec=prepared)) == ["volume-options"]
    assert codes(request, world(container=record(networks=("sneaky",)), exec=prepared)) == ["host-network"]
    assert codes(request, world(container=record(NewerSetting={"danger": True}), exec=prepared)) == ["unknown-setting"]
    assert codes(request, world(container=record(NewerSetting={"danger": False}), exec=prepared)) == []
    assert "no-such-container" in codes(request, world(container=None, exec=None))


@pytest.mark.parametrize(
    ("method", "uri", "body"),
    [
        *ANYONE,
        ("POST", f"/containers/{ID}/stop", None),
        ("POST", f"/containers/{ID}/kill", None),
        ("POST", f"/containers/{ID}/pause", None),
        ("DELETE", f"/containers/{ID}?force=1&v=1", None),
        ("GET", f"/containers/{ID}/archive?path=/x", None),
        ("HEAD", f"/containers/{ID}/archive?path=/x", None),
        ("GET", f"/containers/{ID}/export", None),
        ("POST", "/networks/front/connect", {"Container": ID}),
        ("POST", "/networks/front/disconnect", {"Container": ID, "Force": True}),
        ("POST", f"/exec/{EXEC}/resize?h=1&w=1", None),
    ],
)
def test_a_frozen_container_is_left_alone(method: str, uri: str, body: Any) -> None:
    request, prepared = ask(method, uri, body), ExecFacts(container=ID, privileged=False)
    needs = find_needs(request)
    assert needs.container == ID or needs.exec == EXEC
    frozen = world(container=record(), exec=prepared, frozen=frozenset({ID}))
    assert codes(request, frozen) == ["frozen"]
    assert codes(request, world(container=record(), exec=prepared)) == []


def test_a_frozen_container_is_left_alone_by_its_name() -> None:
    request = ask("POST", "/containers/web/kill")
    assert codes(request, world(container=record(), frozen=frozenset({ID}))) == ["frozen"]


@pytest.mark.parametrize(
    ("method", "uri", "code"),
    [
        ("POST", "/build", "build"),
        ("POST", "/v1.41/build?remote=x", "build"),
        ("POST", "/build/prune", "build"),
        ("POST", "/commit?container=x", "commit"),
        ("POST", "/images/load", "image-load"),
        ("POST", "/containers/prune", "prune"),
        ("POST", "/images/prune", "prune"),
        ("POST", "/volumes/prune", "prune"),
        ("POST", "/networks/prune", "prune"),
        ("PUT", "/containers/web/archive?path=/", "copy-into"),
        ("POST", "/containers/web/copy", "copy-into"),
        ("POST", "/containers/web/checkpoints", "checkpoint"),
        ("GET", "/plugins", "plugin"),
        ("POST", "/plugins/pull?remote=x", "plugin"),
        ("POST", "/plugins/x/enable", "plugin"),
        ("POST", "/swarm/init", "swarm"),
        ("POST", "/swarm/join", "swarm"),
        ("POST", "/services/create", "swarm"),
        ("POST", "/services/x/update?version=1", "swarm"),
        ("POST", "/secrets/create", "swarm"),
        ("POST", "/configs/create", "swarm"),
        ("GET", "/swarm/unlockkey", "swarm"),
        ("POST", "/session", "session"),
        ("POST", "/grpc", "session"),
        ("POST", "/images/shop/push?tag=1", "push"),
        ("POST", "/images/create?fromImage=", "import"),
    ],
)
def test_calls_that_are_never_allowed(method: str, uri: str, code: str) -> None:
    assert codes(ask(method, uri)) == [code]


@pytest.mark.parametrize(
    ("method", "uri", "body", "code"),
    [
        ("POST", f"/containers/{ID}/exec", {"Cmd": ["sh"], "Privileged": True}, "exec-privileged"),
        ("POST", f"/containers/{ID}/update", {"PidsLimit": 500}, "loosens"),
        ("POST", f"/containers/{ID}/update", {"PidsLimit": -1}, "loosens"),
        ("POST", f"/containers/{ID}/update", {"Memory": 2000}, "loosens"),
        ("POST", f"/containers/{ID}/update", {"CpuQuota": -1}, "loosens"),
        ("POST", f"/containers/{ID}/update", {"Devices": [{"PathOnHost": "/dev/sda"}]}, "loosens"),
        ("POST", "/volumes/create", {"Name": "v1", "DriverOpts": {"type": "none", "o": "bind", "device": "/"}}, "volume-options"),
        ("POST", "/volumes/create", {"Name": "v1", "Driver": "local-persist"}, "volume-driver"),
        ("POST", "/networks/create", {"Name": "n", "Driver": "macvlan", "Options": {"parent": "eth0"}}, "network-driver"),
        ("POST", "/networks/create", {"Name": "n", "Options": {"com.docker.network.bridge.name": "docker0"}}, "network-options"),
        ("POST", "/networks/create", {"Name": "n", "ConfigFrom": {"Network": "x"}}, "network-options"),
        ("POST", "/networks/host/connect", {"Container": ID}, "host-network"),
        ("POST", "/networks/lan/connect", {"Container": ID}, "network-driver"),
        ("POST", "/networks/front/connect", {"Container": ID, "EndpointConfig": {"DriverOpts": {"x": "y"}}}, "endpoint"),
    ],
)
def test_acts_with_dangerous_bodies(method: str, uri: str, body: Any, code: str) -> None:
    known = world(container=record(PidsLimit=100, Memory=1000))
    assert code in codes(ask(method, uri, body), known)


@pytest.mark.parametrize(
    ("method", "uri", "body"),
    [
        ("POST", f"/containers/{ID}/update", {"PidsLimit": 50, "Memory": 500, "MemorySwap": 0, "Devices": []}),
        ("POST", "/volumes/create", {"Name": "v1", "Driver": "local", "DriverOpts": {}, "Labels": {"a": "b"}}),
        ("POST", "/networks/create", {"Name": "n", "Driver": "bridge", "IPAM": {"Driver": "default"}, "Internal": True}),
        ("POST", "/networks/front/connect", {"Container": ID, "EndpointConfig": {"Aliases": ["x"]}}),
        ("POST", "/images/create?fromImage=r%3A1%2Fprod%2Fshop&tag=1", None),
        ("POST", "/images/prod/shop:1/tag?repo=x&tag=y", None),
        ("DELETE", "/images/prod/shop:1", None),
        ("DELETE", f"/containers/{ID}?force=1", None),
        ("GET", "/containers/json?all=1", None),
        ("GET", "/images/get?names=a&names=b", None),
        ("HEAD", "/_ping", None),
    ],
)  # fmt: skip
def test_harmless_acts_pass(method: str, uri: str, body: Any) -> None:
    assert codes(ask(method, uri, body), world(container=record(PidsLimit=100, Memory=1000))) == []


def test_a_node_may_allow_pushes_and_refuse_pulls() -> None:
    known = world(policy=AdmissionPolicy(allow_push=True, allow_pull=False))
    assert codes(ask("POST", "/images/shop/push?tag=1"), known) == []
    assert codes(ask("POST", "/images/create?fromImage=x&tag=1"), known) == ["pull"]


def test_an_exec_prepared_as_privileged_before_admission_was_on_does_not_start() -> None:
    known = world(container=record(), exec=ExecFacts(container=ID, privileged=True))
    assert codes(ask("POST", f"/exec/{EXEC}/start", {"Detach": True}), known) == ["exec-privileged"]


def test_the_engines_default_cgroup_namespace_is_the_hosts_only_on_cgroup_v1() -> None:
    assert decide_recorded(record(CgroupnsMode="host"), world()).allowed
    assert not decide_recorded(record(CgroupnsMode="host"), world(engine=EngineFacts(private_cgroupns=True))).allowed


def test_recorded_system_paths_must_cover_what_the_engine_covers() -> None:
    masked = ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware", "/proc/asound"]
    assert decide_recorded(record(MaskedPaths=masked), world()).allowed
    assert not decide_recorded(record(MaskedPaths=masked[1:]), world()).allowed


def test_needs_name_everything_a_body_speaks_of() -> None:
    host = {
        "Binds": ["data:/x", "/srv:/y", "/anon"],
        "NetworkMode": "front",
        "Mounts": [{"Type": "volume", "Source": "root", "Target": "/z"}],
    }
    needs = find_needs(create(host, NetworkingConfig={"EndpointsConfig": {"back": None, "../x": None}}))
    assert (needs.image, set(needs.volumes), set(needs.networks)) == ("prod/shop:1", {"data", "root"}, {"front", "back"})
    mounts = (MountFacts(kind="volume", source="", target="/x", name="more"),)
    assert set(find_record_needs(record(mounts=mounts, networks=("front",), **host)).volumes) == {"data", "root", "more"}
    assert find_needs(ask("GET", "/containers/json")) == find_needs(ask("POST", "/build"))


def test_every_key_of_a_host_config_is_in_exactly_one_table() -> None:
    tables = [set(settings.FREE), set(settings.EMPTY), set(settings.CHECKS)]
    assert set(schema.HOST_CONFIG) == set().union(*tables)
    assert sum(map(len, tables)) == len(schema.HOST_CONFIG)


def test_a_refusal_is_one_printable_line() -> None:
    verdict = decide_admission(
        create({"Privileged": True, "Binds": ["/\u202e\n:/x"], "PidMode": "host", "Links": ["a"]}), world()
    )
    text = render_refusal(verdict)
    assert "[privileged]" in text
    assert "more" in text
    assert text.isprintable()


def test_refused_requests_carry_their_reason() -> None:
    with pytest.raises(RequestRefused) as caught:
        ask("POST", "/containers/create", {"Image": "x", "Privileged": True})
    assert caught.value.given.code == "json-unknown-key"
    assert "Privileged" in caught.value.given.message
