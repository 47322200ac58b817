"""The engine's door: every known way around admission tried by raw HTTP on a real engine, each refused in the engine's own error."""

from __future__ import annotations

import io
import json
import secrets
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from shipwall.access.hardening import RunOptions
from shipwall.access.policy import AdmissionPolicy
from shipwall.adapters.engine import Engine
from shipwall.adapters.keys import Keys
from shipwall.adapters.private_engine import PrivateEngine
from shipwall.adapters.tools import find_tools
from shipwall.agent.acts import Acts
from shipwall.agent.plugin import AdmissionPlugin
from shipwall.agent.promotions import Promotions
from shipwall.agent.sweep import RULE, Sweep
from shipwall.journeys.enrol import enrol_engine, leave_engine, plugin_socket, private_target
from shipwall.journeys.run import run_container
from shipwall.model.digest import ImageIdentity, digest_of
from shipwall.model.errors import RemoteError
from shipwall.model.event import Exec
from shipwall.model.promotion import Promotion
from shipwall.model.wire import Admission
from shipwall.supply.statements import promotion_statement, sign_statement

pytestmark = pytest.mark.engine

FORM = "application/x-www-form-urlencoded"


@dataclass
class Door:
    """An enrolled engine, and what was in it before."""

    engine: PrivateEngine
    plugin: AdmissionPlugin
    acts: Acts
    good: str
    good_id: str
    bad: str
    bad_id: str
    mark: str
    frozen: set[str] = field(default_factory=set)
    seen: list[Admission] = field(default_factory=list)
    mode: str = "enforce"
    policy: AdmissionPolicy = field(default_factory=AdmissionPolicy)

    def raw(self, data: bytes) -> tuple[int, str]:
        """Status and body of the answer to exactly these bytes."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(20)
            client.connect(str(self.engine.socket))
            with suppress(BrokenPipeError):  # the engine may answer before it has read everything
                client.sendall(data)
            answer = HTTPResponse(client)
            answer.begin()
            body = b""
            with suppress(ConnectionResetError):
                while part := answer.read1():
                    body += part
            status = answer.status
            answer.close()
        return status, body.decode(errors="replace")

    def ask(self, method: str, uri: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, str]:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = {"Host": "x", "Connection": "close", "Content-Length": str(len(data))}
        sent |= {"Content-Type": "application/json"} if body is not None else {}
        sent |= headers or {}
        head = "".join(f"{key}: {value}\r\n" for key, value in sent.items())
        return self.raw(f"{method} {uri} HTTP/1.1\r\n{head}\r\n".encode() + data)

    def refused(self, code: str, method: str, uri: str, body: Any = None, headers: dict[str, str] | None = None) -> None:
        status, text = self.ask(method, uri, body, headers)
        assert status == 403, (status, text)
        assert "authorization denied by plugin shipwall" in text
        assert f"[{code}]" in text

    def create(self, body: dict[str, Any], name: str = "") -> str:
        name = name or f"{self.mark}-{secrets.token_hex(4)}"
        status, text = self.ask("POST", f"/v1.41/containers/create?name={name}", body)
        assert status == 201, text
        return str(json.loads(text)["Id"])


def tar_of(*names: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return buffer.getvalue()


def promote(engine: PrivateEngine, config: str, manifest: str, repository: str) -> Path:
    signer = Keys(engine.instance.keys).signer("promotion")
    promotion = Promotion(
        image=ImageIdentity(manifest=manifest, config=config, diff_ids=()),
        registry=engine.registry,
        repository=repository,
        policy=digest_of(b"policy"),
        time_ns=time.time_ns(),
        by_key=signer.public.key_id,
    )
    path = engine.instance.state / "promotions" / f"{manifest.removeprefix('sha256:')}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(sign_statement(promotion_statement(promotion), signer))
    return path


@pytest.fixture(scope="module")
def door(private_engine: PrivateEngine, busybox_rootfs: bytes) -> Iterator[Door]:
    mark = f"door-{secrets.token_hex(3)}"
    instance = private_engine.instance
    good, bad = f"{private_engine.registry}/{mark}/good:1", f"{private_engine.registry}/{mark}/bad:1"
    with private_engine.engine() as client, Engine(private_engine.socket, 10.0) as asked:
        changes = [
            "CMD /bin/sh",
            "ENV PATH=/bin",
            f"LABEL shipwall.writable=/tmp shipwall.writable-exec=/opt shipwall.pids=50 mark={mark}",
        ]
        good_id = client.import_rootfs([busybox_rootfs], good.rpartition(":")[0], "1", changes)
        bad_id = client.import_rootfs([tar_of(mark)], bad.rpartition(":")[0], "1", ["CMD /x"])
        manifest = client.push(good.rpartition(":")[0], "1")
        promoted = promote(private_engine, good_id, manifest, f"{mark}/good")
        options = {"type": "none", "o": "bind", "device": "/"}
        client.request("POST", "/volumes/create", {"Name": f"{mark}-old", "Driver": "local", "DriverOpts": options})
        sleep = {"Image": good, "Cmd": ["sleep", "1000"]}
        client.create(f"{mark}-privileged", sleep | {"HostConfig": {"Privileged": True}})
        client.create(f"{mark}-root", sleep | {"HostConfig": {"Binds": [f"{mark}-old:/host"]}})
        client.create(f"{mark}-bad", {"Image": bad})
        acts = Acts()
        plugin = AdmissionPlugin(
            asked,
            Promotions(instance),
            lambda: made.frozen,
            lambda told: made.seen.append(told),  # noqa: PLW0108 - made does not exist yet
            node="test",
            acts=acts,
            policy=lambda: made.policy,
            mode=lambda: made.mode,
        )
        made = Door(private_engine, plugin, acts, good, good_id, bad, bad_id, mark)
        original = private_engine.configuration.read_bytes()
        plugin.start(plugin_socket(instance))
        try:
            assert enrol_engine(instance, private_target(instance)).state == "enrolled"
            yield made
        finally:
            leave_engine(instance, private_target(instance))
            plugin.stop()
            promoted.unlink()
            for listed in client.containers(filters={"name": [mark]}):
                client.remove(listed["Id"], force=True)
            for volume in (client.request("GET", "/volumes")["Volumes"]) or []:
                if volume["Name"].startswith(mark):
                    client.request("DELETE", f"/volumes/{volume['Name']}")
            for listed in client.images():
                if any(mark in tag for tag in listed.get("RepoTags") or ()):
                    client.remove_image(listed["Id"], force=True)
        assert private_engine.configuration.read_bytes() == original


@pytest.fixture
def running(door: Door) -> Iterator[str]:
    """The id of a running promoted container."""
    made = door.create({"Image": door.good, "Cmd": ["sleep", "1000"]})
    assert door.ask("POST", f"/v1.41/containers/{made}/start")[0] == 204
    yield made
    door.frozen.discard(made)
    path = f"/v1.41/containers/{made}"
    door.ask("DELETE", f"{path}?force=1", None, door.acts.headers("DELETE", path))


def test_the_promoted_image_runs_whatever_it_is_called(door: Door) -> None:
    with door.engine.engine() as client:
        digest = client.inspect_image(door.good)["RepoDigests"][0]
    for name in (door.good, door.good_id, door.good_id[7:], digest):
        made = door.create({"Image": name, "Cmd": ["true"]})
        assert door.ask("POST", f"/v1.41/containers/{made}/start")[0] == 204
        assert door.ask("POST", f"/v1.41/containers/{made}/wait")[0] == 200
        assert door.ask("DELETE", f"/v1.41/containers/{made}")[0] == 204


def test_what_was_not_promoted_does_not_run_whatever_it_is_called(door: Door) -> None:
    uri = "/v1.41/containers/create"
    for name in (door.bad, door.bad_id, door.bad_id[7:], door.bad.rpartition(":")[0] + ":latest"):
        door.refused("image-absent" if name.endswith("latest") else "not-promoted", "POST", uri, {"Image": name})
    for name in (door.good_id[7:19], door.bad_id[7:19], "sha256:" + door.good_id[7:19]):
        door.refused("image-short-id", "POST", uri, {"Image": name})
    assert any(told.subject == door.bad and not told.verdict.allowed for told in door.seen)


def test_a_tag_is_only_a_name(door: Door) -> None:
    repository = f"{door.mark}/moved"
    assert door.ask("POST", f"/v1.41/images/{door.good_id}/tag?repo={repository}&tag=1")[0] == 201
    made = door.create({"Image": f"{repository}:1", "Cmd": ["true"]})
    assert door.ask("POST", f"/v1.41/images/{door.bad_id}/tag?repo={repository}&tag=1")[0] == 201
    # what the tag means now is not promoted; what the container was made from is
    door.refused("not-promoted", "POST", "/v1.41/containers/create", {"Image": f"{repository}:1"})
    assert door.ask("POST", f"/v1.41/containers/{made}/start")[0] == 204
    # and giving the bad image the good one's name changes nothing about a container made of it before
    assert door.ask("POST", f"/v1.41/images/{door.good_id}/tag?repo={door.bad.rpartition(':')[0]}&tag=1")[0] == 201
    door.refused("not-promoted", "POST", f"/v1.41/containers/{door.mark}-bad/start")
    door.ask("POST", f"/v1.41/images/{door.bad_id}/tag?repo={door.bad.rpartition(':')[0]}&tag=1")


def test_a_tag_moved_between_question_and_act_leaves_nothing(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """The race is won for the attacker: the plugin sees the promoted image, the engine the other one."""
    repository, name = f"{door.mark}/race", f"{door.mark}-race"
    door.ask("POST", f"/v1.41/images/{door.good_id}/tag?repo={repository}&tag=1")
    # moved before the engine looks, after the plugin did: the judgement of the request is made on the old meaning
    original = door.plugin._gather

    def gather_then_move(*given: Any) -> Any:
        world = original(*given)
        if given[0].image == f"{repository}:1":
            with door.engine.engine() as client:
                client.tag(door.bad_id, repository, "1", headers=door.acts.headers("POST", f"/images/{door.bad_id}/tag"))
        return world

    monkeypatch.setattr(door.plugin, "_gather", gather_then_move)
    status, text = door.ask(
        "POST",
        f"/v1.41/containers/create?name={name}",
        {"Image": f"{repository}:1", "HostConfig": {"RestartPolicy": {"Name": "always"}}},
    )
    assert status == 403, text
    assert "what was made is not what was asked" in text
    assert "[not-promoted]" in text
    assert door.ask("GET", f"/v1.41/containers/{name}/json")[0] == 404


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ({"Privileged": True}, "privileged"),
        ({"CapAdd": ["SYS_ADMIN"]}, "capability"),
        ({"CapAdd": ["all"]}, "capability"),
        ({"PidMode": "host"}, "host-pid"),
        ({"IpcMode": "host"}, "host-ipc"),
        ({"UTSMode": "host"}, "host-uts"),
        ({"UsernsMode": "host"}, "host-userns"),
        ({"CgroupnsMode": "host"}, "host-cgroupns"),
        ({"NetworkMode": "host"}, "host-network"),
        ({"NetworkMode": "container:MARK-privileged"}, "join-container"),
        ({"PidMode": "container:MARK-privileged"}, "join-container"),
        ({"Devices": [{"PathOnHost": "/dev/kmsg", "PathInContainer": "/dev/kmsg", "CgroupPermissions": "rwm"}]}, "device"),
        ({"DeviceCgroupRules": ["a *:* rwm"]}, "device"),
        ({"SecurityOpt": ["seccomp=unconfined"]}, "security-opt"),
        ({"SecurityOpt": ["apparmor=unconfined"]}, "security-opt"),
        ({"SecurityOpt": ["no-new-privileges=false"]}, "security-opt"),
        ({"MaskedPaths": [], "ReadonlyPaths": []}, "system-paths"),
        ({"Binds": ["/:/host"]}, "host-path"),
        ({"Binds": ["/run/docker.sock:/s"]}, "host-path"),
        ({"Binds": ["ENGINE:/s"]}, "host-path"),
        ({"Binds": ["PLUGINS:/s"]}, "host-path"),
        ({"Mounts": [{"Type": "bind", "Source": "/", "Target": "/host"}]}, "host-path"),
        ({"Binds": ["MARK-old:/host"]}, "volume-options"),
        ({"Mounts": [{"Type": "volume", "Source": "MARK-old", "Target": "/host"}]}, "volume-options"),
        (
            {
                "Mounts": [
                    {
                        "Type": "volume",
                        "Source": "MARK-new",
                        "Target": "/host",
                        "VolumeOptions": {
                            "DriverConfig": {"Name": "local", "Options": {"type": "none", "o": "bind", "device": "/"}}
                        },
                    }
                ]
            },
            "volume-options",
        ),
        ({"VolumesFrom": ["MARK-root"]}, "volumes-from"),
        ({"CgroupParent": "/"}, "cgroup-parent"),
        ({"Runtime": "other"}, "runtime"),
        ({"Sysctls": {"net.ipv4.ip_forward": "1"}}, "sysctl"),
        ({"OomScoreAdj": -900}, "oom"),
    ],
)
def test_settings_that_reach_the_host(door: Door, host: dict[str, Any], code: str) -> None:
    text = json.dumps({"Image": door.good, "HostConfig": host}).replace("MARK", door.mark)
    text = text.replace("ENGINE", str(door.engine.socket)).replace("PLUGINS", str(door.engine.plugins))
    door.refused(code, "POST", "/v1.41/containers/create", text.encode())


def test_the_host_network_by_its_id(door: Door) -> None:
    network = json.loads(door.ask("GET", "/v1.41/networks/host")[1])["Id"]
    door.refused("host-network", "POST", "/containers/create", {"Image": door.good, "HostConfig": {"NetworkMode": network}})
    body = {"Image": door.good, "NetworkingConfig": {"EndpointsConfig": {network: {}}}}
    door.refused("host-network", "POST", "/containers/create", body)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"image":"%s"}', "json-key-case"),
        (b'{"Image":"%s","HostConfig":{"privileged":true}}', "json-key-case"),
        (b'{"Image":"%s","HostConfig":{"Privileged":false,"Privileged":true}}', "json-duplicate-key"),
        (b'{"Image":"%s","HostConfig":{"Privileged":false,"pRIVILEGED":true}}', "json-duplicate-key"),
        (b'{"Image":"%s","Privileged":true}', "json-unknown-key"),
        ('{"Image":"%s","Ho\u017ftConfig":{"Privileged":true}}'.encode(), "json-key-case"),
        (b'{"Image":"%s","Ho\\u017ftConfig":{"Privileged":true}}', "json-key-case"),
        (b'{"Image":"%s","HostConfig":{"Future":1}}', "json-unknown-key"),
        (b'{"Image":"%s"}{"HostConfig":{"Privileged":true}}', "json-malformed"),
    ],
)
def test_bodies_that_two_parsers_read_differently(door: Door, body: bytes, code: str) -> None:
    door.refused(code, "POST", "/v1.41/containers/create", body.replace(b"%s", door.good.encode()))


def test_a_body_over_a_mebibyte(door: Door) -> None:
    padding = {"Image": door.bad, "Labels": {"a": "x" * (1024 * 1024)}, "HostConfig": {"Privileged": True}}
    door.refused("body-too-large", "POST", "/v1.41/containers/create", padding)


def test_bodies_the_engine_does_not_show(door: Door) -> None:
    body = json.dumps({"Image": door.bad, "HostConfig": {"Privileged": True}}).encode()
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    head = b"POST /v1.41/containers/create%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
    for query, extra in (
        (b"", b"Content-Type: application/json\r\n"),
        (b"", b"Content-Type: application/json\r\nContent-Length: 0\r\n"),
    ):
        status, text = door.raw(head % query + extra + b"\r\n" + chunked)
        assert status in (400, 403), text
        assert "Id" not in text
    for content_type in ("text/plain", "application/json, x", "APPLICATION/JSON", "", FORM):
        status, text = door.ask("POST", "/v1.41/containers/create", body, {"Content-Type": content_type})
        assert status == 403, (content_type, text)
    # some engines hide the body of whatever ends in /auth
    status, text = door.ask("POST", "/v1.41/containers/create?name=x/auth", body)
    assert status == 403, text
    # two content types: the engine goes by the first, its plugins are shown the last
    twice = (
        b"POST /v1.41/containers/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n"
        b"Content-Type: text/plain\r\nContent-Type: application/json\r\n\r\n%s" % (len(body), body)
    )
    status, text = door.raw(twice)
    assert status == 403
    assert "[body-hidden]" in text


def test_form_bodies_that_override_the_query(door: Door) -> None:
    body = b"fromImage=&fromSrc=http://127.0.0.1:1/x.tar&repo=evil"
    door.refused("body-unexpected", "POST", "/v1.41/images/create?fromImage=x", body, {"Content-Type": FORM})
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    head = b"POST /v1.41/images/create?fromImage=x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
    for types in (f"Content-Type: {FORM}\r\n", f"Content-Type: {FORM}\r\nContent-Type: text/plain\r\n"):
        status, text = door.raw(head + types.encode() + b"\r\n" + chunked)
        assert status == 403
        assert "[body-unexpected]" in text


@pytest.mark.parametrize(
    ("method", "uri", "code"),
    [
        ("POST", "/v1.23/containers/MARK-bad/start", "api-version"),
        ("POST", "/v1.12/containers/create", "api-version"),
        ("POST", "/v1.41/containers/%63reate", "uri-not-plain"),
        ("POST", "/v1.41/containers/MARK-bad/kill?signal=9&signal=15", "query-duplicate"),
        ("POST", "/v1.41/containers/MARK-bad/start?checkpoint=x", "query-parameter"),
        ("POST", "/v1.41/images/create?fromSrc=-&repo=x", "query-parameter"),
        ("POST", "/v1.41/build?remote=http://127.0.0.1:1/", "build"),
        ("POST", "/v1.41/commit?container=MARK-bad&repo=x", "commit"),
        ("POST", "/v1.41/images/load", "image-load"),
        ("POST", "/v1.41/swarm/init", "swarm"),
        ("POST", "/v1.41/services/create", "swarm"),
        ("POST", "/v1.41/services/x/update?version=1", "swarm"),
        ("POST", "/v1.41/plugins/pull?remote=x", "plugin"),
        ("POST", "/v1.41/containers/prune", "prune"),
        ("PUT", "/v1.41/containers/MARK-bad/archive?path=/", "copy-into"),
        ("POST", "/v1.41/containers/MARK-bad/copy", "copy-into"),
        ("POST", "/session", "session"),
        ("POST", "/grpc", "session"),
        ("POST", "/v1.41/containers/MARK-nobody/start", "no-such-container"),
        # made before admission was on
        ("POST", "/v1.41/containers/MARK-bad/start", "not-promoted"),
        ("POST", "/v1.41/containers/MARK-bad/restart", "not-promoted"),
        ("POST", "/v1.41/containers/MARK-bad/rename?name=x", "not-promoted"),
        ("POST", "/v1.41/containers/MARK-privileged/restart", "privileged"),
        ("POST", "/v1.41/containers/MARK-privileged/attach?stdin=1&stream=1", "privileged"),
        ("GET", "/v1.41/containers/MARK-privileged/attach/ws?stdin=1", "privileged"),
        ("POST", "/v1.41/containers/MARK-root/start", "volume-options"),
    ],
)
def test_calls_that_are_refused(door: Door, method: str, uri: str, code: str) -> None:
    door.refused(code, method, uri.replace("MARK", door.mark))


def test_a_build_with_run_and_a_load_with_their_bodies(door: Door) -> None:
    tar = {"Content-Type": "application/x-tar"}
    door.refused("build", "POST", "/v1.41/build?t=evil", tar_of("Dockerfile"), tar)
    door.refused("image-load", "POST", "/v1.41/images/load", tar_of("manifest.json"), tar)


@pytest.mark.parametrize(
    ("uri", "body", "code"),
    [
        ("/volumes/create", {"Name": "evil", "DriverOpts": {"type": "none", "o": "bind", "device": "/"}}, "volume-options"),
        ("/networks/create", {"Name": "evil", "Driver": "macvlan", "Options": {"parent": "tap0"}}, "network-driver"),
        ("/networks/host/connect", {"Container": "MARK-bad"}, "host-network"),
        ("/containers/MARK-privileged/exec", {"Cmd": ["sh"]}, "privileged"),
        ("/containers/MARK-bad/update", {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}}, "not-promoted"),
    ],
)  # fmt: skip
def test_bodies_that_are_refused(door: Door, uri: str, body: dict[str, Any], code: str) -> None:
    door.refused(code, "POST", "/v1.41" + uri.replace("MARK", door.mark), json.dumps(body).replace("MARK", door.mark).encode())


def test_exec(door: Door, running: str) -> None:
    uri = f"/v1.41/containers/{running}/exec"
    door.refused("exec-privileged", "POST", uri, {"Cmd": ["id"], "Privileged": True})
    status, text = door.ask("POST", uri, {"Cmd": ["true"], "Detach": True})
    assert status == 201, text
    start = f"/v1.41/exec/{json.loads(text)['Id']}/start"
    door.frozen.add(running)
    door.refused("frozen", "POST", start, {"Detach": True})
    door.frozen.clear()
    assert door.ask("POST", start, {"Detach": True})[0] == 200


def test_a_frozen_container_is_the_agents_alone(door: Door, running: str) -> None:
    door.frozen.add(running)
    name = json.loads(door.ask("GET", f"/v1.41/containers/{running}/json")[1])["Name"].removeprefix("/")
    for act in ("start", "stop", "restart", "kill", "pause", "unpause", "rename?name=x", "attach?stream=1"):
        for called in (running, running[:12], name):
            door.refused("frozen", "POST", f"/v1.41/containers/{called}/{act}")
    door.refused("frozen", "DELETE", f"/v1.41/containers/{name}?force=1")
    door.refused("frozen", "POST", f"/v1.41/containers/{name}/exec", {"Cmd": ["sh"]})
    door.refused("frozen", "POST", f"/v1.41/containers/{name}/update", {"PidsLimit": 1})
    door.refused("frozen", "GET", f"/v1.41/containers/{name}/archive?path=/")
    door.refused("frozen", "GET", f"/v1.41/containers/{name}/export")
    door.refused("frozen", "POST", "/v1.41/networks/bridge/disconnect", {"Container": name, "Force": True})
    door.refused("copy-into", "PUT", f"/v1.41/containers/{name}/archive?path=/")
    assert door.ask("GET", f"/v1.41/containers/{name}/json")[0] == 200

    pause = f"/v1.41/containers/{running}/pause"
    token = door.acts.headers("POST", pause)
    door.refused("frozen", "POST", f"/v1.41/containers/{running}/kill", None, token)  # for another act; and used up by it
    door.refused("frozen", "POST", pause, None, token)
    token = door.acts.headers("POST", pause)
    assert door.ask("POST", pause, None, token)[0] == 204
    door.refused("frozen", "POST", pause, None, token)
    assert (
        door.ask(
            "POST", f"/v1.41/containers/{running}/unpause", None, door.acts.headers("POST", f"/containers/{running}/unpause")
        )[0]
        == 204
    )


def test_the_declared_bind_and_nothing_beside_it(door: Door, tmp_path: Path) -> None:
    from shipwall.access.policy import DeclaredBind

    door.policy = AdmissionPolicy(binds=(DeclaredBind(path=str(tmp_path)),))
    try:
        uri = "/v1.41/containers/create"
        made = door.create({"Image": door.good, "HostConfig": {"Binds": [f"{tmp_path}:/x:ro"]}})
        assert door.ask("POST", f"/v1.41/containers/{made}/start")[0] == 204
        for bind in (f"{tmp_path}:/x", f"{tmp_path}/..:/x:ro", f"{tmp_path}/below:/x:ro"):
            status, text = door.ask("POST", uri, {"Image": door.good, "HostConfig": {"Binds": [bind]}})
            assert status == 403, text
    finally:
        door.policy = AdmissionPolicy()


def test_the_profile_of_run(door: Door) -> None:
    with door.engine.engine() as client:
        options = RunOptions(command=("sleep", "1000"), env=("A=b",))
        ran = run_container(client, door.good, options, f"{door.mark}-run")
        assert ran.manifest is not None
        assert ran.image.endswith("@" + ran.manifest)
        code, output = client.exec_run(
            ran.id, ["sh", "-c", "id -u; grep -E 'NoNewPrivs|CapEff|CapBnd|Seccomp:' /proc/1/status; touch /x 2>/dev/null"]
        )
        assert code != 0
        text = output.decode()
        assert text.startswith("65534\n")
        assert "NoNewPrivs:\t1" in text
        assert "CapEff:\t0000000000000000" in text
        assert "CapBnd:\t0000000000000000" in text
        assert "Seccomp:\t2" in text
        script = "cp /bin/busybox /tmp/a; chmod +x /tmp/a; /tmp/a true 2>/dev/null; echo $?; cp /bin/busybox /opt/true; /opt/true; echo $?"
        _, output = client.exec_run(ran.id, ["sh", "-c", script])
        assert output == b"126\n0\n"
        assert client.inspect_container(ran.id)["HostConfig"]["PidsLimit"] == 50
        with pytest.raises(RemoteError, match="not-promoted") as caught:
            run_container(client, door.bad, RunOptions(), f"{door.mark}-never")
        assert caught.value.status == 403
        assert not client.containers(filters={"name": [f"{door.mark}-never"]})


def test_observe_mode_reports_and_lets_through(door: Door) -> None:
    door.mode = "observe"
    try:
        door.seen.clear()
        made = door.create({"Image": door.bad})
        told = [told for told in door.seen if told.subject == door.bad]
        assert [reason.code for reason in told[0].verdict.reasons] == ["observe-only", "not-promoted"]
    finally:
        door.mode = "enforce"
    door.refused("not-promoted", "POST", f"/v1.41/containers/{made}/start")
    swept = {record.name for record, _ in door.plugin.sweep()}
    assert {f"{door.mark}-bad", f"{door.mark}-privileged", f"{door.mark}-root"} <= swept


def test_what_was_started_while_nobody_was_asked_is_told_and_stopped_only_on_purpose(door: Door) -> None:
    name = f"{door.mark}-meanwhile"

    def sweep(allow: AdmissionPolicy) -> Sweep:
        return Sweep(door.plugin, asked, door.acts, lambda: allow, door.seen.append, "test")

    def status() -> str:
        return str(asked.inspect_container(name)["State"]["Status"])

    def told() -> list[str]:
        return [one.verdict.reasons[0].message for one in door.seen if one.method == "SWEEP" and one.subject == name]

    with door.engine.engine() as asked:
        door.mode = "observe"
        try:
            door.create({"Image": door.good, "Cmd": ["sleep", "1000"], "HostConfig": {"PidMode": "host"}}, name)
            assert door.ask("POST", f"/v1.41/containers/{name}/start")[0] == 204
        finally:
            door.mode = "enforce"
        door.seen.clear()
        found = sweep(AdmissionPolicy())
        assert [alert for alert in found("observe", 7) if alert.container_name == name] == []
        assert told() == ["it was started without being asked about; it goes on"]
        assert found("observe", 8) == []
        (alert,) = [alert for alert in found("enforce", 9) if alert.container_name == name]
        assert (alert.rule, alert.stopped, alert.raised_ns) == (RULE, "", 9)
        assert "[host-pid]" in alert.output
        assert isinstance(alert.event, Exec)
        assert alert.event.argv == ("sleep", "1000")
        assert Path(f"/proc/{alert.event.pid}/cmdline").read_bytes() == b"sleep\x001000\0"
        assert alert.time_ns > time.time_ns() - 600 * 10**9
        assert found("enforce", 10) == []
        assert status() == "running"
        stopping = AdmissionPolicy(stop_unadmitted=True)
        sweep(stopping)("observe", 11)
        assert status() == "running"
        (alert,) = [alert for alert in sweep(stopping)("enforce", 12) if alert.container_name == name]
        assert alert.stopped == "container stopped"
        assert status() == "exited"
        assert told()[-1] == "it was started without being asked about; it was stopped"
        assert sweep(stopping)("enforce", 13) == []  # what does not run is judged when somebody starts it
    door.refused("host-pid", "POST", f"/v1.41/containers/{name}/start")


def test_reads_are_fast_and_many_at_once(door: Door) -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        for _ in range(10):
            try:
                if number % 2:
                    status, text = door.ask("GET", f"/v1.41/containers/{door.mark}-bad/json")
                    wrong.extend([] if status == 200 else [text])
                else:
                    door.refused(
                        "privileged", "POST", "/v1.41/containers/create", {"Image": door.good, "HostConfig": {"Privileged": True}}
                    )
            except (OSError, AssertionError) as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    door.plugin.decide_ns.clear()
    for _ in range(50):
        door.ask("GET", "/v1.41/containers/json")
    times = sorted(door.plugin.decide_ns)
    assert times[len(times) // 2] < 5_000_000


def test_a_promotion_that_is_taken_back_or_broken_counts_no_more(door: Door) -> None:
    folder = door.engine.instance.state / "promotions"
    (path,) = [path for path in folder.iterdir() if json.dumps(door.good_id) and path.suffix == ".json"]
    whole = path.read_bytes()
    try:
        path.write_bytes(whole.replace(b"A", b"B", 1))
        door.refused("not-promoted", "POST", "/v1.41/containers/create", {"Image": door.good})
        path.unlink()
        door.refused("not-promoted", "POST", "/v1.41/containers/create", {"Image": door.good})
        (folder / ("0" * 64 + ".json")).write_bytes(whole)  # a true promotion under another name
        door.refused("not-promoted", "POST", "/v1.41/containers/create", {"Image": door.good})
    finally:
        (folder / ("0" * 64 + ".json")).unlink(missing_ok=True)
        path.write_bytes(whole)
    door.create({"Image": door.good})


def test_the_docker_client_works_through_the_door(door: Door) -> None:
    docker = [str(find_tools("docker")["docker"]), "-H", f"unix://{door.engine.socket}"]

    def run(*arguments: str, data: str = "") -> tuple[int, str]:
        done = subprocess.run([*docker, *arguments], input=data, capture_output=True, text=True, timeout=30, check=False)
        return done.returncode, done.stdout + done.stderr

    name = f"{door.mark}-client"
    code, text = run("run", "--rm", "-i", door.good, "sh", "-c", "read x; echo got $x", data="hello\n")
    assert text == "got hello\n"
    assert code == 0
    assert (
        run("run", "-d", "--name", name, "--memory", "64m", "--cap-drop", "ALL", "--read-only", door.good, "sleep", "1000")[0]
        == 0
    )
    assert run("exec", name, "echo", "inside") == (0, "inside\n")
    assert run("exec", "-i", name, "cat", data="through")[1] == "through"
    for arguments in (
        ("ps",),
        ("images",),
        ("logs", name),
        ("top", name),
        ("inspect", name),
        ("info",),
        ("stats", "--no-stream", name),
    ):
        code, text = run(*arguments)
        assert code == 0, text
    assert run("update", "--memory", "32m", "--memory-swap", "32m", name)[0] == 0
    for refused, code in (
        (("run", "--privileged", door.good, "true"), "privileged"),
        (("run", "-v", "/:/host", door.good, "true"), "host-path"),
        (("run", "--pid=host", door.good, "true"), "host-pid"),
        (("run", "--security-opt", "systempaths=unconfined", door.good, "true"), "system-paths"),
        (("exec", "--privileged", name, "true"), "exec-privileged"),
        (("cp", "/etc/hostname", f"{name}:/tmp/x"), "copy-into"),
        (("commit", name, "evil"), "commit"),
        (("update", "--memory", "1g", "--memory-swap", "1g", name), "loosens"),
        (("volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device=/", f"{door.mark}-evil"), "volume-options"),
        (("push", door.good), "push"),
    ):
        status, text = run(*refused)
        assert status != 0, text
        assert "authorization denied by plugin shipwall" in text
        assert f"[{code}]" in text, text
    assert run("restart", "-t", "0", name)[0] == 0
    assert run("rm", "-f", name)[0] == 0


def test_events_come_through_the_door_as_they_happen(door: Door) -> None:
    got: list[dict[str, Any]] = []
    since = str(time.time())

    def listen() -> None:
        with door.engine.engine() as client:
            for event in client.events(filters={"container": [f"{door.mark}-event"]}, since=since, idle_s=10):
                got.append(event)
                if event["Action"] == "destroy":
                    return

    listener = threading.Thread(target=listen)
    listener.start()
    made = door.create({"Image": door.good}, f"{door.mark}-event")
    door.ask("DELETE", f"/v1.41/containers/{made}")
    listener.join(15)
    assert [event["Action"] for event in got] == ["create", "destroy"]


def test_the_command_run(door: Door) -> None:
    def run(*arguments: str) -> tuple[int, Any]:
        command = [sys.executable, "-m", "shipwall", "run", *arguments, "--engine", str(door.engine.socket), "--output", "json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    code, ran = run(door.good, "--name", f"{door.mark}-cli", "--publish", "0:80", "--writable", "/var", "sleep", "1000")
    assert code == 0, ran
    assert ran["name"] == f"{door.mark}-cli"
    assert ran["config"] == door.good_id
    assert "80/tcp" in ran["ports"]
    code, refused = run(door.bad)
    assert (code, refused["allowed"]) == (1, False)
    assert "[not-promoted]" in refused["reason"]
    code, line = run(door.good, "--publish", "80")
    assert code == 3
    assert line.count("\n") == 1
