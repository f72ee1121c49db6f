"""Write the files of a new bundle that is made of others, all or none."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app_tier.bundle import load_bundle
from core.bundle_manifest import MANIFEST_FILE

_CARD_FILE = "card.md"


@contextmanager
def bundle_files(folder: Path) -> Iterator[Path]:
    """Yields a temporary folder, which becomes the bundle `folder` if its files are those of a bundle.

    Raises:
        BundleError: they are not.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    partial.chmod(0o755)
    try:
        yield partial
        load_bundle(partial)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_description(folder: Path, manifest: Mapping[str, Any], card: str, files: Sequence[str]) -> None:
    """Writes a bundle's manifest with the hashes of its `files`, and its model card."""
    sha256 = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files}
    text = json.dumps({**manifest, "sha256": sha256}, indent=1, ensure_ascii=False) + "\n"
    (folder / MANIFEST_FILE).write_text(text, "utf-8")
    (folder / _CARD_FILE).write_text(card, "utf-8")
