"""Package URLs of our packages, and packages in the URLs that others write."""

from __future__ import annotations

import pytest

from shipwall.model.errors import InputError
from shipwall.model.package import Distribution, Package
from shipwall.supply.purl import distribution_of, make_purl, package_of, parse_purl, purl_of

DEBIAN = Distribution(id="debian", version_id="12", codename="bookworm")


@pytest.mark.parametrize(
    ("package", "text"),
    [
        (Package(ecosystem="deb", name="g++", version="1:12-1", arch="amd64"), "pkg:deb/debian/g%2B%2B@1:12-1?arch=amd64&distro=debian-12"),
        (Package(ecosystem="rpm", name="bash", version="1:5-1.el8"), "pkg:rpm/debian/bash@5-1.el8?distro=debian-12&epoch=1"),
        (Package(ecosystem="npm", name="@babel/core", version="7.0.0"), "pkg:npm/%40babel/core@7.0.0"),
        (Package(ecosystem="maven", name="org.x:y", version="1"), "pkg:maven/org.x/y@1"),
        (Package(ecosystem="golang", name="github.com/a/b", version="v1.0.0"), "pkg:golang/github.com/a/b@v1.0.0"),
        (Package(ecosystem="golang", name="stdlib", version="1.21"), "pkg:golang/stdlib@1.21"),
        (Package(ecosystem="composer", name="a/b", version="1"), "pkg:composer/a/b@1"),
        (Package(ecosystem="pypi", name="zope.interface", version="5"), "pkg:pypi/zope.interface@5"),
    ],
)  # fmt: skip
def test_our_packages(package: Package, text: str) -> None:
    assert purl_of(package, DEBIAN) == text
    assert package_of(parse_purl(text)) == package


def test_source_and_module_in_urls_of_others() -> None:
    deb = package_of(parse_purl("pkg:deb/debian/libc6@2.36-9?upstream=glibc%402.36-8"))
    assert (deb.source, deb.source_version) == ("glibc", "2.36-8")
    rpm = package_of(parse_purl("pkg:rpm/redhat/npm@8-1?upstream=nodejs-16-1.el8.src.rpm&rpmmod=nodejs:16:8060:ad0"))
    assert (rpm.source, rpm.source_version, rpm.module) == ("nodejs", "16-1.el8", "nodejs:16")
    assert package_of(parse_purl("pkg:rpm/redhat/npm@8-1?upstream=odd")).source == ""


def test_distribution_of_a_url() -> None:
    assert distribution_of(parse_purl("pkg:deb/debian/a@1?distro=debian-12.13")) == Distribution(id="debian", version_id="12.13")
    assert distribution_of(parse_purl("pkg:deb/debian/a@1?distro=bookworm")) == Distribution(id="debian", codename="bookworm")
    assert distribution_of(parse_purl("pkg:rpm/a@1?distro=opensuse-leap-15.5")) == Distribution(
        id="opensuse-leap", version_id="15.5"
    )
    assert distribution_of(parse_purl("pkg:npm/a@1?distro=debian-12")) == Distribution()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("deb/debian/a@1", "does not begin with 'pkg:'"),
        ("pkg:deb/", "has no name"),
        ("pkg:deb/a?x=1&x=2", "twice"),
        ("pkg:deb/%ff", "not UTF-8"),
        ("pkg:deb/" + "a" * 9000, "longer than"),
        ("pkg:swift/a@1", "needs a namespace"),
        ("pkg:cargo/a/b@1", "may not have a namespace"),
        ("pkg:julia/Dates@1", "needs the qualifier uuid"),
        ("pkg:1a/b", "a type is"),
    ],
)
def test_refusals_say_why(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        parse_purl(text)


def test_what_an_npm_scope_looks_like_when_nobody_encoded_it() -> None:
    assert parse_purl("pkg:npm/@babel/core@7") == make_purl("npm", "core", namespace="@babel", version="7")
