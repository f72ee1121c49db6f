"""Which model the local stack answers with: ImageNet's 1000 labels where they can be had, else the shipped bundle."""

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

BUNDLE_NAME = "resnet50-imagenet"
OFF = "off"
REACHED_WITHIN_SECONDS = 3.0
_BUILD = "elastic model build imagenet"


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Where downloads and what is built of them are kept, as the XDG Base Directory Specification says."""
    base = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME", "~")).expanduser() / ".cache")
    return Path(base) / "elastic-image-classifier"


def bundle_folder(environment: Mapping[str, str]) -> Path:
    """Where `elastic model build imagenet` puts the bundle, and `elastic up` and `demo` look for it."""
    return cache_folder(environment) / "models" / BUNDLE_NAME


def choose_model(environment: Mapping[str, str], say: Callable[[str], None]) -> Path:
    """The bundle to answer with: the one that EIC_MODEL_BUNDLE names, ImageNet's, or the shipped one.

    ImageNet's is built now if it is not there and can be: with TensorFlow, and the server of the weights answering
    within `REACHED_WITHIN_SECONDS`.

    Args:
        say: told in one sentence why it is the shipped one.
    """
    settings = Settings.from_environment(environment)
    if PREFIX + "MODEL_BUNDLE" in environment:
        return REPOSITORY_ROOT / settings.model_bundle
    built, shipped = bundle_folder(environment), REPOSITORY_ROOT / Settings().model_bundle
    if settings.imagenet_weights_url == OFF:
        return shipped
    if not built.exists():
        if reason := _cannot_build(settings.imagenet_weights_url):
            say(f"Using the shipped model, {label_count(shipped)} labels: {reason}.")
            return shipped
        say("Getting the model with ImageNet's 1000 labels, once; Ctrl-C ends it.")
        if (
            subprocess.run([sys.executable, "-m", "cli", "model", "build", "imagenet"], cwd=REPOSITORY_ROOT).returncode
            != 0
        ):
            say(f"Using the shipped model, {label_count(shipped)} labels: `{_BUILD}` failed, as said above.")
            return shipped
    return built


def label_count(bundle: Path) -> int:
    """How many labels a bundle knows.

    Raises:
        BundleError: it is none.
    """
    try:
        return len((bundle / "labels.txt").read_text("utf-8").splitlines())
    except OSError as error:
        raise BundleError(f"the model bundle {bundle} cannot be read: {error.strerror}") from error


def is_reachable(url: str, within_seconds: float = REACHED_WITHIN_SECONDS) -> bool:
    """Whether the file's server has it and says so in time."""
    status = status_of(url, within_seconds)
    return status is not None and status < HTTPStatus.BAD_REQUEST


def _cannot_build(url: str) -> str | None:
    if importlib.util.find_spec("tensorflow") is None:
        return f"for ImageNet's 1000, `make setup` and then `{_BUILD}`"
    if not is_reachable(url):
        return f"{urlsplit(url).hostname}, which has ImageNet's 1000, does not answer"
    return None
