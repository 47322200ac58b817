"""Signing keys in a folder of their own, and the public keys that are trusted.

`NAME.key` (0600, PKCS 8, Ed25519) and `NAME.pub` beside it are made on first use; `trusted/NAME.pub` are keys of others. A name says
what a key is for: `build` signs SBOM, scan and provenance, `promotion` signs promotions; who checks a promotion trusts only the latter.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shipwall.adapters.files import locked, write_whole
from shipwall.model.errors import InputError, StorageError, TrustError
from shipwall.supply.dsse import MAX_PUBLIC_KEY_BYTES, PublicKey, key_id_of, parse_public_key, render_public_key

BUILD_KEY = "build"
PROMOTION_KEY = "promotion"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")


class SigningKey:
    """A private key that can only sign; nothing shows its bytes."""

    def __init__(self, private: Ed25519PrivateKey, name: str) -> None:
        self._private = private
        public = private.public_key()
        self.public = PublicKey(name, key_id_of(public), public)

    def __repr__(self) -> str:
        """Name and id of the public half."""
        return f"SigningKey({self.public.name}, {self.public.key_id[:16]})"

    def sign(self, data: bytes) -> bytes:
        """The signature over `data`."""
        return self._private.sign(data)


class Keys:
    """The keys in `folder`. Nothing is created by asking for public ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def signer(self, name: str) -> SigningKey:
        """The signing key `name`, made now when it is the first use.

        Trust: a key file that others may read or that another user owns is refused. Raises InputError, TrustError, StorageError.
        """
        path = self.folder / f"{_checked(name)}.key"
        with self._locked():
            if not path.exists():
                if (self.folder / "trusted" / f"{name}.pub").exists():
                    raise InputError(f"key {name}", "is the name of somebody else's trusted key", "use another name")
                private = Ed25519PrivateKey.generate()
                write_whole(path, _pem(private), 0o600)
            key = SigningKey(_load_private(path), name)
            beside = path.with_suffix(".pub")
            if not beside.exists() or beside.read_bytes() != render_public_key(key.public):
                write_whole(beside, render_public_key(key.public), 0o644)
        return key

    def public(self, *names: str) -> dict[str, PublicKey]:
        """Trusted public keys (own and others') by key id; only those of `names` where given. Missing names give nothing."""
        found: dict[str, PublicKey] = {}
        for path in (*self._public_files(self.folder), *self._public_files(self.folder / "trusted")):
            if names and path.stem not in names:
                continue
            key = load_public_key(path, path.stem)
            found.setdefault(key.key_id, key)
        return found

    def promoters(self) -> dict[str, PublicKey]:
        """The keys whose promotions count: those named `promotion` or `promotion-...`, by key id."""
        return {
            key_id: key
            for key_id, key in self.public().items()
            if key.name == PROMOTION_KEY or key.name.startswith(f"{PROMOTION_KEY}-")
        }

    def own_names(self) -> list[str]:
        """Names of the keys whose private half is here, sorted."""
        return [path.stem for path in self._public_files(self.folder)]

    def trust(self, name: str, pem: bytes) -> PublicKey:
        """Trust the public key in `pem` under `name` from now on. Raises InputError: no key, or the name is taken by another."""
        key = parse_public_key(pem, _checked(name))
        with self._locked():
            own, theirs = self.folder / f"{name}.pub", self.folder / "trusted" / f"{name}.pub"
            for path in (own, theirs):
                if path.exists() and load_public_key(path, name).key_id != key.key_id:
                    raise InputError(f"key {name}", "is already the name of another key", "use another name")
            if not own.exists():
                write_whole(theirs, render_public_key(key), 0o644)
        return key

    @staticmethod
    def _public_files(folder: Path) -> list[Path]:
        try:
            return sorted(path for path in folder.iterdir() if path.suffix == ".pub" and _NAME.match(path.stem))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(str(folder), error.strerror or str(error), "run as the user who owns the keys") from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone in the folder, so that two first uses make one key."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)
        except OSError as error:
            raise StorageError(str(self.folder), error.strerror or str(error), "run as the user who owns the keys") from error
        with locked(self.folder / ".lock"):
            yield


def load_public_key(path: Path, name: str) -> PublicKey:
    """The public key in the file `path`, called `name`. Raises InputError, StorageError."""
    try:
        with path.open("rb") as file:
            pem = file.read(MAX_PUBLIC_KEY_BYTES + 1)
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error), "name a readable public key file") from error
    return parse_public_key(pem, name)


def _load_private(path: Path) -> Ed25519PrivateKey:
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            if facts.st_uid != os.geteuid() or stat.S_IMODE(facts.st_mode) & 0o077:
                raise TrustError(str(path), "others may read or own this private key", "replace it, or chown and chmod 600 it")
            pem = file.read(MAX_PUBLIC_KEY_BYTES)
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error), "run as the user who owns the keys") from error
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise InputError(str(path), "is not a private key", "restore it, or move it away to have a new one made") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(str(path), "is not an Ed25519 key", "move it away to have a new one made")
    return key


def _pem(private: Ed25519PrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _checked(name: str) -> str:
    if not _NAME.match(name):
        raise InputError(f"key {name[:80]!r}", "is not a name of lower-case letters, digits, . _ and -", "name it like build")
    return name
