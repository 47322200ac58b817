"""Comparing what a container does with the profile of its image; what is not in it is an anomaly that explains itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from shipwall.lang.neutral import neutral
from shipwall.model.event import AnyEvent, Call
from shipwall.runtime.profile.acts import FILES, ONLY_SEEN, Act, acts_of
from shipwall.runtime.profile.document import CAPTURE, Profile
from shipwall.runtime.profile.learn import believed, folder_for, siblings_of
from shipwall.runtime.profile.sequences import Score
from shipwall.runtime.profile.stretches import Stretches

MAX_TOLD = 20_000
MAX_AT_ONCE = 20
AT_ONCE_NS = 600 * 1_000_000_000
_SHOWN = 200

SEQUENCE = "sequence"
RULES = {
    "program": ("Anomaly: new program", "Warning"),
    "child": ("Anomaly: program started by another than before", "Warning"),
    "read": ("Anomaly: other file read", "Notice"),
    "write": ("Anomaly: other file written", "Warning"),
    "out": ("Anomaly: new destination", "Warning"),
    "in": ("Anomaly: listens elsewhere", "Warning"),
    "identity": ("Anomaly: other change of user", "Warning"),
    "call": ("Anomaly: new system call", "Notice"),
    SEQUENCE: ("Anomaly: unusual order of calls", "Notice"),
}
"""Kind of act → the rule that its alerts name, and their priority."""


class Anomaly(NamedTuple):
    """One act outside of the profile of `image`.

    `replicas`: containers of the image that were learnt from; `doing`: those that did this since, this one counted; `siblings`: images on
    the same base with a profile, `siblings_doing` those of them to which it is normal. `set_aside`: it was seen while learning and not
    believed. `unseen`: the share of acts that were expected to be new when learning ended. `kept_back`: anomalies of this
    container that were not told before this one. `strangest`: for an order of calls, its most surprising pairs.
    """

    event: AnyEvent
    act: Act
    image: str
    replicas: int
    doing: int
    siblings: int
    siblings_doing: int
    set_aside: bool
    unseen: float
    kept_back: int
    score: Score | None = None
    limit_bits: float = 0.0
    strangest: tuple[tuple[str, str], ...] = ()

    @property
    def rule(self) -> str:
        """The name its alert has."""
        return RULES[self.act.kind][0]

    @property
    def priority(self) -> str:
        """The priority its alert has."""
        return RULES[self.act.kind][1]


class Judge:
    """Judges events by one image's profile. Each act is told once for each container; MAX_AT_ONCE in ten minutes, the rest counted.

    The order of calls is judged only where they are `told_by` whom it was learnt from.
    """

    def __init__(self, profile: Profile, others: Iterable[Profile] = (), told_by: str = CAPTURE) -> None:
        self._is_comparable = profile.told_by == told_by
        self.profile = profile
        self._normal = believed(profile)
        self._whole = {act for act in self._normal if act.what.endswith("/**")}
        self._aside = {one.act for one in profile.set_aside}
        self._siblings = [(believed(one)) for one in siblings_of(profile, others)]
        self._stretches = Stretches(profile)
        self._doing: dict[Act, set[str]] = {}
        self._told: dict[str, tuple[int, int, int]] = {}
        once = sum(one.slices == 1 for one in (*profile.acts, *profile.set_aside))
        total = sum(one.slices for one in (*profile.acts, *profile.set_aside))
        self._unseen = (once + 1) / (total + 1)

    def take(self, event: AnyEvent, parent: str) -> list[Anomaly]:
        """The anomalies in one event; `parent` as for `acts_of`."""
        acts = acts_of(event, parent)
        found = [one for act in acts if not self.is_normal(act) and (one := self._tell(act, event)) is not None]
        unusual = self._stretches.judge(event) if self._is_comparable else None
        if unusual is not None:
            stretch, score = unusual
            strangest = tuple(self._stretches.strangest(stretch))
            act = Act(SEQUENCE, ", ".join(f"{before or 'its start'} then {call}" for before, call in strangest))
            if (anomaly := self._tell(act, event)) is not None:
                limit = self._stretches.limit_bits or 0.0
                found.append(anomaly._replace(score=score, limit_bits=limit, strangest=strangest))
        return found

    def take_counted(self, container: str, calls: Collection[str], now_ns: int) -> list[Anomaly]:
        """The anomalies among the `calls` the kernel has counted of `container` until now."""
        if not self.profile.counted:
            return []
        acts = (Act("call", name) for name in sorted(set(calls) - ONLY_SEEN))
        new = ((act, _counted(container, act.what, now_ns)) for act in acts if not self.is_normal(act))
        return [found for act, event in new if (found := self._tell(act, event)) is not None]

    def is_normal(self, act: Act) -> bool:
        """Whether `act` is in the profile, or of a kind or place of which nothing was learnt."""
        if act in self._normal or folder_for(act, self._whole) is not None:
            return True
        if act.kind in FILES:
            return not any(act.what.startswith(prefix) for prefix in self.profile.prefixes)
        return act.kind == "call" and not self.profile.counted

    def _tell(self, act: Act, event: AnyEvent) -> Anomaly | None:
        """The anomaly, unless this container did it before or had too many."""
        container = event.container
        doing = self._doing.get(act)
        if doing is None:
            if len(self._doing) >= MAX_TOLD:
                del self._doing[next(iter(self._doing))]
            doing = self._doing[act] = set()
        if container in doing:
            return None
        if len(doing) < 1_000:
            doing.add(container)
        since_ns, count, kept = self._told.get(container, (event.time_ns, 0, 0))
        if not 0 <= event.time_ns - since_ns < AT_ONCE_NS:
            since_ns, count = event.time_ns, 0
        if count >= MAX_AT_ONCE:
            self._told[container] = (since_ns, count, kept + 1)
            return None
        if len(self._told) >= MAX_TOLD and container not in self._told:
            del self._told[next(iter(self._told))]
        self._told[container] = (since_ns, count + 1, 0)
        return Anomaly(
            event=event,
            act=act,
            image=self.profile.image,
            replicas=len(self.profile.heard_ns),
            doing=len(doing),
            siblings=len(self._siblings),
            siblings_doing=sum(act in normal for normal in self._siblings),
            set_aside=act in self._aside,
            unseen=self._unseen,
            kept_back=kept,
        )


def _counted(container: str, name: str, now_ns: int) -> Call:
    """What stands for calls that were counted and not delivered: nobody knows which process made them."""
    return Call(
        seq=0, time_ns=now_ns, cgroup_id=0, pid=0, tid=0, ppid=0, ns_pid=0, uid=0, gid=0, comm="", syscall=name, raw=(), container=container
    )  # fmt: skip


def explain(anomaly: Anomaly, profile: Profile, owner: str, layer: str) -> str:
    """What is new, who owns it, what others do and how rare it is, in one line. `owner`, `layer`: of `subject`, empty when none."""
    act = anomaly.act
    shown = neutral(act.what)[:_SHOWN]
    parts = [f"{anomaly.rule.removeprefix('Anomaly: ')} | {shown}"]
    if anomaly.score is not None:
        parts.append(f"{anomaly.score.value:.2f} bits, normal is at most {anomaly.limit_bits:.2f}")
    elif act.kind != "call":
        parts.append(
            f"owned by {neutral(owner)}{f', layer {layer[:19]}' if layer else ''}" if owner else "no package of the image owns it"
        )
    minutes = (profile.ended_ns or max(profile.heard_ns.values(), default=0)) - profile.began_ns
    seen = "seen while learning and set aside" if anomaly.set_aside else "never seen"
    parts.append(f"{seen} in {profile.slices} slices of {anomaly.replicas} replicas over {max(minutes, 0) / 60e9:.0f} min")
    parts.append(f"{anomaly.doing} replica{'s' if anomaly.doing > 1 else ''} did it since")
    if anomaly.siblings:
        parts.append(f"normal to {anomaly.siblings_doing} of {anomaly.siblings} images on the same base")
    parts.append(f"{anomaly.unseen:.2%} of acts were expected to be new")
    if anomaly.kept_back:
        parts.append(f"{anomaly.kept_back} anomalies of this container not told before")
    return "; ".join(parts)


def subject(anomaly: Anomaly, program: str) -> str:
    """The file whose package explains the anomaly: what was executed or touched, else the `program` that did it."""
    if anomaly.act.kind in {"program", "child", *FILES}:
        return getattr(anomaly.event, "path", "") or anomaly.act.what
    return program
