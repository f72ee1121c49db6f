"""The lists of packages agree with each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
CARD = {"flask", "boto3", "tensorflow", "pillow", "jinja2", "python-crontab", "moto", "pytest"}


def pinned(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {normal(name): version for name, _, version in (line.partition("==") for line in lines)}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_version_is_exact() -> None:
    for file in ("requirements.txt", "app_tier/requirements.txt"):
        assert all(re.fullmatch(r"[0-9][0-9A-Za-z.+]*", version) for version in pinned(ROOT / file).values())


def test_what_running_needs_is_in_the_full_list() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *project["optional-dependencies"]["demo"]]
    assert {normal(re.split(r"[\[<>=]", name)[0]) for name in named} <= pinned(ROOT / "requirements.txt").keys()
    assert pinned(ROOT / "requirements.txt").keys() >= CARD


def test_a_worker_gets_the_versions_that_were_tested_and_no_more() -> None:
    everything, worker = pinned(ROOT / "requirements.txt"), pinned(ROOT / "app_tier/requirements.txt")
    assert worker.items() <= everything.items()
    assert not worker.keys() & {"flask", "moto", "tensorflow", "pytest"}
