"""Fields of the container an event happened in, from what the engine says about it."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable

from shipwall.model.container import ContainerFacts, MountFact
from shipwall.runtime.conditions import Found
from shipwall.runtime.facts import ASKED_MORE, Facts, Meaning

HOST = "host"


def _of_container(part: Callable[[ContainerFacts], Found]) -> Callable[[Facts], Found]:
    def get(facts: Facts) -> Found:
        container = facts.container
        return None if container is None else part(container)

    return get


def _repository(container: ContainerFacts) -> Found:
    name = container.image_ref.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return (head if colon and "/" not in tag else name) or None


def _tag(container: ContainerFacts) -> Found:
    tag = container.image_ref.partition("@")[0].rpartition(":")
    return tag[2] if tag[1] and "/" not in tag[2] else None


def _label(facts: Facts, argument: str) -> Found:
    container = facts.container
    return None if container is None else container.labels.get(argument)


def _kubernetes(label: str) -> Callable[[Facts], Found]:
    return lambda facts: _label(facts, label)


def _labels(container: ContainerFacts) -> Found:
    return ",".join(f"{key}:{value}" for key, value in sorted(container.labels.items())) or None


def _whole(mount: MountFact) -> str:
    writable = "true" if mount.writable else "false"
    return f"{mount.source}:{mount.destination}:{mount.mode}:{writable}:{mount.propagation}"


def _mount(part: Callable[[MountFact], str], key: Callable[[MountFact], str]) -> Callable[[Facts, str], Found]:
    """A part of the mount the argument counts to, or the first whose `key` matches it as a glob."""

    def get(facts: Facts, argument: str) -> Found:
        mounts = facts.container.mounts if facts.container is not None else ()
        if argument.isascii() and argument.isdigit() and len(argument) <= 3:
            return part(mounts[int(argument)]) if int(argument) < len(mounts) else None
        return next((part(mount) for mount in mounts if fnmatch.fnmatchcase(key(mount), argument)), None)

    return get


def _mount_field(help: str, part: Callable[[MountFact], str], *, by_destination: bool = False) -> Meaning:  # noqa: A002  as in Meaning
    key: Callable[[MountFact], str] = (lambda mount: mount.destination) if by_destination else (lambda mount: mount.source)
    by = "destination" if by_destination else "source"
    return Meaning(f"{help} of the mount with that number or {by} (a glob)", "text", lambda _facts: None, argument="required",
                   get_with=_mount(part, key))  # fmt: skip


def _namespace(name: str) -> Callable[[Facts], Found]:
    return _of_container(lambda container: getattr(container, f"host_{name}"))


def _duration(facts: Facts) -> Found:
    container = facts.container
    return max(0, facts.event.time_ns - container.created_ns) if container is not None and container.created_ns else None


CONTAINER_FIELDS: dict[str, Meaning] = {
    "container.id": Meaning("first 12 digits of its id; `host` outside containers", "text",
                            lambda facts: facts.event.container[:12] or HOST),
    "container.full_id": Meaning("its whole id", "text", lambda facts: facts.event.container or None),
    "container.name": Meaning("its name", "text", _of_container(lambda container: container.name or None)),
    "container.type": Meaning("docker, containerd, ...", "text", _of_container(lambda container: container.runtime)),
    "container.image": Meaning("image as it was asked for", "text", _of_container(lambda container: container.image_ref or None)),
    "container.image.repository": Meaning("image without tag and digest", "text", _of_container(_repository)),
    "container.image.tag": Meaning("tag it was asked for by", "text", _of_container(_tag)),
    "container.image.id": Meaning("the engine's id of the image", "text", _of_container(lambda container: container.image_config)),
    "container.image.digest": Meaning("manifest digest", "text", _of_container(lambda container: container.image_digest)),
    "container.privileged": Meaning("whether it runs privileged", "flag", _of_container(lambda container: container.privileged)),
    "container.start_ts": Meaning("when it was made, nanoseconds since 1970", "number",
                                  _of_container(lambda container: container.created_ns or None)),
    "container.duration": Meaning("nanoseconds since it was made", "number", _duration, asks=ASKED_MORE),
    "container.ip": Meaning("its first address", "text", _of_container(lambda container: container.ip or None)),
    "container.host_pid": Meaning("whether it shares the host's processes", "flag", _namespace("pid")),
    "container.host_network": Meaning("whether it shares the host's network", "flag", _namespace("network")),
    "container.host_ipc": Meaning("whether it shares the host's IPC", "flag", _namespace("ipc")),
    "container.label": Meaning("a label, named in brackets", "text", lambda _facts: None, argument="required", get_with=_label),
    "container.labels": Meaning("all labels as name:value, joined by commas", "text", _of_container(_labels)),
    "container.mounts": Meaning("all mounts as source:dest:mode:rdwr:propagation, joined by blanks", "text",
                                _of_container(lambda container: " ".join(map(_whole, container.mounts)) or None)),
    "container.mount": _mount_field("source:dest:mode:rdwr:propagation", _whole),
    "container.mount.source": _mount_field("source", lambda mount: mount.source, by_destination=True),
    "container.mount.dest": _mount_field("destination", lambda mount: mount.destination),
    "container.mount.mode": _mount_field("mode", lambda mount: mount.mode),
    "container.mount.rdwr": _mount_field("true when writable,", lambda mount: "true" if mount.writable else "false"),
    "container.mount.propagation": _mount_field("propagation", lambda mount: mount.propagation),
    "k8s.ns.name": Meaning("namespace of the pod, from the container's labels", "text", _kubernetes("io.kubernetes.pod.namespace")),
    "k8s.pod.name": Meaning("name of the pod, from the container's labels", "text", _kubernetes("io.kubernetes.pod.name")),
    "k8s.pod.uid": Meaning("unique id of the pod, from the container's labels", "text", _kubernetes("io.kubernetes.pod.uid")),
    "shipwall.promotion": Meaning("promoted, not-promoted or unknown", "text", _of_container(lambda container: container.promotion)),
}  # fmt: skip
