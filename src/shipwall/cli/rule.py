"""`shipwall rule`: what the rules are, whether a rule file is right, why a rule would fire, and what a test of it says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shipwall.cli.output import Output, OutputOption, console, neutral, print_json

if TYPE_CHECKING:
    from shipwall.runtime.reach import Reach
    from shipwall.runtime.rule_costs import RuleCost
    from shipwall.runtime.rules import RuleSet
    from shipwall.runtime.rules.rule_set import Rule
    from shipwall.runtime.scene import Played, Scene

app = typer.Typer(no_args_is_help=True, help="Detection rules in Falco's language: list, check, explain, test, coverage.")

RulesOption = Annotated[list[Path] | None, typer.Option("--rules", help="rule file or folder after the shipped ones; repeatable")]
StateOption = Annotated[Path | None, typer.Option("--state", help="folder of this installation")]
AloneOption = Annotated[bool, typer.Option("--alone", help="leave the shipped rules out")]


@app.command("list")
def list_rules(
    rules: RulesOption = None, alone: AloneOption = False, output: OutputOption = Output.TABLE, state: StateOption = None
) -> None:
    """List rules, with those that cannot be judged yet and why, and where an agent runs what each costs it.

    The cost is of a sample, one event in 512: events the rule was asked about, those it matched, and the mean time of one.

    Examples:

      shipwall rule list

      shipwall rule list --alone --rules falco_rules.yaml --output json
    """
    with pointing():
        from shipwall.adapters.rule_files import load_rules

        found = load_rules(*(rules or []), shipped=not alone)
    costs = _costs(state)
    if output is Output.JSON:
        print_json({
            "rules": [
                {"rule": rule.name, "cost": costs.get(rule.name),
                 "priority": rule.priority, "action": rule.action, "mode": rule.mode, "enabled": rule.enabled,
                 "sequence": rule.sequence, "within_s": rule.within_ns / 1e9, "events": sorted(rule.kinds), "tags": rule.tags,
                 "untold_in_output": rule.untold, "file": rule.file, "line": rule.line}
                for rule in found.rules
            ],
            "skipped": [
                {"rule": rule.name, "reason": rule.reason, "fields": rule.fields, "file": rule.file, "line": rule.line}
                for rule in found.skipped
            ],
        })  # fmt: skip
        return
    from rich.markup import escape
    from rich.table import Table

    columns = ["rule", "priority", "action", "events", "techniques", *(["asked", "matched", "each"] if costs else [])]
    table = Table(*columns, box=None, header_style="bold")
    for rule in found.rules:
        techniques = " ".join(tag for tag in rule.tags if tag[:1] == "T" and tag[1:2].isdigit())
        name = neutral(rule.name) + ("" if rule.enabled else " (off)")
        act = rule.action if rule.action == "alert" else f"{rule.action}, {rule.mode}"
        row = [escape(name), rule.priority, act, " ".join(sorted(rule.kinds)), escape(neutral(techniques))]
        if costs and (cost := costs.get(rule.name)):
            row += [f"{cost.runs:,}", f"{cost.matches:,}", f"{cost.ns / cost.runs:,.0f} ns"]
        table.add_row(*row)
    console.print(table)
    for skipped in found.skipped:
        console.print(f"skipped: {neutral(skipped.name)}: {neutral(skipped.reason)}", markup=False, style="dim")


def _costs(state: Path | None) -> dict[str, RuleCost]:
    """What the rules cost the agent of this installation; nothing where none has written it, or it is not ours to read."""
    import msgspec

    from shipwall.adapters.instance import find_instance
    from shipwall.runtime.rule_costs import RuleCost

    try:
        return msgspec.json.decode(find_instance(state).rule_costs.read_bytes(), type=dict[str, RuleCost])
    except (OSError, msgspec.MsgspecError):
        return {}


@app.command("check")
def check(
    files: Annotated[list[Path], typer.Argument(help="rule files or folders, in load order")],
    alone: AloneOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Check rule files as the agent would load them, after the shipped ones. Errors show line, column and the likely meaning.

    For each rule with an action it says what that can do on this kernel, and through what: the act is prevented, stopped before its
    effect, or stopped after it. As root the kernel is probed; otherwise the weakest claim is made.

    Examples:

      shipwall rule check my-rules.yaml

      shipwall rule check --alone falco_rules.yaml
    """
    with pointing():
        from shipwall.adapters.rule_files import load_rules
        from shipwall.runtime.lower import lower
        from shipwall.runtime.reach import render_reach

        found = load_rules(*files, shipped=not alone)
        widened = lower(found).widened
        reached = _reach(found)
    wrong = [(rule, reach) for rule, reach in reached if reach.problem]
    if output is Output.JSON:
        print_json({
            "rules": len(found.rules),
            "skipped": [{"rule": rule.name, "reason": rule.reason, "fields": rule.fields} for rule in found.skipped],
            "notices": [notice._asdict() for notice in found.notices],
            "widened_in_kernel": widened,
            "untold_in_output": {rule.name: rule.untold for rule in found.rules if rule.untold},
            "actions": [reach for _, reach in reached],
        })  # fmt: skip
        _refuse(wrong)
        return
    for skipped in found.skipped:
        place = f"{neutral(skipped.file)}:{skipped.line}"
        console.print(f"{place}: {neutral(skipped.name)}: skipped, {neutral(skipped.reason)}", markup=False)
    for notice in found.notices:
        console.print(f"{neutral(notice.file)}:{notice.line}: {neutral(notice.reason)}", markup=False)
    for name in widened:
        console.print(
            f"{neutral(name)}: has more alternatives than the kernel filter holds: a part is asked in user space only",
            markup=False,
        )
    for _, reach in reached:
        for line in render_reach(reach):
            console.print(neutral(line), markup=False)
    console.print(f"{len(found.rules)} rules loaded, {len(found.skipped)} skipped", markup=False)
    _refuse(wrong)


@app.command("mode")
def mode(
    rule: Annotated[str, typer.Argument(help="name of the rule; without one, the modes this node sets are listed")] = "",
    wanted: Annotated[
        str, typer.Argument(metavar="[monitor|enforce|default]", help="what the rule's action does on this node")
    ] = "",
    environment: Annotated[
        str, typer.Option(help="only for containers with the label shipwall.environment=THIS; without it for all others")
    ] = "",
    rules: RulesOption = None,
    state: StateOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let a rule's action only be told (monitor) or done (enforce) on this node, whatever the rule's file says. The agent follows at once.

    Nothing is enforced before `shipwall function set actions enforce`.

    Examples:

      shipwall rule mode "Program not in the image executed" enforce

      shipwall rule mode "Program not in the image executed" monitor --environment production

      shipwall rule mode "Program not in the image executed" default

      shipwall rule mode
    """
    from shipwall.adapters.instance import find_instance
    from shipwall.adapters.rule_modes import read_rule_modes, write_rule_mode

    instance = find_instance(state)
    if rule:
        modes = write_rule_mode(instance, *_checked_mode(rule, wanted, rules or []), environment)
    else:
        modes = read_rule_modes(instance)
    if output is Output.JSON:
        print_json(modes)
        return
    for name, of in sorted(modes.items()):
        for where, own in sorted(of.items()):
            console.print(neutral(f"{own:8} {name}" + (f" in {where}" if where else "")), markup=False)
    if not modes:
        console.print("every rule has the mode of its own file")


def _checked_mode(rule: str, wanted: str, rules: list[Path]) -> tuple[str, str]:
    """The rule's own name, and its mode, empty for that of its file. Raises InputError."""
    from shipwall.lang.diagnostic import did_you_mean
    from shipwall.model.errors import InputError

    if wanted not in {"monitor", "enforce", "default"}:
        hint = did_you_mean(wanted, ("monitor", "enforce", "default")) or "one of monitor, enforce, default"
        raise InputError(f"mode {wanted[:40]!r}", "is not known", hint)
    with pointing():
        from shipwall.adapters.rule_files import load_rules

        found = load_rules(*rules)
    named = found.find(rule)
    if wanted == "default":
        return (rule if named is None else named.name), ""  # also of a rule that is no more
    if named is None:
        hint = did_you_mean(rule, [one.name for one in found.rules]) or "name its file with --rules"
        raise InputError(f"rule {rule[:80]!r}", "does not exist", hint)
    if named.action == "alert":
        raise InputError(f"rule {named.name!r}", "has no action", "add `action: kill` or another one to it")
    return named.name, wanted


def _reach(found: RuleSet) -> list[tuple[Rule, Reach]]:
    """What the rules with an action can do here. The kernel is probed only when one of them asks."""
    from shipwall.kernel.features import probe_features
    from shipwall.runtime.reach import features_asked, reach_of

    acting = [rule for rule in found.rules if rule.is_judged and rule.action != "alert"]
    features = probe_features(features_asked(acting))
    return [(rule, reach) for rule in acting if (reach := reach_of(rule, features)) is not None]


def _refuse(wrong: list[tuple[Rule, Reach]]) -> None:
    """Say what cannot be done here, with its place; end with the exit code of a wrong text."""
    from shipwall.model.errors import InputError

    for rule, reach in wrong:
        line, column = rule.action_at
        error = InputError(rule.file, f"{rule.name}: {reach.problem}", reach.next_step, line_number=line, column=column)
        sys.stderr.write(f"shipwall: {neutral(error.line())}\n")
    if wrong:
        raise typer.Exit(InputError.exit_code)


@app.command("explain")
def explain(
    rule: Annotated[str, typer.Argument(help="name of the rule")],
    rules: RulesOption = None,
    alone: AloneOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Explain one rule: what it is for, its condition with macros and lists written out, and what each field means.

    Examples:

      shipwall rule explain "Sensitive file read"
    """
    with pointing():
        from shipwall.adapters.rule_files import load_rules
        from shipwall.lang.condition import fields_of, render_condition
        from shipwall.lang.diagnostic import did_you_mean
        from shipwall.model.errors import InputError
        from shipwall.runtime.fields import MEANINGS

        found = load_rules(*(rules or []), shipped=not alone)
        named = found.find(rule)
        if named is None:
            skipped = next((entry for entry in found.skipped if entry.name.lower() == rule.lower()), None)
            if skipped is not None:
                raise InputError(
                    f"rule {skipped.name!r}", f"is skipped: {skipped.reason}", f"it stands at {skipped.file}:{skipped.line}"
                )
            names = [entry.name for entry in found.rules] + [entry.name for entry in found.skipped]
            raise InputError(f"rule {rule!r}", "does not exist", did_you_mean(rule, names) or "see `shipwall rule list`")
    meanings = {}
    for field in fields_of(named.condition):
        name = field.name if field.name in MEANINGS else "evt.arg"
        meanings[field.name] = MEANINGS[name].help
    if output is Output.JSON:
        print_json({
            "rule": named.name, "description": named.description, "priority": named.priority, "action": named.action,
            "mode": named.mode, "sequence": named.sequence, "within_s": named.within_ns / 1e9,
            "enabled": named.enabled, "tags": named.tags, "throttle": named.throttle and named.throttle._asdict(),
            "events": sorted(named.kinds), "condition": named.written,
            "expanded": render_condition(named.condition), "fields": meanings, "file": named.file, "line": named.line,
        })  # fmt: skip
        return
    lines = [
        named.name,
        f"  {named.description}",
        f"  priority {named.priority}, action {named.action} ({named.mode}), {'on' if named.enabled else 'off'}, {named.file}:{named.line}",
        f"  tags: {', '.join(named.tags)}",
        *(
            [f"  at most {named.throttle.alerts} alerts in {named.throttle.per_ns / 1e9:g} s per container"]
            if named.throttle
            else []
        ),
        f"  judged on: {', '.join(sorted(named.kinds))}",
        *(
            [f"  in order, in one container, within {named.within_ns / 1e9:g} s: {' → '.join(named.sequence)}"]
            if named.sequence
            else []
        ),
        "",
        "condition:",
        f"  {named.written or 'that of the last rule of its sequence'}",
        "",
        "written out:",
        f"  {render_condition(named.condition)}",
        "",
        "fields:",
        *(f"  {name}: {meaning}" for name, meaning in sorted(meanings.items())),
    ]
    for line in lines:
        console.print(neutral(line), markup=False)


FirstOption = Annotated[
    bool, typer.Option("--first-match", help="only the first matching rule speaks for an event, as Falco's default")
]


@app.command("test")
def play(
    files: Annotated[list[Path], typer.Argument(help="rule tests (YAML or JSON), or folders of such")],
    rules: RulesOption = None,
    alone: AloneOption = False,
    first_match: FirstOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Play recorded events against the rules: events in, alerts out. Exit code 1 when an expected alert is missing, differs or is too many.

    A test names what there was, the events, and the alerts that must come with values of their fields; `docs/guide/rules.md` shows one.

    Examples:

      shipwall rule test my-tests.yaml --rules my-rules.yaml
    """
    with pointing():
        from shipwall.adapters.rule_files import load_rules

        played = _play(load_rules(*(rules or []), shipped=not alone), files, first_match=first_match)
    if output is Output.JSON:
        print_json([result for _, result in played])
    else:
        for _, scene in played:
            wrong = [
                *(f"missing: {name}" for name in scene.missing),
                *(f"too many: {name}" for name in scene.surplus),
                *scene.wrong,
            ]
            state = "; ".join(wrong) or "as expected"
            console.print(neutral(f"{scene.title or 'test'}: {len(scene.alerts)} alerts, {state}"), markup=False)
            for alert in scene.alerts:
                ended = f" [{alert.stopped}]" if alert.stopped else ""
                console.print(neutral(f"  {alert.priority}: {alert.rule}: {alert.output}{ended}"), markup=False)
    if any(result.failed for _, result in played):
        raise typer.Exit(1)


@app.command("coverage")
def coverage(
    files: Annotated[
        list[Path] | None, typer.Argument(help="rule tests or folders of such; the shipped ones when none is given")
    ] = None,
    rules: RulesOption = None,
    alone: AloneOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show which rules have tests that raise them and tests that do not, and which techniques, fields and calls the tests cover.

    Examples:

      shipwall rule coverage

      shipwall rule coverage my-tests.yaml --alone --rules my-rules.yaml --output json
    """
    with pointing():
        from shipwall.adapters.rule_files import load_rules, shipped_tests
        from shipwall.runtime.coverage import measure_coverage
        from shipwall.runtime.techniques import CONTAINER_TECHNIQUES

        found = load_rules(*(rules or []), shipped=not alone)
        with shipped_tests() as folder:
            covered = measure_coverage(found, _play(found, files or [folder]))
    if output is Output.JSON:
        print_json(covered)
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("rule", "raise it", "do not", "techniques", "events in no test", box=None, header_style="bold")
    for one in covered.rules:
        table.add_row(
            escape(neutral(one.rule)), str(one.positive), str(one.negative), " ".join(one.techniques), " ".join(one.unseen)
        )
    console.print(table)
    asked = [name for name, is_covered in covered.fields.items() if not is_covered]
    lines = [
        f"rules with both: {sum(bool(one.positive and one.negative) for one in covered.rules)} of {len(covered.rules)}",
        f"calls in tests: {' '.join(covered.event_types)}",
        f"fields in no tested rule: {' '.join(asked) or 'none'}",
        f"ATT&CK for Containers: {sum(map(bool, covered.techniques.values()))} of {len(covered.techniques)} techniques",
        *(
            f"  {name} {' · '.join(CONTAINER_TECHNIQUES[name])}: {', '.join(by) or '-'}"
            for name, by in covered.techniques.items()
        ),
        *(f"failed: {title}" for title in covered.failed),
    ]
    for line in lines:
        console.print(neutral(line), markup=False)


def _play(found: RuleSet, files: list[Path], *, first_match: bool = False) -> list[tuple[Scene, Played]]:
    """Every test of `files`, played."""
    from shipwall.adapters.rule_files import read_tests
    from shipwall.runtime.scene import play_scene

    return [(scene, play_scene(found, scene, first_match=first_match)) for scene in read_tests(*files)]


@contextmanager
def pointing() -> Iterator[None]:
    """Shows an error in a text with its line and a caret below it; ends the command with that error's exit code."""
    from shipwall.lang.diagnostic import SourceError

    try:
        yield
    except SourceError as error:
        sys.stderr.write(f"shipwall: {neutral(error.line())}\n")
        for line in error.excerpt.split("\n"):
            if line:
                sys.stderr.write(f"  {neutral(line.expandtabs(4))}\n")
        raise typer.Exit(error.exit_code) from error
