"""Model bundles for tests: files of the right form, and real models that answer in some way."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from core.paths import REPOSITORY_ROOT
from core.settings import Settings

SHIPPED = REPOSITORY_ROOT / Settings().model_bundle
SHIPPED_NAME = "resnet50-imagenet@1"
_INPUT = json.loads((SHIPPED / "bundle.json").read_text("utf-8"))["input"]
# Height, width and channels of an image that it takes.
SHIPPED_SHAPE = (int(_INPUT["height"]), int(_INPUT["width"]), 3)


def measured() -> dict[str, Any]:
    """The figures on the shipped bundle's card."""
    figures: dict[str, Any] = json.loads((SHIPPED / "bundle.json").read_text("utf-8"))["measured"]
    return figures


def make_bundle(
    folder: Path, *, version: str = "1", model: bytes = b"a model", top1: float | None = None, name: str = "twenty"
) -> Path:
    """A bundle by its form; no interpreter could run it.  Returns `folder`."""
    folder.mkdir(parents=True)
    (folder / "model.tflite").write_bytes(model)
    (folder / "labels.txt").write_text("dog\ncat\n")
    (folder / "card.md").write_text("# A model\n")
    _write_manifest(folder, {"name": name, "version": version, **({"measured": {"top1_int8": top1}} if top1 else {})})
    return folder


def shipped_as(folder: Path, version: str) -> Path:
    """The shipped bundle under another version: a good one.  Returns `folder`."""
    shutil.copytree(SHIPPED, folder)
    manifest = json.loads((folder / "bundle.json").read_text("utf-8"))
    _write_manifest(folder, {**manifest, "version": version})
    return folder


def broken_as(folder: Path, version: str) -> Path:
    """One whose hashes are right and whose smoke test fails: a label too few.  Returns `folder`."""
    shipped_as(folder, version)
    labels = (folder / "labels.txt").read_text("utf-8").splitlines()
    (folder / "labels.txt").write_text("\n".join(labels[:-1]) + "\n", "utf-8")
    _write_manifest(folder, json.loads((folder / "bundle.json").read_text("utf-8")))
    return folder


def crashing_as(folder: Path, version: str) -> Path:
    """One whose hashes are right and whose model ends the process that loads it, by SIGABRT.  Returns `folder`."""
    shipped_as(folder, version)
    model = bytearray((folder / "model.tflite").read_bytes())
    model[2124:2128] = bytes(4)  # an offset in the FlatBuffer
    (folder / "model.tflite").write_bytes(model)
    _write_manifest(folder, json.loads((folder / "bundle.json").read_text("utf-8")))
    return folder


def _write_manifest(folder: Path, fields: dict[str, Any]) -> None:
    sha256 = {name: _digest(folder / name) for name in ("model.tflite", "labels.txt")}
    (folder / "bundle.json").write_text(json.dumps({**fields, "sha256": sha256}), "utf-8")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
