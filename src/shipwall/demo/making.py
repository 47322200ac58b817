"""Steps 2 to 6, before the crash: the shop is built, listed, scanned, refused, rebuilt, signed and promoted."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from importlib import resources
from pathlib import Path

import msgspec

from shipwall.adapters.fleet import Fleet
from shipwall.demo.stage import Stage
from shipwall.journeys.archive_feed import import_archive
from shipwall.journeys.build import Built, build_base, build_image
from shipwall.journeys.fleet import find_images
from shipwall.journeys.layer import layer_image
from shipwall.journeys.promote import judge_image, promote_image
from shipwall.journeys.rebuild import Examined, rebuild_children, render_summary
from shipwall.journeys.rejudge import judge_fleet
from shipwall.journeys.scan import list_image, scan_inventory
from shipwall.journeys.sign import facts_of_build, sign_image
from shipwall.model.digest import ImageIdentity
from shipwall.model.finding import ScanResult, Suppressed
from shipwall.model.image import ImageRef, parse_image_ref
from shipwall.model.package import Inventory
from shipwall.model.verdict import Verdict
from shipwall.model.wire import ImageStep
from shipwall.supply.layer_owners import KnownBase, tell_layers
from shipwall.supply.lineage import RebuildStep
from shipwall.supply.policy import Policy, parse_policy
from shipwall.supply.report.actions import list_actions
from shipwall.supply.vex import Status, render_openvex

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
      vex:
        - {{by: [security]}}
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
    query: str
    """What `image find` is asked: a package of the base that is behind."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.story = stage.story
        self.scenario = stage.scenario
        self._examined: dict[str, Examined] = {}
        self._listed: list[Inventory] = []

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
        self.story.expect(bool(found.scan.findings), "an image from the release pocket misses security updates")
        actions = list_actions(found.scan.findings)
        for one in actions[:3]:
            what = f"{one.findings} {'finding' if one.findings == 1 else 'findings'}: {', '.join(one.ids[:2])}"
            self.story.fact(f"  upgrade {one.package} {one.installed} → {one.to} ends {what}{', …' * (len(one.ids) > 2)}")
        if len(actions) > 3:
            self.story.fact(f"  and {len(actions) - 3} upgrades more end the rest")
        self._tell_owners(found)

    def _tell_owners(self, found: Examined) -> None:
        """Who can mend it, by the layers; and which kept images have the same, without opening one."""
        assert found.inventory.image is not None
        list_image(self._base_name, inventories=self.stage.inventories, fleet=self.stage.instance.fleet, say=self.story.working)
        with Fleet(self.stage.instance.fleet) as fleet:
            base = fleet.base_of(found.inventory.image)
            self.story.expect(base is not None, "the base is recognised by its layers")
            assert base is not None
            told = tell_layers(found.inventory, found.scan, [KnownBase(identity=base.identity, name=base.names[-1])])
            counts = Counter(one.mended_by for _layer, one in told.findings)
            self.story.fact("mended by " + ", by ".join(f"{who}: {count}" for who, count in counts.most_common()))
            of_base = next(one.finding for _layer, one in told.findings if one.mended_by == "a newer base")
            self.query = f"{of_base.package.name} < {of_base.fixed_version}"
            names = self._having(fleet)
        self.story.fact(f"image find '{self.query}': {', '.join(sorted(names))}")
        self.story.expect({self.scenario.base, self.scenario.development} <= names, "base and shop both have it")

    def _having(self, fleet: Fleet) -> set[str]:
        """The repositories of the kept images that `query` finds."""
        answer = find_images(fleet, self.query)
        return {parse_image_ref(image.names[-1]).repository for one in answer.found for image in one.images}

    def refuse(self) -> None:
        """The policy refuses, with every reason."""
        self.policy = parse_policy(
            POLICY.format(development=self.scenario.development, production=self.scenario.production).encode(), "policy.yaml"
        )
        self._plead(self.examine(self.shop.identity))
        verdict = self._judge(self.shop.identity)
        self.story.expect(not verdict.allowed, "the gate refuses the careless image")
        self._show_reasons(verdict)
        told = next((one for one in verdict.reasons if one.code == "vex-not-accepted"), None)
        self.story.expect(told is not None, "the developer's own word is named, and changes nothing")
        assert told is not None
        self.story.fact(f"{told.code}: {told.evidence[0].detail}")

    def _plead(self, found: Examined) -> None:
        """The developer signs, with a key of his own, that none of it matters, and puts that beside the image."""
        excuse = "vulnerable_code_not_in_execute_path"
        claims = tuple(
            Suppressed(finding=one, by="developer", status=Status.NOT_AFFECTED, reason=excuse) for one in found.scan.findings
        )
        sign_image(
            self.stage.registry,
            self.scenario.development,
            found.inventory,
            None,
            None,
            self.stage.keys.signer("developer"),
            time.time_ns(),
            self.stage.report,
            [render_openvex(claims, found.inventory, "developer", time.time_ns())],
        )

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
        with Fleet(self.stage.instance.fleet) as fleet:
            answer = find_images(fleet, self.query)
        having = {image.identity.manifest for one in answer.found for image in one.images}
        self.story.expect(done[0].image.manifest not in having, f"the new shop is not among those with {self.query}")

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
            inventory = list_image(
                f"{name}@{image.manifest}",
                inventories=self.stage.inventories,
                fleet=self.stage.instance.fleet,
                say=self.story.working,
            )
            listed = time.time_ns()
            scan = self._scan(inventory, now)
            self._examined[image.manifest] = Examined(inventory=inventory, scan=scan)
            packages, findings = len(inventory.packages), len(scan.findings)
            self._tell(image, name, "listed", now, listed - now, f"{packages} packages", packages=str(packages))
            self._tell(image, name, "scanned", listed, time.time_ns() - listed, f"{findings} findings", findings=str(findings))
        return self._examined[image.manifest]

    def _scan(self, inventory: Inventory, now_ns: int) -> ScanResult:
        """By the database alone, after it was told what the archive says of these packages; then the whole fleet anew."""
        self._listed.append(inventory)
        database = self.stage.instance.advisories
        imported = import_archive(database, self.stage.archive, self._listed, now_ns)
        judge_fleet(self.stage.instance, database, now_ns)
        scan = scan_inventory(inventory, None, now_ns, database)
        return msgspec.structs.replace(scan, skipped=(*scan.skipped, *imported.skipped))

    @property
    def _base_name(self) -> str:
        return f"{self.stage.registry.host}/{self.scenario.base}@{self.base.identity.manifest}"

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
