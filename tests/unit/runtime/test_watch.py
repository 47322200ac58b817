"""Alerts: what they say, what stopped the act, silences."""

from __future__ import annotations

from typing import Any

import pytest

from shipwall.model.alert import Silence
from shipwall.model.container import ContainerFacts
from shipwall.model.errors import InputError
from shipwall.model.event import Exec, Open
from shipwall.runtime.facts import Context
from shipwall.runtime.rules import parse_rules
from shipwall.runtime.silence import Silences
from shipwall.runtime.watch import KILLED, REFUSED, Watch

C = "ab" * 32
D = "sha256:" + "0" * 64
RULES = """
- rule: Opened
  desc: d
  condition: evt.type = openat and fd.name startswith /etc
  output: "%proc.name opened %fd.name (%evt.res) port=%fd.lport 100%% %container.image.repository:%container.image.tag %proc.aname[1]"
  priority: error
- rule: Run
  desc: d
  condition: evt.type = execve and container.id != host
  output: "%proc.cmdline"
  priority: critical
  action: freeze
  tags: [T1059]
- rule: Run again
  desc: d
  condition: evt.type = execve
  output: again
  priority: debug
"""


class _Facts(Context):
    def container(self, container_id: str) -> ContainerFacts | None:
        if container_id != C:
            return None
        return ContainerFacts(
            id=C, name="web", image_ref="reg:5000/a/b:1.2", image_config=D, image_digest=D, promotion="promoted"
        )

    def package_of(self, image_digest: str | None, path: str) -> str:
        return "coreutils 9.1" if image_digest and path == "/usr/bin/cat" else ""


def _header(**more: Any) -> dict[str, Any]:
    return {"seq": 4, "time_ns": 1000, "cgroup_id": 1, "pid": 9, "tid": 9, "ppid": 1, "ns_pid": 9, "uid": 0, "gid": 0, "comm": "cat",
            "container": C, **more}  # fmt: skip


def _exec(**more: Any) -> Exec:
    return Exec(**_header(), path="/usr/bin/cat", argv=("cat", "/etc/shadow"), **more)


def _open(ret: int) -> Open:
    return Open(**_header(ret=ret, syscall="openat"), path="/etc/shadow", asked="/etc/shadow", flags=0, resolved=ret >= 0)


def test_an_alert_carries_everything_known() -> None:
    watch = Watch(parse_rules(RULES, "f"), "node-1", "boot")
    watch.handle(_exec(), _Facts(), 2000)
    (alert,) = watch.handle(_open(-13), _Facts(), 3000)
    assert alert.output == "cat opened /etc/shadow (EACCES) port=<NA> 100% reg:5000/a/b:1.2 <NA>"
    assert alert.output_fields["fd.name"] == "/etc/shadow"
    assert (alert.denied, alert.stopped) == (True, REFUSED)
    assert (alert.container_name, alert.image_digest, alert.promotion) == ("web", D, "promoted")
    assert alert.package == "coreutils 9.1"
    assert [process.comm for process in alert.lineage] == ["cat"]
    assert [(why.condition, why.value, why.result) for why in alert.why] == [
        ("evt.type = openat", "openat", True),
        ("fd.name startswith /etc", "/etc/shadow", True),
    ]
    assert (alert.time_ns, alert.raised_ns, alert.node, alert.priority) == (1000, 3000, "node-1", "Error")


@pytest.mark.parametrize(("ret", "denied"), [(-13, True), (-1, True), (-30, True), (-2, False), (-111, False), (3, False)])
def test_denied_means_refused_by_the_system(ret: int, denied: bool) -> None:
    (alert,) = Watch(parse_rules(RULES, "f"), "n").handle(_open(ret), _Facts(), 1)
    assert alert.denied is denied
    assert alert.stopped == (REFUSED if denied else "")


def test_all_rules_speak_or_only_the_first() -> None:
    every = Watch(parse_rules(RULES, "f"), "n").handle(_exec(killed=True), _Facts(), 1)
    assert [(alert.rule, alert.action, alert.stopped) for alert in every] == [
        ("Run", "freeze", KILLED),
        ("Run again", "alert", KILLED),
    ]
    assert len({alert.id for alert in every}) == 2
    first = Watch(parse_rules(RULES, "f"), "n", first_match=True).handle(_exec(), _Facts(), 1)
    assert [alert.rule for alert in first] == ["Run"]


def test_an_unknown_container_still_raises_its_alert() -> None:
    event = Exec(**_header(container="cd" * 32), path="/bin/x", argv=("x",))
    alert = Watch(parse_rules(RULES, "f"), "n").handle(event, _Facts(), 1)[0]
    assert (alert.container, alert.container_name, alert.image_digest, alert.promotion) == ("cd" * 32, "", None, "unknown")


def _silence(**more: Any) -> Silence:
    return Silence(**{"id": "s", "rule": "Run", "container_name": "", "reason": "known", "actor": "me", "created_ns": 10, "until_ns": 100,
                      **more})  # fmt: skip


def test_a_silence_has_rule_place_and_end() -> None:
    silences = Silences()
    silences.put(_silence(container_name="web"))
    assert silences.active("Run", "web", 99) is not None
    assert silences.active("Run", "web", 100) is None
    assert silences.active("Run", "api", 50) is None
    assert silences.active("Other", "web", 50) is None
    silences.put(_silence(container_name="web", until_ns=20))  # ended early
    assert silences.active("Run", "web", 50) is None


@pytest.mark.parametrize("wrong", [{"reason": "  "}, {"until_ns": 0}, {"rule": ""}, {"reason": "x" * 2000}])
def test_a_silence_needs_reason_and_expiry(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Silences().put(_silence(**wrong))
