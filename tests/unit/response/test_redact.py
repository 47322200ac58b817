"""What may be shown of command lines and environments."""

from __future__ import annotations

import pytest

from shipwall.response.redact import redact_argv, redact_environment

HIDDEN = "[redacted]"


@pytest.mark.parametrize(
    ("pair", "shown"),
    [
        ("DB_PASSWORD=hunter2", f"DB_PASSWORD={HIDDEN}"),
        ("apiKey=x", f"apiKey={HIDDEN}"),
        ("MYSQLPASSWORD=x", f"MYSQLPASSWORD={HIDDEN}"),
        ("PATH=/usr/bin:/bin", "PATH=/usr/bin:/bin"),
        ("PORT=8080", "PORT=8080"),
        ("EMPTY_TOKEN=", "EMPTY_TOKEN="),
        ("DATABASE_URL=postgresql://shop:s3cr3t@db/shop", f"DATABASE_URL=postgresql://shop:{HIDDEN}@db/shop"),
        ("X=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", f"X={HIDDEN}"),
        ("X=AKIAABCDEFGHIJKLMNOP", f"X={HIDDEN}"),
        ("X=4ftqZ8Lw0pXv7Rk2MdS9yTbN1cQe", f"X={HIDDEN}"),
        ("IMAGE=sha256:" + "a1" * 32, "IMAGE=sha256:" + "a1" * 32),
        ("HOME=/home/somebody/with/a/long/path/A1b2C3", "HOME=/home/somebody/with/a/long/path/A1b2C3"),
    ],
)
def test_environment(pair: str, shown: str) -> None:
    assert redact_environment([pair]) == [shown]


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["curl", "-u", "me:pw", "http://x"], ["curl", "-u", HIDDEN, "http://x"]),
        (["curl", "-H", "Authorization: Bearer abc"], ["curl", "-H", f"Authorization: {HIDDEN}"]),
        (["tool", "--password", "pw", "run"], ["tool", "--password", HIDDEN, "run"]),
        (["tool", "--auth-token=abc", "run"], ["tool", f"--auth-token={HIDDEN}", "run"]),
        (["tool", "--password", "--verbose"], ["tool", "--password", "--verbose"]),
        (["env", "API_TOKEN=abc", "sh"], ["env", f"API_TOKEN={HIDDEN}", "sh"]),
        (["sh", "-c", "echo hello world"], ["sh", "-c", "echo hello world"]),
    ],
)
def test_argv(argv: list[str], shown: list[str]) -> None:
    assert redact_argv(argv) == shown
