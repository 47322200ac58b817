"""Runs the targets one after another, each in a process of its own: `python -m fuzz [NAME…] [--seconds N]`."""

from __future__ import annotations

import contextlib
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import atheris

# Only the process that fuzzes is instrumented.
with atheris.instrument_imports(include=["shipwall"]) if "--one" in sys.argv else contextlib.nullcontext():
    from fuzz.targets import TARGETS, Target
    from shipwall.model.errors import InputError

FOLDER = Path(__file__).resolve().parents[2] / ".cache/fuzz"
_LIMITS = ("-timeout=20", "-rss_limit_mb=700", "-max_len=65536", "-print_final_stats=1", "-verbosity=0")


def main() -> None:
    """All targets that are named (all, when none is); exit 1 when one fails."""
    words = sys.argv[1:]
    if words[:1] == ["--one"]:
        fuzz_one(next(target for target in TARGETS if target.name == words[1]), words[2:])
        return
    seconds = words[words.index("--seconds") + 1] if "--seconds" in words else "20"
    names = [word for word in words if word not in {"--seconds", seconds}]
    if unknown := set(names) - {target.name for target in TARGETS}:
        sys.exit(f"fuzz: no target {', '.join(sorted(unknown))}; there are: {', '.join(target.name for target in TARGETS)}")
    chosen = [target for target in TARGETS if not names or target.name in names]
    sys.exit(max(run(target, seconds) for target in chosen))


def run(target: Target, seconds: str) -> int:
    """One target in a child: its inputs grow in `.cache/fuzz/NAME` from run to run."""
    corpus = FOLDER / target.name
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    command = [
        sys.executable, "-m", "fuzz", "--one", target.name, str(corpus), f"-max_total_time={seconds}",
        f"-artifact_prefix={FOLDER}/found-{target.name}-", *_LIMITS,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    executed = re.search(r"number_of_executed_units:\s+(\d+)", done.stderr)
    peak = re.search(r"peak_rss_mb:\s+(\d+)", done.stderr)
    if done.returncode:
        print(done.stderr[-4000:])
    inputs, memory = executed.group(1) if executed else "?", peak.group(1) if peak else "?"
    print(f"{target.name:16} {inputs:>9} inputs, {memory:>4} MB: {'FAILED' if done.returncode else 'nothing found'}", flush=True)
    return int(done.returncode != 0)


def fuzz_one(target: Target, options: list[str]) -> None:
    """Never returns."""

    def test_one(data: bytes) -> None:
        with contextlib.suppress(InputError):
            target.run(data)

    atheris.Setup([sys.argv[0], *options], test_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
