"""Signing, gate and promotion against a real registry, with crashes between any two acts."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
from tests.registries import RunningRegistry, push_fresh_image, run_registry

from shipwall.adapters.instance import Instance
from shipwall.adapters.keys import PROMOTION_KEY, Keys
from shipwall.adapters.registry import Registry, fallback_tag
from shipwall.journeys.promote import (
    Promoted,
    judge_image,
    load_policy,
    load_promotion,
    promote_image,
    promotions_folder,
    promotions_journal,
    recover_promotions,
)
from shipwall.journeys.sign import attach_envelope, load_statements, sign_image
from shipwall.model.digest import Digest, digest_of
from shipwall.model.errors import InputError, RemoteError, TrustError
from shipwall.model.finding import Finding, ScanResult
from shipwall.model.package import Distribution, Inventory, Package
from shipwall.model.wire import ImageStep, Message
from shipwall.supply.policy import Policy, parse_policy
from shipwall.supply.statements import (
    VEX_TYPE,
    BuildFacts,
    RefusedStatement,
    VerifiedStatement,
    render_statement,
    sign_statement,
    vex_statement,
)

NOW = 1_790_000_000 * 10**9
HOUR = 3600 * 10**9
POLICY = parse_policy(
    b"""version: 1
routes:
  - from: dev/*
    to: prod/*
    packages: {deny: [{name: tcpdump, reason: no sniffers}]}
    findings: {fixable: none}
    attestations:
      - {type: sbom, by: [build]}
      - {type: provenance, by: [build]}
      - {type: scan, by: [build], max_age: 24h}
""",
    "policy.yaml",
)


@pytest.fixture(scope="module")
def registry_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with run_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def registry(registry_process: RunningRegistry) -> Iterator[Registry]:
    with Registry(registry_process.address) as client:
        yield client


class World(NamedTuple):
    instance: Instance
    keys: Keys
    shop: str
    inventory: Inventory
    steps: list[Message]

    @property
    def manifest(self) -> Digest:
        assert self.inventory.image is not None
        return self.inventory.image.manifest

    @property
    def source(self) -> str:
        return f"dev/{self.shop}"

    @property
    def target(self) -> str:
        return f"prod/{self.shop}"


SCAN = ScanResult(findings=(), advisories="archive", advisories_time_ns=NOW)
BUILD = BuildFacts(builder="urn:test", started_ns=NOW, finished_ns=NOW)


@pytest.fixture
def world(registry: Registry, tmp_path: Path) -> World:
    return make_world(registry, tmp_path)


def make_world(registry: Registry, folder: Path) -> World:
    """An unsigned image in dev/NAME, with keys and a state of its own."""
    shop = f"shop-{secrets.token_hex(4)}"
    image = push_fresh_image(registry, f"dev/{shop}", "1")
    packages = (Package(ecosystem="deb", name="nginx", version="1.22.1-9", evidence="/var/lib/dpkg/status"),)
    inventory = Inventory(image=image, distribution=Distribution(id="debian", version_id="12"), packages=packages)
    instance = Instance(folder / "state")
    return World(instance, Keys(instance.keys), shop, inventory, [])


def sign(registry: Registry, world: World, key: str = "build") -> None:
    sign_image(registry, world.source, world.inventory, SCAN, BUILD, world.keys.signer(key), NOW, world.steps.append)


def promote(registry: Registry, world: World, now_ns: int = NOW, inventory: Inventory | None = None) -> Promoted:
    return promote_image(
        registry,
        world.source,
        POLICY,
        world.keys,
        world.instance,
        inventory or world.inventory,
        SCAN,
        now_ns,
        tag="1",
        report=world.steps.append,
    )


def assert_promoted(registry: Registry, world: World) -> None:
    assert registry.resolve(world.target, "1") == world.manifest
    found = load_statements(registry, world.target, world.manifest, world.keys.public())
    kinds = sorted(one.statement.kind for one in found if isinstance(one.statement, VerifiedStatement))
    assert kinds == ["promotion", "provenance", "sbom", "scan", "verdict"]
    promotion = load_promotion(world.instance, world.manifest)
    assert promotion is not None
    assert (promotion.image, promotion.repository) == (world.inventory.image, world.target)
    assert promotions_journal(world.instance).unfinished() == []


def assert_not_promoted(registry: Registry, world: World) -> None:
    assert registry.resolve(world.target, "1") is None
    assert load_promotion(world.instance, world.manifest) is None
    found = load_statements(registry, world.target, world.manifest, world.keys.public())
    assert not {one.statement.kind for one in found} & {"promotion", "verdict"}


def test_statements_are_found_beside_the_image(registry: Registry, world: World) -> None:
    assert load_statements(registry, world.source, world.manifest, world.keys.public()) == ()
    sign(registry, world)
    found = load_statements(registry, world.source, world.manifest, world.keys.public())
    assert [type(one.statement) for one in found] == [VerifiedStatement] * 3
    assert [one.statement.kind for one in found] == ["sbom", "scan", "provenance"]
    index = registry.manifest(world.source, fallback_tag(world.manifest)).parse()
    assert [one["annotations"]["in-toto.io/predicate-type"] for one in index["manifests"]] == [
        "https://cyclonedx.org/bom",
        "urn:shipwall:predicate:scan:v1",
        "https://slsa.dev/provenance/v1",
    ]
    step = world.steps[-1]
    assert isinstance(step, ImageStep)
    assert (step.step, step.digest) == ("signed", world.manifest)
    sign(registry, world)
    assert len(load_statements(registry, world.source, world.manifest, world.keys.public())) == 3, "signing again adds nothing"


def test_a_strangers_statements_are_there_but_refused(registry: Registry, world: World, tmp_path: Path) -> None:
    stranger = world._replace(keys=Keys(tmp_path / "elsewhere"))
    sign(registry, stranger)
    found = load_statements(registry, world.source, world.manifest, world.keys.public())
    assert all(isinstance(one.statement, RefusedStatement) and "unknown key" in one.statement.reason for one in found)
    result = promote(registry, world)
    assert [reason.code for reason in result.judged.verdict.reasons] == ["attestation-missing"] * 3
    details = [one.detail for one in result.judged.verdict.reasons[0].evidence]
    assert any("signed by unknown key" in detail for detail in details)
    assert_not_promoted(registry, world)


def test_a_statement_changed_in_the_registry_is_refused(
    registry: Registry, registry_process: RunningRegistry, world: World
) -> None:
    sign(registry, world)
    found = load_statements(registry, world.source, world.manifest, world.keys.public())
    (sbom,) = (one.statement for one in found if one.statement.kind == "sbom")
    (blob,) = registry_process.data.glob(f"docker/registry/v2/blobs/sha256/*/{sbom.envelope[7:]}/data")
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    result = promote(registry, world)
    (reason,) = result.judged.verdict.reasons
    assert reason.message == f"no sbom signed by build for {world.manifest}"
    assert any("other bytes" in one.detail for one in reason.evidence)


def test_a_statement_moved_to_another_image_is_refused(registry: Registry, world: World) -> None:
    sign(registry, world)
    other = push_fresh_image(registry, world.source, "2")
    index = registry.manifest(world.source, fallback_tag(world.manifest))
    registry.put_manifest(world.source, index.body, index.media_type, fallback_tag(other.manifest))
    inventory = msgspec.structs.replace(world.inventory, image=other)
    result = promote(registry, world, inventory=inventory)
    assert [reason.code for reason in result.judged.verdict.reasons] == ["attestation-missing"] * 3
    assert "6 subject" in result.judged.verdict.reasons[0].evidence[0].detail


def test_a_refusal_leaves_nothing_and_names_every_reason(registry: Registry, world: World) -> None:
    sign(registry, world)
    denied = Package(ecosystem="deb", name="tcpdump", version="4.99", evidence="/var/lib/dpkg/status")
    inventory = msgspec.structs.replace(world.inventory, packages=(*world.inventory.packages, denied))
    result = promote(registry, world, inventory=inventory)
    assert [reason.code for reason in result.judged.verdict.reasons] == ["package-denied"]
    assert result.promotion is None
    assert_not_promoted(registry, world)
    assert promotions_journal(world.instance).read() == []
    step = world.steps[-1]
    assert isinstance(step, ImageStep)
    assert (step.step, step.allowed, step.reasons) == ("gated", False, result.judged.verdict.reasons)


def test_image_statements_and_promotion_arrive_by_digest(registry: Registry, world: World) -> None:
    sign(registry, world)
    result = promote(registry, world)
    assert result.judged.verdict.allowed
    assert_promoted(registry, world)
    assert result.path == promotions_folder(world.instance) / f"{world.manifest[7:]}.json"
    assert result.promotion is not None
    assert result.promotion.by_key == world.keys.signer(PROMOTION_KEY).public.key_id
    assert [step.step for step in world.steps if isinstance(step, ImageStep)] == ["signed", "gated", "promoted"]
    assert promote(registry, world).judged.verdict.allowed, "again is no error"
    assert_promoted(registry, world)
    again = judge_image(registry, world.source, POLICY, world.keys, world.inventory, SCAN, NOW + 25 * HOUR)
    assert [reason.code for reason in again.verdict.reasons] == ["attestation-too-old"]


def test_a_moved_source_tag_changes_nothing(registry: Registry, world: World) -> None:
    sign(registry, world)
    push_fresh_image(registry, world.source, "1")
    promote(registry, world)
    assert_promoted(registry, world)


def test_a_changed_promotion_file_is_found(registry: Registry, world: World) -> None:
    sign(registry, world)
    path = promote(registry, world).path
    assert path is not None
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(TrustError):
        load_promotion(world.instance, world.manifest)


FOUND = msgspec.structs.replace(
    SCAN,
    findings=(
        Finding(
            id="CVE-1",
            package=Package(ecosystem="deb", name="nginx", version="1.22.1-9", source="nginx"),
            fixed_version="1.22.1-10",
        ),
    ),
)
VEX = {
    "@context": "https://openvex.dev/ns/v0.2.0",
    "author": "vendor",
    "timestamp": "2026-09-20T00:00:00Z",
    "statements": [
        {
            "vulnerability": {"name": "CVE-1"},
            "products": [{"@id": "pkg:deb/debian/nginx"}],
            "status": "not_affected",
            "justification": "component_not_present",
        }
    ],
}
VEX_POLICY = b"""version: 1
routes: [{from: dev/*, to: prod/*, findings: {fixable: none, vex: [{by: [vendor]}]}}]
"""


def judge_found(registry: Registry, world: World, policy: Policy) -> list[str]:
    judged = judge_image(registry, world.source, policy, world.keys, world.inventory, FOUND, NOW)
    return [reason.code for reason in judged.verdict.reasons]


def test_only_the_vex_of_an_accepted_key_for_this_image_is_believed(registry: Registry, world: World, tmp_path: Path) -> None:
    policy = parse_policy(VEX_POLICY, "policy.yaml")
    subject = registry.manifest(world.source, world.manifest)
    stranger, vendor = Keys(tmp_path / "elsewhere").signer("vendor"), world.keys.signer("vendor")
    statement = vex_statement(VEX, world.manifest, world.source)
    other = vex_statement(VEX, digest_of(b"another image"), world.source)
    empty = b'{"payload":"%b","payloadType":"application/vnd.in-toto+json","signatures":[]}'
    hostile = (
        render_statement(statement),
        empty % base64.b64encode(render_statement(statement)),
        sign_statement(statement, stranger),
        sign_statement(statement, world.keys.signer("build")),
        sign_statement(other, vendor),
    )
    for envelope in hostile:
        attach_envelope(registry, world.source, subject, envelope, VEX_TYPE)
    assert judge_found(registry, world, policy) == ["finding-fixable", "vex-not-accepted"]
    judged = judge_image(registry, world.source, policy, world.keys, world.inventory, FOUND, NOW)
    refused = judged.verdict.reasons[-1].evidence
    assert {one.ref for one in refused if one.kind == "statement"} == {digest_of(envelope) for envelope in hostile}

    sign_image(registry, world.source, world.inventory, None, None, vendor, NOW, vex=[VEX])
    assert judge_found(registry, world, policy) == ["passes-policy", "finding-set-aside", "vex-not-accepted"]
    done = promote_image(registry, world.source, policy, world.keys, world.instance, world.inventory, FOUND, NOW, tag="1")
    assert done.promotion is not None
    found = load_statements(registry, world.target, world.manifest, world.keys.public(PROMOTION_KEY))
    (verdict,) = (
        one.statement for one in found if isinstance(one.statement, VerifiedStatement) and one.statement.kind == "verdict"
    )
    assert done.promotion.verdict == verdict.envelope, "the promotion names the verdict that it rests on"
    (aside,) = (one for one in verdict.predicate["verdict"]["reasons"] if one["code"] == "finding-set-aside")
    assert aside["message"].startswith("CVE-1 was set aside as not_affected by vex sha256:")
    assert aside["message"].endswith("component_not_present")


def test_files_beside_the_policy_are_read_and_none_from_elsewhere(registry: Registry, world: World, tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    path = folder / "policy.yaml"
    path.write_bytes(VEX_POLICY.replace(b"{by: [vendor]}", b"{file: v.json}"))
    with pytest.raises(InputError, match="is no file here"):
        load_policy(path)
    (tmp_path / "v.json").write_text(json.dumps(VEX))
    (folder / "v.json").symlink_to(tmp_path / "v.json")
    with pytest.raises(InputError, match="leads out of the policy's folder"):
        load_policy(path)
    (folder / "v.json").unlink()
    (folder / "real.json").write_text(json.dumps(VEX))
    (folder / "v.json").symlink_to("real.json")
    assert judge_found(registry, world, load_policy(path)) == ["passes-policy", "finding-set-aside"]


class Crash(BaseException):
    """Nothing of the product catches this, as nothing catches SIGKILL."""


class CrashingRegistry(Registry):
    """Dies before the writing request number `dies_at`, or counts them."""

    def __init__(self, address: str, dies_at: int) -> None:
        super().__init__(address)
        self.dies_at, self.writes = dies_at, 0

    def _open(self, method: str, path: str, *rest: Any, **more: Any) -> AbstractContextManager[httpx.Response]:
        if method != "GET" and method != "HEAD":
            self.writes += 1
            if self.writes == self.dies_at:
                raise Crash
        return super()._open(method, path, *rest, **more)


def crash_everywhere(registry: Registry, fresh: Callable[[], World]) -> Iterator[World]:
    """Worlds in which a promotion crashed before its first, second, ... write to the registry; ends after the last one."""
    dies_at = 1
    while True:
        world = fresh()
        sign(registry, world)
        with CrashingRegistry(registry.host, dies_at) as crashing:
            try:
                promote(crashing, world)
            except Crash:
                yield world
            else:
                assert dies_at > 10, "the crashes were not in the promotion"
                return
        dies_at += 1


def test_a_crash_between_any_two_acts_is_finished_or_undone(registry: Registry, tmp_path: Path) -> None:
    count = 0

    def fresh() -> World:
        nonlocal count
        count += 1
        return make_world(registry, tmp_path / str(count))

    for crashed in crash_everywhere(registry, fresh):
        assert registry.resolve(crashed.target, "1") is None, "the tag comes last"
        assert len(promotions_journal(crashed.instance).unfinished()) == 1
        young = count % 2 == 0
        now_ns = NOW + (HOUR // 2 if young else 2 * HOUR)
        outcomes = recover_promotions(crashed.instance, Registry, now_ns, crashed.steps.append)
        assert [one.outcome for one in outcomes] == ["finished" if young else "undone"]
        (assert_promoted if young else assert_not_promoted)(registry, crashed)
        assert recover_promotions(crashed.instance, Registry, now_ns) == ()
    assert count > 10


def test_what_was_complete_but_unconfirmed_is_kept_however_old(
    registry: Registry, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise Crash

    sign(registry, world)
    with monkeypatch.context() as patched:
        patched.setattr("shipwall.adapters.journal.Journal.confirm", die)
        with pytest.raises(Crash):
            promote(registry, world)
    assert [one.outcome for one in recover_promotions(world.instance, Registry, NOW + 9 * HOUR)] == ["finished"]
    assert_promoted(registry, world)


def test_an_interrupted_promotion_whose_source_is_gone_is_undone(registry: Registry, world: World) -> None:
    sign(registry, world)
    with CrashingRegistry(registry.host, 1) as crashing, pytest.raises(Crash):
        promote(crashing, world)
    registry.delete_manifest(world.source, world.manifest)
    (outcome,) = recover_promotions(world.instance, Registry, NOW)
    assert outcome.outcome == "undone"
    assert "source is gone" in outcome.why
    assert_not_promoted(registry, world)


def test_a_registry_that_is_away_leaves_the_promotion_for_the_next_run(registry: Registry, world: World) -> None:
    sign(registry, world)
    with CrashingRegistry(registry.host, 5) as crashing, pytest.raises(Crash):
        promote(crashing, world)
    with pytest.raises(RemoteError):
        recover_promotions(world.instance, lambda _host: Registry("127.0.0.1:9"), NOW)
    assert [one.outcome for one in recover_promotions(world.instance, Registry, NOW)] == ["finished"]
    assert_promoted(registry, world)


def test_digest_of_the_promotion_file_is_that_in_the_registry(registry: Registry, world: World) -> None:
    sign(registry, world)
    path = promote(registry, world).path
    assert path is not None
    found = load_statements(registry, world.target, world.manifest, world.keys.public(PROMOTION_KEY))
    assert digest_of(path.read_bytes()) in {one.statement.envelope for one in found if one.statement.kind == "promotion"}
