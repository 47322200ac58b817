"""Packages of vendors are told from the distribution's own; in doubt they are the distribution's."""

from __future__ import annotations

import subprocess

import pytest

from shipwall.model.package import Distribution, Inventory, Package
from shipwall.supply.makers import maker_of, not_of_distribution
from shipwall.supply.match import find_updates


def deb(name: str, version: str, vendor: str = "") -> Package:
    return Package(ecosystem="deb", name=name, version=version, arch="amd64", source=name, source_version=version, vendor=vendor)


@pytest.mark.parametrize(
    "package",
    [
        deb("docker-ce", "5:24.0.7-1~debian.12~bookworm", "Docker <support@docker.com>"),
        deb("docker-ce-cli", "5:24.0.7-1~ubuntu.22.04~jammy"),
        deb("containerd.io", "1.6.24-1", "Containerd team <support@docker.com>"),
        deb("nginx", "1.25.3-1~bookworm", "NGINX Packaging <nginx-packaging@f5.com>"),
        deb("postgresql-16", "16.1-1.pgdg120+1", "Debian PostgreSQL Maintainers <team+postgresql@tracker.debian.org>"),
        deb("nodejs", "20.10.0-1nodesource1", "Ivan Iguaran <ivan@nodesource.com>"),
        deb("php8.2-cli", "8.2.13-1+0~20231126.10+debian12~1.gbp9f3ec9+deb.sury.org~1"),
        deb("google-chrome-stable", "119.0.6045.159-1", "Chrome Linux Team <chromium-dev@chromium.org>"),
        deb("mysql-community-client", "8.0.35-1debian12", "MySQL Release Engineering <mysql-build@oss.oracle.com>"),
    ],
    ids=lambda package: package.name,
)
def test_a_vendors_package_is_named(package: Package) -> None:
    said = not_of_distribution(package)
    assert said is not None
    assert said.reason.startswith("not of this distribution")
    assert package.name in said.what
    _updates, skipped = find_updates(Inventory(image=None, distribution=Distribution(), packages=(package,)), [])
    assert skipped == [said], "the archive's silence is no clean bill either"


@pytest.mark.parametrize(
    "package",
    [
        deb("e2fsprogs", "1.47.0-2", "Theodore Y. Ts'o <tytso@mit.edu>"),
        deb("tool", "1.0-1", "Brandon Weeks <bweeks@google.com>"),
        deb("elogind", "246.10-1debian1"),
        deb("linux-image-6.1.0", "6.1.140-1~bpo12+1"),
        deb("libssl3", "3.0.11-1~deb12u2", "Debian OpenSSL Team <pkg-openssl-devel@alioth-lists.debian.net>"),
        deb("nginx", "1.22.1-9", "Somebody who writes @docker.com in his name <a@debian.org>"),
        deb("nothing-said", "1.0-1"),
        Package(ecosystem="rpm", name="nginx", version="1.25.3-1~bookworm", vendor="x@docker.com"),
    ],
    ids=lambda package: package.name,
)
def test_in_doubt_it_is_the_distributions(package: Package) -> None:
    assert maker_of(package) == ""


def test_no_package_of_this_hosts_debian_is_called_a_vendors() -> None:
    """Debian's own lists, as apt keeps them; those of other archives on this host are not asked."""
    command = ["apt-get", "indextargets", "--format", "$(FILENAME)", "Origin: Debian", "Created-By: Packages"]
    files = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.split()
    listed = [
        subprocess.run(
            ["/usr/lib/apt/apt-helper", "cat-file", file], capture_output=True, text=True, timeout=60, check=True
        ).stdout
        for file in files
    ]
    found = [
        dict(line.split(": ", 1) for line in one.splitlines() if line.startswith(("Package: ", "Version: ", "Maintainer: ")))
        for text in listed
        for one in text.split("\n\n")
        if one.strip()
    ]
    if len(found) < 1000:
        pytest.skip("apt has no list of Debian's archive here")
    assert [one["Package"] for one in found if maker_of(deb(one["Package"], one["Version"], one.get("Maintainer", "")))] == []
