"""What can go wrong, each kind with its own exit code.

ShipwallError
├── InputError        bytes or text that cannot be what they claim (position when known)   exit 3
├── TrustError        a check of signature, digest, chain or provenance failed (which step) exit 4
├── KernelError       the kernel refused (errno, program, verifier log)                     exit 5
├── RemoteError       an engine, registry, archive, server or database did not do its part  exit 6
├── UnsupportedError  this host or kernel lacks a feature                                   exit 7
├── StorageError      local disk: full, read-only, unreadable                               exit 8
└── UndecidedError    the question cannot be answered by what is known: neither yes nor no  exit 9

Exit 0: done, and allowed where a verdict was asked for. Exit 1: done, and the verdict is a refusal.
Exit 2: the command line itself is wrong. Exit 70: a defect of Shipwall. Exit 130: interrupted.
For people: docs/exit-codes.md; a test compares.
"""

from __future__ import annotations


class ShipwallError(Exception):
    """One line for a person: the thing, the reason, the next step."""

    exit_code = 70

    def __init__(self, thing: str, reason: str, next_step: str = "") -> None:
        self.thing = thing
        self.reason = reason
        self.next_step = next_step
        super().__init__(self.line())

    def line(self) -> str:
        """`thing: reason; next step`, without line breaks."""
        text = f"{self.thing}: {self.reason}" + (f"; {self.next_step}" if self.next_step else "")
        return " ".join(text.split())


def error_of_exit(code: int) -> type[ShipwallError]:
    """The kind of error a process of ours ended with; ShipwallError itself for a code that is of none."""
    named = (kind for kind in ShipwallError.__subclasses__() if "exit_code" in vars(kind))  # others are caught by us
    return next((kind for kind in named if kind.exit_code == code), ShipwallError)


class InputError(ShipwallError):
    """Text or bytes that cannot be what they claim. `line_number` and `column` count from 1 when known."""

    exit_code = 3

    def __init__(
        self, thing: str, reason: str, next_step: str = "", *, line_number: int | None = None, column: int | None = None
    ) -> None:
        self.line_number = line_number
        self.column = column
        place = "" if line_number is None else f":{line_number}" + ("" if column is None else f":{column}")
        super().__init__(thing + place, reason, next_step)


class TrustError(ShipwallError):
    """A verification failed; `step` names which."""

    exit_code = 4

    def __init__(self, thing: str, reason: str, next_step: str = "", *, step: str = "") -> None:
        self.step = step
        super().__init__(thing, f"{step}: {reason}" if step else reason, next_step)


class KernelError(ShipwallError):
    """The kernel refused. `errno` as the kernel gave it, `log` the verifier's words when there are any."""

    exit_code = 5

    def __init__(self, thing: str, reason: str, next_step: str = "", *, errno: int = 0, log: str = "") -> None:
        self.errno = errno
        self.log = log
        super().__init__(thing, reason, next_step)


class RemoteError(ShipwallError):
    """Another program (engine, registry, archive, server, database) failed or refused. `status` is its HTTP status, 0 if none."""

    exit_code = 6

    def __init__(self, thing: str, reason: str, next_step: str = "", *, status: int = 0) -> None:
        self.status = status
        super().__init__(thing, reason, next_step)


class UnsupportedError(ShipwallError):
    """This host or kernel lacks `thing`."""

    exit_code = 7


class StorageError(ShipwallError):
    """The local disk did not take or give the bytes."""

    exit_code = 8


class UndecidedError(ShipwallError):
    """What was asked can be answered neither yes nor no: something that decides it cannot be compared."""

    exit_code = 9
