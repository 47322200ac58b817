"""`shipwall image gate | sign | verify | promote | diff` and `shipwall key`, as a user types them, with a real registry and archive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.archive import make_archive
from tests.images import debian_files, make_tar
from tests.registries import push_layers, run_registry
from typer.testing import CliRunner

from shipwall.adapters.private_engine import PrivateEngine
from shipwall.adapters.registry import Registry
from shipwall.cli.app import build_app
from shipwall.model.digest import ImageIdentity

POLICY = """version: 1
routes:
  - from: dev/*
    to: prod/*
    packages: {deny: [{name: sniffer, reason: no sniffers}]}
    findings: {fixable: none, max_age: 1d}
    attestations:
      - {type: sbom, by: [build]}
      - {type: provenance, by: [build]}
      - {type: scan, by: [build], max_age: 24h}
"""
CHANGELOG = """shop ({version}) bookworm-security; urgency=high

  * Fix CVE-2026-0001.

 -- nobody <nobody@example.invalid>  Thu, 01 Jan 2026 00:00:00 +0000
"""


class Site(NamedTuple):
    """A registry with a careless and a careful image, an archive, and a folder for state."""

    host: str
    folder: Path
    careless: ImageIdentity
    careful: ImageIdentity
    archive: list[str]

    def run(self, *arguments: str, code: int = 0, given: str = "") -> str:
        """Standard output of the command; standard error where it fails by design."""
        environment = os.environ | {"SHIPWALL_STATE": str(self.folder / "state"), "SHIPWALL_CACHE": str(self.folder / "cache")}
        argv = [sys.executable, "-m", "shipwall", *arguments]
        done = subprocess.run(argv, input=given, capture_output=True, text=True, env=environment, timeout=120, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code in {0, 1} else done.stderr

    def json(self, *arguments: str, code: int = 0) -> Any:
        """The answer of the command, as JSON."""
        return json.loads(self.run(*arguments, "--output", "json", code=code))

    @property
    def policy(self) -> list[str]:
        """The option that names the policy."""
        return ["--policy", str(self.folder / "policy.yaml")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("s")
    archive = make_archive(folder)
    try:
        archive.add("shop", "1.0-2", CHANGELOG.format(version="1.0-2"))
        now = int(time.time())
        archive.publish((now, now + 86400))
        base = make_tar(debian_files({"libc6": "2.36-9"}))
        careless = make_tar(debian_files({"libc6": "2.36-9", "shop": "1.0-1", "sniffer": "4.9"}, {"shop": ["/usr/bin/shop"]}))
        careful = make_tar(debian_files({"libc6": "2.36-9", "shop": "1.0-2"}, {"shop": ["/usr/bin/shop"]}))
        (folder / "policy.yaml").write_text(POLICY)
        with run_registry(folder) as running, Registry(running.address) as registry:
            yield Site(
                running.address,
                folder,
                push_layers(registry, "dev/shop", "1", [base, careless]),
                push_layers(registry, "dev/shop", "2", [base, careful]),
                ["--archive", archive.url, "--suite", archive.suite, "--keyring", str(archive.keyring)],
            )
    finally:
        archive.close()


def test_a_careless_image_is_refused_with_every_reason_and_the_way_to_pass(site: Site) -> None:
    image = f"{site.host}/dev/shop:1"
    answer = site.json("image", "gate", image, *site.policy, *site.archive, code=1)
    assert (answer["allowed"], answer["image"], answer["to"]) == (False, site.careless.manifest, "prod/shop")
    assert [reason["code"] for reason in answer["reasons"]] == ["package-denied", "finding-fixable", *["attestation-missing"] * 3]
    text = site.run("image", "gate", image, *site.policy, *site.archive, code=1)
    assert f"REFUSED: dev/shop@{site.careless.manifest} → prod/shop" in text
    assert "1. package sniffer 4.9 is denied: no sniffers  [package-denied]" in text
    assert f"in layer {site.careless.diff_ids[-1]}" in text
    assert "CVE-2026-0001" in text
    assert "to pass:\n  - build the image without sniffer" in text
    refused = site.run("image", "promote", image, *site.policy, *site.archive, code=1)
    assert "promoted to" not in refused
    with Registry(site.host) as registry:
        assert registry.resolve("prod/shop", "1") is None


def test_signed_verified_and_promoted(site: Site) -> None:
    image = f"{site.host}/dev/shop:2"
    assert "no statement stands beside" in site.run("image", "verify", image, code=1)
    built = {
        "image": f"{site.host}/dev/shop@{site.careful.manifest}",
        "config": site.careful.config,
        "layers": list(site.careful.diff_ids),
        "base": f"{site.host}/base/debian@{site.careless.manifest}",
        "finished_ns": time.time_ns(),
    }
    (site.folder / "built.json").write_text(json.dumps(built))
    wrong = site.run(
        "image", "sign", f"{site.host}/dev/shop:1", "--built", str(site.folder / "built.json"), *site.archive, code=3
    )
    assert "not of" in wrong
    signed = site.json("image", "sign", image, "--built", str(site.folder / "built.json"), *site.archive)
    assert [one["kind"] for one in signed["signed"]] == ["sbom", "scan", "provenance"]
    verified = site.json("image", "verify", image, "--require", "provenance")
    assert {one["result"] for one in verified["statements"]} == {"verified"}
    assert verified["promotion"] is None
    assert site.json("image", "gate", image, *site.policy, *site.archive)["allowed"]
    promoted = site.json("image", "promote", image, *site.policy, *site.archive)
    assert promoted["promotion"]["repository"] == "prod/shop"
    after = site.json("image", "verify", f"{site.host}/prod/shop:2", "--require", "promotion", "--require", "verdict")
    assert after["promotion"]["image"]["manifest"] == site.careful.manifest
    assert "missing: promotion" in site.run("image", "verify", image, "--require", "promotion", code=1)
    keys = site.json("key", "show")
    assert [(key["name"], key["private_half"]) for key in keys] == [("build", True), ("promotion", True)]
    state = site.folder / "state"
    assert {path.stat().st_mode & 0o777 for path in (state / "keys").glob("*.key")} == {0o600}
    elsewhere = ["--state", str(site.folder / "elsewhere")]
    assert "unknown key" in site.run("image", "verify", image, *elsewhere, code=1)
    exported = site.run("key", "export", "build")
    assert "PRIVATE" not in exported
    site.run("key", "trust", "build", "-", *elsewhere, given=exported)
    assert site.json("image", "verify", image, *elsewhere)["promotion"] is None


def test_a_vendors_word_and_an_ignore_file_pass_the_gate_as_the_policy_says(site: Site) -> None:
    image, folder = f"{site.host}/dev/shop:1", site.folder / "policies"
    folder.mkdir()
    routes = "routes: [{from: dev/*, to: prod/*, findings: {fixable: none, %s}}]"
    policy = folder / "policy.yaml"
    policy.write_text("version: 1\n" + routes % "vex: [{by: [vendor]}]")
    own = ["--state", str(folder / "state")]
    gate = ["image", "gate", image, "--policy", str(policy), *own, *site.archive]
    said = {
        "vulnerability": "CVE-2026-0001", "products": ["pkg:deb/debian/shop"], "status": "not_affected",
        "justification": "component_not_present",
    }  # fmt: skip
    vex = folder / "vendor.json"
    vex.write_text(json.dumps({"@context": "https://openvex.dev/ns", "timestamp": "2026-10-01T00:00:00Z", "statements": [said]}))
    assert [one["code"] for one in site.json(*gate, code=1)["reasons"]] == ["finding-fixable"]
    signed = site.json("image", "sign", image, "--no-scan", "--key", "vendor", "--vex", str(vex), *own)
    assert [one["kind"] for one in signed["signed"]] == ["sbom", "vex"]
    assert [one["code"] for one in site.json(*gate)["reasons"]] == ["passes-policy", "finding-set-aside"]
    policy.write_text("version: 1\n" + routes % "ignore: [{file: accepted.yaml}]")
    accepted = "version: 1\nignore: [{id: CVE-2026-0001, reason: not called here, until: %s}]"
    (folder / "accepted.yaml").write_text(accepted % "2020-01-01")
    assert [one["code"] for one in site.json(*gate, code=1)["reasons"]] == ["finding-fixable", "exception-expired"]
    (folder / "accepted.yaml").write_text(accepted % "2999-01-01")
    assert "was ignored, until 2999-01-01, by accepted.yaml:2: not called here" in site.run(*gate)
    (folder / "accepted.yaml").unlink()
    assert "is no file here" in site.run(*gate, code=3)
    vex.write_text("{}")
    assert "is not OpenVEX" in site.run("image", "sign", image, "--no-scan", "--vex", str(vex), *own, code=3)


def test_what_the_archive_says_of_images_becomes_a_feed(site: Site) -> None:
    images, database = [f"{site.host}/dev/shop:{tag}" for tag in (1, 2)], str(site.folder / "own.sqlite")
    answer = site.json("db", "import", "--format", "debian-archive", *images, "--to", database, *site.archive)
    assert [(one["name"], one["outcome"], one["state"]["advisories"]) for one in answer] == [("debian-archive", "updated", 1)]
    found = [site.json("image", "scan", image, "--db", database)["findings"] for image in images]
    assert [[(one["id"], one["fixed_version"]) for one in own] for own in found] == [[("CVE-2026-0001", "1.0-2")], []]


def test_the_difference_of_two_images(site: Site) -> None:
    sources = (f"{site.host}/dev/shop:1", f"{site.host}/dev/shop:2")
    answer = site.json("image", "diff", *sources, *site.archive)
    assert [one["name"] for one in answer["packages"]["removed"]] == ["sniffer"]
    assert [one["after"]["version"] for one in answer["packages"]["changed"]] == ["1.0-2"]
    assert [one["id"] for one in answer["findings"]["removed"]] == ["CVE-2026-0001"]
    text = site.run("image", "diff", *sources, "--no-findings")
    assert "-  sniffer  4.9" in text


def test_mistakes_are_one_line_with_their_place(site: Site) -> None:
    image = f"{site.host}/dev/shop:1"
    bad = site.folder / "bad.yaml"
    bad.write_text(POLICY.replace("packages:", "pakages:"))
    error = site.run("image", "gate", image, "--policy", str(bad), code=3)
    assert f"{bad}:5:5: unknown key 'pakages'; did you mean 'packages'?" in error
    assert error.endswith("      ^\n"), "the caret stands below the key"
    assert "name a readable policy file" in site.run("image", "gate", image, "--policy", "/nowhere", code=8)
    assert "is not there" in site.run("image", "gate", f"{site.host}/dev/none:1", *site.policy, code=6)
    assert "names no registry" in site.run("image", "verify", "dev/shop:1", code=3)
    assert "did you mean 'sbom'?" in site.run("image", "verify", image, "--require", "sbomb", code=3)
    assert "is it running" in site.run("image", "verify", "127.0.0.1:9/dev/shop:1", code=6)
    assert "shipwall key show" in site.run("key", "export", "nobody", code=3)
    assert "is not a PEM public key" in site.run("key", "trust", "ci", str(bad), code=3)
    closed = site.run(
        "image", "gate", image, *site.policy, "--archive", "file:///nowhere", "--cache", str(site.folder / "c"), code=1
    )
    assert "[findings-unknown]" in closed


@pytest.mark.parametrize(
    "command", ["gate", "sign", "verify", "promote", "diff", "rebuild", "key show", "key export", "key trust"]
)
def test_help_shows_examples(command: str) -> None:
    words = command.split() if command.startswith("key") else ["image", command]
    answer = CliRunner().invoke(build_app(), [*words, "--help"])
    assert answer.exit_code == 0
    assert "Examples:" in answer.output


@pytest.mark.engine
def test_a_rebuilt_base_rebuilds_its_child(
    site: Site, private_engine: PrivateEngine, registry: Registry, fresh_name: Callable[[str], str]
) -> None:
    base, shop = f"base/{fresh_name('debian')}", f"dev/{fresh_name('shop')}"
    old = push_layers(registry, base, "old", [make_tar(debian_files({"libc6": "2.36-9", "shop": "1.0-1"}))])
    new = push_layers(registry, base, "new", [make_tar(debian_files({"libc6": "2.36-9", "shop": "1.0-2"}))])
    context = site.folder / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("ARG BASE\nFROM $BASE\nCOPY page /srv/page\n")
    (context / "page").write_text("hello")
    host, engine = private_engine.registry, ["--engine", str(private_engine.socket)]
    bases = ["--old-base", f"{host}/{base}:old", "--new-base", f"{host}/{base}:new"]
    image = f"{host}/{shop}:1"
    before = site.json("image", "build", str(context), "--to", image, "--base", f"{host}/{base}:old", *engine)
    answer = site.json("image", "rebuild", image, str(context), *bases, "--sign", "build", *engine, *site.archive)
    assert answer["instead_of"] == before["image"].rpartition("@")[2]
    assert answer["parent"] == new.manifest
    assert answer["image"]["diff_ids"][0] == new.diff_ids[0] != old.diff_ids[0]
    assert [one["after"]["version"] for one in answer["packages"]["changed"]] == ["1.0-2"]
    assert [one["id"] for one in answer["findings"]["removed"]] == ["CVE-2026-0001"]
    assert registry.resolve(shop, "1") == answer["image"]["manifest"]
    kinds = {one["kind"] for one in site.json("image", "verify", image)["statements"]}
    assert kinds == {"sbom", "scan", "provenance"}
    promoted = site.json("image", "promote", image, *site.policy, *site.archive)
    assert promoted["allowed"]
    again = site.run("image", "rebuild", image, str(context), *bases, *engine, *site.archive, code=3)
    assert "does not lie on" in again
    (context / "Dockerfile").write_text(f"FROM {host}/{base}:old\nCOPY page /srv/page\n")
    first = f"{host}/{shop}@{answer['instead_of']}"
    stubborn = site.run("image", "rebuild", first, str(context), *bases, *engine, *site.archive, code=3)
    assert "was not built on" in stubborn
