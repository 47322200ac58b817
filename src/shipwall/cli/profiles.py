"""`shipwall profile`: what the containers of an image normally do, and what of it others can use."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shipwall.cli.output import Output, OutputOption, ToOption, console, neutral, print_json, put_out
from shipwall.cli.sources import HttpOption, ImageArgument, StateOption, open_place, show_table
from shipwall.model.errors import InputError

if TYPE_CHECKING:
    from shipwall.adapters.profiles import ProfileStore
    from shipwall.journeys.profiles import Chosen
    from shipwall.model.digest import Digest
    from shipwall.model.package import Inventory
    from shipwall.runtime.profile.document import Profile
    from shipwall.runtime.profile.learn import Progress

app = typer.Typer(help="What the containers of an image normally do: learnt, monitored, exported.", no_args_is_help=True)

DigestArgument = Annotated[
    str, typer.Argument(help="manifest digest of the image, or its first 12 characters where a profile is here")
]
FromOption = Annotated[list[Path] | None, typer.Option("--from", help="a capture; repeatable")]
ContainerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--container", help="containers of the capture that are of this image: name or id; / for a captured control group"
    ),
]
_SHOWN = 12


class Form(StrEnum):
    """What a profile can be written as."""

    SECCOMP = "seccomp"
    RULES = "rules"
    DOCUMENT = "document"


@app.command("list")
def list_profiles(state: StateOption = None, output: OutputOption = Output.TABLE) -> None:
    """The profiles that are here: image, mode, acts, and how far learning is.

    Examples:

      shipwall profile list

      shipwall profile list --output json
    """
    found, refused = _store(state).all()
    if output is Output.JSON:
        print_json(
            {
                "profiles": [_summary(one) for one in found.values()],
                "refused": {image: why.line() for image, why in refused.items()},
            }
        )
        return
    rows = [
        (one.image[7:19], one.mode, str(len(one.acts)), str(len(one.set_aside)), str(len(one.heard_ns)), _state_of(one))
        for one in found.values()
    ]
    if rows:
        show_table(("image", "mode", "acts", "set aside", "replicas", "state"), rows)
    elif not refused:
        console.print("no profiles yet: shipwall profile learn --help")
    for why in refused.values():
        console.print(f"refused: {neutral(why.line())}", markup=False)


@app.command()
def show(image: DigestArgument, state: StateOption = None, output: OutputOption = Output.TABLE) -> None:
    """What a profile says: every act, by kind, what was set aside and why learning may not end yet.

    Exit codes: 0 shown; 3 there is none, or it is damaged; 4 it was edited.

    Examples:

      shipwall profile show 4f1c9a0b7d2e

      shipwall profile show 4f1c9a0b7d2e --output json
    """
    _, profile = _load(image, state)
    if output is Output.JSON:
        print_json({**_summary(profile), "known": profile.acts, "set_aside": profile.set_aside})
        return
    console.print(f"{profile.image}: {profile.mode}; {_state_of(profile)}", markup=False)
    for kind in dict.fromkeys(one.kind for one in profile.acts):
        acts = [one for one in profile.acts if one.kind == kind]
        console.print(f"\n{kind} ({len(acts)})", markup=False)
        for one in acts:
            console.print(f"  {neutral(one.what)}", markup=False)
    if profile.set_aside:
        console.print(f"\nset aside ({len(profile.set_aside)}): shipwall profile confirm", markup=False)
        for one in profile.set_aside:
            console.print(f"  {one.kind} {neutral(one.what)}  (slices {one.slices}, replicas {len(one.replicas)})", markup=False)


@app.command()
def learn(
    image: DigestArgument,
    captures: FromOption = None,
    container: ContainerOption = None,
    anew: Annotated[bool, typer.Option("--anew", help="forget what was learnt before")] = False,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Learn what an image's containers do: from captures, or (without --from) from now on by the agent of this host.

    Learning goes on from what is known. A capture that was learnt before teaches nothing. A container that is known to be of another image
    is refused.

    Exit codes: 0 learnt, or begun; 3 no such container in the capture; 4 a container is of another image.

    Examples:

      shipwall profile learn sha256:4f1c9a0b7d2e4f1c9a0b7d2e4f1c9a0b7d2e4f1c9a0b7d2e4f1c9a0b7d2e4f1c

      shipwall profile learn 4f1c9a0b7d2e --from shop.capture --container shop
    """
    from shipwall.runtime.profile.learn import Learner

    store = _store(state)
    digest = store.find(image)
    with store.changing():
        profile = None if anew else store.get(digest)
        if profile is not None and profile.mode != "learn":
            raise InputError(f"profile of {digest[:19]}", f"is in mode {profile.mode}", "begin again with --anew")
        learner = Learner(profile or _begin(digest, state, bool(captures)))
        events = 0
        for capture in captures or []:
            from shipwall.adapters.captures import read_capture
            from shipwall.journeys.profiles import learn_capture

            learner, count = learn_capture(learner.profile(), read_capture(capture), _chosen(digest, container, state))
            events += count
        store.put(learner.profile())
        progress = learner.progress()
    if output is Output.JSON:
        print_json({"image": digest, "events": events, **_told(progress)})
    elif captures:
        console.print(
            f"{events} events learnt: {progress.acts} acts of {progress.replicas} replicas; {_words(progress)}", markup=False
        )
    else:
        console.print(f"the agent learns {digest[:19]} from now on; {_words(progress)}", markup=False)


@app.command()
def monitor(
    image: DigestArgument,
    now: Annotated[bool, typer.Option("--now", help="end learning although it has not seen enough")] = False,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """End learning and tell every act outside of the profile from now on. Acts that may be poison are set aside, not believed.

    Exit codes: 0 monitored; 1 learning has not seen enough (nothing changed); 3 there is no profile.

    Examples:

      shipwall profile monitor 4f1c9a0b7d2e

      shipwall profile monitor 4f1c9a0b7d2e --now --output json
    """
    from shipwall.runtime.profile.learn import Learner, siblings_of

    store = _store(state)
    with store.changing():
        digest = store.find(image)
        profile = _known(store, digest)
        learner = Learner(profile)
        progress = learner.progress()
        missing = progress.missing if profile.mode == "learn" and not now else ()
        if not missing and profile.mode == "learn":
            profile = learner.finish(siblings_of(profile, store.all()[0].values()), time.time_ns())
            store.put(profile)
    if output is Output.JSON:
        print_json({**_summary(profile), "missing": list(missing), "set_aside": profile.set_aside})
    elif missing:
        console.print(f"learning has not seen enough: {'; '.join(missing)}; --now ends it all the same", markup=False)
    else:
        aside = f"; {len(profile.set_aside)} acts set aside: shipwall profile show" if profile.set_aside else ""
        console.print(f"monitored: {digest[:19]}, {len(profile.acts)} acts{aside}", markup=False)
    if missing:
        raise typer.Exit(1)


@app.command()
def confirm(
    image: DigestArgument,
    act: Annotated[
        list[str] | None, typer.Argument(help="acts as `profile show` writes them: KIND and WHAT in one word, quoted")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="all that was set aside")] = False,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Believe acts that were set aside while learning. Whoever does so says that they are normal.

    Exit codes: 0 believed; 3 an act was not set aside (nothing changed).

    Examples:

      shipwall profile confirm 4f1c9a0b7d2e "program /usr/sbin/logrotate"

      shipwall profile confirm 4f1c9a0b7d2e --all --output json
    """
    from shipwall.runtime.profile.acts import Act
    from shipwall.runtime.profile.learn import confirm as confirmed

    store = _store(state)
    with store.changing():
        profile = _known(store, store.find(image))
        aside = {one.act for one in profile.set_aside}
        wanted = aside if every else {Act(*text.partition(" ")[::2]) for text in act or []}
        if not wanted or wanted - aside:
            odd = next(iter(wanted - aside), None)
            raise InputError(f"act {' '.join(odd)[:100]!r}" if odd else "profile confirm", "is not set aside" if odd else "names no act",
                             "see them: shipwall profile show")  # fmt: skip
        profile = confirmed(profile, wanted)
        store.put(profile)
    if output is Output.JSON:
        print_json({**_summary(profile), "confirmed": sorted(" ".join(one) for one in wanted)})
    else:
        console.print(f"{len(wanted)} believed, {len(profile.set_aside)} still set aside", markup=False)


@app.command()
def judge(
    image: DigestArgument,
    captures: Annotated[list[Path], typer.Option("--from", help="a capture; repeatable")],
    container: ContainerOption = None,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Which anomalies a capture holds, offline: what the agent would have told.

    Exit codes: 0 none; 1 some; 3 there is no profile, or no such container in the capture; 4 a container is of another image.

    Examples:

      shipwall profile judge 4f1c9a0b7d2e --from suspicion.capture

      shipwall profile judge 4f1c9a0b7d2e --from suspicion.capture --container shop --output json
    """
    from shipwall.adapters.captures import read_capture
    from shipwall.journeys.profiles import judge_capture
    from shipwall.runtime.profile.judge import Judge, explain, subject

    store, profile = _load(image, state)
    judging = Judge(profile, store.all()[0].values())
    owners = _owners(profile.image, state)
    told: list[dict[str, Any]] = []
    events = 0
    for capture in captures:
        found, count = judge_capture(judging, read_capture(capture), _chosen(profile.image, container, state))
        events += count
        for anomaly, program in found:
            owner, layer = owners(subject(anomaly, program))
            text = explain(anomaly, profile, owner, layer)
            told.append({"rule": anomaly.rule, "kind": anomaly.act.kind, "what": anomaly.act.what, "time_ns": anomaly.event.time_ns,
                         "container": anomaly.event.container, "package": owner, "layer": layer, "text": text})  # fmt: skip
    if output is Output.JSON:
        print_json({"image": profile.image, "events": events, "anomalies": told})
    else:
        for one in told:
            console.print(one["text"], markup=False)
        console.print(f"{events} events, {len(told)} anomalies", markup=False)
    if told:
        raise typer.Exit(1)


@app.command()
def export(
    image: DigestArgument,
    form: Annotated[
        Form,
        typer.Option("--as", help="seccomp: for engines; rules: for the agent, or Falco; document: for another installation"),
    ],
    to: ToOption = None,
    repository: Annotated[
        str, typer.Option("--repository", help="the image's repository, by which rules know its containers")
    ] = "",
    state: StateOption = None,
) -> None:
    """A profile in the form of others, on standard output or in a file.

    Exit codes: 0 written; 3 no profile, or no repository for rules; 7 the calls were not counted, so no seccomp profile can be made.

    Examples:

      shipwall profile export 4f1c9a0b7d2e --as seccomp --to shop-seccomp.json

      shipwall profile export 4f1c9a0b7d2e --as rules --repository prod/shop --to shop-rules.yaml
    """
    from shipwall.runtime.profile.document import render_profile
    from shipwall.runtime.profile.export import render_rules, render_seccomp

    _, profile = _load(image, state)
    if form is Form.SECCOMP:
        put_out(render_seccomp(profile), to)
    elif form is Form.RULES:
        put_out(render_rules(profile, repository), to)
    else:
        put_out(render_profile(profile) + b"\n", to)


@app.command()
def diff(
    old: DigestArgument,
    new: DigestArgument,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """What the containers of two images do not have in common.

    Exit codes: 0 the same; 1 they differ; 3 there is no such profile.

    Examples:

      shipwall profile diff 4f1c9a0b7d2e 90ab12cd34ef

      shipwall profile diff 4f1c9a0b7d2e 90ab12cd34ef --output json
    """
    from shipwall.runtime.profile.difference import difference_of_profiles

    found = difference_of_profiles(_load(old, state)[1], _load(new, state)[1])
    if output is Output.JSON:
        print_json(found)
    else:
        for mark, acts in (("-", found.only_old), ("+", found.only_new)):
            for one in acts:
                console.print(f"{mark} {one.kind} {neutral(one.what)}", markup=False)
        console.print(f"{found.both} acts are of both", markup=False)
    if found.only_old or found.only_new:
        raise typer.Exit(1)


@app.command()
def sign(
    image: ImageArgument,
    key: Annotated[str, typer.Option("--key", help="signing key; made on first use")] = "profile",
    allow_http: HttpOption = False,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Sign the profile of an image and put it beside the image in its registry.

    Exit codes: 0 signed; 3 there is no profile of it, or it is still learnt; 6 registry not reached.

    Examples:

      shipwall profile sign 127.0.0.1:5000/prod/shop:1

      shipwall profile sign 127.0.0.1:5000/prod/shop:1 --key operations --output json
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.keys import Keys
    from shipwall.journeys.profiles import sign_profile

    with open_place(image, allow_http) as place:
        profile = _known(_store(state), place.manifest)
        signer = Keys(find_instance(state).keys).signer(key)
        signed = sign_profile(place.registry, place.repository, profile, signer, time.time_ns())
    if output is Output.JSON:
        print_json(signed)
    else:
        console.print(f"profile signed by {neutral(key)}: {signed.envelope}", markup=False)


@app.command()
def fetch(
    image: ImageArgument,
    key: Annotated[
        list[str] | None, typer.Option("--key", help="only what this key signed; repeatable; default: any trusted key")
    ] = None,
    allow_http: HttpOption = False,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take the newest signed profile from beside an image; the agent monitors the image by it from then on.

    Exit codes: 0 taken; 4 none is signed by a trusted key, or it is of another image; 6 registry not reached.

    Examples:

      shipwall profile fetch 127.0.0.1:5000/prod/shop:1

      shipwall profile fetch 127.0.0.1:5000/prod/shop:1 --key operations --output json
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.keys import Keys
    from shipwall.journeys.profiles import fetch_profile

    trusted = Keys(find_instance(state).keys).public()
    keys = {key_id: one for key_id, one in trusted.items() if not key or one.name in key}
    store = _store(state)
    with open_place(image, allow_http) as place:
        profile, statement = fetch_profile(place.registry, place.repository, place.manifest, keys, time.time_ns())
    with store.changing():
        store.put(profile)
    if output is Output.JSON:
        print_json({**_summary(profile), "signers": statement.signers, "envelope": statement.envelope})
    else:
        console.print(
            f"monitored: {profile.image[:19]}, {len(profile.acts)} acts, signed by {neutral(', '.join(statement.signers))}",
            markup=False,
        )


def _store(state: Path | None) -> ProfileStore:
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.profiles import ProfileStore

    return ProfileStore(find_instance(state).profiles)


def _known(store: ProfileStore, digest: Digest) -> Profile:
    profile = store.get(digest)
    if profile is None:
        raise InputError(f"image {digest[:19]}", "has no profile here", "learn one: shipwall profile learn")
    return profile


def _load(image: str, state: Path | None) -> tuple[ProfileStore, Profile]:
    store = _store(state)
    return store, _known(store, store.find(image))


def _inventory(digest: Digest, state: Path | None) -> Inventory | None:
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.inventories import Inventories

    return Inventories(find_instance(state).state / "inventories").get(digest)


def _begin(digest: Digest, state: Path | None, is_captured: bool) -> Profile:
    """A new profile. A capture sees every file; the agent those its rules ask about, which it says itself when it begins."""
    from shipwall.runtime.profile.learn import begin

    inventory = _inventory(digest, state)
    base = (
        inventory.image.diff_ids[0] if inventory is not None and inventory.image is not None and inventory.image.diff_ids else ""
    )
    return begin(digest, base, ("/",) if is_captured else ())


def _chosen(digest: Digest, named: list[str] | None, state: Path | None) -> Chosen:
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.inventories import Inventories
    from shipwall.journeys.profiles import Chosen

    inventories = Inventories(find_instance(state).state / "inventories")

    def identify(config: Digest) -> Digest | None:
        found = inventories.find_by_config(config)
        return found.image.manifest if found is not None and found.image is not None else None

    return Chosen(digest, tuple(named or ()), identify)


def _owners(digest: Digest, state: Path | None) -> Callable[[str], tuple[str, str]]:
    from shipwall.agent.core import file_owners

    inventory = _inventory(digest, state)
    owners = file_owners(inventory) if inventory is not None else {}
    layers = {f"{one.name} {one.version}": one.layer for one in inventory.packages} if inventory is not None else {}

    def owner(path: str) -> tuple[str, str]:
        name = owners.get(path, "")
        return name, layers.get(name, "")

    return owner


def _summary(profile: Profile) -> dict[str, Any]:
    from shipwall.runtime.profile.learn import Learner

    made: dict[str, Any] = {
        "image": profile.image,
        "mode": profile.mode,
        "acts": len(profile.acts),
        "replicas": len(profile.heard_ns),
    }
    made |= {"slices": profile.slices, "began_ns": profile.began_ns, "ended_ns": profile.ended_ns, "counted": profile.counted}
    made |= {"dropped": profile.dropped, "replayed": profile.replayed, "limit_bits": profile.limit_bits}
    return made | (_told(Learner(profile).progress()) if profile.mode == "learn" else {})


def _told(progress: Progress) -> dict[str, Any]:
    return {"unseen": progress.unseen, "slices": progress.slices, "lasted_ns": progress.lasted_ns, "replicas": progress.replicas,
            "acts": progress.acts, "missing": list(progress.missing)}  # fmt: skip


def _state_of(profile: Profile) -> str:
    from shipwall.runtime.profile.learn import Learner

    return _words(Learner(profile).progress()) if profile.mode == "learn" else "tells what is outside of it"


def _words(progress: Progress) -> str:
    return (
        f"not enough yet: {'; '.join(progress.missing)}"
        if progress.missing
        else "enough was seen: shipwall profile monitor ends it"
    )
