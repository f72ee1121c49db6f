"""Numbers, times, amounts and states for people, in the language of the request; as in static/formats.js."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from functools import lru_cache

from babel import Locale
from babel.dates import format_date
from babel.numbers import format_currency, format_decimal
from flask_babel import get_locale

from core.languages import ENGLISH
from core.sizes import format_bytes
from web_tier.languages.messages import gettext

_ENGLISH = Locale(ENGLISH)
_FRACTION = re.compile(r"0\.00")


def locale() -> Locale:
    """The locale of the current request; English outside of requests."""
    return get_locale() or _ENGLISH


def number(value: float) -> str:
    """A number, its digits in groups."""
    return _number(value, locale())


@lru_cache(4096)
def _number(value: float, of: Locale) -> str:
    return format_decimal(value, locale=of)


def fixed(value: float, digits: int = 1) -> str:
    """A number with so many decimal places."""
    pattern = f"#,##0.{'0' * digits}" if digits else "#,##0"
    # India groups digits otherwise.
    own = locale().decimal_formats[None].pattern.partition(".")[0]
    return format_decimal(value, pattern.replace("#,##0", own), locale=locale())


def percent(share: float) -> str:
    """A share of one in whole percent."""
    return _percent(round(share * 100), locale())


@lru_cache(1024)
def _percent(whole: int, of: Locale) -> str:
    # The cache is by the locale, which is that of the request.
    return gettext("%(number)s %%", number=_number(whole, of))


def seconds(value: float) -> str:
    """A time in whole seconds."""
    return gettext("%(number)s s", number=fixed(value, 0))


def short_time(value: float) -> str:
    """A time that may be short, in seconds or hours; in English as `core.response_time.format_seconds`."""
    if value < 0.005:
        return seconds(0)
    if value >= 7200:
        return gettext("%(number)s h", number=fixed(value / 3600))
    digits = 2 if value < 0.095 else 1 if value < 99.95 else 0
    pattern = f"0.{'0' * digits}" if digits else "0"
    return gettext("%(number)s s", number=format_decimal(value, pattern, locale=locale()))


def duration(value: float) -> str:
    """A time, in seconds, in its two largest units."""
    whole = round(value)
    if whole < 60:
        return seconds(whole)
    if whole < 3600:
        return gettext("%(minutes)s min %(seconds)s s", minutes=whole // 60, seconds=whole % 60)
    return gettext("%(hours)s h %(minutes)s min", hours=fixed(whole // 3600, 0), minutes=whole % 3600 // 60)


def size(count: float) -> str:
    """A size in bytes, with its unit; see `core.sizes.format_bytes`."""
    text = format_bytes(count)
    figure, _, unit = text.partition(" ")
    local = format_decimal(float(figure), locale=locale(), group_separator=False)
    # KiB, MiB and GiB are symbols, the same in all languages.
    if unit == "byte":
        return gettext("%(number)s byte", number=local)
    return gettext("%(number)s bytes", number=local) if unit == "bytes" else f"{local} {unit}"


def money(usd: float | None) -> str:
    """An amount in US dollars with about three digits, a dash where it is not known."""
    if usd is None:
        return "–"
    digits = 4 if usd < 0.1 else 3 if usd < 1 else 2
    pattern = _FRACTION.sub(f"0.{'0' * digits}", locale().currency_formats["standard"].pattern)
    return format_currency(usd, "USD", pattern, locale(), currency_digits=False)


def day(moment: date) -> str:
    """A date."""
    return format_date(moment, "medium", locale=locale())


def minute(moment: datetime) -> str:
    """A date with its time of day, in UTC."""
    utc = moment.astimezone(UTC)
    time = utc.strftime("%H:%M")
    return gettext("%(date)s, %(time)s UTC", date=day(utc.date()), time=time)


def instance_state(state: str) -> str:
    """The state of an instance."""
    names = {"running": gettext("running"), "booting": gettext("booting"), "silent": gettext("silent")}
    return str(names.get(state, state))


def run_status(status: str) -> str:
    """The status of a bulk run."""
    names = {
        "running": gettext("running"),
        "complete": gettext("complete"),
        "cancelled": gettext("cancelled"),
        "failed": gettext("failed"),
        "refused": gettext("refused"),
    }
    return str(names.get(status, status))
