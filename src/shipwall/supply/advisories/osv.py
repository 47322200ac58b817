"""OSV records → advisories, whichever ecosystem: Debian, Ubuntu, Alpine, Red Hat, AlmaLinux, Rocky, PyPI, npm, Go, Maven, ...

Source: OSV schema 1.7. Where publishers go beyond it or say things elsewhere: Ubuntu's priority stands in `severity` (type `Ubuntu`) or
`database_specific`; AlmaLinux, Rocky and Red Hat put the word of severity before the summary; RPM modules stand in the summary
(`postgresql:12 security update`) and, for every build, in the release of its version (`.module_el8.6.0+2758+4f4474df`).
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

from shipwall.lang.rfc3339 import parse_feed_time
from shipwall.model.advisory import Advisory, Affected, Range
from shipwall.model.errors import InputError
from shipwall.model.finding import FixState, Severity
from shipwall.supply.advisories.severities import WORDS, parse_severity
from shipwall.supply.advisory_ids import is_cve, is_erratum
from shipwall.supply.ecosystems import Rules, rules_of
from shipwall.supply.modules import ANY_MODULE, find_modules, is_modular
from shipwall.supply.versions import version_key

MAX_RECORD_BYTES = 64 << 20
_MAX_SUMMARY = 300
_MAX_URLS = 16
_LEADING_WORD = re.compile(r"\s*(?:\[[^\]]*\]\s*)?([A-Za-z]+)\s*:")
_HEADS_WITH_SEVERITY = frozenset({"ALSA", "ALBA", "ALEA", "RLSA", "RLBA", "RLEA", "RXSA", "RHSA", "RHBA", "RHEA"})
_SEVERITY_KEYS = (b"severity", b"urgency", b"ubuntu_priority")


class _Event(msgspec.Struct, gc=False):
    introduced: str | None = None
    fixed: str | None = None
    last_affected: str | None = None
    limit: str | None = None


class _Range(msgspec.Struct, gc=False):
    type: str = ""
    events: list[_Event] | None = None


class _Package(msgspec.Struct, gc=False):
    ecosystem: str = ""
    name: str = ""


class _Severity(msgspec.Struct, gc=False):
    type: str = ""
    score: str = ""


class _Affected(msgspec.Struct, gc=False):
    package: _Package | None = None
    ranges: list[_Range] | None = None
    versions: list[str] | None = None
    severity: list[_Severity] | None = None
    database_specific: msgspec.Raw = msgspec.Raw()
    ecosystem_specific: msgspec.Raw = msgspec.Raw()


class _Reference(msgspec.Struct, gc=False):
    url: str = ""


class _Record(msgspec.Struct, gc=False):
    id: str
    modified: str = ""
    published: str = ""
    withdrawn: str | None = None
    aliases: list[str] | None = None
    related: list[str] | None = None
    upstream: list[str] | None = None
    summary: str | None = None
    details: str | None = None
    severity: list[_Severity] | None = None
    affected: list[_Affected] | None = None
    references: list[_Reference] | None = None
    database_specific: msgspec.Raw = msgspec.Raw()


_decoder = msgspec.json.Decoder(_Record)


def parse_osv(data: bytes, feed: str) -> Advisory:
    """The advisory in the JSON of one OSV record. Total. *Raises* InputError.

    Commit ranges (`GIT`) are left out: packages have versions; so are entries without a package. A `limit` ends a span that nothing
    closes. Of `related` ids only errata's CVEs are taken, as what they mend; elsewhere "related" is another problem.
    """
    if len(data) > MAX_RECORD_BYTES:
        raise InputError("OSV record", f"is {len(data)} bytes, over the limit of {MAX_RECORD_BYTES}")
    try:
        record = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError("OSV record", str(error)[:200]) from error
    if not 0 < len(record.id) <= 200:
        raise InputError("OSV record", "its id is empty or too long")
    return _advisory(record, feed, data)


def _advisory(record: _Record, feed: str, data: bytes) -> Advisory:
    summary = _summary(record)
    aliases, fixes = _other_ids(record)
    word, vectors = _severities(record.severity or ())
    if word is Severity.UNKNOWN:
        word = _word_of(record.database_specific)
    if word is Severity.UNKNOWN and record.id.partition("-")[0] in _HEADS_WITH_SEVERITY:
        word = _leading_word(summary)
    modules = find_modules(summary) if ":" in summary and b".module" in data else ()
    affected: list[Affected] = []
    seen: dict[tuple[str, str], _Said] = {}
    for entry in record.affected or ():
        if entry.package is not None and entry.package.name:
            if entry.severity:
                vectors += [one for one in _severities(entry.severity)[1] if one not in vectors]
            affected.append(_affected(entry, entry.package, modules, seen))
    return Advisory(
        feed=feed,
        id=record.id,
        aliases=aliases,
        fixes=fixes,
        summary=summary,
        severity=word,
        cvss=tuple(vectors),
        published_ns=parse_feed_time(record.published),
        modified_ns=parse_feed_time(record.modified),
        withdrawn=bool(record.withdrawn),
        urls=tuple(reference.url for reference in (record.references or ())[:_MAX_URLS]),
        affected=tuple(affected),
    )


def _summary(record: _Record) -> str:
    text = record.summary or (record.details or "")[: 4 * _MAX_SUMMARY].strip().partition("\n")[0]
    text = " ".join(text.split())
    return text if len(text) <= _MAX_SUMMARY else text[: _MAX_SUMMARY - 1] + "…"


def _other_ids(record: _Record) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(aliases, fixes): other names of the same problem, and the problems that an erratum mends."""
    aliases = dict.fromkeys(record.aliases or ())
    upstream = [name for name in record.upstream or () if name != record.id]
    if not is_erratum(record.id):
        # A distribution's record of one CVE names it as its upstream: the same problem. Several are several.
        own = [name for name in upstream if record.id.endswith(name)] or (upstream if len(upstream) == 1 else [])
        aliases |= dict.fromkeys(own)
        fixes = [name for name in upstream if name not in aliases]
        return tuple(name for name in aliases if name != record.id), tuple(fixes if not aliases else ())
    named = (*aliases, *upstream, *(record.related or ()))
    mended = dict.fromkeys(name for name in named if is_cve(name))
    return tuple(name for name in aliases if name not in mended and name != record.id), tuple(mended)


def _severities(severities: Any) -> tuple[Severity, list[str]]:
    """The publisher's word and the CVSS vectors among `severities`."""
    word, vectors = Severity.UNKNOWN, []
    for one in severities:
        if one.type.startswith("CVSS"):
            vectors.append(one.score)
        elif word is Severity.UNKNOWN:
            word = parse_severity(one.score)
    return word, vectors


def _word_of(raw: msgspec.Raw) -> Severity:
    """The severity in a database's or ecosystem's own fields, where one of the known keys holds a known word."""
    data = bytes(raw)
    if not any(key in data for key in _SEVERITY_KEYS):
        return Severity.UNKNOWN
    try:
        fields = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Severity.UNKNOWN
    if not isinstance(fields, dict):
        return Severity.UNKNOWN
    words = (parse_severity(fields.get(key.decode())) for key in _SEVERITY_KEYS)
    return next((word for word in words if word is not Severity.UNKNOWN), Severity.UNKNOWN)


def _leading_word(summary: str) -> Severity:
    match = _LEADING_WORD.match(summary)
    return WORDS.get(match.group(1).lower(), Severity.UNKNOWN) if match else Severity.UNKNOWN


class _Said(NamedTuple):
    """What entries that differ in nothing but the package have in common."""

    rules: Rules
    ranges: tuple[Range, ...]
    module: str
    state: FixState


def _affected(entry: _Affected, package: _Package, modules: tuple[str, ...], seen: dict[tuple[str, str], _Said]) -> Affected:
    """`seen`: what this record's entries said so far: the packages of one build share their fixed version."""
    key = package.ecosystem, _only_fix(entry.ranges)
    said = seen.get(key) if key[1] else None
    if said is None:
        rules = rules_of(package.ecosystem)
        ranges: tuple[Range, ...] = ()
        for one in entry.ranges or ():
            if one.type != "GIT" and one.events:
                ranges = (*ranges, *_ranges(one.events, rules.order))
        module = _module(ranges, modules) if rules.order == "rpm" else ""
        said = seen[key] = _Said(rules, ranges, module, _state(ranges))
    rules, ranges, module, state = said
    return Affected(
        scope=rules.scope,
        name=rules.normalise(package.name),
        ranges=ranges,
        versions=tuple(entry.versions) if entry.versions else (),
        by_source=rules.by_source,
        module=module,
        severity=_own_word(entry) if entry.severity or entry.ecosystem_specific or entry.database_specific else Severity.UNKNOWN,
        state=state,
    )


def _own_word(entry: _Affected) -> Severity:
    """The publisher's word for this package alone."""
    word = _severities(entry.severity or ())[0]
    for raw in (entry.ecosystem_specific, entry.database_specific):
        if word is Severity.UNKNOWN and raw:
            word = _word_of(raw)
    return word


def _only_fix(ranges: list[_Range] | None) -> str:
    """The fixed version where `ranges` say nothing but "all before it", as nearly all do; else empty."""
    if ranges is None or len(ranges) != 1:
        return ""
    events = ranges[0].events
    if events is None or len(events) != 2 or events[0].introduced != "0" or ranges[0].type == "GIT":
        return ""
    return events[1].fixed or ""


def _module(ranges: tuple[Range, ...], modules: tuple[str, ...]) -> str:
    """The module stream whose builds `ranges` speak of: the advisory's names, joined by blanks where there are several."""
    for one in ranges:
        if is_modular(one.fixed or one.last_affected or one.introduced):
            return " ".join(modules) or ANY_MODULE
    return ""


def _state(ranges: tuple[Range, ...]) -> FixState:
    state = FixState.UNKNOWN
    for one in ranges:
        if one.fixed:
            return FixState.FIXED
        if not one.last_affected:
            state = FixState.NOT_FIXED
    return state


def _ranges(events: list[_Event], order: str) -> tuple[Range, ...]:
    """The affected spans of one range. Source: OSV schema, "Evaluation": in the order of versions `introduced` opens, `fixed` and
    `last_affected` close; what opens an open span or closes a closed one changes nothing.
    """
    if not _alternate(events):
        events = _sorted(events, order)
    limits = [event.limit for event in events if event.limit is not None and event.limit != "*"]
    spans: list[Range] = []
    opened: str | None = None
    for event in events:
        if event.introduced is not None:
            if opened is None:
                opened = "" if event.introduced == "0" else event.introduced
        elif opened is not None and event.fixed is not None:
            spans.append(Range(opened, event.fixed))
            opened = None
        elif opened is not None and event.last_affected is not None:
            spans.append(Range(opened, "", event.last_affected))
            opened = None
    if opened is not None:
        spans.append(Range(opened, limits[-1]) if limits else Range(opened))
    return tuple(spans)


def _alternate(events: list[_Event]) -> bool:
    """Whether `events` open and close in turn, beginning with an opening: then their order is taken as the order of versions."""
    opening = True
    for event in events:
        if (event.introduced is not None) != opening:
            return False
        opening = not opening
    return True


def _sorted(events: list[_Event], order: str) -> list[_Event]:
    """`events` by version, where all of them are versions of a known order; else as they are. At one version what closes comes first,
    except `last_affected`, which holds for that version still.
    """
    try:
        keyed = [(_place(event, order), index, event) for index, event in enumerate(events)]
    except InputError:
        return events
    return [event for _place, _index, event in sorted(keyed, key=lambda item: item[:2])]


def _place(event: _Event, order: str) -> tuple[bytes, int]:
    if event.introduced is not None:
        return (b"", 1) if event.introduced == "0" else (version_key(order, event.introduced), 1)
    if event.fixed is not None:
        return version_key(order, event.fixed), 0
    if event.last_affected is not None:
        return version_key(order, event.last_affected), 2
    return b"\xff", 3
