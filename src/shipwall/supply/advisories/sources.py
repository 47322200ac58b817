"""Where advisories come from, written in YAML; without a file the public feeds themselves.

    version: 1
    max_age_days: 7                 # older data are said to be old; they never stop a scan
    mirrors:                        # addresses that begin so are asked for elsewhere
      https://security-tracker.debian.org/: https://mirror.example/debian-tracker/
    feeds:                          # without it: all known ones
      - debian                      # a known feed by its name
      - {name: ours, format: osv, url: https://advisories.example/all.zip}
      - {name: frozen, format: kev, url: file:/srv/kev.json, sha256: 9f86d0...}

Everything unknown is an error.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

import msgspec

from shipwall.lang.yaml_text import Node, parse_yaml
from shipwall.supply.advisories import FORMATS
from shipwall.supply.feeds import DEFAULT_MAX_AGE_DAYS

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One feed: its name, format and address. `sha256`: what the file must be, empty for any."""

    name: str
    format: str
    url: str
    sha256: str = ""


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """The feeds to ask, and after how many days their data are called old."""

    feeds: tuple[Source, ...]
    max_age_days: int = DEFAULT_MAX_AGE_DAYS


_OSV = "https://osv-vulnerabilities.storage.googleapis.com/"
_OSV_ECOSYSTEMS = {
    "almalinux": "AlmaLinux", "rocky": "Rocky Linux", "redhat": "Red Hat", "ubuntu": "Ubuntu", "suse": "SUSE", "opensuse": "openSUSE",
    "wolfi": "Wolfi", "chainguard": "Chainguard", "pypi": "PyPI", "npm": "npm", "maven": "Maven", "go": "Go", "crates": "crates.io",
    "rubygems": "RubyGems", "packagist": "Packagist", "nuget": "NuGet",
}  # fmt: skip
_ALPINE_RELEASES = ("v3.17", "v3.18", "v3.19", "v3.20", "v3.21", "v3.22", "edge")
_ALPINE = "https://secdb.alpinelinux.org/"

# THE list of known feeds: each publisher's own address.
KNOWN = {
    one.name: one
    for one in (
        Source(name="debian", format="debian-tracker", url="https://security-tracker.debian.org/tracker/data/json"),
        *(
            Source(name=f"alpine-{release}-{part}", format="alpine-secdb", url=f"{_ALPINE}{release}/{part}.json")
            for release in _ALPINE_RELEASES
            for part in ("main", "community")
        ),
        *(
            Source(name=name, format="osv", url=f"{_OSV}{quote(ecosystem)}/all.zip")
            for name, ecosystem in _OSV_ECOSYSTEMS.items()
        ),
        Source(
            name="kev",
            format="kev",
            url="https://www.cisa.gov/sites/default/files/feeds/known_exploited_vulnerabilities.json",
        ),
        Source(name="epss", format="epss", url="https://epss.empiricalsecurity.com/epss_scores-current.csv.gz"),
    )
}


def default_sources() -> Sources:
    """All known feeds."""
    return Sources(feeds=tuple(KNOWN.values()))


def parse_sources(data: str | bytes, name: str) -> Sources:
    """The configuration in the YAML text `data`. *Raises* SourceError, pointing at the place."""
    keys = parse_yaml(data, name).mapping({"version", "max_age_days", "mirrors", "feeds"}, required=("version",))
    if keys["version"].integer() != 1:
        raise keys["version"].error("is not a version this Shipwall reads", "write version: 1")
    mirrors = {old.text: _url(new) for old, new in keys["mirrors"].entries} if "mirrors" in keys else {}
    if "feeds" in keys:
        feeds = tuple(_source(node) for node in keys["feeds"].sequence())
        names = [one.name for one in feeds]
        for node, one in zip(keys["feeds"].sequence(), feeds, strict=True):
            if names.count(one.name) > 1:
                raise node.error(f"feed {one.name} is named twice")
    else:
        feeds = tuple(KNOWN.values())
    days = DEFAULT_MAX_AGE_DAYS
    if "max_age_days" in keys:
        days = keys["max_age_days"].integer()
        if not 1 <= days <= 3650:
            raise keys["max_age_days"].error("is not a number of days from 1 to 3650")
    return Sources(feeds=tuple(_mirrored(one, mirrors) for one in feeds), max_age_days=days)


def _source(node: Node) -> Source:
    if node.kind == "scalar":
        return KNOWN[node.choice(KNOWN)]
    keys = node.mapping({"name", "format", "url", "sha256"}, required=("name", "format", "url"))
    name = keys["name"].string()
    if not _NAME.match(name):
        raise keys["name"].error("is not a name of lower-case letters, digits, . _ and -")
    digest = keys["sha256"].string() if "sha256" in keys else ""
    if digest and not _SHA256.match(digest):
        raise keys["sha256"].error("is not a SHA-256 in lower-case hex")
    return Source(name=name, format=keys["format"].choice(FORMATS), url=_url(keys["url"]), sha256=digest)


def _url(node: Node) -> str:
    text = node.string()
    if urlsplit(text).scheme not in {"http", "https", "file"}:
        raise node.error("is not an http:, https: or file: address")
    return text


def _mirrored(source: Source, mirrors: dict[str, str]) -> Source:
    for old, new in mirrors.items():
        if source.url.startswith(old):
            return msgspec.structs.replace(source, url=new + source.url.removeprefix(old))
    return source
