"""Wrong input to each command: one sentence, exit status 2, and nothing slow before it.

Each command has an entry in `WRONG`; a new one without an entry fails the test.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import click
import pytest
from click.testing import CliRunner

from cli import main
from core import stack_registry
from local_cloud.stack import LocalStack
from tests.unit.test_cli import COMMANDS

LEAVES = [" ".join(path) for path, command in COMMANDS.items() if not isinstance(command, click.Group)]
# What takes seconds to import, and what wrong input needs none of.
SLOW = ("tensorflow", "keras", "moto", "torch", "matplotlib", "cv2", "playwright")
# Modules of these that have imported one of those are imported anew.
OURS = ("training", "evaluation", "simulation", "local_cloud", "benchmarks")

# The working directory has these: the photo `a.jpg`; the folder `photos` with it; `empty`, an empty folder; `text.txt`,
# a text; `model`, a folder that is no model bundle; `run`, one that is no training run.  `nowhere` does not exist.
# A first word VARIABLE=value is an environment variable.
WRONG: dict[str, tuple[str, ...]] = {
    "stacks": ("--env", "text.txt", "EIC_LOCAL_STACK=no-port --env"),
    "up": ("--model nowhere", "--port 99999", "--boot-seconds soon", "EIC_MAX_SIZE=many ", "--model model"),
    "demo": ("--images nowhere", "--images empty", "--json nowhere/a.json", "--model nowhere", "--json empty",
             "--report nowhere/a.html"),
    "classify": ("", "nowhere", "a.jpg", "--url http://127.0.0.1:1 empty", "--url nowhere a.jpg",
                 "--url http://127.0.0.1:1 --output nowhere/a.csv a.jpg"),
    "bulk start": ("", "photos --output s3://labels/", "s3://photos", "s3://photos --output labels",
                   "s3://photos --output s3://labels/ --columns size", "s3://photos/a/ --output s3://photos",
                   "--manifest nowhere.csv --output s3://labels/", "--manifest text.txt --output s3://labels/",
                   "--manifest truth.csv --output s3://labels/", "s3://photos --output s3://labels/",
                   "EIC_LOCAL_STACK=1 s3://photos --output s3://labels/"),
    "bulk list": ("", "--json", "EIC_LOCAL_STACK=1 "),
    "bulk status": ("", "a-run", "EIC_LOCAL_STACK=1 a-run"),
    "bulk watch": ("", "a-run", "EIC_CLOUD=azure a-run"),
    "bulk cancel": ("", "a-run", "EIC_LOCAL_STACK=1 a-run"),
    "bulk resume": ("", "a-run", "EIC_CLOUD=azure a-run"),
    "watch": ("", "EIC_CLOUD=azure ", "EIC_LOCAL_STACK=1 "),
    "controller": ("", "EIC_MAX_SIZE=many ", "EIC_LOCAL_STACK=1 --dry-run"),
    "fleet": ("--once", "--json", "EIC_LOCAL_STACK=1 "),
    "dlq list": ("", "--limit 0", "--json"),
    "dlq redrive": ("", "--limit many", "EIC_LOCAL_STACK=1 "),
    "dlq delete": ("", "--all --not-jobs", "--all --yes", "a-key --limit 0"),
    "model add": ("nowhere", "model", "text.txt", "empty"),
    "model list": ("", "--json", "EIC_CLOUD=azure "),
    "model promote": ("", "a@1", "EIC_LOCAL_STACK=1 a@1"),
    "model rollback": ("", "a@1", "EIC_CLOUD=azure "),
    "model view": ("", "model --labels dogs --to new", "nowhere --labels dogs --to a", "model --labels cats --to new"),
    "model shadow": ("", "a@1", "a@1 --share 2"),
    **{f"model build {name}": ("--weights nowhere", "--to empty", "--calibration nowhere", "--calibration-photos 0",
                               "--to new --calibration empty")
       for name in ("imagenet", "efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")},
    "rollout abort": ("", "a@1", "EIC_LOCAL_STACK=1 "),
    "rollout start": ("", "--model a@1", "--image ami-1"),
    "rollout status": ("", "--json", "EIC_CLOUD=azure "),
    "token create": ("", "--owner a --scope all", "--owner a", "--owner a --expires-days 0"),
    "token list": ("", "--json", "EIC_LOCAL_STACK=1 "),
    "token revoke": ("", "abc", "EIC_CLOUD=azure abc"),
    "data": ("", "nowhere", "empty", "text.txt", "photos --report nowhere/a.html", "photos --augmented a.gif"),
    "train": ("", "nowhere", "empty", "text.txt", "photos --augment dance", "photos --weights nowhere",
              "--resume nowhere", "--resume run", "photos --out text.txt", "--download cifar10",
              "data --download mnist"),
    "tune": ("", "nowhere", "empty", "photos --weights nowhere", "--resume run", "photos --trials 0", "a.jpg --kind x"),
    "distil": ("", "nowhere --teacher model", "photos --teacher model", "photos --teacher nowhere", "--resume run",
               "empty --teacher model"),
    "evaluate": ("", "--images empty", "--images photos --bundle model", "--images photos --json nowhere/a.json",
                 "--images photos --truth text.txt"),
    "compare": ("", "nowhere", "empty", "model", "run --images photos", "photos --output a.txt"),
    "export": ("nowhere --to new", "run --to new", "run --to empty", "run"),
    "image build": ("", "--instance-profile p", "--instance-profile p --architecture vax"),
    "image list": ("", "--json", "AWS_REGION=eu-central-1 "),
    "image prune": ("", "--keep -1", "AWS_PROFILE=absent --yes"),
    "doctor": ("", "--aws --parameter a", "--aws", "AWS_REGION=eu-central-1 --aws --json"),
    "deploy": ("--dry-run", "--parameter a", "AWS_REGION=eu-central-1 --yes", "--allow 198.51.100.7",
               "AWS_REGION=eu-central-1 --simple --allow here"),
    "status": ("", "--env", "AWS_PROFILE=absent "),
    "destroy": ("--yes", "--images extra", "AWS_REGION=eu-central-1 --yes"),
    "costs": ("--images -1", "--instance-type z9.mega", "--images-per-second 0", "--image-bytes small"),
    "bench bulk": ("--images nowhere", "--images empty", "--repeat 0", "--json nowhere/a.json"),
    "bench course": ("--requests 0", "--max-size 0", "--json nowhere/a.json", "--json empty"),
    "bench groups": ("", "--images photos --truth text.txt --bundle model",
                     "--images photos --truth nowhere --bundle model",
                     "--images photos --truth truth.csv --bundle model"),
    "bench page": ("--images 0", "--workers -1", "--json nowhere/a.json"),
    "bench rollout": ("--workers 0", "--rate 0", "--steady-seconds -1", "--json nowhere/a.json"),
    "bench scale": ("--json nowhere/a.json", "--json empty", "--quick photos"),
    "bench web": ("--images nowhere", "--images empty", "--rounds 0", "--json nowhere/a.json"),
    "bench web-limits": ("--json nowhere/a.json", "--json empty", "extra"),
    "bench worker": ("--images nowhere", "--images empty", "--bundle model", "--repeat 0", "--json nowhere/a.json"),
    "simulate": ("--trace nothing", "--trace text.txt", "--profile slow", "--json nowhere/a.json",
                 "--picture nowhere/a.png", "--picture a.xyz"),
    "chaos": ("--photos 0", "--images nowhere", "--images empty", "--timeout 0", "--json nowhere/a.json"),
    "screenshots": ("--out text.txt", "--out text.txt/a", "extra"),
}  # fmt: skip


def test_every_command_has_wrong_input_to_refuse() -> None:
    assert set(WRONG) == set(LEAVES)
    assert [name for name, inputs in WRONG.items() if len(set(inputs)) < 3] == []


class Forbidden(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the slow packages, so that they count as installed, and fails where one is imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self) if name.partition(".")[0] in SLOW else None

    def exec_module(self, module: ModuleType) -> None:
        raise AssertionError(f"{module.__name__} was imported")


def _uses_a_slow_package(module: ModuleType) -> bool:
    names = (
        each.__name__ if isinstance(each, ModuleType) else each.__module__ if isinstance(each, type) else ""
        for each in vars(module).values()
    )
    return any(name.partition(".")[0] in SLOW for name in names)


@pytest.fixture
def nothing_slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets a command import no slow package, start no process and no stack."""
    for name, module in list(sys.modules.items()):
        package = name.partition(".")[0]
        if package in SLOW or (package in OURS and _uses_a_slow_package(module)):
            monkeypatch.delitem(sys.modules, name)

    def refuse(*arguments: object, **_: object) -> NoReturn:
        raise AssertionError(f"{arguments} was started")

    monkeypatch.setattr(sys, "meta_path", [Forbidden(), *sys.meta_path])
    monkeypatch.setattr(LocalStack, "__enter__", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def folder(tmp_path: Path, photos: list[tuple[Path, str]], monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("photos", "empty", "model", "run"):
        (tmp_path / name).mkdir()
    for name in ("a.jpg", "photos/a.jpg"):
        (tmp_path / name).write_bytes(photos[0][0].read_bytes())
    (tmp_path / "text.txt").write_text("no picture\n")
    (tmp_path / "truth.csv").write_text("file,label\na.jpg,tabby\n")
    (tmp_path / "model" / "readme").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stack_registry, "state_folder", lambda environment: tmp_path)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize(("command", "line"), [(name, line) for name, lines in WRONG.items() for line in lines])
def test_wrong_input_is_refused_in_one_sentence(
    command: str, line: str, folder: Path, nothing_slow: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = line.split()
    while words and words[0].partition("=")[0].isupper():
        monkeypatch.setenv(*words.pop(0).split("=", 1))
    result = CliRunner().invoke(main, [*command.split(), *words])
    assert isinstance(result.exception, SystemExit), result.exc_info
    assert result.exit_code == 2, result.output
    # Click's own errors have two lines of help before the sentence; what is waited for may be named, too.
    said = [
        one
        for one in result.output.splitlines()
        if one and not one.startswith(("Usage: ", "Try 'main", "Using ")) and not one.endswith(" …")
    ]
    assert len(said) == 1 and said[0].startswith("Error: "), result.output
    assert "Traceback" not in result.output and "  [" not in said[0]
