"""Steps 2 to 6, before the crash: the shop is built, listed, scanned, refused, rebuilt, signed and promoted."""

from __future__ import annotations

import shutil
import time
from importlib import resources
from pathlib import Path

from shipwall.demo.stage import Stage
from shipwall.journeys.build import Built, build_base, build_image
from shipwall.journeys.layer import layer_image
from shipwall.journeys.promote import judge_image, promote_image
from shipwall.journeys.rebuild import Examined, rebuild_children, render_summary
from shipwall.journeys.scan import list_image, scan_inventory
from shipwall.journeys.sign import facts_of_build, sign_image
from shipwall.model.digest import ImageIdentity
from shipwall.model.image import ImageRef
from shipwall.model.verdict import Verdict
from shipwall.model.wire import ImageStep
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


class Making:
    """The images of one telling: `base` and `shop` as a careless developer left them, `rebuilt` as it may go to production."""

    base: Built
    shop: Built
    rebuilt: Built
    policy: Policy
    context: Path

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.story = stage.story
        self.scenario = stage.scenario
        self._examined: dict[str, Examined] = {}

    def build(self) -> None:
        """Base and shop, as a careless developer left them."""
        self.base = self._base(security=False)
        self.context = self._context("shop")
        self.shop = self._shop(self.base.identity, security=False)
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
        self.policy = parse_policy(
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
            self.rebuilt = self._shop(parent, security=True)
            return self.rebuilt.identity

        plan, done = rebuild_children(
            self.base.identity,
            new_base.identity,
            [self.base.identity, self.shop.identity],
            build,
            self.examine,
            lambda _image: f"{self.stage.registry.host}/{self.scenario.development}",
            self.stage.report,
        )
        self.story.expect(len(done) == 1, "one child lies on the old base", f"{len(plan.steps)}")
        self.story.fact(render_summary(done[0].packages, done[0].findings))
        self.story.fact(f"shop is now {done[0].image.manifest}")

    def promote(self) -> None:
        """Statements beside the image, the gate once more, the copy by digest."""
        found = self.examine(self.rebuilt.identity)
        signed = sign_image(
            self.stage.registry,
            self.scenario.development,
            found.inventory,
            found.scan,
            facts_of_build(self.rebuilt, {"PLUGINS": self.scenario.plugins}),
            self.stage.keys.signer("build"),
            time.time_ns(),
            self.stage.report,
        )
        self.story.fact("signed: " + ", ".join(one.kind for one in signed))
        promoted = promote_image(
            self.stage.registry,
            self.scenario.development,
            self.policy,
            self.stage.keys,
            self.stage.instance,
            found.inventory,
            found.scan,
            time.time_ns(),
            tag="1",
            report=self.stage.report,
        )
        if not promoted.judged.verdict.allowed:
            self._show_reasons(promoted.judged.verdict)
        self.story.expect(promoted.promotion is not None, "the gate lets the rebuilt image pass")
        self.story.fact(
            f"{self.scenario.production}@{self.rebuilt.identity.manifest} with {len(promoted.judged.statements)} statements"
        )

    def examine(self, image: ImageIdentity) -> Examined:
        """List and scan an image of the development repository, once."""
        if image.manifest not in self._examined:
            now = time.time_ns()
            name = f"{self.stage.registry.host}/{self.scenario.development}"
            inventory = list_image(f"{name}@{image.manifest}", inventories=self.stage.inventories, say=self.story.working)
            listed = time.time_ns()
            scan = scan_inventory(inventory, self.stage.archive, now)
            self._examined[image.manifest] = Examined(inventory=inventory, scan=scan)
            packages, findings = len(inventory.packages), len(scan.findings)
            self._tell(image, name, "listed", now, listed - now, f"{packages} packages", packages=str(packages))
            self._tell(image, name, "scanned", listed, time.time_ns() - listed, f"{findings} findings", findings=str(findings))
        return self._examined[image.manifest]

    def _tell(self, image: ImageIdentity, name: str, step: str, at: int, took: int, summary: str, **facts: str) -> None:
        self.stage.report(
            ImageStep(digest=image.manifest, image=name, step=step, time_ns=at, duration_ns=took, summary=summary, facts=facts)
        )

    def _base(self, *, security: bool) -> Built:
        return build_base(
            self.stage.engine if self.stage.plan.engine else None,
            self.stage.registry,
            self.scenario.base,
            "security" if security else "release",
            security=security,
            log=self.story.working,
            report=self.stage.report,
        )

    def _shop(self, parent: ImageIdentity, *, security: bool) -> Built:
        """The shop on `parent`: by the engine where there is one, else layered out of the same pockets."""
        registry, name = self.stage.registry, self.scenario.development
        base = ImageRef(registry=registry.host, repository=self.scenario.base, digest=parent.manifest)
        args, log, report = {"PLUGINS": self.scenario.plugins}, self.story.working, self.stage.report
        if self.stage.plan.engine:
            return build_image(
                self.context, self.stage.engine, registry, name, "latest", base=base, args=args, log=log, report=report
            )
        return layer_image(
            self.context, registry, name, "latest", base=base, security=security, args=args, log=log, report=report
        )

    def _context(self, name: str) -> Path:
        folder = self.stage.instance.state / "context" / name
        with resources.as_file(resources.files("shipwall.demo") / "assets" / name) as assets:
            shutil.copytree(assets, folder, ignore=shutil.ignore_patterns("__pycache__"))
        return folder

    def _judge(self, image: ImageIdentity) -> Verdict:
        found = self.examine(image)
        return judge_image(
            self.stage.registry,
            self.scenario.development,
            self.policy,
            self.stage.keys,
            found.inventory,
            found.scan,
            time.time_ns(),
            report=self.stage.report,
        ).verdict

    def _show_reasons(self, verdict: Verdict) -> None:
        for reason in verdict.reasons[:6]:
            self.story.fact(f"{reason.code}: {reason.message}" + (f" → {reason.next_step}" if reason.next_step else ""))
        if len(verdict.reasons) > 6:
            self.story.fact(f"and {len(verdict.reasons) - 6} more reasons")
