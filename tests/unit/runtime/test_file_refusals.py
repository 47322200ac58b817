"""Which conditions are decided when a file is about to be opened, what they say of a path, and the reasons for the rest."""

from __future__ import annotations

import pytest

from shipwall.lang.condition import parse_condition
from shipwall.model.errors import InputError
from shipwall.runtime.file_refusals import MAX_REFUSALS, FileRefusal, Judge, lower_files

OPEN = "evt.type in (open, openat, openat2) and "


def test_a_rule_of_names_and_its_judgement() -> None:
    tree = parse_condition(
        OPEN
        + "evt.is_open_write = true and fd.typechar = f and fd.num >= 0 and (fd.name startswith /etc/ or fd.directory = /root)"
    )
    refusal = lower_files(tree, "Writes", "monitor").refusal
    assert refusal is not None
    assert (refusal.rule, refusal.mode) == ("Writes", "monitor")
    judge = Judge((refusal, FileRefusal(rule="all", condition="fd.filename = shadow")))
    neither, second = frozenset(), frozenset({1})
    assert judge.judge("/etc/shadow", is_folder=False) == (second, {0, 1}, {0, 1})  # for reading, for writing, for both
    assert judge.judge("/etc/passwd", is_folder=True) == (neither, neither, neither)
    assert judge.judge("/root/x", is_folder=False) == (neither, {0}, {0})
    assert judge.judge("/root/x/y", is_folder=False) == (neither, neither, neither)


def test_other_acts_of_the_same_rule_are_left_to_others() -> None:
    tree = parse_condition("(evt.type in (unlink, unlinkat) or evt.type in (open, openat, openat2, creat)) and fd.name = /a")
    assert lower_files(tree, "r").refusal == FileRefusal(rule="r", condition="fd.name = /a")


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        (OPEN + "proc.name = cat and fd.name = /a", "the hook knows nothing of `proc.name = cat`"),
        (OPEN + "fd.nameraw contains ..", "the hook knows nothing of `fd.nameraw contains ..`"),
        ("evt.type = openat and fd.name = /a", "open, openat and openat2 pass the same hook: name all of them"),
        ("evt.type startswith open and fd.name = /a", "open, openat and openat2 pass the same hook: name all of them"),
        ("evt.type in (unlink, unlinkat) and fd.name = /a", "it is not about opening files"),
        (OPEN + "evt.rawres >= 0", "it holds for every open"),
        (OPEN + "fd.name = /a and evt.rawres < 0", "the hook knows nothing of `evt.rawres < 0`"),
    ],
)
def test_what_it_cannot_decide_exactly_it_does_not_take(condition: str, reason: str) -> None:
    assert lower_files(parse_condition(condition), "r") == (None, reason)


def test_what_is_no_condition_or_too_many_is_refused() -> None:
    with pytest.raises(InputError, match="file refusal"):
        Judge((FileRefusal(rule="r", condition="fd.name ="),))
    with pytest.raises(InputError, match="257 refusals: are more than 256"):
        Judge((FileRefusal(rule="r", condition="fd.name = /a"),) * (MAX_REFUSALS + 1))
