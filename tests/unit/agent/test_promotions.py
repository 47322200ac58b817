"""Which files count as promotions, and when they stop counting."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shipwall.adapters.instance import Instance
from shipwall.adapters.keys import Keys, SigningKey
from shipwall.agent.promotions import AdmissionPolicies, Promotions
from shipwall.model.digest import ImageIdentity, digest_of
from shipwall.model.errors import InputError
from shipwall.model.promotion import Promotion
from shipwall.supply.statements import promotion_statement, sign_statement

CONFIG, MANIFEST = digest_of(b"config"), digest_of(b"manifest")


def signed(signer: SigningKey) -> bytes:
    promotion = Promotion(
        image=ImageIdentity(manifest=MANIFEST, config=CONFIG, diff_ids=()),
        registry="r:1",
        repository="prod/x",
        policy=MANIFEST,
        time_ns=1,
        by_key=signer.public.key_id,
    )
    return sign_statement(promotion_statement(promotion), signer)


def put(instance: Instance, data: bytes, name: str = MANIFEST[7:]) -> Path:
    path = instance.state / "promotions" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def test_a_signed_promotion_counts_until_it_is_gone(tmp_path: Path) -> None:
    instance = Instance(tmp_path)
    promotions = Promotions(instance)
    assert not promotions()
    path = put(instance, signed(Keys(instance.keys).signer("promotion")))
    assert promotions()[CONFIG].image.manifest == MANIFEST
    assert promotions() is promotions()
    path.unlink()
    assert not promotions()


def test_only_keys_for_promotions_count(tmp_path: Path) -> None:
    instance, other = Instance(tmp_path), Keys(tmp_path / "other")
    promotions = Promotions(instance)
    put(instance, signed(Keys(instance.keys).signer("build")))
    assert not promotions()
    assert promotions.broken == 1
    foreign = other.signer("promotion")
    put(instance, signed(foreign))
    assert not promotions()
    Keys(instance.keys).trust("promotion-site", (tmp_path / "other/promotion.pub").read_bytes())
    assert CONFIG in promotions()
    (instance.keys / "trusted/promotion-site.pub").unlink()
    assert not promotions()


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff" * 100, b"[" * 10_000])
def test_a_broken_file_is_counted_and_harms_no_other(tmp_path: Path, data: bytes) -> None:
    instance = Instance(tmp_path)
    promotions = Promotions(instance)
    put(instance, signed(Keys(instance.keys).signer("promotion")))
    put(instance, data, "broken")
    assert set(promotions()) == {CONFIG}
    assert promotions.broken == 1


def test_a_promotion_under_another_name_does_not_count(tmp_path: Path) -> None:
    instance = Instance(tmp_path)
    put(instance, signed(Keys(instance.keys).signer("promotion")), "0" * 64)
    assert not Promotions(instance)()


def test_a_change_in_place_is_seen(tmp_path: Path) -> None:
    instance = Instance(tmp_path)
    promotions = Promotions(instance)
    data = signed(Keys(instance.keys).signer("promotion"))
    path = put(instance, data)
    facts = path.stat()
    assert promotions()
    at = data.index(b'"sig"') + 12
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # same size, same time of change
    assert not promotions()


def test_the_policy_file(tmp_path: Path) -> None:
    policies = AdmissionPolicies(Instance(tmp_path), tmp_path / "engine.sock")
    assert policies().bind(str(tmp_path)) is None
    (tmp_path / "admission.yaml").write_text("version: 1\nallow_push: true\n")
    assert policies().allow_push
    (tmp_path / "admission.yaml").write_text("version: 1\nallow_push: perhaps\n")
    for _ in range(2):
        with pytest.raises(InputError, match=r"admission\.yaml:2"):
            policies()
    (tmp_path / "admission.yaml").write_text(f"version: 1\nbinds: [{{path: {tmp_path}/engine.sock}}]\n")
    with pytest.raises(InputError, match="never be mounted"):
        policies()
    (tmp_path / "admission.yaml").unlink()
    assert not policies().allow_push
