"""Recording of calls and planned failures, the base of all in-memory stand-ins."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core.errors import CloudError


@dataclass
class _PlannedFailure:
    error: Exception
    times_left: float
    where: Callable[..., bool]


class CallRecorder:
    """Record calls as ``(method, first argument)`` and raise the failures that a test has planned.

    Args:
        keep_calls: whether `calls` grows with every call.
    """

    def __init__(self, *, keep_calls: bool = True) -> None:
        self.calls: list[tuple[str, Any]] = []
        self._keep_calls = keep_calls
        self._planned: dict[str, list[_PlannedFailure]] = {}
        self._lock = threading.RLock()

    def fail_next(
        self,
        method: str,
        times: float = 1,
        error: Exception | None = None,
        where: Callable[..., bool] = lambda *_arguments: True,
    ) -> None:
        """Let the next `times` calls of `method` fail whose positional arguments satisfy `where`.

        Args:
            times: how many; ``math.inf`` for every one.
            error: the exception; a `CloudError` by default.
        """
        failure = _PlannedFailure(error or CloudError(f"{method} failed, as planned by the test"), times, where)
        self._planned.setdefault(method, []).append(failure)

    def count(self, method: str) -> int:
        """Count the calls of `method`, failures included."""
        return sum(name == method for name, _argument in self.calls)

    def _record(self, method: str, *arguments: Any) -> None:
        with self._lock:
            if self._keep_calls:
                self.calls.append((method, arguments[0] if arguments else None))
            for failure in self._planned.get(method, []):
                if failure.times_left > 0 and failure.where(*arguments):
                    failure.times_left -= 1
                    raise failure.error
