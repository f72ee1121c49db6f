"""The schedule's floor is the one of the entry that fired last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.scaling.schedule import floor_at, parse_schedule
from core.errors import SettingsError

OFFICE = "0 8 * * mon-fri = 2; 0 18 * * mon-fri = 0"


@pytest.mark.parametrize(
    ("schedule", "moment", "floor"),
    [
        pytest.param("", "2026-11-18T12:00:00", 0, id="no schedule, no floor"),
        pytest.param(OFFICE, "2026-11-18T07:59:59", 0, id="Wednesday, before work: Tuesday evening rules"),
        pytest.param(OFFICE, "2026-11-18T08:00:00", 2, id="the very moment counts"),
        pytest.param(OFFICE, "2026-11-18T17:59:59.999999", 2, id="until the last moment"),
        pytest.param(OFFICE, "2026-11-18T18:00:00", 0, id="evening"),
        pytest.param(OFFICE, "2026-11-22T12:00:00", 0, id="Sunday: Friday evening rules"),
        pytest.param("0 8 * * mon = 3", "2026-11-22T12:00:00", 3, id="an entry rules until another fires"),
        pytest.param("0 0 1 1 * = 1; 0 0 * * * = 4", "2026-01-01T00:00:00", 4, id="of two at once the later rules"),
        pytest.param("0 0 * * * = 4; 0 0 1 1 * = 1", "2026-01-01T00:00:00", 1, id="and the other way round"),
        pytest.param(" 0 8 * * * =2 ;; ", "2026-11-18T09:00:00", 2, id="blanks and empty parts do not matter"),
        pytest.param("0 0 29 2 * = 5", "2026-11-18T09:00:00", 5, id="a leap day, years ago"),
    ],
)
def test_the_entry_that_fired_last_rules(schedule: str, moment: str, floor: int) -> None:
    assert floor_at(schedule, datetime.fromisoformat(moment).replace(tzinfo=UTC)) == floor


def test_times_of_other_zones_are_understood() -> None:
    berlin = timezone(timedelta(hours=1))
    assert floor_at(OFFICE, datetime(2026, 11, 18, 8, 30, tzinfo=berlin)) == 0
    assert floor_at(OFFICE, datetime(2026, 11, 18, 9, 30, tzinfo=berlin)) == 2


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        floor_at(OFFICE, datetime(2026, 11, 18))


@pytest.mark.parametrize(
    ("schedule", "sentence"),
    [
        ("0 8 * * mon-fri", "must be a cron expression, '=' and a number"),
        ("0 8 * * mon-fri = two", "must be a cron expression, '=' and a number"),
        ("0 8 * * mon-fri = -1", "must be a cron expression, '=' and a number"),
        ("0 8 * * mon-fri = 1.5", "must be a cron expression, '=' and a number"),
        ("0 25 * * * = 1", "'0 25 .* is not a cron expression"),
        ("@daily = 1", "'@daily' is not a cron expression"),
        ("0 0 8 * * * = 1", "is not a cron expression of five fields"),
        ("0 0 30 2 * = 1", "never comes true"),
        (f"{OFFICE}; nonsense", "'nonsense'"),
    ],
)
def test_a_malformed_schedule_is_named_in_one_sentence(schedule: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        parse_schedule(schedule)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)))
def test_office_hours_at_any_time(moment: datetime) -> None:
    at_work = moment.weekday() < 5 and 8 <= moment.hour < 18
    assert floor_at(OFFICE, moment) == (2 if at_work else 0)
