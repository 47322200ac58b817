"""Debian's paragraphs of `Field: value`: dpkg's status, Release and Packages files. Source: deb822(5)."""

from __future__ import annotations

from collections.abc import Iterator


def parse_paragraphs(data: bytes, fields: frozenset[str]) -> Iterator[dict[str, str]]:
    """The paragraphs of `data`, each with the named `fields` only; names in lower case.

    Total on arbitrary bytes: what is no field is left out. A repeated field keeps its FIRST value. Continuation lines are joined by
    line breaks, their leading blank kept off. Bytes that are not UTF-8 come as backslash escapes.
    """
    paragraph: dict[str, list[bytes]] = {}
    current: list[bytes] | None = None
    wanted = {name.encode(): name for name in fields}
    for line in data.split(b"\n"):
        if not line.strip():
            if paragraph:
                yield _decode(paragraph)
            paragraph, current = {}, None
        elif line[:1] in {b" ", b"\t"}:
            if current is not None:
                current.append(line.strip())
        else:
            name, colon, value = line.partition(b":")
            known = wanted.get(name.lower()) if colon else None
            if known is None or known in paragraph:
                current = None
                if known is None:
                    continue
            else:
                current = paragraph[known] = [value.strip()]
    if paragraph:
        yield _decode(paragraph)


def _decode(paragraph: dict[str, list[bytes]]) -> dict[str, str]:
    return {name: b"\n".join(lines).decode("utf-8", "backslashreplace") for name, lines in paragraph.items()}


def split_source(text: str, name: str, version: str) -> tuple[str, str]:
    """Source package and its version from a `Source:` field (`name` or `name (version)`); the package's own when empty."""
    source, bracket, rest = text.partition("(")
    return source.strip() or name, rest.partition(")")[0].strip() if bracket else version
