"""What an advisory's id says: a name of one problem, or of an erratum (a publication that mends several)."""

from __future__ import annotations

import functools
import re

# THE list of errata: Red Hat and its rebuilds, Debian, Ubuntu, SUSE, Amazon, Fedora, Mageia, openEuler, Photon.
_ERRATUM = re.compile(
    r"(?:(?:AL|RL|RH|EL|CE|RX)(?:SA|BA|EA)|D[SLT]A|USN|LSN|ALAS[0-9A-Z]*|SUSE-[SRFO]U|openSUSE-[SRFO]U|FEDORA|MGASA|MGAA|OESA|PHSA)-"
)
_BUG_FIX = re.compile(r"(?:AL|RL|RH|EL|CE|RX)[BE]A-|SUSE-[RFO]U-|openSUSE-[RFO]U-|MGAA-")
_CVE = re.compile(r"CVE-(\d{4})-(\d{4,7})\Z")


def is_erratum(name: str) -> bool:
    """Whether `name` is of an erratum: it may stand beside several problems and never joins them."""
    return _ERRATUM.match(name) is not None


def is_bug_fix(name: str) -> bool:
    """Whether `name` is of an erratum that its publisher does not call a security one."""
    return _BUG_FIX.match(name) is not None


@functools.lru_cache(maxsize=65_536)
def cve_number(name: str) -> int | None:
    """`name` as a number (year and serial), None for what is no CVE id. `render_cve` gives it back."""
    match = _CVE.match(name)
    if match is None or (len(match.group(2)) > 4 and match.group(2).startswith("0")):
        return None
    return int(match.group(1)) * 10_000_000 + int(match.group(2))


def render_cve(number: int) -> str:
    """The CVE id of `number`."""
    return f"CVE-{number // 10_000_000:04d}-{number % 10_000_000:04d}"


def is_cve(name: str) -> bool:
    """Whether `name` is a CVE id."""
    return _CVE.match(name) is not None
