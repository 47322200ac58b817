"""Profiles from captures, and signed beside their image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from shipwall.adapters.registry import Registry
from shipwall.journeys.sign import Signed, attach_envelope, load_statements
from shipwall.model.container import ContainerFacts
from shipwall.model.digest import Digest, digest_of
from shipwall.model.errors import InputError, TrustError
from shipwall.model.event import Event, Exec
from shipwall.runtime.capture import Known, Reader
from shipwall.runtime.processes import ProcessTable
from shipwall.runtime.profile.acts import parent_of
from shipwall.runtime.profile.document import Profile, check_profile
from shipwall.runtime.profile.judge import Anomaly, Judge
from shipwall.runtime.profile.learn import Learner
from shipwall.supply.dsse import PublicKeys, Signer
from shipwall.supply.statements import PROFILE_TYPE, VerifiedStatement, profile_statement, sign_statement

CONTROL_GROUP = "/"


class Chosen:
    """Which containers of a capture are of `image`: by what the capture says of them, or those that a person `named`: by name, by id or its
    beginning, by CONTROL_GROUP what was captured without a container.

    `identify`: an engine's image id → its manifest, None when it is not known here.
    """

    def __init__(self, image: Digest, named: tuple[str, ...], identify: Callable[[Digest], Digest | None]) -> None:
        self.image = image
        self.taken: set[str] = set()
        self._named = named
        self._identify = identify
        self._facts: dict[str, ContainerFacts] = {}

    def meet(self, facts: ContainerFacts) -> None:
        """The capture says who a container is. Raises TrustError when it was named and is of another image."""
        self._facts[facts.id] = facts
        self._is_of(facts.id)

    def __contains__(self, container: str) -> bool:
        is_chosen = self._is_of(container)
        if is_chosen:
            self.taken.add(container)
        return is_chosen

    def _is_of(self, container: str) -> bool:
        if not container:
            return CONTROL_GROUP in self._named
        facts = self._facts.get(container)
        image = (facts.image_digest or self._identify(facts.image_config)) if facts is not None else None
        is_named = any(
            name and (container.startswith(name) or (facts is not None and name == facts.name)) for name in self._named
        )
        if is_named and image is not None and image != self.image:
            raise TrustError(
                f"container {container[:12]}", f"is of {image}, not of {self.image}", "name its own image", step="image"
            )
        return is_named if self._named else image == self.image


def learn_capture(profile: Profile, reader: Reader, chosen: Chosen) -> tuple[Learner, int]:
    """A learner that went on from `profile` with the chosen containers' events, and how many these were.

    Raises InputError when the capture has none of them.
    """
    learner, count = Learner(profile), 0
    for event, parent in _events(reader, chosen):
        learner.take(event, parent)
        count += 1
    for container, calls in (reader.end.calls if reader.end is not None else {}).items():
        if reader.end is not None and container in chosen:
            learner.take_counted(container, calls, reader.header.began_ns)
    _expect(chosen)
    return learner, count


def judge_capture(judge: Judge, reader: Reader, chosen: Chosen) -> tuple[list[tuple[Anomaly, str]], int]:
    """The anomalies in the chosen containers' events, each with the program that did it, and how many events there were."""
    found: list[tuple[Anomaly, str]] = []
    count = 0
    for event, parent, program in _told(reader, chosen):
        found += [(anomaly, program) for anomaly in judge.take(event, parent)]
        count += 1
    for container, calls in (reader.end.calls if reader.end is not None else {}).items():
        if reader.end is not None and container in chosen:
            found += [(anomaly, "") for anomaly in judge.take_counted(container, calls, reader.end.ended_ns)]
    _expect(chosen)
    return found, count


def _events(reader: Reader, chosen: Chosen) -> Iterator[tuple[Any, str]]:
    for event, parent, _program in _told(reader, chosen):
        yield event, parent


def _told(reader: Reader, chosen: Chosen) -> Iterator[tuple[Any, str, str]]:
    """The chosen containers' events, each with the program that started the one that acts, and that one."""
    processes = ProcessTable()
    for record in reader:
        if isinstance(record, Known):
            processes.load(record.processes)
            if record.container is not None:
                chosen.meet(record.container)
        elif isinstance(record, Event):
            processes.before(record)
            if record.pid and not processes.is_runtime(record.pid) and record.container in chosen:
                process = processes.get(record.pid)
                yield record, parent_of(record, processes) if isinstance(record, Exec) else "", process.path if process else ""
            processes.after(record)


def _expect(chosen: Chosen) -> None:
    if not chosen.taken:
        why = f"has no events of a container that is known to be of {chosen.image[:19]}"
        raise InputError("the capture", why, "say which one is: --container NAME (or / for a captured control group)")


def sign_profile(registry: Registry, repository: str, profile: Profile, signer: Signer, now_ns: int) -> Signed:
    """The signed statement that now stands beside the profile's image. Raises RemoteError, InputError while it is still learnt."""
    if profile.mode == "learn":
        raise InputError(f"profile of {profile.image[:19]}", "is still learnt", "end it first: shipwall profile monitor")
    subject = registry.manifest(repository, profile.image)
    predicate = msgspec.to_builtins(profile)
    envelope = sign_statement(profile_statement(predicate, subject.digest, repository, now_ns), signer)
    artifact = attach_envelope(registry, repository, subject, envelope, PROFILE_TYPE)
    return Signed(kind="profile", artifact=artifact, envelope=digest_of(envelope), key_id=signer.public.key_id)


def fetch_profile(
    registry: Registry, repository: str, image: Digest, keys: PublicKeys, now_ns: int
) -> tuple[Profile, VerifiedStatement]:
    """The newest profile of `image` beside it that one of `keys` signed.

    Raises TrustError when there is none, with why others were refused.
    """
    found, refused = [], []
    for one in load_statements(registry, repository, image, keys):
        if isinstance(one.statement, VerifiedStatement):
            if one.statement.kind == "profile" and one.statement.time_ns <= now_ns:
                found.append(one.statement)
        elif one.statement.kind == "profile":
            refused.append(one.statement.reason)
    if not found:
        why = f"no trusted key signed one{'; refused: ' + refused[0] if refused else ''}"
        raise TrustError(f"profile of {image[:19]}", why, "sign one: shipwall profile sign", step="signature")
    newest = max(found, key=lambda one: (one.time_ns, one.envelope))
    try:
        profile = msgspec.convert(newest.predicate["profile"], Profile)
    except msgspec.ValidationError as error:
        raise InputError(f"profile of {image[:19]}", str(error)[:300], "it was made by another Shipwall") from error
    return check_profile(profile, f"profile of {image[:19]}", image), newest
