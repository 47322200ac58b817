"""Alpine's security database → advisories, one for each id; Wolfi's and Chainguard's have the same form.

Source: secdb.alpinelinux.org and its readme: by source package, the version that fixes and the ids it fixes; version `0` means that the
package never was affected. A line may hold several ids (`CVE-2017-15597 XSA-236`) and remarks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from shipwall.model.advisory import Advisory, Affected, Range
from shipwall.model.errors import InputError
from shipwall.model.finding import FixState
from shipwall.model.package import Skipped
from shipwall.supply.advisories.records import decode_record
from shipwall.supply.advisory_ids import is_cve
from shipwall.supply.ecosystems import parse_scope

MAX_BYTES = 128 << 20
_ID = re.compile(r"[A-Za-z][A-Za-z0-9]{1,15}(?:-[A-Za-z0-9]{1,16}){1,5}")


class _Fixes(msgspec.Struct, gc=False):
    name: str = ""
    secfixes: dict[str, list[str] | None] | None = None


class _Entry(msgspec.Struct, gc=False):
    pkg: _Fixes


class _Database(msgspec.Struct):
    packages: list[msgspec.Raw] | None
    distroversion: str = ""
    urlprefix: str = ""
    reponame: str = ""


_decoder = msgspec.json.Decoder(_Database)
_entry_decoder = msgspec.json.Decoder(_Entry)


def parse_alpine_secdb(data: bytes, feed: str) -> Iterator[Advisory | Skipped]:
    """The advisories in one file of the database. Total. *Raises* InputError (before the first advisory) when it is something else."""
    if len(data) > MAX_BYTES:
        raise InputError("Alpine secdb", f"is {len(data)} bytes, over the limit of {MAX_BYTES}")
    try:
        database = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError("Alpine secdb", str(error)[:200]) from error
    return _advisories(database, _scope(database), feed)


def _scope(database: _Database) -> str:
    if database.distroversion:
        return parse_scope(f"Alpine:{database.distroversion}")
    for word, scope in (("chainguard", "Chainguard"), ("wolfi", "Wolfi")):
        if word in database.urlprefix.lower() or word in database.reponame.lower():
            return scope
    raise InputError("Alpine secdb", "names no release", "add `distroversion`")


def _advisories(database: _Database, scope: str, feed: str) -> Iterator[Advisory | Skipped]:
    by_id: dict[str, tuple[dict[str, None], list[Affected]]] = {}
    for place, raw in enumerate(database.packages or (), 1):
        entry = decode_record(_entry_decoder, raw, f"package {place} in Alpine's secdb")
        if isinstance(entry, Skipped):
            yield entry
            continue
        for version, lines in (entry.pkg.secfixes or {}).items():
            if version == "0" or not entry.pkg.name:
                continue
            for line in lines or ():
                ids = _ID.findall(line)
                if not ids:
                    yield Skipped(what=f"{entry.pkg.name} {version} in Alpine's secdb", reason=f"{line[:60]!r} names no id")
                for problem_id, others in _problems(ids):
                    known, affected = by_id.setdefault(problem_id, ({}, []))
                    known.update(dict.fromkeys(others))
                    affected.append(
                        Affected(
                            scope=scope,
                            name=entry.pkg.name,
                            ranges=(Range(fixed=version),),
                            by_source=True,
                            state=FixState.FIXED,
                        )
                    )
    for problem_id, (aliases, affected) in by_id.items():
        yield Advisory(feed=feed, id=problem_id, aliases=tuple(aliases), affected=tuple(affected))


def _problems(ids: list[str]) -> list[tuple[str, list[str]]]:
    """The problems of one line, each with its other names: only a single CVE can take the other ids as its own."""
    cves = [name for name in ids if is_cve(name)]
    others = [name for name in ids if not is_cve(name)]
    if len(cves) == 1:
        return [(cves[0], others)]
    return [(name, []) for name in cves or others]
