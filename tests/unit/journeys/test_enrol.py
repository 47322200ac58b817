"""What enrolling does to a daemon.json, and what leaving does to one that somebody changed."""

from __future__ import annotations

import json

import pytest

from shipwall.access.world import ImageFacts
from shipwall.journeys.enrol import render_enrolled, render_left
from shipwall.journeys.run import digest_reference
from shipwall.model.digest import digest_of
from shipwall.model.errors import InputError

A, B = digest_of(b"a"), digest_of(b"b")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, {"authorization-plugins": ["shipwall"]}),
        (b"", {"authorization-plugins": ["shipwall"]}),
        (b' {"debug": true, "labels": ["\xc3\xa9"]}', {"debug": True, "labels": ["é"], "authorization-plugins": ["shipwall"]}),
        (b'{"authorization-plugins": ["other"]}', {"authorization-plugins": ["other", "shipwall"]}),
    ],
)
def test_everything_else_is_kept(before: bytes | None, after: object) -> None:
    enrolled = render_enrolled(before)
    assert json.loads(enrolled) == after
    assert render_enrolled(enrolled) == enrolled
    assert json.loads(render_left(enrolled)) == json.loads(before or b"{}")


def test_leaving_what_was_never_entered_changes_no_byte() -> None:
    assert render_left(b'{ "debug":true}') == b'{ "debug":true}'


@pytest.mark.parametrize(
    "broken", [b"[]", b"{", b'{"a":1,"a":2}', b'{"authorization-plugins":"shipwall"}', b'{"authorization-plugins":[1]}']
)
def test_a_configuration_that_cannot_be_understood_is_not_touched(broken: bytes) -> None:
    with pytest.raises(InputError):
        render_enrolled(broken)


def test_the_digest_of_the_repository_that_was_asked_for() -> None:
    facts = ImageFacts(id=A, repo_digests=(f"r:1/dev/x@{A}", f"r:1/prod/x@{B}", "broken"))
    assert digest_reference(facts, "r:1/prod/x:1") == f"r:1/prod/x@{B}"
    assert digest_reference(facts, "r:1/elsewhere") == f"r:1/dev/x@{A}"
    assert digest_reference(facts, A) == f"r:1/dev/x@{A}"
    assert digest_reference(ImageFacts(id=A), "x:1") == A
