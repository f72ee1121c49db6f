"""``python -m app_tier.smoke_test BUNDLE``: one image through decoder and model, with all of a worker's imports.

For whoever made a machine to see that a worker can run on it; needs no cloud.  Prints the answer; status 1 and one
sentence where something is missing.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from app_tier.__main__ import decoder_for  # with it comes all that a worker imports
from app_tier.bundle import load_bundle
from app_tier.classifier import Classifier
from app_tier.self_test import smoke_test
from aws.clients import Clients
from core.errors import ElasticError
from core.settings import Settings

# Clients that a worker opens; creating one reads the service's description.
SERVICES = ("cloudwatch", "s3", "sqs")
_REGION = "us-east-1"


def main(arguments: list[str]) -> int:
    """Classifies a gradient; returns the exit status."""
    if len(arguments) != 1:
        print("usage: python -m app_tier.smoke_test BUNDLE", file=sys.stderr)
        return 2
    started = time.perf_counter()
    try:
        answer = classify_one(Path(arguments[0]))
        os.environ.setdefault("AWS_DEFAULT_REGION", _REGION)
        clients = Clients()
        for service in SERVICES:
            clients[service]
    except ElasticError as error:
        print(f"a worker cannot run here: {error}", file=sys.stderr)
        return 1
    print(f"a worker can run here: it says {answer!r} after {time.perf_counter() - started:.2f} s")
    return 0


def classify_one(folder: Path) -> str:
    """The label that the bundle in `folder` gives to a made image.

    Raises:
        ElasticError: the bundle cannot be used.
    """
    bundle = load_bundle(folder)
    return smoke_test(Classifier(bundle, 1, 1), decoder_for(bundle, Settings()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
