"""CISA's catalogue of known exploited vulnerabilities → signs of exploitation.

Source: cisa.gov, known_exploited_vulnerabilities_schema.json.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from shipwall.lang.rfc3339 import parse_feed_time
from shipwall.model.errors import InputError
from shipwall.model.finding import Exploited
from shipwall.model.package import Skipped
from shipwall.supply.advisories.records import decode_record
from shipwall.supply.advisory_ids import is_cve

MAX_BYTES = 64 << 20


class _Entry(msgspec.Struct, gc=False, rename="camel"):
    cve_id: str = msgspec.field(name="cveID")
    due_date: str = ""


class _Catalogue(msgspec.Struct):
    vulnerabilities: list[msgspec.Raw]


_decoder = msgspec.json.Decoder(_Catalogue)
_entry_decoder = msgspec.json.Decoder(_Entry)


def parse_kev(data: bytes, _feed: str) -> Iterator[tuple[str, Exploited] | Skipped]:
    """(CVE id, sign) of each entry. Total. *Raises* InputError when it is something else."""
    if len(data) > MAX_BYTES:
        raise InputError("KEV catalogue", f"is {len(data)} bytes, over the limit of {MAX_BYTES}")
    try:
        catalogue = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError("KEV catalogue", str(error)[:200]) from error
    return _entries(catalogue)


def _entries(catalogue: _Catalogue) -> Iterator[tuple[str, Exploited] | Skipped]:
    for number, raw in enumerate(catalogue.vulnerabilities, 1):
        entry = decode_record(_entry_decoder, raw, f"entry {number} of CISA's catalogue")
        if isinstance(entry, Skipped):
            yield entry
        elif is_cve(entry.cve_id):
            yield entry.cve_id, Exploited(kev=True, kev_due=entry.due_date if parse_feed_time(entry.due_date) else "")
        else:
            yield Skipped(what="an entry of CISA's catalogue", reason=f"{entry.cve_id[:40]!r} is no CVE id")
