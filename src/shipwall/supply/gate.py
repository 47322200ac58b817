"""The gate: may this image be promoted, and if not, everything that stands in its way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from shipwall.model.digest import ImageIdentity
from shipwall.model.errors import InputError
from shipwall.model.finding import Finding, ScanResult, Severity
from shipwall.model.package import Inventory, Package, Skipped
from shipwall.model.verdict import Evidence, Reason, Verdict
from shipwall.supply.fail_on import find_failure
from shipwall.supply.policy import DeniedPackage, IgnoredFinding, Policy, Route
from shipwall.supply.report.actions import list_actions
from shipwall.supply.set_aside import finding_evidence, set_aside
from shipwall.supply.statements import MAX_SKEW_NS, RefusedStatement, VerifiedStatement, is_young

MAX_SHOWN_UNJUDGED = 20


def decide_promotion(
    policy: Policy,
    route: Route | None,
    inventory: Inventory,
    scan: ScanResult,
    statements: Sequence[VerifiedStatement | RefusedStatement],
    now_ns: int,
    known: Iterable[ImageIdentity] = (),
    source: str = "",
) -> Verdict:
    """Whether the image of `inventory` may take `route` of `policy`, with EVERY reason against it.

    `scan` is of that inventory, with nothing set aside yet; `statements` are those found beside the image, already verified (the refused
    ones are quoted where one is missing); `known` images give meaning to manifest digests under `bases`; `source` is how the image was
    named. Every verdict names the digest of the policy, and every finding that was set aside, by what and why.
    Trust: a statement about another image does not count; what may set findings aside, `set_aside` says. Raises nothing.
    On failure (no route, unknown image or age): closed.
    """
    judged = Evidence(kind="policy", ref=policy.digest, detail=policy.name)
    if route is None:
        message = f"no route of {policy.name} leads from this repository to that one"
        next_step = "add a route to the policy, or promote to a target that it names"
        return Verdict(
            allowed=False, reasons=(Reason(code="no-route", message=message, evidence=(judged,), next_step=next_step),)
        )
    if inventory.image is None:
        message = "it is not known which image this inventory is of"
        step = "list the image itself: shipwall image list"
        return Verdict(allowed=False, reasons=(Reason(code="no-image", message=message, evidence=(judged,), next_step=step),))
    aside = set_aside(policy, route, inventory, scan, statements, source, now_ns)
    scan = aside.scan
    reasons = [
        *_denied_packages(policy, route, inventory),
        *_findings(policy, route, inventory, scan, aside.ended),
        *_unjudged(policy, route, (*inventory.skipped, *scan.skipped)),
        *_advisories(policy, route, scan, now_ns),
        *_attestations(policy, route, inventory.image, statements, now_ns),
        *_bases(policy, route, inventory.image, known),
    ]
    if reasons:
        return Verdict(allowed=False, reasons=(*reasons, *aside.reasons))
    without = f" and {len(scan.suppressed)} set aside" if scan.suppressed else ""
    counts = f"{len(inventory.packages)} packages, {len(scan.findings)} findings{without}"
    message = f"passes {policy.name}: {counts}, every required statement is there"
    signed = tuple(
        Evidence(kind="statement", ref=one.envelope, detail=f"{one.kind} signed by {', '.join(one.signers)}")
        for one in statements
        if isinstance(one, VerifiedStatement) and one.subject == inventory.image.manifest
    )
    passed = Reason(code="passes-policy", message=message, evidence=(judged, *signed))
    return Verdict(allowed=True, reasons=(passed, *aside.reasons))


def _rule(policy: Policy, line: int) -> Evidence:
    return Evidence(kind="policy", ref=policy.digest, detail=f"{policy.name}:{line}")


def _package_evidence(package: Package) -> tuple[Evidence, ...]:
    where = f"in layer {package.layer}" if package.layer else ""
    name = f"{package.name} {package.version}" + (f" {package.arch}" if package.arch else "")
    return (
        Evidence(kind="package", ref=name, detail=f"source {package.source}" if package.source else ""),
        Evidence(kind="file", ref=package.evidence or "unknown file", detail=where),
    )


def _denied_packages(policy: Policy, route: Route, inventory: Inventory) -> list[Reason]:
    reasons = []
    for rule in route.denied:
        for package in inventory.packages:
            if rule.name not in {package.name, package.source} or not _in_range(rule, package):
                continue
            shown = f"{package.name} {package.version}"
            # The binary's own name gives the command; a rule about the source package denies each of its binaries.
            step = f"build the image without {package.name} (do not install it, or remove it in the layer that adds it)"
            if rule.versions is not None:
                step += f", or with a version outside {rule.versions}"
            message = f"package {shown} is denied: {rule.reason}"
            evidence = (*_package_evidence(package), _rule(policy, rule.line))
            reasons.append(Reason(code="package-denied", message=message, evidence=evidence, next_step=step))
    return reasons


def _in_range(rule: DeniedPackage, package: Package) -> bool:
    if rule.versions is None:
        return True
    try:
        return rule.versions.holds(package.version)
    except InputError:
        return True  # a version that cannot be compared is not shown to be outside the range: closed


def _findings(
    policy: Policy, route: Route, inventory: Inventory, scan: ScanResult, ended: Sequence[tuple[IgnoredFinding, Finding]]
) -> list[Reason]:
    if (route.fixable == "none" or route.limits or route.denials) and not scan.advisories:
        # No advisories were there to compare with: nothing found says nothing, whatever `unjudged` allows.
        evidence = (
            *(Evidence(kind="file", ref=one.what, detail=one.reason) for one in scan.skipped[:1]),
            _rule(policy, route.line),
        )
        message = "the findings of this image are not known: no advisories were read"
        step = "scan again where the distribution's security archive can be reached"
        return [Reason(code="findings-unknown", message=message, evidence=evidence, next_step=step)]
    reasons = []
    if route.fixable == "none":
        fixable: dict[tuple[str, str], list[Finding]] = defaultdict(list)
        for finding in scan.findings:
            if finding.fixed_version:
                fixable[finding.package.source or finding.package.name, finding.package.source_version].append(finding)
        reasons += [_fixable(policy, route, source, found) for (source, _), found in sorted(fixable.items())]
    for severity, most in sorted(route.limits.items()):
        found = [finding for finding in scan.findings if finding.severity is severity]
        if len(found) > most:
            reasons.append(_over_limit(policy, route, severity, most, found))
    reasons += _denied_findings(policy, route, inventory, scan)
    # An exception that has run out is said only where it would have mattered.
    for rule, hit in ended if route.fixable == "none" or route.limits or route.denials else ():
        message = f"the exception for {rule.entry} has run out on {rule.entry.until}: {rule.entry.reason}"
        step = f"mend {hit.id}, or judge it anew and set a later `until`"
        file = (Evidence(kind="file", ref=rule.file.name, detail=rule.file.digest),) if rule.file is not None else ()
        evidence = (finding_evidence(hit), *file, _rule(policy, rule.line))
        reasons.append(Reason(code="exception-expired", message=message, evidence=evidence, next_step=step))
    return reasons


def _fixable(policy: Policy, route: Route, source: str, found: list[Finding]) -> Reason:
    """One reason per source package: one update mends all its findings."""
    binaries = sorted({finding.package.name: finding.package for finding in found}.items())
    fixed = [action.to for action in list_actions(found)]  # the highest of each package: that ends all of them
    ids = sorted({finding.id for finding in found})
    installed = ", ".join(sorted({package.version for _, package in binaries}))
    message = f"{source} {installed} has {len(ids)} {'finding' if len(ids) == 1 else 'findings'} with a fix: {_listed(ids)}"
    step = f"rebuild on a base, or with an upgrade, that has {source} {' / '.join(dict.fromkeys(fixed))}"
    evidence = [finding_evidence(finding) for finding in sorted(found, key=lambda one: (one.id, one.package.name))]
    files = {(package.evidence, package.layer) for _, package in binaries if package.evidence}
    evidence += [Evidence(kind="file", ref=path, detail=f"in layer {layer}" if layer else "") for path, layer in sorted(files)]
    return Reason(code="finding-fixable", message=message, evidence=(*evidence, _rule(policy, route.line)), next_step=step)


def _denied_findings(policy: Policy, route: Route, inventory: Inventory, scan: ScanResult) -> list[Reason]:
    """One reason per condition, with every finding it hit. A condition that cannot be computed refuses: closed."""
    reasons = []
    for rule in route.denials:
        shown = f"`{rule.condition.text}`"
        try:
            failure = find_failure(rule.condition, scan, inventory)
        except InputError as error:
            message, step = f"{shown} cannot be computed: {error.reason}", "mend the condition in the policy"
            reasons.append(
                Reason(code="deny-not-computed", message=message, evidence=(_rule(policy, rule.line),), next_step=step)
            )
            continue
        if failure is None:
            continue
        found = sorted(failure.findings, key=lambda one: (one.id, one.package.name))
        ids = sorted({finding.id for finding in found})
        if found:
            message = f"{shown} is true of {len(found)} {'finding' if len(found) == 1 else 'findings'}: {_listed(ids)}"
            mendable = sorted({one.package.source or one.package.name for one in found if one.fixed_version})
            step = f"update {_listed(mendable)}" if mendable else "remove the package, or ignore the id with a reason and an end"
        else:
            message, step = f"{shown} is true of this scan", "mend what it counts, or scan again"
        evidence = (*(finding_evidence(finding) for finding in found), _rule(policy, rule.line))
        reasons.append(Reason(code="finding-denied", message=message, evidence=evidence, next_step=step))
    return reasons


def _listed(words: list[str]) -> str:
    return ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")


def _over_limit(policy: Policy, route: Route, severity: Severity, most: int, found: list[Finding]) -> Reason:
    message = f"{len(found)} findings of severity {severity}, at most {most} allowed"
    mendable = [finding for finding in found if finding.fixed_version]
    step = f"update {', '.join(sorted({finding.package.name for finding in mendable})[:10])}" if mendable else ""
    if len(found) - len(mendable) > most:
        step += ("; " if step else "") + "for those without a fix remove the package, or ignore the id with a reason and an end"
    evidence = tuple(finding_evidence(finding) for finding in sorted(found, key=lambda one: (one.id, one.package.name)))
    return Reason(code="findings-over-limit", message=message, evidence=(*evidence, _rule(policy, route.line)), next_step=step)


def _unjudged(policy: Policy, route: Route, skipped: Sequence[Skipped]) -> list[Reason]:
    if route.unjudged == "allow" or not skipped:
        return []
    evidence = [Evidence(kind="file", ref=one.what, detail=one.reason) for one in skipped[:MAX_SHOWN_UNJUDGED]]
    if len(skipped) > MAX_SHOWN_UNJUDGED:
        evidence.append(Evidence(kind="file", ref=f"{len(skipped) - MAX_SHOWN_UNJUDGED} more", detail="in the scan's own list"))
    message = f"{len(skipped)} parts of the image could not be read or judged, first {skipped[0].what}: {skipped[0].reason}"
    step = "mend or remove them, or accept what is not judged: `findings: {unjudged: allow}`"
    return [Reason(code="not-judged", message=message, evidence=(*evidence, _rule(policy, route.line)), next_step=step)]


def _advisories(policy: Policy, route: Route, scan: ScanResult, now_ns: int) -> list[Reason]:
    most = route.advisories_max_age_ns
    if most is None:
        return []
    age_ns = now_ns - scan.advisories_time_ns
    if scan.advisories_time_ns > 0 and -MAX_SKEW_NS <= age_ns <= most:
        return []
    age = _age(scan.advisories_time_ns, now_ns)
    message = f"the advisories of the scan are {age}, at most {_span(most)} allowed"
    evidence = (Evidence(kind="file", ref=scan.advisories or "no advisories", detail=age), _rule(policy, route.line))
    step = "scan again with fresh advisories: shipwall image scan"
    return [Reason(code="advisories-too-old", message=message, evidence=evidence, next_step=step)]


def _attestations(
    policy: Policy,
    route: Route,
    image: ImageIdentity,
    statements: Sequence[VerifiedStatement | RefusedStatement],
    now_ns: int,
) -> list[Reason]:
    reasons = []
    for rule in route.attestations:
        present = [one for one in statements if isinstance(one, VerifiedStatement) and one.kind == rule.kind]
        about = [one for one in present if one.subject == image.manifest]
        signed = [one for one in about if set(one.signers) & set(rule.by)]
        if any(is_young(one, rule.max_age_ns, now_ns) for one in signed):
            continue
        if signed:
            newest = max(signed, key=lambda one: one.time_ns)
            age = _age(newest.time_ns, now_ns)
            assert rule.max_age_ns is not None
            message = f"the signed {rule.kind} is {age}, at most {_span(rule.max_age_ns)} allowed"
            code, evidence = "attestation-too-old", [Evidence(kind="statement", ref=newest.envelope, detail=age)]
        else:
            message = f"no {rule.kind} signed by {' or '.join(rule.by)} for {image.manifest}"
            code, evidence = "attestation-missing", []
            evidence += [
                Evidence(
                    kind="statement", ref=one.envelope, detail=f"{rule.kind} signed by {', '.join(one.signers)} does not count"
                )
                for one in about
            ]
            evidence += [
                Evidence(kind="statement", ref=one.envelope, detail=f"{rule.kind} about {one.subject} does not count")
                for one in present
                if one.subject != image.manifest
            ]
            evidence += [
                Evidence(kind="statement", ref=one.envelope, detail=one.reason)
                for one in statements
                if isinstance(one, RefusedStatement) and one.kind in {rule.kind, ""}
            ]
            if not evidence:
                evidence.append(Evidence(kind="statement", ref=f"{rule.kind} of {image.manifest}", detail="none was found"))
        step = f"have {' or '.join(rule.by)} sign it: shipwall image sign IMAGE"
        reasons.append(Reason(code=code, message=message, evidence=(*evidence, _rule(policy, rule.line)), next_step=step))
    return reasons


def _bases(policy: Policy, route: Route, image: ImageIdentity, known: Iterable[ImageIdentity]) -> list[Reason]:
    if not route.bases:
        return []
    chains = set(image.chain_ids)
    if chains & set(route.bases):
        return []
    if any(other.manifest in route.bases and image.is_child_of(other) for other in known):
        return []
    bottom = image.chain_ids[0] if image.diff_ids else "no layer"
    message = "the image is not built on an allowed base"
    evidence = (Evidence(kind="file", ref=bottom, detail="lowest layer of the image"), _rule(policy, route.line))
    step = f"build it on one of: {', '.join(route.bases[:3])}"
    return [Reason(code="base-not-allowed", message=message, evidence=evidence, next_step=step)]


def _span(span_ns: int) -> str:
    """`span_ns` in words: the largest unit that gives at least 2, whole."""
    for unit, name in ((86400 * 10**9, "days"), (3600 * 10**9, "hours"), (60 * 10**9, "minutes")):
        if span_ns >= 2 * unit:
            return f"{span_ns // unit} {name}"
    return f"{span_ns // 10**9} s"


def _age(time_ns: int, now_ns: int) -> str:
    """How old something of `time_ns` (0: unknown) is, as it stands after "is"."""
    if time_ns <= 0:
        return "of unknown age"
    return f"{_span(now_ns - time_ns)} old" if time_ns <= now_ns else f"dated {_span(time_ns - now_ns)} in the future"
