"""Debian's Chromium, driven by its own driver: a new profile each time, no traffic of its own, screenshots of the console."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--force-device-scale-factor=1",
)  # fmt: skip
PAGES = {
    "overview": "/", "containers": "/containers", "alerts": "/alerts", "evidence": "/evidence", "admissions": "/admissions",
    "audit": "/audit", "images": "/images",
}  # fmt: skip


class Browser(webdriver.Chrome):
    """Chromium with what the tests ask it again and again."""

    def log_in(self, link: str) -> None:
        """Follow a one-time link until the overview shows."""
        self.get(link)
        self.wait_for("#tiles")

    def all(self, css: str) -> list[WebElement]:
        """Elements that match now."""
        return self.find_elements(By.CSS_SELECTOR, css)

    def one(self, css: str) -> WebElement:
        """The first element that matches now."""
        return self.find_element(By.CSS_SELECTOR, css)

    def wait_for(self, css: str, text: str = "", seconds: float = 30) -> WebElement:
        """The first element that matches and holds `text`, once there is one."""

        def found(_driver: object) -> WebElement | None:
            return next((element for element in self.all(css) if text in (element.get_attribute("textContent") or "")), None)

        from selenium.common.exceptions import StaleElementReferenceException

        waiting = WebDriverWait(self, seconds, 0.05, ignored_exceptions=[StaleElementReferenceException])
        return waiting.until(found, f"no {css} with {text!r}")

    def hosts_asked(self) -> set[str]:
        """Every scheme and host the pages asked for since the last call."""
        hosts = set()
        for entry in self.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                hosts.add("/".join(message["params"]["request"]["url"].split("/")[:3]))
        return hosts

    def complaints(self) -> list[str]:
        """What the browser's console holds of warnings and errors since the last call."""
        return [entry["message"] for entry in self.get_log("browser") if entry["level"] in {"WARNING", "SEVERE"}]


@contextmanager
def open_browser(width: int = 1440, height: int = 900, downloads: Path | None = None) -> Iterator[Browser]:
    """A browser that ends with the block, and its profile with it."""
    profile = tempfile.mkdtemp(prefix="shipwall-chromium-")
    options = Options()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*_FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    if downloads is not None:
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    try:
        browser = Browser(options=options, service=Service("/usr/bin/chromedriver"))
        try:
            yield browser
        finally:
            browser.quit()
    finally:
        shutil.rmtree(profile, ignore_errors=True)


def shoot(
    browser: Browser, url: str, folder: Path, themes: tuple[str, ...] = ("light", "dark"), *, whole: bool = True
) -> list[Path]:
    """Screenshots of every page of the console at `url` in every theme; `browser` must be logged in. Files `page-theme.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for theme in themes:
        for name, path in PAGES.items():
            browser.get(url + path)
            browser.execute_script("localStorage.setItem('shipwall-theme', arguments[0])", theme)
            browser.get(url + path)
            browser.wait_for(".live[data-state=on]")
            if name == "alerts" and (rows := browser.all("details.alert > summary")):
                rows[0].click()
            width, height = browser.get_window_size()["width"], 900
            if whole:
                height = max(900, int(browser.execute_script("return document.documentElement.scrollHeight")))
            browser.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            )
            made.append(folder / f"{name}-{theme}.png")
            browser.save_screenshot(str(made[-1]))
            browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    return made
