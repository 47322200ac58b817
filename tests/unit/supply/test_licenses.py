"""Licence spellings become SPDX expressions; what is not certain stays a reference to itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.licenses import canonicalize_license_expression

from shipwall.supply.licenses import join_licenses, parse_license


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Debian
        ("GPL-2+", "GPL-2.0-or-later"), ("GPL-2", "GPL-2.0-only"), ("LGPL-2.1+", "LGPL-2.1-or-later"), ("Expat", "MIT"),
        ("GFDL-NIV-1.3+", "GFDL-1.3-no-invariants-or-later"), ("BSD-3-clause", "BSD-3-Clause"), ("Apache-2", "Apache-2.0"),
        ("GPL-1+ or Artistic-2", "GPL-1.0-or-later OR Artistic-2.0"), ("public-domain", "LicenseRef-public-domain"),
        # RPM, before and after SPDX
        ("GPLv2+", "GPL-2.0-or-later"), ("LGPLv2+ and MIT", "LGPL-2.0-or-later AND MIT"), ("ASL 2.0", "Apache-2.0"),
        ("(LGPLv3+ or GPLv2+) and GPLv3+", "(LGPL-3.0-or-later OR GPL-2.0-or-later) AND GPL-3.0-or-later"),
        ("zlib and Boost", "Zlib AND BSL-1.0"), ("GPL+", "GPL-1.0-or-later"), ("BSD with advertising", "BSD-4-Clause"),
        ("GPLv2+ with exceptions", "LicenseRef-GPLv2-or-later-with-exceptions"), ("BSD", "LicenseRef-BSD"),
        ("GPL-3.0-or-later WITH GCC-exception-3.1", "GPL-3.0-or-later WITH GCC-exception-3.1"),
        ("GPL-2.0-only AND SUSE-Public-Domain", "GPL-2.0-only AND LicenseRef-SUSE-Public-Domain"), ("GPL-2.0+", "GPL-2.0-or-later"),
        # Python, npm, Maven
        ("GNU General Public License v2 or later (GPLv2+)", "GPL-2.0-or-later"),
        ("GNU Lesser General Public License v3 (LGPLv3)", "LGPL-3.0-only"),
        ("Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0"), ("Apache License, Version 2.0", "Apache-2.0"), ("apache 2.0", "Apache-2.0"),
        ("The MIT License", "MIT"), ("(MIT OR Apache-2.0)", "MIT OR Apache-2.0"), ("mit", "MIT"), ("MIT and MIT", "MIT"),
        ("GPL (>= 2)", "LicenseRef-GPL-2"), ("SEE LICENSE IN LICENSE", "LicenseRef-SEE-LICENSE-IN-LICENSE"), ("GPL", "LicenseRef-GPL"),
        ("MIT License\n\nCopyright (c) 2020", "MIT"), ("", ""), (" \n ", ""), ("LicenseRef-mine", "LicenseRef-mine"),
    ],
)  # fmt: skip
def test_spellings(text: str, expected: str) -> None:
    assert parse_license(text) == expected


def test_names_side_by_side() -> None:
    assert parse_license("MIT BSD GPL2+", spaces_are_and=True) == "MIT AND LicenseRef-BSD AND GPL-2.0-or-later"
    assert parse_license("MIT OR (ISC zlib)", spaces_are_and=True) == "MIT OR (ISC AND Zlib)"


def test_several_are_joined_once_each() -> None:
    assert join_licenses(["MIT", "GPL-2+ or ISC", "Expat", ""], "AND") == "MIT AND (GPL-2.0-or-later OR ISC)"
    assert (
        join_licenses(["GPL-3+ and MIT", "MIT", "(ISC or X11) and GPL-3+"], "AND") == "GPL-3.0-or-later AND MIT AND (ISC OR X11)"
    )
    assert join_licenses(["MIT or ISC", "ISC"], "OR") == "MIT OR ISC"
    assert join_licenses([], "OR") == ""


WORDS = [
    "MIT",
    "GPL-2+",
    "and",
    "or",
    "with",
    "(",
    ")",
    "BSD",
    "GCC-exception-3.1",
    "v2",
    "or later",
    ",",
    "+",
    "ä",
    "/",
    "Classpath",
]


@given(st.one_of(st.text(), st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join)), st.booleans())
def test_every_answer_is_an_spdx_expression_that_stays_itself(text: str, spaces: bool) -> None:
    found = parse_license(text, spaces_are_and=spaces)
    if found:
        assert canonicalize_license_expression(found) == found
        assert parse_license(found) == found
    else:
        assert not text.strip()
