"""OpenPGP signatures of archives, checked by the distribution's own gpgv against a keyring file."""

from __future__ import annotations

import base64
import binascii
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from shipwall.model.errors import StorageError, TrustError, UnsupportedError

_BEGIN = b"-----BEGIN PGP SIGNED MESSAGE-----"
_TIMEOUT_S = 60


class SignedText(NamedTuple):
    """`text` is what was signed and nothing else; `fingerprints` are the keys whose signature is good."""

    text: bytes
    fingerprints: tuple[str, ...]


def verify_signed_text(data: bytes, keyring: Path, thing: str) -> SignedText:
    """The text inside the clear-signed `data`, taken from gpgv's output.

    *Trust*: 1. `data` is exactly one clear-signed message, nothing before it; 2. at least one signature is good, by a key of `keyring`
    that is neither expired nor revoked, over a digest stronger than SHA-1; 3. no signature is bad. Signatures by keys that the keyring
    does not hold are passed over, as apt does: archives sign with the next release's key as well.
    *Raises* TrustError; UnsupportedError without gpgv or keyring.
    """
    # 1. One message only: text around it would look signed to a careless reader.
    if not data.startswith(_BEGIN) or data.count(_BEGIN) != 1:
        raise TrustError(thing, "is not one clear-signed message", "check the archive's address", step="signature form")
    with tempfile.TemporaryDirectory(prefix="shipwall-gpgv-") as folder:
        message, plain, status, keys = (Path(folder) / name for name in ("message", "plain", "status", "keys.gpg"))
        message.write_bytes(data)
        keys.write_bytes(_read_keyring(keyring))
        with status.open("wb") as status_file:
            command = ["gpgv", "--homedir", folder, "--status-fd", str(status_file.fileno()), "--weak-digest", "SHA1"]
            command += ["--keyring", str(keys), "--output", str(plain), str(message)]
            try:
                subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False, pass_fds=(status_file.fileno(),))
            except FileNotFoundError as error:
                raise UnsupportedError("gpgv", "is not installed", "apt-get install gpgv") from error
            except subprocess.TimeoutExpired as error:
                raise TrustError(thing, "gpgv did not answer", "try again", step="signature") from error
        # The exit code would also fail for a missing key, so the status lines decide.
        words = [line.split() for line in status.read_text("utf-8", "replace").splitlines() if line.startswith("[GNUPG:] ")]
        kinds = {line[1] for line in words if len(line) > 1}
        # 3. before 2.: one bad signature spoils the file, whoever else signed it.
        if "BADSIG" in kinds:
            raise TrustError(thing, "its signature does not match its text: it was changed", "do not use it", step="signature")
        # 2. GOODSIG is only said of keys that are valid now; VALIDSIG, which follows it, names the fingerprint.
        good: list[str] = []
        is_good = False
        for line in words:
            if line[1:2] == ["VALIDSIG"] and is_good and len(line) > 2:
                good.append(line[2])
            is_good = line[1:2] == ["GOODSIG"] or (is_good and line[1:2] != ["NEWSIG"])
        if not good:
            missing = [line[2] for line in words if line[1:2] == ["NO_PUBKEY"] and len(line) > 2]
            if {"EXPKEYSIG", "EXPSIG", "REVKEYSIG"} & kinds:
                reason = "is signed only by expired or revoked keys"
            elif missing:
                reason = f"is signed by keys the keyring does not hold ({', '.join(missing[:3])})"
            else:
                reason = "has no good signature"
            raise TrustError(
                thing, reason, f"check the archive's address, or name its keyring instead of {keyring}", step="signature"
            )
        try:
            return SignedText(plain.read_bytes(), tuple(good))
        except FileNotFoundError as error:
            raise TrustError(thing, "gpgv gave no text", "check the archive's address", step="signature") from error


def _read_keyring(path: Path) -> bytes:
    """The keyring in binary form; armoured ones (`.asc`) are unwrapped, which gpgv does not do."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UnsupportedError(f"keyring {path}", "does not exist", "install debian-archive-keyring, or name one") from error
    except OSError as error:
        raise StorageError(f"keyring {path}", error.strerror or str(error), "make it readable") from error
    if not data.startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----"):
        return data
    keys = b""
    for block in data.split(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")[1:]:
        body = block.partition(b"-----END")[0].replace(b"\r", b"").partition(b"\n\n")[2]
        lines = [line for line in body.split(b"\n") if line and not line.startswith(b"=")]
        try:
            keys += base64.b64decode(b"".join(lines), validate=True)
        except binascii.Error as error:
            raise TrustError(f"keyring {path}", "is not a readable key block", "name another", step="keyring") from error
    return keys
