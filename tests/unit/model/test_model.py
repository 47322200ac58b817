"""Digests, references, verdicts and the wire form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipwall.model.digest import ImageIdentity, chain_ids, digest_of, parse_digest
from shipwall.model.errors import InputError
from shipwall.model.event import Connect
from shipwall.model.image import parse_image_ref
from shipwall.model.verdict import Verdict
from shipwall.model.wire import Ack, EventsSeen, parse_length, parse_message, render_frame

A, B, C = (digest_of(bytes([number])) for number in range(3))


def test_digest_is_strict() -> None:
    assert parse_digest(A) == A
    for bad in (A.upper(), A + "\n", A[:-1], "sha512:" + "0" * 128, "", "sha256:" + "g" * 64):
        with pytest.raises(InputError):
            parse_digest(bad)


def test_chain_ids_follow_the_image_specification() -> None:
    first, second = chain_ids((A, B))
    assert first == A
    assert second == digest_of(f"{A} {B}".encode())


def test_a_child_has_all_layers_of_its_parent_and_more() -> None:
    parent = ImageIdentity(manifest=A, config=B, diff_ids=(A, B))
    assert ImageIdentity(manifest=B, config=C, diff_ids=(A, B, C)).is_child_of(parent)
    assert not parent.is_child_of(parent)
    assert not ImageIdentity(manifest=B, config=C, diff_ids=(B, A, C)).is_child_of(parent)
    assert not parent.is_child_of(ImageIdentity(manifest=B, config=C, diff_ids=()))


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag"),
    [
        ("shop", "", "shop", ""),
        ("127.0.0.1:5000/dev/shop:1.0", "127.0.0.1:5000", "dev/shop", "1.0"),
        ("localhost/x", "localhost", "x", ""),
        (f"prod/shop@{A}", "", "prod/shop", ""),
        ("[::1]:5000/a:b", "[::1]:5000", "a", "b"),
    ],
)
def test_references_are_read(text: str, registry: str, repository: str, tag: str) -> None:
    ref = parse_image_ref(text)
    assert (ref.registry, ref.repository, ref.tag) == (registry, repository, tag)
    assert str(ref) == text


@given(st.text())
def test_references_are_total_and_survive_a_round(text: str) -> None:
    try:
        ref = parse_image_ref(text)
    except InputError:
        return
    assert parse_image_ref(str(ref)) == ref


def test_a_verdict_is_not_a_truth_value() -> None:
    with pytest.raises(TypeError):
        bool(Verdict(allowed=True))


def test_messages_survive_the_wire() -> None:
    event = Connect(
        seq=1, time_ns=2, cgroup_id=3, pid=4, tid=4, ppid=1, ns_pid=2, uid=0, gid=0, comm="sh", ret=-111,
        family="inet", protocol="tcp", address="10.0.0.1", port=4444,
    )  # fmt: skip
    message = EventsSeen(node="n", events=(event,))
    frame = render_frame(message)
    assert parse_length(frame[:4]) == len(frame) - 4
    assert parse_message(frame[4:]) == message


@given(st.binary(max_size=400))
def test_the_wire_parser_is_total(data: bytes) -> None:
    try:
        parse_message(data)
    except InputError:
        return


def test_a_nested_bomb_is_refused() -> None:
    body = render_frame(Ack(of=1))[4:]
    with pytest.raises(InputError):
        parse_message(body[:-1] + b"\x91" * 100_000 + b"\xc0")
    with pytest.raises(InputError):
        parse_length(b"\xff\xff\xff\xff")
