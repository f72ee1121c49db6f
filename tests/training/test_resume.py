"""`elastic train` as a process that is killed, and goes on."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from core.paths import REPOSITORY_ROOT

pytest.importorskip("tensorflow", reason="TensorFlow, which training needs, is not installed")

from cli.train import train
from core.errors import TrainingError
from tests.training.helpers import write_shapes
from training.checkpoints import load_progress
from training.run_folder import read_run

pytestmark = pytest.mark.acceptance


def _command(*arguments: Any) -> list[str]:
    return [sys.executable, "-c", "from cli import main; main()", "train", *map(str, arguments)]


def test_a_killed_training_goes_on_where_it_was(tmp_path: Path) -> None:
    shapes = write_shapes(tmp_path / "shapes", 40)
    run, cache = tmp_path / "run", tmp_path / "cache"
    options = ("--architecture", "cifar-cnn", "--side", 16, "--batch-size", 16, "--precision", "float32")
    # Momentum and the schedule's step are state; so many epochs that it cannot end before it is killed.
    process = subprocess.Popen(
        _command(shapes, *options, "--epochs", 2000, "--patience", 0, "--out", run, "--cache", cache),
        cwd=REPOSITORY_ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while not list(run.glob("checkpoints/epoch-000[2-9]")):
            assert process.poll() is None and time.monotonic() < deadline, "no second epoch"
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = load_progress(run)[0].epochs_done
    assert done >= 2
    # The end comes nearer, so that the test ends; all else is as it was.
    described = json.loads((run / "run.json").read_text())
    assert described["status"] == "running"
    described["hyperparameters"]["epochs"] = done + 1
    (run / "run.json").write_text(json.dumps(described))
    finished = CliRunner().invoke(train, ["--resume", str(run), "--cache", str(cache)])
    assert finished.exit_code == 0, finished.output
    assert f"{done} epochs done" in finished.output
    history = read_run(run)["history"]
    assert [entry["epoch"] for entry in history] == list(range(1, done + 2))
    # The optimizer went on counting: at its last step the cosine is at its end.
    assert history[-1]["learning_rate"] < history[-2]["learning_rate"] / 100
    with np.load(run / "checkpoints" / f"epoch-{done + 1:04d}" / "optimizer.npz") as state:
        assert int(state["arr_0"]) == (done + 1) * math.floor(described["dataset"]["train"] / 16)

    described["dataset"]["train"] -= 1
    (run / "run.json").write_text(json.dumps(described))
    changed = CliRunner().invoke(train, ["--resume", str(run), "--cache", str(cache)])
    assert isinstance(changed.exception, TrainingError) and "has changed since the run began" in str(changed.exception)

    (run / "run.json").write_text(json.dumps({**described, "status": "finished"}))
    again = CliRunner().invoke(train, ["--resume", str(run)])
    assert isinstance(again.exception, TrainingError) and "is finished" in str(again.exception)
