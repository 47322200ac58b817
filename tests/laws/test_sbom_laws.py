"""Laws of bills of materials: nothing is lost in either format, and no document breaks the reader."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from shipwall.model.digest import ImageIdentity, digest_of
from shipwall.model.errors import InputError
from shipwall.model.package import Distribution, Inventory, Package, Skipped
from shipwall.supply.sbom import FORMATS, parse_sbom
from shipwall.supply.sbom.purls import package_of_purl, render_purl

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = texts.filter(bool) | st.sampled_from(["a:b", "@s/n", "a/b/c", "a:b:c", "/", ":", "a/", "x%41", "stdlib"])
digests = st.sampled_from([digest_of(b"1"), digest_of(b"2")])
packages = st.builds(
    Package,
    ecosystem=st.sampled_from(["deb", "apk", "rpm", "pypi", "npm", "maven", "golang", "cargo", "gem", "composer", "generic"]),
    name=names,
    version=texts | st.sampled_from(["1:2-3", "0:1-1", "2.0"]),
    arch=texts,
    source=texts,
    source_version=texts,
    evidence=texts,
    layer=st.just("") | digests,
    files=st.lists(texts, max_size=2).map(tuple),
    license=texts | st.sampled_from(["MIT", "MIT OR Apache-2.0", "LicenseRef-x", "a & b"]),
    owner=texts,
    module=st.sampled_from(["", "nodejs:10"]) | texts,
    vendor=texts,
)
inventories = st.builds(
    Inventory,
    image=st.none()
    | st.builds(ImageIdentity, manifest=digests, config=digests, diff_ids=st.lists(digests, max_size=2).map(tuple)),
    distribution=st.builds(Distribution, id=texts, version_id=texts, codename=texts),
    packages=st.lists(packages, max_size=5).map(tuple),
    skipped=st.lists(st.builds(Skipped, what=texts, reason=texts), max_size=2).map(tuple),
    labels=st.dictionaries(texts, texts, max_size=2),
    created=texts,
    history=st.lists(texts, max_size=2).map(tuple),
)
plain = st.sampled_from(["deb", "apk", "rpm"])
word = st.text("abc.+-~1", min_size=1, max_size=6)


@given(inventories, st.sampled_from(FORMATS))
@settings(max_examples=300, deadline=None)
def test_nothing_is_lost(inventory: Inventory, form: object) -> None:
    document = json.loads(json.dumps(form.render(inventory, 0)))  # type: ignore[attr-defined]
    assert parse_sbom(document) == inventory


@given(
    st.builds(
        Package,
        ecosystem=plain,
        name=word,
        version=word | word.map(lambda text: "1:" + text),
        arch=st.sampled_from(["", "amd64"]),
    )
)
def test_a_package_url_alone_tells_a_distributions_package(package: Package) -> None:
    distribution = Distribution(id="rhel", version_id="8.4")
    read, said = package_of_purl(render_purl(package, distribution))
    assert (read.ecosystem, read.name, read.version, read.arch) == (
        package.ecosystem,
        package.name,
        package.version,
        package.arch,
    )
    assert said == distribution


@given(st.sampled_from(["npm", "maven", "golang", "composer", "cargo", "gem"]), st.lists(word, min_size=1, max_size=3), word)
def test_a_package_url_alone_tells_a_languages_package(ecosystem: str, parts: list[str], version: str) -> None:
    name = (":" if ecosystem == "maven" else "/").join(parts[:2] if ecosystem != "golang" else parts)
    read, said = package_of_purl(render_purl(Package(ecosystem=ecosystem, name=name, version=version), Distribution()))
    assert (read.name, read.version, said) == (name, version, Distribution())


keys = st.sampled_from(
    [
        "bomFormat",
        "specVersion",
        "components",
        "name",
        "version",
        "purl",
        "properties",
        "value",
        "licenses",
        "license",
        "expression",
        "evidence",
        "identity",
        "methods",
        "occurrences",
        "location",
        "metadata",
        "component",
        "type",
        "spdxVersion",
        "packages",
        "SPDXID",
        "externalRefs",
        "referenceType",
        "referenceLocator",
        "annotations",
        "annotator",
        "comment",
        "relationships",
        "files",
        "fileName",
        "versionInfo",
    ]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts | st.sampled_from([
        "CycloneDX", "1.6", "SPDX-2.3", "purl", "pkg:deb/debian/a@1?distro=debian-12", "pkg:", "shipwall:package:{}",
        "Tool: shipwall-1", "shipwall:inventory:{}", "container", "shipwall:ecosystem", "shipwall:config",
    ]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


marks = st.sampled_from([{"bomFormat": "CycloneDX", "specVersion": "1.5"}, {"spdxVersion": "SPDX-2.3"}, {}])


@given(st.dictionaries(keys, values, max_size=6), marks)
@settings(max_examples=400, deadline=None)
def test_readers_are_total(document: dict[str, object], mark: dict[str, str]) -> None:
    with contextlib.suppress(InputError):
        parse_sbom({**document, **mark})


@given(st.data(), st.sampled_from(FORMATS))
@settings(max_examples=200, deadline=None)
def test_a_changed_document_is_read_or_refused(data: st.DataObject, form: object) -> None:
    inventory = Inventory(
        image=ImageIdentity(manifest=digest_of(b"m"), config=digest_of(b"c"), diff_ids=()),
        distribution=Distribution(id="debian", version_id="12"),
        packages=(Package(ecosystem="deb", name="a", version="1", files=("/x",), evidence="/y", layer=digest_of(b"l")),),
    )
    text = bytearray(json.dumps(form.render(inventory, 0)).encode())  # type: ignore[attr-defined]
    place = data.draw(st.integers(0, len(text) - 1))
    text[place] = data.draw(st.integers(32, 126))
    with contextlib.suppress(InputError, ValueError):
        parse_sbom(json.loads(text))
