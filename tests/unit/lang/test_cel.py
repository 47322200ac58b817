"""CEL: what it computes, what it refuses and where, and that nothing takes long."""

from __future__ import annotations

import time

import pytest

from shipwall.lang.cel import BOOL, DOUBLE, INT, STRING, compile_condition, enum_type, list_of, object_type
from shipwall.lang.diagnostic import SourceError
from shipwall.model.errors import InputError

COLOUR = enum_type("colour")
DECLARED = {
    "ship": object_type("ship", {
        "name": STRING, "length": INT, "draught": DOUBLE, "afloat": BOOL, "crew": list_of(STRING), "colour": COLOUR,
        "tug": object_type("tug", {"name": STRING}),
    }),
    "n": INT,
}  # fmt: skip
CONSTANTS = {"RED": (COLOUR, 1), "BLUE": (COLOUR, 2)}
VALUES = {
    "ship": {
        "name": "Vasa",
        "length": 69,
        "draught": None,
        "afloat": False,
        "crew": ("ann", "bo"),
        "colour": 2,
        "tug": {"name": "T"},
    },
    "n": 7,
}


def holds(text: str) -> bool:
    return compile_condition(text, DECLARED, CONSTANTS).holds(VALUES)


@pytest.mark.parametrize(
    "text",
    [
        "true",
        "!false && !!true",
        "ship.name == 'Vasa' && ship.length > 60",
        'ship.name.startsWith("Va") && ship.name.endsWith("sa") && ship.name.contains("as")',
        'ship.name.matches("^V.*a$") && ship.name.matches("as") && !ship.name.matches("^as") && !ship.name.matches("Va$")',
        'ship.name.matches("(?i)vASA")',
        '"a\\nb".matches("b$")',
        "ship.draught == 0.0 && !has(ship.draught) && has(ship.length)",
        "ship.colour >= RED && ship.colour in [RED, BLUE] && !(ship.colour < BLUE)",
        "ship.tug.name == 'T'",
        "ship.crew.exists(one, one == 'bo') && !ship.crew.all(one, one == 'bo') && ship.crew.exists_one(one, one == 'bo')",
        "ship.crew.filter(one, one != 'bo') == ['ann'] && ship.crew.map(one, one + '!') == ['ann!', 'bo!']",
        "size(ship.crew) == 2 && ship.name.size() == 4 && ship.crew[1] == 'bo'",
        "'bo' in ship.crew && !('eve' in [])",
        "1 + 2 * 3 - 4 / 2 == 5 && 7 % 3 == 1 && -7 / 2 == -3 && -7 % 2 == -1",
        "1.5 * 2.0 == 3.0 && 0x10 == 16 && 1e3 == 1000.0 && 2 > 1.5",
        "n > 5 ? true : false",
        "n == 7 || 1 / 0 == 1",
        "1 / 0 == 1 || n == 7",
        "!(1 / 0 == 1 && n == 8)",
        "[1, 0].exists(x, 1 / x == 1)",
        r"'\x41\u0042\103' == 'ABC' && r'\n' == '\\n' && '''a'b''' == 'a\'b'",
        "['a', 'b',] == ['a'] + ['b'] // a remark",
        "-9223372036854775808 < 0",
        "1.0 / 0.0 > 1e300",
    ],
)
def test_what_holds(text: str) -> None:
    assert holds(text)


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("ship.lenght > 1", 6, "did you mean 'length'?"),
        ("shipp.length > 1", 1, "did you mean 'ship'?"),
        ("ship.colour >= red", 16, "did you mean 'RED'?"),
        ('ship.colour >= "RED"', 13, "compare it with one of RED, BLUE, written without quotes"),
        ("ship.colour >= 1", 13, "cannot be compared"),
        ("ship.length == '1'", 13, "an int and a string cannot be compared"),
        ("ship.length", 6, "is an int, not a condition"),
        ("ship.length + 1.0 > 2.0", 13, "write whole numbers as 1.0"),
        ("ship.afloat && ship.length", 21, "is an int, where a bool is wanted"),
        ("ship.afloat and true", 13, "write &&"),
        ("n = 7", 3, "write == to compare"),
        ("n == ", 6, "a value is expected here, but the expression ends"),
        ("(n == 7", 8, "')' is expected"),
        ("n == 'x", 6, "a text has no end"),
        ("n == 7 #", 8, "'#' is not part"),
        ("n == 99999999999999999999", 6, "beyond 64 bits"),
        ("ship.crew.exist(x, true)", 11, "did you mean 'exists'?"),
        ("ship.crew.exists(true)", 11, "wants a name and an expression"),
        ("ship.crew.exists(n, true)", 18, "has a meaning already"),
        ("ship.name.matches(ship.name)", 24, "not a literal"),
        ("ship.name.matches('(')", 19, "pattern:"),
        ("ship.name.matches('^a|b')", 19, "write ^(a|b)$"),
        ("sizes(ship.crew) > 1", 1, "did you mean 'size'?"),
        ("has(n)", 1, "has wants one field"),
        ("['a', 1] == []", 7, "in a list of string"),
        ("ship.draught == null", 17, "ask has("),
        ("ship == ship.tug", 6, "cannot be compared"),
        ("'\\q' == 'q'", 1, "escape \\q"),
        ("", 1, "a value is expected"),
    ],
)
def test_what_is_refused_and_where(text: str, column: int, words: str) -> None:
    with pytest.raises(SourceError) as caught:
        compile_condition(text, DECLARED, CONSTANTS, "--fail-on")
    error = caught.value
    assert words in error.line()
    assert (error.line_number, error.column) == (1, column), error.line()
    assert error.excerpt == f"{text}\n{' ' * (column - 1)}^"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 / (n - 7) == 1", "divides by zero"),
        ("n % (n - 7) == 1", "divides by zero"),
        ("9223372036854775807 + n > 0", "64 bits"),
        ("ship.crew[n] == ''", "item 7 of a list of 2"),
        ("[1, 2].all(x, 1 / 0 == x)", "divides by zero"),
    ],
)
def test_what_goes_wrong_while_it_runs(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        holds(text)


def test_nothing_takes_long_or_grows() -> None:
    many = "[" + ",".join(map(str, range(30))) + "]"
    nested = f"{many}.all(a, {many}.all(b, {many}.all(c, {many}.all(d, true))))"
    doubling = "size(['ab']" + ".map(x, x + x)" * 50 + "[0]) > 0"
    lists = "[[1]]" + ".map(x, x + x)" * 50 + " == [[1]]"
    started = time.monotonic()
    for text in (nested, doubling, lists):
        with pytest.raises(InputError, match="more than"):
            holds(text)
    deep = ["(" * 1900 + "true" + ")" * 1900, "!" * 3000 + "true", "-" * 3000 + "1 > 0", "true" + " && true" * 400]
    deep += ["[" * 900 + "]" * 900, "n" + ".a" * 900, "x" * 5000]
    for text in deep:
        with pytest.raises(InputError):
            holds(text)
    with pytest.raises(InputError, match="deeper"):
        holds("[[[1]]] == []")
    assert time.monotonic() - started < 5
