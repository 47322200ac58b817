"""All profiles of one node: each event goes to the learner or the judge of its container's image."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping

from shipwall.model.digest import Digest
from shipwall.model.event import AnyEvent
from shipwall.runtime.profile.document import CAPTURE, Profile
from shipwall.runtime.profile.judge import Anomaly, Judge
from shipwall.runtime.profile.learn import Learner

MAX_WAITING = 2_000
MAX_CONTAINERS = 200


class Profiles:
    """Images that learn or are monitored. Events of a container whose image is not known yet wait for it, bounded. One caller at a time.

    `told_by`: whoever tells the events, as in a profile.
    """

    def __init__(self) -> None:
        self.told_by = CAPTURE
        self.dropped = 0
        self._all: dict[Digest, Profile] = {}
        self._learners: dict[Digest, Learner] = {}
        self._judges: dict[Digest, Judge] = {}
        self._waiting: dict[str, deque[tuple[AnyEvent, str]]] = {}

    def __bool__(self) -> bool:
        return bool(self._all)

    def load(self, profiles: Mapping[Digest, Profile]) -> None:
        """Take the profiles as they are kept. One that is learnt here goes on as it is known here, unless it was begun anew or ended."""
        before, self._all = self._all, dict(profiles)
        for image in [image for image, one in before.items() if profiles.get(image) != one]:
            self._learners.pop(image, None)
            self._judges.pop(image, None)
        changed_judges = any(before.get(image) != one for image, one in profiles.items() if one.mode != "learn")
        for image, one in profiles.items():
            if one.mode == "learn":
                self._learners.setdefault(image, Learner(one, self.told_by))
            elif image not in self._judges or changed_judges:
                self._judges[image] = Judge(one, self._all.values(), self.told_by)

    def profile(self, image: Digest) -> Profile | None:
        """The profile of an image."""
        return self._all.get(image)

    def take(self, event: AnyEvent, parent: str, image: Digest | None) -> list[Anomaly]:
        """Learn or judge an event of a container of `image` (None: not known yet)."""
        if not self._all or not event.container:
            return []
        if image is None:
            waiting = self._waiting.get(event.container)
            if waiting is None:
                if len(self._waiting) >= MAX_CONTAINERS:
                    self.dropped += len(self._waiting.pop(next(iter(self._waiting))))
                waiting = self._waiting[event.container] = deque(maxlen=MAX_WAITING)
            self.dropped += len(waiting) == MAX_WAITING
            waiting.append((event, parent))
            return []
        if (learner := self._learners.get(image)) is not None:
            learner.take(event, parent)
            return []
        judge = self._judges.get(image)
        return judge.take(event, parent) if judge is not None else []

    def identified(self, container: str, image: Digest | None) -> list[Anomaly]:
        """The image of `container` is known now (None: never will be): its events waited."""
        waiting = self._waiting.pop(container, ())
        if image is None:
            return []
        return [found for event, parent in waiting for found in self.take(event, parent, image)]

    def take_counted(self, container: str, image: Digest, calls: Collection[str], now_ns: int) -> list[Anomaly]:
        """Learn or judge what the kernel has counted of `container` until now."""
        if (learner := self._learners.get(image)) is not None:
            learner.take_counted(container, calls, now_ns)
        judge = self._judges.get(image)
        return judge.take_counted(container, calls, now_ns) if judge is not None else []

    def learnt(self) -> dict[Digest, Profile]:
        """What is learnt up to now, to be kept."""
        return {image: learner.profile() for image, learner in self._learners.items()}

    def kept(self, profiles: Mapping[Digest, Profile]) -> None:
        """What was `learnt` is written: `load` of the same changes nothing."""
        self._all.update((image, one) for image, one in profiles.items() if image in self._learners)
