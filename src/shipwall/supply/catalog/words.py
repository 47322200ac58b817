"""Names and versions as files write them: bounded and printable, or nothing."""

from __future__ import annotations

_MAX_WORD = 256
_MAX_PATH = 4096


def word(value: object) -> str:
    """`value` without surrounding blanks if it is a text of 1 to 256 printable characters without blanks inside; else empty."""
    if not isinstance(value, str):
        return ""
    text = value.strip()
    return text if len(text) <= _MAX_WORD and " " not in text and text.isprintable() else ""


def title(value: str) -> str:
    """As `word`, with blanks allowed inside."""
    text = value.strip()
    return text if len(text) <= _MAX_WORD and text.isprintable() else ""


def decode(data: bytes) -> str:
    """`data` as UTF-8 text; bytes that are none come as backslash escapes, a byte order mark is left out."""
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "backslashreplace")


class PathBudget:
    """Joined paths may grow far beyond the file that names them (one long folder, many short names); this says when to stop."""

    __slots__ = ("_left",)

    def __init__(self, file_size: int) -> None:
        """`file_size`: bytes of the file that names the paths; eight times as much is allowed, far above any real one."""
        self._left = 8 * file_size + 65_536

    def allows(self, path: str) -> bool:
        """Whether `path` can be kept: no longer than the kernel's PATH_MAX, and all kept ones together within bounds."""
        if len(path) > _MAX_PATH or len(path) > self._left:
            return False
        self._left -= len(path)
        return True
