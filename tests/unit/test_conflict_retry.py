"""Retries of conditional writes: as often as needed, with pauses, and only after a conflict."""

from __future__ import annotations

import pytest

from aws.conflict_retry import retry_on_conflict
from core.errors import CloudError, ConflictError


class Operation:
    """Fails with these errors one after the other, then returns how often it was called."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return self.calls


def test_it_is_called_again_after_each_conflict() -> None:
    pauses: list[float] = []
    operation = Operation(ConflictError(), ConflictError())
    assert retry_on_conflict(operation, 3, "too many", max_pause_seconds=0.5, sleep=pauses.append) == 3
    assert len(pauses) == 2 and all(0 <= pause <= 0.5 for pause in pauses)


def test_after_the_last_attempt_the_failure_names_the_conflict_as_its_cause() -> None:
    operation = Operation(*[ConflictError()] * 3)
    with pytest.raises(CloudError, match=r"^too many$") as caught:
        retry_on_conflict(operation, 3, "too many")
    assert operation.calls == 3
    assert not isinstance(caught.value, ConflictError) and isinstance(caught.value.__cause__, ConflictError)


def test_another_error_is_not_retried() -> None:
    operation = Operation(CloudError("S3 failed"))
    with pytest.raises(CloudError, match="S3 failed"):
        retry_on_conflict(operation, 3, "too many")
    assert operation.calls == 1
