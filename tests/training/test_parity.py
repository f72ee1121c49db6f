"""What the interpreter is fed is, to the last bit, what Keras would feed its ResNet-50."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from app_tier.bundle import ModelBundle, load_bundle
from app_tier.classifier import Classifier, preprocess
from tests.bundles import SHIPPED

PreprocessInput = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@pytest.fixture(scope="module")
def preprocess_input() -> PreprocessInput:
    """Keras's own, for all tests here: importing it takes seconds."""
    pytest.importorskip("tensorflow", reason="TensorFlow, with which Keras's preprocessing is run, is not installed")
    from keras.applications import resnet50

    function: PreprocessInput = resnet50.preprocess_input
    return function


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return load_bundle(SHIPPED)


def every_value(height: int, width: int) -> NDArray[np.uint8]:
    """Each of the 256 values in each channel, no two channels alike."""
    ramp = np.arange(height * width) % 256
    return np.stack([ramp, 255 - ramp, (ramp + 85) % 256], axis=-1).astype(np.uint8).reshape(height, width, 3)


@pytest.fixture(scope="module")
def images(bundle: ModelBundle) -> list[NDArray[np.uint8]]:
    spec = bundle.input
    noise = np.random.default_rng(0).integers(0, 256, (2, spec.height, spec.width, 3), np.uint8)
    return [every_value(spec.height, spec.width), *noise]


def test_preprocessing_is_exactly_that_of_keras(
    bundle: ModelBundle, images: list[NDArray[np.uint8]], preprocess_input: PreprocessInput
) -> None:
    batch = np.full((len(images), bundle.input.height, bundle.input.width, 3), np.nan, np.float32)
    preprocess(images, bundle.input, batch)
    np.testing.assert_array_equal(batch, preprocess_input(np.stack(images).astype(np.float32)))


def test_the_classifier_answers_what_the_bare_interpreter_answers_to_keras_preprocessing(
    bundle: ModelBundle, images: list[NDArray[np.uint8]], preprocess_input: PreprocessInput
) -> None:
    interpreter = Interpreter(model_path=str(bundle.model_path), num_threads=1)
    expected = []
    for image in images:
        interpreter.allocate_tensors()
        tensor = preprocess_input(image[None].astype(np.float32))
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tensor)
        interpreter.invoke()
        expected.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    classifier = Classifier(bundle, interpreters=1, top_k=1)
    for size in (1, 3, 2):  # the batch's size may change from call to call
        np.testing.assert_array_equal(classifier.probabilities(images[:size]), expected[:size])
