"""Run one worker on an in-memory queue until the queue is empty."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from app_tier.__main__ import IO_THREADS_PER_CORE
from app_tier.bundle import ModelBundle
from app_tier.decode import DecodedImage, DecodeLimits, decode_file
from app_tier.stages import Labeller
from app_tier.worker import Worker, WorkerOptions
from aws.in_memory.load import CountingResultStore, GeneratedJobQueue, RepeatedImageStore
from core.errors import ElasticError
from core.settings import Settings


def decoder(bundle: ModelBundle, settings: Settings) -> Callable[[bytes], DecodedImage]:
    """Returns a function that decodes a file's bytes to the bundle's input, as the worker does."""
    return functools.partial(
        decode_file,
        height=bundle.input.height,
        width=bundle.input.width,
        limits=DecodeLimits(settings.max_image_bytes, settings.max_image_pixels, settings.max_aspect_ratio),
    )


def drain(
    bundle: ModelBundle,
    labeller: Labeller,
    settings: Settings,
    photos: Sequence[bytes],
    count: int,
    on_deleted: Callable[[int], None] = lambda deleted: None,
) -> float:
    """Seconds from a worker's start, with its model loaded, until the last of `count` results is stored.

    Args:
        photos: the images, repeated as often as needed.
        on_deleted: called with the number of messages deleted so far, at each deletion.

    Raises:
        ElasticError: an image was not classified.
    """
    queue: Any = GeneratedJobQueue(count, on_deleted)
    images: Any = RepeatedImageStore(photos)
    results: Any = CountingResultStore(count)
    options = WorkerOptions(
        worker_id="benchmark",
        model=bundle.full_name,
        visibility_timeout_seconds=settings.visibility_timeout_seconds,
        receive_wait_seconds=settings.receive_wait_seconds,
        io_threads=settings.io_threads or IO_THREADS_PER_CORE * (os.cpu_count() or 1),
        inference_batch_size=settings.inference_batch_size,
        max_jobs_in_hand=settings.max_jobs_in_hand,
        shutdown_grace_seconds=settings.shutdown_grace_seconds,
    )
    worker = Worker(queue, images, results, decoder(bundle, settings), labeller, options)
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    started = time.perf_counter()
    thread.start()
    queue.done.wait()
    stop.set()
    thread.join()
    if results.failed:
        raise ElasticError(f"{results.failed} of {count} images could not be classified")
    seconds: float = results.complete_at - started
    return seconds
