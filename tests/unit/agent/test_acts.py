"""Tokens of the agent's own acts: one method, one path, once, for 30 seconds."""

from __future__ import annotations

from shipwall.access.request import ACT_HEADER
from shipwall.agent.acts import VALID_NS, Acts

URI = "/v1.41/containers/x/stop?t=10"


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


def test_a_token_is_good_once() -> None:
    acts = Acts(Clock())
    token = acts.permit("POST", URI)
    assert not acts.was_used("POST", URI, token)
    assert acts.use("POST", URI, token)
    assert not acts.use("POST", URI, token)


def test_the_second_question_about_the_same_call_is_known() -> None:
    acts = Acts(Clock())
    token = acts.headers("POST", URI)[ACT_HEADER]
    assert acts.use("POST", URI, token)
    assert acts.was_used("POST", URI, token)
    assert not acts.was_used("POST", "/v1.41/containers/y/stop?t=10", token)


def test_a_token_is_for_one_method_and_one_path() -> None:
    for method, uri in [
        ("DELETE", URI),
        ("POST", "/v1.41/containers/y/stop?t=10"),
        ("POST", "/v1.41/containers/x/stop?t=11"),
        ("POST", "/v1.41/containers/x/stop"),
    ]:
        acts = Acts(Clock())
        token = acts.permit("POST", URI)
        assert not acts.use(method, uri, token)
        assert not acts.use("POST", URI, token), "a token shown for another call is spent"


def test_the_version_does_not_count_and_a_query_only_when_named() -> None:
    acts = Acts(Clock())
    assert acts.use("POST", URI, acts.permit("POST", "/containers/x/stop"))
    assert acts.use("POST", "/containers/x/stop", acts.permit("POST", "/v1.40/containers/x/stop"))


def test_a_token_expires() -> None:
    clock = Clock()
    acts = Acts(clock)
    token = acts.permit("POST", URI)
    clock.now = VALID_NS
    assert not acts.use("POST", URI, token)


def test_unknown_tokens() -> None:
    acts = Acts(Clock())
    acts.permit("POST", URI)
    for token in ("", "0" * 64, "\ud800", "é"):
        assert not acts.use("POST", URI, token)
