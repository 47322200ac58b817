"""dpkg's files and os-release become packages and a distribution."""

from __future__ import annotations

import io

from tests.images import OS_RELEASE, debian_files, dpkg_paragraph, make_tar

from shipwall.model.package import Distribution, Inventory
from shipwall.supply.catalog import list_packages, make_view
from shipwall.supply.catalog.os_release import parse_os_release


def inventory_of(*layers: dict[str, bytes | str | None]) -> Inventory:
    view = make_view()
    for number, files in enumerate(layers):
        view.add_layer(io.BytesIO(make_tar(files)), f"layer{number}", "layer")
    return list_packages(view, None, {})


def test_packages_their_evidence_and_the_distribution() -> None:
    found = inventory_of(debian_files({"zlib1g": "1:1.2.13-1", "bash": "5.2-2+b7"}))
    assert found.distribution == Distribution(id="debian", version_id="12", codename="bookworm")
    assert [(one.name, one.version, one.arch, one.evidence, one.layer) for one in found.packages] == [
        ("bash", "5.2-2+b7", "amd64", "/var/lib/dpkg/status", "layer0"),
        ("zlib1g", "1:1.2.13-1", "amd64", "/var/lib/dpkg/status", "layer0"),
    ]
    assert found.skipped == ()


def test_owned_files_are_where_they_really_lie_and_folders_are_left_out() -> None:
    files = debian_files(
        {"bash": "5"}, {"bash": ["/usr", "/usr/bin", "/bin", "/bin/bash", "/etc", "/etc/bash.rc", "/usr/bin/gone"]}
    )
    del files["usr/bin/gone"]
    assert inventory_of(files).packages[0].files == ("/etc/bash.rc", "/usr/bin/bash", "/usr/bin/gone")


def test_the_list_of_the_architecture_is_preferred_and_conffiles_count() -> None:
    files = debian_files({})
    files["var/lib/dpkg/status"] = dpkg_paragraph("libc6", "2.36").replace(
        b"Desc", b"Conffiles:\n /etc/ld.conf 0123 obsolete\nDesc"
    )
    files |= {"var/lib/dpkg/info/libc6:amd64.list": b"/lib/libc.so\n", "var/lib/dpkg/info/libc6.list": b"/wrong\n"}
    assert inventory_of(files).packages[0].files == ("/etc/ld.conf", "/lib/libc.so")


def test_sources() -> None:
    files = debian_files({})
    status = dpkg_paragraph("libssl3", "3.0.2-1", source="openssl") + dpkg_paragraph("dash", "0.5-2+b1", source="dash (0.5-2)")
    files["var/lib/dpkg/status"] = status
    assert [(one.source, one.source_version) for one in inventory_of(files).packages] == [
        ("dash", "0.5-2"),
        ("openssl", "3.0.2-1"),
    ]


def test_removed_packages_are_no_packages_and_strange_ones_are_told() -> None:
    files = debian_files({})
    gone = dpkg_paragraph("gone", "1").replace(b"install ok installed", b"deinstall ok config-files")
    half = dpkg_paragraph("half", "1").replace(b"install ok installed", b"install ok half-configured")
    odd = dpkg_paragraph("odd", "not a version!") + b"Package: nameless\nArchitecture: all\n\n"
    files["var/lib/dpkg/status"] = gone + half + odd
    found = inventory_of(files)
    assert [one.name for one in found.packages] == ["half"]
    assert [one.what for one in found.skipped] == ["package odd", "/var/lib/dpkg/status paragraph 4"]


def test_split_status_of_images_without_dpkg() -> None:
    found = inventory_of({
        "usr/lib/os-release": OS_RELEASE,
        "var/lib/dpkg/status.d/base": b"Package: base-files\nVersion: 12.4\nArchitecture: amd64\n",
        "var/lib/dpkg/status.d/base.md5sums": b"d41d8cd98f00b204e9800998ecf8427e  etc/issue\n",
    })  # fmt: skip
    assert [(one.name, one.evidence, one.files) for one in found.packages] == [
        ("base-files", "/var/lib/dpkg/status.d/base", ("/etc/issue",))
    ]


def test_a_later_layer_replaces_the_list() -> None:
    found = inventory_of(debian_files({"a": "1", "tcpdump": "4"}), {"var/lib/dpkg/status": dpkg_paragraph("a", "2")})
    assert [(one.name, one.version, one.layer) for one in found.packages] == [("a", "2", "layer1")]


def test_an_image_without_packages_says_so() -> None:
    found = inventory_of({"etc/os-release": b"ID=alpine\nVERSION_ID=3.19\n"})
    assert [one.what for one in found.skipped] == ["alpine"]
    moved = inventory_of({"var/lib/dpkg": "../elsewhere"})
    assert moved.skipped[0].what == "/var/lib/dpkg"


def test_a_distribution_without_its_packages_is_told_even_with_others() -> None:
    package = {"app/node_modules/a/package.json": b'{"name": "a", "version": "1.0.0"}'}
    found = inventory_of({"etc/os-release": b"ID=void\n", "var/lib/rpm": "../elsewhere", **package})
    assert [one.what for one in found.skipped] == ["/var/lib/rpm", "void"]
    assert inventory_of({**package}).skipped == ()


def test_os_release_quoting() -> None:
    text = b"# c\nID='debian'\nVERSION_ID=\"12\"\nVERSION_CODENAME=book\\worm\nID_LIKE\n=x\n"
    assert parse_os_release(text) == Distribution(id="debian", version_id="12", codename="bookworm")


def test_labels_and_creation_time_come_from_the_configuration() -> None:
    config = {"created": "2026-01-01T00:00:00Z", "config": {"Labels": {"a": "b", "bad": 1}}}
    found = list_packages(make_view(), None, config)
    assert (found.labels, found.created) == ({"a": "b"}, "2026-01-01T00:00:00Z")
    assert list_packages(make_view(), None, {"created": 3, "config": {"Labels": []}}).labels == {}
