"""Each place where the engine and we could read a request differently is refused, with its own reason."""

from __future__ import annotations

import json

import pytest

from shipwall.access.request import MAX_BODY_BYTES, RequestRefused, parse_envelope, parse_request
from shipwall.model.errors import InputError

CREATE = "/v1.41/containers/create"


def refused(method: str, uri: str, headers: dict[str, str] | None = None, body: bytes = b"") -> str:
    with pytest.raises(RequestRefused) as caught:
        parse_request(method, uri, headers or {}, body)
    return caught.value.given.code


def sent(body: bytes, content_type: str = "application/json") -> dict[str, str]:
    return {"Content-Type": content_type, "Content-Length": str(len(body))}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"Image":"a","image":"b"}', "json-duplicate-key"),
        (b'{"image":"b"}', "json-key-case"),
        (b'{"Image":"a","Image":"b"}', "json-duplicate-key"),
        (b'{"Image":"a","HostConfig":{"privileged":true}}', "json-key-case"),
        (b'{"Image":"a","HostConfig":{"Privileged":false,"privileged":true}}', "json-duplicate-key"),
        (b'{"Image":"a","HostConfig":{"Privileged":false,"Privileged":true}}', "json-duplicate-key"),
        ('{"Image":"a","HostConfig":{"Mask\u017fedPaths":[]}}'.encode(), "json-unknown-key"),
        ('{"Image":"a","Ho\u017ftConfig":{"Privileged":true}}'.encode(), "json-key-case"),
        ('{"Image":"a","HostConfig":{"Lin\u212as":["a"]}}'.encode(), "json-key-case"),
        ('{"Image":"a","HostConfig":{},"Ho\u017ftConfig":{"Privileged":true}}'.encode(), "json-duplicate-key"),
        (b'{"Image":"a","Ho\\u017ftConfig":{"Privileged":true}}', "json-key-case"),
        (b'{"Image":"a","Privileged":true}', "json-unknown-key"),
        (b'{"Image":"a","Binds":["/:/h"]}', "json-unknown-key"),
        (b'{"Image":"a","Cpuset":"0"}', "json-unknown-key"),
        (b'{"Image":"a","HostConfig":{"LaterSetting":{"a":"b"}}}', "json-unknown-key"),
        (b'{"Image":"a","HostConfig":{"Mounts":[{"Type":"volume","ImageOptions":{}}]}}', "json-unknown-key"),
        (b'{"Image":"a","HostConfig":{"Privileged":"true"}}', "json-wrong-type"),
        (b'{"Image":"a","HostConfig":{"CapAdd":"SYS_ADMIN"}}', "json-wrong-type"),
        (b'{"Image":"a","HostConfig":{"PidsLimit":1e3}}', "json-wrong-type"),
        (b'{"Image":"a","HostConfig":{"PidsLimit":true}}', "json-wrong-type"),
        (b'{"Image":"a","HostConfig":[]}', "json-wrong-type"),
        (b'{"Image":"a","Volumes":{"/x":{"a":1}}}', "json-wrong-type"),
        (b'[{"Image":"a"}]', "json-wrong-type"),
        (b'{"Image":"a"}{"HostConfig":{"Privileged":true}}', "json-malformed"),
        (b'{"Image":"a"} x', "json-malformed"),
        (b'{"Image":"a","HostConfig":{"PidsLimit":NaN}}', "json-malformed"),
        (b'{"Image":"a","HostConfig":{"PidsLimit":Infinity}}', "json-malformed"),
        (b'{"Image":"\xff"}', "json-malformed"),
        (b'{"Image":"\\ud800"}', "json-malformed"),
        (b'\xef\xbb\xbf{"Image":"a"}', "json-malformed"),
        (b'{"Image":"a",}', "json-malformed"),
        (b"{'Image':'a'}", "json-malformed"),
        (b'{"Image":"a\\u0000b"}', "json-limits"),
        (b'{"Image":"a","HostConfig":' + b'{"Sysctls":' * 30 + b"{}" + b"}" * 30 + b"}", "json-limits"),
        (b'{"Image":"a","Env":[' + b'"",' * 30_000 + b'""]}', "json-limits"),
        (b"[" * 200_000, "json-malformed"),
        (b"null", "json-wrong-type"),
    ],
)  # fmt: skip
def test_bodies_that_two_parsers_could_read_differently(body: bytes, code: str) -> None:
    assert refused("POST", CREATE, sent(body), body) == code


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        ({}, b"", "body-type"),
        ({"Content-Type": "application/json"}, b"", "body-length"),  # chunked
        ({"Content-Type": "application/json", "Content-Length": "0"}, b"", "body-hidden"),
        ({"Content-Type": "application/json", "Content-Length": str(MAX_BODY_BYTES)}, b"", "body-too-large"),
        ({"Content-Type": "application/json", "Content-Length": "5000000000"}, b"", "body-too-large"),
        ({"Content-Type": "application/json", "Content-Length": "40"}, b'{"Image":"a"}', "body-hidden"),
        ({"Content-Type": "application/json", "Content-Length": "1_3"}, b'{"Image":"a"}', "body-length"),
        ({"Content-Type": "application/json", "Content-Length": "+13"}, b'{"Image":"a"}', "body-length"),
        ({"Content-Type": "text/plain", "Content-Length": "13"}, b"", "body-type"),
        ({"Content-Type": "application/json, text/plain", "Content-Length": "13"}, b'{"Image":"a"}', "body-type"),
        ({"Content-Type": "application/json; charset=utf-7", "Content-Length": "13"}, b'{"Image":"a"}', "body-type"),
        ({"Content-Type": "application/x-www-form-urlencoded", "Content-Length": "13"}, b"", "body-type"),
    ],
)
def test_bodies_the_engine_hides_from_its_plugins(headers: dict[str, str], body: bytes, code: str) -> None:
    assert refused("POST", CREATE, headers, body) == code


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Type": "application/json", "Content-Length": "2"}, b"{}"),
        ({"Content-Type": "application/x-www-form-urlencoded", "Content-Length": "20"}, b""),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b""),  # chunked
        ({"Content-Length": "20"}, b""),
        ({}, b"{}"),
    ],
)
def test_bodies_where_none_belongs(headers: dict[str, str], body: bytes) -> None:
    assert refused("POST", "/containers/x/start", headers, body) == "body-unexpected"
    assert refused("POST", "/images/create?fromImage=x", headers, body) == "body-unexpected"


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "0"}, {"Content-Length": "0", "Content-Type": "text/plain"}])
def test_no_body_passes_where_none_belongs(headers: dict[str, str]) -> None:
    assert parse_request("POST", "/v1.41/containers/x/start", headers, b"").names == {"container": "x"}


@pytest.mark.parametrize(
    ("method", "uri", "code"),
    [
        ("POST", "/v1.23/containers/x/start", "api-version"),
        ("POST", "/v1.24/containers/x/start", "api-version"),
        ("POST", "/v1.9/containers/x/start", "api-version"),
        ("POST", "/v2/containers/x/start", "api-version"),
        ("POST", "/v1.41.0/containers/x/start", "api-version"),
        ("POST", "/v1.041/containers/x/start", "api-version"),
        ("POST", "/v1.41", "api-version"),
        ("POST", "/v1.41/v1.23/containers/x/start", "unknown-call"),
        ("POST", "/containers/%63reate", "uri-not-plain"),
        ("POST", "//containers/create", "uri-not-plain"),
        ("POST", "/containers//create", "uri-not-plain"),
        ("POST", "/containers/../build", "uri-not-plain"),
        ("POST", "/containers/./create", "uri-not-plain"),
        ("POST", "/containers/create/", "uri-not-plain"),
        ("POST", "http://x/containers/create", "uri-not-plain"),
        ("POST", "containers/create", "uri-not-plain"),
        ("POST", "*", "uri-not-plain"),
        ("POST", "", "uri-not-plain"),
        ("POST", "/containers/create#x", "uri-not-plain"),
        ("POST", "/containers/x\ny/start", "uri-not-plain"),
        ("POST", "/containers/x/start\n", "uri-not-plain"),
        ("POST", "/containers/x/kill?signal=9;signal=15", "uri-not-plain"),
        ("POST", "/containers/x/kill?signal=%zz", "uri-not-plain"),
        ("POST", "/containers/x/kill?signal=9&signal=15", "query-duplicate"),
        ("POST", "/containers/x/kill?Signal=9", "query-parameter"),
        ("POST", "/containers/x/kill?sign%61l=9", "query-parameter"),
        ("POST", "/containers/x/kill?signal=%ff", "query-parameter"),
        ("POST", "/containers/x/kill?signal=%00", "query-parameter"),
        ("POST", "/containers/x/kill?&", "query-parameter"),
        ("POST", "/containers/x/start?checkpoint=c&checkpoint-dir=/x", "query-parameter"),
        ("POST", "/images/create?fromSrc=http://x/y.tar", "query-parameter"),
        ("POST", "/images/create?fromImage=x&changes=USER+root", "query-parameter"),
        ("POST", "/containers/" + "x" * 17_000 + "/start", "uri-too-long"),
        ("GET", "/debug/pprof/heap", "unknown-call"),
        ("POST", "/containers/x/logs/clear", "unknown-call"),
        ("PUT", "/containers/x/start", "unknown-call"),
        ("post", "/containers/x/start", "unknown-call"),
        ("OPTIONS", "/containers/x/start", "unknown-call"),
        ("CONNECT", "/containers/x/start", "unknown-call"),
        ("POST", "/containers/a/b/start", "unknown-call"),
        ("HEAD", "/containers/json", "unknown-call"),
        ("GET", "/containers/.x/json", "unknown-call"),
        ("POST", "/exec/short/start", "unknown-call"),
    ],
)
def test_uris_that_could_mean_two_things(method: str, uri: str, code: str) -> None:
    assert refused(method, uri) == code


def test_a_body_as_the_docker_client_sends_it_passes() -> None:
    body = {
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": False, "AttachStdout": True, "AttachStderr": True, "Tty": False,
        "OpenStdin": False, "StdinOnce": False, "Env": [], "Cmd": None, "Image": "shop:1", "Volumes": {}, "WorkingDir": "",
        "Entrypoint": None, "OnBuild": None, "Labels": {"a": "1", "A": "2"},
        "HostConfig": {
            "Binds": None, "ContainerIDFile": "", "LogConfig": {"Type": "", "Config": {}}, "NetworkMode": "default", "PortBindings": {},
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "AutoRemove": False, "VolumeDriver": "", "VolumesFrom": None,
            "CapAdd": None, "CapDrop": None, "CgroupnsMode": "", "Dns": [], "DnsOptions": [], "DnsSearch": [], "ExtraHosts": None,
            "GroupAdd": None, "IpcMode": "", "Cgroup": "", "Links": None, "OomScoreAdj": 0, "PidMode": "", "Privileged": False,
            "PublishAllPorts": False, "ReadonlyRootfs": False, "SecurityOpt": None, "UTSMode": "", "UsernsMode": "", "ShmSize": 0,
            "ConsoleSize": [0, 0], "Isolation": "", "CpuShares": 0, "Memory": 0, "NanoCpus": 0, "CgroupParent": "", "BlkioWeight": 0,
            "BlkioWeightDevice": [], "BlkioDeviceReadBps": None, "BlkioDeviceWriteBps": None, "BlkioDeviceReadIOps": None,
            "BlkioDeviceWriteIOps": None, "CpuPeriod": 0, "CpuQuota": 0, "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0,
            "CpusetCpus": "", "CpusetMems": "", "Devices": [], "DeviceCgroupRules": None, "DeviceRequests": None, "KernelMemory": 0,
            "KernelMemoryTCP": 0, "MemoryReservation": 0, "MemorySwap": 0, "MemorySwappiness": -1, "OomKillDisable": False,
            "PidsLimit": 0, "Ulimits": None, "CpuCount": 0, "CpuPercent": 0, "IOMaximumIOps": 0, "IOMaximumBandwidth": 0,
            "MaskedPaths": None, "ReadonlyPaths": None,
        },
        "NetworkingConfig": {"EndpointsConfig": {}},
    }  # fmt: skip
    data = json.dumps(body).encode()
    request = parse_request("POST", CREATE + "?name=web", sent(data, "application/json; charset=utf-8"), data)
    assert (request.route, request.query, request.subject) == ("container-create", {"name": "web"}, "shop:1")


def test_the_envelope_of_the_plugin_protocol() -> None:
    envelope = parse_envelope(
        b'{"User":"","RequestMethod":"POST","RequestUri":"/x","RequestBody":"e30=","RequestHeaders":{"A":"b"},"Newer":1}'
    )
    assert (envelope.request_method, envelope.request_uri, envelope.request_body) == ("POST", "/x", b"{}")
    for broken in (b"", b"[]", b'{"RequestBody":"%"}', b'{"RequestUri":1}', b"\xff", b"[" * 100_000):
        with pytest.raises(InputError):
            parse_envelope(broken)
