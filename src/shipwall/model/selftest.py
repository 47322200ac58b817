"""The leak rate of a node: what attacks on a throw-away container completed although a hook should have stopped them."""

from __future__ import annotations

import msgspec

PREVENTED, STOPPED, OPEN = "prevented", "stopped before its first instruction", "not prevented"


class Leak(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of act. `claim`: what Shipwall promises here and `hook` by what; `completed` of `attempts` had their effect nevertheless.

    `without_guard`: how many of as many tries had it before any guard was in force, all of which must. `unmeasured` says why there is no
    figure, empty when there is one.
    """

    action: str
    claim: str
    hook: str
    attempts: int = 0
    completed: int = 0
    without_guard: str = ""
    unmeasured: str = ""

    @property
    def is_broken(self) -> bool:
        """Whether something is promised and not kept, or could not be measured."""
        return self.claim != OPEN and (self.completed > 0 or bool(self.unmeasured))


class SelfTest(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `time_ns` since 1970. `kept`: every promise was measured and kept."""

    node: str
    kernel: str
    time_ns: int
    kept: bool
    leaks: tuple[Leak, ...]
