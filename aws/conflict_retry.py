"""Retries of conditional writes: read, change and write again after a conflict with another writer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TypeVar

from core.errors import CloudError, ConflictError

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")


def retry_on_conflict(
    operation: Callable[[], T],
    attempts: int,
    failure: str,
    *,
    max_pause_seconds: float = 0.0,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Call `operation` until it raises no `ConflictError`; return its value.

    Other errors are not retried here: botocore already retries network errors.

    Args:
        operation: reads the object, and writes it on the condition that it is unchanged.
        attempts: the most calls.
        failure: the message of the error when every attempt met a conflict.
        max_pause_seconds: the longest random pause between two attempts, which keeps writers that conflicted once
            from conflicting again.

    Raises:
        CloudError: every attempt met a conflict.
    """
    # Imported here: every process that starts would load it, and asyncio with it, and most never need it.
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

    def give_up(state: RetryCallState) -> NoReturn:
        raise CloudError(failure) from (state.outcome.exception() if state.outcome is not None else None)

    retrying = Retrying(
        retry=retry_if_exception_type(ConflictError),
        stop=stop_after_attempt(attempts),
        wait=wait_random(0.0, max_pause_seconds),
        sleep=sleep,
        retry_error_callback=give_up,
    )
    return retrying(operation)
