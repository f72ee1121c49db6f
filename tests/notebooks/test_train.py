"""The notebook on training runs from the first cell to the last, in a kernel of its own, and shows pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.paths import REPOSITORY_ROOT

PACKAGES = REPOSITORY_ROOT / "var" / "notebooks"
NOTEBOOK = REPOSITORY_ROOT / "docs" / "notebooks" / "train.ipynb"
EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], 4)
NotebookClient(notebook, timeout=240, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[2])
"""


def _outputs(path: Path) -> list[dict[str, Any]]:
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return [output for cell in cells for output in cell.get("outputs", ())]


def _pictures(path: Path) -> int:
    return sum("image/png" in output.get("data", {}) for output in _outputs(path))


def _printed(path: Path) -> str:
    return "".join("".join(output.get("text", "")) for output in _outputs(path))


@pytest.mark.acceptance
@pytest.mark.skipif(
    not (PACKAGES / ".installed").exists(),
    reason="what runs notebooks is not installed; `make var/notebooks/.installed` installs it",
)
def test_the_notebook_runs(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow, which training needs, is not installed")
    environment = {**os.environ, "PYTHONPATH": str(PACKAGES), "TMPDIR": str(tmp_path), "IPYTHONDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(NOTEBOOK), str(tmp_path / "done.ipynb")],
        cwd=REPOSITORY_ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert _pictures(tmp_path / "done.ipynb") == _pictures(NOTEBOOK) > 3
    # Networks start from random weights: most pictures are right in each run, but not the same.
    right, _, count, *_ = _printed(tmp_path / "done.ipynb").splitlines()[-1].split()
    assert int(right) > 0.6 * int(count)


def test_the_notebook_is_stored_with_its_outputs() -> None:
    assert _pictures(NOTEBOOK) > 3
    assert not [output for output in _outputs(NOTEBOOK) if output["output_type"] == "error"]
    text = NOTEBOOK.read_text("utf-8")
    assert not [folder for folder in ("/tmp/", "/root/", "/home/") if folder in text]
