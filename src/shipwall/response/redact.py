"""Secrets out of views. What is stored stays whole; what is shown on a terminal or a page passes through here."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

REDACTED = "[redacted]"

_NAME_WORDS = frozenset(
    [
        "auth",
        "authorization",
        "bearer",
        "cookie",
        "cred",
        "creds",
        "credential",
        "credentials",
        "dsn",
        "jwt",
        "key",
        "keys",
        "pass",
        "passphrase",
        "passwd",
        "password",
        "pat",
        "pin",
        "private",
        "privatekey",
        "pwd",
        "salt",
        "secret",
        "secrets",
        "session",
        "sid",
        "signature",
        "sig",
        "token",
        "tokens",
        "pw",
        "apikey",
        "accesskey",
        "secretkey",
    ]
)
_NAME_SPLIT = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")
_HARMLESS = re.compile(r"(?:sha256:[0-9a-f]{64}|[0-9a-f]{64}|[0-9]+|/[\w./+-]*|(?:true|false|yes|no|on|off))\Z", re.IGNORECASE)
_SHAPES = re.compile(
    r"""eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*          # JSON Web Token
      | -----BEGIN[ ][A-Z ]{0,40}PRIVATE[ ]KEY
      | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b            # cloud access key ids
      | \bgh[pousr]_\w{20,}
      | \bglpat-[\w-]{16,}
      | \bxox[abprs]-[\w-]{10,}
      | \bsk_live_\w{16,}
      | \bAIza[\w-]{30,}""",
    re.VERBOSE,
)
_URL_PASSWORD = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s/@:]{0,256}:)([^\s/@]{1,1024})(@)")
_HEADER = re.compile(r"(?i)^((?:proxy-)?authorization|cookie|x-[a-z-]*(?:token|key))(\s*:\s*).+", re.DOTALL)
_VALUE_OPTIONS = frozenset({"-u", "--user", "--basic-auth"})


def is_secret_name(name: str) -> bool:
    """Whether a variable or option of this name usually holds a secret (`DB_PASSWORD`, `apiKey`, `--auth-token`)."""
    words = {word.lower() for word in _NAME_SPLIT.split(name[:256]) if word}
    joined = "".join(_NAME_SPLIT.split(name[:256])).lower()
    return bool(words & _NAME_WORDS) or joined.endswith(("password", "passwd", "secret", "token", "apikey"))


def is_secret_shape(value: str) -> bool:
    """Whether `value` looks like a secret whatever it is called: a known token form, or one long word as random as a key."""
    value = value[:4096]
    if _SHAPES.search(value):
        return True
    if _HARMLESS.match(value) or not 24 <= len(value) <= 512 or not re.fullmatch(r"[\w+/=.~-]+", value):
        return False
    counts = [value.count(letter) for letter in set(value)]
    entropy = -sum(n / len(value) * math.log2(n / len(value)) for n in counts)
    kinds = sum(bool(re.search(pattern, value)) for pattern in ("[a-z]", "[A-Z]", "[0-9]"))
    return entropy > 3.8 and kinds >= 2 and not re.search(r"[a-z]{9,}", value)


def redact_value(name: str, value: str) -> str:
    """`value` of the variable or option `name` as it may be shown."""
    if value and is_secret_name(name):
        return REDACTED
    return redact_text(value)


def redact_text(text: str) -> str:
    """`text` without passwords in addresses, without header values that log in, and wholly redacted when it is one secret."""
    if is_secret_shape(text):
        return REDACTED
    text = _HEADER.sub(rf"\1\2{REDACTED}", text)
    return _URL_PASSWORD.sub(rf"\g<1>{REDACTED}\3", text)


def redact_environment(pairs: Sequence[str]) -> list[str]:
    """`NAME=value` strings as they may be shown; one without `=` is judged by its shape."""
    shown = []
    for pair in pairs:
        name, equals, value = pair.partition("=")
        shown.append(f"{name}={redact_value(name, value)}" if equals else redact_text(pair))
    return shown


def redact_argv(argv: Sequence[str]) -> list[str]:
    """An argument list as it may be shown: `--token=x`, `--password x`, `-u user:pass`, `NAME=x` and addresses with passwords."""
    shown: list[str] = []
    hide_next = False
    for position, argument in enumerate(argv):
        if hide_next and not argument.startswith("--"):
            shown.append(REDACTED)
            hide_next = False
            continue
        hide_next = False
        name, equals, value = argument.partition("=")
        if equals and not any(space in name for space in " \t\n"):
            shown.append(f"{name}={redact_value(name, value)}")
        elif position and argument.startswith("-") and (argument in _VALUE_OPTIONS or is_secret_name(argument)):
            shown.append(argument)
            hide_next = True
        else:
            shown.append(redact_text(argument))
    return shown
