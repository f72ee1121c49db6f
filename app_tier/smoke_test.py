"""``python -m app_tier.smoke_test BUNDLE``: check that a worker can run on this machine.

One generated image is decoded and classified as every photo is, with all of a worker's imports; no cloud is needed.
Prints the label; if something is missing, prints one sentence and exits with status 1.  A model can crash the
interpreter, or take memory and time without end, so `run_apart` runs this in a process with limits.
"""

from __future__ import annotations

import io
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from app_tier.bundle import load_bundle
from app_tier.classifier import Classifier
from app_tier.decode import DecodedImage
from aws.clients import Clients
from core.errors import BundleError, ElasticError, ImageError
from core.paths import REPOSITORY_ROOT
from core.settings import Settings

# The services that a worker uses; creating a client reads the service's description.
SERVICES = ("cloudwatch", "s3", "sqs")
_REGION = "us-east-1"
_SIZE = (640, 480)
# The sum of an int8 softmax differs from 1 by a few thousandths.
_TOLERANCE = 0.05
# Of the process that tries a model: many times what a usable one takes.
_MEMORY_BYTES = 1024 * 1024 * 1024
TIMEOUT_SECONDS = 120.0
# The kernel ends the process with the highest value first when memory is short.
_OOM_SCORE = 1000


def smoke_test(classifier: Classifier, decode: Callable[[bytes], DecodedImage]) -> str:
    """Classify a gradient and return its label.

    Args:
        decode: turns a file's bytes into pixels of the model's input size.

    Raises:
        BundleError: the classifier fails, or what it returns are no probabilities.
    """
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize(_SIZE).save(file, "JPEG")
    try:
        pixels = decode(file.getvalue()).pixels
        (probabilities,) = classifier.probabilities([pixels])
    except (ImageError, ValueError, RuntimeError) as error:
        raise BundleError(f"the smoke test of {classifier.bundle.full_name} failed: {error}") from error
    total = float(probabilities.sum())
    if not math.isfinite(total) or abs(total - 1) > _TOLERANCE or float(probabilities.min()) < -_TOLERANCE:
        raise BundleError(
            f"the smoke test of {classifier.bundle.full_name} failed: its probabilities add up to {total:.3g}"
        )
    return classifier.bundle.labels[int(np.argmax(probabilities))]


def classify_one(folder: Path) -> str:
    """Load the bundle in `folder` and return the label of a generated image.

    Raises:
        ElasticError: the bundle cannot be used.
    """
    # The worker's entry point, with all that it imports; it imports this module in turn.
    from app_tier.__main__ import decoder_for

    bundle = load_bundle(folder)
    return smoke_test(Classifier(bundle, 1, 1), decoder_for(bundle, Settings()))


def run_apart(
    folder: Path,
    timeout_seconds: float = TIMEOUT_SECONDS,
    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run,
) -> str:
    """Run the smoke test of the bundle in `folder` in a process of its own; return the sentence that it prints.

    Raises:
        BundleError: the test failed, crashed, or took too long; the message says which.
    """
    try:
        done = run(
            (sys.executable, "-m", "app_tier.smoke_test", str(folder.resolve())),
            cwd=REPOSITORY_ROOT,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"the smoke test of {folder} took longer than {timeout_seconds:g} s") from error
    if done.returncode < 0:
        raise BundleError(f"the model in {folder} crashes the interpreter: signal {-done.returncode}")
    if done.returncode:
        last = (done.stderr.strip() or f"it ended with status {done.returncode}").splitlines()[-1]
        raise BundleError(last)
    return done.stdout.strip()


def _limit_this_process() -> None:
    for kind, most in ((resource.RLIMIT_DATA, _MEMORY_BYTES), (resource.RLIMIT_CORE, 0)):
        _soft, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE), "ascii")


def main(arguments: list[str]) -> int:
    """Run the smoke test; return the exit status."""
    if len(arguments) != 1:
        print("usage: python -m app_tier.smoke_test BUNDLE", file=sys.stderr)
        return 2
    started = time.perf_counter()
    try:
        label = classify_one(Path(arguments[0]))
        os.environ.setdefault("AWS_DEFAULT_REGION", _REGION)
        clients = Clients()
        for service in SERVICES:
            clients[service]
    except ElasticError as error:
        print(f"a worker cannot run here: {error}", file=sys.stderr)
        return 1
    print(f"a worker can run here: it answers {label!r} after {time.perf_counter() - started:.2f} s")
    return 0


if __name__ == "__main__":
    _limit_this_process()
    sys.exit(main(sys.argv[1:]))
