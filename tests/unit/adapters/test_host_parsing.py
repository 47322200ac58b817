"""What the host's configuration and the user's words mean: routes, registries, pockets."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from shipwall.adapters.base_system import Pocket, choose_pockets
from shipwall.adapters.cgroup_folders import cgroup_folders
from shipwall.adapters.instance import Instance
from shipwall.adapters.private_engine import PrivateEngine
from shipwall.adapters.private_network import choose_networks, parse_routes
from shipwall.adapters.registry import fallback_tag, parse_registry
from shipwall.model.errors import InputError, RemoteError, UnsupportedError

ROUTES = """Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
vpn0\t0000000A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
vpn1\t0000800A\t00000000\t0001\t0\t0\t0\t000080FF\t0\t0\t0
"""


def test_networks_meet_no_route() -> None:
    taken = parse_routes(ROUTES)
    assert taken == [ipaddress.ip_network("10.0.0.0/16"), ipaddress.ip_network("10.128.0.0/9")]
    for _ in range(50):
        bridge, pool = choose_networks(ROUTES)
        used = [ipaddress.ip_network(bridge, strict=False), ipaddress.ip_network(pool.removeprefix("base=").partition(",")[0])]
        assert not used[0].overlaps(used[1])
        assert not any(network.overlaps(other) for network in used for other in taken)
    with pytest.raises(UnsupportedError, match="no free network"):
        choose_networks(ROUTES + "x\t0000000A\t0\t0\t0\t0\t0\t000000FF\t0\t0\t0\n")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("localhost:5000", "http://localhost:5000"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("registry.example", "https://registry.example"),
        ("https://registry.example:5000/", "https://registry.example:5000"),
    ],
)
def test_registry_addresses(text: str, url: str) -> None:
    assert parse_registry(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://registry.example",
        "a/b",
        "ftp://127.0.0.1",
        "127.0.0.1:99999",
        "u:p@127.0.0.1",
        "127.0.0.1?x",
        "http://[::1",
        "a b",
    ],
)
def test_registry_addresses_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"is not host:port|plain HTTP|is not http"):
        parse_registry(text)


def test_plain_http_elsewhere_only_on_purpose() -> None:
    assert parse_registry("http://registry.example", allow_http=True) == "http://registry.example"
    assert fallback_tag("sha256:" + "a" * 64) == "sha256-" + "a" * 64


TARGETS = """http://other.example/x/|stable|main|stable
http://archive.example/d/|suite|main|suite
http://archive.example/d/|suite|contrib|suite
http://archive.example/d/|suite-updates|main|suite-updates
http://archive.example/s/|suite-security|main|suite-security
"""


def test_pockets_of_the_distribution_only() -> None:
    release = Pocket("http://archive.example/d/", "suite", "main contrib", "/k.gpg")
    security = Pocket("http://archive.example/s/", "suite-security", "main", "/k.gpg")
    assert choose_pockets(TARGETS, "suite", "/k.gpg", security=False) == (release,)
    assert choose_pockets(TARGETS, "", "/k.gpg", security=True) == (release, security)
    assert release.line == "deb [signed-by=/k.gpg] http://archive.example/d/ suite main contrib"
    only = "http://archive.example/d/|stable|main|suite\n"
    assert [pocket.suite for pocket in choose_pockets(only, "suite", "/k", security=False)] == ["stable"]
    for targets, wants in ((only, True), ("", False), ("nonsense", False)):
        with pytest.raises(UnsupportedError, match="base image: apt is configured for no"):
            choose_pockets(targets, "suite", "/k", security=wants)


def test_state_folders_that_cannot_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="another one inside"):
        PrivateEngine(Instance(Path("/run/x")))._check_paths()
    with pytest.raises(InputError, match="too long"):
        PrivateEngine(Instance(Path("/srv") / ("x" * 90)))._check_paths()
    engine = PrivateEngine(Instance(tmp_path))
    assert engine.status() is None
    assert engine.take_away() == []
    with pytest.raises(RemoteError, match="is not running; start it"):
        _ = engine.registry
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "/", "/docker", "/shipwall-x/y", "/../shipwall-x"])
def test_cgroups_of_others_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="is not one of Shipwall's"):
        cgroup_folders(name)
