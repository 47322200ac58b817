"""Keys: made once, kept closed, never shown."""

from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shipwall.adapters.keys import Keys
from shipwall.model.errors import InputError, TrustError
from shipwall.supply.dsse import render_public_key


def _make(folder: str) -> str:
    return Keys(Path(folder)).signer("build").public.key_id


def test_made_on_first_use_and_the_same_ever_after(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    assert keys.public() == {}
    assert not (tmp_path / "keys").exists(), "asking makes nothing"
    first = keys.signer("build")
    assert keys.signer("build").public.key_id == first.public.key_id
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "keys/build.key").stat().st_mode) == 0o600
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == [".lock", "build.key", "build.pub"]
    signature = first.sign(b"data")
    assert keys.public()[first.public.key_id].accepts(signature, b"data")
    assert not keys.public()[first.public.key_id].accepts(signature, b"date")


def test_first_uses_at_once_make_one_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert len(set(pool.map(_make, [str(tmp_path / "keys")] * 6))) == 1
        pool.close()
        pool.join()


def test_the_private_half_is_not_shown(tmp_path: Path) -> None:
    key = Keys(tmp_path).signer("build")
    assert repr(key) == f"SigningKey(build, {key.public.key_id[:16]})"


def test_a_key_others_may_read_is_refused(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.signer("build")
    (tmp_path / "build.key").chmod(0o640)
    with pytest.raises(TrustError, match="others may read"):
        keys.signer("build")


def test_a_damaged_key_is_named(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.signer("build")
    (tmp_path / "build.key").write_bytes(b"")
    with pytest.raises(InputError, match=r"build\.key: is not a private key"):
        keys.signer("build")


def test_a_lost_or_swapped_public_half_is_made_again(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    made = keys.signer("build").public.key_id
    keys.signer("other")
    (tmp_path / "build.pub").write_bytes((tmp_path / "other.pub").read_bytes())
    assert keys.signer("build").public.key_id == made
    assert {key.name for key in keys.public("build").values()} == {"build"}
    assert list(keys.public("build")) == [made]


@pytest.mark.parametrize("name", ["", "../x", "A", "a/b", ".x", "a" * 65])
def test_names_stay_in_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="is not a name"):
        Keys(tmp_path / "keys").signer(name)
    with pytest.raises(InputError):
        Keys(tmp_path / "keys").trust(name, b"")


def test_others_are_trusted_by_name(tmp_path: Path) -> None:
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    pem = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(*form)
    keys = Keys(tmp_path)
    trusted = keys.trust("ci", pem)
    assert keys.trust("ci", pem) == trusted
    assert set(keys.public("ci")) == {trusted.key_id}
    assert keys.own_names() == []
    with pytest.raises(InputError, match="trusted key"):
        keys.signer("ci")
    own = keys.signer("build")
    with pytest.raises(InputError, match="already the name"):
        keys.trust("build", pem)
    assert keys.trust("build", render_public_key(own.public)).key_id == own.public.key_id
    assert set(keys.public()) == {trusted.key_id, own.public.key_id}
    assert keys.public("nobody") == {}
