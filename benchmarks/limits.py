"""Measure the upper bound of a worker's speed: the interpreter alone, and decoding plus the interpreter.

Both use one thread per core, each with a single-threaded interpreter of its own and batches of eight, and share no
state.  Of the variants tried this is the fastest (others: one interpreter with a thread per core, decoding before each
call or ahead of it in a pool), since no core waits for another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from app_tier.bundle import ModelBundle
from app_tier.classifier import preprocess
from app_tier.decode import DecodedImage

BATCH_SIZE = 8


class Limits:
    """One interpreter for each of `threads` threads.

    Args:
        decode: decodes a file's bytes to the bundle's input.
    """

    def __init__(self, bundle: ModelBundle, decode: Callable[[bytes], DecodedImage], threads: int) -> None:
        self._spec = bundle.input
        self._decode = decode
        self._interpreters = [_interpreter(bundle) for _ in range(threads)]

    def bare_seconds(self, photos: Sequence[bytes], count: int) -> float:
        """The time for `count` images whose tensors are prepared in advance."""
        tensor = self._prepare([self._decode(body).pixels for body in photos[:BATCH_SIZE]])

        def run(interpreter: Interpreter, share: int) -> None:
            for start in range(0, share, BATCH_SIZE):
                _classify(interpreter, tensor[: min(BATCH_SIZE, share - start)])

        return self._timed(run, count)

    def seconds(self, photos: Sequence[bytes], count: int) -> float:
        """The time for `count` images, decoded from the bytes of `photos`, which are repeated as often as needed."""

        def run(interpreter: Interpreter, share: int) -> None:
            for start in range(0, share, BATCH_SIZE):
                batch = range(start, min(start + BATCH_SIZE, share))
                _classify(interpreter, self._prepare([self._decode(photos[n % len(photos)]).pixels for n in batch]))

        return self._timed(run, count)

    def _timed(self, run: Callable[[Interpreter, int], None], count: int) -> float:
        share = count // len(self._interpreters)
        with ThreadPoolExecutor(len(self._interpreters)) as pool:
            started = time.perf_counter()
            list(pool.map(run, self._interpreters, [share] * len(self._interpreters)))
            seconds = time.perf_counter() - started
        return seconds * count / (share * len(self._interpreters))

    def _prepare(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        tensor = np.empty((len(images), self._spec.height, self._spec.width, 3), np.float32)
        preprocess(images, self._spec, tensor)
        return tensor


def _interpreter(bundle: ModelBundle) -> Interpreter:
    interpreter = Interpreter(model_path=str(bundle.model_path), num_threads=1)
    shape = [BATCH_SIZE, bundle.input.height, bundle.input.width, 3]
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], shape)
    interpreter.allocate_tensors()
    interpreter.invoke()
    return interpreter


def _classify(interpreter: Interpreter, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    index = interpreter.get_input_details()[0]["index"]
    if interpreter.get_input_details()[0]["shape"][0] != len(tensor):
        interpreter.resize_tensor_input(index, tensor.shape)
        interpreter.allocate_tensors()
    interpreter.set_tensor(index, tensor)
    interpreter.invoke()
    answer: NDArray[np.float32] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return answer
