"""Compiles the BPF programs into the wheel, so that no node needs a compiler.

The C files of `bpf/` become `shipwall/kernel/objects/NAME.bpf.o`. Also run by `make bpf` for the checkout itself.
Needs the headers of Debian's `libbpf-dev` and `linux-libc-dev`; the compiler comes from the `ziglang` wheel.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MULTIARCH = Path("/usr/include/x86_64-linux-gnu")


def compile_objects(target: Path) -> list[Path]:
    """The object files compiled from `bpf/*.bpf.c` into `target`; one already newer than all sources is kept."""
    target.mkdir(parents=True, exist_ok=True)
    sources = sorted((ROOT / "bpf").glob("*.bpf.c"))
    newest = max((path.stat().st_mtime for path in (ROOT / "bpf").rglob("*.[ch]")), default=0.0)
    objects = []
    for source in sources:
        output = target / (source.name[:-2] + ".o")
        objects.append(output)
        if output.exists() and output.stat().st_mtime > newest:
            continue
        compile_object(source, output)
    return objects


def compile_object(source: Path, output: Path) -> None:
    """The object of one file, whole or not at all."""
    fresh = output.with_suffix(".new")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "ziglang",
            "cc",
            "-target",
            "bpfel-freestanding-none",
            "-O2",
            "-g",
            "-Wall",
            "-Werror",
            "-D__TARGET_ARCH_x86",
            "-I",
            str(ROOT / "bpf"),
            "-idirafter",
            str(MULTIARCH),
            "-idirafter",
            "/usr/include",
            "-c",
            str(source),
            "-o",
            str(fresh),
        ],
        check=True,
    )
    fresh.replace(output)


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a script by `make bpf`, where the build backend may be absent
    pass
else:

    class ObjectsHook(BuildHookInterface):  # type: ignore[type-arg]
        """Adds the compiled objects to the wheel."""

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            if version == "editable":
                return
            for path in compile_objects(ROOT / "build" / "objects"):
                build_data["force_include"][str(path)] = f"shipwall/kernel/objects/{path.name}"


if __name__ == "__main__":
    for built in compile_objects(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "src/shipwall/kernel/objects"):
        print(built.relative_to(ROOT))
