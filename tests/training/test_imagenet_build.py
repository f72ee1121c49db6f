"""`elastic model build imagenet`: from Keras's published weights to a bundle that `elastic up` uses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import cli
from app_tier.bundle import load_bundle
from core.settings import Settings
from local_cloud.model_choice import choose_model
from tests.serving import serving, sha256


def test_weights_of_another_network_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow, with which the bundle is built, is not installed")
    weights = tmp_path / "w.h5"
    weights.write_bytes(b"no weights")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    answer = CliRunner().invoke(cli.main, ["model", "build", "imagenet", "--weights", str(weights)])
    assert answer.exit_code == 1 and "does not hold the weights of Keras's ResNet-50" in answer.output


def test_from_the_server_to_a_bundle_that_up_will_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real path with weights made here, in the layout that Keras publishes: theirs cannot be had in a test.

    In float32, which takes a fraction of the time; quantization has its own tests.
    """
    pytest.importorskip("tensorflow", reason="TensorFlow, with which the bundle is built, is not installed")
    import h5py
    import keras
    from keras.src.legacy.saving import legacy_h5_format

    served = tmp_path / "served"
    served.mkdir()
    name = Settings().imagenet_weights_url.rpartition("/")[2]
    keras.utils.set_random_seed(0)
    with h5py.File(served / name, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, keras.applications.ResNet50(weights=None))
    with serving(served) as address:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("EIC_IMAGENET_WEIGHTS_URL", f"{address}/{name}")
        monkeypatch.setenv("EIC_IMAGENET_WEIGHTS_HASH", sha256((served / name).read_bytes()))
        arguments = ["model", "build", "imagenet", "--kind", "float32", "--calibration-photos", "2"]
        answer = CliRunner().invoke(cli.main, arguments)
    assert answer.exit_code == 0, answer.output

    bundle = load_bundle(choose_model({"XDG_CACHE_HOME": str(tmp_path / "cache")}, pytest.fail))
    assert bundle.full_name == "resnet50-keras@1" and len(set(bundle.labels)) == 1000
    assert bundle.labels[0] == "tench" and {"crane (bird)", "crane (machine)", "Cardigan", "cardigan"} < set(
        bundle.labels
    )
    manifest = json.loads((bundle.folder / "bundle.json").read_text())
    assert manifest["measured"]["against_float32"]["largest_probability_difference"] < 0.001
    assert len(manifest["synsets"]) == 1000
