"""SBOMs: valid by the official schemas, understood from other tools, refused with the place where they are wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shipwall.adapters.sbom_file import looks_like_sbom
from shipwall.model.digest import ImageIdentity, digest_of
from shipwall.model.errors import InputError
from shipwall.model.package import Distribution, Inventory, Package, Skipped
from shipwall.supply.sbom import parse_sbom, parse_sbom_text, render_cyclonedx, render_spdx
from shipwall.supply.sbom.bounds import license_of_names, license_words

NOW = 1_700_000_000 * 10**9
LAYER = digest_of(b"layer")
IMAGE = ImageIdentity(manifest=digest_of(b"m"), config=digest_of(b"c"), diff_ids=(LAYER,))
INVENTORY = Inventory(
    image=IMAGE,
    distribution=Distribution(id="rhel", version_id="8.4"),
    packages=(
        Package(
            ecosystem="rpm", name="python3-rpm", version="1:4.14.3-13.el8", arch="x86_64", source="rpm",
            source_version="1:4.14.3-13.el8", evidence="/var/lib/rpm/Packages", layer=LAYER,
            files=("/usr/lib64/python3.6/site-packages/rpm-4.14.3-py3.6.egg-info",), license="GPL-2.0-or-later",
        ),
        Package(
            ecosystem="pypi", name="rpm", version="4.14.3", evidence="/usr/lib64/python3.6/site-packages/rpm-4.14.3-py3.6.egg-info",
            owner="python3-rpm", license="LicenseRef-GPL AND (MIT OR Apache-2.0)",
        ),
        Package(ecosystem="rpm", name="nodejs", version="10.24.0-1.module+el8", module="nodejs:10", source="nodejs",
                source_version="10.24.0-1.module+el8"),
        Package(ecosystem="maven", name="org.apache.logging.log4j:log4j-core", version="2.14.1", evidence="/app.jar"),
        Package(ecosystem="npm", name="@babel/core", version="7.0.0", license="not & valid"),
        Package(ecosystem="golang", name="github.com/a/b/v2", version="v2.0.0+incompatible"),
        Package(ecosystem="golang", name="stdlib", version="1.22.1"),
        Package(ecosystem="composer", name="monolog/monolog", version="1.0.0"),
    ),
    skipped=(Skipped(what="a", reason="b"),),
    labels={"org.example": "x"},
    created="2026-01-01T00:00:00Z",
    history=("FROM scratch", ""),
)  # fmt: skip
PURLS = [
    "pkg:rpm/rhel/python3-rpm@4.14.3-13.el8?arch=x86_64&distro=rhel-8.4&epoch=1&upstream=rpm-4.14.3-13.el8.src.rpm",
    "pkg:pypi/rpm@4.14.3",
    "pkg:rpm/rhel/nodejs@10.24.0-1.module%2Bel8?distro=rhel-8.4&rpmmod=nodejs:10&upstream=nodejs-10.24.0-1.module%2Bel8.src.rpm",
    "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1",
    "pkg:npm/%40babel/core@7.0.0",
    "pkg:golang/github.com/a/b/v2@v2.0.0%2Bincompatible",
    "pkg:golang/stdlib@1.22.1",
    "pkg:composer/monolog/monolog@1.0.0",
]
EMPTY = Inventory(image=None, distribution=Distribution(), packages=())


def test_package_urls() -> None:
    document = render_cyclonedx(INVENTORY, NOW)
    assert [one["purl"] for one in document["components"]] == PURLS
    spdx = render_spdx(INVENTORY, NOW)
    assert [one["externalRefs"][0]["referenceLocator"] for one in spdx["packages"][1:]] == PURLS


@pytest.mark.parametrize("inventory", [INVENTORY, EMPTY])
def test_cyclonedx_is_valid_by_the_official_schema(inventory: Inventory) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = json.dumps(render_cyclonedx(inventory, NOW))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


@pytest.mark.parametrize("inventory", [INVENTORY, EMPTY])
def test_spdx_is_valid_by_the_official_library(inventory: Inventory) -> None:
    from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    document = json.loads(json.dumps(render_spdx(inventory, NOW)))
    messages = [one.validation_message for one in validate_full_spdx_document(JsonLikeDictParser().parse(document))]
    assert messages == []


def test_spdx_says_who_owns_what() -> None:
    relations = render_spdx(INVENTORY, NOW)["relationships"]
    owned = [(one["spdxElementId"], one["relatedSpdxElement"]) for one in relations if one["relationshipType"] == "OTHER"]
    assert owned == [("SPDXRef-Package-1", "SPDXRef-Package-2")]


def component(purl: str, **facts: Any) -> dict[str, Any]:
    properties = [{"name": name.replace("__", ":"), "value": value} for name, value in facts.items()]
    return {"type": "library", "name": "x", "version": "1", "purl": purl, "properties": properties}


def read(*components: dict[str, Any], version: str = "1.5") -> Inventory:
    return parse_sbom({"bomFormat": "CycloneDX", "specVersion": version, "components": list(components)})


def test_syft() -> None:
    system = {"type": "operating-system", "name": "debian", "version": "12", "properties": [
        {"name": "syft:distro:id", "value": "debian"}, {"name": "syft:distro:versionID", "value": "12"},
        {"name": "syft:distro:versionCodename", "value": "bookworm"}]}  # fmt: skip
    places = {
        "syft__location__0__path": "/usr/share/doc/libssl3/copyright", "syft__location__0__layerID": digest_of(b"no"),
        "syft__location__1__path": "/var/lib/dpkg/status", "syft__location__1__layerID": LAYER,
    }  # fmt: skip
    inventory = read(
        component("pkg:deb/debian/libssl3@3.0.11-1?arch=amd64&upstream=openssl&distro=debian-12", **places),
        component("pkg:deb/debian/libc6@2.36-9?arch=amd64", syft__metadata__source="glibc", syft__metadata__sourceVersion="2.36"),
        component("pkg:deb/debian/libtinfo6@6.4-4?upstream=ncurses%406.4-4%2Bb1"),
        component("pkg:rpm/rocky/openssl-libs@1.1.1k-15.el8?arch=x86_64&epoch=1&upstream=openssl-1.1.1k-15.el8.src.rpm"),
        component("pkg:apk/alpine/busybox-binsh@1.37.0-r20?upstream=busybox"),
        component("pkg:npm/%40babel/core@7.0.0", syft__location__0__path="/app/node_modules/@babel/core/package.json"),
        system,
    )
    assert inventory.distribution == Distribution(id="debian", version_id="12", codename="bookworm")
    found = [(one.ecosystem, one.name, one.version, one.source, one.source_version, one.evidence) for one in inventory.packages]
    assert found == [
        ("deb", "libssl3", "3.0.11-1", "openssl", "3.0.11-1", "/var/lib/dpkg/status"),
        ("deb", "libc6", "2.36-9", "glibc", "2.36", ""),
        ("deb", "libtinfo6", "6.4-4", "ncurses", "6.4-4+b1", ""),
        ("rpm", "openssl-libs", "1:1.1.1k-15.el8", "openssl", "1.1.1k-15.el8", ""),
        ("apk", "busybox-binsh", "1.37.0-r20", "busybox", "1.37.0-r20", ""),
        ("npm", "@babel/core", "7.0.0", "", "", "/app/node_modules/@babel/core/package.json"),
    ]
    assert inventory.packages[0].layer == LAYER
    assert inventory.image is None


def test_trivy() -> None:
    facts = {
        "aquasecurity__trivy__SrcName": "bash", "aquasecurity__trivy__SrcVersion": "4.2.46",
        "aquasecurity__trivy__SrcRelease": "31.el7", "aquasecurity__trivy__SrcEpoch": "1",
        "aquasecurity__trivy__LayerDiffID": LAYER, "aquasecurity__trivy__Modularitylabel": "m:1:2020:c",
    }  # fmt: skip
    lock = {"type": "application", "name": "package-lock.json", "properties": [
        {"name": "aquasecurity:trivy:Class", "value": "lang-pkgs"}]}  # fmt: skip
    inventory = read(
        {"type": "operating-system", "name": "debian", "version": "12.13"},
        component("pkg:rpm/centos/bash-doc@4.2.46-31.el7?arch=x86_64&distro=centos-7.6.1810&epoch=1", **facts),
        component("pkg:pypi/flask@2.0", aquasecurity__trivy__FilePath="usr/lib/flask.dist-info/METADATA"),
        lock,
        {"type": "library", "name": "bundled", "version": "1"},
        version="1.7",
    )
    assert inventory.distribution == Distribution(id="debian", version_id="12", codename="bookworm"), (
        "the point release is not os-release's"
    )
    bash, flask = inventory.packages
    assert (bash.version, bash.source, bash.source_version) == ("1:4.2.46-31.el7", "bash", "1:4.2.46-31.el7")
    assert (bash.module, bash.layer) == ("m:1", LAYER)
    assert flask.evidence == "/usr/lib/flask.dist-info/METADATA"
    assert [one.what for one in inventory.skipped] == ["component bundled 1"], (
        "what has no purl is counted; a lock file is no package"
    )


def test_spdx_of_other_tools() -> None:
    def package(id_: str, purl: str, **more: Any) -> dict[str, Any]:
        refs = [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}] if purl else []
        return {"SPDXID": id_, "name": id_, "versionInfo": "1", "externalRefs": refs} | more

    def relation(from_: str, type_: str, to: str, comment: str = "") -> dict[str, str]:
        return {"spdxElementId": from_, "relationshipType": type_, "relatedSpdxElement": to, "comment": comment}

    note = [{"annotator": "Tool: trivy-dev", "comment": "SrcName: python3-src"}]
    inventory = parse_sbom({
        "spdxVersion": "SPDX-2.3",
        "packages": [
            package("p3", "pkg:rpm/rhel/python3-urllib3@1.24.2-5.el8?distro=rhel-8.4", annotations=note),
            package("url", "pkg:pypi/urllib3@1.24.2", licenseDeclared="MIT", licenseConcluded="NOASSERTION"),
            package("six", "pkg:pypi/six@1"),
            package("os", "", primaryPackagePurpose="OPERATING-SYSTEM", name="redhat", versionInfo="8.4"),
            package("image", "pkg:oci/x@sha256:1", primaryPackagePurpose="CONTAINER"),
        ],
        "files": [{"SPDXID": "f1", "fileName": "usr/lib/six.egg-info"}],
        "relationships": [
            relation("p3", "OTHER", "url", "ownership-by-file-overlap: the parent claims the child"),
            relation("p3", "CONTAINS", "f1"), relation("six", "CONTAINS", "f1"),
        ],
    })  # fmt: skip
    rpm, urllib, six = inventory.packages
    assert inventory.distribution == Distribution(id="rhel", version_id="8.4")
    assert (rpm.source, rpm.files) == ("python3-src", ("/usr/lib/six.egg-info",))
    assert (urllib.owner, urllib.license) == ("p3", "MIT")
    assert (six.owner, six.evidence) == ("python3-urllib3", "/usr/lib/six.egg-info"), "its evidence is a file of the RPM"
    assert inventory.skipped == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"bomFormat": "CycloneDX", "specVersion": "1.3"}', "CycloneDX 1.3 is not read"),
        ('{"bomFormat": "CycloneDX",\n "specVersion": 1}', "$.specVersion"),
        ('{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"name": "a"}, {"name": 1}]}', "$.components[1].name"),
        ('{"bomFormat":\n  oops}', "x:2:3"),
        ('{"bomFormat": "CycloneDX", "bomFormat": "CycloneDX"}', "twice"),
        ('{"spdxVersion": "SPDX-3.0"}', "SPDX-3.0 is not read"),
        ('{"bomformat": "CycloneDX"}', "did you mean 'bomFormat'?"),
        ("[]", "no JSON object"),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_sbom_text(text.encode(), "x")
    assert words in caught.value.line()


def test_an_annotation_that_says_something_else_is_refused() -> None:
    document = render_spdx(INVENTORY, NOW)
    document["packages"][1]["versionInfo"] = "9"
    with pytest.raises(InputError, match="says two things"):
        parse_sbom(document)


def test_the_release_that_most_package_urls_name() -> None:
    distros = ("bookworm", "bookworm", "debian-11")
    named = read(*(component(f"pkg:deb/debian/a{number}@1?distro={one}") for number, one in enumerate(distros)))
    assert named.distribution == Distribution(id="debian", version_id="12", codename="bookworm")
    assert read(component("pkg:deb/ubuntu/a@1?distro=ubuntu-22.04")).distribution.codename == "jammy"
    assert read(component("pkg:npm/a@1")).distribution == Distribution()


def test_sboms_are_told_from_tars() -> None:
    assert looks_like_sbom(b"\xef\xbb\xbf\n { ")
    assert not looks_like_sbom(b"\x1f\x8b")
    assert not looks_like_sbom(b"")


def test_licences() -> None:
    assert license_words("MIT OR (Apache-2.0 AND GPL-2.0-only WITH Classpath-exception-2.0)") == [
        "MIT",
        "Apache-2.0",
        "GPL-2.0-only",
    ]
    for text in ("", "MIT OR", "(MIT", "MIT)", "MIT BSD", "a/b", "AND", "MIT WITH (A)"):
        assert license_words(text) is None, text
    assert license_of_names(["MIT", "Apache-2.0 OR BSD-3-Clause", "MIT", "The X/Y License!"]) == (
        "MIT AND (Apache-2.0 OR BSD-3-Clause) AND LicenseRef-The-X-Y-License"
    )
