"""The unit tests of the page's modules, tests/js, in Node.js."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from core.paths import REPOSITORY_ROOT

# The test runner is there from 18 on.
LEAST_NODE = 18
FILES = sorted((REPOSITORY_ROOT / "tests" / "js").glob("*.test.js"))


@pytest.fixture(scope="module")
def node() -> str:
    """The path of Node.js; skips where it is not there, or too old."""
    path = shutil.which("node")
    if path is None:
        pytest.skip("Node.js, which runs the tests of the page's modules, is not installed")
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < LEAST_NODE:
        pytest.skip(f"Node.js {LEAST_NODE} or newer is needed, here is {version}")
    return path


@pytest.mark.parametrize("name", [file.name for file in FILES])
def test_modules_of_the_page(node: str, name: str) -> None:
    run = subprocess.run(
        [node, "--test", f"tests/js/{name}"], cwd=REPOSITORY_ROOT, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "# pass 0" not in run.stdout, "the file has no test"
