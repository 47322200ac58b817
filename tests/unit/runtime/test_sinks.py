"""Sink settings, and alerts as other programs read them."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.server_process import an_alert

from shipwall.model.errors import InputError
from shipwall.runtime.alert_text import render_falco, render_falco_line, render_syslog
from shipwall.runtime.sinks import parse_sinks

SINKS = """
sinks:
  - {name: siem, kind: file, path: /var/log/shipwall/alerts.jsonl, min_priority: warning}
  - {name: local, kind: syslog, address: "unix:/dev/log", facility: local3}
  - {name: far, kind: syslog, address: "tcp://10.0.0.5:601", silenced: true}
  - {name: hook, kind: webhook, url: "https://hooks.example/falco", secret: 0123456789abcdef}
"""


def test_every_kind_is_read() -> None:
    siem, local, far, hook = parse_sinks(SINKS, "sinks.yaml")
    assert (siem.address, siem.min_priority, siem.facility) == ("/var/log/shipwall/alerts.jsonl", "Warning", 10)
    assert (local.address, local.facility) == ("unix:/dev/log", 19)
    assert far.silenced
    assert hook.secret == "0123456789abcdef"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{name: a, kind: fiel, path: /x}", "fiel"),
        ("{name: a, kind: file}", "'path' is missing"),
        ("{name: a, kind: file, path: x}", "not an absolute path"),
        ("{name: a, kind: file, path: /x, url: 'https://x'}", "unknown key 'url'"),
        ("{name: A b, kind: file, path: /x}", "is not a name"),
        ("{name: a, kind: syslog, address: 'http://x:1'}", "no syslog address"),
        ("{name: a, kind: syslog, address: 'udp://x:99999'}", "not an address"),
        ("{name: a, kind: webhook, url: 'http://hooks.example/'}", "not an https address"),
        ("{name: a, kind: webhook, url: 'https://u:p@hooks.example/'}", "password"),
        ("{name: a, kind: webhook, url: 'https://hooks.example/', secret: short}", "16 to 256"),
        ("{name: a, kind: file, path: /x, min_priority: Wraning}", "Wraning"),
    ],
)
def test_mistakes_are_named_with_their_place(line: str, says: str) -> None:
    with pytest.raises(InputError, match=r"sinks.yaml:2:\d+") as error:
        parse_sinks(f"sinks:\n  - {line}\n", "sinks.yaml")
    assert says in error.value.line()


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="second sink"):
        parse_sinks("sinks:\n" + 2 * "  - {name: a, kind: file, path: /x}\n", "sinks.yaml")


@given(st.text(max_size=300))
def test_total(text: str) -> None:
    with contextlib.suppress(InputError):
        parse_sinks(text, "x")


def test_who_wants_what() -> None:
    siem, local, far, _hook = parse_sinks(SINKS, "sinks.yaml")
    loud, quiet = an_alert("1", "r", 1), an_alert("2", "r", 1, priority="Notice")
    muted = msgspec.structs.replace(loud, silenced_by="s")
    assert [siem.wants(one) for one in (loud, quiet, muted)] == [True, False, False]
    assert [local.wants(one) for one in (loud, quiet, muted)] == [True, True, False]
    assert far.wants(muted)


def test_falco_reads_it() -> None:
    alert = an_alert("a1", "Shell", 1_700_000_000_123_456_789, output="shell\x1b[31m\nnow", output_fields={"proc.name": "sh"})
    told = msgspec.json.decode(render_falco_line(alert))
    assert set(told) == {"hostname", "output", "output_fields", "priority", "rule", "source", "tags", "time"}
    assert told["time"] == "2023-11-14T22:13:20.123456789Z"
    assert told["output"] == r"22:13:20.123456789: Critical shell\x1b[31m\nnow"
    assert told["priority"] == "Critical"
    assert told["output_fields"]["proc.name"] == "sh"
    assert told["output_fields"]["shipwall.image.digest"] == alert.image_digest
    assert render_falco(alert)["source"] == "syscall"


@given(st.text(max_size=9000), st.text(max_size=300))
def test_syslog_is_one_bounded_line(output: str, node: str) -> None:
    message = render_syslog(an_alert("a", "r", 1_700_000_000_123_456_789, output=output, node=node), 10)
    assert message.startswith(b"<82>1 2023-11-14T22:13:20.123456Z ")
    assert len(message) <= 8192
    message.decode()
    assert not any(byte < 32 for byte in message)
    assert message.split(b" ")[3:7] == [b"shipwall", b"-", b"alert", b"-"]
