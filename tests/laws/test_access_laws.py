"""Admission's parsers are total, and no spelling of a request gets a dangerous setting past them.

The engine's reading is played by `go_value`: keys match in any case and by Unicode's simple folding, the last one counts.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from shipwall.access.admit import decide_admission, render_refusal
from shipwall.access.hardening import check_options, parse_declared, parse_publish
from shipwall.access.policy import AdmissionPolicy, parse_admission_policy
from shipwall.access.request import RequestRefused, parse_envelope, parse_request
from shipwall.access.world import ImageFacts, World, find_needs, parse_container, parse_image, parse_volume
from shipwall.model.digest import ImageIdentity, digest_of
from shipwall.model.errors import InputError
from shipwall.model.promotion import Promotion

GOOD = digest_of(b"good")
PROMOTION = Promotion(
    image=ImageIdentity(manifest=GOOD, config=GOOD, diff_ids=()), registry="", repository="x", policy=GOOD, time_ns=0
)
WORLD = World(policy=AdmissionPolicy(), promotions={GOOD: PROMOTION}, image=ImageFacts(id=GOOD))

DANGERS: list[tuple[str, Any]] = [
    ("Privileged", True),
    ("PidMode", "host"),
    ("NetworkMode", "host"),
    ("IpcMode", "host"),
    ("UsernsMode", "host"),
    ("CapAdd", ["SYS_ADMIN"]),
    ("Binds", ["/:/host"]),
    ("Devices", [{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda", "CgroupPermissions": "rwm"}]),
    ("SecurityOpt", ["seccomp=unconfined"]),
    ("VolumesFrom", ["other"]),
]


def go_fold(text: str) -> str:
    return text.replace("\u017f", "s").replace("\u212a", "k").lower()


def spellings(key: str) -> st.SearchStrategy[str]:
    """All spellings that Go takes for `key`."""
    choices = {"s": "sS\u017f", "k": "kK\u212a"}
    return st.tuples(*(st.sampled_from(choices.get(c.lower(), c.lower() + c.upper())) for c in key)).map("".join)


@st.composite
def tricky_creates(draw: st.DrawFn) -> bytes:
    """A create body with a danger in it: keys respelt, repeated, at the top level or in HostConfig, with decoys and trailing bytes."""
    key, value = draw(st.sampled_from(DANGERS))
    harmless: Any = False if isinstance(value, bool) else "" if isinstance(value, str) else []
    members = [f"{json.dumps(draw(spellings(key)), ensure_ascii=draw(st.booleans()))}:{json.dumps(value)}"]
    if draw(st.booleans()):
        decoy = f"{json.dumps(key)}:{json.dumps(harmless)}"
        members = draw(st.permutations([*members, decoy]))
    host = "{" + ",".join(members) + "}"
    where = draw(st.sampled_from(["HostConfig", "top", "both"]))
    top = [f'"Image":"{GOOD}"']
    if where in ("HostConfig", "both"):
        top.append(f"{json.dumps(draw(spellings('HostConfig')))}:{host}")
    if where in ("top", "both"):
        top += members
    if draw(st.booleans()):
        top.append('"HostConfig":{}')
    text = "{" + ",".join(draw(st.permutations(top))) + "}"
    text += draw(st.sampled_from(["", " ", "\n", "{}", ",", "\0"]))
    return text.encode()


def verdict_of(body: bytes, *, content_type: str = "application/json") -> bool:
    headers = {"Content-Type": content_type, "Content-Length": str(len(body))}
    try:
        request = parse_request("POST", "/v1.41/containers/create", headers, body)
    except RequestRefused:
        return False
    return decide_admission(request, WORLD).allowed


@settings(max_examples=400, deadline=None)
@given(tricky_creates())
def test_no_spelling_gets_a_danger_through(body: bytes) -> None:
    if verdict_of(body):
        # allowed only when the engine itself would read no danger: the last of the equal keys, in HostConfig, is the harmless one
        read = json.loads(body, object_pairs_hook=lambda pairs: {go_fold(key): value for key, value in pairs})
        host = read.get("hostconfig") or {}
        for key, value in DANGERS:
            assert host.get(key.lower()) != value
            assert read.get(key.lower()) != value


keys = st.sampled_from([key for key, _ in DANGERS] + ["Memory", "Env", "Mounts", "Newer", "privileged", "LogConfig"])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["host", "container:x", "/:/h"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(keys, values, max_size=6), values)
def test_deciding_is_total_on_any_host_config(host: dict[str, Any], networking: Any) -> None:
    body = json.dumps({"Image": GOOD, "HostConfig": host, "NetworkingConfig": networking}).encode()
    if verdict_of(body):
        assert not host.get("Privileged")
        assert host.get("PidMode") in (None, "")
        assert not host.get("Devices")
        assert not host.get("VolumesFrom")
        assert not any(str(bind).startswith("/:") for bind in host.get("Binds") or ())


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=8),
    st.text(max_size=60),
    st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=3),
    st.binary(),
)
@example("POST", "/containers/create", {"Content-Type": "application/json", "Content-Length": "2"}, b"{}")
@example("POST", "/volumes/create", {"Content-Type": "application/json", "Content-Length": "2"}, b"{}")
def test_the_request_parser_is_total(method: str, uri: str, headers: dict[str, str], body: bytes) -> None:
    try:
        request = parse_request(method, uri, headers, body)
    except RequestRefused:
        return
    find_needs(request)
    verdict = decide_admission(request, World(policy=AdmissionPolicy()))
    assert render_refusal(verdict).isprintable()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
@example(b'{"RequestBody":"' + base64.b64encode(b"x") + b'"}')
def test_envelopes_policies_and_options_are_total(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for act in (parse_envelope, lambda raw: parse_admission_policy(raw, "x"), lambda _: parse_publish(text)):
        try:
            act(data)
        except InputError:
            continue
    declared = parse_declared(
        {"shipwall.writable": text, "shipwall.capabilities": text, "shipwall.user": text, "shipwall.memory": text}
    )
    from shipwall.access.hardening import RunOptions

    check_options(RunOptions(writable=declared.writable), "")


@settings(max_examples=200, deadline=None)
@given(values)
def test_records_are_read_or_refused(answer: Any) -> None:
    for parse in (parse_container, parse_image, parse_volume):
        try:
            parse(answer)
        except InputError:
            continue
