"""The schedule of the minimum size, such as ``0 8 * * mon-fri = 2; 0 18 * * mon-fri = 0``.

It keeps instances running at times when photos are expected, so that they need not wait for a boot.  Entries are
separated by semicolons; each is a cron expression of five fields (crontab(5)) in UTC, an equals sign, and the fewest
instances from then on.  The entry that fired last applies; of two that fired at once, the later in the text.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from croniter import croniter
from croniter.croniter import CroniterBadDateError

from core.errors import SettingsError

_EXAMPLE = "0 8 * * mon-fri = 2; 0 18 * * mon-fri = 0"
# An arbitrary moment, to check whether an expression ever fires.
_ANY_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: when `expression` fires, the fewest instances become `floor`."""

    expression: str
    floor: int

    def last_fired(self, now: datetime) -> datetime:
        """The latest moment not after `now` at which the expression fired."""
        # croniter returns a moment strictly before its start.
        found: datetime = croniter(self.expression, now + timedelta(microseconds=1)).get_prev(datetime)
        return found


@functools.lru_cache(maxsize=8)
def parse_schedule(schedule: str) -> tuple[Entry, ...]:
    """Read a schedule; an empty one has no entries.

    Raises:
        SettingsError: it is malformed, or an entry never fires; names the entry.
    """
    return tuple(_parse_entry(part.strip()) for part in schedule.split(";") if part.strip())


def floor_at(schedule: str, now: datetime) -> int:
    """The fewest instances that `schedule` asks for at `now`; 0 where it is empty.

    Raises:
        SettingsError: the schedule is malformed.
        ValueError: `now` has no time zone.
    """
    if now.tzinfo is None:
        raise ValueError("a time with a time zone is needed")
    fired = [(entry.last_fired(now.astimezone(UTC)), entry.floor) for entry in parse_schedule(schedule)]
    latest = max((at for at, _ in fired), default=None)
    return next((floor for at, floor in reversed(fired) if at == latest), 0)


def _parse_entry(text: str) -> Entry:
    expression, equals, floor = (part.strip() for part in text.partition("="))
    if not equals or not floor.isascii() or not floor.isdecimal():
        raise SettingsError(f"the schedule's entry {text!r} must be a cron expression, '=' and a number: {_EXAMPLE}")
    if len(expression.split()) != 5 or not croniter.is_valid(expression):
        raise SettingsError(f"{expression!r} is not a cron expression of five fields, such as '0 8 * * mon-fri'")
    entry = Entry(expression, int(floor))
    try:
        entry.last_fired(_ANY_MOMENT)
    except CroniterBadDateError as error:
        raise SettingsError(f"the schedule's entry {text!r} never comes true") from error
    return entry
