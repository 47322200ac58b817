"""What is refused when a file is opened is what the rule says of that open."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st
from tests.condition_trees import trees_of

from shipwall.lang.condition import Compare, Condition, Field, Value
from shipwall.model.event import Open
from shipwall.runtime.conditions import evaluate
from shipwall.runtime.facts import Context, Facts
from shipwall.runtime.fields import look_up
from shipwall.runtime.file_refusals import ACCESSES, READ, WRITE, Judge, lower_files
from shipwall.runtime.processes import ProcessTable

PATHS = ["/etc/shadow", "/etc", "/", "/etc/ssh/key", "/a b", "/etc/shadow2"]
FLAGS = {READ: os.O_RDONLY, WRITE: os.O_WRONLY, READ | WRITE: os.O_RDWR}


def _compare(name: str, operators: list[str], values: list[str]) -> st.SearchStrategy[Condition]:
    def build(operator: str, chosen: list[str]) -> Condition:
        many = operator in {"in", "pmatch"}
        return Compare(Field(name), operator, tuple(Value(text, True) for text in (chosen if many else chosen[:1])))

    return st.builds(build, st.sampled_from(operators), st.lists(st.sampled_from(values), min_size=1, max_size=3))


leaves = st.one_of(
    _compare("fd.name", ["=", "!=", "in", "startswith", "endswith", "contains", "glob", "pmatch"], [*PATHS, "/etc/*"]),
    _compare("fd.directory", ["=", "in", "startswith"], ["/", "/etc", "/etc/ssh"]),
    _compare("fd.filename", ["=", "in"], ["shadow", "key", ""]),
    _compare("fd.typechar", ["=", "!=", "in"], ["f", "d"]),
    _compare("evt.is_open_read", ["=", "!="], ["true", "false"]),
    _compare("evt.is_open_write", ["="], ["true", "false"]),
    _compare("fd.sport", ["=", "!=", "<"], ["22"]),
    _compare("fd.num", [">="], ["0"]),
    _compare("evt.type", ["=", "in"], ["unlink", "connect"]),
    st.just(Compare(Field("evt.type"), "in", (Value("open"), Value("openat"), Value("openat2")))),
)
trees = trees_of(leaves, 6)


class _Nobody(Context):
    """Knows no container."""


@given(trees, st.sampled_from(PATHS), st.sampled_from(ACCESSES), st.booleans(), st.sampled_from(["open", "openat", "openat2"]))
def test_the_judge_says_what_the_condition_says(tree: Condition, path: str, access: int, is_folder: bool, call: str) -> None:
    lowered = lower_files(tree, "r")
    event = Open(
        seq=1, time_ns=0, cgroup_id=1, pid=9, tid=9, ppid=1, ns_pid=9, uid=0, gid=0, comm="c", ret=3, syscall=call, path=path, asked=path,
        flags=FLAGS[access] | (os.O_DIRECTORY if is_folder else 0), resolved=True,
    )  # fmt: skip
    expected = evaluate(tree, look_up(Facts(event, ProcessTable(), _Nobody(), "n")))
    if lowered.refusal is None:
        assert expected is (lowered.reason == "it holds for every open")
        return
    judged = Judge((lowered.refusal,)).judge(path, is_folder=is_folder)
    assert bool(judged[ACCESSES.index(access)]) == expected
