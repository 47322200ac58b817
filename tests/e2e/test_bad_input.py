"""What is wrong outside of Shipwall, really made wrong: each a one-line error naming the thing, with the documented exit code."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.images import debian_files, make_tar, save_docker

from shipwall.adapters.evidence import EvidenceStore
from shipwall.adapters.instance import Instance
from shipwall.adapters.keys import Keys
from shipwall.journeys.collect import KEY_NAME, seal_with
from shipwall.journeys.uninstall import uninstall
from shipwall.model.errors import ShipwallError, error_of_exit
from shipwall.response.evidence import Writer

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "exit-codes.md"
BROKEN_YAML = "version: 1\nroutes:\n  - from: [dev\n"
UNENDED = r"broken.yaml:4:1: .*; what is not ended there begins at 3:11"


@pytest.fixture
def state() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sw-", dir="/tmp") as folder:
        found = Path(folder) / "s"
        try:
            yield found
        finally:
            uninstall(Instance(found))


def shipwall(state: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "shipwall", *words],
        cwd=state.parent, env={**os.environ, "SHIPWALL_STATE": str(state), **more},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip


def line_of(done: subprocess.CompletedProcess[str]) -> str:
    """The error line: one, and nothing else but what `up` says on its way and a caret below a mistake."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("starting ", "  "))]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("shipwall: ")
    assert "Traceback" not in done.stderr
    return lines[0].removeprefix("shipwall: ")


def test_the_page_says_what_the_errors_say() -> None:
    rows = dict(re.findall(r"^\| (\d+) \|.*\| *`?(\w*)`? *\|$", PAGE.read_text(), re.MULTILINE))

    class CaughtByUsError(ShipwallError):
        """Without a code of its own: it never ends a command."""

    named = [kind for kind in ShipwallError.__subclasses__() if "exit_code" in vars(kind)]
    assert CaughtByUsError not in named
    kinds = {str(kind.exit_code): kind.__name__ for kind in (ShipwallError, *named)}
    assert {code: name for code, name in rows.items() if name} == kinds
    assert {code for code, name in rows.items() if not name} == {"0", "1", "2", "130"}
    assert all(error_of_exit(int(code)).__name__ == name for code, name in kinds.items())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        # the command line
        (["image", "scan", "x", "--nonsense"], 2, r"image scan: No such option: --nonsense.*; see shipwall image scan --help"),
        (["imagine"], 2, r"command line: No such command 'imagine'. .*; see shipwall --help"),
        (["image", "scan"], 2, r"image scan: Missing argument 'source'; see"),
        (["up", "--port", "many"], 2, r"up: Invalid value for '--port': .*; see shipwall up --help"),
        # malformed YAML: line and column
        (["image", "gate", "127.0.0.1:9/dev/x:1", "--policy", "broken.yaml"], 3, UNENDED),
        (["rule", "check", "broken.yaml"], 3, UNENDED),
        (["up", "--engine", "none", "--response", "broken.yaml"], 3, UNENDED),
        (["response", "set", "broken.yaml"], 3, UNENDED),
        pytest.param(["up", "--engine", "none", "--rules", "broken.yaml"], 3, "agent: " + UNENDED, marks=pytest.mark.bpf),
        # engine, registry, server, database
        (["image", "list", "x", "--engine", "no.sock"], 6, r"engine at no.sock: No such file or directory; start it, or "),
        (["run", "prod/x", "--engine", "deaf.sock"], 6, r"engine at deaf.sock: Connection refused; start it, or "),
        pytest.param(["up", "--engine", "deaf.sock"], 6, r"engine at deaf.sock: Connection refused; start it, or ", marks=pytest.mark.root),
        (["image", "scan", "127.0.0.1:9/dev/x:1"], 6, r"registry 127.0.0.1:9: .*Connection refused; is it running"),
        (["alert", "list"], 6, r"server at .*link.sock: No such file or directory; start it: shipwall up"),
        pytest.param(
            ["up", "--engine", "none", "--database", "postgresql+psycopg://u:hunter2@127.0.0.1:9/db"], 6,
            r"server: database postgresql\+psycopg://u:\*\*\*@127.0.0.1:9/db: .*Connection refused; start the database",
            marks=pytest.mark.root,
        ),
        pytest.param(
            ["up", "--engine", "none", "--database", "sqlite:////proc/no/x.db"], 8,
            r"server: database /proc/no/x.db: No such file or directory; mend the folder", marks=pytest.mark.root,
        ),
        # images
        (["image", "scan", "junk.tar"], 3, r"junk.tar: damaged tar at byte \d+: .*; fetch or save the image again"),
        (["image", "scan", "short.tar"], 3, r"short.tar: .*; fetch or save the image again"),
        (["image", "scan", ""], 3, r"image '': is no name; give a tar file"),
        (["image", "scan", "nothing.tar"], 3, r"image 'nothing.tar': is no file or folder here"),
        # evidence
        (["evidence", "verify", "tampered"], 4, r"evidence bundle: [0-9] .*: "),
        (["evidence", "verify", "other"], 4, r"evidence bundle: 5 signature: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)  # fmt: skip
def test_one_line_and_the_documented_code(state: Path, words: list[str], code: int, said: str) -> None:
    folder = state.parent
    (folder / "broken.yaml").write_text(BROKEN_YAML)
    (folder / "junk.tar").write_bytes(bytes(range(256)) * 12)
    (folder / "short.tar").write_bytes(make_tar(debian_files({"bash": "5.2.15-2"}))[:1500])
    _seal(state, "tampered", "other")
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(folder / "deaf.sock"))  # and listens not
    before = _files(folder)
    done = shipwall(state, *words)
    assert done.returncode == code, done.stderr
    assert re.match(said, line_of(done)), done.stderr
    assert "hunter2" not in done.stderr + done.stdout
    if words[0] != "up":
        assert _files(folder) == before, "a failed command leaves nothing"


def test_a_defect_does_not_look_like_a_refusal(state: Path) -> None:
    program = "import shipwall.cli.app as app\napp.build_app = lambda *_: 1 / 0\napp.main()\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 70
    assert "ZeroDivisionError" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("shipwall: a defect of Shipwall")
    assert not state.exists()


def test_an_unanswered_question_changes_nothing(state: Path) -> None:
    _seal(state, "tampered", "other")
    done = shipwall(state, "uninstall")
    assert done.returncode == 1
    assert done.stderr.endswith("shipwall: nothing was done: no answer\n")
    assert Instance(state).evidence.exists()


def _seal(state: Path, tampered: str, other: str) -> None:
    instance = Instance(state)
    instance.evidence.mkdir(parents=True)
    keys = Keys(instance.keys)
    keys.signer(KEY_NAME)
    for name, signer in ((tampered, keys.signer(KEY_NAME)), (other, Keys(state.parent / "others").signer("theirs"))):
        with EvidenceStore(instance.evidence).writing(name) as file:
            writer = Writer(file)
            writer.add("plan", "plan.json", b'{"id":"b1"}' * 40)
            writer.seal(
                seal_with(signer), bundle=name, node="n", container="c", alert="", plan=name, image_digest=None, sealed_ns=1
            )
    path = EvidenceStore(instance.evidence).path(tampered)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.root
def test_a_full_disk_while_evidence_is_unpacked_or_a_function_is_set(state: Path) -> None:
    """A disk of its own (tmpfs), really full: the line says so, and what was there is whole."""
    _seal(state, "tampered", "other")
    keys = Keys(Instance(state).keys)
    with EvidenceStore(Instance(state).evidence).writing("whole") as file:
        writer = Writer(file)
        for number in range(6):
            writer.add("file", f"files/{number}", os.urandom(30_000))
        writer.seal(
            seal_with(keys.signer(KEY_NAME)),
            bundle="whole",
            node="n",
            container="c",
            alert="",
            plan="p",
            image_digest=None,
            sealed_ns=1,
        )
    disk = state.parent / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "shipwall-test", str(disk)], check=True, timeout=10)
    try:
        done = shipwall(state, "evidence", "extract", "whole", "--to", str(disk / "out"))
        assert done.returncode == 8, done.stderr
        assert re.search(r"disk/out: No space left on device; free space or name another folder", line_of(done))
        done = shipwall(disk, "function", "set", "kill", "enforce")
        assert done.returncode == 8, done.stderr
        assert "No space left on device; free space" in line_of(done)
        assert not (disk / "functions.json").exists()
        assert [path.name for path in disk.iterdir() if path.name.startswith(".")] == []
    finally:
        subprocess.run(["umount", str(disk)], check=True, timeout=10)
    assert shipwall(state, "evidence", "verify", "whole").returncode == 0


@pytest.mark.root
def test_a_full_disk_does_not_take_a_list_from_who_asked_for_it(state: Path) -> None:
    image = save_docker(state.parent / "shop.tar", [make_tar(debian_files({"bash": "5.2-1"}))])
    disk = state.parent / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "shipwall-test", str(disk)], check=True, timeout=10)
    try:
        with contextlib.suppress(OSError), (disk / "others").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        done = shipwall(disk, "image", "list", str(image), "--output", "json")
        assert done.returncode == 0, done.stderr
        assert [one["name"] for one in json.loads(done.stdout)["packages"]] == ["bash"]
        lines = done.stderr.splitlines()
        assert lines
        for line in lines:
            assert re.fullmatch(r"shipwall: the image's list was not kept: .*(No space left on device|disk is full).*", line)
        assert not list(disk.glob("inventories/*"))
    finally:
        subprocess.run(["umount", str(disk)], check=True, timeout=10)


@pytest.mark.root
def test_folders_that_cannot_be_read_or_entered(state: Path) -> None:
    """As nobody: an unreadable folder is an error. Another file system below a root file system is told, not passed over."""
    folder = state.parent
    folder.chmod(0o755)
    closed, root = folder / "closed", folder / "root"
    (root / "srv").mkdir(parents=True)
    closed.mkdir(mode=0o700)
    program = [sys.executable, "-m", "shipwall", "image", "list", str(closed), "--state", str(state)]
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *program]
    done = subprocess.run(nobody, cwd="/", capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 8, done.stderr
    assert line_of(done) == f"{closed}: Permission denied; make it readable"
    mounted = f"mount -t tmpfs shipwall-test {root}/srv && exec {sys.executable} -m shipwall image list {root} --output json"
    done = subprocess.run(["unshare", "-m", "sh", "-c", mounted], capture_output=True, text=True, timeout=90, check=True)
    assert {"what": "/srv", "reason": "is another file system, which is not entered"} in json.loads(done.stdout)["skipped"]
