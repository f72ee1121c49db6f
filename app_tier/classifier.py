"""Classify images with a model bundle on LiteRT; the only module that uses its interpreter."""

from __future__ import annotations

import contextlib
import ctypes
import queue
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from app_tier.bundle import InputSpec, Member, ModelBundle
from app_tier.label_view import renormalize
from core.errors import BundleError
from core.jobs import Prediction

# Linux's advice that pages will not be needed.  Those of a file are not lost, only read again.
_MADV_DONTNEED = 4


def preprocess(images: Sequence[NDArray[np.uint8]], spec: InputSpec, out: NDArray[np.float32]) -> None:
    """Write the model's input into `out`: channels in the bundle's order, less the values that it subtracts.

    Args:
        images: uint8 RGB arrays of shape (height, width, 3).
        out: of shape (len(images), height, width, 3).
    """
    order = (2, 1, 0) if spec.channels == "BGR" else (0, 1, 2)
    for row, image in zip(out, images, strict=True):
        # Channel by channel: over all at once, numpy's inner loop has only three steps and takes three times as long.
        for position, (channel, mean) in enumerate(zip(order, spec.subtract, strict=True)):
            np.subtract(image[..., channel], np.float32(mean), out=row[..., position])


class Classifier:
    """Label images with one model bundle; thread-safe.  An ensemble's probabilities are the mean of its members'.

    Each call uses an interpreter of its own with one thread.  As many interpreters as cores classify about 7% more
    images than one interpreter with as many threads, which wait for each other at every layer.

    Args:
        bundle: the model, its labels and its input.
        interpreters: how many calls may run at a time; each needs about 40 MiB for each model of the bundle.
        top_k: the number of labels returned for each image.

    Raises:
        BundleError: the model cannot be run, or does not match the bundle's input and labels.
    """

    def __init__(self, bundle: ModelBundle, interpreters: int, top_k: int) -> None:
        self.bundle = bundle
        self.parallelism = interpreters
        self._top_k = min(top_k, len(bundle.labels))
        self._free: queue.SimpleQueue[tuple[_Network, ...]] = queue.SimpleQueue()
        for _ in range(interpreters):
            self._free.put(tuple(_Network(member, bundle.outputs) for member in bundle.members))
            for member in bundle.members:
                _release_pages(member.path)

    def probabilities(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """The probability of each label for each image.

        Args:
            images: uint8 RGB arrays of the bundle's input size, shape (height, width, 3); at least one.

        Returns:
            An array of shape (len(images), number of labels).
        """
        networks = self._free.get()
        try:
            first, *others = (network.probabilities(images) for network in networks)
            for probabilities in others:
                first += probabilities
            mean = first / np.float32(len(networks)) if others else first
        finally:
            self._free.put(networks)
        return mean if self.bundle.view is None else renormalize(mean, self.bundle.view.chosen)

    def classify(self, images: Sequence[NDArray[np.uint8]]) -> list[tuple[Prediction, ...]]:
        """The `top_k` predictions for each image, best first; see `probabilities` for `images`."""
        return [self._top(row) for row in self.probabilities(images)]

    def _top(self, probabilities: NDArray[np.float32]) -> tuple[Prediction, ...]:
        best = np.argsort(probabilities)[::-1][: self._top_k]
        return tuple(Prediction(self.bundle.labels[index], float(probabilities[index])) for index in best)


class _Network:
    """One interpreter with one model.  Not thread-safe."""

    def __init__(self, member: Member, outputs: int) -> None:
        self._spec = member.input
        try:
            self._interpreter = Interpreter(model_path=str(member.path), num_threads=1)
            self._resize(1)
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"{member.path} cannot be run: {error}") from error
        classes = int(self._interpreter.get_output_details()[0]["shape"][-1])
        if classes != outputs:
            raise BundleError(f"the model has {classes} classes, the bundle has {outputs} labels")

    def probabilities(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `Classifier.probabilities`."""
        if len(images) != self._batch_size:
            self._resize(len(images))
        # A view of the interpreter's own memory, which must not be referenced while it runs: hence no name for it here.
        preprocess(images, self._spec, self._interpreter.tensor(self._input_index)())
        self._interpreter.invoke()
        output: NDArray[np.float32] = self._interpreter.get_tensor(self._output_index)
        return output

    def _resize(self, batch_size: int) -> None:
        index = self._interpreter.get_input_details()[0]["index"]
        self._interpreter.resize_tensor_input(index, [batch_size, self._spec.height, self._spec.width, 3])
        self._interpreter.allocate_tensors()
        self._batch_size = batch_size
        self._input_index = index
        self._output_index = self._interpreter.get_output_details()[0]["index"]


def _release_pages(path: Path) -> None:
    """Return to the system the pages of a file that is mapped into memory; those that are used are read again.

    An interpreter maps its model, copies the weights in the order in which its kernels read them, and hardly reads the
    model again.
    """
    name = str(path.resolve())
    with contextlib.suppress(OSError, AttributeError):  # no Linux, or another C library
        madvise = ctypes.CDLL(None).madvise
        for line in Path("/proc/self/maps").read_text("utf-8").splitlines():
            addresses, _permissions, _offset, _device, _inode, *names = line.split(maxsplit=5)
            if names == [name]:
                start, end = (int(address, 16) for address in addresses.split("-"))
                madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)
