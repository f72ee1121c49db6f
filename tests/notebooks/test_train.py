"""The notebook on training runs from the first cell to the last, in a kernel of its own, and shows pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.notebooks.execution import NOTEBOOKS, execute, needs_packages, outputs, pictures, printed

NOTEBOOK = NOTEBOOKS / "train.ipynb"


@pytest.mark.acceptance
@needs_packages
def test_the_notebook_runs(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow, which training needs, is not installed")
    done = execute(NOTEBOOK, tmp_path)
    assert pictures(done) == pictures(NOTEBOOK) > 3
    # Networks start from random weights: most pictures are right in each run, but not the same.
    right, _, count, *_ = printed(done).splitlines()[-1].split()
    assert int(right) > 0.6 * int(count)


@pytest.mark.parametrize("notebook", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_are_stored_with_their_outputs(notebook: Path) -> None:
    assert pictures(notebook) > 3
    assert not [output for output in outputs(notebook) if output["output_type"] == "error"]
    text = notebook.read_text("utf-8")
    assert not [folder for folder in ("/tmp/", "/root/", "/home/") if folder in text]
