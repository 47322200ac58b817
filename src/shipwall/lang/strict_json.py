"""JSON without its ambiguities: what two readers could understand differently is refused."""

from __future__ import annotations

import json
from typing import Any

from shipwall.model.errors import InputError


def parse_json(data: bytes, thing: str, max_bytes: int = 16 * 1024 * 1024) -> Any:
    """The value `data` is, as builtins. `thing` names it in errors.

    Refused beyond RFC 8259: a key twice in one object (readers disagree on which counts), NaN and Infinity, a byte order mark,
    unpaired surrogates, nesting beyond the interpreter's limit, more than `max_bytes`. Total. Raises InputError.
    """
    if len(data) > max_bytes:
        raise InputError(thing, f"is {len(data)} bytes, over the limit of {max_bytes}")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant)
        if b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        raise InputError(thing, f"is not JSON: {error.msg}", line_number=error.lineno, column=error.colno) from error
    except RecursionError as error:
        raise InputError(thing, "is nested too deeply") from error
    except UnicodeError as error:
        raise InputError(thing, "holds text that is not Unicode") from error
    except ValueError as error:
        raise InputError(thing, str(error)[:200]) from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"key {key[:60]!r} appears twice in one object")
            seen.add(key)
    return value


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")
