"""The feeds' own words for how grave a problem is, in ours."""

from __future__ import annotations

from shipwall.model.finding import Severity

# THE list: Red Hat and its rebuilds, Debian's urgency, Ubuntu's priority, GitHub, SUSE, Amazon.
WORDS = {
    "critical": Severity.CRITICAL,
    "high": Severity.HIGH,
    "important": Severity.HIGH,
    "medium": Severity.MEDIUM,
    "moderate": Severity.MEDIUM,
    "low": Severity.LOW,
    "negligible": Severity.NEGLIGIBLE,
    "unimportant": Severity.NEGLIGIBLE,
    "none": Severity.NEGLIGIBLE,
}


def parse_severity(word: object) -> Severity:
    """The severity that `word` names (any case, Debian's trailing `*`s aside); UNKNOWN for every other value."""
    return WORDS.get(word.strip().rstrip("*").lower(), Severity.UNKNOWN) if isinstance(word, str) else Severity.UNKNOWN
