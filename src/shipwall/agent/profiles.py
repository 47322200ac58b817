"""The agent's side of profiles: taken from their files when those change, kept there while they are learnt."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection

import msgspec

from shipwall.adapters.files import Stamp
from shipwall.adapters.profiles import ProfileStore
from shipwall.agent.core import Core
from shipwall.model.digest import Digest, digest_of
from shipwall.model.errors import ShipwallError
from shipwall.runtime.profile.document import Profile


class ProfileKeeper:
    """Used by the housekeeping thread. `lock` guards `core`. The sensor tells of `calls`, and of files opened below `prefixes`."""

    def __init__(
        self,
        store: ProfileStore,
        core: Core,
        lock: threading.RLock,
        prefixes: tuple[str, ...],
        calls: Collection[str],
        say: Callable[[str], None],
    ) -> None:
        core.profiles.told_by = f"agent {digest_of(' '.join(sorted(calls)).encode())[7:19]}"
        self._store = store
        self._core = core
        self._lock = lock
        self._prefixes = prefixes
        self._say = say
        self._stamps: dict[str, Stamp] = {}
        self._profiles: dict[Digest, Profile] = {}
        self._refused: dict[Digest, str] = {}

    def follow(self) -> None:
        """Take the profiles anew when somebody changed one: its mode, what is confirmed, a new one. A bad one is refused and told."""
        stamps = self._store.stamps()
        if stamps == self._stamps:
            return
        found, refused = self._store.all()
        self._stamps = stamps
        self._profiles = {image: self._with_prefixes(one) for image, one in found.items()}
        told = {image: why.line() for image, why in refused.items()}
        for image, why in told.items():
            if self._refused.get(image) != why:
                self._say(f"profile refused: {why}")
        self._refused = told
        with self._lock:
            self._core.profiles.load(self._profiles)
        self._say(f"profiles: {self._words()}")

    def keep(self) -> None:
        """Write what is learnt, unless somebody changed the files since they were read: then that is read first."""
        with self._lock:
            learnt = self._core.profiles.learnt() if self._core.profiles else {}
        changed = {image: one for image, one in learnt.items() if self._profiles.get(image) != one}
        if not changed:
            return
        try:
            with self._store.changing():
                if self._store.stamps() != self._stamps:
                    return  # by the next turn it was read, and what is learnt goes on from there
                for one in changed.values():
                    self._store.put(one)
                self._stamps = self._store.stamps()
            self._profiles |= changed
            with self._lock:
                self._core.profiles.kept(changed)
        except ShipwallError as error:
            self._say(f"profiles are not kept: {error.line()}")

    @property
    def is_used(self) -> bool:
        """Whether there is any profile: then containers must be told of whole, whatever the rules ask."""
        return bool(self._profiles)

    def told(self) -> dict[str, str]:
        """For the health: which profiles there are, nothing when there are none."""
        return {"anomalies": self._words()} if self._profiles or self._refused else {}

    def _words(self) -> str:
        modes = Counter(one.mode for one in self._profiles.values())
        parts = [f"{modes[mode]} {mode}" for mode in sorted(modes)]
        return ", ".join(parts + ([f"{len(self._refused)} refused"] if self._refused else [])) or "none"

    def _with_prefixes(self, profile: Profile) -> Profile:
        """A profile that was just begun sees the files that this agent sees."""
        if profile.mode != "learn" or profile.prefixes:
            return profile
        return msgspec.structs.replace(profile, prefixes=self._prefixes)
