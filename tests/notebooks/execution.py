"""Run a notebook of the documentation from its first cell to the last, in a kernel of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.paths import REPOSITORY_ROOT

NOTEBOOKS = REPOSITORY_ROOT / "docs" / "notebooks"
PACKAGES = REPOSITORY_ROOT / "var" / "notebooks"
EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], 4)
NotebookClient(notebook, timeout=240, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[2])
"""

needs_packages = pytest.mark.skipif(
    not (PACKAGES / ".installed").exists(),
    reason="what runs notebooks is not installed; `make var/notebooks/.installed` installs it",
)


def execute(notebook: Path, folder: Path, **settings: str) -> Path:
    """Runs a notebook in `folder`, where its files go; returns the notebook with its outputs.

    Args:
        settings: further environment variables.
    """
    done_notebook = folder / "done.ipynb"
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY_ROOT}{os.pathsep}{PACKAGES}", **settings}
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(notebook), str(done_notebook)],
        cwd=folder,
        env={**environment, "TMPDIR": str(folder), "IPYTHONDIR": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done_notebook


def outputs(path: Path) -> list[dict[str, Any]]:
    """The outputs of all cells."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return [output for cell in cells for output in cell.get("outputs", ())]


def pictures(path: Path) -> int:
    """How many pictures the outputs show."""
    return sum(not {"image/png", "image/jpeg"}.isdisjoint(output.get("data", {})) for output in outputs(path))


def printed(path: Path) -> str:
    """What the cells printed."""
    return "".join("".join(output.get("text", "")) for output in outputs(path))
