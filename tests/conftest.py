"""What all tests share: where the photos are, and images made on the spot for those that need none."""

from __future__ import annotations

import csv
import gc
import io
import itertools
import os
import resource
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from PIL import Image
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from core import stack_registry
from core.paths import REPOSITORY_ROOT
from tests.odd_images import write_odd_images

PHOTOS = REPOSITORY_ROOT / "tests" / "photos"
# Larger collections, which not every machine has.
DATA = REPOSITORY_ROOT.parent / "shared" / "data"

# No deadlines: a busy machine is no failure, and speed is measured by `benchmarks`, never by a test.
hypothesis.settings.register_profile("dev", max_examples=25, deadline=None)
hypothesis.settings.register_profile("thorough", max_examples=10_000, deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", max_examples=100, deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


LIMITED = resource.RLIMIT_AS, resource.RLIMIT_DATA, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE

# A BMP with masks of 7, 18 and 7 bits, which other decoders refuse.
READ_ALL_THE_SAME = {"not-an-image-1.bmp"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the contract tests; see `tests.contract.endpoint`."""
    parser.addoption("--endpoint", default="", help="hold the contract against this cloud: an emulator's URL, or aws")
    parser.addoption("--count-requests", action="store_true", help="print how many requests the contract tests sent")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests decide about settings and clouds themselves."""
    for name in list(os.environ):
        if name.startswith(("EIC_", "AWS_")):
            monkeypatch.delenv(name)
    # Nor does a model that this machine may have, or could download, change what they see, or a stack that runs here.
    monkeypatch.setenv("EIC_IMAGENET_WEIGHTS_URL", "off")
    monkeypatch.setattr(stack_registry, "state_folder", lambda environment: REPOSITORY_ROOT / "no-state")
    # Nor the configuration and credentials of a person who runs the tests.
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)


@pytest.fixture(scope="session", autouse=True)
def _requests_to_aws_are_listed() -> Iterator[None]:
    """A request that tests send through `aws/`, and that the list derived from the code lacks, would be unchecked."""
    from tests.requests_to_aws import recording, requests_in_code, unlisted

    with recording() as sent:
        yield
    if sent:
        assert unlisted(sent, requests_in_code()) == [], "tests/requests_to_aws.py does not find them in the code"


@pytest.fixture(autouse=True)
def _no_limit_is_left() -> Iterator[None]:
    """A limit that a test sets on this process would fail others: without memory no thread starts."""
    before = {kind: resource.getrlimit(kind) for kind in LIMITED}
    yield
    after = {kind: resource.getrlimit(kind) for kind in LIMITED}
    for kind, (soft, _hard) in before.items():
        resource.setrlimit(kind, (soft, after[kind][1]))
    assert after == before


@pytest.fixture(scope="session")
def photos() -> list[tuple[Path, str]]:
    """A dozen photos with their true labels; empty where ImageNet has no class for what a photo shows."""
    return _labelled(PHOTOS)


@pytest.fixture(scope="session")
def many_photos() -> list[tuple[Path, str]]:
    """Three hundred photos with their true labels, enough to measure a model; skips where they are not there."""
    if not (DATA / "photos").is_dir():
        pytest.skip("the collection of photos, ../shared/data/photos, is not there")
    return _labelled(DATA / "photos")


def _labelled(folder: Path) -> list[tuple[Path, str]]:
    with (folder / "truth.csv").open(newline="") as file:
        return [(folder / row["file"], row["label"].replace("_", " ")) for row in csv.DictReader(file)]


@pytest.fixture(scope="session")
def odd_images(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, bool]]:
    """Odd and malformed files, and whether each can be decoded."""
    return write_odd_images(PHOTOS / "cat.jpg", tmp_path_factory.mktemp("odd-images"))


@pytest.fixture(scope="session")
def all_odd_images(odd_images: list[tuple[Path, bool]]) -> list[tuple[Path, bool]]:
    """These, and those that were found elsewhere, in ../shared/data, where that is there."""
    found, folder = list(odd_images), DATA / "odd-images"
    if folder.is_dir():
        with (folder / "index.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        decodes = list(rows[0])[-1]
        found += [(folder / row["file"], row[decodes] == "decodes" or row["file"] in READ_ALL_THE_SAME) for row in rows]
    return found


@pytest.fixture
def make_images(tmp_path: Path) -> Callable[..., list[Path]]:
    """Writes `count` different small JPEG files; returns their paths."""

    def make(count: int, folder: str = "images", seed: int = 0) -> list[Path]:
        directory = tmp_path / folder
        directory.mkdir()
        rng = np.random.default_rng(seed)
        paths = []
        for number in range(count):
            noise = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8)).resize((160, 120))
            file = io.BytesIO()
            noise.save(file, "JPEG")
            paths.append(directory / f"image-{number:04d}.jpg")
            paths[-1].write_bytes(file.getvalue())
        return paths

    return make


# Tests of one group run in one process, one after the other, and share what is slow to start there: a stack with a
# browser, the emulator, TensorFlow.  All others are grouped by module, so that they share what its fixtures start.
GROUPS = {
    "tests/browser/test_page.py": "browser 1",
    "tests/browser/test_fleet.py": "browser 1",
    "tests/browser/": "browser 2",
    "tests/training/": "training",
    "tests/contract/test_stack.py": "contract of the stack",
    "tests/contract/": "contract",
}
# Those that take longest, which begin first; the other modules that wait for processes follow, each with three that
# compute, so that no core is idle.
FIRST = "browser 2", "browser 1", "training", "contract"


def _group(nodeid: str) -> str:
    module = nodeid.partition("::")[0]
    return next((group for prefix, group in GROUPS.items() if module.startswith(prefix)), module)


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # without types
    """pytest-xdist's scheduling by module, by group instead."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> GroupScheduling | None:
    """Let pytest-xdist send each group to one process where tests stay together (`--dist loadscope`)."""
    return GroupScheduling(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while tests are collected, a third of whose time that takes: imported modules are none."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        # Nor are they looked through again while the tests run.
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order tests by group, the groups that take longest first."""
    _make_ids_unique(items)
    groups: dict[str, list[pytest.Item]] = {name: [] for name in FIRST}
    for item in items:
        groups.setdefault(_group(item.nodeid), []).append(item)
    ordered = [groups.pop(name) for name in FIRST]
    waiting: list[list[pytest.Item]] = []
    computing: list[list[pytest.Item]] = []
    for group in groups.values():
        (waiting if group[0].get_closest_marker("acceptance") else computing).append(group)
    while waiting:
        ordered += [waiting.pop(0), *computing[:3]]
        del computing[:3]
    items[:] = itertools.chain.from_iterable(ordered + computing)


def _make_ids_unique(items: list[pytest.Item]) -> None:
    """Give Schemathesis's tests of one function, one for each operation of the API, an id each.

    pytest-xdist knows tests by their ids, and runs only one of those that share one.

    Raises:
        UsageError: other tests share an id.
    """
    for item in items:
        if operation := getattr(item, "operation_label", None):
            item._id = item.id.with_params(operation)
    shared = [nodeid for nodeid, count in Counter(item.nodeid for item in items).items() if count > 1]
    if shared:
        raise pytest.UsageError(f"of tests that share an id only one would be run: {', '.join(shared)}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape lone surrogates in captured output: pytest-xdist sends reports between processes as UTF-8."""
    report = yield
    report.sections = [(title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections]
    return report
