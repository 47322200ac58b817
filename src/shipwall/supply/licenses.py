"""Licences as SPDX expressions, from the spellings of Debian, RPM, apk, Python, npm, Ruby, Maven and PHP.

A name that is certain becomes its SPDX identifier; every other name becomes `LicenseRef-` and itself. Nothing is guessed: `BSD` says
neither two nor three clauses, `GPL` says no version.
Source: SPDX 2.3 annex D; DEP-5 "License specification"; Fedora's licence abbreviations (before SPDX); PyPI's trove classifiers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from shipwall.supply.spdx_ids import EXCEPTIONS, LICENSES

_MAX_TEXT = 2000
_MAX_NAME = 100
_MAX_DEPTH = 20
_TOKEN = re.compile(r"\(|\)|[^\s()]+")
_SPACES = re.compile(r"\s+")
_NOT_IN_REF = re.compile(r"[^A-Za-z0-9.-]+")
_LATER = re.compile(
    r"\s+or\s+(?:\(at your option\)\s+)?(?:any\s+)?(?:later|newer|greater)(?:\s+versions?)?(?![^\s)])", re.IGNORECASE
)
_OPERATORS = {"and": "AND", "or": "OR", "&": "AND", "|": "OR", "&&": "AND", "||": "OR", "and/or": "OR"}
_GNU = re.compile(
    r"(?:gnu\s+)?(?P<family>a|l|lesser\s+|library\s+|affero\s+)?(?:gpl|general\s+public\s+licen[sc]e)"
    r"(?:\s*\(\s*[al]?gpl\s*\))?[\s,]*(?:-|v|version)?[\s-]*v?\.?\s*(?P<version>[123](?:\.[01])?)(?:\.0)?(?P<later>\s*\+|-or-later)?(?:-only)?",
    re.IGNORECASE,
)
_FAMILIES = {"": "GPL", "a": "AGPL", "l": "LGPL", "lesser": "LGPL", "library": "LGPL", "affero": "AGPL"}
_GNU_VERSIONS = {"AGPL": {"1.0", "3.0"}, "GPL": {"1.0", "2.0", "3.0"}, "LGPL": {"2.0", "2.1", "3.0"}}
_DEPRECATED = re.compile(r"((?:A|L)?GPL-\d\.\d|GFDL-\d\.\d)(\+)?")
_GFDL = re.compile(r"gfdl(?P<niv>-niv)?(?:-|v| )(?P<version>1\.[123])(?P<later>\+|-or-later)?(?:-only)?", re.IGNORECASE)
# Lower case, single spaces. Only names that mean one licence wherever they are used.
_NAMES = {
    "al2": "Apache-2.0", "asl 1.1": "Apache-1.1", "asl 2.0": "Apache-2.0", "apache 2": "Apache-2.0", "apache 2.0": "Apache-2.0",
    "apache2": "Apache-2.0", "apache-2": "Apache-2.0", "apachev2": "Apache-2.0", "apache v2": "Apache-2.0", "apache license 2.0":
    "Apache-2.0", "apache license, version 2.0": "Apache-2.0", "apache license version 2.0": "Apache-2.0", "apache license v2.0":
    "Apache-2.0", "apache software license 2.0": "Apache-2.0", "apache software license, version 2.0": "Apache-2.0",
    "apache software license - version 2.0": "Apache-2.0", "the apache license, version 2.0": "Apache-2.0", "the apache license 2.0":
    "Apache-2.0", "the apache software license, version 2.0": "Apache-2.0", "apache 2.0 license": "Apache-2.0",
    "http://www.apache.org/licenses/license-2.0": "Apache-2.0", "http://www.apache.org/licenses/license-2.0.txt": "Apache-2.0",
    "https://www.apache.org/licenses/license-2.0": "Apache-2.0", "https://www.apache.org/licenses/license-2.0.txt": "Apache-2.0",
    "http://www.apache.org/licenses/license-2.0.html": "Apache-2.0", "https://opensource.org/licenses/apache-2.0": "Apache-2.0",
    "artistic 2.0": "Artistic-2.0", "artistic 1.0": "Artistic-1.0", "artistic-2": "Artistic-2.0",
    "boost": "BSL-1.0", "boost software license 1.0": "BSL-1.0", "boost software license 1.0 (bsl-1.0)": "BSL-1.0",
    "bsd 2-clause": "BSD-2-Clause", "2-clause bsd": "BSD-2-Clause", "bsd-2": "BSD-2-Clause", "bsd 2-clause license": "BSD-2-Clause",
    "simplified bsd": "BSD-2-Clause", "simplified bsd license": "BSD-2-Clause", "the bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause": "BSD-3-Clause", "3-clause bsd": "BSD-3-Clause", "bsd-3": "BSD-3-Clause", "bsd 3-clause license": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause", "new bsd license": "BSD-3-Clause", "modified bsd": "BSD-3-Clause", "modified bsd license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause", "revised bsd license": "BSD-3-Clause", "the bsd 3-clause license": "BSD-3-Clause",
    "bsd with advertising": "BSD-4-Clause", "bsd-4": "BSD-4-Clause", "4-clause bsd": "BSD-4-Clause",
    "cc0": "CC0-1.0", "cc-by-3": "CC-BY-3.0", "cc-by-4": "CC-BY-4.0", "cc-by-sa-3": "CC-BY-SA-3.0", "cc-by-sa-4": "CC-BY-SA-4.0",
    "cc0 1.0 universal (cc0 1.0) public domain dedication": "CC0-1.0",
    "cddl 1.0": "CDDL-1.0", "cddl 1.1": "CDDL-1.1", "cddl-1": "CDDL-1.0",
    "eclipse public license 1.0": "EPL-1.0", "eclipse public license - v 1.0": "EPL-1.0", "eclipse public license v1.0": "EPL-1.0",
    "eclipse public license 2.0": "EPL-2.0", "eclipse public license - v 2.0": "EPL-2.0", "eclipse public license v2.0": "EPL-2.0",
    "eclipse public license v. 2.0": "EPL-2.0", "eclipse public license 2.0 (epl-2.0)": "EPL-2.0", "epl 1.0": "EPL-1.0",
    "epl 2.0": "EPL-2.0", "edl 1.0": "BSD-3-Clause", "eclipse distribution license - v 1.0": "BSD-3-Clause",
    "expat": "MIT", "expat license": "MIT", "mit license": "MIT", "the mit license": "MIT", "mit/x11": "MIT", "mit-license": "MIT",
    "the mit license (mit)": "MIT", "mit license (mit)": "MIT", "http://www.opensource.org/licenses/mit-license.php": "MIT",
    "http://opensource.org/licenses/mit": "MIT", "https://opensource.org/licenses/mit": "MIT", "bouncy castle licence": "MIT",
    "mit no attribution license (mit-0)": "MIT-0",
    "gpl+": "GPL-1.0-or-later", "isc license": "ISC", "isc license (iscl)": "ISC", "iscl": "ISC",
    "mpl 1.1": "MPL-1.1", "mplv1.0": "MPL-1.0", "mplv1.1": "MPL-1.1", "mpl 2.0": "MPL-2.0", "mplv2.0": "MPL-2.0", "mpl-2": "MPL-2.0",
    "mozilla public license 1.1 (mpl 1.1)": "MPL-1.1", "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0", "mozilla public license 2.0":
    "MPL-2.0", "mozilla public license, version 2.0": "MPL-2.0", "mozilla public license version 2.0": "MPL-2.0",
    "openldap": "OLDAP-2.8", "psf": "PSF-2.0", "psf-2": "PSF-2.0", "psfl": "PSF-2.0", "psf license": "PSF-2.0",
    "python software foundation license": "PSF-2.0", "universal permissive license (upl)": "UPL-1.0", "ruby license": "Ruby",
    "the unlicense": "Unlicense", "the unlicense (unlicense)": "Unlicense", "wtfpl-2": "WTFPL", "wtfpl 2.0": "WTFPL",
    "zlib/libpng license": "Zlib", "zlib license": "Zlib", "zpl 2.1": "ZPL-2.1", "zope public license 2.1": "ZPL-2.1",
    "academic free license v2.1": "AFL-2.1", "public domain": "LicenseRef-public-domain", "public-domain": "LicenseRef-public-domain",
    "gnu lesser general public license": "LicenseRef-LGPL", "gnu general public license": "LicenseRef-GPL",
}  # fmt: skip


@lru_cache(maxsize=4096)
def parse_license(text: str, *, spaces_are_and: bool = False) -> str:
    """The SPDX expression that `text` means, empty for empty text. Total.

    `spaces_are_and`: names stand side by side without an operator (apk). A text that is no expression becomes one `LicenseRef-`; of a
    whole licence's text only the first line is read.
    """
    lines = text[:_MAX_TEXT].strip().splitlines()
    line = _SPACES.sub(" ", lines[0]).strip() if lines else ""
    if not line:
        return ""
    known = _known(line)
    if known:
        return known
    tokens = _TOKEN.findall(_LATER.sub("+", line))
    try:
        tree, rest = _parse_or(tokens, 0, spaces_are_and=spaces_are_and)
    except _NoExpressionError:
        return _reference(line)
    return tree if rest == len(tokens) else _reference(line)


def join_licenses(texts: Iterable[str], operator: str) -> str:
    """The SPDX expression of all `texts` joined by `operator` (AND, OR), each once."""
    expressions = list(dict.fromkeys(found for found in (parse_license(text) for text in texts) if found))
    return _join(expressions, operator)


class _NoExpressionError(Exception):
    """The text is a name, not an expression."""


def _join(parts: list[str], operator: str) -> str:
    parts = list(dict.fromkeys(name for part in parts for name in _split(part, f" {operator} ")))
    if len(parts) == 1:
        return parts[0]
    other = " OR " if operator == "AND" else " AND "
    return f" {operator} ".join(f"({part})" if other in part else part for part in parts)


def _split(expression: str, operator: str) -> list[str]:
    """The parts of an expression that `operator` joins at its top; the whole when another operator does."""
    parts, depth = [""], 0
    for piece in re.split(r"( AND | OR |[()])", expression):
        depth += (piece == "(") - (piece == ")")
        if depth == 0 and piece == operator:
            parts.append("")
        elif depth == 0 and piece in {" AND ", " OR "}:
            return [expression]
        else:
            parts[-1] += piece
    return [part[1:-1] if part.startswith("(") and len(parts) > 1 else part for part in parts]


def _parse_or(tokens: list[str], at: int, *, spaces_are_and: bool, depth: int = 0) -> tuple[str, int]:
    parts = []
    while True:
        part, at = _parse_and(tokens, at, spaces_are_and=spaces_are_and, depth=depth)
        parts.append(part)
        if at >= len(tokens) or _OPERATORS.get(tokens[at].lower()) != "OR":
            return _join(parts, "OR"), at
        at += 1


def _parse_and(tokens: list[str], at: int, *, spaces_are_and: bool, depth: int) -> tuple[str, int]:
    parts = []
    while True:
        part, at = _parse_name(tokens, at, spaces_are_and=spaces_are_and, depth=depth)
        parts.append(part)
        if at < len(tokens) and _OPERATORS.get(tokens[at].lower()) == "AND":
            at += 1
        elif not (spaces_are_and and at < len(tokens) and tokens[at] != ")" and tokens[at].lower() not in _OPERATORS):
            return _join(parts, "AND"), at


def _parse_name(tokens: list[str], at: int, *, spaces_are_and: bool, depth: int) -> tuple[str, int]:
    if at < len(tokens) and tokens[at] == "(":
        if depth >= _MAX_DEPTH:
            raise _NoExpressionError
        tree, at = _parse_or(tokens, at + 1, spaces_are_and=spaces_are_and, depth=depth + 1)
        if at >= len(tokens) or tokens[at] != ")":
            raise _NoExpressionError
        return tree, at + 1
    words = []
    while at < len(tokens) and tokens[at] not in {"(", ")"} and tokens[at].lower() not in _OPERATORS:
        words.append(tokens[at])
        at += 1
        if spaces_are_and and not (at < len(tokens) and tokens[at].lower() == "with") and words[-1].lower() != "with":
            break
    if not words or (at < len(tokens) and tokens[at] == "("):
        raise _NoExpressionError
    return _name(" ".join(words)), at


def _name(text: str) -> str:
    return _known(text) or _with_exception(text) or _reference(text)


def _with_exception(text: str) -> str:
    left, operator, right = re.sub(r"\s+with\s+", "\0", text, count=1, flags=re.IGNORECASE).partition("\0")
    exception = EXCEPTIONS.get(right.strip().lower())
    base = _known(left.strip()) if operator and exception else ""
    return f"{base} WITH {exception}" if base else ""


def _known(text: str) -> str:
    """The identifier of the single licence `text`, empty when it is not certainly one."""
    name = text.strip().strip(",;\"'").lower()
    found = _NAMES.get(name) or LICENSES.get(name)
    if found is None and name.endswith(" license"):
        found = LICENSES.get(name.removesuffix(" license"))
    if found is None:
        gnu = _GNU.fullmatch(_LATER.sub("+", name).removesuffix(" license").removesuffix(" licence"))
        if gnu is not None:
            return _gnu_id(gnu)
        gfdl = _GFDL.fullmatch(name)
        if gfdl is not None:
            middle = "-no-invariants" if gfdl["niv"] else ""
            return f"GFDL-{gfdl['version']}{middle}-{'or-later' if gfdl['later'] else 'only'}"
        head, bracket, abbreviation = name.rstrip(")").rpartition(" (")
        if bracket and name.endswith(")") and (both := _known(head)) and both == _known(abbreviation):
            return both  # "GNU General Public License v2 (GPLv2)"
        if name.startswith("licenseref-") and not _NOT_IN_REF.search(name):
            return text.strip()
        return ""
    old = _DEPRECATED.fullmatch(found)
    return f"{old[1]}-{'or-later' if old[2] else 'only'}" if old else found


def _gnu_id(match: re.Match[str]) -> str:
    family = _FAMILIES[(match["family"] or "").strip()]
    version = match["version"] if "." in match["version"] else f"{match['version']}.0"
    if version not in _GNU_VERSIONS[family]:
        return ""
    return f"{family}-{version}-{'or-later' if match['later'] else 'only'}"


def _reference(text: str) -> str:
    cleaned = _NOT_IN_REF.sub("-", text.replace("+", "-or-later")).strip("-")[:_MAX_NAME].rstrip("-")
    return f"LicenseRef-{cleaned or 'unnamed'}"
