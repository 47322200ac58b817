"""What this node allows beyond the shipped rules of admission, written in YAML; without a file nothing is allowed beyond.

    version: 1
    binds:                          # host paths that may be mounted; exactly these, nothing below them
      - {path: /srv/shop-data}      # read-only, unless
      - {path: /srv/spool, write: true}
    capabilities: [NET_ADMIN]       # beyond the engine's own default set; an image must still declare them
    sysctls: [net.core.somaxconn]
    seccomp: [sha256:...]           # digests of profiles that may replace the engine's
    require_profile: true           # only containers as hardened as those of `shipwall run`
    require_digest: true            # create by sha256 id or name@sha256 only: closes the race between check and use
    allow_pull: true
    allow_push: false
    stop_unadmitted: false          # stop what the agent finds running that would not be admitted (mode enforce only)

Everything unknown is an error. Some host paths can never be declared: see PROTECTED_PATHS.
"""

from __future__ import annotations

import posixpath
import re

import msgspec

from shipwall.lang.yaml_text import Node, parse_yaml
from shipwall.model.digest import Digest, parse_digest

# Whoever mounts one of these (or anything above or below it) owns the host or the engine. /run and /var/run hold the sockets.
PROTECTED_PATHS = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/root", "/run", "/sbin", "/sys", "/usr",
    "/var/lib/containerd", "/var/lib/docker", "/var/lib/shipwall", "/var/run", "/var/spool/cron",
)  # fmt: skip

# What the engine gives to a container that asks for nothing. Source: moby oci/caps/defaults.go
DEFAULT_CAPABILITIES = frozenset(
    [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ]
)

_CAPABILITY = re.compile(r"[A-Z][A-Z_]{1,39}\Z")
_SYSCTL = re.compile(r"[a-z0-9_]+(?:[.][a-z0-9_-]+)+\Z")


class DeclaredBind(msgspec.Struct, frozen=True, kw_only=True):
    """A host path that containers may mount, writable or not."""

    path: str
    write: bool = False


class AdmissionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What is allowed beyond the rules. The default allows nothing beyond them. `protected`: further paths never to be mounted."""

    binds: tuple[DeclaredBind, ...] = ()
    capabilities: frozenset[str] = frozenset()
    sysctls: frozenset[str] = frozenset()
    seccomp: frozenset[Digest] = frozenset()
    require_profile: bool = False
    require_digest: bool = False
    allow_pull: bool = True
    allow_push: bool = False
    stop_unadmitted: bool = False
    protected: tuple[str, ...] = ()

    def bind(self, path: str) -> DeclaredBind | None:
        """What is declared for exactly this host path; None for an undeclared or protected one."""
        if is_protected(path, self.protected):
            return None
        return next((declared for declared in self.binds if declared.path == path), None)


def is_protected(path: str, further: tuple[str, ...] = ()) -> bool:
    """Whether `path` is, holds or lies in a path that no container may have. Lexical: links are the administrator's."""
    plain = posixpath.normpath(path)
    if not path.startswith("/") or plain.startswith("//"):
        return True
    return any(_holds(plain, taken) or _holds(taken, plain) for taken in (*PROTECTED_PATHS, *further))


def parse_admission_policy(text: str | bytes, name: str, protected: tuple[str, ...] = ()) -> AdmissionPolicy:
    """The policy in `text` (YAML), called `name` in errors. Raises SourceError (an InputError) with line and column."""
    root = parse_yaml(text, name)
    known = set(AdmissionPolicy.__struct_fields__) - {"protected"} | {"version"}
    keys = root.mapping(known, required=("version",))
    if keys["version"].integer() != 1:
        raise keys["version"].error("is a version that is not known here", "write `version: 1`")
    default = AdmissionPolicy()
    switches = {key: keys[key].boolean() if key in keys else getattr(default, key) for key in _SWITCHES}
    return AdmissionPolicy(
        binds=tuple(_bind(node, protected) for node in keys["binds"].sequence()) if "binds" in keys else (),
        capabilities=_words(keys.get("capabilities"), _CAPABILITY, "a capability like NET_ADMIN"),
        sysctls=_words(keys.get("sysctls"), _SYSCTL, "a sysctl like net.core.somaxconn"),
        seccomp=frozenset(parse_digest(text) for text in keys["seccomp"].strings()) if "seccomp" in keys else frozenset(),
        protected=protected,
        **switches,
    )


_SWITCHES = ("require_profile", "require_digest", "allow_pull", "allow_push", "stop_unadmitted")


def _bind(node: Node, protected: tuple[str, ...]) -> DeclaredBind:
    keys = node.mapping(("path", "write"), required=("path",))
    path = keys["path"].string()
    if not path.startswith("/") or posixpath.normpath(path) != path or ":" in path or "\0" in path:
        raise keys["path"].error(f"{path[:120]!r} is no plain absolute path", "write it without .. // : and a / at the end")
    if is_protected(path, protected):
        raise keys["path"].error(
            f"{path} can never be mounted: it is, holds or lies in a path that owns the host", "use a data folder"
        )
    return DeclaredBind(path=path, write=keys["write"].boolean() if "write" in keys else False)


def _words(node: Node | None, pattern: re.Pattern[str], wanted: str) -> frozenset[str]:
    if node is None:
        return frozenset()
    for item in node.sequence():
        if not pattern.match(item.string()):
            raise item.error(f"{item.string()[:80]!r} is not {wanted}")
    return frozenset(node.strings())


def _holds(outer: str, inner: str) -> bool:
    return outer in ("/", inner) or inner.startswith(outer + "/")
