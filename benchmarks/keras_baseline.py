"""Baseline of the worker benchmark: Keras in a process of its own, with one `predict` call for each message.

The same architecture and input size in Keras, with random weights: they do not affect the time.  Images are read as in
the examples of Keras's documentation, with `load_img` and `img_to_array`.  Queue and stores are in memory, so that only
the inference and its input pipeline differ.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np

from app_tier.bundle import ModelBundle
from aws.in_memory.load import CountingResultStore, GeneratedJobQueue, RepeatedImageStore
from aws.queue import ReceivedJob
from core.jobs import ClassificationResult, Prediction

# State of the child process.
_loaded: dict[str, Any] = {}


def is_installed() -> bool:
    """Whether TensorFlow, a development dependency, is installed."""
    return importlib.util.find_spec("tensorflow") is not None


class KerasBaseline:
    """A process with the Keras network; a context manager.

    Args:
        photos: the images, repeated as often as needed.
    """

    def __init__(self, bundle: ModelBundle, photos: Sequence[bytes]) -> None:
        self._pool = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=_load, initargs=(bundle, photos)
        )

    def __enter__(self) -> KerasBaseline:
        self._pool.submit(_drain, 1).result()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def seconds(self, count: int) -> float:
        """The time for `count` images."""
        return self._pool.submit(_drain, count).result()


def _load(bundle: ModelBundle, photos: Sequence[bytes]) -> None:
    # TensorFlow logs to standard error on import, whatever its log level; failures come as exceptions.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    from keras.applications import resnet50
    from keras.utils import img_to_array, load_img

    spec = bundle.input
    _loaded["model"] = resnet50.ResNet50(
        weights=None, classes=len(bundle.labels), input_shape=(spec.height, spec.width, 3)
    )
    _loaded["preprocess"] = resnet50.preprocess_input
    _loaded["labels"] = bundle.labels
    _loaded["read"] = lambda body: img_to_array(load_img(BytesIO(body), target_size=(spec.height, spec.width)))
    _loaded["photos"] = photos


def _drain(count: int) -> float:
    queue, images, results = GeneratedJobQueue(count), RepeatedImageStore(_loaded["photos"]), CountingResultStore(count)
    started = time.perf_counter()
    for _ in range(count):
        for delivery in queue.receive(1, wait_seconds=0):
            _answer(delivery, images, results)
            queue.delete([delivery.receipt_handle])
    return time.perf_counter() - started


def _answer(delivery: ReceivedJob, images: RepeatedImageStore, results: CountingResultStore) -> None:
    if (job := delivery.job) is None:
        raise ValueError("the in-memory queue holds only jobs")
    pixels = _loaded["read"](images.get(job.key))
    tensor = _loaded["preprocess"](np.expand_dims(pixels, 0))
    probabilities = _loaded["model"].predict(tensor, verbose=0)[0]
    best = int(probabilities.argmax())
    prediction = Prediction(_loaded["labels"][best], float(probabilities[best]))
    results.put(ClassificationResult(key=job.key, name=job.name, predictions=(prediction,)))
