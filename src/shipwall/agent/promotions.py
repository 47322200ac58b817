"""What may run on this node, read from files: verified promotions by config digest, and the node's admission policy.

Both are read again when a file changed. *On failure*: closed; a promotion that cannot be read or verified is none, and is counted; an
admission policy that cannot be read is an error, and with it nothing is admitted.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path

from shipwall.access.policy import AdmissionPolicy, parse_admission_policy
from shipwall.adapters.files import Stamp, stamp_of
from shipwall.adapters.instance import Instance
from shipwall.adapters.keys import Keys
from shipwall.model.digest import Digest
from shipwall.model.errors import ShipwallError, StorageError, TrustError
from shipwall.model.promotion import Promotion
from shipwall.supply.statements import verify_promotion

MAX_PROMOTION_BYTES = 4 * 1024 * 1024


class Promotions:
    """The promotions of `instance`: call it for those by config digest. Safe for several threads.

    *Trust*: envelopes signed by the key called `promotion` or one called `promotion-...`, about the manifest the file is named after.
    `broken` is the number of files that did not verify, `why` the last reason of each by file name.
    """

    def __init__(self, instance: Instance) -> None:
        self._folder = instance.state / "promotions"
        self._keys = instance.keys
        self._lock = threading.Lock()
        self._key_stamps: dict[str, Stamp] = {}
        self._stamps: dict[str, Stamp] = {}
        self._known: dict[str, Promotion | None] = {}
        self._by_config: dict[Digest, Promotion] = {}
        self.why: dict[str, str] = {}

    @property
    def broken(self) -> int:
        """Files that are no verified promotion."""
        return len(self.why)

    def __call__(self) -> Mapping[Digest, Promotion]:
        """All verified promotions, by config digest."""
        with self._lock:
            keys = _stamps(self._keys, ".pub") | _stamps(self._keys / "trusted", ".pub")
            stamps = _stamps(self._folder, ".json")
            if keys == self._key_stamps and stamps == self._stamps:
                return self._by_config
            if keys != self._key_stamps:  # a key came or went: every signature is looked at again
                self._known = {}
                self._stamps = {}
            self._read_changed(stamps)
            self._key_stamps, self._stamps = keys, stamps
            self._by_config = {found.image.config: found for found in self._known.values() if found is not None}
            return self._by_config

    def _read_changed(self, stamps: dict[str, Stamp]) -> None:
        trusted = Keys(self._keys).promoters()
        for name in [name for name in self._known if name not in stamps]:
            del self._known[name]
            self.why.pop(name, None)
        for name, stamp in stamps.items():
            if self._stamps.get(name) == stamp and name in self._known:
                continue
            self.why.pop(name, None)
            self._known[name] = None
            try:
                found = verify_promotion(_read(Path(name)), trusted)
                if found.image.manifest != "sha256:" + Path(name).stem:
                    raise TrustError(name, "is named after another manifest", step="file name")
                self._known[name] = found
            except (ShipwallError, OSError) as error:
                self.why[name] = str(error)


class AdmissionPolicies:
    """The admission policy of `instance` (`state/admission.yaml`): call it for the one that counts now. Safe for several threads."""

    def __init__(self, instance: Instance, engine_socket: Path | None = None) -> None:
        self.path = instance.state / "admission.yaml"
        sockets = (engine_socket,) if engine_socket else ()
        self._protected = tuple(str(path) for path in (instance.state, *sockets, *(path.resolve() for path in sockets)))
        self._lock = threading.Lock()
        self._stamp: Stamp | None = None
        self._policy = AdmissionPolicy(protected=self._protected)

    def __call__(self) -> AdmissionPolicy:
        """The policy. Raises InputError with line and column, StorageError."""
        with self._lock:
            stamp = _stamp(self.path)
            if stamp != self._stamp:
                text = _read(self.path) if stamp else b""
                default = AdmissionPolicy(protected=self._protected)
                self._policy = parse_admission_policy(text, str(self.path), self._protected) if stamp else default
                self._stamp = stamp
            return self._policy


def _stamps(folder: Path, suffix: str) -> dict[str, Stamp]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.path for entry in entries if entry.name.endswith(suffix) and not entry.name.startswith(".")]
    except OSError:
        return {}
    return {name: stamp for name in names if (stamp := _stamp(Path(name)))}


def _stamp(path: Path) -> Stamp | None:
    try:
        return stamp_of(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error), "mend the file") from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PROMOTION_BYTES + 1)
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error), "mend the file") from error
    if len(data) > MAX_PROMOTION_BYTES:
        raise StorageError(str(path), f"is over {MAX_PROMOTION_BYTES} bytes", "mend the file")
    return data
