"""Networks, their weights and optimizers, and what images go through before they are trained on."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from core.paths import REPOSITORY_ROOT

pytest.importorskip("tensorflow", reason="TensorFlow, which training needs, is not installed")

import keras
import tensorflow as tf

from core.errors import TrainingError
from tests.training.helpers import toy_config
from training import precision, weights
from training.architectures import ARCHITECTURES
from training.augment import make_augment, shrink
from training.config import AUGMENTATIONS
from training.optimizers import make_optimizer
from training.pipeline import make_batches
from training.train import plan_stages, score
from training.weights import imagenet_reachable, initialize, read_weights

CONV1_TO_CONV4 = REPOSITORY_ROOT.parent / "shared" / "data" / "resnet50-imagenet-conv1-to-conv4.npz"


@pytest.fixture(scope="module")
def resnet50() -> keras.Model:
    return ARCHITECTURES["resnet50"].build(32, 7, 0.2)


@pytest.mark.parametrize(
    ("name", "side", "parameters"),
    [
        # Keras's documentation gives 23.6, 14.7 and 21.8 million without top; the head adds classes × (features + 1).
        ("resnet50", 32, 23_587_712 + 7 * 2049),
        ("vgg16", 32, 14_714_688 + 7 * 513),
        ("inceptionv3", 75, 21_802_784 + 7 * 2049),
        ("cifar-cnn", 32, 550_624 + 7 * 129),
        ("cifar-resnet", 32, 1_072_488 + 7 * 193),
    ],
)
def test_each_architecture_gives_probabilities(name: str, side: int, parameters: int) -> None:
    model = ARCHITECTURES[name].build(side, 7, 0.2)
    assert model.input_shape == (None, side, side, 3) and model.output_shape == (None, 7)
    assert model.count_params() == parameters
    output = np.asarray(model(np.random.default_rng(1).normal(0, 60, (2, side, side, 3)).astype(np.float32)))
    assert output.dtype == np.float32 and output.sum(axis=1) == pytest.approx(1.0, abs=1e-4)


def test_too_small_an_input_is_refused() -> None:
    with pytest.raises(TrainingError, match="inceptionv3 needs at least 75 × 75"):
        ARCHITECTURES["inceptionv3"].build(64, 7, 0.2)


def test_weights_by_name_from_each_form(tmp_path: Path) -> None:
    """A network's weights, written in each form, come back into another one, layer by layer."""
    source, target = (_little("little") for _ in range(2))
    arrays = {layer.name: layer.get_weights() for layer in source.layers if layer.weights}
    np.savez(tmp_path / "w.npz", **{f"{n}/{i}": array for n, ws in arrays.items() for i, array in enumerate(ws)})
    source.save(tmp_path / "w.keras")
    _write_h5(tmp_path / "w.h5", arrays)
    for form in ("npz", "keras", "h5"):
        for layer in target.layers:
            layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])
        assert initialize(target, tmp_path / f"w.{form}") == set(arrays)
        for name, ws in arrays.items():
            assert all((a == b).all() for a, b in zip(ws, target.get_layer(name).get_weights(), strict=True))


def test_counted_names_go_by_order(tmp_path: Path) -> None:
    source = ARCHITECTURES["cifar-cnn"].build(16, 3, 0.0)
    target = ARCHITECTURES["cifar-cnn"].build(16, 5, 0.0)
    given = [(layer.name, layer.get_weights()) for layer in source.layers if layer.weights]
    _write_h5(tmp_path / "w.h5", dict(given))
    names = initialize(target, tmp_path / "w.h5")
    assert len(names) == len(given) - 1 and "labels" not in names
    assert (target.layers[2].get_weights()[0] == given[0][1][0]).all()


def test_inception_from_a_whole_model_of_keras(tmp_path: Path) -> None:
    source = keras.applications.InceptionV3(weights=None, include_top=False, input_shape=(75, 75, 3), pooling="avg")
    source.save(tmp_path / "w.h5")
    target = ARCHITECTURES["inceptionv3"].build(75, 3, 0.0)
    names = initialize(target, tmp_path / "w.h5")
    assert {layer.name for layer in target.layers if layer.weights} - names == {"labels"}
    images = np.random.default_rng(1).uniform(-127.5, 127.5, (1, 75, 75, 3)).astype(np.float32)
    features = keras.Model(target.input, target.get_layer("dropout").output)
    assert np.asarray(features(images)) == pytest.approx(np.asarray(source(images / 127.5)), abs=1e-4)


def test_new_residual_blocks_begin_small(tmp_path: Path, resnet50: keras.Model) -> None:
    kernel, bias = resnet50.get_layer("conv1_conv").get_weights()
    np.savez(tmp_path / "w.npz", **{"conv1_conv/0": kernel + 1, "conv1_conv/1": bias})
    assert initialize(resnet50, tmp_path / "w.npz") == {"conv1_conv"}
    assert (resnet50.get_layer("conv1_conv").get_weights()[0] == kernel + 1).all()
    assert np.unique(resnet50.get_layer("conv5_block3_3_bn").get_weights()[0]) == pytest.approx([0.1])
    assert np.unique(resnet50.get_layer("conv5_block3_2_bn").get_weights()[0]) == [1.0]


def test_the_published_resnet_layers_fit(resnet50: keras.Model) -> None:
    if not CONV1_TO_CONV4.is_file():
        pytest.skip("the weights of conv1 to conv4, in ../shared/data, are not there")
    names = initialize(resnet50, CONV1_TO_CONV4)
    assert {f"conv4_block6_{number}_conv" for number in (1, 2, 3)} <= names
    assert not {name for name in names if name.startswith("conv5_block2")}
    assert len(names) == len(read_weights(CONV1_TO_CONV4))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("w.h5", None, "do not exist"),
        ("w.h5", b"no weights", "cannot be read"),
        ("w.npz", b"no weights", "cannot be read"),
        ("w.pt", b"", "weights are .h5"),
    ],
)
def test_files_that_hold_no_weights(tmp_path: Path, name: str, content: bytes | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TrainingError, match=sentence):
        read_weights(tmp_path / name)


def _linked(file: h5py.File, outside: Path) -> None:
    file["layer/kernel"] = h5py.ExternalLink(str(outside), "secret")


def _softly_linked(file: h5py.File, outside: Path) -> None:
    file["layer/other"] = np.zeros(2, np.float32)
    file["layer/kernel"] = h5py.SoftLink("/layer/other")


def _stored_outside(file: h5py.File, outside: Path) -> None:
    external = [(str(outside), 0, 8)]
    file.create_dataset("layer/kernel", (2,), np.float32, external=external)


def _virtual(file: h5py.File, outside: Path) -> None:
    layout = h5py.VirtualLayout((2,), np.float32)
    layout[:] = h5py.VirtualSource(str(outside), "secret", (2,))
    file.create_virtual_dataset("layer/kernel", layout)


def _endless(file: h5py.File, outside: Path) -> None:
    file.create_dataset("layer/kernel", (1 << 40,), np.float32, chunks=(1 << 16,))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (_linked, "layer/kernel is a link"),
        (_softly_linked, "layer/kernel is a link"),
        (_stored_outside, "layer/kernel is stored in another file"),
        (_virtual, "layer/kernel is stored in another file"),
        (_endless, "have 4096 GiB, more than 4 GiB"),
    ],
)
def test_an_h5_file_reads_no_other_file_and_not_more_than_fits(
    tmp_path: Path, make: Callable[[h5py.File, Path], None], sentence: str
) -> None:
    outside = tmp_path / "outside.h5"
    with h5py.File(outside, "w") as file:
        file["secret"] = np.ones(2, np.float32)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_group("layer").attrs["weight_names"] = ["kernel"]
        file.attrs["layer_names"] = ["layer"]
        make(file, outside)
    with pytest.raises(TrainingError, match=sentence):
        read_weights(tmp_path / "w.h5")


def test_an_npz_file_that_expands_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_MAX_TOTAL_BYTES", 1_000_000)
    arrays: dict[str, Any] = {"layer/0": np.zeros(1_000_000, np.float32)}
    np.savez_compressed(tmp_path / "w.npz", **arrays)
    with pytest.raises(TrainingError, match=r"have 3\.8 MiB, more than 977 KiB"):
        read_weights(tmp_path / "w.npz")


def test_an_npz_file_with_a_pickle_is_refused(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"layer/0": np.array([object], dtype=object)}
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(TrainingError, match="cannot be read"):
        read_weights(tmp_path / "w.npz")


def test_a_keras_file_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x), keras.layers.Dense(1)])
    model.save(tmp_path / "w.keras")
    with pytest.raises(TrainingError, match=r"cannot be read: .*[Ll]ambda"):
        read_weights(tmp_path / "w.keras")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    weights: dict[str, Any] = {"conv9_conv/0": np.zeros((3, 3, 3, 8), np.float32)}
    np.savez(tmp_path / "w.npz", **weights)
    with pytest.raises(TrainingError, match="fits no layer of little"):
        initialize(_little("little"), tmp_path / "w.npz")


def test_a_server_that_never_answers_is_noticed() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        # Keras alone would wait for ever.
        assert not imagenet_reachable(url, within_seconds=0.2)


def test_downloaded_weights_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(weights, "imagenet_reachable", lambda: False)
    assert not weights.are_available("inceptionv3")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5").touch()
    assert weights.are_available("inceptionv3") and not weights.are_available("resnet50")


def test_initialized_layers_learn_more_slowly(tmp_path: Path) -> None:
    for optimizer in ("adam", "adamw", "sgd"):
        config = toy_config(
            tmp_path, optimizer=optimizer, learning_rate=0.1, initialized_learning_rate=0.001, warmup_epochs=0,
            weight_decay=0, clip_norm=0,
        )  # fmt: skip
        model = _little("little")
        before = [np.asarray(v) for v in model.trainable_variables]
        built = make_optimizer(config, model, {"first"}, epochs=1, steps_per_epoch=10)
        built.apply([tf.ones(v.shape) for v in model.trainable_variables], model.trainable_variables)
        moved = [np.abs(np.asarray(v) - b).max() for v, b in zip(model.trainable_variables, before, strict=True)]
        kernel, bias, labels_kernel, labels_bias = moved
        assert kernel == pytest.approx(bias, rel=1e-3) and labels_kernel == pytest.approx(labels_bias, rel=1e-3)
        assert labels_kernel / kernel == pytest.approx(100, rel=0.01), optimizer


def test_the_rate_warms_up_and_falls_as_a_cosine(tmp_path: Path) -> None:
    config = toy_config(tmp_path, learning_rate=0.2, warmup_epochs=2)
    optimizer = make_optimizer(config, _little("little"), set(), epochs=10, steps_per_epoch=5)
    rates = []
    for step in (0, 5, 10, 30, 50):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.1, 0.0], abs=1e-6)


@pytest.mark.parametrize(
    ("epochs", "frozen", "spans"),
    [(5, 0, [(0, 5, False)]), (5, 2, [(0, 2, True), (2, 5, False)]), (2, 2, [(0, 2, True)])],
)
def test_stages(epochs: int, frozen: int, spans: list[tuple[int, int, bool]]) -> None:
    assert [(s.first, s.end, s.frozen) for s in plan_stages(epochs, frozen)] == spans


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_augmentation_changes_each_image_in_its_own_way(name: str) -> None:
    keras.utils.set_random_seed(1)
    image = np.random.default_rng(1).integers(0, 256, (1, 36, 36, 3)).astype(np.float32)
    images = np.repeat(image, 16, axis=0)
    side = 32 if name == "crop" else 36
    changed = np.asarray(tf.function(make_augment([name], side, 1))(tf.constant(images)))
    assert changed.shape == (16, side, side, 3) and changed.min() >= 0 and changed.max() <= 255
    # A flip has two outcomes, all others a continuum.
    assert len({one.tobytes() for one in changed}) >= (2 if name == "flip" else 10)
    # A change, and still the same picture rather than noise or emptiness.
    assert changed.std() > 10


def test_colours_stay_nearly_as_saturated_as_they_are() -> None:
    """Keras takes a single number for the range from grey to it: photos lost three quarters of their colour."""
    images = np.tile(np.array([160, 120, 96], np.float32), (64, 8, 8, 1))
    changed = np.asarray(make_augment(["colour"], 8, 1)(tf.constant(images)))[:, 0, 0]
    highest, lowest = changed.max(axis=1), changed.min(axis=1)
    # Brightness changes the saturation, too; the image's own is 0.4.
    saturation = (highest - lowest) / highest
    assert 0.32 < np.median(saturation) < 0.48 and saturation.min() > 0.2


def test_no_augmentation_changes_nothing() -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3)).astype(np.float32)
    assert (np.asarray(make_augment([], 8, 1)(tf.constant(images))) == images).all()


def test_degraded_images_lose_detail() -> None:
    keras.utils.set_random_seed(1)
    stripes = np.zeros((24, 160, 160, 3), np.float32)
    stripes[:, :, ::2] = 255
    changed = np.asarray(make_augment(["degrade"], 160, 1)(tf.constant(stripes)))
    contrasts = changed.std(axis=(1, 2, 3))
    # Some images are shrunk to a third, whereby stripes of a pixel vanish; others keep their size.
    assert contrasts.min() < 40 < 110 < contrasts.max()


def test_shrinking_by_sampling_keeps_detail_as_aliasing() -> None:
    stripes = np.zeros((96, 96, 3), np.float32)
    stripes[:, ::3] = 255
    sampled, averaged = (np.asarray(shrink(tf.constant(stripes), 40, tf.constant(how))) for how in (True, False))
    assert sampled.shape == averaged.shape == (40, 40, 3)
    assert set(np.unique(sampled)) == {0, 255}
    assert sampled.std() > 1.5 * averaged.std()


def test_batches_hold_what_the_network_wants() -> None:
    pixels = np.zeros((5, 4, 4, 3), np.uint8)
    pixels[...] = np.arange(5)[:, None, None, None] * 10 + np.array([1, 2, 3])
    rows, labels = np.array([4, 0, 2]), np.array([1, 0, 1])
    batches = make_batches(pixels, rows, labels, ARCHITECTURES["resnet50"], 3, 2)
    images, targets = (np.concatenate(parts) for parts in zip(*batches.as_numpy_iterator(), strict=True))
    # BGR, without ImageNet's mean.
    assert images[:, 0, 0] == pytest.approx(
        np.array([[43, 42, 41], [3, 2, 1], [23, 22, 21]]) - [103.939, 116.779, 123.68], abs=1e-4
    )
    assert targets.tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0]]


def test_shuffled_batches_hold_each_image_once_in_another_order() -> None:
    pixels = np.broadcast_to(np.arange(50, dtype=np.uint8)[:, None, None, None], (50, 2, 2, 3))
    batches = make_batches(
        np.ascontiguousarray(pixels), np.arange(50), np.arange(50) % 2, ARCHITECTURES["cifar-cnn"], 2, 8, shuffle_seed=1
    )
    orders = [
        [round(float(v) + 125.3) for images, _ in batches.as_numpy_iterator() for v in images[:, 0, 0, 0]]
        for _ in range(2)
    ]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(50))
    assert orders[0] != orders[1] != list(range(50))


def test_scores_are_means_over_classes() -> None:
    # Two of three cats and the only dog are found, one cat is taken for a dog; cow is never predicted.
    probabilities = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 0]]
    figures = score(np.array([0, 0, 0, 1, 2]), probabilities)
    assert figures == {
        "images": 5,
        "accuracy": 0.6,
        "precision": round((2 / 3 + 1 / 2 + 0) / 3, 5),
        "recall": round((2 / 3 + 1 + 0) / 3, 5),
        "f1": round((2 / 3 + 2 / 3 + 0) / 3, 5),
    }


def test_precision_follows_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"float32": 2.0, "bfloat16": 1.0}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(precision, "_trial_seconds", lambda dtype: seconds[dtype])
    monkeypatch.setattr(precision, "_cpu_flags", lambda: {"avx2", "avx512_bf16"})
    assert precision.choose("auto") == "bfloat16"
    seconds["bfloat16"] = 3.0
    assert precision.choose("auto") == "float32"
    assert precision.choose("bfloat16") == "bfloat16"
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu"])
    for capability, expected in (((9, 0), "bfloat16"), ((7, 5), "float16"), ((6, 1), "float32")):
        details = {"compute_capability": capability}
        monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu, details=details: details)
        assert precision.choose("auto") == expected


def test_the_trial_of_a_precision_runs() -> None:
    assert all(precision._trial_seconds(dtype) > 0 for dtype in ("float32", "bfloat16"))


def _little(name: str) -> keras.Model:
    layers = [keras.layers.Dense(4, name="first"), keras.layers.Dense(2, name="labels")]
    return keras.Sequential([keras.Input((3,)), *layers], name=name)


def _write_h5(path: Path, arrays: dict[str, list[np.ndarray]]) -> None:
    """As keras.applications publishes weights: groups of layers, which name their arrays in attributes."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([name.encode() for name in ["input_1", *arrays]])
        file.create_group("input_1").attrs["weight_names"] = np.array([], dtype="S1")
        for name, values in arrays.items():
            group = file.create_group(name)
            keys = [f"{name}/weight_{number}:0" for number in range(len(values))]
            group.attrs["weight_names"] = np.array([key.encode() for key in keys])
            for key, value in zip(keys, values, strict=True):
                group[key] = value
