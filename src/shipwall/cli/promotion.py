"""`shipwall image gate | sign | verify | promote`: the way of an image from where it is built to where it may run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shipwall.cli.judgements import ObservedOption
from shipwall.cli.output import Output, OutputOption, console, neutral, print_json, stderr
from shipwall.cli.sources import (
    AdvisoryOptions,
    ArchiveOption,
    CacheOption,
    HttpOption,
    ImageArgument,
    KeyringOption,
    OfflineOption,
    Place,
    StateOption,
    SuiteOption,
    examine_source,
    inventories_of,
    open_place,
    progress,
    show_table,
)
from shipwall.model.errors import InputError, RemoteError, StorageError

if TYPE_CHECKING:
    from shipwall.journeys.promote import Judged
    from shipwall.model.digest import ImageIdentity
    from shipwall.model.verdict import Reason
    from shipwall.supply.policy import Policy

_MAX_BUILT_BYTES = 1024 * 1024

PolicyOption = Annotated[Path, typer.Option("--policy", help="promotion policy (YAML)")]
TargetOption = Annotated[str, typer.Option("--to", help="target repository; default: where the policy's route leads")]


def register(app: typer.Typer) -> None:
    """Add the commands to the group `app`."""
    app.command("gate")(gate)
    app.command("sign")(sign)
    app.command("verify")(verify)
    app.command("promote")(promote)


def gate(
    image: ImageArgument,
    policy: PolicyOption,
    to: TargetOption = "",
    observed: ObservedOption = False,
    output: OutputOption = Output.TABLE,
    archive: ArchiveOption = "",
    suite: SuiteOption = None,
    keyring: KeyringOption = None,
    cache: CacheOption = None,
    offline: OfflineOption = False,
    allow_http: HttpOption = False,
    state: StateOption = None,
) -> None:
    """May an image be promoted? Lists, scans and judges it anew, and names every reason with its evidence and the way to pass.

    Findings are set aside by what the policy names, and by nothing else: docs/formats/policy.md. With --observed its conditions may ask
    `finding.in_use`.

    Exit codes: 0 it may; 1 it may not; 3 the policy or the image is wrong; 6 registry not reached.

    Examples:

      shipwall image gate 127.0.0.1:5000/dev/shop:1 --policy policy.yaml

      shipwall image gate 127.0.0.1:5000/dev/shop:1 --policy policy.yaml --to prod/shop --output json
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.keys import Keys
    from shipwall.adapters.report import Reporter
    from shipwall.journeys.promote import judge_image, load_policy

    instance, rules = find_instance(state), load_policy(policy)
    with open_place(image, allow_http) as place:
        scanned = examine_source(
            place.source, AdvisoryOptions(archive, suite, keyring, cache, offline), allow_http, state, observed=observed
        )
        for notice in scanned.result.notices:
            stderr.print(f"shipwall: {neutral(notice)}", markup=False)
        judged = judge_image(
            place.registry,
            place.repository,
            rules,
            Keys(instance.keys),
            scanned.inventory,
            scanned.result,
            time.time_ns(),
            to,
            _known_bases(rules, state),
            Reporter(instance.link_socket),
        )
    if output is Output.JSON:
        print_json(_render_judged(judged, rules))
    else:
        _show_judged(judged, rules)
    if not judged.verdict.allowed:
        raise typer.Exit(1)


def sign(
    image: ImageArgument,
    key: Annotated[str, typer.Option("--key", help="signing key; made on first use")] = "build",
    built: Annotated[
        str, typer.Option("--built", help="answer of `image build --output json` ('-': standard input): signs provenance too")
    ] = "",
    scan: Annotated[bool, typer.Option("--scan/--no-scan", help="scan it and sign the findings")] = True,
    vex: Annotated[
        list[Path] | None, typer.Option("--vex", metavar="FILE", help="OpenVEX document to sign too; repeatable")
    ] = None,
    output: OutputOption = Output.TABLE,
    archive: ArchiveOption = "",
    suite: SuiteOption = None,
    keyring: KeyringOption = None,
    cache: CacheOption = None,
    offline: OfflineOption = False,
    allow_http: HttpOption = False,
    state: StateOption = None,
) -> None:
    """Sign what is known of an image (SBOM, scan, and with --built the provenance) and put it beside the image in its registry.

    With --vex also what you say of its findings: a policy counts it that names your key under `findings: {vex: […]}`.

    Exit codes: 0 signed; 3 --built is of another image, or --vex no OpenVEX document; 4 the key may be read by others; 6 registry not
    reached, or nothing to scan with.

    Examples:

      shipwall image sign 127.0.0.1:5000/dev/shop:1

      shipwall image build ./shop --to 127.0.0.1:5000/dev/shop:1 --output json | shipwall image sign 127.0.0.1:5000/dev/shop:1 --built -

      shipwall image sign 127.0.0.1:5000/dev/shop:1 --no-scan --key vendor --vex vendor.openvex.json
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.keys import Keys
    from shipwall.adapters.report import Reporter
    from shipwall.journeys.scan import list_image
    from shipwall.journeys.sign import facts_of_build, load_openvex, sign_image

    instance = find_instance(state)
    documents = load_openvex(vex or ())
    with open_place(image, allow_http) as place:
        facts = facts_of_build(_read_built(built, place), {}) if built else None
        if scan:
            scanned = examine_source(place.source, AdvisoryOptions(archive, suite, keyring, cache, offline), allow_http, state)
            if scanned.unjudged is not None:
                raise RemoteError("findings", scanned.unjudged[1], "mend that, or sign without them: --no-scan")
            inventory, result = scanned.inventory, scanned.result
        else:
            with progress() as say:
                inventory = list_image(place.source, allow_http=allow_http, inventories=inventories_of(state), say=say)
            result = None
        signed = sign_image(
            place.registry,
            place.repository,
            inventory,
            result,
            facts,
            Keys(instance.keys).signer(key),
            time.time_ns(),
            Reporter(instance.link_socket),
            documents,
        )
    if output is Output.JSON:
        print_json({"image": place.manifest, "key": key, "signed": signed})
    else:
        console.print(f"signed {neutral(place.source)} with key {key} ({signed[0].key_id})", markup=False)
        show_table(("statement", "envelope"), [(one.kind, one.envelope) for one in signed])


def verify(
    image: ImageArgument,
    require: Annotated[
        list[str] | None,
        typer.Option("--require", help="kind that must be there and verify; repeatable: sbom, scan, provenance, vex"),
    ] = None,
    output: OutputOption = Output.TABLE,
    allow_http: HttpOption = False,
    state: StateOption = None,
) -> None:
    """Verify the statements beside an image with the trusted keys, and say whether it is promoted here.

    Exit codes: 0 every statement verifies and every required kind is there; 1 otherwise, or there is none; 6 registry not reached.

    Examples:

      shipwall image verify 127.0.0.1:5000/dev/shop:1

      shipwall image verify 127.0.0.1:5000/prod/shop:1 --require sbom --require promotion --output json
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.keys import Keys
    from shipwall.journeys.promote import load_promotion
    from shipwall.journeys.sign import load_statements
    from shipwall.lang.diagnostic import did_you_mean
    from shipwall.supply.statements import KINDS, VerifiedStatement

    for kind in require or ():
        if kind not in KINDS:
            raise InputError(f"--require {kind[:40]!r}", "is no kind of statement", did_you_mean(kind, KINDS) or ", ".join(KINDS))
    instance = find_instance(state)
    with open_place(image, allow_http) as place:
        found = load_statements(place.registry, place.repository, place.manifest, Keys(instance.keys).public())
    rows = []
    for one in found:
        statement = one.statement
        if isinstance(statement, VerifiedStatement):
            rows.append((statement.kind, "verified", "signed by " + ", ".join(statement.signers), statement.envelope))
        else:
            rows.append((statement.kind or "unknown", "refused", statement.reason, statement.envelope))
    missing = sorted(set(require or ()) - {kind for kind, result, _, _ in rows if result == "verified"})
    promotion = load_promotion(instance, place.manifest)
    if output is Output.JSON:
        statements = [{"kind": kind, "result": result, "detail": why, "envelope": ref} for kind, result, why, ref in rows]
        print_json({"image": place.manifest, "statements": statements, "missing": missing, "promotion": promotion})
    else:
        if rows:
            show_table(("statement", "result", "detail", "envelope"), rows)
        else:
            console.print(f"no statement stands beside {neutral(place.source)}; sign it: shipwall image sign", markup=False)
        for kind in missing:
            console.print(f"missing: {kind}", markup=False)
        state_words = f"promoted to {promotion.repository} by policy {promotion.policy}" if promotion else "not promoted here"
        console.print(f"{place.manifest}: {neutral(state_words)}", markup=False)
    if not rows or missing or any(result == "refused" for _, result, _, _ in rows):
        raise typer.Exit(1)


def promote(
    image: ImageArgument,
    policy: PolicyOption,
    to: TargetOption = "",
    tag: Annotated[str, typer.Option("--tag", help="tag in the target; default: that of IMAGE")] = "",
    observed: ObservedOption = False,
    output: OutputOption = Output.TABLE,
    archive: ArchiveOption = "",
    suite: SuiteOption = None,
    keyring: KeyringOption = None,
    cache: CacheOption = None,
    offline: OfflineOption = False,
    allow_http: HttpOption = False,
    state: StateOption = None,
) -> None:
    """Judge an image as `image gate` does; if it may, copy it with its statements by digest, and sign the promotion.

    A promotion that a crash interrupted is finished, or undone when it is older than an hour, before anything else.
    Exit codes: 0 promoted; 1 refused; 3 the policy or the image is wrong; 4 a signature or digest; 6 registry not reached; 8 disk.

    Examples:

      shipwall image promote 127.0.0.1:5000/dev/shop:1 --policy policy.yaml

      shipwall image promote 127.0.0.1:5000/dev/shop:1 --policy policy.yaml --to prod/shop --tag 2026-11 --output json
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.keys import Keys
    from shipwall.adapters.registry import Registry
    from shipwall.adapters.report import Reporter
    from shipwall.journeys.promote import load_policy, promote_image, recover_promotions

    instance, rules = find_instance(state), load_policy(policy)
    report = Reporter(instance.link_socket)
    for one in recover_promotions(instance, lambda host: Registry(host, allow_http=allow_http), time.time_ns(), report):
        words = f"{one.outcome} the promotion of {one.plan.manifest} to {one.plan.target}: {one.why}"
        stderr.print(f"shipwall: {neutral(words)}", markup=False)
    with open_place(image, allow_http) as place:
        scanned = examine_source(
            place.source, AdvisoryOptions(archive, suite, keyring, cache, offline), allow_http, state, observed=observed
        )
        for notice in scanned.result.notices:
            stderr.print(f"shipwall: {neutral(notice)}", markup=False)
        done = promote_image(
            place.registry,
            place.repository,
            rules,
            Keys(instance.keys),
            instance,
            scanned.inventory,
            scanned.result,
            time.time_ns(),
            to,
            tag or place.tag,
            _known_bases(rules, state),
            report,
        )
    if output is Output.JSON:
        print_json(_render_judged(done.judged, rules) | {"tag": done.tag, "promotion": done.promotion})
    else:
        _show_judged(done.judged, rules)
        if done.promotion is not None:
            name = f"{done.promotion.registry}/{done.promotion.repository}"
            console.print(f"promoted to {neutral(name)}{':' + done.tag if done.tag else ''}@{place.manifest}", markup=False)
    if not done.judged.verdict.allowed:
        raise typer.Exit(1)


def _known_bases(policy: Policy, state: Path | None) -> tuple[ImageIdentity, ...]:
    """The images a policy's `bases` name by manifest, as far as they were listed here."""
    inventories = inventories_of(state)
    named = {base for route in policy.routes for base in route.bases}
    found = [inventories.get(base) for base in sorted(named)] if inventories is not None else []
    return tuple(one.image for one in found if one is not None and one.image is not None)


def _read_built(built: str, place: Place) -> Any:
    """What `image build --output json` said of the image, as far as provenance needs it."""
    import sys

    import msgspec

    from shipwall.journeys.build import Built
    from shipwall.model.digest import ImageIdentity, parse_digest
    from shipwall.model.image import parse_image_ref

    class Said(msgspec.Struct):
        image: str
        config: str
        layers: list[str]
        base: str = ""
        context: str = ""
        epoch_s: int = 0
        started_ns: int = 0
        finished_ns: int = 0

    try:
        data = sys.stdin.buffer.read(_MAX_BUILT_BYTES) if built == "-" else Path(built).read_bytes()[:_MAX_BUILT_BYTES]
        said = msgspec.json.decode(data, type=Said)
    except OSError as error:
        raise StorageError(built, error.strerror or str(error), "name the answer of image build --output json") from error
    except msgspec.MsgspecError as error:
        raise InputError(f"--built {built}", str(error), "give the answer of image build --output json") from error
    ref = parse_image_ref(said.image)
    if ref.digest != place.manifest:
        raise InputError(f"--built {built}", f"is of {said.image[:200]}, not of {place.source}", "sign what was built")
    identity = ImageIdentity(
        manifest=place.manifest, config=parse_digest(said.config), diff_ids=tuple(parse_digest(one) for one in said.layers)
    )
    return Built(
        identity=identity,
        ref=ref,
        base=said.base,
        context=parse_digest(said.context) if said.context else None,
        epoch_s=said.epoch_s,
        started_ns=said.started_ns,
        finished_ns=said.finished_ns,
    )


def _render_judged(judged: Judged, policy: Policy) -> dict[str, Any]:
    return {
        "image": judged.image.manifest,
        "from": judged.repository,
        "to": judged.target,
        "policy": {"name": policy.name, "digest": policy.digest},
        "allowed": judged.verdict.allowed,
        "reasons": judged.verdict.reasons,
    }


def _show_judged(judged: Judged, policy: Policy) -> None:
    verdict = judged.verdict
    way = f"{judged.repository}@{judged.image.manifest} → {judged.target or '(no target)'}"
    console.print(f"{'allowed' if verdict.allowed else 'REFUSED'}: {neutral(way)}", markup=False)
    console.print(f"policy: {neutral(policy.name)} {policy.digest}", markup=False)
    for number, reason in enumerate(verdict.reasons, 1):
        _show_reason(number, reason)
    ways = list(dict.fromkeys(reason.next_step for reason in verdict.reasons if reason.next_step))
    if not verdict.allowed and ways:
        console.print("\nto pass:")
        for way in ways:
            console.print(f"  - {neutral(way)}", markup=False)


def _show_reason(number: int, reason: Reason) -> None:
    console.print(f"\n{number}. {neutral(reason.message)}  [{reason.code}]", markup=False)
    for one in reason.evidence:
        console.print(f"   {one.kind:<10} {neutral(one.ref)}{'  ' + neutral(one.detail) if one.detail else ''}", markup=False)
