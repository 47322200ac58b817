"""Falco's condition language: trees, and errors that point."""

from __future__ import annotations

import pytest

from shipwall.lang.condition import (
    And,
    Compare,
    Exists,
    Field,
    Macro,
    Not,
    Or,
    Transform,
    Value,
    parse_condition,
    render_condition,
)
from shipwall.lang.diagnostic import SourceError


def test_or_binds_weaker_than_and_than_not() -> None:
    tree = parse_condition("a or not b and c")
    assert tree == Or((Macro("a"), And((Not(Macro("b")), Macro("c")))))
    assert parse_condition("not(a)and(b or c)") == And((Not(Macro("a")), Or((Macro("b"), Macro("c")))))
    assert parse_condition("not not a") == Macro("a")


def test_operands_operators_and_values() -> None:
    assert parse_condition("proc.aname[2]=bash") == Compare(Field("proc.aname", "2"), "=", (Value("bash"),))
    assert parse_condition("proc.args['a b'] exists") == Exists(Field("proc.args", "a b"))
    assert parse_condition("proc.pname in (runc:[0:PARENT], 'x y', shells)") == Compare(
        Field("proc.pname"), "in", (Value("runc:[0:PARENT]"), Value("x y", True), Value("shells"))
    )
    assert parse_condition("fd.num>=-1") == Compare(Field("fd.num"), ">=", (Value("-1"),))
    assert parse_condition("tolower(proc.name) = val(proc.pname)") == Compare(
        Transform("tolower", (Field("proc.name"),)), "=", (), Field("proc.pname")
    )
    assert parse_condition(r'proc.args contains "say \"hi\"\n"') == Compare(
        Field("proc.args"), "contains", (Value('say "hi"\n', True),)
    )


def test_comparisons_remember_their_source() -> None:
    tree = parse_condition("a and\n  proc.name   in (x,\n y)")
    assert isinstance(tree, And)
    leaf = tree.items[1]
    assert isinstance(leaf, Compare)
    assert (leaf.start, leaf.text) == (8, "proc.name   in (x,\n y)")


@pytest.mark.parametrize(
    ("text", "message", "excerpt"),
    [
        ("proc.name startwith x", "c:1:11: unknown operator 'startwith'; did you mean 'startswith'?", "          ^"),
        ("a and\n  (b or c", "c:2:3: this `(` is not closed", "  ^"),
        ("proc.name in (a, b", "c:1:14: the list is not closed", "             ^"),
        ("proc.name", "c:1:1: a field alone is no condition; compare it, or write `exists` after it", "^"),
        ("fd.num > many", "c:1:10: expected a number after '>'", "         ^"),
        ("name = x", "c:1:1: 'name' is not a field, so '=' cannot test it; fields have a dot, as proc.name", "^"),
        ('proc.name regex "a\\.b"', "c:1:19: escape \\. is not understood; write \\\\ for a backslash", "                  ^"),
        ("a adn b", "c:1:3: expected `and`, `or` or the end before 'adn'; did you mean 'and'?", "  ^"),
        ("", "c:1:1: the condition is empty", "^"),
    ],
)
def test_errors_point_and_guess(text: str, message: str, excerpt: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_condition(text, "c")
    assert str(caught.value) == message
    assert caught.value.excerpt.split("\n")[-1] == excerpt


def test_depth_and_length_are_bounded() -> None:
    with pytest.raises(SourceError, match="nested deeper than 100 levels"):
        parse_condition("(" * 200 + "a" + ")" * 200)
    with pytest.raises(SourceError, match="over the limit"):
        parse_condition("a or " * 60_000 + "a")


def test_written_out_keeps_only_needed_parentheses() -> None:
    assert render_condition(parse_condition("((a and b)) or (c)")) == "a and b or c"
    assert render_condition(parse_condition("a and (b or c)")) == "a and (b or c)"
    assert render_condition(parse_condition("not (a or b)")) == "not (a or b)"
