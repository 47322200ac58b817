"""Hosts that rules name."""

from __future__ import annotations

from shipwall.adapters.names import resolve_names


def test_names_are_found_by_their_addresses_and_odd_ones_have_none() -> None:
    found = resolve_names(["localhost", "127.0.0.1", "no-such-host.invalid", "x" * 300, "a\u0000b"])
    assert set(found["127.0.0.1"]) == {"127.0.0.1", "localhost"}
    assert all("invalid" not in name for names in found.values() for name in names)
