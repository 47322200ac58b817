"""Debian's security tracker → advisories, one for each CVE.

Source: security-tracker.debian.org/tracker/data/json and its documentation (security_tracker.rst): by source package, id and release a
`status` (open, resolved, undetermined), `fixed_version` (`0`: the release was never affected), `urgency`, and `nodsa` where the
security team will not issue an advisory.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from shipwall.model.advisory import Advisory, Affected, Range
from shipwall.model.errors import InputError
from shipwall.model.finding import FixState, Severity
from shipwall.model.package import Skipped
from shipwall.supply.advisories.records import decode_record
from shipwall.supply.advisories.severities import parse_severity
from shipwall.supply.ecosystems import DEBIAN_RELEASES

MAX_BYTES = 512 << 20
_MAX_SUMMARY = 300
_URL = "https://security-tracker.debian.org/tracker/"


class _Release(msgspec.Struct, gc=False):
    status: str = ""
    fixed_version: str = ""
    urgency: str = ""
    nodsa: str = ""
    nodsa_reason: str = ""


class _Problem(msgspec.Struct, gc=False):
    description: str = ""
    releases: dict[str, _Release] = {}


_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_package_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_problem_decoder = msgspec.json.Decoder(_Problem)


def parse_debian_tracker(data: bytes, feed: str) -> Iterator[Advisory | Skipped]:
    """The advisories in the tracker's JSON. Total. *Raises* InputError (before the first advisory) when it is something else."""
    if len(data) > MAX_BYTES:
        raise InputError("Debian security tracker", f"is {len(data)} bytes, over the limit of {MAX_BYTES}")
    try:
        packages = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError("Debian security tracker", str(error)[:200]) from error
    if packages and not any(bytes(memoryview(raw)[:1]) == b"{" for raw in packages.values()):
        raise InputError("Debian security tracker", "holds no package with problems")
    return _advisories(packages, feed)


def _advisories(packages: dict[str, msgspec.Raw], feed: str) -> Iterator[Advisory | Skipped]:
    by_id: dict[str, tuple[str, list[Affected]]] = {}
    unknown: dict[str, int] = {}
    for name, raw in packages.items():
        problems = decode_record(_package_decoder, raw, f"{name[:80]} in Debian's tracker")
        if isinstance(problems, Skipped):
            yield problems
            continue
        for problem_id, raw_problem in problems.items():
            problem = decode_record(_problem_decoder, raw_problem, f"{problem_id[:80]} of {name[:80]} in Debian's tracker")
            if isinstance(problem, Skipped):
                yield problem
                continue
            text, affected = by_id.setdefault(problem_id, (problem.description, []))
            for codename, release in problem.releases.items():
                one = _affected(name, codename, release)
                if one is not None:
                    affected.append(one)
                elif release.status not in {"resolved", "open", "undetermined"}:
                    unknown[release.status] = unknown.get(release.status, 0) + 1
    for problem_id, (text, affected) in by_id.items():
        summary = " ".join(text.split())[:_MAX_SUMMARY]
        yield Advisory(feed=feed, id=problem_id, summary=summary, urls=(_URL + problem_id,), affected=tuple(affected))
    for status, count in unknown.items():
        yield Skipped(what=f"{count} statements of Debian's tracker", reason=f"their status {status[:40]!r} is not known")


def _affected(name: str, codename: str, release: _Release) -> Affected | None:
    """What the tracker says of one package in one release; None for "not affected" and for an unknown status."""
    scope = f"Debian:{DEBIAN_RELEASES.get(codename, codename)}"
    severity = parse_severity(release.urgency)
    end = release.urgency == "end-of-life"
    if release.status == "resolved":
        if release.fixed_version == "0":
            return None
        ranges, state, reason = (Range(fixed=release.fixed_version),), FixState.FIXED, ""
        if not release.fixed_version:
            ranges, state, reason = (Range(),), FixState.UNKNOWN, "resolved, but the tracker names no version"
    elif release.status == "open":
        ranges, (state, reason) = (Range(),), _open_state(release)
    elif release.status == "undetermined":
        ranges, state, reason = (Range(),), FixState.UNKNOWN, "Debian has not determined whether it is affected"
    else:
        return None
    return Affected(
        scope=scope,
        name=name,
        ranges=ranges,
        by_source=True,
        severity=Severity.UNKNOWN if end else severity,
        state=FixState.END_OF_LIFE if end and state is not FixState.FIXED else state,
        reason=reason,
    )


def _open_state(release: _Release) -> tuple[FixState, str]:
    text = " ".join(release.nodsa.split())
    if release.nodsa_reason == "postponed":
        return FixState.NOT_FIXED, f"postponed: {text}" if text else "postponed"
    if release.nodsa_reason == "ignored" or text:
        return FixState.WILL_NOT_FIX, text or "ignored by Debian's security team"
    return FixState.NOT_FIXED, ""
