"""Shift the wall clock of the web tier by the seconds in a file; Python imports this module when it starts.

The folder is put into ``PYTHONPATH`` of a whole local stack; other processes keep their clock.  Monotonic clocks, which
timeouts use, do not jump, as on a machine whose clock is set.
"""

from __future__ import annotations

import datetime
import os
import sys
import time
from datetime import datetime as _RealDatetime
from typing import Any

_real_time = time.time
_PATH = os.environ.get("CHAOS_CLOCK_FILE", "")


def _shifted_time() -> float:
    try:
        with open(_PATH, encoding="ascii") as file:  # noqa: PTH123 - pathlib would import before the patch
            return _real_time() + float(file.read() or 0)
    except OSError:
        return _real_time()


class _Meta(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, _RealDatetime)


class _ShiftedDatetime(_RealDatetime, metaclass=_Meta):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return _RealDatetime.fromtimestamp(_shifted_time(), tz)

    @classmethod
    def utcnow(cls) -> Any:
        return _RealDatetime.fromtimestamp(_shifted_time(), datetime.UTC).replace(tzinfo=None)


if _PATH and any("web_tier" in argument for argument in sys.orig_argv):
    time.time = _shifted_time
    datetime.datetime = _ShiftedDatetime  # type: ignore[misc]
