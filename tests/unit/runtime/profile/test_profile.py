"""Learning, its end, what is set aside, anomalies that explain themselves, and documents that were tampered with."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.profiles import (
    FIRST,
    IMAGE,
    OTHER,
    SECOND,
    SECOND_NS,
    T0,
    call,
    connect,
    event,
    execute,
    leave,
    read,
    write,
)

from shipwall.model.errors import InputError, ShipwallError, TrustError, UnsupportedError
from shipwall.model.event import Call, Descriptor, Exec
from shipwall.runtime.profile.acts import Act, acts_of
from shipwall.runtime.profile.difference import difference_of_profiles
from shipwall.runtime.profile.document import MAX_ACTS, Profile, parse_profile, render_profile
from shipwall.runtime.profile.export import render_rules, render_seccomp
from shipwall.runtime.profile.judge import MAX_AT_ONCE, RULES, Judge, explain, subject
from shipwall.runtime.profile.learn import SIBLINGS, Learner, begin, believed, confirm, siblings_of
from shipwall.runtime.profile.node import Profiles
from shipwall.runtime.rules import parse_rules

BASE = "sha256:" + "b" * 64


def _learner(image: str = IMAGE) -> Learner:
    return Learner(begin(image, BASE, ("/",)))


def _busy(learner: Learner, container: str = FIRST, until_s: int = 1200, also: Iterable[Exec] = ()) -> Learner:
    """A service that starts, then does the same again and again, and what it does `also`."""
    events: list[tuple[Any, str]] = [(execute(0.1, "/usr/bin/shop", container), "/usr/bin/tini")]
    for at in range(0, until_s, 10):
        events.append((read(at + 0.2, "/etc/shop.conf", container), ""))
        events.append((connect(at + 0.3, "10.0.0.7", 5432, container), ""))
        events.append((call(at + 0.4, "accept4", container), ""))
    events += [(one, "/usr/bin/shop") for one in also]
    for one, parent in sorted(events, key=lambda pair: pair[0].time_ns):
        learner.take(one, parent)
    return learner


def _finished(*containers: str) -> Profile:
    learner = _learner()
    for container in containers or (FIRST,):
        _busy(learner, container)
    return learner.finish((), T0)


def test_acts_are_what_happened() -> None:
    def told(one: object) -> list[Act]:
        return list(acts_of(one, ""))  # type: ignore[arg-type]

    assert told(read(1, "/proc/42/status")) == [Act("call", "openat"), Act("read", "/proc/*/status")]
    assert told(write(1, "/dev/shm/PostgreSQL.1010181810"))[1].what == "/dev/shm/PostgreSQL.*"
    assert told(write(1, "/d/pg_wal/00000001000000000000000A"))[1].what == "/d/pg_wal/*"
    assert told(read(1, "/usr/lib/python3.11/decade/deadbeefs"))[1].what == "/usr/lib/python3.11/decade/deadbeefs"
    assert told(write(1, "/srv/x (deleted)")) == [Act("call", "openat"), Act("write", "/srv/x")]
    assert told(read(1, "/etc/shadow", ret=-13)) == [Act("call", "openat")]
    assert told(read(1, "pipe:[7]")) == [Act("call", "openat")]
    assert told(connect(1, "10.0.0.7", 5432, ret=-115)) == [Act("call", "connect"), Act("out", "/tcp/5432/10.0.0.7")]
    assert told(connect(1, "/run/x.sock", 0, family="unix", protocol="unix"))[1] == Act("out", "/unix/run/x.sock")
    assert list(acts_of(execute(1, "/tmp/x", origin="upper"), "/bin/sh")) == [
        Act("call", "execve"),
        Act("program", "/tmp/x (upper)"),
        Act("child", "/bin/sh → /tmp/x (upper)"),
    ]
    socket = Descriptor(fd=3, type="ipv4", protocol="tcp")
    assert told(call(1, "bind", family="ipv4", address="0.0.0.0", port=80, descriptors=(socket,)))[1] == Act("in", "/tcp/80")
    assert told(call(1, "unlink", paths=("/srv/a", ""))) == [Act("call", "unlink"), Act("write", "/srv/a")]
    assert len(told(read(1, "/" + "x" * 5000))[1].what) == 512


def test_learning_ends_by_what_is_still_new_not_by_time_alone() -> None:
    learner = _busy(_learner(), until_s=300)
    assert [text for text in learner.progress().missing if "of 600 s" in text]
    assert learner.progress().unseen < 0.03
    _busy(learner, SECOND)
    assert learner.progress().missing == ()
    for at in range(200):  # much that is new: time has passed, and it is not enough
        learner.take(execute(1200 + at, f"/usr/bin/tool{at}"), "")
    assert learner.progress().unseen > 0.2
    assert learner.progress().missing[0].endswith("at most 1% may be")


def test_what_was_learnt_is_quiet_and_what_is_new_is_told_once() -> None:
    profile = _finished(FIRST, SECOND)
    judge = Judge(profile)
    for at in range(0, 100, 10):
        assert judge.take(read(2000 + at, "/etc/shop.conf"), "") == []
        assert judge.take(connect(2000 + at, "10.0.0.7", 5432), "") == []
    assert judge.take(execute(2100, "/usr/bin/shop"), "/usr/bin/tini") == []
    found = judge.take(execute(2101, "/usr/bin/nc"), "/usr/bin/shop")
    assert [one.act.kind for one in found] == ["program", "child"]
    assert judge.take(execute(2102, "/usr/bin/nc"), "/usr/bin/shop") == []
    (program, child) = judge.take(execute(2103, "/usr/bin/nc", SECOND), "/usr/bin/shop")
    assert (program.doing, child.doing) == (2, 2)
    text = explain(program, profile, "netcat 1.2", "sha256:" + "d" * 64)
    assert text.startswith(
        "new program | /usr/bin/nc; owned by netcat 1.2, layer sha256:dddddddddddd; never seen in 240 slices of 2 replicas"
    )
    assert "2 replicas did it since" in text
    assert "of acts were expected to be new" in text
    assert "no package of the image owns it" in explain(program, profile, "", "")
    assert subject(program, "/x") == "/usr/bin/nc"
    assert (program.rule, program.priority) == RULES["program"]


def test_with_replicas_what_one_alone_did_is_set_aside() -> None:
    miner = [execute(10 * at + 5, "/tmp/miner", origin="upper") for at in range(50)]  # often, early, but in one replica only
    learner = _busy(_busy(_learner(), also=miner), SECOND)
    profile = learner.finish((), T0)
    assert {one.what for one in profile.set_aside} == {"/tmp/miner (upper)", "/usr/bin/shop → /tmp/miner (upper)"}
    (anomaly, _) = Judge(profile).take(execute(3000, "/tmp/miner", origin="upper"), "/usr/bin/shop")
    assert anomaly.set_aside
    assert "seen while learning and set aside" in explain(anomaly, profile, "", "")
    after = confirm(profile, {Act("program", "/tmp/miner (upper)")})
    assert len(after.set_aside) == 1
    assert [one.act.kind for one in Judge(after).take(execute(3000, "/tmp/miner", origin="upper"), "/usr/bin/shop")] == ["child"]


def test_with_one_replica_what_was_rare_and_late_is_set_aside_unless_a_sibling_does_it() -> None:
    learner = _busy(_learner(), also=[execute(1100, "/usr/sbin/logrotate")])
    rotating = {"/usr/sbin/logrotate", "/usr/bin/shop → /usr/sbin/logrotate"}
    assert {one.what for one in learner.finish((), T0).set_aside} == rotating
    done = _busy(_learner(OTHER), also=[execute(5, "/usr/sbin/logrotate")]).finish((), T0)
    assert done.set_aside == ()
    assert learner.finish((done,), T0).set_aside == ()
    mine = learner.finish((), T0)
    stranger = msgspec.structs.replace(done, base="sha256:" + "e" * 64)
    assert siblings_of(mine, (done, mine, stranger, msgspec.structs.replace(done, mode="learn"))) == (done,)
    (anomaly,) = Judge(mine, (mine, done)).take(execute(3000, "/usr/sbin/logrotate"), "")
    assert (anomaly.siblings, anomaly.siblings_doing) == (1, 1)
    assert "normal to 1 of 1 images on the same base" in explain(anomaly, mine, "", "")


def test_events_that_are_no_news_teach_nothing() -> None:
    once = _busy(_learner()).profile()
    again = _busy(Learner(once))
    assert again.progress().slices == once.slices
    assert again.profile().acts == once.acts
    assert again.replayed > 300
    learner = Learner(once)
    learner.take(execute(-100, "/tmp/old"), "")
    learner.take(execute(2000, "/usr/bin/shop"), "")
    learner.take(execute(1990, "/tmp/late"), "")
    assert not {act.what for act in believed(learner.profile())} & {"/tmp/old", "/tmp/late"}


def test_learning_goes_on_where_it_was_kept() -> None:
    straight, chance = _learner(), random.Random(3)
    stopped = _learner()
    names = [f"/srv/{chance.choice('abcdefgh')}/{_word(chance.randrange(40))}" for _ in range(600)]
    for at, name in enumerate(names):
        one = read(at, name)
        straight.take(one, "")
        stopped.take(one, "")
        if at % 150 == 149:
            stopped = Learner(parse_profile(render_profile(stopped.profile()), "p"))
    assert believed(straight.profile()) == believed(stopped.profile())


def _word(number: int) -> str:
    return "".join(chr(ord("g") + int(digit)) for digit in str(number))


def test_many_names_become_their_folder_and_none_become_a_system_folder() -> None:
    learner = _learner()
    for at in range(30_000):
        learner.take(write(at / 100, f"/srv/cache/{_word(at % 97)}/{_word(at)}.tmp"), "")
        learner.take(read(at / 100, f"/etc/{_word(at)}"), "")
    profile = learner.finish((), T0)
    writes = [one.what for one in profile.acts if one.kind == "write"]
    assert writes == ["/srv/cache/**"]
    assert "/etc/**" not in {one.what for one in profile.acts}
    assert profile.dropped > 0
    assert len(profile.acts) <= MAX_ACTS
    assert len(render_profile(profile)) < 4 << 20
    judge = Judge(profile)
    assert judge.take(write(400, "/srv/cache/new/y"), "") == []
    assert [one.act.what for one in judge.take(write(400, "/srv/other"), "")] == ["/srv/other"]
    few = _learner()
    for at in range(SIBLINGS):
        few.take(write(at, f"/srv/spool/{at}"), "")
    assert len(few.finish((), T0).acts) + len(few.finish((), T0).set_aside) == SIBLINGS + 1


def test_a_flood_of_programs_leaves_room_for_the_rest() -> None:
    learner = _learner()
    for at in range(MAX_ACTS):
        learner.take(execute(at / 100, f"/tmp/{_word(at)}"), "")
    learner.take(connect(300, "10.0.0.7", 5432), "")
    assert learner.dropped >= MAX_ACTS // 2
    assert Act("out", "/tcp/5432/10.0.0.7") in believed(learner.profile())


def test_a_hostile_container_does_not_flood_the_alerts_and_hides_nothing() -> None:
    profile = _finished()
    judge = Judge(profile)
    told = [one for at in range(500) for one in judge.take(execute(2000 + at / 100, f"/tmp/\x1b[31m{at}"), "")]
    assert len(told) == MAX_AT_ONCE
    assert "\x1b" not in explain(told[0], profile, "", "")
    (later,) = judge.take(execute(2000 + 700, "/tmp/y"), "")
    assert later.kept_back == 480
    assert "480 anomalies of this container not told before" in explain(later, profile, "", "")


def test_files_are_judged_only_where_they_were_seen() -> None:
    learner = Learner(begin(IMAGE, "", ("/etc/",)))
    profile = _busy(learner).finish((), T0)
    judge = Judge(profile)
    assert judge.take(read(2000, "/srv/x"), "") == []
    assert [one.act.what for one in judge.take(read(2000, "/etc/shadow"), "")] == ["/etc/shadow"]


def test_counted_calls_make_a_seccomp_profile_and_anomalies() -> None:
    learner = _busy(_learner())
    with pytest.raises(UnsupportedError, match="not counted"):
        render_seccomp(learner.finish((), T0))
    assert Judge(learner.finish((), T0)).take_counted(FIRST, ["ptrace"], 1) == []
    learner.take_counted(FIRST, ["read", "futex", "other", "mount"], T0 + 100 * SECOND_NS)
    profile = learner.finish((), T0)
    made = json.loads(render_seccomp(profile))
    (allowed,) = made["syscalls"]
    assert (made["defaultAction"], made["defaultErrnoRet"], allowed["action"]) == ("SCMP_ACT_ERRNO", 1, "SCMP_ACT_ALLOW")
    assert {"accept4", "openat", "futex", "execve"} <= set(allowed["names"])
    assert not {"ptrace", "mount", "other", "bpf"} & set(allowed["names"])
    found = Judge(profile).take_counted(FIRST, ["read", "ptrace", "pivot_root"], 2000)
    assert [(one.act, one.rule) for one in found] == [(Act("call", "ptrace"), "Anomaly: new system call")]


def _sequence(at_s: float, names: list[str], tid: int = 20) -> list[Call]:
    return [event(Call, at_s + at / 1000, syscall=name, raw=(0,) * 6, tid=tid) for at, name in enumerate(names)]


def test_an_unusual_order_of_usual_calls_is_told() -> None:
    learner, chance = _learner(), random.Random(4)
    loop = ["accept4", "recvfrom", "openat", "fcntl", "sendmsg", "shutdown"]
    for at in range(300):
        for one in _sequence(at * 4, [name for _ in range(17) for name in (loop if chance.random() < 0.9 else loop[:3])]):
            learner.take(one, "")
    profile = parse_profile(render_profile(learner.finish((), T0)), "p")
    assert profile.limit_bits is not None
    assert profile.held == ()
    judge = Judge(profile)
    assert [one for at in range(30) for call in _sequence(2000 + at, loop * 17) for one in judge.take(call, "")] == []
    scrambled = loop * 17
    chance.shuffle(scrambled)
    (anomaly,) = [one for call in (*_sequence(3000, scrambled, 99), leave(3001, tid=99)) for one in judge.take(call, "")]
    assert anomaly.rule == "Anomaly: unusual order of calls"
    assert anomaly.score is not None
    assert anomaly.score.value > anomaly.limit_bits
    assert all(second in loop for _, second in anomaly.strangest)
    elsewhere = Judge(profile, told_by="agent 123")  # which tells other calls: their order says nothing
    assert [one for call in _sequence(3000, scrambled, 99) for one in elsewhere.take(call, "")] == []
    assert "bits, normal is at most" in explain(anomaly, profile, "", "")


def test_documents_that_were_cut_edited_or_are_of_another_image_are_refused() -> None:
    profile = _finished(FIRST, SECOND)
    document = render_profile(profile)
    assert parse_profile(document, "p", IMAGE) == profile
    with pytest.raises(TrustError, match="not of"):
        parse_profile(document, "p", OTHER)
    with pytest.raises(TrustError, match="cut or edited"):
        parse_profile(document.replace(b"/etc/shop.conf", b"/etc/evil.conf"), "p")
    for length in range(0, len(document), 97):
        with pytest.raises(InputError):
            parse_profile(document[:length], "p")
    with pytest.raises(InputError, match="version 2"):
        parse_profile(document.replace(b'"shipwall_profile":1', b'"shipwall_profile":2'), "p")


@given(st.binary(max_size=200))
def test_reading_documents_is_total(data: bytes) -> None:
    with pytest.raises(ShipwallError):
        parse_profile(data, "p")


def test_rules_load_where_rules_are_loaded() -> None:
    learner = _busy(_learner(), also=[execute(3, '/usr/bin/we"ird\n- rule: x')])
    text = render_rules(learner.finish((), T0), "127.0.0.1:5000/prod/shop").decode()
    found = parse_rules(text, "exported")
    assert [rule.name.partition(" outside")[0] for rule in found.rules] == ["Program", "Connection"]
    assert not found.skipped
    assert "1 programs left out" in text
    with pytest.raises(InputError, match="is not a repository"):
        render_rules(learner.finish((), T0), 'x" or true')


def test_the_difference_is_what_one_does_not_do() -> None:
    old = _finished()
    new = _busy(_learner(OTHER), also=[execute(5, "/usr/bin/new")]).finish((), T0)
    found = difference_of_profiles(old, new)
    assert [one.what for one in found.only_new] == ["/usr/bin/shop → /usr/bin/new", "/usr/bin/new"]
    assert (found.only_old, found.both) == ((), len(old.acts))


def test_a_node_gives_each_event_to_its_image_and_waits_for_it() -> None:
    node = Profiles()
    assert not node
    assert node.take(execute(1, "/x"), "", None) == []
    profile = _finished(FIRST, SECOND)
    node.load({IMAGE: profile, OTHER: begin(OTHER, BASE, ("/",))})
    third, fourth = "c3" * 32, "d4" * 32
    assert node.take(execute(2000, "/usr/bin/nc", third), "", None) == []
    assert node.take(execute(2000, "/usr/bin/nc", fourth), "", None) == []
    assert [one.act.what for one in node.identified(third, IMAGE)] == ["/usr/bin/nc"]
    assert node.identified(fourth, OTHER) == []
    assert Act("program", "/usr/bin/nc") in believed(node.learnt()[OTHER])
    kept = node.learnt()
    node.kept(kept)
    node.take(execute(2000.5, "/usr/bin/meanwhile", fourth), "", OTHER)
    node.load(kept | {IMAGE: profile})  # what was kept is read again: learning goes on
    node.take(execute(2001, "/usr/bin/nd", fourth), "", OTHER)
    assert {act.what for act in believed(node.learnt()[OTHER])} >= {"/usr/bin/nc", "/usr/bin/nd", "/usr/bin/meanwhile"}
    node.load({IMAGE: profile})
    assert node.take(execute(2002, "/usr/bin/ne", fourth), "", OTHER) == []
    assert node.learnt() == {}
