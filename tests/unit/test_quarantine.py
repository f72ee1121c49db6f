"""An image that kills or hangs its decoder kills a child process, not the worker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from app_tier.decode import DecodedImage
from app_tier.quarantine import Quarantine, QuarantineError
from core.errors import BrokenImageError


def decode(body: bytes) -> DecodedImage:
    """Plays what a codec could do; runs in the child, so it must be importable."""
    if body == b"crash":
        os.abort()
    if body == b"hang":
        time.sleep(60)
    if body == b"memory":
        return DecodedImage(np.ones(4 << 30, np.uint8))
    if body == b"broken":
        raise BrokenImageError("the image is damaged in a special way")
    return DecodedImage(np.frombuffer(body, np.uint8), "played")


@pytest.fixture(scope="module")
def quarantine() -> Iterator[Quarantine]:
    quarantine = Quarantine(decode, timeout_seconds=5)
    yield quarantine
    quarantine.close()


def test_pixels_and_errors_come_through(quarantine: Quarantine) -> None:
    decoded = quarantine.decode(b"abc")
    assert decoded.pixels.tobytes() == b"abc" and decoded.note == "played"
    with pytest.raises(BrokenImageError, match="in a special way"):
        quarantine.decode(b"broken")


@pytest.mark.parametrize("body", [b"crash", b"hang"])
def test_a_death_is_an_error_and_the_next_image_gets_a_fresh_process(quarantine: Quarantine, body: bytes) -> None:
    with pytest.raises(QuarantineError):
        quarantine.decode(body)
    assert quarantine.decode(b"next").pixels.tobytes() == b"next"


def test_memory_is_limited(quarantine: Quarantine) -> None:
    with pytest.raises(MemoryError):
        quarantine.decode(b"memory")


def test_a_child_does_not_outlive_its_worker() -> None:
    """Even one that is killed, which has no chance to close anything."""
    script = """
import os, signal, sys
from app_tier.decode import DecodedImage
from app_tier.quarantine import Quarantine

def main():
    quarantine = Quarantine(len)
    quarantine.decode(b"started")
    print(quarantine._pid, flush=True)
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    main()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdin is not None and worker.stdout is not None
        child = psutil.Process(int(worker.stdout.readline()))
        worker.stdin.close()
        assert worker.wait(5) < 0
    child.wait(5)
