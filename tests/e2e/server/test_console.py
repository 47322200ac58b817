"""The console in Chromium, against a real server with messages sent over its real link."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select
from tests.browser import PAGES, Browser, open_browser, shoot
from tests.server_process import (
    NEXT_ID,
    NODE,
    SHOP_ID,
    PlayedAgent,
    ServerProcess,
    a_container,
    a_health,
    a_waiting_plan,
    an_alert,
    tell_story,
    wait_for,
)

from shipwall.adapters.unprivileged import SERVER_ID
from shipwall.model.alert import Step, Why
from shipwall.model.verdict import Evidence, Reason, Verdict
from shipwall.model.wire import Admission, AlertRaised, ImageStep, ResponseStep

pytestmark = pytest.mark.browser


@pytest.fixture
def told(server: ServerProcess, agent: PlayedAgent, browser: Browser) -> Iterator[Browser]:
    """A browser that is logged in to a server that knows the story. Afterwards: nothing was complained of or asked of others."""
    now_ns = time.time_ns()
    tell_story(agent, now_ns)
    browser.get("about:blank")
    browser.hosts_asked()
    browser.complaints()
    browser.log_in(server.login_link())
    yield browser
    assert browser.complaints() == []
    assert {host for host in browser.hosts_asked() if host.startswith(("http", "ws"))} == {server.url}


def test_a_link_lets_in_once(server: ServerProcess) -> None:
    link = server.login_link()
    with open_browser() as first:
        first.log_in(link)
        assert first.current_url == server.url + "/"
        assert first.complaints() == []
        cookie = first.get_cookies()[0]
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert first.execute_script("return document.cookie") == ""
        first.one("#logout").click()
        first.wait_for("#login")
        first.get(link)
        assert "used already" in first.wait_for("#wrong:not([hidden])").text
        assert first.current_url == server.url + "/login"  # the token does not stay in the address
        first.get(server.url + "/alerts")
        assert first.current_url == server.url + "/login"


def test_every_page_shows_its_rows(server: ServerProcess, told: Browser) -> None:
    told.get(server.url)
    told.wait_for(".journey.card h3", "prod/shop")
    assert "tcpdump 4.99.3-1 is in the image" in told.wait_for(".callout.danger").text
    assert "23 removed" in told.one("#journeys").text
    assert "412 ns" in told.one(".node").text
    titles = [str(one.get_attribute("title")) for one in told.all(".node .figures [title]")]
    assert any("31\u202f204 system calls of the whole host" in title for title in titles), titles
    assert "0.64 %\nof all CPUs, in the kernel" in told.one(".node").text
    told.get(server.url + "/containers")
    assert "frozen" in told.one("tr.is-frozen").text
    assert told.one(f"#container-{NEXT_ID[:12]} .badge.ok").text == "running"
    told.get(server.url + "/alerts")
    told.one("#alert-a-back > summary").click()
    body = told.wait_for("#alert-a-back .body").text
    for part in ("fd.rport != 53", "4444", "python3 -m shop.api", "bash 5.2.15-2+b9", "frozen, 27.9 ms after the act"):
        assert part in body
    told.get(server.url + "/evidence")
    assert [row.text.split()[0] for row in told.all(".timeline tbody tr")] == ["freeze", "cut", "capture", "replace"]
    assert "214 records" in told.one(".bundle").text
    told.get(server.url + "/admissions")
    assert "drop --privileged" in told.one("#admissions").text
    assert "refused" in told.one(".admission").text
    told.get(server.url + "/audit")
    assert "login" in told.one("#audit").text


def test_a_new_alert_appears_without_reload_and_nothing_open_closes(
    server: ServerProcess, agent: PlayedAgent, told: Browser
) -> None:
    told.get(server.url + "/alerts")
    told.wait_for(".live[data-state=on]")
    told.execute_script("window.samePage = true")
    told.one("#alert-a-drop > summary").click()
    began = time.monotonic()
    agent.say(AlertRaised(alert=an_alert("a-new", "Something new", time.time_ns(), priority="critical")))
    told.wait_for("#alert-a-new", "Something new")
    assert time.monotonic() - began < 3
    assert told.execute_script("return window.samePage") is True
    assert told.one("#alert-a-drop").get_attribute("open") is not None
    agent.say(AlertRaised(alert=an_alert("a-new", "Something new", time.time_ns(), stopped="killed at once")))
    told.wait_for("#alert-a-new", "killed at once")


def test_a_silent_sensor_turns_red_and_speaks_again(server: ServerProcess, agent: PlayedAgent, told: Browser) -> None:
    agent.say(a_health(time.time_ns() + 1_000_000_000, 10**6))
    told.get(server.url)
    told.wait_for(".live[data-state=on]")
    told.wait_for(".node:not(.silent)")
    told.execute_script("document.querySelector('[data-seen]').dataset.seen = String(BigInt(Date.now() - 20000) * 1000000n)")
    told.wait_for(".node.silent")
    assert told.one(".node .silence").is_displayed()
    agent.say(a_health(time.time_ns() + 2_000_000_000, 10**6))
    told.wait_for(".node:not(.silent)")


def test_freeze_thaw_and_destroy_through_forms(server: ServerProcess, agent: PlayedAgent, told: Browser) -> None:
    told.get(server.url + "/containers")
    row = f"#container-{NEXT_ID[:12]}"
    told.one(f"{row} [data-deed=freeze]").click()
    told.wait_for("#deed[open]")
    told.one("#deed-do").click()  # without a reason the browser itself refuses
    assert told.all("#deed[open]")
    told.one("#deed-reason").send_keys("odd <b>traffic</b>")
    told.one("#deed-do").click()
    told.wait_for(f"{row} .badge.frozen")
    assert "shop-2 is frozen" in told.wait_for(".toast").text
    told.one(f"{row} [data-deed=thaw]").click()
    told.wait_for("#deed[open]")
    told.one("#deed-reason").send_keys("false alarm")
    told.one("#deed-reason").send_keys(Keys.TAB, Keys.TAB, Keys.ENTER)
    told.wait_for(f"{row} .badge.ok", "running")
    told.one(f"{row} [data-deed=destroy]").click()
    told.wait_for("#deed[open]")
    told.one("#deed-reason").send_keys("no longer wanted")
    told.one("#deed-name").send_keys("another")
    told.one("#deed-do").click()
    assert "not its name" in told.wait_for("#deed-wrong:not([hidden])").text
    told.one("#deed-name").clear()
    told.one("#deed-name").send_keys("shop-2")
    told.one("#deed-do").click()
    wait_for(lambda: not told.all(row))
    assert [(c.action, c.target, c.reason) for c in agent.commands] == [
        ("freeze", NEXT_ID, "odd <b>traffic</b>"), ("thaw", NEXT_ID, "false alarm"), ("destroy", NEXT_ID, "no longer wanted")
    ]  # fmt: skip
    told.get(server.url + "/audit")
    assert "odd <b>traffic</b>" in told.one("#audit").text


def test_a_failed_command_says_why_and_keeps_the_form(server: ServerProcess, agent: PlayedAgent, told: Browser) -> None:
    agent.say(a_container(NEXT_ID, "shop-2", now_ns=time.time_ns()))
    told.get(server.url + "/containers")
    told.one(f"#container-{NEXT_ID[:12]} [data-deed=freeze]").click()
    told.wait_for("#deed[open]")
    agent.close()
    wait_for(lambda: not server.ask("nodes", {"node": NODE})[0]["connected"])
    told.one("#deed-reason").send_keys("because")
    told.one("#deed-do").click()
    assert "is not connected" in told.wait_for("#deed-wrong:not([hidden])").text
    told.one("#deed [data-close]").click()
    assert told.complaints()  # the browser notes the 503 itself


def test_a_plan_is_approved_through_a_form(server: ServerProcess, agent: PlayedAgent, told: Browser) -> None:
    agent.say(a_waiting_plan("p-waits", time.time_ns() + 5_000_000_000, NEXT_ID))
    told.get(server.url + "/evidence")
    told.wait_for("#plans", "waits for approval")
    told.one("[data-deed=approve][data-plan=p-waits]").click()
    told.wait_for("#deed[open]")
    told.one("#deed-reason").send_keys("seen")
    told.one("#deed-do").click()
    told.wait_for(".toast", "approve p-waits")
    assert [(command.action, command.plan) for command in agent.commands] == [("approve", "p-waits")]


def test_silence_and_end_through_forms(server: ServerProcess, agent: PlayedAgent, told: Browser) -> None:
    told.get(server.url + "/alerts")
    told.one("#alert-a-shell > summary").click()
    told.one("#alert-a-shell [data-mute]").click()
    told.wait_for("#mute[open]")
    Select(told.one("#mute-minutes")).select_by_value("15")
    told.one("#mute-reason").send_keys("load test")
    told.one("#mute-do").click()
    told.wait_for("#silences", "load test")
    silence = agent.silences[-1].silence
    assert (silence.rule, silence.container_name, silence.reason) == ("Shell started by a web application", "shop", "load test")
    assert 0 < silence.until_ns - time.time_ns() <= 15 * 60 * 10**9
    told.one("[data-unmute]").click()
    wait_for(lambda: not told.all("#silences li"))
    assert agent.silences[-1].silence.until_ns <= time.time_ns()


def test_a_change_without_the_token_is_refused(server: ServerProcess, agent: PlayedAgent, told: Browser) -> None:
    told.get(server.url)
    script = """
      const done = arguments[arguments.length - 1];
      fetch(arguments[0], {method: "POST", headers: {"Content-Type": "application/json"}, body: '{"reason": "because"}'})
        .then((answer) => done(answer.status));
    """
    assert told.execute_async_script(script, f"/api/v1/containers/{SHOP_ID}/thaw") == 403
    assert agent.commands == []
    assert told.complaints()


HOSTILE = "<script>window.hit=1</script><img src=x onerror=window.hit=1>\"'onmouseover=window.hit=1 {{7*7}}</title>\u202e\0"


def test_hostile_text_stays_text(server: ServerProcess, agent: PlayedAgent, told: Browser) -> None:
    now_ns, bad = time.time_ns() + 5_000_000_000, HOSTILE
    lineage = tuple(
        msgspec.structs.replace(one, comm=bad, path=bad, argv=(bad, bad)) for one in an_alert("x", "r", now_ns).lineage
    )
    reason = Reason(code=bad, message=bad, next_step=bad, evidence=(Evidence(kind=bad, ref=bad, detail=bad),))
    agent.say(
        a_container("bad0" * 16, bad, now_ns=now_ns, image_ref=bad, ports=(bad,), user=bad),
        a_container("bad1" * 16, bad, "frozen", now_ns=now_ns, image_ref=bad),
        AlertRaised(alert=an_alert("hostile" + bad, bad, now_ns, output=bad, container_name=bad, package=bad, stopped=bad, tags=(bad,),
                                   lineage=lineage, why=(Why(condition=bad, value=bad, result=True),), priority=bad, acted=bad,
                                   sequence=(Step(rule=bad, event=an_alert("x", "r", now_ns).event),))),
        Admission(node=bad, time_ns=now_ns, method=bad, uri=bad, subject=bad, verdict=Verdict(allowed=False, reasons=(reason,))),
        ImageStep(digest=bad, image=bad, step=bad, time_ns=now_ns, allowed=False, summary=bad, reasons=(reason,), facts={bad: bad}),
        ResponseStep(node=bad, plan=bad, alert=bad, container=bad, step=bad, status=bad, time_ns=now_ns, detail=bad),
        msgspec.structs.replace(a_health(now_ns, 1), node=bad, lost={bad: 1}, functions={bad: bad}, helper_errors={bad: 1},
                                 acts={bad: 1}, missed={bad: 1}),
    )  # fmt: skip
    for path in (*PAGES.values(), "/containers?gone=1", "/alerts?rule=%3Cscript%3Ewindow.hit%3D1%3C%2Fscript%3E&silenced=1"):
        told.get(server.url + path)
        told.wait_for(".live[data-state=on]")
        for summary in told.all("main summary"):
            told.execute_script("arguments[0].parentElement.open = true", summary)
        assert told.execute_script("return window.hit") is None, path
        assert told.all("main script, main img, main [onerror], main [onmouseover]") == []
    told.get(server.url + "/containers")
    told.one(f"#container-{'bad0' * 3} [data-deed=freeze]").click()
    assert "<script>" in told.wait_for("#deed-title").text
    told.one("#deed-reason").send_keys("because")
    told.one("#deed-do").click()
    told.wait_for(".toast", "<script>")
    assert told.execute_script("return window.hit") is None


def test_it_is_used_by_keyboard(server: ServerProcess, told: Browser) -> None:
    told.get(server.url)
    told.wait_for(".live[data-state=on]")
    keys = told.one("body")
    keys.send_keys(Keys.TAB)
    assert told.switch_to.active_element.text == "Skip to content"
    told.switch_to.active_element.send_keys(Keys.ENTER)
    assert told.switch_to.active_element.get_attribute("id") == "main"
    keys.send_keys("?")
    assert "Single keys" in told.wait_for("#help[open]").text
    told.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert told.all("#help[open]") == []
    keys.send_keys("g", "a")
    told.wait_for("#alerts")
    told.one("body").send_keys("j")
    row = told.switch_to.active_element
    assert row.tag_name == "summary"
    row.send_keys(Keys.ENTER)
    assert told.all("details.alert[open]")
    told.switch_to.active_element.send_keys("j", "k")
    assert told.switch_to.active_element == row
    told.switch_to.active_element.send_keys("/")
    assert told.switch_to.active_element.get_attribute("id") == "filter"
    told.switch_to.active_element.send_keys("g", "c")  # typing is typing
    assert told.current_url.endswith("/alerts")
    before = told.execute_script("return getComputedStyle(document.body.parentElement).backgroundColor")
    told.execute_script("document.activeElement.blur()")
    told.one("body").send_keys("t")
    assert told.execute_script("return getComputedStyle(document.body.parentElement).backgroundColor") != before
    told.get(server.url + "/audit")
    assert told.execute_script("return getComputedStyle(document.body.parentElement).backgroundColor") != before
    told.one("body").send_keys("t")


def test_text_has_contrast_in_both_themes(server: ServerProcess, told: Browser) -> None:
    """At least 4.5:1 (WCAG AA) for everything visible, computed by the browser."""
    script = (Path(__file__).parent / "contrast.js").read_text()
    for theme in ("light", "dark"):
        for path in PAGES.values():
            told.get(server.url + path)
            told.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
            told.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
            poor = told.execute_script(script)
            assert poor == [], (theme, path)


def test_evidence_is_downloaded(server: ServerProcess, agent: PlayedAgent, tmp_path: Path) -> None:
    path = server.instance.evidence / "e-back.evidence"
    path.write_bytes(os.urandom(100_000))
    os.chown(path, -1, SERVER_ID if os.geteuid() == 0 else -1)
    path.chmod(0o640)
    tell_story(agent, time.time_ns(), path)
    with open_browser(downloads=tmp_path) as browser:
        browser.log_in(server.login_link())
        browser.get(server.url + "/evidence")
        browser.one(".bundle a[download]").click()
        wait_for((tmp_path / path.name).exists)
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def go_offline(browser: Browser, offline: bool) -> None:
    conditions = {"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)


def test_a_page_says_when_the_server_is_gone_or_the_session_ended(server: ServerProcess, told: Browser) -> None:
    told.get(server.url)
    told.wait_for(".live[data-state=on]")
    told.execute_cdp_cmd("Network.enable", {})
    go_offline(told, True)
    told.execute_script("beat = 0; stream.close()")
    assert "may be old" in told.wait_for("#banner:not([hidden])", "may be old").text
    go_offline(told, False)
    told.execute_script("beat = 0")
    told.wait_for(".live[data-state=on]", seconds=20)
    told.wait_for("#banner[hidden]")
    told.complaints()
    told.execute_async_script(
        "post('/api/v1/logout', {}).then(arguments[0])",
    )
    told.wait_for("#banner:not([hidden])", "session ended", seconds=15)
    told.complaints()


def test_narrow_screens_do_not_scroll_sideways(server: ServerProcess, told: Browser) -> None:
    told.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    try:
        for path in PAGES.values():
            told.get(server.url + path)
            assert told.execute_script("return document.documentElement.scrollWidth") <= 390, path
    finally:
        told.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_screenshots_can_be_made(server: ServerProcess, told: Browser, tmp_path: Path) -> None:
    made = shoot(told, server.url, tmp_path, ("dark",))
    assert len(made) == len(PAGES)
    assert all(path.stat().st_size > 10_000 for path in made)
    told.execute_script("localStorage.removeItem('shipwall-theme')")
