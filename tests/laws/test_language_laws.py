"""Conditions, YAML and regular expressions: total on any text, and the same after being written out and read again."""

from __future__ import annotations

import contextlib
import re
import string

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.condition_trees import trees_of

from shipwall.lang import condition as c
from shipwall.lang.diagnostic import SourceError
from shipwall.lang.regex import Regex, RegexError
from shipwall.lang.yaml_text import parse_yaml
from shipwall.model.errors import InputError
from shipwall.runtime.rules import parse_rules
from shipwall.runtime.scene import parse_scenes

PIECES = [
    "and", "or", "not", "not(", "(", ")", " ", "\n", "proc.name", "proc.aname[2]", "evt.num", "=", "!=", "<=", ">", "in", "contains",
    "exists", "glob", "regex", "pmatch", ",", '"a b"', "'q'", '"\\', "bash", "3", "-1", "0x1f", "shell_procs", "val(", "tolower(", "[", "]",
    "anyof", "oneof (", "join(", "concat(", "getopt(",
]  # fmt: skip

names = st.from_regex(r"[a-z][a-z_]{0,7}", fullmatch=True).filter(lambda word: word not in {"and", "or", "not"})
fields = st.builds(
    c.Field,
    st.lists(names, min_size=2, max_size=3).map(".".join),
    st.none() | st.text(min_size=1, max_size=6).filter(lambda text: "\x00" not in text),
)
texts = st.builds(c.Value, st.text(max_size=4), st.just(True))
operands = st.recursive(
    fields,
    lambda inner: (
        st.builds(c.Transform, st.sampled_from(c.TRANSFORMERS[:5]), inner.map(lambda one: (one,)))
        | st.builds(c.Transform, st.just("join"), st.tuples(texts, inner))
        | st.builds(c.Transform, st.just("concat"), st.tuples(inner, inner | texts))
        | st.builds(c.Transform, st.just("getopt"), st.tuples(inner, texts), st.none() | st.sampled_from("abc"))
    ),
    max_leaves=4,
)
values = st.builds(c.Value, st.text(max_size=8), st.just(True)) | st.builds(
    c.Value, st.text(string.ascii_letters + string.digits + "/._-:*", min_size=1, max_size=8), st.just(False)
)
numbers = st.integers(-(10**9), 10**9).map(lambda number: c.Value(str(number)))
leaves = (
    st.builds(c.Exists, operands)
    | st.builds(c.Compare, operands, st.sampled_from(c.TEXT_OPERATORS), values.map(lambda value: (value,)))
    | st.builds(c.Compare, operands, st.sampled_from(c.NUMBER_OPERATORS), numbers.map(lambda value: (value,)))
    | st.builds(c.Compare, operands, st.sampled_from(c.LIST_OPERATORS), st.lists(values, max_size=4).map(tuple))
    | st.builds(c.Compare, operands, st.sampled_from(c.TEXT_OPERATORS), st.just(()), operands)
    | st.builds(
        c.Compare,
        operands,
        st.sampled_from(c.TEXT_OPERATORS),
        st.lists(values, max_size=4).map(tuple),
        st.none(),
        st.sampled_from(c.MODIFIERS),
    )
    | st.builds(c.Macro, names)
)
trees = trees_of(leaves, 12)


@given(trees)
def test_a_condition_written_out_is_read_back_the_same(tree: c.Condition) -> None:
    written = c.render_condition(tree)
    assert c.parse_condition(written) == tree
    assert c.render_condition(c.parse_condition(written)) == written


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join)
    | st.lists(st.sampled_from(PIECES)).map("".join)
)
@example("(" * 5000)
@example("not " * 5000 + "a")
@example("tolower(" * 300)
@example("a and " * 3000 + "a")
def test_conditions_are_total(text: str) -> None:
    with contextlib.suppress(SourceError):
        tree = c.parse_condition(text)
        assert c.parse_condition(c.render_condition(tree)) == tree


@given(
    st.text(max_size=200)
    | st.lists(st.sampled_from(["- ", "a: ", "\n", "  ", "&x ", "*x", "[", "]", "{", "}", "|", "'", '"'])).map("".join)
)
def test_yaml_is_total(text: str) -> None:
    with contextlib.suppress(SourceError):
        parse_yaml(text, "f").plain()


@given(st.binary(max_size=200))
def test_rule_files_and_scenes_are_total_on_bytes(data: bytes) -> None:
    for parse in (lambda: parse_rules(data, "f"), lambda: parse_yaml(data, "f"), lambda: parse_scenes(data, "f")):
        with contextlib.suppress(InputError):
            parse()


simple = st.recursive(
    st.sampled_from(["a", "b", "c", ".", "[ab]", "[^a]", r"\d", r"\.", "[a-c]", r"\w"]),
    lambda inner: (
        st.tuples(inner, inner).map("".join)
        | st.tuples(inner, inner).map(lambda pair: f"({pair[0]}|{pair[1]})")
        | st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}"])).map(lambda pair: f"(?:{pair[0]}){pair[1]}")
    ),
    max_leaves=6,
)


@given(simple, st.text("abc1. ", max_size=10))
def test_regexes_agree_with_python_where_python_is_sane(pattern: str, text: str) -> None:
    assert Regex(pattern).matches(text) == (re.fullmatch(pattern, text, re.ASCII) is not None)


@given(st.text(max_size=40) | st.text("ab()[]{}|*+?.\\^$-,0123456789", max_size=40), st.text(max_size=30))
def test_regexes_are_total(pattern: str, text: str) -> None:
    with contextlib.suppress(RegexError):
        Regex(pattern).matches(text)


@settings(deadline=2000)
@given(st.sampled_from(["(a+)+b", "(a|a)*b", "(a|aa)+c", "(.*a){20}", "a{0,30}a{0,30}b", "((((){200}){200}){200}){200}"]))
def test_what_hangs_a_backtracking_engine_does_not_hang_this_one(pattern: str) -> None:
    with contextlib.suppress(RegexError):
        assert not Regex(pattern).matches("a" * 3000 + "!")
