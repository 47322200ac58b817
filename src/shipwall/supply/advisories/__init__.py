"""Feeds of advisories, each turned into the one form of `model/advisory.py`. THE list of formats is here.

Takes: a document's bytes and the name of the feed. Gives: advisories or signs of exploitation, and `Skipped` for what could not be read.
Never: guesses: what a feed does not say stays unknown.
Start here: `FORMATS`, `osv.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from shipwall.model.advisory import Advisory
from shipwall.model.errors import InputError
from shipwall.model.finding import Exploited
from shipwall.model.package import Skipped
from shipwall.supply.advisories.alpine_secdb import parse_alpine_secdb
from shipwall.supply.advisories.debian_tracker import parse_debian_tracker
from shipwall.supply.advisories.epss import parse_epss
from shipwall.supply.advisories.kev import parse_kev
from shipwall.supply.advisories.osv import parse_osv

Item: TypeAlias = Advisory | tuple[str, Exploited] | Skipped


class Format(NamedTuple):
    """`by_record`: a file holds many documents (zip, folder, JSON lines), and `parse` reads one of them; else the file is the document."""

    name: str
    parse: Callable[[bytes, str], Iterator[Item]]
    by_record: bool = False


def _one_osv(data: bytes, feed: str) -> Iterator[Item]:
    yield parse_osv(data, feed)


FORMATS = {
    one.name: one
    for one in (
        Format("osv", _one_osv, by_record=True),
        Format("debian-tracker", parse_debian_tracker),
        Format("alpine-secdb", parse_alpine_secdb),
        Format("kev", parse_kev),
        Format("epss", parse_epss),
    )
}


def find_format(name: str) -> Format:
    """The format called `name`. *Raises* InputError naming the known ones."""
    if name not in FORMATS:
        raise InputError(f"format {name[:40]!r}", "is not known", f"known: {', '.join(FORMATS)}")
    return FORMATS[name]
