"""Rule files: names, changes by later files, what is refused and what is skipped."""

from __future__ import annotations

import pytest

from shipwall.lang.condition import render_condition
from shipwall.lang.diagnostic import SourceError
from shipwall.runtime.rules import RuleSet, parse_rule_files, parse_rules
from shipwall.runtime.rules.calls import read_calls
from shipwall.runtime.rules.paths import read_paths

RULE = """
- rule: R
  desc: d
  condition: {condition}
  output: "%proc.name did %evt.type"
  priority: WARNING
  tags: [a]
"""


def _rules(condition: str, before: str = "", after: str = "") -> RuleSet:
    return parse_rule_files([("a.yaml", before + RULE.format(condition=condition)), ("b.yaml", after)])


def _written(rules: RuleSet) -> str:
    (rule,) = rules.rules
    return render_condition(rule.condition)


def test_lists_and_macros_are_expanded() -> None:
    before = """
- list: inner
  items: [b, '"c d"', 8080]
- list: outer
  items: [a, inner]
- macro: late
  condition: (proc.name in (outer, z) and early)
- macro: early
  condition: evt.type = execve
"""
    assert _written(_rules("late", before)) == 'proc.name in (a, b, "c d", 8080, z) and evt.type = execve'


def test_later_files_append_override_replace_and_switch() -> None:
    changes = """
- rule: R
  condition: and proc.name = x
  tags: [b]
  priority: info
  override: {condition: append, tags: append, priority: replace}
- list: names
  items: [y]
  override: {items: append}
"""
    names = "- list: names\n  items: [x]\n"
    (rule,) = _rules("proc.pname in (names)", names, changes).rules
    assert render_condition(rule.condition) == "proc.pname in (x, y) and proc.name = x"
    assert (rule.tags, rule.priority) == (("a", "b"), "Informational")
    old = "- rule: R\n  condition: or user.uid = 0\n  append: true\n"
    assert _written(_rules("proc.name = x", after=old)) == "proc.name = x or user.uid = 0"
    (rule,) = _rules("proc.name = x", after="- rule: R\n  enabled: false\n").rules
    assert not rule.enabled


def test_a_disabled_rule_judges_nothing() -> None:
    rules = _rules("proc.name exists", after="- rule: R\n  enabled: false\n")
    assert rules.by_event == {}


def test_exceptions_become_negated_rows() -> None:
    exceptions = """
- rule: R
  exceptions:
    - name: pairs
      fields: [proc.name, fd.name]
      comps: [=, startswith]
      values:
        - [nginx, /etc/nginx]
        - [cat, /etc/passwd]
    - name: one
      fields: proc.pname
      values: [cron, atd]
  override: {exceptions: append}
"""
    assert _written(_rules("evt.type = openat", after=exceptions)) == (
        "evt.type = openat and not (proc.name = nginx and fd.name startswith /etc/nginx or "
        "proc.name = cat and fd.name startswith /etc/passwd or proc.pname in (cron, atd))"
    )


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("proc.nam = x", "a.yaml:4:14: unknown field 'proc.nam'; did you mean 'proc.name'?"),
        ("proc.name = x and shels", "a.yaml:4:32: macro 'shels' is not defined"),
        ("proc.name[1] = x", "a.yaml:4:14: proc.name takes no argument"),
        ("proc.aname[x] = x", "a.yaml:4:14: proc.aname takes a number in brackets, not 'x'"),
        ("user.uid = root", "a.yaml:4:14: user.uid = root: 'root' is not a whole number"),
        ("proc.name > 3", "a.yaml:4:14: proc.name > 3: > compares numbers, and this field is text"),
        ("fd.sip = here", "a.yaml:4:14: fd.sip = here: 'here' is not an address or a network"),
        ("proc.name regex '(a'", "a.yaml:4:14: proc.name regex \"(a\": regex '(a': `)` is missing at character 3"),
    ],
)
def test_errors_stand_at_their_place(condition: str, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        _rules(condition)
    assert str(caught.value) == message


def test_an_error_in_an_appended_part_stands_in_its_own_file() -> None:
    with pytest.raises(SourceError, match=r"b\.yaml:2:18: unknown field 'proc\.nme'"):
        _rules("proc.name = x", after="- rule: R\n  condition: and proc.nme = y\n  append: true\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- macro: a\n  condition: b\n- macro: b\n  condition: a\n", "defined by itself: macro a → macro b → macro a"),
        ("- list: a\n  items: [b]\n- list: b\n  items: [a]\n", "defined by itself: list a → list b → list a"),
        ("- macro: m\n  condition: l\n- list: l\n  items: []\n", "'l' is a list, not a condition"),
        ("- rule: x\n  desc: d\n  conditon: a\n", "unknown key 'conditon'; did you mean 'condition'?"),
        ("- rule: x\n  desc: d\n", "key 'condition' is missing"),
        ("- rule: x\n  condition: and a\n  append: true\n", "changes rule 'x', which is not defined before"),
        ("- lst: x\n", "expected a rule, a macro or a list; did you mean 'list'?"),
        ("a: b\n", "expected a list, found keys and values"),
        (
            RULE.format(condition="proc.name = x") + "  action: explode\n",
            "'explode' is not one of alert, deny, kill, stop, freeze",
        ),
        (RULE.format(condition="proc.name = x").replace("WARNING", "WARN"), "'WARN' is not a priority; did you mean 'Warning'?"),
        (
            RULE.format(condition="proc.name = x").replace("%evt.type", "%evt.tpe"),
            "unknown field 'evt.tpe'; did you mean 'evt.type'?",
        ),
    ],
)
def test_refusals(text: str, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_rules(text, "f.yaml")
    assert message in str(caught.value)


def test_rules_are_prepared_for_the_events_they_can_match() -> None:
    (rule,) = _rules("evt.type in (execve, openat) and not fd.name startswith /tmp").rules
    assert rule.kinds == {"exec", "open"}
    (rule,) = _rules("fd.sport = 22").rules
    assert rule.kinds == {"connect", "duplicate", "call"}
    (rule,) = _rules("not evt.type = execve and proc.name = x and evt.arg.uid = 0").rules
    assert rule.kinds == {"exec", "privilege", "call"}


def test_what_the_sensor_does_not_tell_is_skipped_and_named() -> None:
    (skipped,) = _rules("fd.cproto != 0 and proc.name = sh").skipped
    assert skipped.fields == ("fd.cproto",)
    assert skipped.reason.startswith("the sensor does not tell fd.cproto")
    (skipped,) = _rules("evt.buflen > 3").skipped
    assert skipped.reason == "the sensor does not tell evt.buflen: data that is read or written is not copied out of the kernel"
    (skipped,) = _rules("evt.type = epoll_wait").skipped
    assert skipped.reason == "the sensor does not report epoll_wait"
    (rule,) = _rules("evt.type = connect or evt.type = sendto and fd.connected = false").rules
    assert rule.kinds == {"connect", "call"}
    (skipped,) = _rules("evt.num=0").skipped
    assert skipped.reason == "no event can match evt.num = 0"


def test_hot_calls_are_read_only_when_a_rule_names_them() -> None:
    quiet = read_calls(_rules("evt.type = mkdir and proc.name = x"))
    assert {"mkdir", "ptrace", "openat"} <= quiet
    assert not {"sendto", "recvmsg", "mmap"} & quiet
    assert {"sendto", "sendmsg"} <= read_calls(_rules("evt.type in (sendto, sendmsg) and fd.sport = 53"))
    assert read_calls(_rules("fd.sport = 53")) == quiet


def test_read_paths_are_prefixes_of_what_rules_read() -> None:
    rules = _rules(
        "evt.type = openat and evt.is_open_read = true and (fd.name in (/etc/shadow, /etc/shadow-) or fd.directory = /x)"
    )
    assert read_paths(rules).prefixes == ("/etc/shadow", "/x/")
    assert read_paths(_rules("evt.is_open_write = true and fd.name endswith .so")).prefixes == ()
    assert read_paths(_rules("evt.is_open_read = true and fd.name endswith .pem")).unbounded == ("R",)


def test_thousands_of_rules_load() -> None:
    text = "".join(RULE.replace("rule: R", f"rule: R{n}").format(condition=f"proc.name = p{n}") for n in range(2000))
    assert len(parse_rules(text, "f.yaml").rules) == 2000
