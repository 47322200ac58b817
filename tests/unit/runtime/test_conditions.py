"""What conditions mean."""

from __future__ import annotations

import pytest

from shipwall.lang.condition import Field, parse_condition
from shipwall.runtime.conditions import Address, Explanation, Found, LiteralError, evaluate, make_check


def _holds(text: str, **values: Found) -> bool:
    return evaluate(parse_condition(text), lambda field: values.get(field.name.replace(".", "_")))


def test_a_missing_value_makes_comparisons_false_and_their_negation_true() -> None:
    assert not _holds("proc.name = sh")
    assert not _holds("proc.name != sh")
    assert _holds("not proc.name = sh")
    assert _holds("not proc.name exists")


def test_any_of_several_values_passes_and_unequal_means_none_is() -> None:
    names = ("bash", "nginx")
    assert _holds("proc.aname = nginx", proc_aname=names)
    assert _holds("proc.aname in (x, bash)", proc_aname=names)
    assert not _holds("proc.aname != nginx", proc_aname=names)
    assert _holds("proc.aname != x", proc_aname=names)
    assert _holds("proc.aname startswith ng", proc_aname=names)
    assert _holds("proc.aname intersects (q, bash)", proc_aname=names)


def test_addresses_compare_as_addresses_and_networks() -> None:
    assert _holds('fd.sip = "2001:0db8::0001"', fd_sip=Address("2001:db8::1"))
    assert _holds('fd.snet in ("10.0.0.0/8", "192.168.0.0/16")', fd_snet=Address("192.168.3.4"))
    assert not _holds('fd.net != "127.0.0.0/8"', fd_net=Address("127.0.0.1"))
    assert not _holds('fd.snet in ("10.0.0.0/8")', fd_snet=Address("11.0.0.1"))
    assert _holds('fd.snet in ("10.0.0.0/8")', fd_snet=Address("::ffff:10.1.1.1"))


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("fd.name pmatch (/etc, /var/log)", "/etc/shadow", True),
        ("fd.name pmatch (/etc)", "/etcetera", False),
        ("fd.name pmatch (/etc/)", "/etc", True),
        ("fd.name pmatch (/home/*/.ssh)", "/home/me/.ssh/id", True),
        ("fd.name pmatch (/)", "/any", True),
        ("fd.name glob '/home/*/.ssh/*'", "/home/a/b/.ssh/x", True),
        ("fd.name iglob '*.KEY'", "/a.key", True),
        ("fd.name regex '/a[0-9]+'", "/a12", True),
        ("fd.name regex '/a[0-9]+'", "/a12x", False),
        ("fd.name bcontains 2f61", "x/ab", True),
        ("fd.name bstartswith 2f61", "x/ab", False),
        ("fd.name icontains SHADOW", "/etc/shadow", True),
        ("basename(fd.name) = shadow", "/etc/shadow", True),
        ("len(fd.name) > 3", "/etc", True),
        ("toupper(fd.name) = /ETC", "/etc", True),
        ("b64(fd.name) = hello", "aGVsbG8=", True),
        ("b64(fd.name) exists", "!", False),
        ("fd.name = val(fd.name)", "/x", True),
    ],
)
def test_operators(text: str, value: str, holds: bool) -> None:
    assert _holds(text, fd_name=value) is holds


def test_values_that_cannot_be_compared_are_refused() -> None:
    for operator, literal, kind in [("=", "x", "number"), ("<", "3", "text"), ("=", "maybe", "flag"), ("=", "x", "address"),
                                    ("regex", "(", "text"), ("bcontains", "2", "text")]:  # fmt: skip
        with pytest.raises(LiteralError):
            make_check(operator, (literal,), kind)
    assert make_check("=", ("0x10",), "number")(16)


def test_an_explanation_shows_each_value_and_turns_what_stands_below_not() -> None:
    tree = parse_condition("proc.name = sh and not (proc.pname = init or user.uid = 0)")
    values: dict[str, Found] = {"proc.name": "sh", "proc.pname": "nginx"}

    def lookup(field: Field) -> Found:
        return values.get(field.name)

    whys = Explanation(tree).of(lookup)
    assert [(why.condition, why.value, why.result) for why in whys] == [
        ("proc.name = sh", "sh", True),
        ("not proc.pname = init", "nginx", True),
        ("not user.uid = 0", "<NA>", True),
    ]
