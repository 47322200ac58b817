"""Learning what the containers of one image do, and when that is enough.

*Enough.* An act counts once in each slice of ten seconds of a container. The chance that the next act was never seen is about the share of
acts that were seen in one slice only. Source: Good 1953; Chao and Jost 2012, incidence form. Learning may end when that is below
UNSEEN, after MIN_NS and MIN_SLICES.

*Poison.* Whoever is in a container while it learns must not teach: what only one of several replicas did, or what a single replica did
rarely and late, is set aside, unless a sibling does it too. Events that are not news teach nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple

import msgspec

from shipwall.model.digest import Digest
from shipwall.model.event import AnyEvent
from shipwall.runtime.profile.acts import ONLY_SEEN, TREES, Act, acts_of
from shipwall.runtime.profile.document import CAPTURE, MAX_ACTS, MIXED, Known, Profile
from shipwall.runtime.profile.stretches import Stretches

SLICE_NS = 10 * 1_000_000_000
UNSEEN = 0.01
MIN_NS = 600 * 1_000_000_000
MIN_SLICES = 60
LATE_NS = 5 * 1_000_000_000
"""So much an event may lie before the newest of its container: processors do not deliver in order."""
SIBLINGS = 16
PROTECTED_SIBLINGS = 1_000
MAX_REPLICAS = 64
_KEPT_REPLICAS = 4

_FOLDERS = """
/ /bin /sbin /lib /lib64 /boot /dev /etc /home /opt /proc /root /run /srv /sys /usr /usr/bin /usr/sbin /usr/local /usr/local/bin
/usr/local/sbin /usr/lib /var /var/lib /var/spool /var/spool/cron /etc/cron.d /etc/init.d /root/.ssh /tcp /udp /unix /other
"""
_PROTECTED = frozenset(_FOLDERS.split())
"""Folders that never become "anything in here", however many names of theirs are seen."""


class Progress(NamedTuple):
    """How far learning is. `unseen`: the chance that the next act is a new one; `missing`: why it may not end yet, empty when it may."""

    unseen: float
    slices: int
    lasted_ns: int
    replicas: int
    acts: int
    missing: tuple[str, ...]


class _Seen:
    __slots__ = ("first_ns", "last", "last_ns", "replicas", "slices")

    def __init__(self, slices: int, replicas: Iterable[str], first_ns: int, last_ns: int) -> None:
        self.slices = slices
        self.replicas = list(replicas)
        self.first_ns = first_ns
        self.last_ns = last_ns
        self.last: tuple[str, int] = ("", 0)


class Learner:
    """Learns from the events of one image's containers, beginning with what `profile` already says. `told_by` as in a profile."""

    def __init__(self, profile: Profile, told_by: str = CAPTURE) -> None:
        self._profile = profile
        self._told_by = told_by if profile.told_by in {"", told_by} else MIXED
        self._acts = {
            one.act: _Seen(one.slices, one.replicas, one.first_ns, one.last_ns) for one in (*profile.acts, *profile.set_aside)
        }
        self._heard = dict(profile.heard_ns)
        self._newest = dict(profile.heard_ns)
        self._now_slice: dict[str, int] = {}
        self._slices = profile.slices
        self._names: dict[tuple[str, str], set[str]] = {}
        self._count = dict(Counter(act.kind for act in self._acts))
        self._whole = {act for act in self._acts if act.what.endswith("/**")}
        for act in self._acts:
            if act.kind in TREES:
                self._enter_names(act)
        self.stretches = Stretches(profile)
        self.counted = profile.counted
        self.dropped = profile.dropped
        self.replayed = profile.replayed
        self._began_ns = profile.began_ns

    def take(self, event: AnyEvent, parent: str) -> None:
        """Learn one event; `parent` as for `acts_of`."""
        replica = event.container[:12]
        if not self._is_news(replica, event.time_ns):
            return
        for act in acts_of(event, parent):
            self._note(act, replica, event.time_ns)
        if self._told_by != MIXED:
            self.stretches.learn(event)

    def take_counted(self, container: str, calls: Collection[str], time_ns: int) -> None:
        """Learn the names of all `calls` a container has made, as the kernel counted them up to `time_ns` (of a capture: from then on).

        They count for no slice: nobody knows in how many they were made.
        """
        self.counted = True
        self._began_ns = min(self._began_ns or time_ns, time_ns)
        if len(self._newest) < MAX_REPLICAS:
            self._newest.setdefault(container[:12], time_ns)
        for name in set(calls) - ONLY_SEEN:
            self._note(Act("call", name), container[:12], time_ns, slices=0)

    def _is_news(self, replica: str, time_ns: int) -> bool:
        """Whether an event is later than all that an earlier run has learnt of its container."""
        newest = self._newest.get(replica)
        if newest is None and len(self._newest) >= MAX_REPLICAS:
            self.dropped += 1
            return False
        before = self._heard.get(replica)
        if (before is not None and time_ns <= before) or (newest is not None and time_ns < newest - LATE_NS):
            self.replayed += 1
            return False
        self._newest[replica] = max(newest or 0, time_ns)
        self._began_ns = min(self._began_ns or time_ns, time_ns)
        number = time_ns // SLICE_NS
        if self._now_slice.get(replica) != number:
            self._now_slice[replica] = number
            self._slices += 1
        return True

    def _note(self, act: Act, replica: str, time_ns: int, slices: int = 1) -> None:
        seen = self._acts.get(act)
        if seen is None and act.kind in TREES:
            act = self._place(act)
            seen = self._acts.get(act)
        if seen is None:
            if self._count.get(act.kind, 0) >= MAX_ACTS // 4:  # a flood of one kind leaves room for the others
                self.dropped += 1
                return
            self._count[act.kind] = self._count.get(act.kind, 0) + 1
            seen = self._acts[act] = _Seen(0, (), time_ns, time_ns)
        here = (replica, time_ns // SLICE_NS)
        if seen.last != here:
            seen.slices += slices
            seen.last = here
        seen.last_ns = max(seen.last_ns, time_ns)
        if len(seen.replicas) < _KEPT_REPLICAS and replica not in seen.replicas:
            seen.replicas.append(replica)

    def _place(self, act: Act) -> Act:
        """`act`, or the folder that stands for it; a folder with too many names begins to stand for all of them."""
        above = folder_for(act, self._whole)
        if above is not None:
            return above
        for folder, name in _steps(act.what):
            names = self._names.setdefault((act.kind, folder), set())
            if name in names:
                continue
            if folder not in _PROTECTED and len(names) >= SIBLINGS:
                return self._generalise(act.kind, folder)
            if len(names) < PROTECTED_SIBLINGS:
                names.add(name)
        return act

    def _enter_names(self, act: Act) -> None:
        for folder, name in _steps(act.what):
            self._names.setdefault((act.kind, folder), set()).add(name)

    def _generalise(self, kind: str, folder: str) -> Act:
        """The act that stands for everything below `folder` from now on; what was known there goes into it."""
        whole = Act(kind, f"{folder}/**")
        inside = [act for act in self._acts if act.kind == kind and act.what.startswith(folder + "/")]
        parts = [self._acts.pop(act) for act in inside]
        self._whole -= set(inside)
        self._count[kind] = self._count.get(kind, 0) - len(inside) + 1
        for place in [place for place in self._names if place[0] == kind and (place[1] + "/").startswith(folder + "/")]:
            del self._names[place]
        merged = (
            _Seen(0, (), min(one.first_ns for one in parts), max(one.last_ns for one in parts)) if parts else _Seen(0, (), 0, 0)
        )
        merged.slices = max((one.slices for one in parts), default=0)
        merged.replicas = list(dict.fromkeys(name for one in parts for name in one.replicas))[:_KEPT_REPLICAS]
        self._acts[whole] = merged
        self._whole.add(whole)
        return whole

    def progress(self) -> Progress:
        """How far learning is."""
        once = sum(seen.slices == 1 for seen in self._acts.values())
        total = sum(seen.slices for seen in self._acts.values())
        unseen = (once + 1) / (total + 1)  # never none: what was not seen may still come
        lasted_ns = max(self._newest.values(), default=0) - self._began_ns if self._began_ns else 0
        missing = []
        if unseen >= UNSEEN:
            missing.append(f"{unseen:.1%} of acts are expected to be new, at most {UNSEEN:.0%} may be")
        if lasted_ns < MIN_NS:
            missing.append(f"{lasted_ns / 1e9:.0f} s of {MIN_NS / 1e9:.0f} s")
        if self._slices < MIN_SLICES:
            missing.append(f"{self._slices} of {MIN_SLICES} slices in which something happened")
        return Progress(unseen, self._slices, lasted_ns, len(self._newest), len(self._acts), tuple(missing))

    def profile(self) -> Profile:
        """What is learnt up to now; learning can be taken up from it."""
        return Profile(
            image=self._profile.image,
            mode="learn",
            base=self._profile.base,
            began_ns=self._began_ns,
            heard_ns=dict(self._newest),
            slices=self._slices,
            acts=_render(self._acts),
            counted=self.counted,
            prefixes=self._profile.prefixes,
            told_by=self._told_by,
            dropped=self.dropped,
            replayed=self.replayed,
            **self.stretches.told(),
        )

    def finish(self, siblings: Iterable[Profile], now_ns: int) -> Profile:
        """The profile to monitor by. Acts that may be poison are set aside, except those that one of `siblings_of` it does too."""
        vouched = {act for one in siblings for act in believed(one)}
        replicas = len(self._newest)
        half_ns = self._began_ns + (max(self._newest.values(), default=0) - self._began_ns) // 2
        aside = {
            act: seen
            for act, seen in self._acts.items()
            if act not in vouched and (len(seen.replicas) == 1 if replicas > 1 else seen.slices <= 1 and seen.first_ns > half_ns)
        }
        made = self.profile()
        believed_acts = {act: seen for act, seen in self._acts.items() if act not in aside}
        return Profile(
            image=made.image,
            mode="monitor",
            base=made.base,
            began_ns=made.began_ns,
            ended_ns=now_ns,
            heard_ns=made.heard_ns,
            slices=made.slices,
            acts=_render(believed_acts),
            set_aside=_render(aside),
            counted=made.counted,
            prefixes=made.prefixes,
            told_by=made.told_by,
            dropped=made.dropped,
            replayed=made.replayed,
            **self.stretches.finished(),
        )


def siblings_of(profile: Profile, others: Iterable[Profile]) -> tuple[Profile, ...]:
    """Those of `others` that are of other images on the same base, and learnt to the end."""
    return tuple(
        one for one in others if profile.base and one.base == profile.base and one.image != profile.image and one.mode != "learn"
    )


def believed(profile: Profile) -> frozenset[Act]:
    """The acts of `profile` that are normal."""
    return frozenset(one.act for one in profile.acts)


def folder_for(act: Act, whole: Collection[Act]) -> Act | None:
    """The act among `whole` that stands for `act` because it stands for everything in one of its folders."""
    if not whole:
        return None
    for folder, _name in _steps(act.what):
        above = Act(act.kind, f"{folder}/**")
        if above in whole:
            return above
    return None


def confirm(profile: Profile, acts: Collection[Act]) -> Profile:
    """`profile` with `acts` believed that were set aside. A person's decision."""
    moved = tuple(one for one in profile.set_aside if one.act in acts)
    return msgspec.structs.replace(profile, acts=tuple(sorted((*profile.acts, *moved), key=_order)),
                 set_aside=tuple(one for one in profile.set_aside if one.act not in acts))  # fmt: skip


def begin(image: Digest, base: Digest, prefixes: tuple[str, ...]) -> Profile:
    """A profile that knows nothing yet."""
    return Profile(image=image, base=base, prefixes=prefixes)


def _order(one: Known) -> tuple[str, str]:
    return one.kind, one.what


def _render(acts: dict[Act, _Seen]) -> tuple[Known, ...]:
    made = (
        Known(act.kind, act.what, seen.slices, tuple(seen.replicas), seen.first_ns, seen.last_ns) for act, seen in acts.items()
    )
    return tuple(sorted(made, key=_order))


def _steps(path: str) -> list[tuple[str, str]]:
    """(folder, name in it) on the way to `path`, topmost first: `/a/b` → (`/`, `a`), (`/a`, `b`). At most 32."""
    parts = path.split("/")[1:33]
    return [("/" + "/".join(parts[:at]), part) for at, part in enumerate(parts)]
