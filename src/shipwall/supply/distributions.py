"""When distributions' releases stop getting security updates. A table of facts; what is not in it is unknown, never supported.

Each family names where its dates are published. `extended` is the end of a further period that not every user has (paid, or for some
packages only); it is told, and does not count as support.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import NamedTuple

from shipwall.model.package import Distribution

_NS_PER_SECOND = 1_000_000_000


class EndOfLife(NamedTuple):
    """What is known of a release: `date` (YYYY-MM-DD, the last day with updates; empty for one that rolls on), whether it `ended`.

    `extended`: the last day of paid or partial support, empty for none. `source`: who published the dates.
    """

    release: str
    ended: bool
    date: str
    extended: str
    source: str


class _Family(NamedTuple):
    """`releases`: version → (end, end of the extended period). `depth`: how many numbers of the version name the release."""

    name: str
    source: str
    depth: int
    releases: dict[str, tuple[str, str]]


_DEBIAN = _Family("Debian", "https://wiki.debian.org/LTS", 1, {
    "6": ("2016-02-29", ""), "7": ("2018-05-31", "2020-06-30"), "8": ("2020-06-30", "2025-06-30"), "9": ("2022-06-30", "2027-06-30"),
    "10": ("2024-06-30", "2029-06-30"), "11": ("2026-08-31", "2031-06-30"), "12": ("2028-06-30", "2033-06-30"),
    "13": ("2030-06-30", "2035-06-30"),
})  # fmt: skip
_DEBIAN_NAMES = {
    "squeeze": "6", "wheezy": "7", "jessie": "8", "stretch": "9", "buster": "10", "bullseye": "11", "bookworm": "12", "trixie": "13",
}  # fmt: skip
_UBUNTU = _Family("Ubuntu", "https://ubuntu.com/about/release-cycle", 2, {
    "10.04": ("2015-04-30", ""), "12.04": ("2017-04-28", "2019-04-30"), "12.10": ("2014-05-16", ""), "13.04": ("2014-01-27", ""),
    "13.10": ("2014-07-17", ""), "14.04": ("2019-04-25", "2026-04-25"), "14.10": ("2015-07-23", ""), "15.04": ("2016-02-04", ""),
    "15.10": ("2016-07-28", ""), "16.04": ("2021-04-30", "2028-04-30"), "16.10": ("2017-07-20", ""), "17.04": ("2018-01-13", ""),
    "17.10": ("2018-07-19", ""), "18.04": ("2023-05-31", "2030-04-30"), "18.10": ("2019-07-18", ""), "19.04": ("2020-01-23", ""),
    "19.10": ("2020-07-17", ""), "20.04": ("2025-05-31", "2032-04-30"), "20.10": ("2021-07-22", ""), "21.04": ("2022-01-20", ""),
    "21.10": ("2022-07-14", ""), "22.04": ("2027-04-30", "2034-04-30"), "22.10": ("2023-07-20", ""), "23.04": ("2024-01-25", ""),
    "23.10": ("2024-07-11", ""), "24.04": ("2029-04-30", "2036-04-30"), "24.10": ("2025-07-10", ""), "25.04": ("2026-01-15", ""),
    "25.10": ("2026-07-31", ""),
})  # fmt: skip
_ALPINE = _Family("Alpine Linux", "https://alpinelinux.org/releases/", 2, {
    "3.0": ("2016-05-01", ""), "3.1": ("2016-11-01", ""), "3.2": ("2017-05-01", ""), "3.3": ("2017-11-01", ""), "3.4": ("2018-05-01", ""),
    "3.5": ("2018-11-01", ""), "3.6": ("2019-05-01", ""), "3.7": ("2019-11-01", ""), "3.8": ("2020-05-01", ""), "3.9": ("2020-11-01", ""),
    "3.10": ("2021-05-01", ""), "3.11": ("2021-11-01", ""), "3.12": ("2022-05-01", ""), "3.13": ("2022-11-01", ""),
    "3.14": ("2023-05-01", ""), "3.15": ("2023-11-01", ""), "3.16": ("2024-05-23", ""), "3.17": ("2024-11-22", ""),
    "3.18": ("2025-05-09", ""), "3.19": ("2025-11-01", ""), "3.20": ("2026-04-01", ""), "3.21": ("2026-11-01", ""),
    "3.22": ("2027-05-01", ""), "3.23": ("2027-11-01", ""),
})  # fmt: skip
_RHEL = _Family("Red Hat Enterprise Linux", "https://access.redhat.com/support/policy/updates/errata", 1, {
    "5": ("2017-03-31", "2020-11-30"), "6": ("2020-11-30", "2024-06-30"), "7": ("2024-06-30", "2028-06-30"),
    "8": ("2029-05-31", "2032-05-31"), "9": ("2032-05-31", "2035-05-31"), "10": ("2035-05-31", "2038-05-31"),
})  # fmt: skip
_CENTOS = _Family("CentOS", "https://www.centos.org/cl-vs-cs/", 1, {
    # 8: CentOS Linux ended 2021-12-31; CentOS Stream names itself alike and ended last.
    "5": ("2017-03-31", ""), "6": ("2020-11-30", ""), "7": ("2024-06-30", ""), "8": ("2024-05-31", ""), "9": ("2027-05-31", ""),
    "10": ("2030-01-01", ""),
})  # fmt: skip
_ALMA = _Family("AlmaLinux", "https://wiki.almalinux.org/release-notes/", 1, {
    "8": ("2029-05-31", ""), "9": ("2032-05-31", ""), "10": ("2035-05-31", ""),
})  # fmt: skip
_ROCKY = _Family("Rocky Linux", "https://wiki.rockylinux.org/rocky/version/", 1, {
    "8": ("2029-05-31", ""), "9": ("2032-05-31", ""), "10": ("2035-05-31", ""),
})  # fmt: skip
_ORACLE = _Family("Oracle Linux", "https://www.oracle.com/a/ocom/docs/elsp-lifetime-069338.pdf", 1, {
    "5": ("2017-06-30", "2020-11-30"), "6": ("2021-03-31", "2024-12-31"), "7": ("2024-12-31", "2028-06-30"),
    "8": ("2029-07-31", "2032-07-31"), "9": ("2032-06-30", "2035-06-30"), "10": ("2035-06-30", "2038-06-30"),
})  # fmt: skip
_AMAZON = _Family("Amazon Linux", "https://aws.amazon.com/amazon-linux-2/faqs/", 1, {
    "1": ("2023-12-31", ""), "2": ("2026-06-30", ""), "2022": ("2023-03-15", ""), "2023": ("2029-06-30", ""),
})  # fmt: skip
_FEDORA = _Family("Fedora", "https://docs.fedoraproject.org/en-US/releases/eol/", 1, {
    "28": ("2019-05-28", ""), "29": ("2019-11-26", ""), "30": ("2020-05-26", ""), "31": ("2020-11-24", ""), "32": ("2021-05-25", ""),
    "33": ("2021-11-30", ""), "34": ("2022-06-07", ""), "35": ("2022-12-13", ""), "36": ("2023-05-16", ""), "37": ("2023-12-05", ""),
    "38": ("2024-05-21", ""), "39": ("2024-11-26", ""), "40": ("2025-05-13", ""), "41": ("2025-12-15", ""), "42": ("2026-05-13", ""),
})  # fmt: skip
_LEAP = _Family("openSUSE Leap", "https://en.opensuse.org/Lifetime", 2, {
    "42.1": ("2017-05-17", ""), "42.2": ("2018-01-26", ""), "42.3": ("2019-07-01", ""), "15.0": ("2019-12-03", ""),
    "15.1": ("2021-02-02", ""), "15.2": ("2022-01-04", ""), "15.3": ("2022-12-31", ""), "15.4": ("2023-12-07", ""),
    "15.5": ("2024-12-31", ""), "15.6": ("2026-04-30", ""),
})  # fmt: skip
_SLES = _Family("SUSE Linux Enterprise Server", "https://www.suse.com/lifecycle", 2, {
    "11.4": ("2019-03-31", "2022-03-31"), "12": ("2016-06-30", "2019-07-01"), "12.1": ("2017-05-31", "2020-05-31"),
    "12.2": ("2018-03-31", "2021-03-31"), "12.3": ("2019-06-30", "2022-06-30"), "12.4": ("2020-06-30", "2023-06-30"),
    "12.5": ("2024-10-31", "2027-10-31"), "15": ("2019-12-31", "2022-12-31"), "15.1": ("2021-01-31", "2024-01-31"),
    "15.2": ("2021-12-31", "2024-12-31"), "15.3": ("2022-12-31", "2025-12-31"), "15.4": ("2023-12-31", "2026-12-31"),
    "15.5": ("2024-12-31", "2027-12-31"), "15.6": ("2025-12-31", "2028-12-31"), "15.7": ("2031-07-31", "2034-07-31"),
})  # fmt: skip
_PHOTON = _Family(
    "Photon OS",
    "https://github.com/vmware/photon",
    2,
    {"1.0": ("2022-02-28", ""), "2.0": ("2022-12-31", ""), "3.0": ("2024-03-01", "")},
)
_MARINER = _Family(
    "Azure Linux", "https://learn.microsoft.com/azure/azure-linux/", 2, {"1.0": ("2023-07-31", ""), "2.0": ("2025-07-31", "")}
)
_FAMILIES = {
    "debian": _DEBIAN, "ubuntu": _UBUNTU, "alpine": _ALPINE, "rhel": _RHEL, "redhat": _RHEL, "centos": _CENTOS, "almalinux": _ALMA,
    "rocky": _ROCKY, "ol": _ORACLE, "amzn": _AMAZON, "fedora": _FEDORA, "opensuse-leap": _LEAP, "opensuse": _LEAP, "sles": _SLES,
    "sles_sap": _SLES, "sled": _SLES, "photon": _PHOTON, "mariner": _MARINER,
}  # fmt: skip
_ROLLING = {
    "wolfi": "https://github.com/wolfi-dev", "chainguard": "https://edu.chainguard.dev", "opensuse-tumbleweed": "https://en.opensuse.org/Lifetime",
    "arch": "https://archlinux.org", "gentoo": "https://www.gentoo.org", "void": "https://voidlinux.org",
}  # fmt: skip
_NUMBERS = re.compile(r"\d{1,6}(?:\.\d{1,6})*")


def end_of_life(distribution: Distribution, now_ns: int) -> EndOfLife | None:
    """What is known of the support of `distribution` at `now_ns` (since 1970, UTC); None when nothing is."""
    if distribution.id in _ROLLING:
        return EndOfLife(f"{distribution.id} (rolling)", ended=False, date="", extended="", source=_ROLLING[distribution.id])
    family = _FAMILIES.get(distribution.id)
    if family is None:
        return None
    release = _release(family, distribution)
    dates = family.releases.get(release)
    if dates is None:
        return None
    date, extended = dates
    return EndOfLife(f"{family.name} {release}", ended=_today(now_ns) > date, date=date, extended=extended, source=family.source)


def end_of_life_notice(distribution: Distribution, now_ns: int) -> str:
    """One line for the reader when the release has ended; empty when it has not, or nothing is known."""
    found = end_of_life(distribution, now_ns)
    if found is None or not found.ended:
        return ""
    line = f"{found.release} gets no security updates since {found.date}: problems found later may be missing"
    if found.extended and _today(now_ns) <= found.extended:
        line += f" (extended support, for those who have it, until {found.extended})"
    return f"{line} [{found.source}]"


def _release(family: _Family, distribution: Distribution) -> str:
    match = _NUMBERS.match(distribution.version_id)
    if match is None:
        return _DEBIAN_NAMES.get(distribution.codename, "") if family is _DEBIAN else ""
    if family is _AMAZON and match.group().startswith("201"):
        return "1"  # Amazon Linux 1 names its releases 2018.03
    parts = match.group().split(".")[: family.depth]
    release = ".".join(parts)
    return release if release in family.releases else parts[0] + ".0"


def _today(now_ns: int) -> str:
    return dt.datetime.fromtimestamp(now_ns // _NS_PER_SECOND, dt.UTC).strftime("%Y-%m-%d")
