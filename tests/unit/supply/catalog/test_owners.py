"""Language packages that belong to the distribution, and those that only look so."""

from __future__ import annotations

import io

import pytest
from tests.images import OS_RELEASE, debian_files, dpkg_paragraph, make_tar
from tests.jars import maven_jar

from shipwall.model.package import Package
from shipwall.supply.catalog import list_packages, make_view
from shipwall.supply.catalog.owners import is_of_distribution

EGG_INFO = "usr/lib/python3/dist-packages/urllib3-1.26.12.egg-info/PKG-INFO"
METADATA = b"Metadata-Version: 2.1\nName: urllib3\nVersion: 1.26.12\nLicense: MIT\n"


def owners_in(*layers: dict[str, bytes | str | None]) -> dict[str, str]:
    view = make_view()
    for number, files in enumerate(layers):
        view.add_layer(io.BytesIO(make_tar(files)), f"layer{number}", "layer")
    packages = list_packages(view, None, {}).packages
    return {package.name: package.owner for package in packages if package.ecosystem != "deb"}


def test_a_debian_package_owns_its_python_metadata() -> None:
    files = debian_files({"python3-urllib3": "1.26.12-1+deb12u1"}, {"python3-urllib3": [f"/{EGG_INFO}"]})
    files |= {
        EGG_INFO: METADATA,
        "usr/local/lib/python3.11/dist-packages/urllib3-2.0.dist-info/METADATA": b"Name: urllib3-new\nVersion: 2.0",
    }
    assert owners_in(files) == {"urllib3": "python3-urllib3", "urllib3-new": ""}


def test_the_split_status_of_images_without_dpkg() -> None:
    assert owners_in({
        "usr/lib/os-release": OS_RELEASE,
        "var/lib/dpkg/status.d/python3-urllib3": b"Package: python3-urllib3\nVersion: 1.26.12-1\nArchitecture: all\n",
        "var/lib/dpkg/status.d/python3-urllib3.md5sums": f"d41d8cd98f00b204e9800998ecf8427e  {EGG_INFO}\n".encode(),
        EGG_INFO: METADATA,
    }) == {"urllib3": "python3-urllib3"}  # fmt: skip


def test_paths_through_merged_folders() -> None:
    files = debian_files({"tool": "1"}, {"tool": ["/bin/tool.jar"]})
    del files["bin/tool.jar"]
    files["usr/bin/tool.jar"] = maven_jar("g", "outer", "1", {"lib/inner.jar": maven_jar("g", "inner", "2")})
    assert owners_in(files) == {"g:outer": "tool", "g:inner": "tool"}


def test_apk_owns_too() -> None:
    path = "usr/lib/python3.8/site-packages/Django-1.11.29-py3.8.egg-info/PKG-INFO"
    database = f"P:py3-django\nV:1.11.29-r2\nF:{path.rpartition('/')[0]}\nR:PKG-INFO\n\n".encode()
    found = owners_in({"lib/apk/db/installed": database, path: b"Metadata-Version: 1\nName: Django\nVersion: 1.11.29\n"})
    assert found["Django"] == "py3-django"


def test_a_vendors_package_does_not_own_in_this_sense() -> None:
    gem = "opt/gitlab/embedded/lib/ruby/gems/2.7.0/specifications/nokogiri-1.13.8.gemspec"
    files = debian_files({"gitlab-ce": "15.4.2-ce.0"}, {"gitlab-ce": [f"/{gem}"]})
    files[gem] = b's.name = "nokogiri"\ns.version = "1.13.8"\n'
    assert owners_in(files) == {"nokogiri": ""}


def test_a_vendors_package_below_usr_does_not_either() -> None:
    files = debian_files({"python3-urllib3": "1.26.12-1.pgdg120+1"}, {"python3-urllib3": [f"/{EGG_INFO}"]})
    assert owners_in(files | {EGG_INFO: METADATA}) == {"urllib3": ""}


def test_a_replaced_package_is_no_longer_there() -> None:
    lower = debian_files({"python3-urllib3": "1.26.12-1"}, {"python3-urllib3": [f"/{EGG_INFO}"]}) | {EGG_INFO: METADATA}
    removed: dict[str, bytes | str | None] = {f"{EGG_INFO.rpartition('/')[0]}/.wh.PKG-INFO": b"", "var/lib/dpkg/status": b""}
    assert owners_in(lower, removed) == {}


@pytest.mark.parametrize(
    ("vendor", "expected"),
    [("Red Hat, Inc.", True), ("AlmaLinux", True), ("CentOS", True), ("SUSE LLC <https://www.suse.com/>", True), ("Fedora Project", True),
     ("Docker", False), ("", False), ("GitLab, Inc.", False)],
)  # fmt: skip
def test_vendors_of_rpms(vendor: str, expected: bool) -> None:
    assert is_of_distribution(Package(ecosystem="rpm", name="a", version="1", vendor=vendor)) is expected


def test_licences_of_debian_packages_come_from_their_copyright_files() -> None:
    files = debian_files({})
    files["var/lib/dpkg/status"] = dpkg_paragraph("libfoo1", "1") + dpkg_paragraph("libfoo-dev", "1") + dpkg_paragraph("old", "1")
    files["usr/share/doc/libfoo1/copyright"] = (
        b"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nCopyright: x\nLicense: GPL-2+\n text\n\n"
        b"Files: debian/*\nLicense: Expat\n\nFiles: a\nLicense: GPL-2+\n\nLicense: Apache-2.0\n only the text\n"
    )
    files["usr/share/doc/libfoo-dev"] = "libfoo1"
    files["usr/share/doc/old/copyright"] = b"This package is GPL-2+.\nLicense: MIT\n"
    view = make_view()
    view.add_layer(io.BytesIO(make_tar(files)), "layer", "layer")
    assert {package.name: package.license for package in list_packages(view, None, {}).packages} == {
        "libfoo1": "GPL-2.0-or-later AND MIT",
        "libfoo-dev": "GPL-2.0-or-later AND MIT",
        "old": "",
    }


def test_folders_that_a_slim_image_leaves_out_are_no_files() -> None:
    listed = [
        "/.",
        "/usr",
        "/usr/bin",
        "/usr/bin/tool",
        "/usr/share",
        "/usr/share/man",
        "/usr/share/man/man1",
        "/usr/share/man/man1/tool.1.gz",
    ]
    files = debian_files({"tool": "1"}, {"tool": listed})
    view = make_view()
    view.add_layer(
        io.BytesIO(make_tar({name: data for name, data in files.items() if "/share/man" not in name})), "layer0", "layer"
    )
    (package,) = list_packages(view, None, {}).packages
    assert package.files == ("/usr/bin/tool", "/usr/share/man/man1/tool.1.gz")
