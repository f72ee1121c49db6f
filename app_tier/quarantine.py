"""Quarantine: decode suspect images in a separate process.

A job that is delivered again may have been in hand when its worker crashed, and its image may be the reason: too little
memory, or a defect of a codec.  Decoded here, such an image crashes the child process instead of the worker: the other
jobs in hand are answered, and this one reaches the dead-letter queue.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import resource
import signal
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor

from app_tier.decode import DecodedImage
from core.errors import ElasticError

# Enough for the largest image within the limits, and little enough for a small instance to keep its worker running.
MEMORY_LIMIT_BYTES = 1536 * 1024 * 1024
TIMEOUT_SECONDS = 20.0


class QuarantineError(ElasticError):
    """Decoding the image crashed the child process, or did not end in time."""


class Quarantine:
    """A child process that decodes one image at a time, started when first needed; thread-safe.

    Args:
        decode: decodes a file's bytes in the child process; must be picklable.
    """

    def __init__(self, decode: Callable[[bytes], DecodedImage], timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._decode = decode
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None
        self._pid = 0

    def decode(self, body: bytes) -> DecodedImage:
        """Decode an image in the child process.

        Raises:
            ImageError: as `decode` raises it.
            QuarantineError: the child crashed or did not finish in time; the next image gets a new one.
        """
        with self._lock:
            try:
                pool = self._started()
                return pool.submit(self._decode, body).result(self._timeout_seconds)
            except (BrokenExecutor, TimeoutError) as error:
                self._kill()
                raise QuarantineError from error

    def close(self) -> None:
        """End the child process."""
        with self._lock:
            self._kill()

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Spawned, since a fork of a process with running threads may hang.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, context, initializer=_prepare_child)
            self._pid = self._pool.submit(os.getpid).result(self._timeout_seconds)
        return self._pool

    def _kill(self) -> None:
        if self._pool is not None:
            with contextlib.suppress(ProcessLookupError):
                if self._pid:
                    os.kill(self._pid, signal.SIGKILL)
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool, self._pid = None, 0


def _prepare_child() -> None:
    # Ctrl-C and the supervisor's SIGTERM are for the worker, which ends this process when it is done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    _soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = MEMORY_LIMIT_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_LIMIT_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _end_with_parent() -> None:
    # The pool's pipes do not report the parent's exit, since this process holds both of their ends.
    if parent := multiprocessing.parent_process():
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
