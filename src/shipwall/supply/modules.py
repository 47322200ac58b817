"""RPM modules: which stream a build belongs to, and which streams an advisory speaks of.

The same package is built for several streams (postgresql 12 and 13) with different versions, each fixed by itself; to measure a build
against another stream's fix finds problems that are not there. Source: fedora modularity, `MODULARITYLABEL`; release tags `.module_el8`
(AlmaLinux) and `.module+el8` (Red Hat, Rocky).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from shipwall.model.advisory import Affected
from shipwall.model.package import Package

ANY_MODULE = "*"
"""`Affected.module` where a feed speaks of a module's builds without naming the stream."""

_MODULAR = re.compile(r"\.module[_+]")
_NAMED = re.compile(r"(?<![\w/:.])([A-Za-z0-9][\w.+-]{0,60}):([A-Za-z0-9][\w.+-]{0,60})(?=[ /,]|$)")
_NUMERIC = re.compile(r"\d+(?:\.\d+)*\Z")


class Stream(NamedTuple):
    """What is known of a build: whether it is of a module, the module's `name:stream` (may be empty), and the upstream version."""

    modular: bool
    name: str
    upstream: str

    @classmethod
    def of(cls, package: Package) -> Stream:
        """The stream of `package`."""
        upstream = package.version.partition(":")[2] or package.version
        return cls(bool(package.module) or is_modular(package.version), package.module, upstream.partition("-")[0])


def is_modular(version: str) -> bool:
    """Whether the release in `version` was built for a module."""
    return ".module" in version and _MODULAR.search(version) is not None


def find_modules(title: str) -> tuple[str, ...]:
    """The modules that an erratum's title names: `Important: postgresql:12 security update` → `postgresql:12`."""
    return tuple(f"{name}:{stream}" for name, stream in _NAMED.findall(title[:1000]))


def stream_fits(stream: Stream, affected: Affected) -> bool | None:
    """Whether `affected` speaks of builds like this one; None when that cannot be known.

    An entry without a module speaks of builds outside modules, and, where it names no version at all, of every build. Where a package does
    not say its stream, a stream named by a number is taken from the version it gives (nodejs 14.18 is of nodejs:14).
    """
    if not affected.module:
        return not stream.modular or not any(one.introduced or one.fixed or one.last_affected for one in affected.ranges)
    if not stream.modular:
        return False
    if affected.module == ANY_MODULE:
        return None
    named = affected.module.split()
    if stream.name:
        return stream.name in named
    numbers = [text for text in (name.partition(":")[2] for name in named) if _NUMERIC.match(text)]
    if any(stream.upstream == number or stream.upstream.startswith(f"{number}.") for number in numbers):
        return True
    return None if len(numbers) < len(named) or not _same_kind(stream.upstream, numbers) else False


def _same_kind(upstream: str, numbers: list[str]) -> bool:
    """Whether the version may be the one that streams are named by: its first number is not far from theirs."""
    first = re.match(r"\d{1,4}", upstream)
    return first is not None and any(abs(int(first.group()) - int(number.split(".")[0][:4])) <= 12 for number in numbers)
