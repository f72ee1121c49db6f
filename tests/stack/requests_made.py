"""``python -m tests.stack.requests_made``: count the requests to AWS of a stack, idle and for each image.

The tiers run on the emulator with the intervals that they have on AWS; with ``--simple`` those of the simple
deployment.  docs/reference/costs.md multiplies the counts with prices.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from api_client.client import ApiClient
from cli.deploy import deploy
from cli.token import token
from controller.housekeeping.pace import QUIET_AFTER_SECONDS
from infra import template
from infra.outputs import settings_of
from local_cloud.sample_photos import from_packages, make_crops
from tests.stack.emulated import emulated, emulated_simple
from tests.stack.world import Account, Tiers

_NAME = "photos"
Counts = Counter[tuple[str, str]]


def main() -> None:
    """Prints a table for an idle stack and one for images."""
    parser = argparse.ArgumentParser(prog="python -m tests.stack.requests_made", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--idle-seconds", type=float, default=120.0, help="0: count the images' requests alone")
    parser.add_argument("--simple", action="store_true", help="of the deployment of `elastic deploy --simple`")
    parser.add_argument(
        "--worker-settings",
        default="",
        metavar="EIC_…=…,…",
        help="the stack's parameter, such as EIC_RESULTS_PER_OBJECT=20",
    )
    options = parser.parse_args()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(template, "text", emulated)
        patch.setattr(template, "simple_text", emulated_simple)
        patch.setattr("cli.deploy_simple.state_folder", lambda environment: Path(folder))
        account = Account(patch)
        workers = {"WorkerSettings": options.worker_settings} if options.worker_settings else {}
        parameters = account.parameters(MaxWorkers="1", **workers)
        if options.simple:
            parameters = [*account.simple_parameters(MaxWorkers="1"), "--image", account.image_id]
        CliRunner().invoke(deploy, ["--stack-name", _NAME, "--yes", *parameters], catch_exceptions=False)
        outputs = _outputs(account)
        tiers = Tiers(account, _NAME, Path(folder) / "logs", pace={}, address=outputs.get("Address", ""))
        patch.setenv("REQUESTS_CA_BUNDLE", str(tiers.certificate) if options.simple else "")
        try:
            tiers.start()
            _measure(account, tiers, options.images, options.idle_seconds, Path(folder))
        finally:
            tiers.stop()
            account.close()


def _measure(account: Account, tiers: Tiers, images: int, idle_seconds: float, folder: Path) -> None:
    counts = account.guard.counts
    if idle_seconds:
        # Neither requests of the start are counted, nor those before the controller takes the stack for idle.
        time.sleep(QUIET_AFTER_SECONDS + 10)
        before = counts.copy()
        time.sleep(idle_seconds)
        _print("idle, an hour", counts - before, 3600 / idle_seconds)
    outputs = _outputs(account)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings_of(outputs).items():
            patch.setenv(name, value)
        secret = CliRunner().invoke(token, ["create", "--owner", "alice"]).stdout.split()[0]
    api, photos = ApiClient(tiers.url, secret), make_crops(images, 1, folder, from_packages())
    before = counts.copy()
    started = time.monotonic()
    batch_id = _create_batch(tiers.url, secret, images)
    with ThreadPoolExecutor(1) as pool:
        answered = pool.submit(_watch, tiers.url, secret, batch_id)
        assert api.upload(batch_id, photos, lambda count: None) == []
        assert answered.result() == images
    seconds = time.monotonic() - started
    _print(f"{images} images in {seconds:.0f} s, for 1,000 images", counts - before, 1000 / images)


def _create_batch(url: str, secret: str, images: int) -> str:
    """Create a batch, and announce its images as the page does."""
    headers = {"Authorization": f"Bearer {secret}"}
    response = requests.post(f"{url}/api/v1/batches", json={"announced": images}, headers=headers, timeout=60)
    return str(response.json()["batch_id"])


def _watch(url: str, secret: str, batch_id: str) -> int:
    """Follow a batch as its page does, by its events, until it is complete; return the number of results."""
    results, headers = 0, {"Authorization": f"Bearer {secret}"}
    with requests.get(f"{url}/api/v1/batches/{batch_id}/events", headers=headers, stream=True, timeout=600) as stream:
        event = ""
        for line in stream.iter_lines(decode_unicode=True):
            if line.startswith("event: "):
                event = line.removeprefix("event: ")
            elif line.startswith("data: ") and event == "results":
                results += len(json.loads(line.removeprefix("data: "))["results"])
            elif line.startswith("data: ") and event == "complete":
                break
    return results


def _outputs(account: Account) -> dict[str, str]:
    (stack,) = account.clients["cloudformation"].describe_stacks(StackName=_NAME)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def _print(title: str, counts: Counts, factor: float) -> None:
    print(f"\n{title}")
    for (key, action), count in sorted(counts.items()):
        print(f"  {key:11} {action:28} {count * factor:9.1f}")


if __name__ == "__main__":
    main()
