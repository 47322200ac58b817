"""package.json."""

from __future__ import annotations

import json

import pytest

from shipwall.model.errors import InputError
from shipwall.supply.catalog.npm import parse_npm

PATH = "usr/lib/node_modules/@npmcli/fs/package.json"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"name": "@npmcli/fs", "version": "5.0.0", "license": "ISC"}, ("@npmcli/fs", "5.0.0", "ISC")),
        ({"name": "a", "version": "v1.2.3-beta.1+build"}, ("a", "1.2.3-beta.1+build", "")),
        (
            {"name": "JSONStream", "version": "1.3.5", "license": "(MIT OR Apache-2.0)"},
            ("JSONStream", "1.3.5", "MIT OR Apache-2.0"),
        ),
        (
            {"name": "a", "version": "1.0.0", "licenses": [{"type": "MIT"}, {"type": "GPLv2"}]},
            ("a", "1.0.0", "MIT OR GPL-2.0-only"),
        ),
        ({"name": "a", "version": "1.0.0", "license": {"type": "BSD"}}, ("a", "1.0.0", "LicenseRef-BSD")),
    ],
)
def test_packages(content: object, expected: tuple[str, str, str]) -> None:
    (package,), _ = parse_npm(PATH, b"\xef\xbb\xbf" + json.dumps(content).encode())
    assert (package.ecosystem, package.name, package.version, package.license) == ("npm", *expected)
    assert package.evidence == f"/{PATH}"


@pytest.mark.parametrize(
    "content",
    [{}, {"name": "a"}, {"version": "1.0.0"}, {"name": "", "version": "1.0.0"}, {"name": "a", "version": "latest"}, {"type": "module"},
     {"name": "a b", "version": "1.0.0"}, {"name": "../a", "version": "1.0.0"}, {"name": ["a"], "version": {"x": 1}}],
)  # fmt: skip
def test_fixtures_and_markers_are_no_packages(content: object) -> None:
    assert parse_npm(PATH, json.dumps(content).encode()) == ([], [])


def test_a_broken_file_is_told_only_where_a_package_lies() -> None:
    with pytest.raises(InputError):
        parse_npm(PATH, b"{")
    assert parse_npm("app/node_modules/resolve/test/broken/package.json", b"{") == ([], [])
