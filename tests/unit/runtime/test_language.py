"""The newer parts of the rule language: modifiers, functions of several fields, outputs, what a file needs, throttles."""

from __future__ import annotations

import pytest

from shipwall.lang.condition import Field, parse_condition, render_condition
from shipwall.lang.diagnostic import SourceError
from shipwall.runtime.conditions import WORDS, Bound, Found, compile_condition, evaluate
from shipwall.runtime.fields import KINDS
from shipwall.runtime.rules import RuleSet, parse_rule_files, parse_rules
from shipwall.runtime.rules.definitions import Throttle
from shipwall.runtime.rules.output import render_output
from shipwall.runtime.throttle import MAX_PLACES, Throttles

RULE = "- rule: R\n  desc: d\n  condition: {condition}\n  output: o\n  priority: NOTICE\n"


def _holds(text: str, **values: Found) -> bool:
    """What both forms say, which must be the same."""
    tree = parse_condition(text)

    def lookup(field: Field) -> Found:
        return values.get(field.name.replace(".", "_") + ("_words" if field.argument == WORDS else ""))

    said = evaluate(tree, lookup)
    compiled = compile_condition(tree, lambda field: Bound("text", field.argument == WORDS, lambda _facts: lookup(field)))
    assert compiled(None) is said
    assert parse_condition(render_condition(tree)) == tree
    return said


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("proc.name startswith anyof (my, bash)", True),
        ("proc.name startswith oneof (my, bash)", True),
        ("proc.name startswith oneof (my, mye)", False),
        ("proc.name startswith allof (my, mye)", True),
        ("proc.name = anyof (sh, myexe)", True),
        ("proc.name != allof (sh, bash)", True),
        ("proc.name != allof (sh, myexe)", False),
        ("proc.name regex anyof ('my.*', x)", True),
        ("proc.name contains allof ()", False),
        ("proc.name contains anyof ()", False),
        ("proc.pname != allof (sh)", False),
        ("proc.name = anyof", False),
    ],
)
def test_modifiers_apply_the_operator_to_each_value(text: str, holds: bool) -> None:
    assert _holds(text, proc_name="myexe") is holds


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("concat(proc.name, ':', proc.pname) = nc:sh", True),
        ("concat(proc.name, proc.cwd) = nc", False),
        ("join(',', proc.args) = '-e,/bin/sh,-vp80,host'", True),
        ("len(join('', proc.args)) > 5", True),
        ("getopt(proc.args, 'e:vp:')[e] = /bin/sh", True),
        ("getopt(proc.args, 'e:vp:')[p] = 80", True),
        ("getopt(proc.args, 'e:vp:')[v] exists", True),
        ("getopt(proc.args, 'e:vp:')[x] exists", False),
        ("getopt(proc.args, 'e:vp:') intersects (v, x)", True),
        ("getopt(proc.args, 'e:') intersects ('?')", True),
        ("toupper(concat(proc.name, proc.pname)) = NCSH", True),
        ("proc.name = tolower(proc.pname)", False),
    ],
)
def test_functions_of_several_values(text: str, holds: bool) -> None:
    words = ("-e", "/bin/sh", "-vp80", "host")
    assert _holds(text, proc_name="nc", proc_pname="sh", proc_args=" ".join(words), proc_args_words=words) is holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("proc.name in anyof (a)", "in"),
        ("proc.pid > anyof (1)", "anyof cannot follow '>'"),
        ("concat(proc.name) = a", "1 operands where 2 to 32 are needed"),
        ("join(',') = a", "1 operands where 2 are needed"),
        ("concat('a', 'b') = ab", "expected a field among these"),
        ("tolower('A') = a", "expected a field"),
        ("getopt(proc.args, 'a')[ab] = 1", "takes one option letter"),
        ("tolowr(proc.name) = a", "did you mean 'tolower'"),
    ],
)
def test_wrong_uses_are_refused_at_their_place(text: str, message: str) -> None:
    with pytest.raises(SourceError, match=r"condition:1:\d+") as caught:
        parse_condition(text)
    assert message in str(caught.value)


def _rules(text: str, name: str = "f.yaml") -> RuleSet:
    return parse_rules(text, name)


def test_modifiers_take_lists_and_stand_in_exceptions() -> None:
    text = (
        "- list: shells\n  items: [sh, ba]\n"
        + RULE.format(condition="evt.type = execve and proc.name startswith anyof (shells)")
        + "  exceptions:\n    - {name: e, fields: proc.pname, comps: startswith anyof, values: [kube-, etcd-]}\n"
        + "    - {name: g, fields: [proc.exe, proc.name], comps: [startswith oneof, =], values: [[[/a, /b], x]]}\n"
    )
    (rule,) = _rules(text).rules
    assert render_condition(rule.condition) == (
        "(evt.type = execve and (proc.name startswith sh or proc.name startswith ba)) and not ((proc.pname startswith kube- or "
        "proc.pname startswith etcd-) or proc.exe startswith oneof (/a, /b) and proc.name = x)"
    )


def _said(text: str, **values: Found) -> tuple[str, dict[str, str]]:
    (rule,) = _rules(RULE.format(condition="evt.type = execve").replace("output: o", f"output: '{text}'")).rules
    return render_output(rule.output, lambda field: values.get(field.name.replace(".", "_")))


def test_outputs_know_functions_widths_and_marks() -> None:
    said, fields = _said("*a=%toupper(proc.name) b=%*proc.pname c=%4proc.name| %% 100% %nothing(x) %basename(proc.exepath)",
                         proc_name="nginx", proc_exepath="/usr/bin/x")  # fmt: skip
    assert said == "a=NGINX b=<NA> c=ngin| % 100% %nothing(x) x"
    assert fields == {
        "toupper(proc.name)": "NGINX",
        "proc.pname": "<NA>",
        "proc.name": "nginx",
        "basename(proc.exepath)": "x",
    }


@pytest.mark.parametrize("text", ["%tolower(proc.nme)", "%tolower()", "%join(proc.name)", "%proc.aname[x]"])
def test_wrong_outputs_are_refused_at_their_place(text: str) -> None:
    with pytest.raises(SourceError, match=r"f\.yaml:4:[12]\d"):
        _said(text)


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ("- required_engine_version: 0.57.0\n", ""),
        ("- required_engine_version: 26\n", ""),
        ("- required_plugin_versions:\n    - {name: container, version: 0.4.0}\n", ""),
        ("- required_engine_version: 0.99.0\n", "its file needs engine version 0.99.0"),
        ("- required_plugin_versions:\n    - {name: k8saudit, version: 0.7.0}\n", "its file needs the plugin k8saudit 0.7.0"),
        (
            "- required_plugin_versions:\n    - {name: x, version: 0.7.0, alternatives: [{name: container, version: 0.1.0}]}\n",
            "",
        ),
    ],
)
def test_a_file_that_needs_more_is_skipped_and_stops_nothing(head: str, reason: str) -> None:
    found = parse_rule_files([("a.yaml", RULE.format(condition="evt.type = execve").replace("R", "First")),
                              ("b.yaml", RULE.format(condition="evt.type = execve") + head)])  # fmt: skip
    assert [rule.name for rule in found.rules] == (["First", "R"] if not reason else ["First"])
    if reason:
        assert found.skipped[0].reason.startswith(reason)
        assert found.notices[0].file == "b.yaml"


@pytest.mark.parametrize("version", ["a.b.c", "1.2", "'0.57.0-rc'"])
def test_a_version_must_be_one(version: str) -> None:
    with pytest.raises(SourceError, match="is not a version"):
        _rules(f"- required_engine_version: {version}\n")


def test_every_key_can_be_overridden_and_the_rule_keeps_its_place() -> None:
    base = RULE.format(condition="evt.type = execve") + RULE.format(condition="evt.type = openat").replace("rule: R", "rule: S")
    change = (
        "- rule: R\n  enabled: false\n  warn_evttypes: false\n  skip-if-unknown-filter: true\n  capture: true\n  capture_duration: 500\n"
        "  throttle: {alerts: 2, per: 10m}\n  tags: [x]\n  desc: more\n  output: and %proc.name\n"
        "  override: {enabled: replace, warn_evttypes: replace, skip-if-unknown-filter: replace, capture: replace,\n"
        "    capture_duration: replace, throttle: replace, tags: replace, desc: append, output: append}\n"
    )
    first, second = parse_rule_files([("a", base), ("b", change)]).rules
    assert (first.name, second.name) == ("R", "S")
    assert (first.enabled, first.capture_ms, first.throttle) == (False, 500, Throttle(2, 600_000_000_000))
    assert (first.tags, first.description) == (("x",), "d more")
    again = parse_rule_files([("a", base), ("b", RULE.format(condition="evt.type = connect"))]).rules
    assert [rule.name for rule in again] == ["R", "S"]


def test_a_rule_judged_on_everything_is_noticed() -> None:
    text = RULE.format(condition="proc.name = x")
    (notice,) = _rules(text).notices
    assert (notice.line, f"is judged on {len(KINDS)} kinds" in notice.reason) == (1, True)
    assert _rules(text + "  warn_evttypes: false\n").notices == ()
    old = "- rule: R\n  condition: and proc.pid = 1\n  append: true\n"
    found = parse_rule_files([("a", text + "  warn_evttypes: false\n"), ("b", old)])
    assert "old form" in found.notices[0].reason


@pytest.mark.parametrize(
    "throttle", ["{alerts: 0, per: 1m}", "{alerts: 1, per: soon}", "{alerts: 1}", "{alerts: 1, per: 0s}", "5"]
)
def test_wrong_throttles_are_refused(throttle: str) -> None:
    with pytest.raises(SourceError):
        _rules(RULE.format(condition="evt.type = execve") + f"  throttle: {throttle}\n")


def test_a_throttle_counts_what_it_keeps_back_and_says_so() -> None:
    throttles, throttle = Throttles(), Throttle(2, 100)
    assert [throttles.take("r", throttle, "c", now) for now in (0, 1, 2, 3)] == [0, 0, -1, -1]
    assert throttles.take("r", throttle, "other", 3) == 0
    assert throttles.kept_back() == {"r": 2}
    assert [throttles.take("r", throttle, "c", now) for now in (100, 101)] == [2, 0]
    assert throttles.take("r", throttle, "c", 50) == 0  # the clock stepped back: a new time begins
    for number in range(MAX_PLACES):
        throttles.take("r", throttle, str(number), 60)
    assert throttles.take("r", throttle, "c", 61) == 0
