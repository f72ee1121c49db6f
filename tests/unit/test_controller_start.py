"""The controller checks at its start what it can know about the workers' model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from controller.__main__ import check_model
from core.cloud_choice import is_on_this_machine
from core.errors import BundleError
from core.paths import REPOSITORY_ROOT
from core.settings import Settings
from tests.bundles import SHIPPED

LOCAL = "http://127.0.0.1:4566"


@pytest.mark.parametrize(
    ("endpoint", "local"),
    [
        (LOCAL, True),
        ("http://localhost:4566", True),
        ("http://[::1]:4566", True),
        ("https://ec2.eu-central-1.amazonaws.com", False),
        ("http://10.0.0.7:4566", False),
        ("", False),
    ],
)
def test_an_embedded_cloud_is_at_an_address_of_loopback(endpoint: str, local: bool) -> None:
    assert is_on_this_machine({"AWS_ENDPOINT_URL": endpoint}) is local


@pytest.mark.parametrize(
    ("environment", "refused"),
    [
        ({"AWS_ENDPOINT_URL": LOCAL, "EIC_MODEL_BUNDLE": "/nope"}, True),
        ({"AWS_ENDPOINT_URL": LOCAL, "EIC_MODEL_BUNDLE": str(REPOSITORY_ROOT / "docs")}, True),
        ({"AWS_ENDPOINT_URL": LOCAL, "EIC_MODEL_BUNDLE": str(SHIPPED)}, False),
        # The workers' model is not known, or lies on other machines.
        ({"AWS_ENDPOINT_URL": LOCAL}, False),
        ({"EIC_MODEL_BUNDLE": "/nope", "AWS_REGION": "eu-central-1"}, False),
    ],
)
def test_a_model_that_no_worker_could_load_is_refused(
    environment: dict[str, str], refused: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    if refused:
        with pytest.raises(BundleError, match="model bundle"):
            check_model(Settings.from_environment(environment), environment)
    else:
        check_model(Settings.from_environment(environment), environment)


def test_the_controller_ends_with_a_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "controller"],
        cwd=REPOSITORY_ROOT,
        env={"AWS_ENDPOINT_URL": LOCAL, "EIC_MODEL_BUNDLE": "/nope"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and "there is no model bundle /nope" in done.stderr
    assert "Traceback" not in done.stderr
