"""What two profiles do not have in common."""

from __future__ import annotations

import msgspec

from shipwall.runtime.profile.document import Known, Profile
from shipwall.runtime.profile.learn import folder_for


class ProfileDifference(msgspec.Struct, frozen=True, kw_only=True):
    """Acts that are normal to one of two images only; a folder that stands for all its files counts for each of them."""

    only_old: tuple[Known, ...]
    only_new: tuple[Known, ...]
    both: int


def difference_of_profiles(old: Profile, new: Profile) -> ProfileDifference:
    """The difference from `old` to `new`."""
    only_old, only_new = _missing(old, new), _missing(new, old)
    return ProfileDifference(only_old=only_old, only_new=only_new, both=len(new.acts) - len(only_new))


def _missing(one: Profile, other: Profile) -> tuple[Known, ...]:
    there = {known.act for known in other.acts}
    whole = {act for act in there if act.what.endswith("/**")}
    return tuple(known for known in one.acts if known.act not in there and folder_for(known.act, whole) is None)
