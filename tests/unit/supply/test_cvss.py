"""CVSS scores of vectors whose scores their specifications and well-known problems state."""

from __future__ import annotations

import pytest

from shipwall.model.errors import InputError
from shipwall.model.finding import Severity
from shipwall.supply.cvss import best_vector, score_vector


@pytest.mark.parametrize(
    ("vector", "score", "severity"),
    [
        # CVSS v2 guide, 3.3: CVE-2002-0392, CVE-2003-0818, CVE-2003-0062
        ("AV:N/AC:L/Au:N/C:N/I:N/A:C", 7.8, Severity.HIGH),
        ("AV:N/AC:L/Au:N/C:C/I:C/A:C", 10.0, Severity.HIGH),
        ("(AV:L/AC:H/Au:N/C:C/I:C/A:C)", 6.2, Severity.MEDIUM),
        ("AV:N/AC:L/Au:N/C:N/I:N/A:N", 0.0, Severity.LOW),
        # CVSS v3.1 examples: CVE-2013-1937, CVE-2013-0375, CVE-2014-3566, CVE-2014-0160
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 6.1, Severity.MEDIUM),
        ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4, Severity.MEDIUM),
        ("CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N", 3.1, Severity.LOW),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", 7.5, Severity.HIGH),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8, Severity.CRITICAL),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", 10.0, Severity.CRITICAL),
        ("CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 0.0, Severity.NEGLIGIBLE),
        # 3.0 and 3.1 round one vector differently (3.1 specification, appendix A)
        ("CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:U/C:L/I:L/A:L", 7.3, Severity.HIGH),
        # CVSS v4.0 specification and its calculator
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H", 10.0, Severity.CRITICAL),
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", 9.3, Severity.CRITICAL),
        ("CVSS:4.0/AV:L/AC:L/AT:N/PR:L/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", 8.5, Severity.HIGH),
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:L/VI:L/VA:L/SC:N/SI:N/SA:N", 6.9, Severity.MEDIUM),
        ("CVSS:4.0/AV:L/AC:L/AT:P/PR:L/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", 7.3, Severity.HIGH),
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:N/VI:N/VA:N/SC:N/SI:N/SA:N", 0.0, Severity.NEGLIGIBLE),
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N/E:U", 8.1, Severity.HIGH),
    ],
)
def test_known_vectors(vector: str, score: float, severity: Severity) -> None:
    assert score_vector(vector) == (score, severity)


@pytest.mark.parametrize(
    "vector",
    [
        "",
        "CVSS:3.1/AV:N",
        "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:X",
        "CVSS:3.1/AV:N/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        "CVSS:5.0/AV:N",
        "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H/ZZ:1",
        "AV:N/AC:L/Au:N/C:N/I:N",
    ],
)
def test_what_is_no_vector_is_refused(vector: str) -> None:
    with pytest.raises(InputError):
        score_vector(vector)


def test_the_newest_version_counts_and_of_several_the_most_severe() -> None:
    old = "AV:N/AC:L/Au:N/C:C/I:C/A:C"
    low, high = "CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"
    assert best_vector([old, low, high, "nonsense"]) == (high, 7.5, Severity.HIGH)
    assert best_vector(["nonsense"]) == ("", None, Severity.UNKNOWN)
