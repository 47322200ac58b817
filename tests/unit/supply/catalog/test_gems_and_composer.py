"""Ruby gems' specifications and Composer's list."""

from __future__ import annotations

import json

import pytest

from shipwall.model.errors import InputError
from shipwall.supply.catalog.composer import parse_composer
from shipwall.supply.catalog.gems import parse_gem

# As RubyGems writes it.
RACK = b"""# -*- encoding: utf-8 -*-
# stub: rack 2.2.3 ruby lib

Gem::Specification.new do |s|
  s.name = "rack".freeze
  s.version = "2.2.3"

  s.required_rubygems_version = Gem::Requirement.new(">= 0".freeze) if s.respond_to? :required_rubygems_version=
  s.authors = ["Leah Neukirchen".freeze]
  s.licenses = ["MIT".freeze]
  s.rubygems_version = "3.1.2".freeze
end
"""


def test_a_written_specification() -> None:
    (package,), _ = parse_gem("var/lib/gems/2.7.0/specifications/rack-2.2.3.gemspec", RACK)
    assert (package.ecosystem, package.name, package.version, package.license) == ("gem", "rack", "2.2.3", "MIT")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("spec.name='a'\nspec.version=%q<1.0>\nspec.license = 'Ruby'", ("a", "1.0", "Ruby")),
        ("s.name = %q{a}\ns.version = Gem::Version.new '2.0.rc1'\ns.licenses = ['Ruby', 'BSD-2-Clause']",
         ("a", "2.0.rc1", "Ruby OR BSD-2-Clause")),
        ("s.name = 'json'\ns.version = Json::VERSION", ("json", "2.6.1", "")),
    ],
)  # fmt: skip
def test_other_spellings(lines: str, expected: tuple[str, str, str]) -> None:
    (package,), _ = parse_gem("usr/lib/ruby/gems/3.1.0/specifications/default/json-2.6.1.gemspec", lines.encode())
    assert (package.name, package.version, package.license) == expected


def test_the_platform_in_a_name_is_no_version() -> None:
    (package,), _ = parse_gem("specifications/nokogiri-1.13.8-x86_64-linux.gemspec", b"s.name = NAME")
    assert (package.name, package.version) == ("nokogiri", "1.13.8")


def test_a_computed_specification_is_told() -> None:
    with pytest.raises(InputError, match="not written out"):
        parse_gem("specifications/odd.gemspec", b"s.name = NAME\ns.version = VERSION\n")


PACKAGES = [
    {"name": "guzzlehttp/psr7", "version": "1.8.3", "license": ["MIT"]},
    {"name": "psr/http-message", "version": "v1.1", "license": ["MIT", "GPL-2.0+"]},
    {"name": "nameless"},
]


@pytest.mark.parametrize("whole", [PACKAGES, {"packages": PACKAGES, "dev": True}])
def test_both_forms_of_installed_json(whole: object) -> None:
    packages, skipped = parse_composer("app/vendor/composer/installed.json", json.dumps(whole).encode())
    assert [(one.ecosystem, one.name, one.version, one.license) for one in packages] == [
        ("composer", "guzzlehttp/psr7", "1.8.3", "MIT"),
        ("composer", "psr/http-message", "v1.1", "MIT OR GPL-2.0-or-later"),
    ]
    assert [one.what for one in skipped] == ["/app/vendor/composer/installed.json package 3"]


def test_files_of_the_same_name_elsewhere() -> None:
    packages, _ = parse_composer("app/installed.json", json.dumps(PACKAGES[:2]).encode())
    assert [one.name for one in packages] == ["guzzlehttp/psr7", "psr/http-message"]
    for data in (b"", b"{}", b'[{"name": "tool", "version": "1"}]'):
        assert parse_composer("opt/installed.json", data) == ([], [])


@pytest.mark.parametrize("data", [b"", b"3", b'{"packages": 1}', b"[" * 100_000])
def test_what_is_no_list(data: bytes) -> None:
    with pytest.raises(InputError):
        parse_composer("vendor/composer/installed.json", data)
