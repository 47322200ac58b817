"""The HTML page of a scan in a real browser: it asks for nothing, complains of nothing, and finds."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.browser import open_browser
from tests.reports import FINDINGS, NOW, REPORT

from shipwall.supply.report import FORMS

pytestmark = pytest.mark.browser


def test_the_page_finds_and_asks_for_nothing(tmp_path: Path) -> None:
    page = tmp_path / "scan.html"
    page.write_bytes(FORMS["html"](REPORT, NOW))
    with open_browser() as browser:
        browser.hosts_asked()
        browser.get(page.as_uri())
        assert browser.one("#shown").text == f"{len(FINDINGS)} findings"
        assert {host for host in browser.hosts_asked() if not host.startswith(("chrome:", "data:"))} == {"file://"}
        browser.one("button[data-mark=critical]").click()
        assert browser.one("#shown").text == f"3 of {len(FINDINGS)} findings"
        browser.one("button[data-mark=kev]").click()
        assert browser.one("#shown").text == f"2 of {len(FINDINGS)} findings"
        browser.one("#search").send_keys("45046 log4j")
        shown = [row.text for row in browser.all("#findings tbody tr") if row.is_displayed()]
        assert len(shown) == 1
        assert "CVE-2021-45046" in shown[0]
        assert browser.complaints() == []
        with pytest.raises(Exception, match="no such alert"):
            _ = browser.switch_to.alert.text
