"""The lists of packages agree with each other."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from core.paths import REPOSITORY_ROOT

HASHED = ("app_tier/requirements.txt", "ami/requirements.txt")
CARD = {"flask", "boto3", "tensorflow", "pillow", "jinja2", "python-crontab", "moto", "pytest"}


def pinned(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith(("#", "    --hash="))]
    return {normal(name): version for name, _, version in (line.rstrip(" \\").partition("==") for line in lines)}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_version_is_exact() -> None:
    for file in ("requirements.txt", *HASHED):
        assert all(re.fullmatch(r"[0-9][0-9A-Za-z.+]*", version) for version in pinned(REPOSITORY_ROOT / file).values())


def test_what_running_needs_is_in_the_full_list() -> None:
    project = tomllib.loads((REPOSITORY_ROOT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *project["optional-dependencies"]["demo"]]
    assert {normal(re.split(r"[\[<>=]", name)[0]) for name in named} <= pinned(
        REPOSITORY_ROOT / "requirements.txt"
    ).keys()
    assert pinned(REPOSITORY_ROOT / "requirements.txt").keys() >= CARD


def test_a_worker_gets_the_versions_that_were_tested_and_no_more() -> None:
    everything, worker = (
        pinned(REPOSITORY_ROOT / "requirements.txt"),
        pinned(REPOSITORY_ROOT / "app_tier/requirements.txt"),
    )
    assert worker.items() <= everything.items()
    assert not worker.keys() & {"flask", "moto", "tensorflow", "pytest"}
    assert pinned(REPOSITORY_ROOT / "ami/requirements.txt").items() <= everything.items()


@pytest.mark.parametrize("file", HASHED)
def test_an_image_takes_only_wheels_of_known_content(file: str) -> None:
    entries = re.split(r"\n(?=\S)", (REPOSITORY_ROOT / file).read_text())
    packages = [entry for entry in entries if "==" in entry and not entry.startswith("#")]
    assert len(packages) == len(pinned(REPOSITORY_ROOT / file))
    for entry in packages:
        first, *rest = entry.rstrip().split("\n")
        hashes = [line for line in rest if re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line)]
        assert first.endswith(" \\") and hashes and len(hashes) == len([line for line in rest if line]), entry


def test_a_worker_imports_no_package_that_its_list_lacks() -> None:
    """Compared with what the processes really load, not with what packages say that they need."""
    code = (
        "import sys, app_tier.smoke_test, ami.worker_supervisor, importlib.metadata as metadata\n"
        "top = {n.partition('.')[0] for n, module in sys.modules.items() if getattr(module, '__file__', None)}\n"
        "print(*{d for name, ds in metadata.packages_distributions().items() if name in top for d in ds})"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY_ROOT, capture_output=True, text=True, check=True
    )
    # What urllib3, pip's own start-up hook and an editable installation load where they find it.
    elsewhere = {"elastic-image-classifier", "setuptools", "brotli", "certifi"}
    loaded = {normal(name) for name in answer.stdout.split()} - elsewhere
    assert loaded <= pinned(REPOSITORY_ROOT / "app_tier/requirements.txt").keys()
