"""Which acts of which rules are refused in which container, and which are left, with the reason."""

from __future__ import annotations

from msgspec.structs import replace

from shipwall.lang.condition import parse_condition
from shipwall.model.container import ContainerFacts
from shipwall.runtime.file_refusals import FileRefusal
from shipwall.runtime.prevention import Left, Prevention, Wanted, plan_prevention, why_not_refused

SHOP = ContainerFacts(id="a" * 64, name="shop", image_ref="example.org/shop:1", image_config="sha256:" + "0" * 64)


def _plan(*conditions: str, container: ContainerFacts = SHOP) -> Prevention:
    return plan_prevention([Wanted(f"rule {n}", parse_condition(text)) for n, text in enumerate(conditions)], container)


def test_a_rule_is_split_by_what_refuses_it() -> None:
    found = _plan(
        "container.id != host and evt.type in (connect, open, openat, openat2, unlink) and (fd.sport = 22 or fd.name = /etc/shadow)",
        "container.image.repository = example.org/shop and evt.type = connect and fd.l4proto = udp",
        "evt.type = execve and proc.name = sh",
    )
    # Of a socket fd.name is its two ends, which no hook knows; of a file there is no port, so that part is simply false.
    assert found.network[0].rule == "rule 1"
    assert [one.protocols for one in found.network] == [frozenset({"udp"})]
    assert found.files == (FileRefusal(rule="rule 0", condition="fd.name = /etc/shadow"),)
    assert found.left == (Left("rule 0", "connect", "the hook knows nothing of `fd.name = /etc/shadow`"),)


def test_rules_for_other_images_cost_nothing() -> None:
    conditions = (
        "container.image.repository endswith /shop and evt.type in (open, openat, openat2) and fd.name startswith /root/",
        "container.privileged = true and evt.type = connect and fd.sport = 22",
        "container.name = other and proc.name = sh",
    )
    assert _plan(*conditions) == ((), (FileRefusal(rule="rule 0", condition="fd.name startswith /root/"),), ())
    other = _plan(*conditions, container=replace(SHOP, image_ref="example.org/bank:1", privileged=True))
    assert (len(other.network), other.files, other.left) == (1, (), ())
    assert other
    assert not _plan(*conditions, container=replace(SHOP, image_ref="example.org/bank:1"))


def test_what_holds_for_everything_or_changes_is_left() -> None:
    assert _plan("container.id != host").left == (Left("rule 0", "all", "it holds for everything this container does"),)
    changing = _plan("container.duration > 5 and evt.type = connect and fd.sport = 22")
    assert changing.left == (Left("rule 0", "connect", "the hook knows nothing of `container.duration > 5`"),)


def test_what_a_rule_can_promise_before_any_container_is_known() -> None:
    rule = "container.id != host and container.image.repository = a and evt.type in (connect, open, openat, openat2) and "
    assert why_not_refused(parse_condition(rule + "(fd.sport = 22 or fd.directory = /etc)")) == {
        "connect": "the hook knows nothing of `fd.directory = /etc`", "open": "", "openat": "", "openat2": "",
    }  # fmt: skip
    assert why_not_refused(parse_condition("evt.type = connect and fd.sport = 22 and container.privileged = true")) == {
        "connect": ""
    }
    either = "evt.type = connect and (container.privileged = true or proc.name = nc) and fd.sport = 22"
    assert why_not_refused(parse_condition(either)) == {"connect": "the hook knows nothing of `proc.name = nc`"}
    many = " and ".join(f"container.name != c{n}" for n in range(7))
    assert set(why_not_refused(parse_condition(f"evt.type = connect and fd.sport = 22 and {many}")).values()) == {
        "it asks more than 6 things of the container"
    }
    assert why_not_refused(parse_condition("evt.type = execve and proc.name = nc")) == {}
