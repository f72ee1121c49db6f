"""Response times: what an image's time was spent on, and a batch's first and last answer."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_tier.fleet_start import running_since
from aws.buckets import StoredObject
from core.errors import CloudError
from core.fleet_status import FleetStatus, Sample
from core.response_time import ResponseTime, format_seconds, response_time, summarize
from web_tier.domain.response_times import MAX_MEASURED, results_to_read

T = 1_790_000_000.0


@pytest.mark.parametrize(
    ("running_since", "answered_at", "classifying", "expected"),
    [
        # (waiting, booting, classifying)
        (T - 100, T + 2.0, 0.5, (1.5, 0.0, 0.5)),
        (T + 3.0, T + 4.0, 0.25, (0.75, 3.0, 0.25)),
        # Received while another instance of the same age was running: all of it is in the queue.
        (T, T + 1.0, 0.0, (1.0, 0.0, 0.0)),
        # The worker's clock is late: what remains is never negative, and its own time is right.
        (T - 100, T - 5.0, 0.5, (0.0, 0.0, 0.5)),
        (T + 3.0, T + 1.0, 0.5, (0.0, 0.5, 0.5)),
        (T, T + 1.0, -0.5, (1.0, 0.0, 0.0)),
    ],
)
def test_the_time_of_an_image_is_split(
    running_since: float, answered_at: float, classifying: float, expected: tuple[float, float, float]
) -> None:
    time = response_time(T, running_since, answered_at, classifying)
    assert (time.seconds_waiting, time.seconds_booting, time.seconds_classifying) == pytest.approx(expected)
    assert time.answered_at == pytest.approx(T + sum(expected))


moments = st.floats(0, 2e9)


@given(moments, moments, moments, st.floats(-10, 1000))
def test_no_part_is_negative_and_the_parts_are_the_whole(
    sent_at: float, running_since: float, answered_at: float, classifying: float
) -> None:
    time = response_time(sent_at, running_since, answered_at, classifying)
    parts = (time.seconds_waiting, time.seconds_booting, time.seconds_classifying)
    assert min(parts) >= 0
    assert time.seconds_total == pytest.approx(max(answered_at - sent_at, classifying, 0.0), abs=1e-5)


def times(*rows: tuple[float, float, float, float]) -> list[ResponseTime]:
    return [ResponseTime(T + sent, *parts) for sent, *parts in rows]


def test_a_batch_counts_from_its_first_job() -> None:
    found = summarize(times((1.0, 0.0, 4.0, 0.5), (0.0, 0.5, 5.0, 0.1), (3.0, 6.0, 0.0, 0.2)))
    assert found is not None
    assert dataclasses.asdict(found) == pytest.approx(
        {
            "images": 3,
            "seconds_to_first": 5.5,
            "seconds_to_last": 9.2,
            "seconds_waiting": 0.5,
            "seconds_booting": 4.0,
            "seconds_classifying": 0.2,
            "seconds_total": 5.6,
        }
    )
    assert found.sentence(3).replace("\u00a0", " ") == (
        "First answer after 5.5 s, last after 9.2 s; waiting 0.5 s, booting 4.0 s, classifying 0.2 s (median)"
    )
    assert found.sentence(10_000).endswith("(median of 3 of 10,000 images)")


def test_images_at_the_ends_do_not_shift_the_medians() -> None:
    found = summarize(times((1.0, 1.0, 0.0, 0.5), (2.0, 1.0, 0.0, 0.5)), times((0.0, 9.0, 9.0, 9.0)))
    assert found is not None
    assert (found.images, found.seconds_to_first, found.seconds_to_last) == (2, 2.5, 27.0)
    assert (found.seconds_waiting, found.seconds_total) == (1.0, 1.5)


def test_a_single_image_has_one_answer() -> None:
    found = summarize(times((0.0, 0.5, 3.25, 0.04)))
    assert found is not None
    sentence = found.sentence(1).replace("\u00a0", " ")
    assert sentence == "Answered after 3.8 s; waiting 0.5 s, booting 3.2 s, classifying 0.04 s"


def test_without_times_there_is_no_summary() -> None:
    assert summarize([]) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (0.004, "0 s"),
        (0.04, "0.04 s"),
        (0.096, "0.1 s"),
        (8.44, "8.4 s"),
        (150.2, "150 s"),
        (9000, "2.5 h"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text.replace(" ", "\u00a0")


# --- since when the fleet has been running ---------------------------------------------------------


def status(at: float, *running: int) -> FleetStatus:
    """A status whose last samples, a second apart, have so many running instances."""
    history = [
        Sample(at - len(running) + 1 + number, 0, 0, count, 0, count, 0.0) for number, count in enumerate(running)
    ]
    return FleetStatus(at, "c", "", 0, 15, 2.0, 0.03, False, 30.0, None, 0.0, 0.0, 0, None, history=tuple(history))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, T),
        (status(T), T),
        (status(T, 0, 0), T),
        (status(T, 1, 2, 0), T),
        (status(T, 0, 1, 2), T - 1),
        (status(T, 2, 0, 1), T),
        (status(T, 1, 1, 1), T - 2),
        # Of a controller that no longer runs, or whose clock is early.
        (status(T - 60, 1, 1, 1), T),
        (status(T + 60, 1), T),
    ],
)
def test_a_worker_reads_since_when_others_have_been_running(found: FleetStatus | None, expected: float) -> None:
    assert running_since(lambda: found.encode() if found is not None else None, T) == expected


def test_a_status_that_cannot_be_read_makes_a_worker_the_first() -> None:
    def fail() -> bytes:
        raise CloudError

    assert running_since(lambda: b"nonsense", T) == T
    assert running_since(fail, T) == T


# --- which results of a large batch are read -------------------------------------------------------


def stored(count: int) -> list[StoredObject]:
    """Results in the order of their keys, of which the seventh was stored first and the fifth last."""
    seconds = {6: 0, 4: count + 1}
    return [
        StoredObject(f"{number:05d}", 1, "e", datetime.fromtimestamp(T + seconds.get(number, number + 1), UTC))
        for number in range(count)
    ]


def test_of_a_small_batch_all_results_are_measured() -> None:
    assert results_to_read(stored(MAX_MEASURED)) == (stored(MAX_MEASURED), ())


@pytest.mark.parametrize("count", [MAX_MEASURED + 1, 10_000])
def test_of_a_large_batch_some_are_measured_and_the_first_and_the_last_are_read(count: int) -> None:
    measured, ends = results_to_read(stored(count))
    positions = [int(entry.key) for entry in measured]
    assert len(set(positions)) == MAX_MEASURED
    # Evenly spaced: the median of the positions is the batch's.
    assert sorted(positions)[MAX_MEASURED // 2] == pytest.approx(count / 2, abs=1)
    assert {"00006", "00004"} <= {entry.key for entry in ends}


def test_rounded_has_all_fields_in_their_order() -> None:
    time = ResponseTime(T + 0.12345, 1.00049, 2.0006, 3.0)
    assert time.rounded() == [round(seconds, 3) for seconds in dataclasses.astuple(time)]
