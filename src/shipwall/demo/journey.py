"""The journey: one image from its build to its crash, told step by step. Everything it shows was done by the product, now."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from shipwall.access.hardening import Published, RunOptions
from shipwall.adapters.debian_archive import DebianArchive
from shipwall.adapters.functions import write_function
from shipwall.adapters.instance import Instance
from shipwall.adapters.inventories import Inventories
from shipwall.adapters.keys import Keys
from shipwall.adapters.link import Link
from shipwall.adapters.private_engine import PrivateEngine, Running
from shipwall.adapters.registry import Registry
from shipwall.adapters.report import Reporter
from shipwall.adapters.supervise import wait_until
from shipwall.demo import attacks
from shipwall.demo.scenario import Scenario
from shipwall.demo.story import Story
from shipwall.journeys.build import Built, build_base, build_image
from shipwall.journeys.collect import KEY_NAME, verify_evidence
from shipwall.journeys.enrol import enrol_engine, private_target
from shipwall.journeys.promote import judge_image, promote_image
from shipwall.journeys.rebuild import Examined, rebuild_children, render_summary
from shipwall.journeys.run import Ran, run_container
from shipwall.journeys.scan import list_image, scan_inventory
from shipwall.journeys.serve import Node, Serving
from shipwall.journeys.sign import facts_of_build, sign_image
from shipwall.journeys.uninstall import uninstall
from shipwall.model.digest import ImageIdentity
from shipwall.model.errors import RemoteError, TrustError
from shipwall.model.image import ImageRef
from shipwall.model.verdict import Verdict
from shipwall.model.wire import Answer, ImageStep, Query
from shipwall.supply.lineage import RebuildStep
from shipwall.supply.policy import Policy, parse_policy

POLICY = """version: 1
routes:
  - from: {development}
    to: {production}
    packages:
      deny:
        - name: tcpdump
          reason: a sniffer has no place in production
    findings:
      fixable: none
    attestations:
      - {{type: provenance, by: [build]}}
      - {{type: scan, by: [build], max_age: 24h}}
"""

RESPONSE = """responses:
  - rules: ["{rule}"]
    containers: ["{container}*"]
    steps: [freeze, cut, capture, replace]
limits:
  cooldown_s: 0
"""


class Journey:
    """One telling on this machine. `run` tells all of it; `close` ends everything it started."""

    def __init__(self, instance: Instance, scenario: Scenario, story: Story) -> None:
        self.instance = instance
        self.scenario = scenario
        self.story = story
        self.private = PrivateEngine(instance, dies_with_us=True)
        self.node: Node | None = None
        self.table: list[dict[str, str]] = []
        self.port = 0
        self._closing = ExitStack()
        self._examined: dict[str, Examined] = {}
        self._report = Reporter(instance.link_socket)

    def close(self) -> None:
        """End agent, server, engine and registry; the state folder stays for whoever wants to look."""
        if self.node is not None:
            self.node.stop()
            self.node = None
        self._closing.close()
        self.private.take_away()

    def run(self) -> None:
        """Tell the journey. Raises what the first broken step raised."""
        step = self.story.step
        step(1, "Engine and registry in namespaces of their own, server and console", self.start)
        step(2, "Build: a base from the archive's release pocket, and the shop on it", self.build)
        step(3, "List and scan", self.scan)
        step(4, f"Gate: {self.scenario.development} → {self.scenario.production}", self.refuse)
        step(5, "Rebuild on a base with security updates, without the mistake", self.rebuild)
        step(6, "Sign and promote", self.promote)
        step(7, "Admit: only what was promoted may run", self.admit)
        step(8, "Observe", self.observe)
        step(9, "Crash: an intruder comes through the published port", self.attack)
        step(10, "Evidence", self.evidence)
        step(11, "Console", self.console)
        self.table = self.stored_table()

    # -- 1 to 6: before the crash ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Everything fresh: state of an earlier telling is taken away first."""
        uninstall(self.instance)
        running = self.private.start()
        self.engine = self._closing.enter_context(self.private.engine())
        self.registry = self._closing.enter_context(Registry(running.registry))
        self.running: Running = running
        self.keys = Keys(self.instance.keys)
        self.inventories = Inventories(self.instance.state / "inventories")
        self.archive = self._closing.enter_context(DebianArchive(report=self.story.working))
        response = self.instance.state / "response.yaml"
        response.write_text(RESPONSE.format(rule=attacks.RULES["reverse-shell"], container=self.scenario.container))
        self.node = Node(Serving(self.instance, engine=self.private.socket, cgroup=running.cgroup, response=response))
        self.node.start(self.story.working, agent=False)  # builds install packages: nothing to be alarmed about
        version = self.engine.version()
        self.story.fact(f"Docker Engine {version.get('Version')}, registry {running.registry}, containers in {running.bridge}")
        self.story.fact(f"console {self.node.console}; nothing is enforced yet")

    def build(self) -> None:
        """Base and shop, as a careless developer left them."""
        self.base = self._base(security=False)
        self.context = self._context("shop")
        self.shop = self._shop(self.base.identity)
        self.story.fact(f"base   {self.base.identity.manifest}")
        self.story.fact(f"shop   {self.shop.identity.manifest}  pushed to {self.scenario.development}")

    def scan(self) -> None:
        """The packages, and what the security archive says about them."""
        found = self.examine(self.shop.identity)
        files = sum(len(package.files) for package in found.inventory.packages)
        ids = {finding.id for finding in found.scan.findings}
        self.story.fact(f"{len(found.inventory.packages)} packages owning {files} files")
        self.story.fact(f"{len(found.scan.findings)} findings, {len(ids)} ids; {found.scan.advisories}")
        for finding in found.scan.findings[:3]:
            package = finding.package
            self.story.fact(f"  {finding.id:16} {package.name} {package.version} → {finding.fixed_version}")
        self.story.expect(bool(found.scan.findings), "an image from the release pocket misses security updates")
        self.story.expect(not any("findings of" in skipped.what for skipped in found.scan.skipped), "the archive could be asked")

    def refuse(self) -> None:
        """The policy refuses, with every reason."""
        self.policy: Policy = parse_policy(
            POLICY.format(development=self.scenario.development, production=self.scenario.production).encode(), "policy.yaml"
        )
        verdict = self._judge(self.shop.identity)
        self.story.expect(not verdict.allowed, "the gate refuses the careless image")
        self._show_reasons(verdict)

    def rebuild(self) -> None:
        """New base; the child is found by its layers and built again."""
        new_base = self._base(security=True)
        dockerfile = self.context / "Dockerfile"
        dockerfile.write_text(dockerfile.read_text().replace(" tcpdump", ""))

        def build(_step: RebuildStep, parent: ImageIdentity) -> ImageIdentity:
            self.rebuilt = self._shop(parent)
            return self.rebuilt.identity

        plan, done = rebuild_children(
            self.base.identity,
            new_base.identity,
            [self.base.identity, self.shop.identity],
            build,
            self.examine,
            lambda _image: f"{self.registry.host}/{self.scenario.development}",
            self._report,
        )
        self.story.expect(len(done) == 1, "one child lies on the old base", f"{len(plan.steps)}")
        self.story.fact(render_summary(done[0].packages, done[0].findings))
        self.story.fact(f"shop is now {done[0].image.manifest}")

    def promote(self) -> None:
        """Statements beside the image, the gate once more, the copy by digest."""
        found = self.examine(self.rebuilt.identity)
        now = time.time_ns()
        signed = sign_image(
            self.registry,
            self.scenario.development,
            found.inventory,
            found.scan,
            facts_of_build(self.rebuilt, {"PLUGINS": self.scenario.plugins}),
            self.keys.signer("build"),
            now,
            self._report,
        )
        self.story.fact("signed: " + ", ".join(one.kind for one in signed))
        promoted = promote_image(
            self.registry,
            self.scenario.development,
            self.policy,
            self.keys,
            self.instance,
            found.inventory,
            found.scan,
            time.time_ns(),
            tag="1",
            report=self._report,
        )
        if not promoted.judged.verdict.allowed:
            self._show_reasons(promoted.judged.verdict)
        self.story.expect(promoted.promotion is not None, "the gate lets the rebuilt image pass")
        self.story.fact(
            f"{self.scenario.production}@{self.rebuilt.identity.manifest} with {len(promoted.judged.statements)} statements"
        )

    # -- 7 and 8: while driving -----------------------------------------------------------------------------------------

    def admit(self) -> None:
        """The engine asks the agent from now on."""
        assert self.node is not None
        self.node.start_agent()
        for function in ("admission", "kill", "response"):
            modes = write_function(self.instance, function, "enforce")
        self.story.expect(wait_until(lambda: self._functions() == modes, 10), "the agent follows the functions", str(modes))
        enrol_engine(self.instance, private_target(self.instance))
        name = f"{self.registry.host}/{self.scenario.production}"
        reference = f"{name}@{self.rebuilt.identity.manifest}"
        self.engine.pull(reference)
        careless = self.shop.identity.config
        host: dict[str, Any] = {"Image": self.rebuilt.identity.config}
        for what, body in (
            ("run the image that was not promoted", {"Image": careless}),
            ("run the promoted one privileged", host | {"HostConfig": {"Privileged": True}}),
            ("run it with the host's root folder", host | {"HostConfig": {"Binds": ["/:/host"]}}),
            ("run it in the host's process namespace", host | {"HostConfig": {"PidMode": "host"}}),
        ):
            self._refused(what, partial(self.engine.create, "", body))
        inside_port = 8080
        options = RunOptions(publish=(Published(port=8080, host_port=inside_port),), env=(f"SHOP_TOKEN={self.scenario.secret}",))
        self.ran: Ran = run_container(self.engine, reference, options, self.scenario.container)
        self.port = self.private.forward(0, inside_port)
        self.story.expect(wait_until(self._answers, 15), "the shop answers on its published port")
        self.story.fact(f"{self.ran.name} runs {self.ran.manifest} as {self.ran.user}, published on 127.0.0.1:{self.port}")

    def observe(self) -> None:
        """The container, joined with its image; quiet while it is healthy."""
        for _ in range(20):
            attacks.send(self.port, "/public")
        self.story.expect(
            wait_until(lambda: self._container(self.ran.id).get("promotion") == "promoted", 10),
            "the container is joined with its image",
        )
        found = self._container(self.ran.id)
        self.story.expect(
            found.get("image_digest") == self.rebuilt.identity.manifest, "by manifest digest", str(found.get("image_digest"))
        )
        health = self._rows("health")[-1]
        alerts = self._rows("alerts")
        for alert in alerts:
            self.story.fact(f"alert {alert['rule']}: {alert['output'][:120]}")
        self.story.expect(not alerts, "a healthy shop raises no alert", f"{len(alerts)} alerts")
        self.story.fact(
            f"{health['delivered']} events, {sum(health['lost'].values())} lost, agent {health['rss_bytes'] >> 20} MB, 0 alerts"
        )

    # -- 9 and 10: in the crash and after -------------------------------------------------------------------------------

    def attack(self) -> None:
        """Each attack raises its alert; the dropped program never runs; the reverse shell freezes."""
        gateway = self.running.gateway
        listener = self._listen(gateway)
        for attack in self.scenario.attacks:
            began = time.time_ns()
            _, text = attacks.send(self.port, "/public/price", attacks.render_attack(attack, self.scenario, gateway))
            alert = self._alert(attacks.RULES[attack], began)
            self.story.expect(bool(alert), f"the rule {attacks.RULES[attack]!r} speaks", text)
            took = (alert["raised_ns"] - alert["event"]["time_ns"]) / 1e6
            self.story.fact(f"{attacks.WORDS[attack]}: {alert['rule']} after {took:.2f} ms; {alert['stopped'] or 'seen'}")
            if attack == "dropped-file":
                self._check_dropped(alert)
            if attack == "reverse-shell":
                self._check_frozen(alert, listener)

    def _check_dropped(self, alert: dict[str, Any]) -> None:
        self.story.expect(alert["event"].get("killed") is True, "the dropped program is killed at exec")
        _, text = attacks.send(self.port, "/public/price", f"open('/tmp/{self.scenario.dropped}.ran').read()")
        self.story.expect(json.loads(text) == {"price": ""}, "it did not run one instruction", text)

    def _check_frozen(self, alert: dict[str, Any], listener: subprocess.Popen[bytes]) -> None:
        frozen = alert["container"]
        self.story.expect(
            wait_until(lambda: self._confirmed(alert["id"]) >= {"freeze", "cut", "capture", "replace"}, 60),
            "freeze, cut, capture and replace are confirmed",
            str(sorted(self._confirmed(alert["id"]))),
        )
        steps = {
            row["step"]: row["time_ns"] for row in self._rows("responses", alert=alert["id"]) if row["status"] == "confirmed"
        }
        milliseconds = {step: (at - alert["event"]["time_ns"]) / 1e6 for step, at in steps.items()}
        self.story.fact("from the call: " + ", ".join(f"{step} {ms:.0f} ms" for step, ms in milliseconds.items()))
        for what, act in (
            ("exec in the frozen container", lambda: self.engine.exec_run(frozen, ["id"])),
            ("stop the frozen container", lambda: self.engine.stop(frozen, 1)),
            ("remove the frozen container", lambda: self.engine.remove(frozen, force=True)),
        ):
            self._refused(what, act)
        self.story.expect(wait_until(self._answers, 15), "a clean replacement answers on the same port")
        listener.kill()
        listener.wait()
        self.frozen_alert = alert

    def evidence(self) -> None:
        """The bundle verifies with a key from outside, holds the secret's memory, and no byte of it can be changed."""
        row = self._rows("evidence", alert=self.frozen_alert["id"])[-1]
        path = Path(row["path"])
        keys = self.keys.public(KEY_NAME)
        report = verify_evidence(path, keys, {"head": row["head"]})
        self.story.fact(f"bundle {row['bundle']}: {row['records']} records, {row['size_bytes'] / 1e6:.1f} MB, {report.kinds}")
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        broken = self.instance.state / "broken.evidence"
        broken.write_bytes(data)
        try:
            verify_evidence(broken, keys, {"head": row["head"]})
        except TrustError as error:
            self.story.fact(f"one changed bit is found: {error.reason}")
        else:
            self.story.expect(False, "a changed bit is found")
        finally:
            broken.unlink()

    def console(self) -> None:
        """Where a person sees all of it."""
        assert self.node is not None
        self.story.fact(f"{self.node.console}: journey, sensor, containers, alerts, frozen, evidence")

    # -- hands ----------------------------------------------------------------------------------------------------------

    def examine(self, image: ImageIdentity) -> Examined:
        """List and scan an image of the development repository, once."""
        if image.manifest not in self._examined:
            now = time.time_ns()
            source = f"{self.registry.host}/{self.scenario.development}@{image.manifest}"
            inventory = list_image(source, inventories=self.inventories, say=self.story.working)
            listed = time.time_ns()
            scan = scan_inventory(inventory, self.archive, now)
            self._examined[image.manifest] = Examined(inventory=inventory, scan=scan)
            name = f"{self.registry.host}/{self.scenario.development}"
            packages, findings = len(inventory.packages), len(scan.findings)
            self._step(image, name, "listed", now, listed - now, f"{packages} packages", packages=str(packages))
            self._step(image, name, "scanned", listed, time.time_ns() - listed, f"{findings} findings", findings=str(findings))
        return self._examined[image.manifest]

    def _step(self, image: ImageIdentity, name: str, step: str, at: int, took: int, summary: str, **facts: str) -> None:
        self._report(
            ImageStep(digest=image.manifest, image=name, step=step, time_ns=at, duration_ns=took, summary=summary, facts=facts)
        )

    def _base(self, *, security: bool) -> Built:
        return build_base(
            self.engine,
            self.registry,
            self.scenario.base,
            "security" if security else "release",
            security=security,
            log=self.story.working,
            report=self._report,
        )

    def _shop(self, base: ImageIdentity) -> Built:
        return build_image(
            self.context,
            self.engine,
            self.registry,
            self.scenario.development,
            "latest",
            base=ImageRef(registry=self.registry.host, repository=self.scenario.base, digest=base.manifest),
            args={"PLUGINS": self.scenario.plugins},
            log=self.story.working,
            report=self._report,
        )

    def _context(self, name: str) -> Path:
        folder = self.instance.state / "context" / name
        with resources.as_file(resources.files("shipwall.demo") / "assets" / name) as assets:
            shutil.copytree(assets, folder, ignore=shutil.ignore_patterns("__pycache__"))
        return folder

    def _judge(self, image: ImageIdentity) -> Verdict:
        found = self.examine(image)
        judged = judge_image(
            self.registry,
            self.scenario.development,
            self.policy,
            self.keys,
            found.inventory,
            found.scan,
            time.time_ns(),
            report=self._report,
        )
        return judged.verdict

    def _show_reasons(self, verdict: Verdict) -> None:
        for reason in verdict.reasons[:6]:
            self.story.fact(f"{reason.code}: {reason.message}" + (f" → {reason.next_step}" if reason.next_step else ""))
        if len(verdict.reasons) > 6:
            self.story.fact(f"and {len(verdict.reasons) - 6} more reasons")

    def _refused(self, what: str, act: Callable[[], object]) -> None:
        began = time.monotonic_ns()
        try:
            act()
        except RemoteError as error:
            took = (time.monotonic_ns() - began) / 1e6
            self.story.fact(f"{what}: refused in {took:.0f} ms: {error.reason[:150]}")
            self.story.expect("shipwall" in error.reason, f"it is admission that refuses to {what}", error.reason)
            return
        self.story.expect(False, f"admission refuses to {what}")

    def stored_table(self) -> list[dict[str, str]]:
        """What was attempted, what stopped it, after how long: from the events the server stored, oldest first."""
        found: list[tuple[int, str, str, str, str]] = []
        for step in self._rows("steps"):
            if step["allowed"] is False:
                reasons = sorted({reason["code"] for reason in step["reasons"]})
                found.append(
                    (step["time_ns"], f"{step['step']} {step['image'].partition('/')[2]}", "gate", ", ".join(reasons), "")
                )
        for asked in self._rows("admissions"):
            if not asked["verdict"]["allowed"]:
                codes = ", ".join(reason["code"] for reason in asked["verdict"]["reasons"])
                path = re.sub(r"[0-9a-f]{64}", lambda digest: digest.group()[:12], asked["uri"].partition("?")[0])
                found.append((asked["time_ns"], f"{asked['method']} {path}", "admission", codes, ""))
        frozen = {
            row["alert"]: row["time_ns"]
            for row in self._rows("responses")
            if (row["step"], row["status"]) == ("freeze", "confirmed")
        }
        for alert in self._rows("alerts"):
            at = alert["event"]["time_ns"]
            how, ended = alert["stopped"] or "alert", alert["raised_ns"]
            if alert["id"] in frozen:
                how, ended = "container frozen, cut off, replaced", frozen[alert["id"]]
            what = " ".join(alert["event"].get("argv") or [alert["event"].get("path") or alert["event"]["comm"]])
            found.append((at, what[:60], alert["rule"], how, f"{(ended - at) / 1e6:.2f}"))
        keys = ("attempted", "stopped_by", "how", "milliseconds")
        return [dict(zip(keys, row[1:], strict=True)) for row in sorted(found)]

    def _rows(self, what: str, **where: str) -> list[dict[str, Any]]:
        with Link(self.instance.link_socket, "cli") as link:
            answer = link.ask(Query(what=what, where=where))
        if not isinstance(answer, Answer) or answer.error:
            raise RemoteError("server", str(getattr(answer, "error", "answered something else")))
        return [dict(row) for row in answer.rows]

    def _functions(self) -> dict[str, str]:
        rows = self._rows("health")
        return dict(rows[-1]["functions"]) if rows else {}

    def _container(self, container: str) -> dict[str, Any]:
        found = self._rows("containers", id=container)
        return found[-1] if found else {}

    def _alert(self, rule: str, since_ns: int) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            found[:] = [row for row in self._rows("alerts", rule=rule) if row["event"]["time_ns"] >= since_ns]
            return bool(found)

        return found[0] if wait_until(is_there, 5) else {}

    def _confirmed(self, alert: str) -> set[str]:
        return {row["step"] for row in self._rows("responses", alert=alert) if row["status"] == "confirmed"}

    def _answers(self) -> bool:
        return attacks.send(self.port, "/public", timeout_s=1.0)[0] == 200

    def _listen(self, gateway: str) -> subprocess.Popen[bytes]:
        """The intruder's listener on the bridge's gateway address."""
        program = (
            "import socket,sys; s=socket.create_server((sys.argv[1],int(sys.argv[2]))); print('listening',flush=True);"
            "c,_=s.accept(); print(c.recv(100),flush=True); c.recv(100)"
        )
        argv = self.private.inside(["/usr/bin/python3", "-c", program, gateway, str(self.scenario.listener_port)])
        listener = subprocess.Popen(argv, stdout=subprocess.PIPE)
        assert listener.stdout is not None
        self._closing.callback(listener.stdout.close)
        self._closing.callback(listener.kill)
        self.story.expect(listener.stdout.readline() == b"listening\n", "the intruder's listener listens")
        return listener


def missing_parts() -> list[str]:
    """Why the journey cannot be told on this machine, a line each; empty when it can."""
    missing = []
    if os.geteuid() != 0:
        missing.append(
            "demo: needs root for the private engine, the kernel part and the freezer; `shipwall image scan` works without"
        )
    if not Path("/sys/kernel/btf/vmlinux").exists():
        missing.append("demo: the kernel has no BTF (/sys/kernel/btf/vmlinux): steps 8 to 10 cannot see anything")
    return missing
