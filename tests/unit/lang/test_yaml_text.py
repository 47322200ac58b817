"""YAML with positions: what is read, what is refused, and where the error points."""

from __future__ import annotations

import pytest

from shipwall.lang.diagnostic import SourceError
from shipwall.lang.yaml_text import parse_yaml


def test_values_follow_the_core_schema() -> None:
    tree = parse_yaml("a: no\nb: 0x10\nc: 1.5\nd: ~\ne: '8080'\nf: true\ng: [1, two]\n", "f.yaml")
    assert tree.plain() == {"a": "no", "b": 16, "c": 1.5, "d": None, "e": "8080", "f": True, "g": [1, "two"]}


def test_every_node_knows_its_place() -> None:
    tree = parse_yaml("rules:\n  - name: x\n    limit: 3\n", "f.yaml")
    rule = tree.mapping()["rules"].sequence()[0]
    assert (rule.line, rule.column) == (2, 5)
    assert (rule.mapping()["limit"].line, rule.mapping()["limit"].column) == (3, 12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3:1: key 'a' appears twice; keep one of them"),
        ("a: [", "f.yaml:2:1: did not find expected node content; while parsing a flow node"),
        ("a: *x\n", "f.yaml:1:4: alias of unknown anchor 'x'"),
        ("<<: {a: 1}\n", "f.yaml:1:1: merge keys are not supported; write the keys out"),
        ("a: !!python/object:os.system x\n", "f.yaml:1:4: tag 'tag:yaml.org,2002:python/object:os.system' is not allowed"),
        ("- 1\n---\n- 2\n", "f.yaml:2:1: a second document starts here; keep one document per file"),
        ("? [a]\n: 1\n", "f.yaml:1:5: a key must be a word, not a list or a mapping"),
    ],
)
def test_refusals_point_at_the_place(text: str, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_yaml(text, "f.yaml")
    assert str(caught.value).startswith(message)


def test_unknown_key_names_the_likely_one() -> None:
    tree = parse_yaml("tests: 1\nconditon: x\n", "f.yaml")
    with pytest.raises(SourceError) as caught:
        tree.mapping({"tests", "condition"})
    assert str(caught.value) == "f.yaml:2:1: unknown key 'conditon'; did you mean 'condition'?"
    assert caught.value.excerpt == "conditon: x\n^"


def test_depth_nodes_and_aliases_are_bounded() -> None:
    with pytest.raises(SourceError, match="nested deeper"):
        parse_yaml("[" * 5000, "f.yaml")
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
    )
    with pytest.raises(SourceError, match="aliases included"):
        parse_yaml(bomb, "f.yaml")
    chain = "- &a0 [x]\n" + "".join(f"- &a{n} [*a{n - 1}]\n" for n in range(1, 200))
    with pytest.raises(SourceError, match="nested deeper"):
        parse_yaml(chain, "f.yaml")


def test_a_place_inside_a_folded_scalar_is_found_in_the_file() -> None:
    tree = parse_yaml("- condition: >\n    one and\n    two\n      and three\n- plain: a\n    b\n", "f.yaml")
    folded = tree.sequence()[0].mapping()["condition"]
    error = folded.error_at(folded.text.index("three"), "here")
    assert (error.line_number, error.column) == (4, 11)
    plain = tree.sequence()[1].mapping()["plain"]
    assert (plain.error_at(2, "here").line_number, plain.error_at(2, "here").column) == (6, 5)


def test_reading_methods_say_what_was_expected() -> None:
    tree = parse_yaml("a: x\nb: [1]\nc: yes\n", "f.yaml").mapping()
    with pytest.raises(SourceError, match=r"f\.yaml:1:4: expected a whole number, found 'x'"):
        tree["a"].integer()
    with pytest.raises(SourceError, match="expected text, found a list"):
        tree["b"].string()
    with pytest.raises(SourceError, match="'x' is not one of y, z"):
        tree["a"].choice(["y", "z"])
    assert tree["c"].boolean() is True


def test_bytes_that_are_not_text_are_refused() -> None:
    with pytest.raises(SourceError, match="is not UTF-8 at byte 0"):
        parse_yaml(b"\xff\xfe\x00", "f.yaml")
