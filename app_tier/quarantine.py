"""Quarantine: decode suspect images in a separate process.

A job that is delivered again may have been in hand when its worker crashed, and its image may be the reason: too little
memory, or a defect of a codec.  Decoded here, such an image crashes the child process instead of the worker: the other
jobs in hand are answered, and this one reaches the dead-letter queue.  So are images of formats whose headers do not
say how much memory their decoder will take.
"""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import signal
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from app_tier.decode import DecodedImage
from app_tier.decode_memory import decode_memory
from core.errors import ElasticError
from core.settings import Settings

# At run time imported where it is first used: most workers never need it, and each would load it at its start.
if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

TIMEOUT_SECONDS = 60.0
# The kernel ends the process with the highest value first when memory is short: the child, not the worker.
_OOM_SCORE = 1000


class QuarantineError(ElasticError):
    """Decoding the image crashed the child process, or did not end in time."""


class Quarantine:
    """A child process that decodes one image at a time, started when first needed; thread-safe.

    Args:
        decode: decodes a file's bytes in the child process; must be picklable.
        memory_bytes: limit on what the child may take beyond what it has when it starts.  While it decodes, no other
            large image is decoded, so that both together stay within the limit.
    """

    def __init__(
        self,
        decode: Callable[[bytes], DecodedImage],
        timeout_seconds: float = TIMEOUT_SECONDS,
        memory_bytes: int = Settings().decode_memory_bytes,
    ) -> None:
        self._decode = decode
        self._memory_bytes = memory_bytes
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
        with self._lock, decode_memory.reserve(self._memory_bytes, self._memory_bytes):
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
            import multiprocessing
            from concurrent.futures import ProcessPoolExecutor

            # Spawned, since a fork of a process with running threads may hang.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(
                1, context, initializer=functools.partial(_prepare_child, self._memory_bytes)
            )
            self._pid = self._pool.submit(os.getpid).result(self._timeout_seconds)
        return self._pool

    def _kill(self) -> None:
        if self._pool is not None:
            with contextlib.suppress(ProcessLookupError):
                if self._pid:
                    os.kill(self._pid, signal.SIGKILL)
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool, self._pid = None, 0


def _prepare_child(memory_bytes: int) -> None:
    # Ctrl-C and the supervisor's SIGTERM are for the worker, which ends this process when it is done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE), "ascii")
    # What is written to counts, not address space: libraries reserve far more of it than they use.
    (in_use,) = (
        line.split()[1] for line in Path("/proc/self/status").read_text("ascii").splitlines() if "VmData" in line
    )
    limit, (_soft, hard) = int(in_use) * 1024 + memory_bytes, resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _end_with_parent() -> None:
    import multiprocessing.connection

    # The pool's pipes do not report the parent's exit, since this process holds both of their ends.
    if parent := multiprocessing.parent_process():
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
