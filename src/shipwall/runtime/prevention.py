"""What of a container's rules the kernel can refuse before it happens: `plan_prevention`.

Takes rules with action deny, gives the refusals for the network hooks and for opens, and every act that is left to others with the reason.
What is certain of the container (its image, name, labels) is taken out of the conditions here, so a rule for other images costs nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import NamedTuple

from shipwall.lang.condition import Compare, Condition, Exists, fields_of, leaves_of
from shipwall.model.container import ContainerFacts
from shipwall.model.digest import Digest
from shipwall.model.event import Exit
from shipwall.runtime.conditions import evaluate, specialise
from shipwall.runtime.facts import Context, Facts
from shipwall.runtime.fields import look_up
from shipwall.runtime.file_refusals import FileRefusal, lower_files
from shipwall.runtime.network_refusals import Lowered, join_refusals, lower_network
from shipwall.runtime.network_tables import Refusal
from shipwall.runtime.processes import ProcessTable

OPEN_CALLS = ("open", "openat", "openat2")
NETWORK_CALLS = ("connect", "bind", "sendto", "sendmsg", "sendmmsg")
MAX_CONTAINER_LEAVES = 6
_EVERYTHING = "it holds for everything this container does"
_CHANGING = frozenset({"container.ip", "container.duration"})


class Wanted(NamedTuple):
    """One rule that refuses: its name, its condition with macros expanded, and whether it denies or only monitors."""

    rule: str
    condition: Condition
    mode: str = "deny"


class Left(NamedTuple):
    """Acts of a rule that no hook refuses, and why. `acts`: a call of the network, or `open`."""

    rule: str
    acts: str
    reason: str


class Prevention(NamedTuple):
    """What to put in force for a container, and what is left."""

    network: tuple[Refusal, ...]
    files: tuple[FileRefusal, ...]
    left: tuple[Left, ...]

    def __bool__(self) -> bool:
        return bool(self.network or self.files)


class _Only(Context):
    """Knows one container and nothing else."""

    def __init__(self, facts: ContainerFacts) -> None:
        self._facts = facts

    def container(self, container_id: str) -> ContainerFacts | None:
        return self._facts if container_id == self._facts.id else None

    def package_of(self, image_digest: Digest | None, path: str) -> str:  # noqa: ARG002  it knows no packages
        return ""


def plan_prevention(rules: Iterable[Wanted], container: ContainerFacts) -> Prevention:
    """What of `rules` can be refused in `container`. Acts a rule is not about are not mentioned."""
    known = _known_of(container)
    network: list[Lowered] = []
    files: list[FileRefusal] = []
    left: list[Left] = []
    for wanted in rules:
        tree = specialise(wanted.condition, known)
        if isinstance(tree, bool):
            if tree:
                left.append(Left(wanted.rule, "all", _EVERYTHING))
            continue
        lowered = lower_network(tree, wanted.rule, wanted.mode)
        network += lowered.values()
        left += [Left(wanted.rule, call, one.reason) for call, one in lowered.items() if one.reason]
        opens = lower_files(tree, wanted.rule, wanted.mode)
        if opens.refusal is not None:
            files.append(opens.refusal)
        elif opens.is_about_opens:
            left.append(Left(wanted.rule, "open", opens.reason))
    return Prevention(join_refusals(network), tuple(files), tuple(left))


def why_not_refused(condition: Condition) -> dict[str, str]:
    """For every act of the network and every open that the condition can be about: why no hook refuses it, empty when one does.

    For any container: what is certain of one is tried both ways, so an act counts as refused only when it is in all of them.
    """
    leaves = list(dict.fromkeys(leaf for leaf in leaves_of(condition) if _is_of_container(leaf)))
    if len(leaves) > MAX_CONTAINER_LEAVES:
        return dict.fromkeys((*NETWORK_CALLS, *OPEN_CALLS), f"it asks more than {MAX_CONTAINER_LEAVES} things of the container")
    found: dict[str, str] = {}
    for results in itertools.product((True, False), repeat=len(leaves)):
        assumed = dict(zip(leaves, results, strict=True))
        tree = specialise(condition, assumed.get)
        if isinstance(tree, bool):
            if tree:
                found |= dict.fromkeys((*NETWORK_CALLS, *OPEN_CALLS), _EVERYTHING)
            continue
        for call, lowered in lower_network(tree, "").items():
            found[call] = found.get(call, "") or lowered.reason
        opens = lower_files(tree, "")
        if opens.is_about_opens:
            found |= {call: found.get(call, "") or opens.reason for call in OPEN_CALLS}
    return found


def _is_of_container(leaf: Compare | Exists) -> bool:
    names = {field.name for field in fields_of(leaf)}
    return bool(names) and all(name.startswith("container.") and name not in _CHANGING for name in names)


def _known_of(container: ContainerFacts) -> Callable[[Compare | Exists], bool | None]:
    """What is certain of a comparison in this container, whatever happens; None where it is not."""
    event = Exit(
        seq=0,
        time_ns=0,
        cgroup_id=container.cgroup_id,
        pid=0,
        tid=0,
        ppid=0,
        ns_pid=0,
        uid=0,
        gid=0,
        comm="",
        container=container.id,
    )
    lookup = look_up(Facts(event, ProcessTable(), _Only(container), ""))

    def known(leaf: Compare | Exists) -> bool | None:
        return evaluate(leaf, lookup) if _is_of_container(leaf) else None

    return known
