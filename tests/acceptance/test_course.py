"""A grader of a course finds exact counts, names, answers, queues and buckets with the profile `course`."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.course import Grader, course_settings, faults, named_like_a_course
from local_cloud.stack import LocalStack

pytestmark = pytest.mark.acceptance

# Few instances, since their workers share the machine; `elastic bench course` has ten, fifty and a hundred requests.
MAX_SIZE = 3


def test_a_grader_finds_nothing_to_deduct(tmp_path: Path) -> None:
    images = named_like_a_course(tmp_path, 2 * MAX_SIZE)
    with LocalStack(course_settings(max_size=MAX_SIZE), boot_seconds=2.0, log_directory=tmp_path / "log") as stack:
        grader = Grader(stack)
        assert grader.largest_message_bytes() == 1024
        # Fewer than the maximum, and more; the same names again, whose earlier labels must not be taken for the new.
        for count in (MAX_SIZE - 1, 2 * MAX_SIZE):
            burst = grader.grade(images[:count])
            assert faults(burst, stack.settings) == []
            assert burst.peak == min(count, MAX_SIZE)
