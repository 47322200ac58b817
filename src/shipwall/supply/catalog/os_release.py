"""The distribution: from os-release, or from the older files of those that had none yet. Source: os-release(5)."""

from __future__ import annotations

import re

from shipwall.model.package import Distribution
from shipwall.supply.layers import View

OS_RELEASE_GLOBS = ("etc/os-release", "usr/lib/os-release")
_SYSTEM_RELEASES = ("etc/oracle-release", "etc/centos-release", "etc/redhat-release", "etc/system-release")
_ALPINE_RELEASE, _LSB_RELEASE, _DEBIAN_VERSION = "etc/alpine-release", "etc/lsb-release", "etc/debian_version"
RELEASE_GLOBS = (*OS_RELEASE_GLOBS, *_SYSTEM_RELEASES, _ALPINE_RELEASE, _LSB_RELEASE, _DEBIAN_VERSION)
_LINE = re.compile(r"([A-Z_0-9]{1,64})=(.*)")
_UNQUOTED = re.compile(r"\\(.)")
_SYSTEM = re.compile(r"([A-Za-z ]{1,60}?) (?:Linux )?(?:Server )?release (\d{1,4}(?:\.\d{1,6}){0,3})")
_SYSTEM_IDS = {
    "centos": "centos", "red hat enterprise": "rhel", "oracle": "ol", "fedora": "fedora", "almalinux": "almalinux", "rocky": "rocky",
    "amazon": "amzn", "scientific": "scientific",
}  # fmt: skip


def find_distribution(view: View) -> Distribution:
    """The distribution the files of `view` name; empty strings where they say nothing."""
    for path in OS_RELEASE_GLOBS:
        file = view.read(path)
        if file is not None:
            found = parse_os_release(file.data)
            return found if found.id else _older(view) or found
    return _older(view) or Distribution()


def _older(view: View) -> Distribution | None:
    """What the files from before os-release say; the most exact first."""
    for path in _SYSTEM_RELEASES:
        match = _SYSTEM.match(_text(view, path))
        name = match[1].lower().removesuffix(" linux") if match else ""
        if match and name in _SYSTEM_IDS:
            return Distribution(id=_SYSTEM_IDS[name], version_id=match[2])
    if version := re.fullmatch(r"\d{1,4}(?:\.[0-9a-z_]{1,20}){1,3}", _text(view, _ALPINE_RELEASE)):
        return Distribution(id="alpine", version_id=version[0])
    values = _assignments(_text(view, _LSB_RELEASE))
    if values.get("DISTRIB_ID") == "Ubuntu":
        return Distribution(
            id="ubuntu", version_id=values.get("DISTRIB_RELEASE", ""), codename=values.get("DISTRIB_CODENAME", "")
        )
    if version := re.fullmatch(r"(\d{1,3})(?:\.\d{1,3}){0,2}", _text(view, _DEBIAN_VERSION)):
        return Distribution(id="debian", version_id=version[1])
    return None


def _text(view: View, path: str) -> str:
    file = view.read(path)
    return file.data[: 64 * 1024].decode("utf-8", "backslashreplace").strip() if file is not None else ""


def parse_os_release(data: bytes) -> Distribution:
    """The distribution in an os-release file. Total on arbitrary bytes."""
    values = _assignments(data[: 64 * 1024].decode("utf-8", "backslashreplace"))
    return Distribution(
        id=values.get("ID", ""), version_id=values.get("VERSION_ID", ""), codename=values.get("VERSION_CODENAME", "")
    )


def _assignments(text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for line in text.split("\n"):
        match = _LINE.fullmatch(line.strip())
        if match is None:
            continue
        value = match.group(2).strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        values[match.group(1)] = _UNQUOTED.sub(r"\1", value)[:256]
    return values
