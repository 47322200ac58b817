"""Every command that a document shows is run as it stands there, in its order, on a machine half of its own: an own state folder with a
private engine. A command that this test has no way to run and judge fails it, and so does a fenced block that does not say what it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.commands import CommandRefusedError, check_words, parse_command, segments_of
from tests.images import busybox_rootfs, debian_files, make_tar, save_docker
from tests.registries import push_layers, run_registry
from typer.main import get_command

from shipwall.adapters.instance import Instance
from shipwall.adapters.link import Link
from shipwall.adapters.private_engine import PrivateEngine
from shipwall.adapters.registry import Registry
from shipwall.cli.app import build_app
from shipwall.journeys.uninstall import uninstall
from shipwall.model.wire import Answer, Query

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(path for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")) if not path.name.startswith("."))
COMMANDS = {"sh", "bash", "shell", "console"}
OTHERS = {"text", "yaml", "json", "toml", "python", "c"}
ROOT_COMMAND = get_command(build_app())

_FENCE = re.compile(r"^[ ]{0,3}```[ \t]*([^\n`]*)\n(.*?)^[ ]{0,3}```[ \t]*$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def blocks_of(text: str) -> list[tuple[str, str]]:
    """(language, content) of every fenced block."""
    return [(found[1].strip(), found[2]) for found in _FENCE.finditer(text)]


def commands_of(text: str) -> list[str]:
    """The commands of every block of commands, in order, without prompts and comments; a line that ends in \\ goes on in the next."""
    found = []
    for language, content in blocks_of(text):
        if language not in COMMANDS:
            continue
        for line in content.replace("\\\n", " ").splitlines():
            command = re.sub(r"(^|\s)#.*$", "", line).strip().removeprefix("$ ")
            if command:
                found.append(" ".join(command.split()))
    return found


class Machine:
    """Where a document's commands are run. `run` is a shell with `shipwall` on its path; `up` is what runs until Ctrl-C."""

    def __init__(self, state: Path, folder: Path) -> None:
        self.instance = Instance(state)
        self.folder = folder
        self.up: subprocess.Popen[str] | None = None
        self.environment = {
            **os.environ,
            "SHIPWALL_STATE": str(state),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def run(self, command: str, answer: str = "") -> str:
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=self.environment, input=answer, capture_output=True, text=True,
            timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: exit code {done.returncode}: {done.stderr[-2000:]}"
        return done.stdout

    def end_up(self) -> None:
        """Ctrl-C."""
        if self.up is None:
            return
        self.up.send_signal(signal.SIGINT)
        assert self.up.wait(30) == 0
        assert self.up.stdout is not None
        self.up.stdout.close()
        self.up = None


def _scan(machine: Machine, command: str) -> None:
    (machine.folder / "shop.tar").write_bytes(make_tar(debian_files({"libssl3": "3.0.11-1~deb12u2"})))
    said = machine.run(command)
    assert "findings in 1 of 1 packages" in said
    assert "bookworm-security of 20" in said


def _doctor(machine: Machine, command: str) -> None:
    said = machine.run(command)
    assert "cgroups" in said
    assert str(machine.instance.engine / "engine.sock") in said


def _up(machine: Machine, command: str) -> None:
    machine.up = subprocess.Popen(
        command.split(), cwd=machine.folder, env=machine.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert machine.up.stdout is not None
    said = machine.up.stdout.readline() + machine.up.stdout.readline()
    assert f"watching {machine.instance.engine / 'engine.sock'}; console http://127.0.0.1:" in said
    assert "one-time login: http://127.0.0.1:" in said
    assert set(machine.run("shipwall function list").split()[1::2]) == {"observe"}  # "nothing enforced"


def _uninstall(machine: Machine, command: str) -> None:
    assert "nothing of Shipwall is left" in machine.run(command, answer="y\n")
    assert not machine.instance.state.exists()
    if machine.up is not None:  # it was ended by the command, and not in anger
        assert machine.up.wait(10) == 0
        assert machine.up.stdout is not None
        machine.up.stdout.close()
        machine.up = None


def _make(machine: Machine, command: str) -> None:
    """Run in full by CI (`make test`, and the demo by its test): here only whether it would do something."""
    done = subprocess.run(["make", "-n", *command.split()[1:]], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert machine.folder.is_dir()


def _image(machine: Machine, name: str = "shop.tar", version: str = "3.0.11-1~deb12u2") -> Path:
    path = machine.folder / name
    path.write_bytes(make_tar(debian_files({"libssl3": version})))
    return path


def _layers(machine: Machine, command: str) -> None:
    lower = make_tar(debian_files({"libssl3": "3.0.11-1~deb12u2"}, {"libssl3": ["/usr/lib/libssl.so.3"]}))
    upper = make_tar(debian_files({"libssl3": "3.0.11-1~deb12u2", "shop": "1.0"}, {"shop": ["/usr/bin/shop"]}))
    save_docker(machine.folder / "base.tar", [lower], ["base:1"])
    save_docker(machine.folder / "shop.tar", [lower, upper], ["shop:1"])
    said = machine.run(command)
    assert "base: base.tar" in said
    assert "a newer base" in said
    (machine.folder / "base.tar").unlink()


def _import(machine: Machine, command: str) -> None:
    affected = {
        "package": {"ecosystem": "Debian:12", "name": "libssl3"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.0.17-1~deb12u3"}]}],
    }
    record = {"id": "CVE-2026-31790", "modified": "2026-11-01T00:00:00Z", "affected": [affected],
              "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]}  # fmt: skip
    (machine.folder / "advisories.jsonl").write_text(json.dumps(record) + "\n")
    assert "example" in machine.run(command)


def _status(machine: Machine, command: str) -> None:
    said = machine.run(command)
    assert "example" in said
    assert "Debian:12" in said


def _passing_scan(machine: Machine, command: str) -> None:
    _image(machine)
    said = machine.run(command)
    assert "CVE-2026-31790" in said  # told, although its score of 9.8 fails nothing


def _registry_fleet(machine: Machine, command: str) -> None:
    with contextlib.ExitStack() as stack:
        folder = machine.folder / "registry"
        folder.mkdir()
        address = stack.enter_context(run_registry(folder)).address
        machine.environment["REGISTRY"] = address
        with Registry(address) as registry:
            for tag, version in (("1", "3.0.11-1~deb12u2"), ("2", "3.0.17-1~deb12u3")):
                push_layers(registry, "prod/shop", tag, [make_tar(debian_files({"libssl3": version}))])
        assert machine.run(command).count(": kept") == 2
    del machine.environment["REGISTRY"]  # it is gone: what follows needs no image any more


def _found(machine: Machine, command: str) -> None:
    said = machine.run(command)
    assert "prod/shop:1" in said
    assert "prod/shop:2" not in said


def _listed(machine: Machine, command: str) -> None:
    assert machine.run(command).count("prod/shop:") == 2


def _job(machine: Machine, command: str) -> None:
    _image(machine)
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=machine.folder,
        env=machine.environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "CVE-2026-31790" in done.stderr
    assert json.loads((machine.folder / "shop.sarif").read_bytes())["version"] == "2.1.0"


def _write(machine: Machine, document: str) -> None:
    """The files that the document shows: blocks that begin with their name."""
    for _, content in blocks_of((ROOT / document).read_text()):
        name, _, rest = content.partition("\n")
        if name.startswith("# ") and name.endswith(".yaml"):
            (machine.folder / name.removeprefix("# ")).write_text(rest)


def _check_rules(machine: Machine, command: str) -> None:
    _write(machine, "docs/guide/responding.md")
    said = machine.run(command)
    assert "Download tool run: kill, monitor: stopped after it" in said
    assert "Program not in the image executed: kill, monitor: stopped before its effect" in said


def _says(*words: str) -> Callable[[Machine, str], None]:
    """Runs the command, whose answer has these words."""

    def judge(machine: Machine, command: str) -> None:
        said = " ".join(machine.run(command).split())
        missing = [word for word in words if word not in said]
        assert missing == [], said

    return judge


def _attack(machine: Machine, seconds: int) -> int:
    """Download, then make executable, in the container `shop` of the private engine; the exit code of the download tool, which goes on for
    so long unless it is killed."""
    engine = PrivateEngine(machine.instance)
    with engine.engine() as client:
        if not client.containers(filters={"name": ["^/shop$"]}):
            client.import_rootfs([busybox_rootfs()], "shop", "1", ["CMD /bin/sh", "ENV PATH=/bin"])
            body = {"Image": "shop:1", "Cmd": ["sleep", "600"], "Labels": {"shipwall.service": "shop"}}
            client.start(client.create("shop", body))
        code, _ = client.exec_run("shop", ["timeout", str(seconds), "nc", "-l", "-p", "9999"])
        client.exec_run("shop", ["chmod", "755", "/etc/passwd"])
    return code


def _until(machine: Machine, command: str, word: str) -> str:
    """The command's answer, once `word` is in it."""
    deadline = time.monotonic() + 20
    while word not in (said := machine.run(command)):
        assert time.monotonic() < deadline, said
        time.sleep(0.2)
    return said


def _alerts(machine: Machine, command: str) -> None:
    assert _attack(machine, 1) == 128 + signal.SIGTERM, "it is only watched: its own time ended it"
    _until(machine, command, "Critical")
    rows = json.loads(machine.run("shipwall alert list --output json"))
    acted = {row["rule"]: row["acted"] for row in rows}
    assert acted["Download tool run"] == "would have: kill"
    (whole,) = [row for row in rows if row["rule"] == "Downloaded, then made executable"]
    assert [step["rule"] for step in whole["sequence"]] == ["Download tool run", "File made executable"]


def _waiting(machine: Machine, command: str) -> None:
    deadline = time.monotonic() + 30
    with Link(machine.instance.link_socket, "cli") as link:
        while True:  # until the agent says that it has followed
            answer = link.ask(Query(what="health", limit=1))
            assert isinstance(answer, Answer)
            functions = answer.rows[-1]["functions"]
            if isinstance(functions, dict) and functions["actions"] == functions["response"] == "enforce":
                break
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert _attack(machine, 60) == 128 + signal.SIGKILL
    _until(machine, command, "approval waiting")
    (plan,) = json.loads(machine.run(command + " --output json"))
    machine.environment["PLAN"] = plan["plan"]


def _approve(machine: Machine, command: str) -> None:
    assert "freeze confirmed; capture confirmed" in machine.run(command)
    with PrivateEngine(machine.instance).engine() as client:
        assert client.inspect_container("shop")["State"]["Status"] == "paused"
    assert json.loads(machine.run("shipwall response list --waiting --output json")) == []


# THE table: how each command that a document shows is run and judged.
RUN: dict[str, Callable[[Machine, str], None]] = {
    "make demo": _make,
    "make test": _make,
    "shipwall image scan shop.tar": _scan,
    "shipwall image layers shop.tar --base base.tar": _layers,
    "shipwall doctor": _doctor,
    "shipwall up": _up,
    "shipwall uninstall": _uninstall,
    "shipwall db import --format osv advisories.jsonl --feed example": _import,
    "shipwall db status": _status,
    "shipwall image scan shop.tar --fail-on 'finding.score > 9.9'": _passing_scan,
    'shipwall fleet add "$REGISTRY/prod/shop" --all-tags': _registry_fleet,
    "shipwall image find 'libssl3 < 3.0.12'": _found,
    "shipwall fleet list": _listed,
    "shipwall image scan shop.tar --fail-on 'finding.severity >= CRITICAL && finding.fixed' --output sarif --to shop.sarif": _job,
    "shipwall rule check my-rules.yaml": _check_rules,
    "shipwall response check response.yaml": _says("2 entries, no mistake"),
    "shipwall up --rules my-rules.yaml": _up,
    "shipwall response set response.yaml": _says("2 entries in force", "plans are only told"),
    "shipwall alert list": _alerts,
    "shipwall response check response.yaml --dry-run": _says(
        "1 plans, nothing is done", "container shop", "0 of 1 containers of shop"
    ),
    'shipwall rule mode "Download tool run" enforce --rules my-rules.yaml': _says("enforce Download tool run"),
    "shipwall function set actions enforce": _says("actions enforce"),
    "shipwall function set response enforce": _says("response enforce"),
    "shipwall response list --waiting": _waiting,
    'shipwall response approve "$PLAN" --reason "confirmed with the shop\'s team"': _approve,
}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="sw-", dir="/tmp") as folder:  # short: unix sockets lie below
        found = Machine(Path(folder) / "s", tmp_path)
        try:
            yield found
        finally:
            found.end_up()
            uninstall(found.instance)


def test_documents_are_found_and_the_readme_shows_commands() -> None:
    assert ROOT / "README.md" in DOCUMENTS
    assert "shipwall up" in commands_of((ROOT / "README.md").read_text())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_says_what_it_is_and_every_command_can_be_run(document: Path) -> None:
    text = document.read_text()
    assert text.count("```") == 2 * len(blocks_of(text)), "a fence that does not close"
    odd = [language or "none" for language, _ in blocks_of(text) if language not in COMMANDS | OTHERS]
    assert odd == [], "name the block's language: sh for commands, text for drawings"
    unknown = [command for command in commands_of(text) if command not in RUN]
    assert unknown == [], "no way to run and judge it is known: add one to RUN"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_the_text_exist(document: Path) -> None:
    """What stands between single backticks: the command and its options, and make's targets."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for span in _SPAN.findall(document.read_text()):
        for words in segments_of(span) if re.match(r"(?:\S+=\S* |sudo )*shipwall ", span) else ():
            check_words(ROOT_COMMAND, words)
        if found := re.match(r"(?:[A-Z]+=\S* )*make ([a-z-]+)", span):
            assert found[1] in targets, span


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    targets = {name for line in phony for name in line.split()}
    said = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    assert {line.split()[0] for line in said.splitlines() if len(line.split()) > 1} == targets


def test_all_commands_are_those_of_some_document() -> None:
    shown = {command for document in DOCUMENTS for command in commands_of(document.read_text())}
    assert set(RUN) == shown


def test_the_mechanism_catches_what_it_should() -> None:
    text = "```sh\n$ shipwall image scan a.tar \\\n  --offline   # why\n\n# only words\n```\n```\nx\n```\n"
    assert commands_of(text) == ["shipwall image scan a.tar --offline"]
    assert blocks_of(text)[1] == ("", "x\n")
    check_words(ROOT_COMMAND, ["shipwall", "image", "scan"])  # in running text an argument may be missing
    for wrong in (["shipwall", "imagine"], ["shipwall", "image", "scan", "--fail"]):
        with pytest.raises(CommandRefusedError):
            check_words(ROOT_COMMAND, wrong)


@pytest.mark.root
@pytest.mark.bpf
@pytest.mark.engine
@pytest.mark.archive
@pytest.mark.parametrize(
    "document", [path for path in DOCUMENTS if commands_of(path.read_text())], ids=lambda path: str(path.relative_to(ROOT))
)
def test_its_commands_do_what_it_says(document: Path, machine: Machine) -> None:
    """One after the other, as a reader would; `shipwall up` stays up until a later command or the end."""
    machine.run("shipwall engine start")  # what `up` finds, and never the host's own
    for command in commands_of(document.read_text()):
        for words in segments_of(command):
            parse_command(ROOT_COMMAND, words)
        RUN[command](machine, command)
