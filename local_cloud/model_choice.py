"""Choose the local stack's model: the one of Keras's ImageNet weights if it is available, else the shipped bundle."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from core.errors import BundleError
from core.paths import REPOSITORY_ROOT
from core.settings import PREFIX, Settings
from local_cloud.reachability import status_of

BUNDLE_NAME = "resnet50-keras"
OFF = "off"
REACHED_WITHIN_SECONDS = 3.0
_BUILD = "elastic model build imagenet"
# It answers better than the shipped model, and its weights come from the package index: docs/reference/efficientnet.md.
_SUBSTITUTE = "efficientnet-lite2"


def cache_folder(environment: Mapping[str, str]) -> Path:
    """The folder for downloads and built models, by the XDG Base Directory Specification."""
    base = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME", "~")).expanduser() / ".cache")
    return Path(base) / "elastic-image-classifier"


def bundle_folder(environment: Mapping[str, str], name: str = BUNDLE_NAME) -> Path:
    """The folder for a bundle that `elastic model build …` writes.

    `elastic up` and `elastic demo` use the one of `elastic model build imagenet`, the default.
    """
    return cache_folder(environment) / "models" / name


def choose_model(environment: Mapping[str, str], report: Callable[[str], None], named: str | None = None) -> Path:
    """Chooses the bundle to use: the one that is named or that EIC_MODEL_BUNDLE names, Keras's, or the shipped one.

    Keras's is built first if it does not exist, TensorFlow is installed and the server of the weights answers
    within `REACHED_WITHIN_SECONDS`.

    Args:
        report: called with a sentence: why the shipped bundle is used, or that Keras's is being built.
        named: a bundle's folder, or the name of a shipped or built one.

    Raises:
        BundleError: there is no bundle of that name.
    """
    settings = Settings.from_environment(environment)
    if named or PREFIX + "MODEL_BUNDLE" in environment:
        return find_bundle(environment, named or settings.model_bundle)
    built, shipped = bundle_folder(environment), REPOSITORY_ROOT / Settings().model_bundle
    if settings.imagenet_weights_url == OFF:
        return shipped
    if not built.exists():
        if reason := _cannot_build(settings.imagenet_weights_url):
            report(f"Using the shipped model, {label_count(shipped)} labels: {reason}.")
            report(_substitute(environment))
            return shipped
        report("Building the model of Keras's ImageNet weights, once; Ctrl-C ends it.")
        if (
            subprocess.run([sys.executable, "-m", "cli", "model", "build", "imagenet"], cwd=REPOSITORY_ROOT).returncode
            != 0
        ):
            report(f"Using the shipped model, {label_count(shipped)} labels: `{_BUILD}` failed, see above.")
            return shipped
    return built


def find_bundle(environment: Mapping[str, str], named: str) -> Path:
    """Finds a bundle by its folder, relative to the working directory or to the program's, or by its name.

    Raises:
        BundleError: there is none.
    """
    shipped = REPOSITORY_ROOT / "models"
    for place in (Path(named), REPOSITORY_ROOT / named, shipped / named, bundle_folder(environment, named)):
        if place.is_dir():
            return place.resolve()
    folders = (folder for folder in (shipped, cache_folder(environment) / "models") if folder.is_dir())
    names = sorted(path.name for folder in folders for path in folder.iterdir())
    raise BundleError(f"there is no model bundle {named}; give its folder, or one of these names: {', '.join(names)}")


def label_count(bundle: Path) -> int:
    """The number of a bundle's labels.

    Raises:
        BundleError: the bundle cannot be read.
    """
    try:
        return len((bundle / "labels.txt").read_text("utf-8").splitlines())
    except OSError as error:
        raise BundleError(f"the model bundle {bundle} cannot be read: {error.strerror}") from error


def is_reachable(url: str, within_seconds: float = REACHED_WITHIN_SECONDS) -> bool:
    """Whether the server has the file and answers in time."""
    status = status_of(url, within_seconds)
    return status is not None and status < HTTPStatus.BAD_REQUEST


def _substitute(environment: Mapping[str, str]) -> str:
    """A sentence: how to use a model with ImageNet's labels that needs no such server."""
    folder = bundle_folder(environment, f"{_SUBSTITUTE}-imagenet")
    if folder.exists():
        return f"{_SUBSTITUTE} answers better and is built: use it with EIC_MODEL_BUNDLE={folder}"
    return f"{_SUBSTITUTE} answers better: `elastic model build {_SUBSTITUTE}` builds it."


def _cannot_build(url: str) -> str | None:
    if importlib.util.find_spec("tensorflow") is None:
        return f"for Keras's weights, `make setup` and then `{_BUILD}`"
    if not is_reachable(url):
        return f"{urlsplit(url).hostname}, which has Keras's weights, does not answer"
    return None
