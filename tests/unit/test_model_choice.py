"""The local stack's model: ImageNet's labels, the download and build of their bundle, and the shipped fallback."""

from __future__ import annotations

import hashlib
import json
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

import cli
from core.errors import BundleError, ExportError
from core.paths import REPOSITORY_ROOT
from local_cloud import model_choice
from local_cloud.model_choice import bundle_folder, choose_model, is_reachable, label_count
from local_cloud.stack import LocalStack
from tests.bundles import SHIPPED
from tests.serving import serving, sha256, silent_port
from training.download import download

# keras.src.applications.imagenet_utils: the `file_hash` of imagenet_class_index.json.
KERAS_CLASS_INDEX_MD5 = "c2c37ea517e94d9795004a39431a14cb"


def test_the_names_are_those_of_keras_in_its_order() -> None:
    lines = (REPOSITORY_ROOT / "training" / "imagenet_classes.txt").read_text("utf-8").splitlines()
    index = {str(number): line.split(" ", 1) for number, line in enumerate(lines)}
    assert hashlib.md5(json.dumps(index).encode()).hexdigest() == KERAS_CLASS_INDEX_MD5


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def test_a_download_is_checked_reported_and_not_repeated(tmp_path: Path) -> None:
    content = b"weights" * 200_000
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "w.h5").write_bytes(content)
    file, steps = tmp_path / "cache" / "w.h5", []
    with serving(tmp_path / "served") as address:
        download(f"{address}/w.h5", sha256(content), file, lambda done, total: steps.append((done, total)))
    assert file.read_bytes() == content
    assert steps == sorted(steps) and len(steps) > 1 and steps[-1] == (len(content), len(content))
    # The server is gone: what is there already is not fetched again.
    download(f"{address}/w.h5", sha256(content), file)


@pytest.mark.parametrize(
    ("name", "expected", "sentence"),
    [
        ("w.h5", sha256(b"other"), "is not the expected file"),
        ("missing.h5", sha256(b"x"), "cannot be downloaded: 404"),
        ("w.h5", "quick:12", "is not a hash of the form"),
        ("w.h5", "md5", "is not a hash of the form"),
    ],
)
def test_a_bad_download_leaves_nothing(tmp_path: Path, name: str, expected: str, sentence: str) -> None:
    (tmp_path / "w.h5").write_bytes(b"x" * 1000)
    with serving(tmp_path) as address, pytest.raises(ExportError, match=sentence):
        download(f"{address}/{name}", expected, tmp_path / "cache" / "w.h5")
    assert not list((tmp_path / "cache").glob("*")) if (tmp_path / "cache").exists() else True


def test_a_server_is_reachable_only_if_it_has_the_file_and_answers(tmp_path: Path) -> None:
    (tmp_path / "w.h5").write_bytes(b"x")
    with serving(tmp_path) as address:
        assert is_reachable(f"{address}/w.h5")
        assert not is_reachable(f"{address}/other.h5")
    assert not is_reachable(f"http://127.0.0.1:{closed_port()}/w.h5")
    assert not is_reachable("not an address")
    with silent_port() as port:
        # Without the limit it would wait for ever.
        assert not is_reachable(f"http://127.0.0.1:{port}/w.h5", within_seconds=0.3)


def chosen(environment: dict[str, str]) -> tuple[Path, list[str]]:
    reported: list[str] = []
    return choose_model(environment, reported.append), reported


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    address = f"http://127.0.0.1:{closed_port()}/w.h5"
    return {"XDG_CACHE_HOME": str(tmp_path), "EIC_IMAGENET_WEIGHTS_URL": address}


def test_a_named_bundle_is_taken_without_a_question(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = bundle_folder(environment, "mine")
    own = tmp_path / "here" / "own"
    for folder in (built, own):
        folder.mkdir(parents=True)
    monkeypatch.chdir(own.parent)
    for named, found in {
        str(own): own,
        "own": own,  # relative to the working directory
        "models/resnet50-imagenet": SHIPPED,  # relative to the program's
        "resnet50-imagenet": SHIPPED,
        "mine": built,
    }.items():
        assert chosen({**environment, "EIC_MODEL_BUNDLE": named}) == (found, [])
        assert choose_model(environment, print, named) == found
    with pytest.raises(BundleError, match=r"no model bundle /nope; .*: mine, resnet50-imagenet"):
        chosen({**environment, "EIC_MODEL_BUNDLE": "/nope"})


def test_switched_off_it_is_the_shipped_one(environment: dict[str, str]) -> None:
    bundle_folder(environment).mkdir(parents=True)
    assert chosen({**environment, "EIC_IMAGENET_WEIGHTS_URL": "off"}) == (SHIPPED, [])


def test_what_was_built_is_used(environment: dict[str, str]) -> None:
    bundle_folder(environment).mkdir(parents=True)
    assert chosen(environment) == (bundle_folder(environment), [])


def test_without_a_network_one_line_gives_the_reason_and_another_a_substitute(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    bundle, (sentence, hint) = chosen(environment)
    assert bundle == SHIPPED and f"{label_count(SHIPPED)} labels" in sentence and "does not answer" in sentence
    assert "`elastic model build efficientnet-lite2` builds it" in hint
    built = bundle_folder(environment, "efficientnet-lite2-imagenet")
    built.mkdir(parents=True)
    assert chosen(environment)[1][1].endswith(f"EIC_MODEL_BUNDLE={built}")


def test_without_tensorflow_nothing_is_asked_for(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(model_choice, "is_reachable", lambda url: pytest.fail("the network was asked"))
    bundle, (sentence, _hint) = chosen(environment)
    assert bundle == SHIPPED and "make setup" in sentence


@pytest.mark.parametrize("status", [0, 1])
def test_imagenets_bundle_is_built_first_if_its_weights_are_available(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    commands: list[list[str]] = []

    def build(command: list[str], **_: Any) -> SimpleNamespace:
        commands.append(command)
        return SimpleNamespace(returncode=status)

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(model_choice, "is_reachable", lambda url: True)
    monkeypatch.setattr("subprocess.run", build)
    bundle, reported = chosen(environment)
    assert commands == [[sys.executable, "-m", "cli", "model", "build", "imagenet"]]
    assert bundle == (SHIPPED if status else bundle_folder(environment))
    assert ("failed" in reported[-1]) == bool(status)


def test_a_folder_that_is_no_bundle_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        label_count(tmp_path)


def test_without_tensorflow_building_is_refused_before_the_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    answer = CliRunner().invoke(cli.main, ["model", "build", "imagenet"])
    assert answer.exit_code == 1 and "make setup" in answer.output and not list(tmp_path.iterdir())


@pytest.mark.parametrize("by_option", [True, False])
@pytest.mark.parametrize("command", ["up", "demo"])
@pytest.mark.parametrize(("model", "sentence"), [("/nope", "there is no model bundle /nope"), ("docs", "docs")])
def test_a_model_that_cannot_be_used_is_refused_before_anything_starts(
    command: str, model: str, sentence: str, by_option: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalStack, "__enter__", pytest.fail)
    if not by_option:
        monkeypatch.setenv("EIC_MODEL_BUNDLE", model)
    answer = CliRunner().invoke(cli.main, [command, *(["--model", model] if by_option else [])])
    assert answer.exit_code == 2 and sentence in answer.stderr
