"""The commands that speak to the server, run as a person runs them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.server_process import (
    NEXT_ID,
    PlayedAgent,
    ServerProcess,
    a_container,
    a_waiting_plan,
    an_alert,
    tell_story,
    wait_for,
)

from shipwall.cli.alert import parse_span
from shipwall.model.errors import InputError
from shipwall.model.wire import AlertRaised

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(server: ServerProcess, agent: PlayedAgent) -> Run:
    tell_story(agent, time.time_ns())
    agent.say(a_container(NEXT_ID, "shop-2", now_ns=time.time_ns()))

    def shipwall(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "shipwall", *arguments, "--state", str(server.instance.state)],
            capture_output=True, text=True, timeout=60, check=False, env={"PATH": "/usr/bin:/bin", "COLUMNS": "200", "SUDO_USER": "alice"},
        )  # fmt: skip

    return shipwall


def test_alerts_are_listed_shown_and_explained(run: Run) -> None:
    listed = run("alert", "list", "--container", "shop")
    assert listed.returncode == 0, listed.stderr
    assert "Shell connected to the network" in listed.stdout
    rows = json.loads(run("alert", "list", "--rule", "Shell connected to the network", "-o", "json").stdout)
    assert [row["id"] for row in rows] == ["a-back"]
    shown = run("alert", "show", "a-ba").stdout
    for part in ("bash 5.2.15-2+b9", "python3 -m shop.api", "fd.rport != 53", "3.21 ms", "frozen"):
        assert part in shown
    assert "4444" in run("alert", "why", "a-back").stdout
    assert json.loads(run("alert", "why", "a-back", "-o", "json").stdout)["why"][0]["result"] is True


def test_hostile_text_cannot_drive_the_terminal(run: Run, agent: PlayedAgent) -> None:
    bad = "\x1b[2J\x1b]0;owned\x07[bold red]x[/]\u202e\r\n"
    agent.say(AlertRaised(alert=an_alert("evil", bad, time.time_ns(), output=bad, container_name=bad)))
    for done in (run("alert", "list"), run("alert", "show", "evil"), run("alert", "why", "evil")):
        assert done.returncode == 0, done.stderr
        assert not set("\x1b\x07\u202e\r") & set(done.stdout)
        assert "[bold red]" in done.stdout


def test_silence_list_and_end(run: Run, agent: PlayedAgent) -> None:
    made = run("alert", "silence", "some rule", "--for", "2h", "--reason", "load test", "--container", "shop", "-o", "json")
    assert made.returncode == 0, made.stderr
    silence = json.loads(made.stdout)
    assert silence["actor"].endswith("(alice)")
    assert 7100 < silence["until_ns"] / 1e9 - time.time() < 7300
    wait_for(lambda: any(pushed.silence.id == silence["id"] for pushed in agent.silences))
    assert "load test" in run("alert", "silences").stdout
    assert run("alert", "unsilence", silence["id"]).returncode == 0
    assert "nothing is silenced" in run("alert", "silences").stdout
    assert "load test" in run("alert", "silences", "--all").stdout


def test_containers_are_listed_and_acted_on(run: Run, agent: PlayedAgent) -> None:
    listed = run("container", "list")
    assert [line.split()[1] for line in listed.stdout.splitlines()[1:]]
    assert "shop-2" in listed.stdout
    done = run("container", "freeze", NEXT_ID[:8], "--reason", "odd traffic")
    assert (done.returncode, done.stdout.strip()) == (0, f"freeze {NEXT_ID[:8]}: shop-2 is frozen")
    assert json.loads(run("container", "thaw", "shop-2", "--reason", "false alarm", "-o", "json").stdout)["done"] is True
    assert [command.action for command in agent.commands] == ["freeze", "thaw"]
    refused = run("container", "destroy", "shop-2", "--reason", "because")  # no terminal, no --yes
    assert refused.returncode == 1
    assert len(agent.commands) == 2


def test_plans_are_listed_rehearsed_and_approved(run: Run, agent: PlayedAgent, tmp_path: Path) -> None:
    agent.say(a_waiting_plan("p-waits", time.time_ns(), NEXT_ID))
    listed = json.loads(run("response", "list", "-o", "json").stdout)
    assert [plan["plan"] for plan in listed] == ["p-back", "p-waits"]
    assert listed[0]["steps"] == dict.fromkeys(("freeze", "cut", "capture", "replace"), "confirmed")
    (waits,) = json.loads(run("response", "list", "--waiting", "-o", "json").stdout)
    assert "until 2026" in waits["detail"]
    assert "shop-2" in run("response", "list", "--waiting").stdout
    policy = tmp_path / "response.yaml"
    policy.write_text('responses:\n- {rules: ["Shell connected to the network"], steps: [freeze, cut, capture, replace]}\n')
    said = run("response", "check", str(policy), "--dry-run").stdout
    for part in (
        "1 plans, nothing is done",
        "by line 2 of the policy",
        "container shop (3f9ca1a1a1a1)",
        "2. cut",
        "1 of 2 containers of shop",
    ):
        assert part in said
    assert agent.commands == []
    done = run("response", "approve", "p-waits", "--reason", "seen")
    assert (done.returncode, done.stdout.strip()) == (0, "approve p-waits: approve p-waits")
    refused = run("response", "reject", "p-none", "--reason", "seen")
    assert (refused.returncode, "does not wait" in refused.stderr) == (6, True)


def test_a_link_for_a_named_person(run: Run, server: ServerProcess) -> None:
    done = run("console", "link", "--as", "bob")
    assert done.stdout.startswith(server.url + "/login#"), done.stderr
    assert str(server.ask("audit")[-1]["actor"]).endswith("(bob)")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["alert", "show", "no-such"], 3, "is not known"), (["alert", "show", "a-"], 3, "means several alerts"),
        (["alert", "silence", "r", "--reason", "because", "--for", "eternity"], 3, "not a length of time"),
        (["alert", "silence", "r", "--reason", "because", "--for", "9999d"], 6, "within the next 90 days"),
        (["alert", "silence", "r", "--reason", ""], 6, "must have 3"), (["alert", "unsilence", "none"], 6, "is not known"),
        (["container", "freeze", "none", "--reason", "because"], 6, "is not known here"),
        (["container", "freeze", "shop-2"], 2, "--reason"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line(run: Run, arguments: list[str], code: int, said: str) -> None:
    done = run(*arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    if code != 2:
        assert len(done.stderr.splitlines()) == 1


def test_without_a_server_it_says_how_to_start_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "shipwall", "container", "list", "--state", str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 6
    assert "start it: shipwall up" in done.stderr


@pytest.mark.parametrize("text", ["", "1", "h", "-1h", "0h", "1.5h", "999999d", "1h1h", "١h"])
def test_parse_span_refuses(text: str) -> None:
    with pytest.raises(InputError):
        parse_span(text)


def test_parse_span() -> None:
    assert [parse_span(text) // 10**9 for text in ("30m", "8h", "7d", " 5 min")] == [1800, 28800, 604800, 300]
