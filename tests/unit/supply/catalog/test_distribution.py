"""Which distribution an image is of, and whether it is still supported."""

from __future__ import annotations

import datetime as dt
import io

import pytest
from tests.images import make_tar

from shipwall.model.package import Distribution
from shipwall.supply.catalog import make_view
from shipwall.supply.catalog.os_release import find_distribution
from shipwall.supply.distributions import end_of_life, end_of_life_notice


def at(date: str) -> int:
    return int(dt.datetime.fromisoformat(f"{date}T12:00:00+00:00").timestamp()) * 1_000_000_000


def found(files: dict[str, bytes | str | None]) -> Distribution:
    view = make_view()
    view.add_layer(io.BytesIO(make_tar(files)), "layer", "layer")
    return find_distribution(view)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"etc/os-release": "../usr/lib/os-release", "usr/lib/os-release": b'ID="rocky"\nVERSION_ID="8.5"\n'}, ("rocky", "8.5", "")),
        ({"etc/centos-release": b"CentOS release 6.10 (Final)\n", "etc/redhat-release": "centos-release"}, ("centos", "6.10", "")),
        ({"etc/redhat-release": b"Red Hat Enterprise Linux Server release 6.9 (Santiago)\n"}, ("rhel", "6.9", "")),
        ({"etc/oracle-release": b"Oracle Linux Server release 6.10\n", "etc/redhat-release": b"Red Hat Enterprise release 6\n"},
         ("ol", "6.10", "")),
        ({"etc/alpine-release": b"3.10.4\n"}, ("alpine", "3.10.4", "")),
        ({"etc/lsb-release": b"DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=12.04\nDISTRIB_CODENAME=precise\n"}, ("ubuntu", "12.04", "precise")),
        ({"etc/debian_version": b"7.11\n"}, ("debian", "7", "")),
        ({"etc/debian_version": b"trixie/sid\n"}, ("", "", "")),
        ({"bin/busybox": b""}, ("", "", "")),
    ],
)  # fmt: skip
def test_distributions(files: dict[str, bytes | str | None], expected: tuple[str, str, str]) -> None:
    one = found(files)
    assert (one.id, one.version_id, one.codename) == expected


@pytest.mark.parametrize(
    ("id_", "version", "date", "ended"),
    [
        ("debian", "10", "2024-06-30", False),
        ("debian", "10", "2024-07-01", True),
        ("ubuntu", "22.04", "2026-01-01", False),
        ("ubuntu", "18.04", "2023-06-01", True),
        ("alpine", "3.10.4", "2021-05-02", True),
        ("alpine", "3.20.1", "2025-01-01", False),
        ("almalinux", "8.5", "2026-01-01", False),
        ("rocky", "9.1", "2026-01-01", False),
        ("rhel", "7.9", "2024-07-01", True),
        ("centos", "7", "2024-07-01", True),
        ("amzn", "2018.03", "2024-01-01", True),
        ("amzn", "2", "2026-06-30", False),
        ("fedora", "35", "2023-01-01", True),
        ("opensuse-leap", "15.1", "2021-02-03", True),
        ("sles", "12.4", "2021-01-01", True),
        ("sles", "15", "2020-01-01", True),
        ("photon", "3.0", "2024-03-02", True),
        ("wolfi", "20230201", "2030-01-01", False),
        ("opensuse-tumbleweed", "20240523", "2030-01-01", False),
    ],
)
def test_ends(id_: str, version: str, date: str, ended: bool) -> None:
    one = end_of_life(Distribution(id=id_, version_id=version), at(date))
    assert one is not None
    assert one.ended is ended
    assert one.source.startswith("https://")


@pytest.mark.parametrize(
    "one",
    [
        Distribution(),
        Distribution(id="nix", version_id="1"),
        Distribution(id="debian", version_id="99"),
        Distribution(id="fedora"),
    ],
)
def test_unknown_stays_unknown(one: Distribution) -> None:
    assert end_of_life(one, at("2026-01-01")) is None
    assert end_of_life_notice(one, at("2026-01-01")) == ""


def test_the_notice_says_what_ends_and_what_goes_on() -> None:
    text = end_of_life_notice(Distribution(id="debian", version_id="10"), at("2026-01-01"))
    assert text.startswith("Debian 10 gets no security updates since 2024-06-30")
    assert "until 2029-06-30" in text
    assert end_of_life_notice(Distribution(id="debian", version_id="13"), at("2026-01-01")) == ""
    assert end_of_life(Distribution(id="debian", codename="buster"), at("2026-01-01")) is not None
