"""Check archives against published hashes, and unpack them without letting them write outside their folder."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
from pathlib import Path

from core.errors import TrainingError


def check_hash(path: Path, algorithm: str, expected: str) -> None:
    """Raises TrainingError unless the file's hash is `expected` (hexadecimal)."""
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, algorithm).hexdigest()
    if actual != expected:
        raise TrainingError(
            f"{path} is not the published file: its {algorithm} is {actual}, not {expected}.  Download it again"
        )


def extract(archive: Path, folder: Path) -> None:
    """Unpacks a tar archive into `folder`, all or nothing; does nothing if the folder exists already.

    Raises:
        TrainingError: the archive is damaged, or a member would be written outside `folder` (an absolute path,
            ``..``, a link that leads out) or is a device, by tarfile's filter ``data`` (PEP 706).
    """
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(part, filter="data")
        part.rename(folder)
    except tarfile.FilterError as error:
        raise TrainingError(f"{archive} is refused, since it would write outside its folder: {error}") from error
    except (tarfile.TarError, EOFError, OSError) as error:
        raise TrainingError(f"{archive} cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
