"""Findings against labels that people gave to scanners' findings: precision and recall, restricted to the advisories held.

The labels say package, version and problem, not what kind of package it is nor who owns it; how both are known is said at each test.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.advisories import import_files, inventory_of, known_ids

from shipwall.adapters.advisory_db import AdvisoryDb
from shipwall.model.package import Distribution, Package
from shipwall.supply.ecosystems import parse_name
from shipwall.supply.match_advisories import match_advisories

FOLDER = Path(os.environ.get("SHIPWALL_CONFORMANCE", Path(__file__).parents[3] / "shared/conformance"))

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="needs the conformance data: set SHIPWALL_CONFORMANCE")

NONE = Distribution()


class Label(NamedTuple):
    """One person's word: `problem` is in the package (`TP`) or is not (`FP`)."""

    image: str
    name: str
    version: str
    problems: frozenset[str]
    word: str
    note: str


def labels() -> list[Label]:
    found = []
    for path in sorted((FOLDER / "labels").glob("*.jsonl.gz")):
        with gzip.open(path) as lines:
            for line in lines:
                row: dict[str, Any] = json.loads(line)
                if "package" in row and row["label"] in {"TP", "FP"}:
                    ids = frozenset(filter(None, (row["vulnerability_id"], row.get("effective_cve"))))
                    package = row["package"]
                    found.append(
                        Label(row["image"]["exact"], package["name"], package["version"], ids, row["label"], row.get("note", ""))
                    )
    return found


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterable[AdvisoryDb]:
    path = tmp_path_factory.mktemp("labels") / "advisories.sqlite"
    names = ("almalinux8", "almalinux9", "almalinux10", "go", "pypi")
    import_files(path, {name: FOLDER / "advisories" / f"{name}.osv.jsonl.gz" for name in names})
    with AdvisoryDb(path) as opened:
        yield opened


def is_found(database: AdvisoryDb, distribution: Distribution, package: Package, problems: frozenset[str]) -> bool:
    findings, _skipped = match_advisories(inventory_of(distribution, package), database)
    return any(problems & {finding.id, *finding.aliases} for finding in findings)


@pytest.mark.parametrize("release", ["8", "9"])
def test_rpm_packages_of_enterprise_linux(database: AdvisoryDb, release: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A version with `.elN` in it is an RPM's. AlmaLinux's feed judges its rebuilds' siblings too."""
    distribution = Distribution(id="almalinux", version_id=release)
    held = known_ids(database, f"AlmaLinux:{release}")
    counted: Counter[tuple[str, bool]] = Counter()
    disputed = Counter[str]()
    for label in labels():
        if f".el{release}" not in label.version or not label.problems & held.get(label.name, set()):
            continue
        found = is_found(database, distribution, Package(ecosystem="rpm", name=label.name, version=label.version), label.problems)
        counted[label.word, found] += 1
        if label.word == "FP" and found:
            disputed[label.name] += 1
    hits, misses, false = counted["TP", True], counted["TP", False], counted["FP", True]
    with capsys.disabled():
        precision, recall = hits / (hits + false), hits / (hits + misses)
        print(f"\nAlmaLinux:{release}: {hits} of {hits + misses} true positives, {false} false: {precision:.1%} and {recall:.1%}")
    assert misses == 0
    # Where labels and the distribution disagree: it published a fix for this very package and CVE, which the installed build lacks.
    assert disputed == ({"libsepol": 4, "sqlite-libs": 3} if release == "8" else {})
    assert hits == {"8": 501, "9": 7}[release]


def test_python_packages_of_no_distribution(database: AdvisoryDb, capsys: pytest.CaptureFixture[str]) -> None:
    """What people called true: a plain version, of a project that PyPI's feed speaks of by this id."""
    held = known_ids(database, "PyPI")
    counted: Counter[bool] = Counter()
    missed = set()
    for label in labels():
        name = parse_name("PyPI", label.name)
        if label.word == "FP" or not is_plain(label.version) or not label.problems & held.get(name, set()):
            continue
        found = is_found(database, NONE, Package(ecosystem="pypi", name=label.name, version=label.version), label.problems)
        counted[found] += 1
        if not found:
            missed.add((name, label.version, *sorted(label.problems)))
    with capsys.disabled():
        print(f"\nPyPI: {counted[True]} of {counted.total()} true positives")
    # The record's range begins with 2.2: Django 1.11 had left support when it was written.
    assert {(name, version) for name, version, *_ids in missed} == {("django", "1.11.29")}
    assert counted[True] >= 9


def is_plain(version: str) -> bool:
    return re.search(r"\.el\d|-r\d|ubuntu|deb|-\d", version) is None


def traps(database: AdvisoryDb, every: list[Label]) -> list[tuple[Label, Package]]:
    """False positives that matching by name and version alone raises again, each with what it really is.

    How it is known: the person's note names the distribution's package; or the same image holds a distribution's package of that name
    and upstream version (`python3-yaml 3.10-4ubuntu0.1` for PyYAML 3.10), or the distribution's feed does (`python3-urllib3 1.24.2-...`);
    or PyPI never had the version (Jenkins's mercurial plugin 2.14, npm's protobuf 0.0.0-DEVELOPMENT).
    """
    held, el8 = known_ids(database, "PyPI"), known_ids(database, "AlmaLinux:8")
    released: dict[str, set[str]] = {}
    for entry in database.entries(["PyPI"]):
        released.setdefault(entry.affected.name, set()).update(entry.affected.versions)
    upstream = {
        (entry.affected.name, re.split(r"[-:]", one.fixed)[-2])
        for entry in database.entries(["AlmaLinux:8"])
        for one in entry.affected.ranges
    }
    installed = {(label.image, label.name, label.version.split("-")[0]) for label in every if not is_plain(label.version)}
    found = []
    for label in every:
        name = parse_name("PyPI", label.name)
        naive = label.word == "FP" and is_plain(label.version)
        if not naive or not (label.problems & (held.get(name, set()) | el8.get(label.name, set()))):
            continue
        owner = ""
        for candidate in owners_of(name):
            if (label.image, candidate, label.version) in installed or (candidate, label.version) in upstream:
                owner = candidate
        noted = re.search(r'(?:RPM|rpm|deb) "?([\w.+-]+)', label.note)
        owner = owner or (noted.group(1) if noted else "")
        ecosystem = "pypi"
        if not owner and label.version not in released.get(name, set()):
            ecosystem = "generic"
        found.append((label, Package(ecosystem=ecosystem, name=label.name, version=label.version, owner=owner)))
    return found


def owners_of(name: str) -> list[str]:
    short = name.removeprefix("py")
    return [f"{head}-{stem}" for head in ("python3", "platform-python", "python") for stem in dict.fromkeys((name, short))] + [
        name
    ]


def test_what_a_distribution_owns_is_not_judged_by_its_name(database: AdvisoryDb, capsys: pytest.CaptureFixture[str]) -> None:
    every = labels()
    caught = traps(database, every)
    sprung = 0
    raised = []
    for label, package in caught:
        distribution = (
            Distribution(id="almalinux", version_id="8")
            if "el8" in image_kinds(every, label.image)
            else Distribution(id="ubuntu", version_id="14.04")
        )
        as_rpm = Package(ecosystem="rpm", name=label.name, version=label.version)
        by_name = Package(ecosystem="pypi", name=label.name, version=label.version)
        sprung += any(
            is_found(database, Distribution(id="almalinux", version_id="8"), one, label.problems) for one in (as_rpm, by_name)
        )
        if is_found(database, distribution, package, label.problems):
            raised.append(label)
    with capsys.disabled():
        print(f"\ntraps: {len(caught)}, of which matching by name falls into {sprung}; raised: {len(raised)}")
    assert raised == []
    assert sprung >= 40


def image_kinds(every: list[Label], image: str) -> set[str]:
    return {kind for label in every if label.image == image for kind in ("el8", "ubuntu", "deb") if kind in label.version}


def test_go_modules(database: AdvisoryDb, capsys: pytest.CaptureFixture[str]) -> None:
    """A module's path is a Go package's name; what people called true, where the feed has the problem for that module."""
    held = known_ids(database, "Go")
    counted: Counter[tuple[str, bool]] = Counter()
    wrong = set()
    for label in labels():
        if not label.problems & held.get(label.name, set()):
            continue
        package = Package(ecosystem="golang", name=label.name, version=label.version.removeprefix("go"))
        found = is_found(database, NONE, package, label.problems)
        counted[label.word, found] += 1
        if found != (label.word == "TP"):
            wrong.add((label.word, label.name, label.version, *sorted(label.problems)))
    with capsys.disabled():
        hits, false = counted["TP", True], counted["FP", True]
        print(f"\nGo: {hits} of {hits + counted['TP', False]} true positives, {false} false: {hits / (hits + false):.1%}")
    # The feed's range holds this version; people judged that the part at fault is not in the library.
    assert {(name, version) for word, name, version, *_ids in wrong} == {("github.com/docker/docker", "v20.10.18+incompatible")}
    assert (counted["TP", True], counted["TP", False], counted["FP", True]) == (53, 0, 3)
