"""Whether the engine may do what it was asked: one verdict with reasons, evidence and the shortest way to pass.

Content is judged, never names: an image counts as promoted when the config digest the engine resolved (or recorded) is in a verified
promotion. A create is judged as asked; every act that lets a container run is judged again on what the engine recorded, so that neither a
tag moved in between, nor a difference between two parsers, nor a container made before admission was on gets through.
*On failure*: closed; a fact that is missing is a reason to refuse.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from shipwall.access.container import judge_create, judge_endpoint, judge_network, judge_record
from shipwall.access.request import EngineRequest
from shipwall.access.schema import is_zero
from shipwall.access.world import JUDGED_ROUTES, ContainerRecord, World
from shipwall.model.digest import Digest
from shipwall.model.errors import InputError
from shipwall.model.image import parse_image_ref
from shipwall.model.verdict import Evidence, Reason, Verdict, refuse

MAX_REASONS = 12

FROZEN_ROUTES = JUDGED_ROUTES | frozenset(
    {
        "container-stop",
        "container-kill",
        "container-remove",
        "container-pause",
        "container-archive-read",
        "container-export",
        "network-connect",
        "network-disconnect",
        "exec-resize",
    }
)
"""What nobody but the agent does to a frozen container: it is evidence."""

_NEVER: dict[str, tuple[str, str]] = {
    "build": ("a build runs commands of its own choice and makes images that nobody promoted", "build elsewhere and promote"),
    "commit": ("a commit makes an image that nobody promoted", "build elsewhere and promote"),
    "image-load": ("a load brings images in past the registry", "push the image to the registry and promote it"),
    "prune": ("a prune takes away what may be evidence", "remove things by name"),
    "copy-into": ("copying into a container changes what was promoted", "build the change into the image, or use a volume"),
    "checkpoint": ("a checkpoint restores a state that nobody judged", "start a fresh container"),
    "plugin": ("engine plugins act as root on the host", "have the node's administrator install it: shipwall engine leave"),
    "swarm": ("Swarm starts containers behind admission", "use docker run, or shipwall run"),
    "session": ("a session lets a builder act beside the API", "build elsewhere and promote"),
}
_SHORT_ID = re.compile(r"[0-9a-f]{1,63}\Z")
_FULL_ID = re.compile(r"(?:sha256:)?[0-9a-f]{64}\Z")
_TIGHTER = frozenset({"Memory", "MemorySwap", "MemoryReservation", "NanoCpus", "PidsLimit", "KernelMemory"})
_NETWORK_OPTIONS = frozenset(
    {"com.docker.network.bridge.enable_icc", "com.docker.network.bridge.enable_ip_masquerade", "com.docker.network.driver.mtu"}
)


def decide_admission(request: EngineRequest, world: World) -> Verdict:
    """Whether `request` may go on, knowing `world` (gathered by `find_needs` and `find_record_needs`). *On failure*: closed."""
    if request.kind == "read":
        return Verdict(allowed=True)
    if request.kind != "act" or request.route not in _ACTS:
        message, step = _NEVER.get(request.route, ("it is not known here", ""))
        return refuse(Reason(code=request.route, message=message, evidence=_asked(request.uri), next_step=step))
    reasons: list[Reason] = []
    for reason in _judge(request, world):
        if reason not in reasons:
            reasons.append(reason)
        if len(reasons) >= MAX_REASONS:
            break
    return refuse(*reasons) if reasons else Verdict(allowed=True)


def decide_recorded(record: ContainerRecord, world: World) -> Verdict:
    """Whether the container that the engine recorded may exist: asked right after it was made, and about those found at start."""
    reasons = [reason for _, reason in zip(range(MAX_REASONS), _judge_recorded(record, world), strict=False)]
    return refuse(*reasons) if reasons else Verdict(allowed=True)


def image_of(request: EngineRequest, world: World) -> Digest | None:
    """The manifest digest that the verdict is about, when it is a promoted one."""
    config = world.container.image if world.container else world.image.id if world.image and request.body else ""
    promotion = world.promotions.get(config)
    return promotion.image.manifest if promotion else None


def render_refusal(verdict: Verdict) -> str:
    """What the engine's caller reads: the first reasons in one line, each with its code; bounded, printable."""
    parts = [
        f"[{reason.code}] {reason.message}" + (f" ({reason.next_step})" if reason.next_step else "")
        for reason in verdict.reasons[:3]
    ]
    if len(verdict.reasons) > 3:
        parts.append(f"and {len(verdict.reasons) - 3} more")
    text = "; ".join(parts) or "refused"
    return "".join(character if character.isprintable() else "?" for character in text)[:1500]


def _judge(request: EngineRequest, world: World) -> Iterator[Reason]:
    container = world.container.id if world.container else world.exec.container if world.exec else request.container
    if request.route in FROZEN_ROUTES and container in world.frozen:
        message = f"container {container[:12]} is frozen as evidence"
        step = "thaw or destroy it through Shipwall: shipwall container --help"
        yield Reason(code="frozen", message=message, evidence=_asked(container), next_step=step)
        return
    yield from _ACTS[request.route](request, world)


def _judge_recorded(record: ContainerRecord, world: World) -> Iterator[Reason]:
    yield from _judge_image(record.image, f"container {record.name or record.id[:12]}", world)
    yield from judge_record(record, world)


def _judge_image(config: Digest, what: str, world: World) -> Iterator[Reason]:
    if config not in world.promotions:
        evidence = (Evidence(kind="statement", ref=config, detail="no verified promotion names this image"),)
        message = f"{what}: image {config[:19]} was not promoted"
        yield Reason(code="not-promoted", message=message, evidence=evidence, next_step="promote it: shipwall image promote")


def _judge_reference(text: str, world: World) -> Iterator[Reason]:
    """A reference that can mean only one thing, and means what the engine resolved."""
    if _FULL_ID.match(text):
        if world.image is not None and world.image.id.removeprefix("sha256:") != text.removeprefix("sha256:"):
            yield _refusal("image-mismatch", f"image {text[:80]!r} resolves to another id", text)
        return
    if _SHORT_ID.match(text) or text.startswith("sha256:"):
        step = "name it by REPOSITORY:TAG, REPOSITORY@sha256:... or its full id"
        yield _refusal("image-short-id", f"image {text[:80]!r} is a short id, or a name that looks like one", text, step)
        return
    try:
        reference = parse_image_ref(text)
    except InputError as error:
        yield _refusal("image-reference", f"image {text[:80]!r}: {error.reason}", text, "name it by REPOSITORY:TAG")
        return
    if world.policy.require_digest and reference.digest is None:
        yield _refusal("image-digest", "this node requires images by digest", text, "name it by REPOSITORY@sha256:...")


def _act_create(request: EngineRequest, world: World) -> Iterator[Reason]:
    body = request.body or {}
    text = body.get("Image")
    if not isinstance(text, str) or not text:
        yield _refusal("image-reference", "no image is named", "Image")
        return
    problems = list(_judge_reference(text, world))
    yield from problems
    if not problems and world.image is None:
        yield _refusal("image-absent", f"image {text[:120]!r} is not on this node", text, "pull it first, then it can be judged")
    elif world.image is not None:
        yield from _judge_image(world.image.id, text[:120], world)
    yield from judge_create(body, world)


def _act_judged(request: EngineRequest, world: World) -> Iterator[Reason]:
    """Acts that make a container run, now or later, or that reach into it."""
    if world.container is None:
        name = request.container or request.names.get("exec", "")
        yield _refusal("no-such-container", f"there is no container or exec {name[:80]!r}", name)
        return
    yield from _judge_recorded(world.container, world)


def _act_update(request: EngineRequest, world: World) -> Iterator[Reason]:
    yield from _act_judged(request, world)
    host: dict[str, Any] = world.container.host_config if world.container else {}
    for key, value in (request.body or {}).items():
        if key == "RestartPolicy" or is_zero(value):
            continue
        now = host.get(key)
        limited = isinstance(now, int) and now > 0
        if key not in _TIGHTER or not isinstance(value, int) or value <= 0 or (limited and isinstance(now, int) and value > now):
            yield _refusal("loosens", f"the update of {key} loosens it, or cannot be compared", key, "make a new container")


def _act_exec(request: EngineRequest, world: World) -> Iterator[Reason]:
    yield from _act_judged(request, world)
    body = request.body or {}
    user = str(body.get("User") or "")
    if body.get("Privileged"):
        yield _refusal("exec-privileged", "a privileged exec is root on the host", "Privileged", "leave Privileged out")
    if world.policy.require_profile and world.container is not None and user not in ("", world.container.user):
        yield _refusal("exec-user", "it runs as another user than the container", "User", "leave User out")


def _act_exec_start(request: EngineRequest, world: World) -> Iterator[Reason]:
    yield from _act_judged(request, world)
    if world.exec is None:
        yield _refusal("no-such-container", "there is no such exec", request.names.get("exec", ""))
    elif world.exec.privileged:
        yield _refusal("exec-privileged", "a privileged exec is root on the host", "Privileged", "make one without Privileged")


def _act_pull(request: EngineRequest, world: World) -> Iterator[Reason]:
    if not request.query.get("fromImage"):
        yield _refusal(
            "import", "an import brings an image in past the registry", request.uri, "push it to the registry and promote it"
        )
    elif not world.policy.allow_pull:
        yield _refusal("pull", "this node's admission policy allows no pull", request.query["fromImage"])


def _act_push(request: EngineRequest, world: World) -> Iterator[Reason]:
    if not world.policy.allow_push:
        yield _refusal(
            "push", "this node runs images and publishes none", request.uri, "push where it is built, or allow_push in the policy"
        )


def _act_volume_create(request: EngineRequest, _world: World) -> Iterator[Reason]:
    body = request.body or {}
    if body.get("Driver") not in (None, "", "local"):
        yield _refusal("volume-driver", f"volume driver {str(body['Driver'])[:40]!r} is not local", "Driver", "use local volumes")
    if body.get("DriverOpts"):
        message = "a volume with options of its driver can be any path of the host"
        yield _refusal("volume-options", message, "DriverOpts", "leave the options out")


def _act_network_create(request: EngineRequest, _world: World) -> Iterator[Reason]:
    body = request.body or {}
    ipam = body.get("IPAM") or {}
    if body.get("Driver") not in (None, "", "bridge"):
        yield _refusal(
            "network-driver", f"network driver {str(body['Driver'])[:40]!r} reaches networks of the host", "Driver", "use bridge"
        )
    extra = {key for key, value in (body.get("Options") or {}).items() if key not in _NETWORK_OPTIONS and value is not None}
    if extra or ipam.get("Options") or ipam.get("Driver") not in (None, "", "default"):
        yield _refusal(
            "network-options", "options of the network driver can take over interfaces of the host", "Options", "leave them out"
        )
    for key in ("ConfigOnly", "ConfigFrom", "Ingress"):
        if not is_zero(body.get(key)):
            yield _refusal("network-options", f"{key} is set", key, "leave it out")
    if body.get("Scope") not in (None, "", "local"):
        yield _refusal("network-options", "its scope is not local", "Scope", "leave it out")


def _act_network_connect(request: EngineRequest, world: World) -> Iterator[Reason]:
    yield from judge_network(request.names.get("name", ""), world)
    yield from judge_endpoint((request.body or {}).get("EndpointConfig") or {})
    if not request.container:
        yield _refusal("no-such-container", "no container is named", "Container")


def _act_free(_request: EngineRequest, _world: World) -> Iterator[Reason]:
    """Nothing but the freeze speaks against it; a name the engine does not know gets the engine's own answer."""
    yield from ()


def _asked(ref: str) -> tuple[Evidence, ...]:
    return (Evidence(kind="request", ref=ref[:300]),)


def _refusal(code: str, message: str, ref: str, next_step: str = "") -> Reason:
    return Reason(code=code, message=message, evidence=_asked(ref), next_step=next_step)


_ACTS: dict[str, Callable[[EngineRequest, World], Iterator[Reason]]] = {
    **dict.fromkeys(JUDGED_ROUTES, _act_judged),
    **dict.fromkeys(
        {
            "container-stop",
            "container-kill",
            "container-remove",
            "container-pause",
            "container-wait",
            "container-resize",
            "container-archive-read",
            "container-export",
            "exec-resize",
            "image-tag",
            "image-remove",
            "volume-remove",
            "network-disconnect",
            "network-remove",
            "login",
        },
        _act_free,
    ),
    "container-create": _act_create,
    "container-update": _act_update,
    "exec-create": _act_exec,
    "exec-start": _act_exec_start,
    "image-pull": _act_pull,
    "image-push": _act_push,
    "volume-create": _act_volume_create,
    "network-create": _act_network_create,
    "network-connect": _act_network_connect,
}
