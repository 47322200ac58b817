"""Laws of what is signed and of what is compared: parsers are total, no byte changes unnoticed, differences apply."""

from __future__ import annotations

import contextlib
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from shipwall.adapters.keys import SigningKey
from shipwall.lang.strict_json import parse_json
from shipwall.model.digest import ImageIdentity, digest_of
from shipwall.model.errors import InputError, TrustError
from shipwall.model.finding import Finding, ScanResult, Severity
from shipwall.model.package import Distribution, Inventory, Package, Skipped
from shipwall.model.promotion import Promotion
from shipwall.supply.difference import (
    apply_inventory_difference,
    apply_scan_difference,
    canonical_inventory,
    canonical_scan,
    difference_of_inventories,
    difference_of_scans,
)
from shipwall.supply.dsse import Envelope, Signature, parse_envelope, parse_public_key, render_envelope
from shipwall.supply.lineage import plan_rebuild
from shipwall.supply.policy import parse_policy
from shipwall.supply.sbom import parse_sbom, render_sbom
from shipwall.supply.statements import parse_scan, parse_statement, promotion_statement, sign_statement, verify_promotion

SIGNER = SigningKey(Ed25519PrivateKey.generate(), "promotion")
KEYS = {SIGNER.public.key_id: SIGNER.public}
IMAGE = ImageIdentity(manifest=digest_of(b"m"), config=digest_of(b"c"), diff_ids=(digest_of(b"l"),))
PROMOTION = Promotion(
    image=IMAGE, registry="r:1", repository="prod/shop", policy=digest_of(b"p"), time_ns=7, by_key=SIGNER.public.key_id
)
ENVELOPE = sign_statement(promotion_statement(PROMOTION), SIGNER)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
words = st.text(alphabet="ab", min_size=1, max_size=2)
packages = st.builds(
    Package,
    ecosystem=st.sampled_from(["deb", "rpm"]),
    name=words,
    version=words,
    arch=st.sampled_from(["", "amd64"]),
    source=words,
    source_version=words,
    evidence=st.sampled_from(["", "/var/lib/dpkg/status"]),
    layer=st.sampled_from(["", digest_of(b"1"), digest_of(b"2")]),
    files=st.lists(words, max_size=2).map(tuple),
)
inventories = st.builds(
    Inventory,
    image=st.sampled_from([None, IMAGE]),
    distribution=st.builds(Distribution, id=words, version_id=words),
    packages=st.lists(packages, max_size=6).map(tuple),
    skipped=st.lists(st.builds(Skipped, what=st.text(max_size=3), reason=st.text(max_size=3)), max_size=2).map(tuple),
    labels=st.dictionaries(words, st.text(max_size=3), max_size=2),
    created=words,
)
findings = st.builds(
    Finding,
    id=words,
    package=packages,
    severity=st.sampled_from(Severity),
    fixed_version=words,
    aliases=st.just(()),
    source=words,
)
scans = st.builds(ScanResult, findings=st.lists(findings, max_size=6).map(tuple), advisories=words)


@given(st.integers(0, len(ENVELOPE) - 1), st.integers(1, 255))
@settings(max_examples=400, deadline=None)
def test_any_flipped_byte_of_an_envelope_is_found(place: int, flip: int) -> None:
    changed = bytearray(ENVELOPE)
    changed[place] ^= flip
    try:
        verify_promotion(bytes(changed), KEYS)
    except TrustError:
        return
    raise AssertionError(f"byte {place} changed by {flip} was not noticed")


def test_each_byte_of_an_envelope_counts() -> None:
    """The same for every place, with the flip that looks most innocent (the case of a letter, the lowest bit)."""
    for place in range(len(ENVELOPE)):
        for flip in (0x20, 0x01):
            changed = bytearray(ENVELOPE)
            changed[place] ^= flip
            with contextlib.suppress(TrustError):
                verify_promotion(bytes(changed), KEYS)
                raise AssertionError(f"byte {place} changed by {flip} was not noticed")


@given(
    st.binary(max_size=300) | st.text(max_size=200).map(str.encode) | json_values.map(lambda value: json.dumps(value).encode())
)
@settings(max_examples=300, deadline=None)
def test_parsers_are_total(data: bytes) -> None:
    for parse in (parse_envelope, parse_statement):
        with contextlib.suppress(InputError):
            parse(data)
    for parse_named in (parse_policy, parse_public_key, parse_json):
        with contextlib.suppress(InputError):
            parse_named(data, "x")
    with contextlib.suppress(TrustError):
        verify_promotion(data, KEYS)


@given(json_values)
@settings(max_examples=200, deadline=None)
def test_predicate_parsers_are_total(value: object) -> None:
    with contextlib.suppress(InputError):
        parse_sbom(value)
    with contextlib.suppress(InputError):
        parse_scan(value if isinstance(value, dict) else {})


POLICY = (
    b"version: 1\nroutes:\n  - from: dev/*\n    to: prod/*\n    packages:\n      deny:\n        - name: x\n          reason: y\n"
    b"    findings: {fixable: none, max: {high: 1}, max_age: 7d}\n    attestations: [{type: scan, by: [build]}]\n"
)


@given(st.integers(0, len(POLICY)), st.integers(0, 20), st.text(alphabet=" \n:-{}[]&*!'\"#|>%\x00ab1", max_size=6))
@settings(max_examples=300, deadline=None)
def test_a_policy_with_an_accident_is_read_or_refused_with_its_place(place: int, cut: int, put: str) -> None:
    data = POLICY[:place] + put.encode() + POLICY[place + cut :]
    said = "policy.yaml:"
    try:
        parse_policy(data, "policy.yaml")
    except InputError as error:
        said = error.line()
    assert said.startswith("policy.yaml:")


envelopes = st.builds(
    Envelope,
    payload_type=st.text(alphabet="ab/+.", min_size=1, max_size=20),
    payload=st.binary(max_size=50),
    signatures=st.lists(
        st.builds(Signature, key_id=st.binary(min_size=32, max_size=32).map(bytes.hex), signature=st.binary(max_size=80)),
        max_size=3,
    ).map(tuple),
)


@given(envelopes)
def test_an_envelope_rendered_is_read_as_it_was(envelope: Envelope) -> None:
    assert parse_envelope(render_envelope(envelope)) == envelope


@given(inventories, inventories)
@settings(max_examples=200, deadline=None)
def test_a_difference_applied_gives_the_later_inventory(a: Inventory, b: Inventory) -> None:
    assert apply_inventory_difference(difference_of_inventories(a, b), a) == canonical_inventory(b)
    same = difference_of_inventories(a, a).packages
    assert same.is_empty
    assert not same.moved


@given(scans, scans)
@settings(max_examples=200, deadline=None)
def test_a_difference_applied_gives_the_later_scan(a: ScanResult, b: ScanResult) -> None:
    assert apply_scan_difference(difference_of_scans(a, b), a) == canonical_scan(b)


@given(inventories)
@settings(max_examples=150, deadline=None)
def test_an_sbom_says_what_the_inventory_says(inventory: Inventory) -> None:
    assert parse_sbom(json.loads(json.dumps(render_sbom(inventory, 0)))) == inventory


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), max_size=8))
@settings(max_examples=200, deadline=None)
def test_a_rebuild_plan_is_in_dependency_order_and_whole(stacks: list[list[str]]) -> None:
    images = [
        ImageIdentity(
            manifest=digest_of(f"{number}".encode()),
            config=digest_of(b"c"),
            diff_ids=tuple(digest_of(layer.encode()) for layer in stack),
        )
        for number, stack in enumerate(stacks)
    ]
    old = ImageIdentity(manifest=digest_of(b"old"), config=digest_of(b"c"), diff_ids=(digest_of(b"a"),))
    new = ImageIdentity(manifest=digest_of(b"new"), config=digest_of(b"c"), diff_ids=(digest_of(b"new"),))
    plan = plan_rebuild(old, new, images)
    done = {old.manifest}
    for step in plan.steps:
        assert step.parent.manifest in done
        assert step.image.is_child_of(step.parent)
        done.add(step.image.manifest)
    assert done - {old.manifest} == {image.manifest for image in images if image.is_child_of(old)}
