"""A small Debian archive, signed by a key of its own: real packages of invented programs, to be read through `file:` or HTTP."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import subprocess
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

HOUR_S = 3600


@dataclass
class Archive:
    """`publish` writes what `add` collected. `dates_s` are Date and Valid-Until, in seconds since 1970."""

    root: Path
    gnupg: Path
    keyring: Path
    suite: str = "bookworm-security"
    packages: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"file://{self.root}"

    def add(
        self, name: str, version: str, changelog: str, *, source: str = "", arch: str = "amd64", compression: str = "xz"
    ) -> Path:
        """Build one package whose changelog is `changelog`."""
        tree = self.root.parent / f"build-{name}-{version.replace(':', '_')}"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN").chmod(0o755)  # whatever the umask
        control = f"Package: {name}\nVersion: {version}\nArchitecture: {arch}\nMaintainer: nobody <nobody@example.invalid>\n"
        control += (f"Source: {source}\n" if source else "") + "Description: a test package\n"
        (tree / "DEBIAN/control").write_text(control)
        documents = tree / "usr/share/doc" / name
        documents.mkdir(parents=True)
        if changelog:
            (documents / "changelog.Debian.gz").write_bytes(gzip.compress(changelog.encode()))
        deb = self.root / "pool" / f"{name}_{version.replace(':', '%3a')}_{arch}.deb"
        deb.parent.mkdir(parents=True, exist_ok=True)
        command = ["dpkg-deb", "--root-owner-group", f"-Z{compression}", "--build", str(tree), str(deb)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        data = deb.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        self.packages.append(f"{control}Filename: pool/{deb.name}\nSize: {len(data)}\nSHA256: {digest}\n")
        return deb

    def publish(self, dates_s: tuple[int, int], *, codename: str = "", key: str = "archive@example.invalid") -> None:
        """Write Packages and a signed InRelease."""
        suite = self.root / "dists" / self.suite
        binary = suite / "main/binary-amd64"
        binary.mkdir(parents=True, exist_ok=True)
        plain = "\n".join(self.packages).encode()
        listed = []
        for name, data in (
            ("Packages", plain),
            ("Packages.xz", lzma.compress(plain)),
            ("Packages.gz", gzip.compress(plain, mtime=0)),
        ):
            (binary / name).write_bytes(data)
            listed.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} main/binary-amd64/{name}")
        release = suite / "Release"
        lines = [
            "Origin: Test",
            "Label: Test-Security",
            f"Suite: {codename or self.suite}",
            f"Codename: {codename or self.suite}",
        ]
        lines += [f"Date: {formatdate(dates_s[0], usegmt=True)}", f"Valid-Until: {formatdate(dates_s[1], usegmt=True)}"]
        release.write_text("\n".join([*lines, "SHA256:", *listed, ""]))
        (suite / "InRelease").unlink(missing_ok=True)
        self.gpg("--local-user", key, "--clearsign", "--output", str(suite / "InRelease"), str(release))

    def gpg(self, *arguments: str) -> None:
        """Run gpg in the archive's own key folder."""
        command = [
            "gpg",
            "--homedir",
            str(self.gnupg),
            "--batch",
            "--yes",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
            *arguments,
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    def make_key(self, name: str = "archive@example.invalid") -> None:
        """A signing key."""
        self.gpg("--quick-generate-key", name, "ed25519", "sign", "never")

    def close(self) -> None:
        """End gpg's agent, which outlives the commands."""
        subprocess.run(["gpgconf", "--homedir", str(self.gnupg), "--kill", "all"], check=False, capture_output=True, timeout=60)


def make_archive(folder: Path) -> Archive:
    """An empty archive with its key in `folder`; call `close` in the end."""
    gnupg = folder / "g"
    gnupg.mkdir(mode=0o700)
    archive = Archive(folder / "archive", gnupg, folder / "keys.gpg")
    archive.root.mkdir()
    archive.make_key()
    archive.gpg("--output", str(archive.keyring), "--export", "archive@example.invalid")
    return archive
