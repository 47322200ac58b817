"""The images' pages: what is kept by root is shown by the unprivileged server, in a real browser."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest
from tests.browser import Browser
from tests.fleets import tell_fleet
from tests.server_process import ServerProcess

pytestmark = pytest.mark.browser


def test_from_a_question_to_an_image_and_who_can_mend_it(server: ServerProcess, browser: Browser, tmp_path: Path) -> None:
    browser.log_in(server.login_link())
    browser.get(f"{server.url}/images")
    browser.wait_for("#images", "No image is kept yet")
    told = tell_fleet(server.instance.fleet, tmp_path, time.time_ns())
    browser.get(f"{server.url}/images")
    browser.wait_for("#images", "registry.local:5000/prod/shop:1")
    browser.wait_for("#news", "CVE-2021-44228")
    field = browser.one("#filter")
    field.send_keys("log4j-core < 2.17\n")
    browser.wait_for("#found", "2.14.1")
    assert len(browser.all("#found li")) == 1
    browser.one("#found a").click()
    browser.wait_for("h1", "prod/shop:1")
    text = browser.one("main").text
    assert "base/debian:12" in text
    rows = [row.text for row in browser.all("main table.rows")[0].find_elements("css selector", "tbody tr")]
    assert "base" in rows[0]
    assert "this image" in rows[1]
    assert "<app>" in rows[1]  # a command is text, never markup
    findings = browser.all("main table.rows")[1].find_elements("css selector", "tbody tr")
    assert "CVE-2021-44228" in findings[0].text  # the worst first
    assert "this image's build" in findings[0].text
    assert any("CVE-2026-31790" in row.text and "a newer base" in row.text for row in findings)
    assert told["shop"].image is not None
    browser.get(f"{server.url}/images?find=x+<")
    browser.wait_for("[role=alert]", "is not NAME")


def test_pages_of_nobody_and_nothing(server: ServerProcess, visitor: httpx.Client) -> None:
    assert httpx.get(f"{server.url}/images", follow_redirects=False).status_code == 303
    for digest in ("sha256:" + "0" * 64, "sha256:zz", "..%2f..%2fetc"):
        assert visitor.get(f"/images/{digest}").status_code == 404
