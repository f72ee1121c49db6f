"""The lists of packages agree with each other."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

from core.paths import REPOSITORY_ROOT

# Written by `make lock`: with hashes, from the list of names beside them.
SHARES = ("app_tier", "ami", "infra")
LOCKS = (
    "requirements.lock",
    "requirements-run.lock",
    "docs/requirements.txt",
    "infra/checkov.txt",
    "tests/openapi_client/requirements.txt",
    "tests/notebooks/requirements.txt",
    "training/requirements-gpu.txt",
    *(f"{folder}/requirements.txt" for folder in SHARES),
)
CARD = {"flask", "boto3", "tensorflow", "pillow", "jinja2", "python-crontab", "moto", "pytest"}
# Only on Windows, where the web server does not run; a lock for all platforms names them all the same.
ELSEWHERE = {"colorama", "pywin32"}


def pinned(file: str) -> dict[str, str]:
    """The version of each package that `file` pins; without those that only another platform installs."""
    lines = [line for line in (REPOSITORY_ROOT / file).read_text().splitlines() if re.match(r"\w", line)]
    entries = [re.split(r" ; | \\", line)[0].partition("==") for line in lines]
    return {normal(name): version for name, _, version in entries if normal(name) not in ELSEWHERE}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("file", ["requirements.txt", *LOCKS])
def test_every_version_is_exact(file: str) -> None:
    versions = pinned(file).values()
    assert versions and all(re.fullmatch(r"[0-9][0-9A-Za-z.+]*", version) for version in versions)


def test_what_running_needs_is_in_the_full_list() -> None:
    project = tomllib.loads((REPOSITORY_ROOT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *project["optional-dependencies"]["demo"]]
    names = {normal(re.split(r"[\[<>=]", name)[0]) for name in named}
    assert names <= pinned("requirements-run.lock").keys()
    assert names <= pinned("requirements.txt").keys()
    assert pinned("requirements.txt").keys() >= CARD


def test_the_locks_have_the_versions_of_the_one_list() -> None:
    """Where this fails after a change of requirements.txt or pyproject.toml, run `make lock`."""
    everything = pinned("requirements.txt")
    assert pinned("requirements.lock") == everything
    assert pinned("requirements-run.lock").items() <= everything.items()
    assert not pinned("requirements-run.lock").keys() & {"tensorflow", "keras", "pytest"}
    documentation = pinned("docs/requirements.txt")
    assert {
        name: version for name, version in documentation.items() if name in everything
    }.items() <= everything.items()


def test_the_version_has_a_dated_section_in_the_changelog() -> None:
    project = tomllib.loads((REPOSITORY_ROOT / "pyproject.toml").read_text())["project"]
    headings = re.findall(r"^## (.+)$", (REPOSITORY_ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    released = [heading for heading in headings if heading != "Unreleased"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d{2}-\d{2}", heading) for heading in released)
    assert released[0].startswith(f"{project['version']} - ")


@pytest.mark.parametrize("folder", SHARES)
def test_a_machine_gets_the_versions_that_were_tested_and_no_more(folder: str) -> None:
    listed = (REPOSITORY_ROOT / folder / "requirements.in").read_text().splitlines()
    share = pinned(f"{folder}/requirements.txt")
    assert share.keys() == {normal(name) for name in listed if name and not name.startswith("#")}
    assert share.items() <= pinned("requirements.txt").items()
    assert not share.keys() & {"moto", "tensorflow", "pytest"}


@pytest.mark.parametrize("file", LOCKS)
def test_a_lock_has_hashes_for_every_package_and_names_no_index(file: str) -> None:
    text = (REPOSITORY_ROOT / file).read_text()
    for entry in re.split(r"\n(?=\S)", text.rstrip()):
        if entry.startswith("#"):
            continue
        first, *rest = entry.split(" \\\n")
        assert "==" in first
        assert rest and all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}", line) for line in rest), first
    assert "://" not in text and "--index" not in text and "--find-links" not in text


@pytest.mark.parametrize(
    ("folder", "modules"),
    [
        ("app_tier", "app_tier.__main__, app_tier.smoke_test, ami.worker_supervisor"),
        ("infra", "web_tier, web_tier.gunicorn_config, controller.__main__"),
    ],
)
def test_a_machine_imports_no_package_that_its_list_lacks(folder: str, modules: str) -> None:
    """Compared with what the processes really load, not with what packages say that they need."""
    code = (
        f"import sys, importlib.metadata as metadata, {modules}\n"
        "top = {n.partition('.')[0] for n, module in sys.modules.items() if getattr(module, '__file__', None)}\n"
        "print(*{d for name, ds in metadata.packages_distributions().items() if name in top for d in ds})"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY_ROOT, capture_output=True, text=True, check=True
    )
    # What urllib3, pip's own start-up hook and an editable installation load where they find it.
    elsewhere = {"elastic-image-classifier", "setuptools", "brotli", "certifi"}
    loaded = {normal(name) for name in answer.stdout.split()} - elsewhere
    assert loaded <= pinned(f"{folder}/requirements.txt").keys()


def test_the_page_on_gpus_has_the_versions_of_the_lock() -> None:
    page = (REPOSITORY_ROOT / "docs" / "how-to" / "train-on-a-gpu.md").read_text()
    lock = pinned("training/requirements-gpu.txt")
    named = dict(re.findall(r"`(nvidia-[a-z0-9-]+)` \| ([0-9.]+)", page))
    assert named == {name: version for name, version in lock.items() if name.startswith("nvidia-")}
    assert f"TensorFlow {lock['tensorflow']} is built with" in page
    # Installing it over `make setup` changes no version.
    everything = pinned("requirements.txt")
    assert {name: everything[name] for name in lock if name in everything}.items() <= lock.items()
    assert [name for name in lock if name not in everything and not name.startswith("nvidia-")] == []
