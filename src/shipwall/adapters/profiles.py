"""Profiles this installation keeps: one file for each image, written whole, readable by root only: they name every file a service uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shipwall.adapters.files import Stamp, locked, read_bounded, stamp_of, write_whole
from shipwall.model.digest import Digest, parse_digest
from shipwall.model.errors import InputError, ShipwallError, StorageError
from shipwall.runtime.profile.document import MAX_BYTES, Profile, parse_profile, render_profile

MAX_PROFILES = 1_000


class ProfileStore:
    """The profiles in the folder `path` (of an instance: `state/profiles`)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, profile: Profile) -> None:
        """Keep `profile`. Raises StorageError."""
        data = render_profile(profile)
        if len(data) > MAX_BYTES:
            raise StorageError(f"profile of {profile.image[:19]}", f"has more than {MAX_BYTES} bytes")
        write_whole(self._of(profile.image), data, 0o600)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Nobody else changes profiles meanwhile: the agent keeps what it learnt, a person changes modes. Raises StorageError."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(str(self.path), error.strerror or str(error), "make it writable") from error
        with locked(self.path / ".lock"):
            yield

    def get(self, image: Digest) -> Profile | None:
        """The profile of `image`, None when there is none. Raises InputError, TrustError for a damaged one and for another image's."""
        place = self._of(image)
        if not place.exists():
            return None
        return parse_profile(read_bounded(place, MAX_BYTES), str(place), image)

    def all(self) -> tuple[dict[Digest, Profile], dict[Digest, ShipwallError]]:
        """Every profile, and why one could not be read."""
        found: dict[Digest, Profile] = {}
        refused: dict[Digest, ShipwallError] = {}
        for place in sorted(self.path.glob("*.json"))[:MAX_PROFILES]:
            image = f"sha256:{place.stem}"
            try:
                profile = self.get(parse_digest(image))
            except ShipwallError as error:
                refused[image] = error
                continue
            if profile is not None:
                found[image] = profile
        return found, refused

    def stamps(self) -> dict[str, Stamp]:
        """File → what changes whenever it is written: for whoever follows them."""
        found = {}
        for place in sorted(self.path.glob("*.json"))[:MAX_PROFILES]:
            with suppress(OSError):  # removed meanwhile
                found[place.name] = stamp_of(place)
        return found

    def find(self, word: str) -> Digest:
        """The image whose digest is `word`, or begins with it (12 characters at least). Raises InputError for none or several."""
        text = word.removeprefix("sha256:")
        if len(text) == 64:
            return parse_digest(f"sha256:{text}")
        found = [place.stem for place in self.path.glob("*.json") if place.stem.startswith(text)] if len(text) >= 12 else []
        if len(found) != 1:
            raise InputError(
                f"image {word[:80]!r}", f"{len(found)} profiles begin so", "give the digest in full: shipwall profile list"
            )
        return parse_digest(f"sha256:{found[0]}")

    def _of(self, image: Digest) -> Path:
        return self.path / f"{parse_digest(image).removeprefix('sha256:')}.json"
