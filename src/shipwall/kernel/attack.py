"""The attacker of the self-test: harmless acts of every class inside a throw-away container. Run as a file, knows nothing of Shipwall.

First word on the command line: an empty folder; second: the file a process joins its cgroup by. Makes namespaces, a root of its own and a
loopback network, then does for each line `{"action", "attempts"}` what is asked and says how often it had its effect.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import mmap
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path

NEW_NAMESPACES = 0x00020000 | 0x40000000 | 0x08000000 | 0x04000000  # mounts, network, IPC, UTS
PRIVATE, BIND, READ_ONLY_BIND = 0x44000, 0x1000, 0x1021
CONNECT_PORT, BIND_PORT, DATAGRAM_PORT = 47101, 471, 47103
ANSWER = bytes.fromhex("b82a000000c3")  # mov eax, 42; ret
SHELL_SCRIPT = b"#!/bin/sh\necho x\n"

libc = ctypes.CDLL(None, use_errno=True)


def tiny_program() -> bytes:
    """A static x86-64 program whose very first act is to write an x to standard output."""
    code = bytes.fromhex("b801000000bf01000000488d3510000000ba010000000f05b83c00000031ff0f05") + b"x"
    code = code[:13] + struct.pack("<i", len(code) - 1 - 17) + code[17:]
    size = 64 + 56 + len(code)
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, size, size, 0x1000) + code


def mount(source: str, target: str, kind: bytes | None, flags: int, options: str = "") -> None:
    """mount(2). Raises OSError."""
    if libc.mount(source.encode(), target.encode(), kind, flags, options.encode() or None):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)


def enter(base: str, procs: str) -> None:
    """Become the container."""
    Path(procs).write_text("0")
    if libc.unshare(NEW_NAMESPACES):
        raise OSError(ctypes.get_errno(), "namespaces")
    mount("none", "/", None, PRIVATE)
    mount("none", base, b"tmpfs", 0)
    for name in ("lower/usr", "lower/data", "upper", "work", "root"):
        Path(base, name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        Path(base, "lower", name).symlink_to(f"usr/{name}")
    Path(base, "lower/data/secret").write_text("x")
    root = f"{base}/root"
    mount("none", root, b"overlay", 0, f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work")
    mount("/usr", f"{root}/usr", None, BIND)
    mount("/usr", f"{root}/usr", None, READ_ONLY_BIND | 0x20)
    os.chroot(root)
    os.chdir("/")
    with socket.socket() as any_socket:  # loopback up
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x41))


def output_of(*command: str, descriptor: int | None = None) -> bytes:
    """What a program wrote, however it ended."""
    back, out = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(out, 1)
            os.execve(command[0] if descriptor is None else descriptor, list(command), {})  # noqa: S606  that is the attack
        finally:
            os._exit(99)
    os.close(out)
    wrote = os.read(back, 100)
    os.close(back)
    os.waitpid(pid, 0)
    return wrote


def plant(path: str, data: bytes) -> None:
    """A program that is not of the image."""
    Path(path).unlink(missing_ok=True)
    Path(path).write_bytes(data)
    Path(path).chmod(0o755)


def exec_dropped() -> bool:
    """A program written a moment ago."""
    plant("/dropped", tiny_program())
    return output_of("/dropped") == b"x"


def exec_memfd() -> bool:
    """A program that lies in memory only."""
    memory = os.memfd_create("dropped")
    try:
        os.write(memory, tiny_program())
        return output_of("dropped", descriptor=memory) == b"x"
    finally:
        os.close(memory)


def script_by_name() -> bool:
    """A dropped script, run by the interpreter its first line names."""
    plant("/dropped.sh", SHELL_SCRIPT)
    return output_of("/dropped.sh") == b"x\n"


def script_by_interpreter() -> bool:
    """A dropped script that an interpreter of the image is given."""
    plant("/dropped.sh", SHELL_SCRIPT)
    return output_of("/bin/sh", "/dropped.sh") == b"x\n"


def mapped_code() -> bool:
    """A dropped file mapped to be executed, and called."""
    plant("/dropped.so", ANSWER)
    with (
        Path("/dropped.so").open("rb") as file,
        mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=5 | mmap.PROT_WRITE) as code,
    ):
        place = ctypes.addressof(ctypes.c_char.from_buffer(code))
        answer = ctypes.CFUNCTYPE(ctypes.c_int)(place)()
    return bool(answer == 42)


def opened() -> bool:
    """A file that a rule refuses."""
    try:
        return Path("/data/secret").read_text() == "x"
    except PermissionError:
        return False


def connected() -> bool:
    """A connection to an address that a rule refuses, which somebody answers."""
    with contextlib.suppress(PermissionError), socket.socket() as one:
        one.connect(("127.0.0.1", CONNECT_PORT))
        LISTENER.accept()[0].close()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leaves no port behind
        return True
    return False


def bound() -> bool:
    """A port that a rule refuses."""
    with contextlib.suppress(PermissionError), socket.socket() as one:
        one.bind(("127.0.0.1", BIND_PORT))
        return bool(one.getsockname()[1] == BIND_PORT)
    return False


def sent() -> bool:
    """A datagram to an address that a rule refuses, which arrives."""
    with contextlib.suppress(PermissionError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"x", ("127.0.0.1", DATAGRAM_PORT))
    with contextlib.suppress(BlockingIOError):
        return RECEIVER.recv(1, socket.MSG_DONTWAIT) == b"x"
    return False


ACTIONS: dict[str, Callable[[], bool]] = {
    "exec-dropped": exec_dropped,
    "exec-memfd": exec_memfd,
    "open": opened,
    "connect": connected,
    "bind": bound,
    "sendto": sent,
    "script-shebang": script_by_name,
    "script-interpreter": script_by_interpreter,
    "mmap-exec": mapped_code,
}


def main() -> None:
    """Serve the questions on standard input."""
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            said = {"completed": sum(ACTIONS[asked["action"]]() for _ in range(asked["attempts"])), "error": ""}
        except OSError as error:
            said = {
                "completed": 0,
                "error": f"{errno.errorcode.get(error.errno or 0, '')} {error.strerror} {error.filename or ''}",
            }
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    enter(sys.argv[1], sys.argv[2])
    LISTENER = socket.create_server(("127.0.0.1", CONNECT_PORT))
    RECEIVER = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    RECEIVER.bind(("127.0.0.1", DATAGRAM_PORT))
    print("ready", flush=True)
    main()
