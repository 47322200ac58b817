"""The profile of `shipwall run`, and the node's admission policy."""

from __future__ import annotations

import pytest

from shipwall.access.hardening import NOBODY, Published, RunOptions, check_options, parse_declared, parse_publish, render_create
from shipwall.access.policy import AdmissionPolicy, DeclaredBind, is_protected, parse_admission_policy
from shipwall.model.errors import InputError


def test_the_profile_takes_everything_away_but_what_is_declared() -> None:
    declared = parse_declared(
        {
            "shipwall.writable": "/run/nginx, /tmp",
            "shipwall.writable-exec": "/opt/plugins",
            "shipwall.capabilities": "cap_net_bind_service",
            "shipwall.memory": "1000000",
        }
    )
    publish = (Published(port=80, host_port=8080), Published(port=80, host_port=0, host_ip="127.0.0.1"))
    body = render_create("shop@sha256:x", "", declared, RunOptions(publish=publish, env=("A=b",)))
    host = body["HostConfig"]
    assert body["User"] == NOBODY
    assert host["CapDrop"] == ["ALL"]
    assert host["CapAdd"] == ["NET_BIND_SERVICE"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["ReadonlyRootfs"] is True
    assert (host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (1_000_000, 1_000_000, 256)
    assert set(host["Tmpfs"]) == {"/run/nginx", "/tmp", "/opt/plugins"}
    assert "noexec" in host["Tmpfs"]["/tmp"].split(",")
    assert "exec" in host["Tmpfs"]["/opt/plugins"].split(",")
    assert host["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "127.0.0.1", "HostPort": ""}]}
    assert "Cmd" not in body


@pytest.mark.parametrize(
    ("declared", "image", "asked", "user"),
    [
        ("", "", "", NOBODY),
        ("", "root", "", NOBODY),
        ("", "0:5", "", NOBODY),
        ("", "web", "", "web"),
        ("33", "web", "", "33"),
        ("33", "", "7:7", "7:7"),
    ],
)
def test_the_user_is_never_root_by_default(declared: str, image: str, asked: str, user: str) -> None:
    labels = {"shipwall.user": declared}
    assert render_create("x", image, parse_declared(labels), RunOptions(user=asked))["User"] == user


@pytest.mark.parametrize("path", ["relative", "/", "/a/../b", "/a//b", "/a:b", "/a,b/\0", "//a", "/a/"])
def test_paths_that_cannot_be_meant_declare_nothing(path: str) -> None:
    assert path not in parse_declared({"shipwall.writable": path}).writable
    with pytest.raises(InputError):
        check_options(RunOptions(writable=(path,)), "x1")


@pytest.mark.parametrize("text", ["80", "0:0", "70000:80", "a:b", "8080:80/sctp", "1.2.3:80:80", "8080:80 "])
def test_ports_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(InputError):
        parse_publish(text)


def test_ports() -> None:
    assert parse_publish("127.0.0.1:8080:80/udp") == Published(port=80, host_port=8080, host_ip="127.0.0.1", protocol="udp")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/etc",
        "/etc/docker",
        "/var",
        "/var/run/docker.sock",
        "/run",
        "/proc/1/root",
        "/usr/local",
        "//srv",
        "srv",
        "/srv/x",
        "/srv",
    ],
)
def test_protected_paths(path: str) -> None:
    assert is_protected(path, ("/srv/x/engine.sock",))


def test_unprotected_paths() -> None:
    assert not is_protected("/srv/data", ("/srv/x/engine.sock",))
    assert not is_protected("/rundata")


def test_a_policy() -> None:
    text = "version: 1\nbinds:\n  - {path: /srv/data}\n  - {path: /srv/w, write: true}\ncapabilities: [NET_ADMIN]\nrequire_digest: true\n"
    policy = parse_admission_policy(text, "admission.yaml", ("/srv/secret",))
    assert policy == AdmissionPolicy(
        binds=(DeclaredBind(path="/srv/data"), DeclaredBind(path="/srv/w", write=True)),
        capabilities=frozenset({"NET_ADMIN"}),
        require_digest=True,
        protected=("/srv/secret",),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "version: 2",
        "version: 1\nbind: []",
        "version: 1\nbinds: [{path: /}]",
        "version: 1\nbinds: [{path: /var/run/docker.sock}]",
        "version: 1\nbinds: [{path: /srv/secret}]",
        "version: 1\nbinds: [{path: /srv}]",
        "version: 1\nbinds: [{path: /srv/../etc}]",
        "version: 1\ncapabilities: [sys_admin]",
        "version: 1\nseccomp: [unconfined]",
        "version: 1\nrequire_digest: maybe",
        "version: 1\nprotected: []",
    ],
)
def test_a_policy_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(InputError):
        parse_admission_policy(text, "admission.yaml", ("/srv/secret",))
