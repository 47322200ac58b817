"""Steps 9 and 10, in the crash and after: attacks, frozen container and replacement, and the evidence of it."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from shipwall.adapters.supervise import wait_until
from shipwall.demo import attacks
from shipwall.demo.stage import Stage
from shipwall.journeys.collect import KEY_NAME, verify_evidence
from shipwall.model.errors import TrustError


class Crash:
    """One intrusion: `alert` is the one that froze the container."""

    alert: dict[str, Any]

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.story = stage.story

    def attack(self) -> None:
        """Each attack raises its alert; the dropped program never runs; the reverse shell freezes."""
        stage = self.stage
        gateway = stage.running.gateway
        listener = stage.listen(gateway)
        for attack in stage.scenario.attacks:
            began = time.time_ns()
            _, text = attacks.send(stage.port, "/public/price", attacks.render_attack(attack, stage.scenario, gateway))
            alert = stage.alert(attacks.RULES[attack], began)
            self.story.expect(bool(alert), f"the rule {attacks.RULES[attack]!r} speaks", text)
            took = (alert["raised_ns"] - alert["event"]["time_ns"]) / 1e6
            self.story.fact(f"{attacks.WORDS[attack]}: {alert['rule']} after {took:.2f} ms; {alert['stopped'] or 'seen'}")
            if attack == "dropped-file":
                self._check_dropped(alert)
            if attack == "reverse-shell":
                self._check_frozen(alert, listener)

    def _check_dropped(self, alert: dict[str, Any]) -> None:
        self.story.expect(alert["event"].get("killed") is True, "the dropped program is killed at exec")
        _, text = attacks.send(self.stage.port, "/public/price", f"open('/tmp/{self.stage.scenario.dropped}.ran').read()")
        self.story.expect(json.loads(text) == {"price": ""}, "it did not run one instruction", text)

    def _check_frozen(self, alert: dict[str, Any], listener: subprocess.Popen[bytes]) -> None:
        frozen = alert["container"]
        self.story.expect(
            wait_until(lambda: self.stage.confirmed(alert["id"]) >= {"freeze", "cut", "capture", "replace"}, 60),
            "freeze, cut, capture and replace are confirmed",
            str(sorted(self.stage.confirmed(alert["id"]))),
        )
        steps = {
            row["step"]: row["time_ns"] for row in self.stage.rows("responses", alert=alert["id"]) if row["status"] == "confirmed"
        }
        milliseconds = {step: (at - alert["event"]["time_ns"]) / 1e6 for step, at in steps.items()}
        self.story.fact("from the call: " + ", ".join(f"{step} {ms:.0f} ms" for step, ms in milliseconds.items()))
        for what, act in (
            ("exec in the frozen container", lambda: self.stage.engine.exec_run(frozen, ["id"])),
            ("stop the frozen container", lambda: self.stage.engine.stop(frozen, 1)),
            ("remove the frozen container", lambda: self.stage.engine.remove(frozen, force=True)),
        ):
            self.stage.refused(what, act)
        self.story.expect(wait_until(self.stage.answers, 15), "a clean replacement answers on the same port")
        listener.kill()
        listener.wait()
        self.alert = alert

    def evidence(self) -> None:
        """The bundle verifies with a key from outside, holds the secret's memory, and no byte of it can be changed."""
        row = self.stage.rows("evidence", alert=self.alert["id"])[-1]
        path = Path(row["path"])
        keys = self.stage.keys.public(KEY_NAME)
        report = verify_evidence(path, keys, {"head": row["head"]})
        self.story.fact(f"bundle {row['bundle']}: {row['records']} records, {row['size_bytes'] / 1e6:.1f} MB, {report.kinds}")
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        broken = self.stage.instance.state / "broken.evidence"
        broken.write_bytes(data)
        try:
            verify_evidence(broken, keys, {"head": row["head"]})
        except TrustError as error:
            self.story.fact(f"one changed bit is found: {error.reason}")
        else:
            self.story.expect(False, "a changed bit is found")
        finally:
            broken.unlink()
