"""Promotion: the gate decides, then image and statements go by digest from one repository to another, and a signed promotion says so.

Order of acts, each safe to do twice: 1 decide · 2 sign the promotion · 3 journal · 4 blobs and image, by digest · 5 its statements ·
6 verdict and promotion beside it · 7 the promotion in `state/promotions` · 8 the tag · 9 confirm. A crash before 7 leaves nothing that
admits the image, before 8 no tag; the next promotion, start of the agent
or clean-up finishes what is young and undoes what is not (`recover_promotions`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from shipwall.adapters.files import locked, read_bounded, write_whole
from shipwall.adapters.instance import Instance
from shipwall.adapters.journal import Entry, Journal
from shipwall.adapters.keys import PROMOTION_KEY, Keys
from shipwall.adapters.registry import OCI_INDEX, Manifest, Registry, fallback_tag
from shipwall.adapters.report import no_report
from shipwall.journeys.sign import Found, attach_envelope, load_statements, statements_of
from shipwall.model.digest import Digest, ImageIdentity, digest_of
from shipwall.model.errors import InputError, RemoteError, StorageError, TrustError
from shipwall.model.finding import ScanResult
from shipwall.model.package import Inventory
from shipwall.model.promotion import PROMOTION_TYPE, Promotion
from shipwall.model.verdict import Verdict
from shipwall.model.wire import ImageStep, Message
from shipwall.supply.gate import decide_promotion
from shipwall.supply.policy import MAX_POLICY_BYTES, Policy, parse_policy
from shipwall.supply.statements import (
    VERDICT_TYPE,
    VerifiedStatement,
    promotion_statement,
    sign_statement,
    verdict_statement,
    verify_promotion,
)
from shipwall.supply.vex import MAX_VEX_BYTES

ACT = "promote"
MAX_RESUME_NS = 3600 * 10**9
"""A promotion that was interrupted longer ago is undone instead of finished: its judgement may no longer hold."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A gate's verdict on `image` for `target` (empty when no route leads anywhere), and the statements it rests on."""

    image: ImageIdentity
    repository: str
    target: str
    verdict: Verdict
    statements: tuple[Found, ...]


class Promoted(msgspec.Struct, frozen=True, kw_only=True):
    """What `promote_image` did. `promotion` and `path` only where the verdict allowed it."""

    judged: Judged
    promotion: Promotion | None = None
    tag: str = ""
    path: Path | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything needed to carry out, finish or undo one promotion: the facts of its journal entry."""

    registry: str
    repository: str
    target: str
    tag: str
    manifest: Digest
    artifacts: tuple[Digest, ...]
    verdict: str
    promotion: str
    time_ns: int


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an interrupted promotion: `outcome` finished or undone."""

    plan: Plan
    outcome: str
    why: str


def promotions_folder(instance: Instance) -> Path:
    """Where the signed promotions are, one whole DSSE envelope per manifest."""
    return instance.state / "promotions"


def promotions_journal(instance: Instance) -> Journal:
    """The journal of promotions: its own, because a clean-up of the host does not take promotions back."""
    return Journal(instance.state / "promotions.jsonl")


def load_policy(path: Path) -> Policy:
    """The policy in the file `path`, with the VEX documents and ignore files that it names beside it. Raises InputError, StorageError.

    Trust: a named file must lie in the policy's folder after every link is followed: whoever keeps the policy keeps it too.
    On failure of any of them: closed, there is no policy.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_POLICY_BYTES + 1)
        folder = path.absolute().parent.resolve(strict=True)
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error), "name a readable policy file") from error

    def read_beside(name: str) -> bytes:
        try:
            place = (folder / name).resolve()
        except (OSError, RuntimeError) as error:  # links in a circle
            raise InputError(f"{path}: {name}", str(error), "put the file itself there") from error
        if not place.is_relative_to(folder):
            raise InputError(f"{path}: {name}", "is a link that leads out of the policy's folder", "put the file itself there")
        if place.exists() and not place.is_file():  # a pipe would keep whoever reads waiting
            raise InputError(f"{path}: {name}", "is no regular file", "put the file itself there")
        return read_bounded(place, MAX_VEX_BYTES)

    return parse_policy(data, str(path), read_beside)


def judge_image(
    registry: Registry,
    repository: str,
    policy: Policy,
    keys: Keys,
    inventory: Inventory,
    scan: ScanResult,
    now_ns: int,
    target: str = "",
    known: tuple[ImageIdentity, ...] = (),
    report: Callable[[Message], None] = no_report,
) -> Judged:
    """The gate's verdict on the image of `inventory` in `repository`, with the statements found beside it there.

    Trust: statements count when signed by a key in `keys`; which key may sign what, the policy says. Raises RemoteError, InputError.
    """
    if inventory.image is None:
        raise InputError(f"inventory of {repository}", "is not of an image", "list the image itself")
    found = load_statements(registry, repository, inventory.image.manifest, keys.public())
    route = policy.find_route(repository, target)
    source = f"{registry.host}/{repository}@{inventory.image.manifest}"
    verdict = decide_promotion(policy, route[0] if route else None, inventory, scan, statements_of(found), now_ns, known, source)
    judged = Judged(
        image=inventory.image,
        repository=repository,
        target=route[1] if route else target,
        verdict=verdict,
        statements=found,
    )
    report(
        ImageStep(
            digest=inventory.image.manifest,
            image=f"{registry.host}/{repository}",
            step="gated",
            time_ns=now_ns,
            allowed=verdict.allowed,
            summary=f"{'may' if verdict.allowed else 'may not'} go to {judged.target or 'anywhere'}",
            reasons=verdict.reasons,
            facts={"policy": policy.digest, "target": judged.target, "statements": str(len(found))},
        )
    )
    return judged


def promote_image(
    registry: Registry,
    repository: str,
    policy: Policy,
    keys: Keys,
    instance: Instance,
    inventory: Inventory,
    scan: ScanResult,
    now_ns: int,
    target: str = "",
    tag: str = "",
    known: tuple[ImageIdentity, ...] = (),
    report: Callable[[Message], None] = no_report,
) -> Promoted:
    """The promotion of the image of `inventory` from `repository` to `target` (default: where the policy's route leads) under `tag`.

    A refusal is a value (`.judged.verdict`), not an error, and leaves nothing behind. Raises RemoteError, StorageError, TrustError; after
    any of them the journal knows how to finish or undo.
    """
    # 1 decide
    judged = judge_image(registry, repository, policy, keys, inventory, scan, now_ns, target, known, report)
    if not judged.verdict.allowed:
        return Promoted(judged=judged)
    # 2 sign
    signer = keys.signer(PROMOTION_KEY)
    verdict = sign_statement(
        verdict_statement(judged.verdict, judged.image.manifest, repository, judged.target, policy.digest, now_ns), signer
    )
    promotion = Promotion(
        image=judged.image,
        registry=registry.host,
        repository=judged.target,
        policy=policy.digest,
        time_ns=now_ns,
        by_key=signer.public.key_id,
        verdict=digest_of(verdict),
    )
    plan = Plan(
        registry=registry.host,
        repository=repository,
        target=judged.target,
        tag=tag,
        manifest=judged.image.manifest,
        artifacts=tuple(one.artifact for one in judged.statements if isinstance(one.statement, VerifiedStatement)),
        verdict=verdict.decode(),
        promotion=sign_statement(promotion_statement(promotion), signer).decode(),
        time_ns=now_ns,
    )
    # 3 journal, 4 to 8 acts, 9 confirm
    journal = promotions_journal(instance)
    key = digest_of(plan.promotion.encode())
    with locked(_lock(instance)):  # whoever recovers waits: begun and not confirmed means a crash, not somebody at work
        journal.begin(key, ACT, **msgspec.to_builtins(plan))
        path = carry_out(registry, plan, promotions_folder(instance))
        journal.confirm(key, ACT)
    report(
        ImageStep(
            digest=plan.manifest,
            image=f"{registry.host}/{plan.target}" + (f":{tag}" if tag else ""),
            step="promoted",
            time_ns=now_ns,
            allowed=True,
            summary=f"from {repository} with {len(plan.artifacts)} statements, signed by {PROMOTION_KEY}",
            facts={"policy": policy.digest, "key": signer.public.key_id, "tag": tag},
        )
    )
    return Promoted(judged=judged, promotion=promotion, tag=tag, path=path)


def carry_out(registry: Registry, plan: Plan, folder: Path) -> Path:
    """The file that now holds the promotion: acts 4 to 8 of `plan`, each of which may be done already. Raises RemoteError, TrustError."""
    source, target = plan.repository, plan.target
    # 4 blobs, then the image, by digest
    image = _copy_manifest(registry, source, target, plan.manifest)
    # 5 its statements
    for artifact in plan.artifacts:
        _copy_manifest(registry, source, target, artifact)
    # 6 verdict and promotion
    attach_envelope(registry, target, image, plan.verdict.encode(), VERDICT_TYPE)
    attach_envelope(registry, target, image, plan.promotion.encode(), PROMOTION_TYPE)
    # 7 the promotion on this host
    path = _promotion_path(folder, plan.manifest)
    write_whole(path, plan.promotion.encode())
    # 8 the tag: last, so that whoever finds it finds everything
    if plan.tag:
        registry.put_manifest(target, image.body, image.media_type, plan.tag)
    return path


def recover_promotions(
    instance: Instance, open_registry: Callable[[str], Registry], now_ns: int, report: Callable[[Message], None] = no_report
) -> tuple[Recovered, ...]:
    """What became of promotions that a crash interrupted: the young are finished, the others undone.

    `open_registry` gives a client for `host:port`; it is closed here. Raises RemoteError when a registry could not be asked, after all
    others were: its promotions stay in the journal for the next run.
    """
    journal = promotions_journal(instance)
    if not journal.unfinished():
        return ()
    outcomes, away = [], None
    with locked(_lock(instance)):
        for entry in journal.unfinished():
            plan = _plan_of(entry)
            try:
                with open_registry(plan.registry) as registry:
                    one = _recover(registry, plan, promotions_folder(instance), now_ns)
            except RemoteError as error:
                away = away or error
                continue
            finished = one.outcome == "finished"
            if finished:
                journal.confirm(entry.key, ACT)
            else:
                journal.undo(entry.key, ACT, why=one.why)
            outcomes.append(one)
            report(
                ImageStep(
                    digest=plan.manifest,
                    image=f"{plan.registry}/{plan.target}",
                    step="promoted" if finished else "promotion-undone",
                    time_ns=now_ns,
                    allowed=finished,
                    summary=f"after an interruption: {one.why}",
                )
            )
    if away is not None:
        raise away
    return tuple(outcomes)


def _recover(registry: Registry, plan: Plan, folder: Path, now_ns: int) -> Recovered:
    """Finish `plan` when it is young or stands already, undo it otherwise. Raises RemoteError when the registry does not do its part."""
    why = f"it was interrupted more than {MAX_RESUME_NS // (60 * 10**9)} minutes ago"
    if 0 <= now_ns - plan.time_ns <= MAX_RESUME_NS or _stands(registry, plan, folder):
        try:
            carry_out(registry, plan, folder)
        except RemoteError as error:
            if error.status != 404:
                raise
            why = f"its source is gone: {error.line()}"
        else:
            return Recovered(plan=plan, outcome="finished", why="it was interrupted a short time ago")
    _undo(registry, plan, folder)
    return Recovered(plan=plan, outcome="undone", why=why)


def _lock(instance: Instance) -> Path:
    return instance.state / "promotions.lock"


def load_promotion(instance: Instance, manifest: Digest) -> Promotion | None:
    """The promotion of `manifest` on this host, verified with its promotion keys; None when there is none.

    Raises TrustError for a file that is there but does not verify, StorageError when it cannot be read. On failure: closed.
    """
    path = _promotion_path(promotions_folder(instance), manifest)
    try:
        envelope = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error), "look at its permissions") from error
    promotion = verify_promotion(envelope, Keys(instance.keys).promoters())
    if promotion.image.manifest != manifest:
        raise TrustError(str(path), f"is the promotion of {promotion.image.manifest}", "promote again", step="6 subject")
    return promotion


def _promotion_path(folder: Path, manifest: Digest) -> Path:
    return folder / f"{manifest.removeprefix('sha256:')}.json"


def _copy_manifest(registry: Registry, source: str, target: str, digest: Digest) -> Manifest:
    manifest = registry.manifest(source, digest)
    content = manifest.parse()
    for blob in (content.get("config"), *content.get("layers", [])):
        if blob is not None:
            registry.copy_blob(target, str(blob.get("digest", "")), source)
    registry.put_manifest(target, manifest.body, manifest.media_type)
    return manifest


def _plan_of(entry: Entry) -> Plan:
    try:
        return msgspec.convert(entry.facts, Plan)
    except msgspec.ValidationError as error:
        raise StorageError(f"promotion {entry.key[:23]} in the journal", str(error), "restore it from a backup") from error


def _stands(registry: Registry, plan: Plan, folder: Path) -> bool:
    """Whether all acts of `plan` were done and only the confirmation is missing."""
    if not plan.tag or registry.resolve(plan.target, plan.tag) != plan.manifest:
        return False
    try:
        return _promotion_path(folder, plan.manifest).read_bytes() == plan.promotion.encode()
    except OSError:
        return False


def _undo(registry: Registry, plan: Plan, folder: Path) -> None:
    """Take away what `plan` may have left: its file, and its verdict and promotion in the target's list.

    The image and its statements stay in the registry without a tag: they say nothing about a promotion, and a promotion of the same image
    before this one may need them.
    """
    path = _promotion_path(folder, plan.manifest)
    try:
        if path.read_bytes() == plan.promotion.encode():
            path.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error), "delete it, then run the command again") from error
    taken = {digest_of(plan.verdict.encode()), digest_of(plan.promotion.encode())}
    listed = registry.referrers(plan.target, plan.manifest)
    kept = []
    for descriptor in listed:
        try:
            artifact = registry.manifest(plan.target, str(descriptor.get("digest", ""))).parse()
        except RemoteError as error:
            if error.status != 404:
                raise
            continue
        if not taken & {str(layer.get("digest", "")) for layer in artifact.get("layers", [])}:
            kept.append(descriptor)
    if len(kept) < len(listed):
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": kept}
        registry.put_manifest(plan.target, msgspec.json.encode(index), OCI_INDEX, fallback_tag(plan.manifest))
