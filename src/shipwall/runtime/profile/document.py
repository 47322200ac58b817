"""A profile as a document: versioned, bounded, with the digest of what it says.

The digest finds what was cut or edited by accident; who made the document is told by a signature (`journeys/profiles`), because
whoever edits it can write a new digest too.
"""

from __future__ import annotations

import msgspec

from shipwall.model.digest import Digest, digest_of, parse_digest
from shipwall.model.errors import InputError, TrustError
from shipwall.runtime.profile.acts import KINDS, Act

VERSION = 1
MAX_BYTES = 32 << 20
MAX_ACTS = 20_000
MODES = ("learn", "monitor")
CAPTURE = "capture"
MIXED = "several"


class Known(msgspec.Struct, frozen=True, array_like=True):
    """One act. `slices`: how many slices of ten seconds of a container it was seen in. `replicas`: some of them, shortened ids."""

    kind: str
    what: str
    slices: int
    replicas: tuple[str, ...]
    first_ns: int
    last_ns: int

    @property
    def act(self) -> Act:
        """The act itself."""
        return Act(self.kind, self.what)


class Profile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What the containers of `image` did. `mode`: learn or monitor.

    `base`: the image's lowest layer, by which siblings are known. `heard_ns`: replica → time of its newest event that was learnt.
    `slices`: those in which anything was seen. `set_aside`: acts not believed yet. `counted`: the kernel counted every call, so the
    list of calls is whole. `prefixes`: files below these were seen. `told_by`: which calls were told in their order (a capture's, or
    those of an agent's rules): where others are told, their order cannot be compared. `grams`: n-grams of calls, as places in `calls` →
    how often; `held`: stretches kept from learning, to find `limit_bits`, above which a stretch is an anomaly (None: not judged).
    `dropped`: acts for which there was no room; `replayed`: events that were not news.
    """

    image: Digest
    mode: str = "learn"
    base: Digest = ""
    began_ns: int = 0
    ended_ns: int = 0
    heard_ns: dict[str, int] = {}
    slices: int = 0
    acts: tuple[Known, ...] = ()
    set_aside: tuple[Known, ...] = ()
    counted: bool = False
    prefixes: tuple[str, ...] = ()
    told_by: str = ""
    calls: tuple[str, ...] = ()
    grams: dict[str, int] = {}
    held: tuple[str, ...] = ()
    limit_bits: float | None = None
    dropped: int = 0
    replayed: int = 0


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    shipwall_profile: int
    digest: Digest
    profile: msgspec.Raw


_decoder = msgspec.json.Decoder(Profile)


def render_profile(profile: Profile) -> bytes:
    """`profile` as a document."""
    text = msgspec.json.encode(profile)
    return msgspec.json.encode(_Document(shipwall_profile=VERSION, digest=digest_of(text), profile=msgspec.Raw(text)))


def parse_profile(data: bytes, name: str, image: Digest = "") -> Profile:
    """The profile in a document; with `image` only one of that image. Total. Raises InputError, and TrustError for an edited one."""
    if len(data) > MAX_BYTES:
        raise InputError(name, f"has more than {MAX_BYTES} bytes", "learn again")
    try:
        document = msgspec.json.decode(data, type=_Document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(name, f"is no profile: {error}", "learn again: shipwall profile learn") from error
    if document.shipwall_profile != VERSION:
        raise InputError(
            name, f"is a profile of version {document.shipwall_profile}, not {VERSION}", "learn again with this Shipwall"
        )
    if digest_of(bytes(document.profile)) != document.digest:
        raise TrustError(
            name, "is not what its digest says: it was cut or edited", "learn again, or fetch a signed one", step="digest"
        )
    try:
        profile = _decoder.decode(document.profile)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(name, f"is no profile: {error}", "learn again: shipwall profile learn") from error
    return check_profile(profile, name, image)


def check_profile(profile: Profile, name: str, image: Digest = "") -> Profile:
    """`profile`, whose words and bounds are right, of `image` where given. Raises InputError, TrustError for another image's."""
    parse_digest(profile.image)
    if image and profile.image != image:
        why = f"is the profile of {profile.image}, not of {image}"
        raise TrustError(name, why, "a profile says nothing about another image", step="image")
    if profile.mode not in MODES:
        raise InputError(name, f"mode {profile.mode[:40]!r} is not one of {', '.join(MODES)}")
    if len(profile.acts) + len(profile.set_aside) > 2 * MAX_ACTS:
        raise InputError(name, f"has more than {2 * MAX_ACTS} acts")
    odd = next((one.kind for one in (*profile.acts, *profile.set_aside) if one.kind not in KINDS), None)
    if odd is not None:
        raise InputError(name, f"{odd[:40]!r} is no kind of act")
    return profile
