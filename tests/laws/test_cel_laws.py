"""CEL against an implementation by others: what both accept they compute alike; and the reader is total."""

from __future__ import annotations

import contextlib
import math

import cel
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shipwall.lang.cel import BOOL, DOUBLE, INT, STRING, compile_condition, list_of, object_type
from shipwall.model.errors import InputError

DECLARED = {"f": object_type("f", {"i": INT, "d": DOUBLE, "s": STRING, "b": BOOL, "l": list_of(STRING)})}
values = st.fixed_dictionaries({
    "i": st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3), "d": st.floats(-10, 10), "s": st.text("ab.", max_size=3),
    "b": st.booleans(), "l": st.lists(st.text("ab", max_size=2), max_size=3),
})  # fmt: skip

ints = st.recursive(
    st.sampled_from(["f.i", "size(f.s)", "size(f.l)", "0", "1", "2", "-3", "7"]),
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "%"]), inner).map(lambda one: f"({' '.join(one)})"),
    max_leaves=4,
)
doubles = st.recursive(
    st.sampled_from(["f.d", "0.5", "2.0", "-1.5"]),
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda one: f"({' '.join(one)})"),
    max_leaves=3,
)
strings = st.recursive(
    st.sampled_from(["f.s", "'a'", '""', "'ab'", r"'\x61'"]),
    lambda inner: st.tuples(inner, inner).map(lambda one: f"({one[0]} + {one[1]})"),
    max_leaves=3,
)
patterns = st.sampled_from(["a", "^a", "b$", "^a*$", "a.", "^(a|b)", "[ab]+", r"\\.", "", "(?:ab)?$"])
comparisons = st.one_of(
    *(st.tuples(kind, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), kind).map(" ".join) for kind in (ints, doubles, strings)),
    st.tuples(strings, st.sampled_from(["startsWith", "endsWith", "contains"]), strings).map(lambda one: f"{one[0]}.{one[1]}({one[2]})"),
    st.tuples(strings, patterns).map(lambda one: f'{one[0]}.matches("{one[1]}")'),
    strings.map(lambda one: f"{one} in f.l"),
    st.tuples(st.sampled_from(["exists", "all", "exists_one"]), strings).map(lambda one: f"f.l.{one[0]}(x, x >= {one[1]})"),
    strings.map(lambda one: f"size(f.l.filter(x, x == {one})) > 0 && f.l.map(x, x + 'a') != f.l"),
    st.sampled_from(["f.b", "true", "false", "f.l[0] == 'a'"]),
)  # fmt: skip
conditions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda one: f"({' '.join(one)})"),
        inner.map(lambda one: f"!({one})"),
        st.tuples(inner, inner, inner).map(lambda one: f"(({one[0]}) ? ({one[1]}) : ({one[2]}))"),
    ),
    max_leaves=5,
)


words = st.sampled_from(
    [*"f.ids()[],!-+1<?:x", "l", "&&", "||", "2.0", "'a'", "==", "in", "exists", "all", "map", "size", "has", "matches"]
)


@given(conditions, values)
@settings(max_examples=1500, deadline=None)
def test_both_compute_alike(text: str, given_values: dict[str, object]) -> None:
    assume(math.isfinite(float(str(given_values["d"]))))
    condition = compile_condition(text, DECLARED, {})
    try:
        expected = cel.evaluate(text, {"f": given_values})
    except Exception:  # noqa: BLE001 (theirs are of many kinds)
        expected = None
    try:
        found: bool | None = condition.holds({"f": given_values})
    except InputError:
        found = None
    assert found == expected


@given(st.text(max_size=60) | st.lists(words, max_size=25).map(" ".join))
@settings(max_examples=1000, deadline=None)
def test_the_reader_is_total(text: str) -> None:
    with contextlib.suppress(InputError):
        compile_condition(text, DECLARED, {}).holds({"f": {"i": 1, "d": 1.0, "s": "a", "b": True, "l": ()}})
